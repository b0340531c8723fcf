//! Functions of lists.

use std::cmp::Ordering;
use std::collections::HashSet;

use super::{MADE_MAX, mistyped, strings};
use crate::equal::{equal, identity, order};
use crate::value::{Failure, Outcome, Val, fail, list};

fn flatten<'a>(items: Vec<Val<'a>>, level: i64, out: &mut Vec<Val<'a>>) -> Result<(), Failure> {
    for item in items {
        match item.items() {
            Some(inner) if level > 0 => flatten(inner?, level - 1, out)?,
            _ => out.push(item),
        }
        if out.len() > MADE_MAX {
            return Err(Failure {
                message: "operation cancelled: actual cost limit exceeded".into(),
                fatal: true,
            });
        }
    }
    Ok(())
}

fn sort<'a>(items: Vec<Val<'a>>, keys: &[Val<'a>]) -> Outcome<'a> {
    if items.len() != keys.len() {
        return fail(format!(
            "@sortByAssociatedKeys() expected a list of the same size as the associated keys list, but got {} and {} elements respectively",
            items.len(),
            keys.len()
        ));
    }
    let name = |value: &Val<'_>| value.type_name().to_owned();
    if keys.windows(2).any(|pair| name(&pair[0]) != name(&pair[1])) {
        return fail("list elements must have the same type");
    }
    if keys.iter().any(|key| order(key, key).is_none()) {
        return fail("list elements must be comparable");
    }
    let mut places: Vec<usize> = (0..items.len()).collect();
    places.sort_by(|a, b| order(&keys[*a], &keys[*b]).unwrap_or(Ordering::Equal));
    Ok(list(places.into_iter().map(|place| items[place].clone()).collect()))
}

fn sum<'a>(items: &[Val<'a>]) -> Outcome<'a> {
    let mut total = match items.first() {
        None => return Ok(Val::Int(0)),
        Some(Val::Int(_)) => Val::Int(0),
        Some(Val::Uint(_)) => Val::Uint(0),
        Some(Val::Double(_)) => Val::Double(0.0),
        Some(Val::Duration(_)) => Val::Duration(0),
        Some(_) => return fail("no such overload: sum(list)"),
    };
    for item in items {
        total = crate::operators::binary("_+_", &total, item)?;
    }
    Ok(total)
}

fn extreme<'a>(function: &str, items: &[Val<'a>]) -> Outcome<'a> {
    let wanted = if function == "min" { Ordering::Less } else { Ordering::Greater };
    let mut best = match items.first() {
        Some(first) => first,
        None => return fail(format!("{function} called on empty list")),
    };
    for item in &items[1..] {
        // What can't be compared is neither less nor greater.
        if order(item, best) == Some(wanted) {
            best = item;
        }
    }
    Ok(best.clone())
}

fn slice<'a>(items: &[Val<'a>], start: i64, end: i64) -> Outcome<'a> {
    if start < 0 || end < 0 {
        return fail(format!("cannot slice({start}, {end}), negative indexes not supported"));
    }
    if start > end {
        return fail(format!(
            "cannot slice({start}, {end}), start index must be less than or equal to end index"
        ));
    }
    match items.get(start as usize..end as usize) {
        Some(part) => Ok(list(part.to_vec())),
        None => fail(format!("cannot slice({start}, {end}), list is length {}", items.len())),
    }
}

fn distinct(items: Vec<Val<'_>>) -> Vec<Val<'_>> {
    let mut seen = HashSet::new();
    let mut out: Vec<Val<'_>> = Vec::new();
    for item in items {
        let scalar = matches!(
            item,
            Val::Bool(_) | Val::Int(_) | Val::Uint(_) | Val::Double(_) | Val::Text(_) | Val::Null
        );
        let new =
            if scalar { seen.insert(identity(&item)) } else { !out.iter().any(|known| equal(known, &item)) };
        if new {
            out.push(item);
        }
    }
    out
}

/// A function of lists.
pub(crate) fn call<'a>(function: &str, args: &[Val<'a>]) -> Outcome<'a> {
    if let ("lists.range", [Val::Int(n)]) = (function, args) {
        if *n > MADE_MAX as i64 / 16 {
            return Err(Failure {
                message: "operation cancelled: actual cost limit exceeded".into(),
                fatal: true,
            });
        }
        return Ok(list((0..*n).map(Val::Int).collect()));
    }
    let Some((target, rest)) = args.split_first() else { return mistyped(function, args) };
    let Some(items) = target.items() else { return mistyped(function, args) };
    let mut items = items?;
    let some = |item: Option<&Val<'a>>| Ok(Val::Optional(item.cloned().map(std::sync::Arc::new)));
    let place = |at: Option<usize>| Ok(Val::Int(at.map_or(-1, |at| at as i64)));
    match (function, rest) {
        ("join", []) => strings::join(&items, ""),
        ("join", [Val::Text(separator)]) => strings::join(&items, separator),
        ("sum", []) => sum(&items),
        ("min" | "max", []) => extreme(function, &items),
        ("isSorted", []) => {
            Ok(Val::Bool(items.windows(2).all(|pair| order(&pair[0], &pair[1]) != Some(Ordering::Greater))))
        }
        ("indexOf", [wanted]) => place(items.iter().position(|item| equal(item, wanted))),
        ("lastIndexOf", [wanted]) => place(items.iter().rposition(|item| equal(item, wanted))),
        ("first", []) => some(items.first()),
        ("last", []) => some(items.last()),
        ("reverse", []) => {
            items.reverse();
            Ok(list(items))
        }
        ("distinct", []) => Ok(list(distinct(items))),
        ("slice", [Val::Int(start), Val::Int(end)]) => slice(&items, *start, *end),
        ("sort", []) => {
            let keys = items.clone();
            sort(items, &keys)
        }
        ("@sortByAssociatedKeys", [keys]) => match keys.items() {
            Some(keys) => sort(items, &keys?),
            None => mistyped(function, args),
        },
        ("flatten", level) => {
            let level = match level {
                [] => 1,
                [Val::Int(level)] if *level < 0 => return fail("level must be non-negative"),
                [Val::Int(level)] => *level,
                _ => return mistyped(function, args),
            };
            let mut out = Vec::new();
            flatten(items, level, &mut out)?;
            Ok(list(out))
        }
        _ => mistyped(function, args),
    }
}
