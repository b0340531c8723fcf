//! Whether a change fits into the quotas of its namespace: `CheckRequest` upstream, sentence for sentence.

use jiff::Timestamp;
use serde_json::Value;

use crate::amounts::{self, Amounts};
use crate::measure::{Change, Measure};
use crate::scope::{self, Requirement};
use crate::text;

/// Why a change does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody has said yet what is used.
    Unknown(String),
    Final(String),
}

impl Refusal {
    /// The sentence a client reads.
    pub fn sentence(self) -> String {
        match self {
            Self::Unknown(why) | Self::Final(why) => why,
        }
    }
}

struct Quota<'a> {
    value: &'a Value,
    place: usize,
    hard: Amounts,
    used: Amounts,
    requirements: Vec<Requirement<'a>>,
}

/// What the quotas' `status.used` is after the change, by their places in `quotas`; those it leaves alone are left out.
///
/// # Errors
/// Why it does not fit.
pub fn fit(
    quotas: &[Value],
    measure: &Measure,
    change: Change<'_>,
    now: Timestamp,
) -> Result<Vec<(usize, Amounts)>, Refusal> {
    let mut interested = Vec::new();
    for (place, value) in quotas.iter().enumerate() {
        let quota = Quota {
            value,
            place,
            hard: amounts::read(&value["status"], "hard"),
            used: amounts::read(&value["status"], "used"),
            requirements: scope::requirements(&value["spec"]),
        };
        let limited: Vec<&str> =
            quota.hard.keys().map(String::as_str).filter(|name| measure.counts(name)).collect();
        if limited.is_empty() || !measure.matches(&quota.requirements, change.new) {
            continue;
        }
        let name = text(&value["metadata"], "name");
        if let Some(why) = measure.unsaid(change.new, &limited) {
            return Err(Refusal::Final(format!("failed quota: {name}: {why}")));
        }
        if limited.iter().any(|name| !quota.used.contains_key(*name)) {
            let limited = limited.join(",");
            return Err(Refusal::Unknown(format!("status unknown for quota: {name}, resources: {limited}")));
        }
        interested.push(quota);
    }
    if interested.is_empty() {
        return Ok(Vec::new());
    }
    let usage = measure.usage(change.new, now);
    let negative: Vec<&str> =
        usage.iter().filter(|(_, amount)| amount.is_negative()).map(|(name, _)| name.as_str()).collect();
    if !negative.is_empty() {
        let why = format!("quota usage is negative for resource(s): {}", negative.join(","));
        return Err(Refusal::Final(why));
    }
    let before = change.old.map(|old| (old, measure.usage(old, now)));
    let mut changed = Vec::new();
    for quota in &interested {
        // A quota that did not count the object before counts all of it now.
        let counted = before.as_ref().filter(|(old, _)| measure.matches(&quota.requirements, old));
        let growth = amounts::growth(&usage, counted.map_or(&Amounts::new(), |(_, before)| before));
        if let Some(used) = quota.after(&growth, change.subresource)? {
            changed.push((quota.place, used));
        }
    }
    Ok(changed)
}

impl Quota<'_> {
    /// What is used after the growth; `None` where that is what is used now.
    fn after(&self, growth: &Amounts, subresource: &str) -> Result<Option<Amounts>, Refusal> {
        let limited: Vec<&str> = self.hard.keys().map(String::as_str).collect();
        let requested = amounts::only(growth, &limited);
        if requested.is_empty() {
            return Ok(None);
        }
        let mut used = self.used.clone();
        amounts::add(&mut used, &requested);
        let too_much = |name: &&String| matches!((used.get(*name), self.hard.get(*name)), (Some(used), Some(hard)) if used > hard);
        let exceeded: Vec<&str> = requested.keys().filter(too_much).map(String::as_str).collect();
        // A status tells of what happened already.
        if !exceeded.is_empty() && subresource != "status" {
            let shown = |amounts: &Amounts| amounts::shown(&amounts::only(amounts, &exceeded));
            return Err(Refusal::Final(format!(
                "exceeded quota: {}, requested: {}, used: {}, limited: {}",
                text(&self.value["metadata"], "name"),
                shown(&requested),
                shown(&self.used),
                shown(&self.hard)
            )));
        }
        Ok((used != self.used).then_some(used))
    }
}
