//! What the objects of a namespace use of a quota together: `CalculateUsage` upstream.

use jiff::Timestamp;
use serde_json::Value;

use crate::amount::Amount;
use crate::amounts::{self, Amounts};
use crate::measure::Measure;
use crate::scope;

/// The resources whose objects a quota's amount is about, as (group, resource), or `None` where only its name knows:
/// `count/widgets.example.com`.
pub fn measured(name: &str) -> Option<(&str, &str)> {
    if let Some(counted) = name.strip_prefix("count/") {
        return Some(match counted.split_once('.') {
            Some((resource, group)) => (group, resource),
            None => ("", counted),
        });
    }
    let known = ["pods", "services", "persistentvolumeclaims"];
    let special = known.into_iter().find(|known| Measure::of("", known).is_some_and(|one| one.counts(name)));
    let alias = || Measure::of("", name).filter(|measure| measure.counts(name)).map(|_| name);
    special.or_else(alias).map(|resource| ("", resource))
}

/// What has to be looked at to know what is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Nothing,
    /// How many objects there are.
    Count,
    Objects,
}

/// What these amounts of a quota need, which are all the measure's.
pub fn need(measure: &Measure, spec: &Value, names: &[&str]) -> Need {
    let counted = |name: &&str| name.starts_with("count/") || PLAIN.contains(name);
    let scoped = !scope::requirements(spec).is_empty();
    match measure {
        // Scopes are about what these are not.
        Measure::Services | Measure::Objects(_) if scoped => Need::Nothing,
        Measure::Objects(_) => Need::Count,
        _ if !scoped && names.iter().all(counted) => Need::Count,
        _ => Need::Objects,
    }
}

/// Amounts without `count/` that count objects whatever these are.
const PLAIN: &[&str] = &["services", "persistentvolumeclaims"];

/// What objects use of these amounts of a quota, which are all the measure's.
pub fn of_objects<'a>(
    measure: &Measure,
    spec: &Value,
    names: &[&str],
    objects: impl Iterator<Item = &'a Value>,
    now: Timestamp,
) -> Amounts {
    let requirements = scope::requirements(spec);
    let mut used: Amounts = names.iter().map(|name| ((*name).to_owned(), Amount::ZERO)).collect();
    for object in objects.filter(|object| measure.matches(&requirements, object)) {
        amounts::add(&mut used, &amounts::only(&measure.usage(object, now), names));
    }
    used
}

/// What that many objects use where counting is enough.
pub fn of_count(names: &[&str], count: usize) -> Amounts {
    names.iter().map(|name| ((*name).to_owned(), Amount::count(count))).collect()
}
