//! A table that refuses what a kernel refuses: a jump to a missing chain, a chain deleted while something jumps to it, …
//!
//! It keeps texts; it does not run packets.

use crate::transaction::{Command, Transaction};
use std::collections::{BTreeMap, BTreeSet};

/// Why a command was refused. The whole transaction is then undone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Named, but not there.
    #[error("{what} {name} does not exist: {command}")]
    Missing { what: &'static str, name: String, command: String },
    /// Created twice with another content.
    #[error("{what} {name} exists: {command}")]
    Exists { what: &'static str, name: String, command: String },
    /// Still referred to.
    #[error("{what} {name} is in use: {command}")]
    Busy { what: &'static str, name: String, command: String },
}

/// What the kernel would hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FakeNft {
    /// The table exists.
    pub table: bool,
    /// Elements of each set or map, by key.
    pub sets: BTreeMap<String, BTreeMap<String, String>>,
    /// Rules of each chain.
    pub chains: BTreeMap<String, Vec<String>>,
}

fn key_of(element: &str) -> String {
    element.split(" comment ").next().and_then(|e| e.split(" : ").next()).unwrap_or(element).to_string()
}

/// Chains and sets that a line refers to.
fn references(text: &str) -> (Vec<&str>, Vec<&str>) {
    let words: Vec<&str> = text.split([' ', ',']).filter(|w| !w.is_empty()).collect();
    let chains = words.windows(2).filter(|w| w[0] == "jump" || w[0] == "goto").map(|w| w[1]).collect();
    let sets = words.iter().filter_map(|w| w.strip_prefix('@')).collect();
    (chains, sets)
}

impl FakeNft {
    /// Apply all commands or none.
    pub fn apply(&mut self, transaction: &Transaction) -> Result<(), Error> {
        let mut next = self.clone();
        for command in &transaction.commands {
            next.command(command)?;
        }
        *self = next;
        Ok(())
    }

    fn check(&self, text: &str, command: &Command) -> Result<(), Error> {
        let (chains, sets) = references(text);
        let missing =
            |what, name: &str| Error::Missing { what, name: name.into(), command: command.to_string() };
        if let Some(name) = chains.into_iter().find(|c| !self.chains.contains_key(*c)) {
            return Err(missing("chain", name));
        }
        match sets.into_iter().find(|s| !self.sets.contains_key(*s)) {
            Some(name) => Err(missing("set", name)),
            None => Ok(()),
        }
    }

    fn in_use(&self, name: &str, chain: bool) -> bool {
        let used: BTreeSet<&str> = self
            .chains
            .values()
            .flatten()
            .chain(self.sets.values().flat_map(|s| s.values()))
            .flat_map(|text| if chain { references(text).0 } else { references(text).1 })
            .collect();
        used.contains(name)
    }

    fn command(&mut self, command: &Command) -> Result<(), Error> {
        let missing =
            |what, name: &str| Error::Missing { what, name: name.into(), command: command.to_string() };
        let exists =
            |what, name: &str| Error::Exists { what, name: name.into(), command: command.to_string() };
        let busy = |what, name: &str| Error::Busy { what, name: name.into(), command: command.to_string() };
        if !self.table && *command != Command::AddTable {
            return Err(missing("table", "kube-proxy"));
        }
        match command {
            Command::AddTable => self.table = true,
            Command::AddSet { name, .. } => {
                self.sets.entry(name.clone()).or_default();
            }
            Command::AddChain { name, .. } => {
                self.chains.entry(name.clone()).or_default();
            }
            Command::FlushChain { name } => {
                self.chains.get_mut(name).ok_or_else(|| missing("chain", name))?.clear()
            }
            Command::AddRule { chain, rule } => {
                self.check(rule, command)?;
                self.chains.get_mut(chain).ok_or_else(|| missing("chain", chain))?.push(rule.clone());
            }
            Command::AddElement { set, element } => {
                self.check(element, command)?;
                let key = key_of(element);
                let elements = self.sets.get_mut(set).ok_or_else(|| missing("set", set))?;
                if elements.get(&key).is_some_and(|old| old != element) {
                    return Err(exists("element", &key));
                }
                elements.insert(key, element.clone());
            }
            Command::DeleteElement { set, key } => {
                let elements = self.sets.get_mut(set).ok_or_else(|| missing("set", set))?;
                elements.remove(key).ok_or_else(|| missing("element", key))?;
            }
            Command::DeleteChain { name } => {
                if self.in_use(name, true) {
                    return Err(busy("chain", name));
                }
                match self.chains.get(name) {
                    Some(rules) if rules.is_empty() => self.chains.remove(name),
                    Some(_) => return Err(busy("chain", name)),
                    None => return Err(missing("chain", name)),
                };
            }
            Command::DeleteSet { name } => {
                if self.in_use(name, false) {
                    return Err(busy("set", name));
                }
                self.sets.remove(name).ok_or_else(|| missing("set", name))?;
            }
        }
        Ok(())
    }
}
