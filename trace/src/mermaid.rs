//! A trace as a mermaid sequence diagram.
//!
//! Places are participants in order of appearance; hops at the same place become notes.

use crate::hop::{Hop, Outcome, Trace};
use std::fmt::Write;

fn clean(text: &str) -> String {
    text.replace([';', '#'], ",").replace(['<', '>'], "").replace('\n', " ")
}

/// The diagram.
pub fn render(trace: &Trace) -> String {
    let mut places: Vec<&str> = Vec::new();
    for hop in &trace.hops {
        if !places.contains(&hop.place.as_str()) {
            places.push(&hop.place);
        }
    }
    let id =
        |place: &str| places.iter().position(|p| *p == place).map_or("x".to_string(), |i| format!("p{i}"));
    let mut out = String::from("sequenceDiagram\n");
    for place in &places {
        let _ = writeln!(out, "    participant {} as {}", id(place), clean(place));
    }
    walk(&mut out, &trace.hops, "->>", &id);
    walk(&mut out, &trace.reply, "-->>", &id);
    if let (Outcome::DeadEnd(end), Some(last)) = (&trace.outcome, trace.hops.last()) {
        let _ =
            writeln!(out, "    Note over {}: {}. {}", id(&last.place), clean(&end.cause), clean(&end.fix));
    }
    out
}

fn walk(out: &mut String, hops: &[Hop], arrow: &str, id: &dyn Fn(&str) -> String) {
    let mut here: Option<String> = None;
    for hop in hops {
        let place = match id(&hop.place) {
            unknown if unknown == "x" => here.clone().unwrap_or_else(|| "p0".into()),
            known => known,
        };
        let packet = hop.after.or(hop.before).map_or(String::new(), |p| format!(" ({p})"));
        match &here {
            Some(from) if *from != place => {
                let _ = writeln!(out, "    {from}{arrow}{place}: {}{}", clean(&hop.action), clean(&packet));
            }
            _ => {
                let _ = writeln!(out, "    Note over {place}: {}", clean(&hop.action));
            }
        }
        here = Some(place);
    }
}
