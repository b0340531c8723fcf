//! A trace as a mermaid sequence diagram.
//!
//! Places are participants in order of appearance; hops at the same place become notes, names are asked for and
//! answered.

use crate::hop::{Hop, Layer, Outcome, Trace};
use std::fmt::Write;

fn clean(text: &str) -> String {
    text.replace([';', '#'], ",").replace(['<', '>'], "").replace('\n', " ")
}

/// The diagram.
pub fn render(trace: &Trace) -> String {
    let mut places: Vec<&str> = vec![&trace.from];
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
    for hop in trace.hops.iter().filter(|hop| hop.layer == Layer::Dns) {
        let (question, answer) = hop.action.split_once(" → ").unwrap_or((&hop.action, "answer"));
        let (client, server) = (id(&trace.from), id(&hop.place));
        let _ = writeln!(out, "    {client}->>{server}: {}", clean(question));
        let _ = writeln!(out, "    {server}-->>{client}: {}", clean(answer));
    }
    walk(&mut out, trace.hops.iter().filter(|hop| hop.layer != Layer::Dns), "->>", &id);
    walk(&mut out, trace.reply.iter(), "-->>", &id);
    if let (Outcome::DeadEnd(end), Some(last)) = (&trace.outcome, trace.hops.last()) {
        let _ =
            writeln!(out, "    Note over {}: {}. {}", id(&last.place), clean(&end.cause), clean(&end.fix));
    }
    out
}

fn walk<'a>(out: &mut String, hops: impl Iterator<Item = &'a Hop>, arrow: &str, id: &dyn Fn(&str) -> String) {
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
