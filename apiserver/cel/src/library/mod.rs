//! The functions an expression may call, by their names and what they are given.

mod address;
pub(crate) mod authz;
pub(crate) mod format;
mod lists;
mod named;
mod net;
pub(crate) mod object;
mod optional;
mod quantity;
mod semver;
mod sets;
pub(crate) mod strings;
pub(crate) mod time;
mod url;

use std::sync::Arc;

use object::Opaque;

use crate::convert;
use crate::value::{Outcome, Val, fail, text};

pub(crate) use named::pattern_size;

/// A compiled pattern may take this much memory.
pub(crate) const PATTERN_MAX: usize = 1 << 20;

/// No expression may make a text or a list longer than this: requests are smaller.
pub(crate) const MADE_MAX: usize = 16 << 20;

/// The error of a call that no overload fits. Operators are named where the first value has nothing of the kind, functions
/// with the types they were given, and what values do themselves is not named at all.
pub(crate) fn mistyped<'a>(function: &str, args: &[Val<'a>]) -> Outcome<'a> {
    const PLAIN: &str = "no such overload";
    if matches!(function, "contains" | "startsWith" | "endsWith" | "matches" | "@in" | "!_") {
        return fail(PLAIN);
    }
    if let Some(can) = operates(function, args.first()) {
        return if can { fail(PLAIN) } else { fail(format!("{PLAIN}: {function}")) };
    }
    let types: Vec<&str> = args.iter().map(Val::type_name).collect();
    fail(format!("{PLAIN}: {function}({})", types.join(", ")))
}

/// Whether values like this one have the operator at all; `None` of what is none.
fn operates(operator: &str, value: Option<&Val<'_>>) -> Option<bool> {
    let number = matches!(value, Some(Val::Int(_) | Val::Uint(_) | Val::Double(_)));
    let time = matches!(value, Some(Val::Duration(_) | Val::Timestamp(_)));
    let text = matches!(value, Some(Val::Text(_) | Val::Bytes(_)));
    let list = matches!(value, Some(Val::List(_) | Val::JsonList(..)));
    Some(match operator {
        "size" => text || list || value.is_some_and(Val::is_map),
        "_+_" => number || time || text || list,
        "_-_" => number || time,
        "_*_" | "_/_" => number,
        "_%_" => matches!(value, Some(Val::Int(_) | Val::Uint(_))),
        "-_" => matches!(value, Some(Val::Int(_) | Val::Double(_))),
        "_<_" | "_<=_" | "_>_" | "_>=_" => number || time || text || matches!(value, Some(Val::Bool(_))),
        _ => return None,
    })
}

pub(crate) fn opaque<'a>(inner: Opaque) -> Outcome<'a> {
    Ok(Val::Opaque(Arc::new(inner)))
}

/// Calls a function that is no operator. The receiver of a member function is its first argument.
pub(crate) fn call<'a>(function: &str, args: &[Val<'a>]) -> Outcome<'a> {
    use Opaque as O;
    if let (
        "bool" | "bytes" | "double" | "duration" | "dyn" | "int" | "string" | "timestamp" | "type" | "uint",
        [one],
    ) = (function, args)
    {
        return convert::convert(function, one);
    }
    if function == "size"
        && let [one] = args
        && !matches!(one, Val::Opaque(_))
    {
        return one.size().map_or_else(|| mistyped(function, args), |n| Ok(Val::Int(n as i64)));
    }
    match (function, args.first()) {
        (name, _) if name.starts_with("optional.") => optional::call(function, args),
        ("hasValue" | "value" | "or" | "orValue" | "unwrapOpt", _) => optional::call(function, args),
        (name, _) if name.starts_with("sets.") => sets::call(function, args),
        (name, _) if name.starts_with("format.") => named::call(function, args),
        ("validate", _) => named::call(function, args),
        ("quantity" | "isQuantity", _) | (_, Some(Val::Opaque(_))) => match args.first() {
            Some(Val::Opaque(inner)) => match **inner {
                O::Quantity(_) => quantity::call(function, args),
                O::Semver(_) => semver::call(function, args),
                O::Url(_) => url::call(function, args),
                O::Ip(_) | O::Cidr(_) => net::call(function, args),
                O::Format(_) => named::call(function, args),
                O::Check(..) | O::Verdict(_) => authz::call(function, args),
                O::Made { .. } => mistyped(function, args),
            },
            _ => quantity::call(function, args),
        },
        ("semver" | "isSemver", _) => semver::call(function, args),
        ("url" | "isURL", _) => url::call(function, args),
        ("jsonpatch.escapeKey", Some(Val::Text(key))) => Ok(text(&key.replace('~', "~0").replace('/', "~1"))),
        ("ip" | "isIP" | "ip.isCanonical" | "cidr" | "isCIDR", _) => net::call(function, args),
        (_, Some(Val::Timestamp(_) | Val::Duration(_))) => time::call(function, args),
        (_, Some(Val::List(_) | Val::JsonList(..))) | ("lists.range", _) => lists::call(function, args),
        ("format", Some(Val::Text(_))) => format::call(args),
        ("strings.quote", _) | (_, Some(Val::Text(_))) => strings::call(function, args),
        _ => mistyped(function, args),
    }
}
