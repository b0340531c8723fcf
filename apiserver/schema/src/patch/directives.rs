//! The directives of strategic merge patches: `$patch`, `$retainKeys`, `$setElementOrder/…`,
//! `$deleteFromPrimitiveList/…`.
//!
//! Directives are taken out of a patch here; what they mean for a list's order is in `order`.

use apiserver_json::{Map, Value};

use super::PatchError;
use crate::golang;

pub(super) const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
pub(super) const DELETE_PREFIX: &str = "$deleteFromPrimitiveList";
pub(super) const ORDER_PREFIX: &str = "$setElementOrder";

pub(super) fn fail<T>(message: impl Into<String>) -> Result<T, PatchError> {
    Err(PatchError::Failed(message.into()))
}

/// A directive that is not what it must be.
fn malformed<T>(directive: &str) -> Result<T, PatchError> {
    Err(PatchError::BadRequest(format!("invalid patch format of {directive}")))
}

/// `unknown patch type: nope in map: map[…]`.
pub(super) fn bad_patch_type<T>(directive: &Value, map: &Map) -> Result<T, PatchError> {
    let shown = match directive {
        Value::String(text) => text.to_string(),
        other => format!("%!s({}={})", golang::type_name(other), golang::display(other)),
    };
    fail(format!("unknown patch type: {shown} in map: {}", golang::display(&Value::Object(map.clone()))))
}

/// `map: map[…] does not contain declared merge key: name`.
pub(super) fn no_merge_key<T>(map: &Map, key: &str) -> Result<T, PatchError> {
    let map = golang::display(&Value::Object(map.clone()));
    fail(format!("map: {map} does not contain declared merge key: {key}"))
}

pub(super) fn bad_argument<T>(expected: &str, actual: &Value) -> Result<T, PatchError> {
    let actual = match actual {
        Value::Null => "%!s(<nil>)",
        other => golang::type_name(other),
    };
    fail(format!("expected a {expected}, but received a {actual}"))
}

/// The key after a directive's prefix and slash.
pub(super) fn directive_key<'a>(key: &'a str, prefix: &str) -> Result<&'a str, PatchError> {
    match key.split_once('/') {
        Some((found, rest)) if found == prefix => Ok(rest),
        _ if prefix == DELETE_PREFIX => malformed("primitive list"),
        _ => malformed("setElementOrder list"),
    }
}

/// Clears what `$retainKeys` does not list; the patch may set listed keys only.
pub(super) fn retain_keys(original: &mut Map, patch: &mut Map) -> Result<(), PatchError> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let Value::Array(keys) = keys else { return malformed("retainKeys") };
    let listed = |key: &str| keys.iter().any(|k| k.as_str() == Some(key));
    let free = |key: &str| key.starts_with(DELETE_PREFIX) || key.starts_with(ORDER_PREFIX);
    if patch.iter().any(|(key, value)| !value.is_null() && !free(key) && !listed(key)) {
        return malformed("retainKeys");
    }
    original.retain(|key, _| listed(key));
    Ok(())
}

/// The value without directives, `None` if it is one.
pub(super) fn strip(value: Value) -> Option<Value> {
    match value {
        Value::Object(map) if map.contains_key(PATCH) => None,
        Value::Object(map) => {
            Some(Value::Object(map.into_iter().filter_map(|(key, v)| Some((key, strip(v)?))).collect()))
        }
        Value::Array(items) => Some(Value::Array(items.into_iter().filter_map(strip).collect())),
        other => Some(other),
    }
}

/// Drops null members of maps, however deep.
pub(super) fn discard_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, item| !item.is_null());
            map.values_mut().for_each(discard_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(discard_nulls),
        _ => {}
    }
}

/// The one type of all elements: an error for mixed lists, lists of lists and no elements at all.
pub(super) fn are_maps(lists: &[&[Value]]) -> Result<bool, PatchError> {
    let mut first = None;
    for value in lists.iter().copied().flatten() {
        let name = golang::type_name(value);
        if *first.get_or_insert(name) != name {
            let shown: Vec<_> = lists.iter().map(|list| golang::display(&Value::from(*list))).collect();
            return fail(format!("list element types are not identical: [{}]", shown.join(" ")));
        }
        if value.is_array() {
            return Err(PatchError::Unprocessable("lists of lists are not supported".to_owned()));
        }
    }
    match first {
        Some(name) => Ok(name == "map[string]interface {}"),
        None => fail("no elements in any of the given slices"),
    }
}
