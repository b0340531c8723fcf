//! The commands that turn one program into another: only what changed, in an order that always holds.
//!
//! Created before used, unused before deleted: a transaction is valid line by line, and applied as a whole.

use crate::nftables::duration;
use proxy_agent_ruleset::{BASE_SETS, Chain, Program};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// One line of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `add table`
    AddTable,
    /// `add set` or `add map`; the text after the name.
    AddSet { name: String, map: bool, body: String },
    /// `add chain`; the hook if it has one.
    AddChain { name: String, body: Option<String> },
    /// `flush chain`
    FlushChain { name: String },
    /// `add rule`
    AddRule { chain: String, rule: String },
    /// `add element`
    AddElement { set: String, element: String },
    /// `delete element`
    DeleteElement { set: String, key: String },
    /// `delete chain`
    DeleteChain { name: String },
    /// `delete set`
    DeleteSet { name: String },
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const T: &str = "ip kube-proxy";
        match self {
            Command::AddTable => write!(f, "add table {T} {{ comment \"rules for kube-proxy\" ; }}"),
            Command::AddSet { name, map, body } => {
                write!(f, "add {} {T} {name} {{ {body} ; }}", if *map { "map" } else { "set" })
            }
            Command::AddChain { name, body: Some(body) } => write!(f, "add chain {T} {name} {{ {body} }}"),
            Command::AddChain { name, body: None } => write!(f, "add chain {T} {name}"),
            Command::FlushChain { name } => write!(f, "flush chain {T} {name}"),
            Command::AddRule { chain, rule } => write!(f, "add rule {T} {chain} {rule}"),
            Command::AddElement { set, element } => write!(f, "add element {T} {set} {{ {element} }}"),
            Command::DeleteElement { set, key } => write!(f, "delete element {T} {set} {{ {key} }}"),
            Command::DeleteChain { name } => write!(f, "delete chain {T} {name}"),
            Command::DeleteSet { name } => write!(f, "delete set {T} {name}"),
        }
    }
}

/// Commands in order; its text is what `nft -f -` reads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Transaction {
    /// Commands in order.
    pub commands: Vec<Command>,
}

impl fmt::Display for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.commands.iter().try_for_each(|c| writeln!(f, "{c}"))
    }
}

/// Everything, from nothing.
pub fn full(program: &Program) -> Transaction {
    let mut commands = vec![Command::AddTable];
    for set in BASE_SETS {
        let verdict = if set.map { " : verdict" } else { "" };
        let body = format!("type {}{verdict} ; comment \"{}\"", set.key, set.comment);
        commands.push(Command::AddSet { name: set.name.into(), map: set.map, body });
    }
    let ip = program.node().ip.to_string();
    commands.push(Command::AddElement { set: "nodeport-ips".into(), element: ip });
    for chain in program.frame() {
        let body = chain
            .hook
            .map(|h| format!("type {} hook {} priority {} ;", h.r#type, h.hook, h.priority))
            .or(chain.comment.map(|c| format!("comment \"{c}\" ;")));
        commands.push(Command::AddChain { name: chain.name.clone(), body });
    }
    for chain in program.frame() {
        rules(&mut commands, chain);
    }
    let mut transaction = diff(&Program::new(program.node().clone()), program);
    commands.append(&mut transaction.commands);
    Transaction { commands }
}

fn rules(commands: &mut Vec<Command>, chain: &Chain) {
    let add = |rule: &proxy_agent_ruleset::Rule| Command::AddRule {
        chain: chain.name.clone(),
        rule: rule.to_string(),
    };
    commands.extend(chain.rules.iter().map(add));
}

/// What to do to a kernel that runs `current` so that it runs `desired`, for the same node.
pub fn diff(current: &Program, desired: &Program) -> Transaction {
    let mut commands = Vec::new();
    let sets = |p: &Program| -> BTreeMap<String, u32> {
        p.affinity_sets().map(|s| (s.name.clone(), s.seconds)).collect()
    };
    let (old_sets, new_sets) = (sets(current), sets(desired));
    for (name, seconds) in &new_sets {
        if !old_sets.contains_key(name) {
            let body = format!(
                "type ipv4_addr ; size 65535 ; flags dynamic,timeout ; timeout {}",
                duration(*seconds)
            );
            commands.push(Command::AddSet { name: name.clone(), map: false, body });
        }
    }
    let changed: Vec<&Chain> = desired
        .service_chains()
        .map(AsRef::as_ref)
        .filter(|c| current.chain(&c.name).is_none_or(|old| old.rules != c.rules))
        .collect();
    for chain in &changed {
        let name = chain.name.clone();
        commands.push(match current.chain(&chain.name) {
            Some(_) => Command::FlushChain { name },
            None => Command::AddChain { name, body: None },
        });
    }
    for chain in &changed {
        rules(&mut commands, chain);
    }
    for set in BASE_SETS {
        let old: BTreeMap<String, String> =
            current.elements(set.name).map(|e| (e.key.to_string(), e.to_string())).collect();
        let new: BTreeMap<String, String> =
            desired.elements(set.name).map(|e| (e.key.to_string(), e.to_string())).collect();
        for key in old.keys().filter(|k| new.get(*k) != old.get(*k)) {
            commands.push(Command::DeleteElement { set: set.name.into(), key: key.clone() });
        }
        for (key, element) in &new {
            if old.get(key) != Some(element) {
                commands.push(Command::AddElement { set: set.name.into(), element: element.clone() });
            }
        }
    }
    let kept: BTreeSet<&String> = desired.service_chains().map(|c| &c.name).collect();
    let gone: Vec<String> =
        current.service_chains().map(|c| c.name.clone()).filter(|n| !kept.contains(n)).collect();
    commands.extend(gone.iter().map(|name| Command::FlushChain { name: name.clone() }));
    commands.extend(gone.iter().map(|name| Command::DeleteChain { name: name.clone() }));
    commands.extend(
        old_sets
            .keys()
            .filter(|n| !new_sets.contains_key(*n))
            .map(|name| Command::DeleteSet { name: name.clone() }),
    );
    Transaction { commands }
}
