//! Which rule an ALB takes for a request, what its action says, and which target gets it.
//!
//! Pure functions: random numbers, in-flight counts and health are passed in. Nothing is connected or sent.
//! The proxy and the tracer call the same functions.

mod action;
mod condition;
mod glob;
mod select;
mod sticky;

pub use action::{Outcome, choose_target_group, location};
pub use condition::{Mismatch, mismatch};
pub use glob::matches as glob_matches;
pub use select::{Algorithm, Candidates, candidates, select};
pub use sticky::{
    Cookie, Stickiness, sticky_target, sticky_target_group, target_cookies, target_group_cookies,
};

use ccm_mock_aws_api::elbv2::{Action, Listener, Rule};
use std::net::IpAddr;

/// What of a request rules can look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// Method as sent.
    pub method: String,
    /// `http` or `https`.
    pub scheme: String,
    /// Host header or `:authority`, with or without port.
    pub host: String,
    /// Path without query.
    pub path: String,
    /// Query without `?`.
    pub query: Option<String>,
    /// Header names and values in order.
    pub headers: Vec<(String, String)>,
    /// The TCP peer.
    pub source_ip: IpAddr,
}

impl RequestHead {
    /// The host without port.
    pub fn hostname(&self) -> &str {
        match self.host.rsplit_once(':') {
            Some((name, port)) if !name.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => &self.host,
        }
    }
}

/// What an ALB does with a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision<'a> {
    /// The rule; None only if the listener has no default rule object.
    pub rule: Option<&'a Rule>,
    /// The terminal action that was taken.
    pub action: Option<&'a Action>,
    /// What it comes to for this request.
    pub outcome: Outcome,
}

/// The order in which rules are looked at: by priority, the default one last.
pub fn in_order<'a>(rules: &'a [Rule]) -> Vec<&'a Rule> {
    let mut ordered: Vec<&'a Rule> = rules.iter().collect();
    ordered.sort_by_key(|r| r.order());
    ordered
}

/// The first rule whose conditions all hold, and what its action comes to.
pub fn route<'a>(listener: &'a Listener, rules: &'a [Rule], head: &RequestHead) -> Decision<'a> {
    let mut best: Option<&Rule> = None;
    for rule in rules {
        let better = best.is_none_or(|b| rule.order() < b.order());
        if better && rule.conditions.iter().all(|c| condition::holds(c, head)) {
            best = Some(rule);
        }
    }
    let actions = match best {
        Some(rule) => &rule.actions,
        None => &listener.default_actions,
    };
    let action = actions.iter().max_by_key(|a| a.order.unwrap_or(1));
    let outcome = match action {
        Some(action) => action::outcome(action, listener, head),
        None => Outcome::fixed(503, None, None),
    };
    Decision { rule: best, action, outcome }
}

/// Why each rule before the matching one did not match, in order.
pub fn passed_over<'a>(rules: &'a [Rule], head: &RequestHead) -> Vec<(&'a Rule, Mismatch)> {
    let mut out = Vec::new();
    for rule in in_order(rules) {
        match rule.conditions.iter().find_map(|c| mismatch(c, head)) {
            Some(why) => out.push((rule, why)),
            None => break,
        }
    }
    out
}

#[cfg(test)]
mod tests;
