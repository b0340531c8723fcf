//! Conversions between types, and the text forms of values.

use apiserver_json::{Value, json};

use crate::library::object::Opaque;
use crate::library::time;
use crate::value::{Failure, Key, Outcome, Val, fail, text};

/// A value as JSON, as audit annotations and messages show it.
pub(crate) fn to_json(value: &Val<'_>) -> Value {
    match value {
        Val::Null => Value::Null,
        Val::Bool(value) => json!(value),
        Val::Int(value) => json!(value),
        Val::Uint(value) => json!(value),
        Val::Double(value) => json!(value),
        Val::Text(value) => json!(&**value),
        Val::JsonList(items, _) => Value::from(&items[..]),
        Val::JsonMap(map, _) => Value::Object((*map).clone()),
        Val::List(items) => items.iter().map(to_json).collect(),
        Val::Map(entries) => {
            let name = |key: &Key| string(&key.value()).unwrap_or_default();
            Value::Object(entries.iter().map(|(k, v)| (name(k), to_json(v))).collect())
        }
        Val::Opaque(inner) => match &**inner {
            Opaque::Made { members, .. } => Value::Object(members.clone()),
            other => other.string().map_or(Value::Null, Value::from),
        },
        other => string(other).map_or(Value::Null, Value::from),
    }
}

/// What `string(x)` gives.
pub(crate) fn string(value: &Val<'_>) -> Option<String> {
    Some(match value {
        Val::Text(text) => text.to_string(),
        Val::Bool(value) => value.to_string(),
        Val::Int(value) => value.to_string(),
        Val::Uint(value) => value.to_string(),
        Val::Double(value) => double(*value),
        Val::Bytes(bytes) => String::from_utf8(bytes.to_vec()).ok()?,
        Val::Timestamp(nanos) => time::show(*nanos),
        Val::Duration(nanos) => time::show_duration(*nanos),
        Val::Opaque(inner) => inner.string()?,
        _ => return None,
    })
}

/// A double as Go's `strconv` writes it with `g` and the shortest digits.
fn double(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let exponential = format!("{value:e}");
    let (digits, exponent) = exponential.split_once('e').unwrap_or((&exponential, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return format!("{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

fn mistyped<'a>(function: &str, value: &Val<'_>) -> Outcome<'a> {
    fail(format!("no such overload: {function}({})", value.type_name()))
}

/// The error of a text that does not read as the type.
fn unreadable<'a>(to: &str) -> Outcome<'a> {
    fail(format!("type conversion error from 'string' to '{to}'"))
}

/// `int(x)`, `string(x)`, `type(x)` and their like.
pub(crate) fn convert<'a>(function: &str, value: &Val<'a>) -> Outcome<'a> {
    match function {
        "dyn" => Ok(value.clone()),
        "type" => Ok(Val::Type(value.type_name().into())),
        "string" => match string(value) {
            Some(made) => Ok(text(&made)),
            None if matches!(value, Val::Bytes(_)) => {
                fail("invalid UTF-8 in bytes, cannot convert to string")
            }
            None => mistyped(function, value),
        },
        "bool" => match value {
            Val::Bool(_) => Ok(value.clone()),
            Val::Text(text) => match &**text {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Val::Bool(true)),
                "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Val::Bool(false)),
                _ => fail("type conversion error from 'string' to 'bool'"),
            },
            _ => mistyped(function, value),
        },
        "bytes" => match value {
            Val::Bytes(_) => Ok(value.clone()),
            Val::Text(text) => Ok(Val::Bytes(text.as_bytes().into())),
            _ => mistyped(function, value),
        },
        "int" => int(value),
        "uint" => uint(value),
        "double" => match value {
            Val::Double(_) => Ok(value.clone()),
            Val::Int(n) => Ok(Val::Double(*n as f64)),
            Val::Uint(n) => Ok(Val::Double(*n as f64)),
            Val::Text(text) => match text.parse() {
                Ok(made) => Ok(Val::Double(made)),
                Err(_) => unreadable("double"),
            },
            _ => mistyped(function, value),
        },
        "duration" => match value {
            Val::Duration(_) => Ok(value.clone()),
            Val::Int(nanos) => Ok(Val::Duration(*nanos)),
            Val::Text(text) => match time::parse_duration(text) {
                Some(nanos) => Ok(Val::Duration(nanos)),
                None => unreadable("google.protobuf.Duration"),
            },
            _ => mistyped(function, value),
        },
        _ => match value {
            Val::Timestamp(_) => Ok(value.clone()),
            Val::Int(seconds) => checked_time(i128::from(*seconds) * 1_000_000_000),
            Val::Text(text) => match time::parse(text) {
                Some(nanos) => checked_time(nanos),
                None => unreadable("google.protobuf.Timestamp"),
            },
            _ => mistyped(function, value),
        },
    }
}

/// A timestamp within the years one to 9999.
pub(crate) fn checked_time<'a>(nanos: i128) -> Result<Val<'a>, Failure> {
    let seconds = nanos.div_euclid(1_000_000_000);
    if (-62_135_596_800..=253_402_300_799).contains(&seconds) {
        Ok(Val::Timestamp(nanos))
    } else {
        fail("timestamp overflow")
    }
}

fn int<'a>(value: &Val<'a>) -> Outcome<'a> {
    match value {
        Val::Int(_) => Ok(value.clone()),
        Val::Uint(n) => i64::try_from(*n).map_or_else(|_| fail("integer overflow"), |n| Ok(Val::Int(n))),
        Val::Double(f) if f.abs() < 9_223_372_036_854_775_808.0 => Ok(Val::Int(*f as i64)),
        Val::Double(_) => fail("integer overflow"),
        Val::Duration(nanos) => Ok(Val::Int(*nanos)),
        Val::Timestamp(nanos) => Ok(Val::Int(nanos.div_euclid(1_000_000_000) as i64)),
        Val::Text(text) => match text.parse() {
            Ok(n) => Ok(Val::Int(n)),
            Err(_) => unreadable("int"),
        },
        _ => mistyped("int", value),
    }
}

fn uint<'a>(value: &Val<'a>) -> Outcome<'a> {
    match value {
        Val::Uint(_) => Ok(value.clone()),
        Val::Int(n) => {
            u64::try_from(*n).map_or_else(|_| fail("unsigned integer overflow"), |n| Ok(Val::Uint(n)))
        }
        Val::Double(f) if *f >= 0.0 && *f < 18_446_744_073_709_551_616.0 => Ok(Val::Uint(*f as u64)),
        Val::Double(_) => fail("unsigned integer overflow"),
        Val::Text(text) => match text.parse() {
            Ok(n) => Ok(Val::Uint(n)),
            Err(_) => unreadable("uint"),
        },
        _ => mistyped("uint", value),
    }
}
