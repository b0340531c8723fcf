//! The prices of the functions of lists and sets, as cel-go's extensions estimate them.

use super::{CHARACTER, Measure, Price};
use crate::ast::{Kind, Literal};
use crate::cost::Part;
use crate::size::Range;

/// What a list that is made costs beside its items: the call, and the list.
pub(crate) const NEW_LIST: u64 = 1 + 10;
/// Items that are compared with each other are looked at twice.
pub(crate) const COMPARISON: f64 = 2.0;

/// The price of an overload; `None` for what is no function of lists or sets.
pub(super) fn price(
    overload: &str,
    target: Option<&Part<'_>>,
    args: &[Part<'_>],
    measure: Measure<'_>,
) -> Option<Price> {
    match (overload, target, args) {
        ("list_slice", Some(list), [from, to]) => {
            let (from, to) = (written(from).unwrap_or(0), written(to).unwrap_or(measure(list).max));
            Some(made(1.0, Range::fixed(to.wrapping_sub(from))))
        }
        ("lists_range", None, [count]) => Some(made(1.0, Range::fixed(written(count).unwrap_or(u64::MAX)))),
        ("list_reverse", Some(list), []) => Some(made(1.0, measure(list))),
        ("list_flatten", Some(list), []) => Some(made(1.0, measure(list))),
        ("list_flatten_int", Some(list), [depth]) => {
            Some(made(written(depth).unwrap_or(u64::MAX) as f64, measure(list)))
        }
        ("list_distinct", Some(list), []) => Some(compared(COMPARISON, measure(list))),
        (_, Some(list), []) if overload.starts_with("list_") && overload.ends_with("_sort") => {
            Some(compared(sorting(overload), measure(list)))
        }
        (_, Some(_), [keys]) if overload.ends_with("_sortByAssociatedKeys") => {
            Some(compared(sorting(overload), measure(keys)))
        }
        ("list_sets_contains_list" | "list_sets_intersects_list", _, [a, b]) => {
            Some((measure(a).times(measure(b)).plus(Range::ONE), None))
        }
        ("list_sets_equivalent_list", _, [a, b]) => {
            Some((measure(a).times(measure(b)).at(COMPARISON).plus(Range::ONE), None))
        }
        _ => None,
    }
}

fn made(factor: f64, size: Range) -> Price {
    (size.at(factor).plus(Range::fixed(NEW_LIST)), Some(size))
}

/// What is compared has the square of its size, which upstream takes for the size of the result, too.
fn compared(factor: f64, size: Range) -> Price {
    made(factor, size.times(size))
}

fn sorting(overload: &str) -> f64 {
    match overload.split('_').nth(1) {
        Some("string" | "bytes") => COMPARISON + CHARACTER,
        _ => COMPARISON,
    }
}

/// The number that is written there.
fn written(part: &Part<'_>) -> Option<u64> {
    match &part.expr?.kind {
        Kind::Literal(Literal::Int(number)) => Some(u64::try_from(*number).unwrap_or(0)),
        _ => None,
    }
}
