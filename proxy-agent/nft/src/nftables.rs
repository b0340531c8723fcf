//! The table as `nft list table ip kube-proxy` prints it.
//!
//! Elements come in key order; a kernel lists them in its own.

use proxy_agent_ruleset::{BASE_SETS, Chain, Program};
use std::fmt::Write;

/// How nft writes a timeout.
pub(crate) fn duration(seconds: u32) -> String {
    let parts = [(86_400, 'd'), (3600, 'h'), (60, 'm'), (1, 's')];
    let mut rest = seconds;
    let mut out = String::new();
    for (size, unit) in parts {
        if rest >= size {
            let _ = write!(out, "{}{unit}", rest / size);
            rest %= size;
        }
    }
    if out.is_empty() { "0s".into() } else { out }
}

/// The whole table.
pub fn render(program: &Program) -> String {
    let mut out = String::from("table ip kube-proxy {\n\tcomment \"rules for kube-proxy\"\n");
    for set in BASE_SETS {
        let kind = if set.map { "map" } else { "set" };
        let verdict = if set.map { " : verdict" } else { "" };
        let _ = writeln!(
            out,
            "\t{kind} {} {{\n\t\ttype {}{verdict}\n\t\tcomment \"{}\"",
            set.name, set.key, set.comment
        );
        let mut elements: Vec<String> = program.elements(set.name).map(|e| e.to_string()).collect();
        if set.name == "nodeport-ips" {
            elements.push(program.node().ip.to_string());
        }
        if !elements.is_empty() {
            let _ = writeln!(out, "\t\telements = {{ {} }}", elements.join(",\n\t\t\t     "));
        }
        out.push_str("\t}\n\n");
    }
    for set in program.affinity_sets() {
        let _ = writeln!(
            out,
            "\tset {} {{\n\t\ttype ipv4_addr\n\t\tsize 65535\n\t\tflags dynamic,timeout\n\t\ttimeout {}\n\t}}\n",
            set.name,
            duration(set.seconds)
        );
    }
    let chains = program.frame().iter().chain(program.service_chains().map(|c| c.as_ref()));
    let texts: Vec<String> = chains.map(chain).collect();
    out.push_str(&texts.join("\n"));
    out.push_str("}\n");
    out
}

fn chain(chain: &Chain) -> String {
    let mut out = format!("\tchain {} {{\n", chain.name);
    if let Some(hook) = chain.hook {
        let _ = writeln!(
            out,
            "\t\ttype {} hook {} priority {}; policy accept;",
            hook.r#type, hook.hook, hook.priority
        );
    }
    if let Some(comment) = chain.comment {
        let _ = writeln!(out, "\t\tcomment \"{comment}\"");
    }
    for rule in &chain.rules {
        let _ = writeln!(out, "\t\t{rule}");
    }
    out.push_str("\t}\n");
    out
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn timeouts_read_as_nft_prints_them() {
        for (seconds, text) in [(600, "10m"), (10_800, "3h"), (90, "1m30s"), (86_400, "1d"), (0, "0s")] {
            assert_eq!(duration(seconds), text);
        }
    }
}
