//! What evaluating costs, in cel-go's units: the price list of calls.

use crate::library::object::Opaque;
use crate::library::pattern_size;
use crate::price::lists::{COMPARISON, NEW_LIST};
use crate::value::Val;

const CHARACTER: f64 = 0.1;
const PATTERN: f64 = 0.25;

fn size(value: &Val<'_>) -> u64 {
    match value {
        Val::Optional(Some(inner)) => size(inner),
        other => other.size().map_or(1, |size| size as u64),
    }
}

fn by(size: u64, factor: f64) -> u64 {
    (size as f64 * factor).ceil() as u64
}

fn traversal(value: &Val<'_>) -> u64 {
    match value {
        Val::Text(text) => (text.len() as f64 * CHARACTER) as u64,
        Val::Bytes(bytes) => (bytes.len() as f64 * CHARACTER) as u64,
        other => match other.items() {
            Some(Ok(items)) => items.iter().map(traversal).sum(),
            _ => other.size().map_or(1, |size| size as u64),
        },
    }
}

fn pattern(text: &Val<'_>, pattern: u64) -> u64 {
    by(1 + size(text), CHARACTER).saturating_mul(by(pattern, PATTERN))
}

/// What to compare the items of a list with each other costs.
fn compared(list: &Val<'_>) -> u64 {
    let is_text = matches!(list.items(), Some(Ok(items)) if matches!(items.first(), Some(Val::Text(_) | Val::Bytes(_))));
    let factor = if is_text { COMPARISON + CHARACTER } else { COMPARISON };
    NEW_LIST + (size(list).saturating_mul(size(list)) as f64 * factor) as u64
}

/// The price of a call that gave `result`.
pub(crate) fn call(function: &str, args: &[Val<'_>], result: Option<&Val<'_>>) -> u64 {
    let first = args.first();
    let one = || first.map_or(1, size);
    match (function, args) {
        ("check", _) => 350_000,
        ("isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf", _) => first.map_or(0, traversal),
        ("url" | "lowerAscii" | "upperAscii" | "substring" | "trim", _) => by(one(), CHARACTER),
        ("replace" | "split", _) => by(one(), 2.0 * CHARACTER),
        ("join", _) => by(result.map_or(1, size), 2.0 * CHARACTER),
        ("find" | "findAll" | "matches", [text, expression, ..]) => pattern(text, size(expression)),
        ("cidr" | "isIP" | "isCIDR" | "quantity" | "isQuantity" | "semver" | "isSemver", _) => {
            by(one(), CHARACTER)
        }
        ("ip", [Val::Text(_)]) => by(one(), CHARACTER),
        ("ip.isCanonical", _) => by(one(), 2.0 * CHARACTER),
        ("containsIP" | "containsCIDR", [_, other]) => {
            let mut cost = by(2 * one(), CHARACTER);
            if function == "containsCIDR" {
                cost += by(one(), CHARACTER) + 1;
            }
            if matches!(other, Val::Text(_)) {
                cost += by(size(other), CHARACTER);
            }
            cost
        }
        ("validate", [Val::Opaque(format), text]) => match &**format {
            Opaque::Format(name) => pattern(text, pattern_size(name) as u64),
            _ => 1,
        },
        ("_==_" | "_!=_", [Val::Opaque(_), _]) => 1,
        ("startsWith" | "endsWith", _) => by(one(), CHARACTER),
        ("bytes", [Val::Text(_)]) | ("string", [Val::Bytes(_)]) | ("strings.quote" | "format", _) => {
            by(one(), CHARACTER)
        }
        ("@in", [_, holder]) if !holder.is_map() => size(holder),
        ("_<_" | "_<=_" | "_>_" | "_>=_", [Val::Text(_) | Val::Bytes(_), _]) | ("_==_" | "_!=_", [_, _]) => {
            by(args.iter().map(size).min().unwrap_or(1), CHARACTER)
        }
        ("_+_", [Val::Text(_), Val::Text(_)] | [Val::Bytes(_), Val::Bytes(_)]) => {
            by(args.iter().map(size).sum(), CHARACTER)
        }
        // Joining copies here, which upstream puts off: long lists pay for it.
        ("_+_", [a, b]) if a.items().is_some() => 1 + (size(a) + size(b)) / 16,
        ("contains", [text, part]) => by(size(text), CHARACTER).saturating_mul(by(size(part), CHARACTER)),
        ("sort" | "distinct", [list]) | ("@sortByAssociatedKeys", [_, list]) => compared(list),
        ("flatten", [list]) => NEW_LIST + size(list),
        ("flatten", [list, Val::Int(depth)]) => NEW_LIST + by(size(list), *depth as f64),
        ("reverse", [Val::Text(_)]) => 1,
        ("reverse" | "slice" | "lists.range", _) => NEW_LIST + result.map_or(1, size),
        ("sets.contains" | "sets.intersects", [a, b]) => 1 + size(a).saturating_mul(size(b)),
        ("sets.equivalent", [a, b]) => 1 + by(size(a).saturating_mul(size(b)), COMPARISON),
        _ => 1,
    }
}
