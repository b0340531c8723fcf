//! Operators on values: arithmetic that tells of overflow, comparison, joining.

use std::cmp::Ordering;
use std::collections::HashMap;

use crate::convert::checked_time;
use crate::decl::ListType;
use crate::equal::{contains, equal, identity, key_of, order};
use crate::library::mistyped;
use crate::value::{Outcome, Val, fail, list};

fn checked<'a, T>(value: Option<T>, wrap: fn(T) -> Val<'a>, error: &str) -> Outcome<'a> {
    value.map_or_else(|| fail(error), |value| Ok(wrap(value)))
}

const OVERFLOW: &str = "integer overflow";
const UNSIGNED: &str = "unsigned integer overflow";
const LATER: &str = OVERFLOW;

/// An operator of two operands.
pub(crate) fn binary<'a>(operator: &str, a: &Val<'a>, b: &Val<'a>) -> Outcome<'a> {
    match operator {
        "_==_" => return Ok(Val::Bool(equal(a, b))),
        "_!=_" => return Ok(Val::Bool(!equal(a, b))),
        "_<_" | "_<=_" | "_>_" | "_>=_" => return compare(operator, a, b),
        "@in" => return within(a, b),
        "_[_]" => return index(a, b),
        _ => {}
    }
    let zero = if operator == "_%_" { "modulus by zero" } else { "division by zero" };
    match (operator, a, b) {
        ("_+_", Val::Int(a), Val::Int(b)) => checked(a.checked_add(*b), Val::Int, OVERFLOW),
        ("_-_", Val::Int(a), Val::Int(b)) => checked(a.checked_sub(*b), Val::Int, OVERFLOW),
        ("_*_", Val::Int(a), Val::Int(b)) => checked(a.checked_mul(*b), Val::Int, OVERFLOW),
        ("_/_" | "_%_", Val::Int(_), Val::Int(0)) | ("_/_" | "_%_", Val::Uint(_), Val::Uint(0)) => fail(zero),
        ("_/_", Val::Int(a), Val::Int(b)) => checked(a.checked_div(*b), Val::Int, OVERFLOW),
        ("_%_", Val::Int(a), Val::Int(b)) => checked(a.checked_rem(*b), Val::Int, OVERFLOW),
        ("_+_", Val::Uint(a), Val::Uint(b)) => checked(a.checked_add(*b), Val::Uint, UNSIGNED),
        ("_-_", Val::Uint(a), Val::Uint(b)) => checked(a.checked_sub(*b), Val::Uint, UNSIGNED),
        ("_*_", Val::Uint(a), Val::Uint(b)) => checked(a.checked_mul(*b), Val::Uint, UNSIGNED),
        ("_/_", Val::Uint(a), Val::Uint(b)) => Ok(Val::Uint(a / b)),
        ("_%_", Val::Uint(a), Val::Uint(b)) => Ok(Val::Uint(a % b)),
        ("_+_", Val::Double(a), Val::Double(b)) => Ok(Val::Double(a + b)),
        ("_-_", Val::Double(a), Val::Double(b)) => Ok(Val::Double(a - b)),
        ("_*_", Val::Double(a), Val::Double(b)) => Ok(Val::Double(a * b)),
        ("_/_", Val::Double(a), Val::Double(b)) => Ok(Val::Double(a / b)),
        ("_+_", Val::Text(a), Val::Text(b)) => Ok(Val::Text(format!("{a}{b}").into())),
        ("_+_", Val::Bytes(a), Val::Bytes(b)) => Ok(Val::Bytes([&**a, &**b].concat().into())),
        ("_+_", Val::Duration(a), Val::Duration(b)) => checked(a.checked_add(*b), Val::Duration, LATER),
        ("_-_", Val::Duration(a), Val::Duration(b)) => checked(a.checked_sub(*b), Val::Duration, LATER),
        ("_+_", Val::Timestamp(at), Val::Duration(by)) | ("_+_", Val::Duration(by), Val::Timestamp(at)) => {
            checked_time(at + i128::from(*by))
        }
        ("_-_", Val::Timestamp(at), Val::Duration(by)) => checked_time(at - i128::from(*by)),
        ("_-_", Val::Timestamp(a), Val::Timestamp(b)) => {
            checked(i64::try_from(a - b).ok(), Val::Duration, LATER)
        }
        ("_+_", Val::List(_) | Val::JsonList(..), Val::List(_) | Val::JsonList(..)) => join(a, b),
        _ => mistyped(operator, &[a.clone(), b.clone()]),
    }
}

fn compare<'a>(operator: &str, a: &Val<'a>, b: &Val<'a>) -> Outcome<'a> {
    let numbers = |v: &Val<'_>| matches!(v, Val::Int(_) | Val::Uint(_) | Val::Double(_));
    let Some(order) = order(a, b) else {
        return if numbers(a) && numbers(b) {
            fail("NaN values cannot be ordered")
        } else {
            mistyped(operator, &[a.clone(), b.clone()])
        };
    };
    Ok(Val::Bool(match operator {
        "_<_" => order == Ordering::Less,
        "_<=_" => order != Ordering::Greater,
        "_>_" => order == Ordering::Greater,
        _ => order != Ordering::Less,
    }))
}

fn within<'a>(value: &Val<'a>, holder: &Val<'a>) -> Outcome<'a> {
    if holder.is_map() {
        return Ok(Val::Bool(match holder.entry(value) {
            None => false,
            Some(found) => found.map(|_| true)?,
        }));
    }
    contains(holder, value)
        .map_or_else(|| mistyped("@in", &[value.clone(), holder.clone()]), |found| Ok(Val::Bool(found)))
}

/// `list[i]`, `map[key]`.
pub(crate) fn index<'a>(holder: &Val<'a>, key: &Val<'a>) -> Outcome<'a> {
    if holder.is_map() {
        return holder.entry(key).unwrap_or_else(|| fail(format!("no such key: {}", shown(key))));
    }
    let place = match key {
        Val::Int(i) => *i,
        Val::Uint(i) => i64::try_from(*i).unwrap_or(i64::MAX),
        Val::Double(f) if f.fract() == 0.0 => *f as i64,
        _ if matches!(holder, Val::List(_) | Val::JsonList(..)) => {
            return fail(format!("unsupported index type '{}' in list", key.type_name()));
        }
        _ => return fail(format!("no such key: {}", shown(key))),
    };
    if !matches!(holder, Val::List(_) | Val::JsonList(..)) {
        return fail(format!("no such key: {}", shown(key)));
    }
    let found = usize::try_from(place).ok().and_then(|place| holder.item(place));
    found.unwrap_or_else(|| fail(format!("index out of bounds: {place}")))
}

/// A key as errors show it.
pub(crate) fn shown(key: &Val<'_>) -> String {
    crate::convert::string(key).unwrap_or_else(|| key.type_name().to_owned())
}

/// Joins two lists: sets and maps by their keys.
fn join<'a>(a: &Val<'a>, b: &Val<'a>) -> Outcome<'a> {
    let (Some(x), Some(y)) = (a.items(), b.items()) else { return mistyped("_+_", &[a.clone(), b.clone()]) };
    let (mut x, y) = (x?, y?);
    match a.list_type() {
        ListType::Atomic => x.extend(y),
        kind => {
            let name = |item: &Val<'a>| match kind {
                ListType::Map(names) => key_of(item, names),
                _ => identity(item),
            };
            let mut places: HashMap<String, usize> =
                x.iter().enumerate().map(|(i, item)| (name(item), i)).collect();
            for item in y {
                let key = name(&item);
                match places.get(&key) {
                    Some(place) => x[*place] = item,
                    None => {
                        places.insert(key, x.len());
                        x.push(item);
                    }
                }
            }
        }
    }
    Ok(list(x))
}
