//! What evaluating costs, in cel-go's units: the price list of calls.

use crate::library::object::Opaque;
use crate::library::pattern_size;
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
        ("sort" | "@sortByAssociatedKeys" | "distinct" | "flatten" | "reverse" | "slice", _) => {
            1 + one() / 16
        }
        ("sets.contains" | "sets.equivalent" | "sets.intersects", [a, b]) => {
            1 + size(a).saturating_mul(size(b)) / 16
        }
        ("lists.range", [Val::Int(n)]) => 1 + u64::try_from(*n).unwrap_or(0) / 16,
        _ => 1,
    }
}
