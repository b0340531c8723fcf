//! What a node's program does to one new connection: the chains walked and the verdict.
//!
//! It evaluates the first packet of a connection; later packets follow conntrack and are not looked at again.

use crate::program::{Element, ElementKey, Program, Source};
use crate::rule::{Chain, Match, Rule, Statement};
use crate::service::Protocol;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// The first packet of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Source address.
    pub source: Ipv4Addr,
    /// Source port.
    pub source_port: u16,
    /// Destination address.
    pub destination: Ipv4Addr,
    /// Destination port.
    pub destination_port: u16,
    /// Protocol.
    pub protocol: Protocol,
}

/// How the packet gets to the node's rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// From the network or from a Pod of the node: prerouting.
    Arriving,
    /// From a process on the node itself: output.
    Local,
}

/// How a random choice falls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// A random number; taken modulo the number of alternatives.
    Random(u64),
    /// The alternative that leads to this endpoint, if there is one; otherwise the first.
    Endpoint(Ipv4Addr, u16),
}

/// The memory of session affinity.
pub trait Affinity {
    /// True if `client` is remembered in `set`.
    fn remembers(&self, set: &str, client: Ipv4Addr) -> bool;
}

/// Nobody is remembered.
pub struct NoAffinity;

impl Affinity for NoAffinity {
    fn remembers(&self, _: &str, _: Ipv4Addr) -> bool {
        false
    }
}

/// What becomes of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on, perhaps translated.
    Accept {
        /// Destination after the rules.
        destination: (Ipv4Addr, u16),
        /// Source after the rules.
        source: Ipv4Addr,
    },
    /// The source gets an error at once.
    Reject,
    /// The source hears nothing.
    Drop,
}

/// A line that acted, or a lookup that found nothing.
#[derive(Debug, Clone)]
pub struct Step<'a> {
    /// Chain.
    pub chain: &'a str,
    /// The line.
    pub rule: &'a Rule,
    /// For a map: the element found.
    pub element: Option<&'a Arc<Element>>,
    /// For a random choice: index and number of alternatives.
    pub chosen: Option<(usize, usize)>,
    /// False for a lookup that found nothing.
    pub hit: bool,
}

impl Step<'_> {
    /// The line as nft lists it; for a map with the element that was found.
    pub fn line(&self) -> String {
        match self.element {
            Some(element) => format!("{} → {element}", self.rule),
            None => self.rule.to_string(),
        }
    }
    /// Object and field behind it.
    pub fn source(&self) -> Option<&Source> {
        self.element.map(|e| e.source.as_ref()).or(self.rule.source.as_deref())
    }
}

/// Verdict, way, and what is to be remembered.
#[derive(Debug, Clone)]
pub struct Evaluation<'a> {
    /// What becomes of the connection.
    pub verdict: Verdict,
    /// True if the destination was translated.
    pub translated: bool,
    /// True if the source becomes the node.
    pub masqueraded: bool,
    /// Lines that acted, in order.
    pub steps: Vec<Step<'a>>,
    /// Affinity set to remember the client in.
    pub remember: Option<&'a str>,
}

enum End {
    Accept,
    Reject,
    Drop,
}

struct Walk<'a, 'b> {
    program: &'a Program,
    packet: Packet,
    choice: Choice,
    affinity: &'b dyn Affinity,
    marked: bool,
    translated: bool,
    masqueraded: bool,
    remember: Option<&'a str>,
    steps: Vec<Step<'a>>,
}

/// Chains can nest only this deep; the program never comes near.
const MAX_DEPTH: usize = 16;

/// Walk the program for a packet.
pub fn evaluate<'a>(
    program: &'a Program,
    packet: Packet,
    entry: Entry,
    choice: Choice,
    affinity: &dyn Affinity,
) -> Evaluation<'a> {
    let mut walk = Walk {
        program,
        packet,
        choice,
        affinity,
        marked: false,
        translated: false,
        masqueraded: false,
        remember: None,
        steps: Vec::new(),
    };
    let before: &[&str] = match entry {
        Entry::Arriving => &["filter-prerouting-pre-dnat", "nat-prerouting"],
        Entry::Local => &["filter-output-pre-dnat", "nat-output", "filter-output"],
    };
    let mut end = walk.hooks(before);
    if end.is_none() {
        let local = program.is_local(walk.packet.destination);
        let after: &[&str] = match (entry, local) {
            (Entry::Arriving, true) => &["filter-input"],
            (Entry::Arriving, false) => &["filter-forward", "nat-postrouting"],
            (Entry::Local, true) => &["nat-postrouting", "filter-input"],
            (Entry::Local, false) => &["nat-postrouting"],
        };
        end = walk.hooks(after);
    }
    let verdict = match end {
        Some(End::Reject) => Verdict::Reject,
        Some(End::Drop) => Verdict::Drop,
        Some(End::Accept) | None => Verdict::Accept {
            destination: (walk.packet.destination, walk.packet.destination_port),
            source: if walk.masqueraded { program.node().ip } else { packet.source },
        },
    };
    Evaluation {
        verdict,
        translated: walk.translated,
        masqueraded: walk.masqueraded,
        steps: walk.steps,
        remember: walk.remember,
    }
}

impl<'a> Walk<'a, '_> {
    /// Run base chains; accepting in one does not end the others, rejecting or dropping does.
    fn hooks(&mut self, chains: &[&str]) -> Option<End> {
        for name in chains {
            match self.chain(name, 0) {
                Some(End::Accept) | None => {}
                end => return end,
            }
        }
        None
    }

    fn chain(&mut self, name: &str, depth: usize) -> Option<End> {
        let program = self.program;
        let chain: &'a Chain = program.chain(name)?;
        if depth > MAX_DEPTH {
            return Some(End::Drop);
        }
        for rule in &chain.rules {
            if !rule.matches.iter().all(|m| self.matches(m)) {
                continue;
            }
            match self.act(chain, rule, depth) {
                Flow::Next => {}
                Flow::Leave(end) => return end,
            }
        }
        None
    }

    fn matches(&self, condition: &Match) -> bool {
        let packet = &self.packet;
        match condition {
            Match::StateNew => true,
            Match::DestinationIn("nodeport-ips") => packet.destination == self.program.node().ip,
            Match::DestinationIn(set) => {
                self.program.element(set, ElementKey::Ip(packet.destination)).is_some()
            }
            Match::Destination(cidr) => cidr.contains(packet.destination),
            Match::Source(cidr) => cidr.contains(packet.source),
            Match::SourceNot(cidr) => !cidr.contains(packet.source),
            Match::SourceNotIn(cidrs) => !cidrs.iter().any(|c| c.contains(packet.source)),
            Match::SourceRemembered(set) => self.affinity.remembers(set, packet.source),
            Match::SourceLocal => self.program.is_local(packet.source),
            Match::Protocol(protocol) => packet.protocol == *protocol,
            Match::Marked => self.marked,
            Match::Hairpin => {
                let key = ElementKey::Hairpin(packet.destination, packet.protocol, packet.destination_port);
                self.translated
                    && packet.source == packet.destination
                    && self.program.element("hairpin-connections", key).is_some()
            }
        }
    }

    fn step(&mut self, chain: &'a Chain, rule: &'a Rule) -> &mut Step<'a> {
        self.steps.push(Step { chain: &chain.name, rule, element: None, chosen: None, hit: true });
        let last = self.steps.len() - 1;
        &mut self.steps[last]
    }

    fn act(&mut self, chain: &'a Chain, rule: &'a Rule, depth: usize) -> Flow {
        match &rule.statement {
            Statement::Jump(to) => {
                self.step(chain, rule);
                match self.chain(to, depth + 1) {
                    None => Flow::Next,
                    end => Flow::Leave(end),
                }
            }
            Statement::Goto(to) => {
                self.step(chain, rule);
                Flow::Leave(self.chain(to, depth + 1))
            }
            Statement::ServiceMap(map) => {
                let packet = self.packet;
                let key = ElementKey::Service(packet.destination, packet.protocol, packet.destination_port);
                self.lookup(chain, rule, map, key, depth)
            }
            Statement::NodePortMap(map) => {
                let key = ElementKey::NodePort(self.packet.protocol, self.packet.destination_port);
                self.lookup(chain, rule, map, key, depth)
            }
            Statement::Mark => {
                self.step(chain, rule);
                self.marked = true;
                Flow::Next
            }
            Statement::DnatRandom(targets) => {
                let index = self.choose(targets.len(), |i, ip, port| targets[i] == (ip, port));
                self.step(chain, rule).chosen = Some((index, targets.len()));
                match targets.get(index) {
                    Some(target) => self.translate(*target),
                    None => Flow::Leave(Some(End::Drop)),
                }
            }
            Statement::Dnat(ip, port) => {
                self.step(chain, rule);
                self.translate((*ip, *port))
            }
            Statement::GotoRandom(chains) => {
                let index =
                    self.choose(chains.len(), |i, ip, port| chains[i].ends_with(&format!("__{ip}/{port}")));
                self.step(chain, rule).chosen = Some((index, chains.len()));
                match chains.get(index) {
                    Some(to) => Flow::Leave(self.chain(to, depth + 1)),
                    None => Flow::Leave(Some(End::Drop)),
                }
            }
            Statement::Remember(set) => {
                self.step(chain, rule);
                self.remember = Some(set);
                Flow::Next
            }
            Statement::Masquerade | Statement::MasqueradeMarked => {
                self.step(chain, rule);
                self.masqueraded = true;
                Flow::Leave(Some(End::Accept))
            }
            Statement::Reject => {
                self.step(chain, rule);
                Flow::Leave(Some(End::Reject))
            }
            Statement::Drop => {
                self.step(chain, rule);
                Flow::Leave(Some(End::Drop))
            }
        }
    }

    fn lookup(
        &mut self,
        chain: &'a Chain,
        rule: &'a Rule,
        map: &'static str,
        key: ElementKey,
        depth: usize,
    ) -> Flow {
        let program = self.program;
        let found = program.element(map, key);
        let step = self.step(chain, rule);
        step.element = found;
        step.hit = found.is_some();
        match found.and_then(|e| e.verdict.as_ref()) {
            Some(Statement::Goto(to)) => Flow::Leave(self.chain(to, depth + 1)),
            Some(Statement::Drop) => Flow::Leave(Some(End::Drop)),
            _ => Flow::Next,
        }
    }

    fn choose(&self, count: usize, is: impl Fn(usize, Ipv4Addr, u16) -> bool) -> usize {
        match self.choice {
            Choice::Random(n) => usize::try_from(n % count.max(1) as u64).unwrap_or(0),
            Choice::Endpoint(ip, port) => (0..count).find(|i| is(*i, ip, port)).unwrap_or(0),
        }
    }

    fn translate(&mut self, (ip, port): (Ipv4Addr, u16)) -> Flow {
        self.packet.destination = ip;
        self.packet.destination_port = port;
        self.translated = true;
        Flow::Leave(Some(End::Accept))
    }
}

enum Flow {
    Next,
    Leave(Option<End>),
}
