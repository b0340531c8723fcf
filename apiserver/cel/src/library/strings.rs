//! Functions of texts.

use apiserver_meta::re2;

use super::{MADE_MAX, PATTERN_MAX, mistyped};
use crate::value::{Failure, Outcome, Val, fail, list, text};

fn guard(size: usize) -> Result<(), Failure> {
    if size > MADE_MAX {
        return Err(Failure {
            message: "operation cancelled: actual cost limit exceeded".into(),
            fatal: true,
        });
    }
    Ok(())
}

fn index_error<'a>(index: i64) -> Outcome<'a> {
    fail(format!("index out of range: {index}"))
}

/// The place of a text among characters, from an offset on.
fn index_of(chars: &[char], wanted: &[char], offset: i64) -> Option<i64> {
    if wanted.is_empty() {
        return Some(offset);
    }
    let start = usize::try_from(offset).ok()?;
    let found = (start..=chars.len().checked_sub(wanted.len())?).find(|i| chars[*i..].starts_with(wanted));
    found.and_then(|i| i64::try_from(i).ok())
}

fn last_index_of(chars: &[char], wanted: &[char], offset: i64) -> Option<i64> {
    if wanted.is_empty() {
        return Some(offset);
    }
    let most = chars.len().checked_sub(wanted.len())?;
    let last = usize::try_from(offset).ok()?.min(most);
    (0..=last).rev().find(|i| chars[*i..].starts_with(wanted)).and_then(|i| i64::try_from(i).ok())
}

fn replace<'a>(value: &str, from: &str, to: &str, limit: i64) -> Outcome<'a> {
    let count = match usize::try_from(limit) {
        Ok(limit) => limit.min(value.matches(from).count()),
        Err(_) => value.matches(from).count(),
    };
    guard(value.len().saturating_add(count.saturating_mul(to.len())))?;
    Ok(text(&value.replacen(from, to, count)))
}

fn split<'a>(value: &str, separator: &str, limit: i64) -> Outcome<'a> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let parts: Vec<Val<'a>> = match (limit, separator.is_empty()) {
        (0, _) => Vec::new(),
        (_, true) => {
            let mut parts = Vec::new();
            let mut rest = value;
            while let Some(c) = rest.chars().next() {
                if parts.len() + 1 >= limit {
                    break;
                }
                parts.push(text(&rest[..c.len_utf8()]));
                rest = &rest[c.len_utf8()..];
            }
            if !rest.is_empty() {
                parts.push(text(rest));
            }
            parts
        }
        _ => value.splitn(limit, separator).map(text).collect(),
    };
    Ok(list(parts))
}

/// A text in quotes, with whatever could be mistaken escaped.
fn quote(value: &str) -> String {
    let mut out = String::from("\"");
    for c in value.chars() {
        match c {
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A function of texts.
pub(crate) fn call<'a>(function: &str, args: &[Val<'a>]) -> Outcome<'a> {
    let Some((Val::Text(value), rest)) = args.split_first() else { return mistyped(function, args) };
    match (function, rest) {
        ("lowerAscii", []) => Ok(text(&value.to_ascii_lowercase())),
        ("upperAscii", []) => Ok(text(&value.to_ascii_uppercase())),
        ("trim", []) => Ok(text(value.trim())),
        ("strings.quote", []) => Ok(text(&quote(value))),
        ("startsWith", [Val::Text(other)]) => Ok(Val::Bool(value.starts_with(&**other))),
        ("endsWith", [Val::Text(other)]) => Ok(Val::Bool(value.ends_with(&**other))),
        ("contains", [Val::Text(other)]) => Ok(Val::Bool(value.contains(&**other))),
        ("matches", [Val::Text(pattern)]) => match re2::compile(pattern, PATTERN_MAX) {
            Ok(regex) => Ok(Val::Bool(regex.is_match(value))),
            Err(why) => fail(why),
        },
        ("find", [Val::Text(pattern)]) => match re2::compile(pattern, PATTERN_MAX) {
            Ok(regex) => Ok(text(regex.find(value).map_or("", |found| found.as_str()))),
            Err(why) => fail(format!("Illegal regex: {why}")),
        },
        ("findAll", [Val::Text(pattern), limit @ ..]) => {
            let limit = match limit {
                [] => usize::MAX,
                [Val::Int(limit)] => usize::try_from(*limit).unwrap_or(usize::MAX),
                _ => return mistyped(function, args),
            };
            match re2::compile(pattern, PATTERN_MAX) {
                Ok(regex) => {
                    Ok(list(regex.find_iter(value).take(limit).map(|found| text(found.as_str())).collect()))
                }
                Err(why) => fail(format!("Illegal regex: {why}")),
            }
        }
        ("replace", [Val::Text(from), Val::Text(to)]) => replace(value, from, to, -1),
        ("replace", [Val::Text(from), Val::Text(to), Val::Int(limit)]) => replace(value, from, to, *limit),
        ("split", [Val::Text(separator)]) => split(value, separator, -1),
        ("split", [Val::Text(separator), Val::Int(limit)]) => split(value, separator, *limit),
        ("charAt" | "substring" | "indexOf" | "lastIndexOf", _) => by_index(function, value, args),
        _ => mistyped(function, args),
    }
}

fn by_index<'a>(function: &str, value: &str, args: &[Val<'a>]) -> Outcome<'a> {
    let chars: Vec<char> = value.chars().collect();
    let size = i64::try_from(chars.len()).unwrap_or(i64::MAX);
    let found = |at: Option<i64>| Ok(Val::Int(at.unwrap_or(-1)));
    match (function, &args[1..]) {
        ("charAt", [Val::Int(i)]) => match *i {
            i if i < 0 || i > size => index_error(i),
            i if i == size => Ok(text("")),
            i => Ok(text(&chars[i as usize].to_string())),
        },
        ("indexOf", [Val::Text(wanted), offset @ ..]) => {
            let wanted: Vec<char> = wanted.chars().collect();
            match offset {
                [] => found(index_of(&chars, &wanted, 0)),
                [Val::Int(i)] if wanted.is_empty() => found(Some(*i)),
                [Val::Int(i)] if *i < 0 => index_error(*i),
                [Val::Int(i)] if *i >= size => found(None),
                [Val::Int(i)] => found(index_of(&chars, &wanted, *i)),
                _ => mistyped(function, args),
            }
        }
        ("lastIndexOf", [Val::Text(wanted), offset @ ..]) => {
            let wanted: Vec<char> = wanted.chars().collect();
            match offset {
                [] if wanted.is_empty() => found(Some(size)),
                [] => found(last_index_of(&chars, &wanted, size)),
                [Val::Int(i)] if wanted.is_empty() => found(Some(*i)),
                [Val::Int(i)] if *i < 0 => index_error(*i),
                [Val::Int(i)] if *i >= size => found(None),
                [Val::Int(i)] => found(last_index_of(&chars, &wanted, *i)),
                _ => mistyped(function, args),
            }
        }
        ("substring", [Val::Int(start)]) => {
            if *start < 0 || *start > size {
                return index_error(*start);
            }
            Ok(text(&chars[*start as usize..].iter().collect::<String>()))
        }
        ("substring", [Val::Int(start), Val::Int(end)]) => {
            if start > end {
                return fail(format!("invalid substring range. start: {start}, end: {end}"));
            }
            if *start < 0 || *start > size {
                return index_error(*start);
            }
            if *end < 0 || *end > size {
                return index_error(*end);
            }
            Ok(text(&chars[*start as usize..*end as usize].iter().collect::<String>()))
        }
        _ => mistyped(function, args),
    }
}

/// `list.join(separator)`.
pub(crate) fn join<'a>(items: &[Val<'a>], separator: &str) -> Outcome<'a> {
    let mut out = String::new();
    for (i, item) in items.iter().enumerate() {
        let Val::Text(part) = item else {
            return fail(format!("join: invalid input: {}", crate::convert::to_json(item)));
        };
        if i > 0 {
            out.push_str(separator);
        }
        out.push_str(part);
        guard(out.len())?;
    }
    Ok(text(&out))
}
