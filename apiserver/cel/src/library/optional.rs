//! Optional values.

use std::sync::Arc;

use super::mistyped;
use crate::value::{Outcome, Val, fail, list};

/// A function of optionals.
pub(crate) fn call<'a>(function: &str, args: &[Val<'a>]) -> Outcome<'a> {
    match (function, args) {
        ("optional.none", []) => Ok(Val::Optional(None)),
        ("optional.of", [value]) => Ok(Val::Optional(Some(Arc::new(value.clone())))),
        ("optional.ofNonZeroValue", [value]) => {
            Ok(Val::Optional((!value.is_zero()).then(|| Arc::new(value.clone()))))
        }
        ("optional.unwrap" | "unwrapOpt", [values]) => {
            let Some(items) = values.items() else { return mistyped(function, args) };
            let mut out = Vec::new();
            for item in items? {
                match item {
                    Val::Optional(Some(value)) => out.push((*value).clone()),
                    Val::Optional(None) => {}
                    _ => return mistyped(function, args),
                }
            }
            Ok(list(out))
        }
        ("hasValue", [Val::Optional(value)]) => Ok(Val::Bool(value.is_some())),
        ("value", [Val::Optional(Some(value))]) => Ok((**value).clone()),
        ("value", [Val::Optional(None)]) => fail("optional.none() dereference"),
        ("or", [Val::Optional(None), other]) | ("orValue", [Val::Optional(None), other]) => Ok(other.clone()),
        ("or", [some @ Val::Optional(_), _]) => Ok(some.clone()),
        ("orValue", [Val::Optional(Some(value)), _]) => Ok((**value).clone()),
        _ => mistyped(function, args),
    }
}
