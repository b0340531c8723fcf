//! A trace for people at a terminal.
//!
//! Colours are optional; the text is the same without them.

use crate::hop::{Hop, Outcome, Trace};
use std::fmt::Write;

/// How it looks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Style {
    /// Use ANSI colours.
    pub color: bool,
}

impl Style {
    fn paint(self, code: &str, text: &str) -> String {
        if self.color && !text.is_empty() {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_string()
        }
    }
    fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }
    fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }
}

/// Left edge of what belongs to a hop.
const INDENT: &str = "                  ";

/// The whole trace.
pub fn render(trace: &Trace, style: Style) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{}  {}", style.bold(&trace.request), style.dim(&format!("from {}", trace.from)));
    let _ = writeln!(out);
    for (i, hop) in trace.hops.iter().enumerate() {
        write_hop(&mut out, hop, i + 1, "→", "36", style);
    }
    if !trace.reply.is_empty() {
        let _ = writeln!(out, "\n{}", style.dim("and back"));
        for (i, hop) in trace.reply.iter().enumerate() {
            write_hop(&mut out, hop, i + 1, "←", "35", style);
        }
    }
    let _ = writeln!(out);
    for warning in &trace.warnings {
        let _ = writeln!(out, "{} {warning}", style.paint("33;1", "!"));
    }
    match &trace.outcome {
        Outcome::Delivered { pod, address } => {
            let _ = writeln!(out, "{} answered by Pod {pod} at {address}", style.paint("32;1", "✓"));
        }
        Outcome::ApiServer { address } => {
            let _ = writeln!(out, "{} answered by the API server at {address}", style.paint("32;1", "✓"));
        }
        Outcome::Answered { by, status, text } => {
            let _ = writeln!(out, "{} answered {status} by {by}: {text}", style.paint("32;1", "✓"));
        }
        Outcome::DeadEnd(diagnosis) => {
            let _ = writeln!(out, "{} ends at {}", style.paint("31;1", "✗"), style.bold(&diagnosis.place));
            let _ = writeln!(out, "  why   {}", diagnosis.cause);
            let _ = writeln!(out, "  fix   {}", diagnosis.fix);
        }
    }
    out
}

fn write_hop(out: &mut String, hop: &Hop, number: usize, arrow: &str, color: &str, style: Style) {
    let layer = style.paint(color, &format!("{:<11}", hop.layer.to_string()));
    let _ = writeln!(out, "{arrow} {number:>2}  {layer} {}  {}", style.bold(&hop.place), hop.action);
    match (hop.before, hop.after) {
        (Some(before), Some(after)) => {
            let _ = writeln!(out, "{INDENT}{before}  {}  {after}", style.bold("⇒"));
        }
        (Some(before), None) => {
            let _ = writeln!(out, "{INDENT}{}", style.dim(&before.to_string()));
        }
        _ => {}
    }
    for line in &hop.because {
        let _ = writeln!(out, "{INDENT}{}", style.dim(&format!("· {line}")));
    }
    for line in &hop.not_taken {
        let _ = writeln!(out, "{INDENT}{}", style.dim(&format!("✗ {line}")));
    }
    if let Some(object) = &hop.object {
        let _ = writeln!(out, "{INDENT}{} {}", style.dim("from"), style.paint("34", object));
    }
}
