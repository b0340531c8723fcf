//! Chains and rules as values, and each rule's line in nftables' own words.
//!
//! Only what kube-proxy uses exists here; it is not a general nftables model.

use crate::program::Source;
use crate::service::Protocol;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;
use std::sync::Arc;

/// The mark of packets to masquerade.
pub const MASQUERADE_MARK: u32 = 0x4000;

/// An IPv4 block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    /// Network address.
    pub address: Ipv4Addr,
    /// Prefix length.
    pub prefix: u8,
}

impl Cidr {
    /// True if `ip` is inside.
    pub fn contains(&self, ip: Ipv4Addr) -> bool {
        let mask = (!0u32).checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
        (u32::from(ip) & mask) == (u32::from(self.address) & mask)
    }
}

impl FromStr for Cidr {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (address, prefix) = text.split_once('/').unwrap_or((text, "32"));
        let address: Ipv4Addr = address.parse().map_err(|_| format!("not an IPv4 block: {text}"))?;
        let prefix: u8 =
            prefix.parse().ok().filter(|p| *p <= 32).ok_or(format!("not an IPv4 block: {text}"))?;
        let mask = (!0u32).checked_shl(32 - u32::from(prefix)).unwrap_or(0);
        Ok(Cidr { address: Ipv4Addr::from(u32::from(address) & mask), prefix })
    }
}

impl fmt::Display for Cidr {
    /// As nft lists it: a host has no `/32`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.prefix == 32 {
            write!(f, "{}", self.address)
        } else {
            write!(f, "{}/{}", self.address, self.prefix)
        }
    }
}

/// Where a base chain hooks in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hook {
    /// `filter` or `nat`.
    pub r#type: &'static str,
    /// `prerouting`, `input`, …
    pub hook: &'static str,
    /// Priority as nft lists it.
    pub priority: &'static str,
}

/// A named list of rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Name.
    pub name: String,
    /// Only base chains have one.
    pub hook: Option<Hook>,
    /// Comment of the chain.
    pub comment: Option<&'static str>,
    /// Rules in order.
    pub rules: Vec<Rule>,
}

/// One line: all matches must hold, then the statement acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Conditions.
    pub matches: Vec<Match>,
    /// What happens.
    pub statement: Statement,
    /// Comment.
    pub comment: Option<&'static str>,
    /// Object and field the line comes from; none for the fixed frame.
    pub source: Option<Arc<Source>>,
}

impl Rule {
    /// A rule of the fixed frame.
    pub fn new(matches: Vec<Match>, statement: Statement) -> Self {
        Rule { matches, statement, comment: None, source: None }
    }
    /// The same with a comment.
    pub fn comment(mut self, comment: &'static str) -> Self {
        self.comment = Some(comment);
        self
    }
    /// The same with its source.
    pub fn source(mut self, source: &Arc<Source>) -> Self {
        self.source = Some(source.clone());
        self
    }
}

/// A condition of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// `ct state new`
    StateNew,
    /// `ip daddr @set`
    DestinationIn(&'static str),
    /// `ip daddr block`
    Destination(Cidr),
    /// `ip saddr block`
    Source(Cidr),
    /// `ip saddr != block`
    SourceNot(Cidr),
    /// `ip saddr != { … }`
    SourceNotIn(Vec<Cidr>),
    /// `ip saddr @affinity-…`
    SourceRemembered(String),
    /// `fib saddr type local`
    SourceLocal,
    /// `meta l4proto p`
    Protocol(Protocol),
    /// `meta mark & 0x4000 != 0`
    Marked,
    /// A translated packet from an endpoint to itself.
    Hairpin,
}

/// What a rule does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// Walk another chain, then come back.
    Jump(String),
    /// Walk another chain instead of the rest of this one.
    Goto(String),
    /// Look up destination, protocol and port, and do what the element says.
    ServiceMap(&'static str),
    /// Look up protocol and port.
    NodePortMap(&'static str),
    /// Mark for masquerading.
    Mark,
    /// Translate to one of these at random.
    DnatRandom(Vec<(Ipv4Addr, u16)>),
    /// Translate to this.
    Dnat(Ipv4Addr, u16),
    /// Go to one of these chains at random.
    GotoRandom(Vec<String>),
    /// Remember the source in a set.
    Remember(String),
    /// Clear the mark and masquerade.
    MasqueradeMarked,
    /// Masquerade.
    Masquerade,
    /// Answer with an ICMP error.
    Reject,
    /// Discard.
    Drop,
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Match::StateNew => f.write_str("ct state new"),
            Match::DestinationIn(set) => write!(f, "ip daddr @{set}"),
            Match::Destination(cidr) => write!(f, "ip daddr {cidr}"),
            Match::Source(cidr) => write!(f, "ip saddr {cidr}"),
            Match::SourceNot(cidr) => write!(f, "ip saddr != {cidr}"),
            Match::SourceNotIn(cidrs) => {
                let texts: Vec<String> = cidrs.iter().map(ToString::to_string).collect();
                write!(f, "ip saddr != {{ {} }}", texts.join(", "))
            }
            Match::SourceRemembered(set) => write!(f, "ip saddr @{set}"),
            Match::SourceLocal => f.write_str("fib saddr type local"),
            Match::Protocol(protocol) => write!(f, "meta l4proto {protocol}"),
            Match::Marked => write!(f, "meta mark & {MASQUERADE_MARK:#010x} != 0x00000000"),
            Match::Hairpin => f.write_str(
                "ct status dnat ip saddr . ip daddr . meta l4proto . th dport @hairpin-connections",
            ),
        }
    }
}

fn numbered<T>(items: &[T], text: impl Fn(&T) -> String) -> String {
    let lines: Vec<String> =
        items.iter().enumerate().map(|(i, item)| format!("{i} : {}", text(item))).collect();
    lines.join(", ")
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Statement::Jump(chain) => write!(f, "jump {chain}"),
            Statement::Goto(chain) => write!(f, "goto {chain}"),
            Statement::ServiceMap(map) => write!(f, "ip daddr . meta l4proto . th dport vmap @{map}"),
            Statement::NodePortMap(map) => write!(f, "meta l4proto . th dport vmap @{map}"),
            Statement::Mark => write!(f, "meta mark set meta mark | {MASQUERADE_MARK:#010x}"),
            Statement::DnatRandom(targets) => write!(
                f,
                "dnat ip to numgen random mod {} map {{ {} }}",
                targets.len(),
                numbered(targets, |(ip, port)| format!("{ip} . {port}"))
            ),
            Statement::Dnat(ip, port) => write!(f, "dnat to {ip}:{port}"),
            Statement::GotoRandom(chains) => write!(
                f,
                "numgen random mod {} vmap {{ {} }}",
                chains.len(),
                numbered(chains, |chain| format!("goto {chain}"))
            ),
            Statement::Remember(set) => write!(f, "update @{set} {{ ip saddr }}"),
            Statement::MasqueradeMarked => {
                write!(f, "meta mark set meta mark ^ {MASQUERADE_MARK:#010x} masquerade fully-random")
            }
            Statement::Masquerade => f.write_str("masquerade fully-random"),
            Statement::Reject => f.write_str("reject"),
            Statement::Drop => f.write_str("drop"),
        }
    }
}

impl fmt::Display for Rule {
    /// The line as `nft list` prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for condition in &self.matches {
            write!(f, "{condition} ")?;
        }
        write!(f, "{}", self.statement)?;
        match self.comment {
            Some(comment) => write!(f, " comment \"{comment}\""),
            None => Ok(()),
        }
    }
}
