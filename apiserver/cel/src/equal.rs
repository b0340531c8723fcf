//! Equality and order, across the kinds of numbers.

use std::cmp::Ordering;

use apiserver_json::Value;

use crate::decl::ListType;
use crate::value::{Key, Val, from_json};

/// Are two values the same? Values of different types never are.
pub(crate) fn equal(a: &Val<'_>, b: &Val<'_>) -> bool {
    match (a, b) {
        (Val::Null, Val::Null) => true,
        (Val::Bool(a), Val::Bool(b)) => a == b,
        (Val::Text(a), Val::Text(b)) | (Val::Type(a), Val::Type(b)) => a == b,
        (Val::Bytes(a), Val::Bytes(b)) => a == b,
        (Val::Timestamp(a), Val::Timestamp(b)) => a == b,
        (Val::Duration(a), Val::Duration(b)) => a == b,
        (Val::Opaque(a), Val::Opaque(b)) => a == b,
        (Val::Optional(a), Val::Optional(b)) => match (a, b) {
            (None, None) => true,
            (Some(a), Some(b)) => equal(a, b),
            _ => false,
        },
        (Val::Int(_) | Val::Uint(_) | Val::Double(_), Val::Int(_) | Val::Uint(_) | Val::Double(_)) => {
            number_order(a, b) == Some(Ordering::Equal)
        }
        (Val::JsonList(x, None), Val::JsonList(y, None)) => x == y,
        _ if a.is_map() && b.is_map() => maps_equal(a, b),
        _ => lists_equal(a, b),
    }
}

fn maps_equal(a: &Val<'_>, b: &Val<'_>) -> bool {
    let (Some(keys), Some(others)) = (a.keys(), b.keys()) else { return false };
    // What a schema does not know, or an identifier cannot name, still counts.
    if let (Val::JsonMap(x, Some(_)), Val::JsonMap(y, Some(_))) = (a, b) {
        if x.len() != y.len() || x.keys().any(|key| !y.contains_key(key)) {
            return false;
        }
        if keys.len() < x.len() && x == y {
            return true;
        }
    }
    keys.len() == others.len()
        && keys.iter().all(|key| match (a.entry(key), b.entry(key)) {
            (Some(Ok(x)), Some(Ok(y))) => equal(&x, &y),
            (None, None) => true,
            _ => false,
        })
}

fn lists_equal(a: &Val<'_>, b: &Val<'_>) -> bool {
    let (Some(Ok(x)), Some(Ok(y))) = (a.items(), b.items()) else { return false };
    if x.len() != y.len() {
        return false;
    }
    let kind = if *a.list_type() == ListType::Atomic { b.list_type() } else { a.list_type() };
    match kind {
        ListType::Atomic => x.iter().zip(&y).all(|(x, y)| equal(x, y)),
        ListType::Set => {
            let known: std::collections::HashSet<String> = x.iter().map(identity).collect();
            y.iter().all(|item| known.contains(&identity(item)))
        }
        ListType::Map(names) => {
            let known: std::collections::HashMap<String, &Val<'_>> =
                x.iter().map(|item| (key_of(item, names), item)).collect();
            y.iter().all(|item| known.get(&key_of(item, names)).is_some_and(|found| equal(found, item)))
        }
    }
}

/// A text that equal scalars share.
pub(crate) fn identity(value: &Val<'_>) -> String {
    match value {
        Val::Double(f) if f.fract() == 0.0 && f.abs() < 9.0e15 => format!("n{}", *f as i64),
        Val::Int(n) => format!("n{n}"),
        Val::Uint(n) => format!("n{n}"),
        Val::Text(text) => format!("s{text}"),
        other => format!("{other:?}"),
    }
}

/// The key of an item of a list of type map.
pub(crate) fn key_of(item: &Val<'_>, names: &[String]) -> String {
    let Val::JsonMap(map, _) = item else {
        let parts: Vec<String> = names
            .iter()
            .map(|name| match item.entry(&Key::Text(name.as_str().into()).value()) {
                Some(Ok(value)) => crate::convert::to_json(&value).to_string(),
                _ => "null".to_owned(),
            })
            .collect();
        return parts.join("\n");
    };
    let parts: Vec<String> =
        names.iter().map(|name| map.get(name).unwrap_or(&Value::Null).to_string()).collect();
    parts.join("\n")
}

/// The order of two numbers, exact across kinds.
pub(crate) fn number_order(a: &Val<'_>, b: &Val<'_>) -> Option<Ordering> {
    let int = |v: &Val<'_>| match v {
        Val::Int(n) => Some(i128::from(*n)),
        Val::Uint(n) => Some(i128::from(*n)),
        _ => None,
    };
    match (a, b) {
        (Val::Double(a), Val::Double(b)) => a.partial_cmp(b),
        (Val::Double(a), b) => with_double(int(b)?, *a).map(Ordering::reverse),
        (a, Val::Double(b)) => with_double(int(a)?, *b),
        (a, b) => Some(int(a)?.cmp(&int(b)?)),
    }
}

fn with_double(a: i128, b: f64) -> Option<Ordering> {
    if b.is_nan() {
        return None;
    }
    if b.abs() > 1.0e30 {
        return Some(if b > 0.0 { Ordering::Less } else { Ordering::Greater });
    }
    let floor = b.floor();
    Some(a.cmp(&(floor as i128)).then(if b > floor { Ordering::Less } else { Ordering::Equal }))
}

/// The order of two values that have one.
pub(crate) fn order(a: &Val<'_>, b: &Val<'_>) -> Option<Ordering> {
    match (a, b) {
        (Val::Bool(a), Val::Bool(b)) => Some(a.cmp(b)),
        (Val::Text(a), Val::Text(b)) => Some(a.cmp(b)),
        (Val::Bytes(a), Val::Bytes(b)) => Some(a.cmp(b)),
        (Val::Timestamp(a), Val::Timestamp(b)) => Some(a.cmp(b)),
        (Val::Duration(a), Val::Duration(b)) => Some(a.cmp(b)),
        _ => number_order(a, b),
    }
}

/// Is the value among the items?
pub(crate) fn contains(items: &Val<'_>, value: &Val<'_>) -> Option<bool> {
    match items {
        Val::JsonList(raw, None) => {
            Some(raw.iter().any(|item| from_json(item, None).is_ok_and(|item| equal(&item, value))))
        }
        _ => match items.items()? {
            Ok(items) => Some(items.iter().any(|item| equal(item, value))),
            Err(_) => Some(false),
        },
    }
}
