//! Lists taken as sets.

use super::mistyped;
use crate::equal::contains;
use crate::value::{Outcome, Val};

/// A function of sets.
pub(crate) fn call<'a>(function: &str, args: &[Val<'a>]) -> Outcome<'a> {
    let [a, b] = args else { return mistyped(function, args) };
    let (Some(x), Some(y)) = (a.items(), b.items()) else { return mistyped(function, args) };
    let (x, y) = (x?, y?);
    let within =
        |set: &Val<'a>, items: &[Val<'a>]| items.iter().all(|item| contains(set, item) == Some(true));
    Ok(Val::Bool(match function {
        "sets.contains" => within(a, &y),
        "sets.equivalent" => within(a, &y) && within(b, &x),
        _ => y.iter().any(|item| contains(a, item) == Some(true)),
    }))
}
