//! The order of merged lists: what the patch lists comes in its order, what only the server has stays where it was.

use std::collections::HashMap;

use apiserver_json::{Items, Value};

use super::PatchError;
use super::directives::{PATCH, bad_argument, fail, no_merge_key};
use crate::golang;

/// The identity of a list element: its merge key's value, or itself.
fn identity<'a>(value: &'a Value, merge_key: &str) -> &'a Value {
    if merge_key.is_empty() { value } else { value.get(merge_key).unwrap_or(&Value::Null) }
}

/// Positions of a list's elements by identity; the first of equals counts.
struct Positions(HashMap<String, usize>);

impl Positions {
    fn of(list: &[Value], merge_key: &str) -> Self {
        let mut out = HashMap::with_capacity(list.len());
        for (i, value) in list.iter().enumerate() {
            out.entry(identity(value, merge_key).to_string()).or_insert(i);
        }
        Self(out)
    }

    fn get(&self, value: &Value, merge_key: &str) -> Option<usize> {
        self.0.get(&identity(value, merge_key).to_string()).copied()
    }
}

/// Puts `merged` into order: elements of `wanted` first by its order, the others woven in by `live`'s.
pub(super) fn arrange(
    merged: Items,
    wanted: &[Value],
    live: &[Value],
    merge_key: &str,
) -> Result<Items, PatchError> {
    if !merge_key.is_empty() {
        for item in merged.iter().chain(wanted) {
            let Value::Object(map) = item else { return bad_argument("map[string]interface {}", item) };
            if !map.contains_key(merge_key) {
                return no_merge_key(map, merge_key);
            }
        }
    }
    let in_wanted = Positions::of(wanted, merge_key);
    let in_live = Positions::of(live, merge_key);
    let (mut patched, mut own): (Items, Items) =
        merged.into_iter().partition(|item| in_wanted.get(item, merge_key).is_some());
    sort_by(&mut patched, &in_wanted, merge_key);
    sort_by(&mut own, &in_live, merge_key);
    Ok(weave(own, patched, &in_live, merge_key))
}

fn sort_by(items: &mut Items, order: &Positions, merge_key: &str) {
    let is_delete =
        |v: &Value| !merge_key.is_empty() && v.get(PATCH).and_then(Value::as_str) == Some("delete");
    let (deletes, mut kept): (Items, Items) = std::mem::take(items).into_iter().partition(is_delete);
    kept.sort_by_key(|item| order.get(item, merge_key).unwrap_or(usize::MAX));
    kept.extend(deletes);
    *items = kept;
}

/// Inserts the server's own elements before the first patched element that stands behind them in the live list.
fn weave(own: Items, patched: Items, live: &Positions, merge_key: &str) -> Items {
    let mut out = Items::with_capacity(own.len() + patched.len());
    let mut own = own.into_iter().peekable();
    let mut patched = patched.into_iter().peekable();
    loop {
        let take_own = match (own.peek(), patched.peek()) {
            (None, None) => return out,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(a), Some(b)) => match (live.get(a, merge_key), live.get(b, merge_key)) {
                (Some(a), Some(b)) => a < b,
                _ => false,
            },
        };
        out.extend(if take_own { own.next() } else { patched.next() });
    }
}

/// Checks that the patch's list stands in the order that `$setElementOrder` gives, and has nothing else.
pub(super) fn check_order(patch: &[Value], order: &[Value], merge_key: &str) -> Result<(), PatchError> {
    if patch.is_empty() || order.is_empty() {
        return Ok(());
    }
    let mut kept = Vec::new();
    for item in patch {
        match item {
            Value::Object(map) if map.contains_key(PATCH) => {}
            Value::Object(map) if !merge_key.is_empty() && !map.contains_key(merge_key) => {
                return no_merge_key(map, merge_key);
            }
            other if !merge_key.is_empty() && !other.is_object() => {
                return bad_argument("map[string]interface {}", other);
            }
            other => kept.push(identity(other, merge_key)),
        }
    }
    let mut next = kept.into_iter().peekable();
    for item in order {
        match item {
            Value::Object(map) if !merge_key.is_empty() && !map.contains_key(merge_key) => {
                return no_merge_key(map, merge_key);
            }
            other if !merge_key.is_empty() && !other.is_object() => {
                return bad_argument("map[string]interface {}", other);
            }
            other => drop(next.next_if(|wanted| *wanted == identity(other, merge_key))),
        }
    }
    if next.peek().is_none() {
        return Ok(());
    }
    let show = |list: &[Value]| golang::display(&Value::from(list));
    fail(format!(
        "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
        show(patch),
        show(order)
    ))
}
