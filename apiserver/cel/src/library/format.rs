//! `text.format(args)`: `%s`, `%d`, `%f`, `%e`, `%b`, `%x`, `%X`, `%o`.

use super::{MADE_MAX, mistyped};
use crate::convert::{double, string};
use crate::value::{Failure, Outcome, Val, fail, text};

/// `%s` of any value: lists and maps by their parts.
fn show(value: &Val<'_>) -> Result<String, Failure> {
    if let Some(items) = value.items() {
        let parts: Result<Vec<String>, Failure> = items?.iter().map(show).collect();
        return Ok(format!("[{}]", parts?.join(", ")));
    }
    if let Some(keys) = value.keys() {
        let mut parts = Vec::new();
        for key in keys {
            if let Some(item) = value.entry(&key) {
                parts.push(format!("{}: {}", show(&key)?, show(&item?)?));
            }
        }
        parts.sort();
        return Ok(format!("{{{}}}", parts.join(", ")));
    }
    match value {
        Val::Null => Ok("null".to_owned()),
        Val::Type(name) => Ok(name.to_string()),
        Val::Double(f) if f.is_infinite() => Ok(if *f > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()),
        other => string(other).map_or_else(
            || {
                fail(format!(
                    "error during formatting: string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps, was given {}",
                    other.type_name()
                ))
            },
            Ok,
        ),
    }
}

fn fixed(value: &Val<'_>, precision: usize, exponent: bool) -> Option<String> {
    let number = match value {
        Val::Double(number) => *number,
        Val::Text(text) if matches!(&**text, "NaN" | "Infinity" | "-Infinity") => text.parse().ok()?,
        _ => return None,
    };
    if !number.is_finite() {
        return Some(
            if number.is_nan() {
                "NaN"
            } else if number > 0.0 {
                "∞"
            } else {
                "-∞"
            }
            .to_owned(),
        );
    }
    if !exponent {
        return Some(format!("{number:.precision$}"));
    }
    let made = format!("{number:.precision$e}");
    let (digits, power) = made.split_once('e')?;
    let power: i32 = power.parse().ok()?;
    Some(format!("{digits}\u{202f}×\u{202f}10{}", raised(power)))
}

fn raised(power: i32) -> String {
    let sign = if power < 0 { "⁻" } else { "" };
    let digits = "⁰¹²³⁴⁵⁶⁷⁸⁹";
    let number = format!("{:02}", power.abs());
    let up = number.bytes().filter_map(|b| digits.chars().nth(usize::from(b - b'0')));
    format!("{sign}{}", up.collect::<String>())
}

fn radix(value: &Val<'_>, clause: char) -> Option<String> {
    let number = |value: u64, negative: bool| {
        let digits = match clause {
            'b' => format!("{value:b}"),
            'o' => format!("{value:o}"),
            'X' => format!("{value:X}"),
            _ => format!("{value:x}"),
        };
        if negative { format!("-{digits}") } else { digits }
    };
    let bytes = |bytes: &[u8]| {
        let upper = clause == 'X';
        bytes.iter().map(|b| if upper { format!("{b:02X}") } else { format!("{b:02x}") }).collect::<String>()
    };
    Some(match (value, clause) {
        (Val::Int(n), _) => number(n.unsigned_abs(), *n < 0),
        (Val::Uint(n), _) => number(*n, false),
        (Val::Bool(b), 'b') => u8::from(*b).to_string(),
        (Val::Text(text), 'x' | 'X') => bytes(text.as_bytes()),
        (Val::Bytes(raw), 'x' | 'X') => bytes(raw),
        _ => return None,
    })
}

fn clause(value: &Val<'_>, clause: char, precision: Option<usize>) -> Result<String, Failure> {
    let wrong =
        |what: &str| fail(format!("error during formatting: {what}, was given {}", value.type_name()));
    match clause {
        's' => show(value),
        'd' => match value {
            Val::Int(_) | Val::Uint(_) => show(value),
            Val::Double(f) if f.is_nan() || f.is_infinite() => Ok(double(*f)),
            _ => wrong("decimal clause can only be used on integers"),
        },
        'f' => fixed(value, precision.unwrap_or(6), false)
            .map_or_else(|| wrong("fixed-point clause can only be used on doubles"), Ok),
        'e' => fixed(value, precision.unwrap_or(6), true)
            .map_or_else(|| wrong("scientific clause can only be used on doubles"), Ok),
        'b' => {
            radix(value, 'b').map_or_else(|| wrong("only integers and bools can be formatted as binary"), Ok)
        }
        'o' => radix(value, 'o').map_or_else(|| wrong("octal clause can only be used on integers"), Ok),
        'x' | 'X' => radix(value, clause)
            .map_or_else(|| wrong("only integers, byte buffers, and strings can be formatted as hex"), Ok),
        other => {
            fail(format!("could not parse formatting clause: unrecognized formatting clause \"{other}\""))
        }
    }
}

/// The call.
pub(crate) fn call<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    let [Val::Text(template), values] = args else { return mistyped("format", args) };
    let Some(values) = values.items() else { return mistyped("format", args) };
    let values = values?;
    let (mut out, mut used) = (String::new(), 0);
    let mut chars = template.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let Some(mut kind) = chars.next() else { return fail("unexpected end of string") };
        if kind == '%' {
            out.push('%');
            continue;
        }
        let Some(value) = values.get(used) else { return fail(format!("index {used} out of range")) };
        used += 1;
        let mut precision = None;
        if kind == '.' {
            let mut digits = String::new();
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            precision = digits.parse::<usize>().ok().map(|n| n.min(300));
            kind = chars.next().unwrap_or('%');
        }
        out.push_str(&clause(value, kind, precision)?);
        if out.len() > MADE_MAX {
            return fail("operation cancelled: actual cost limit exceeded");
        }
    }
    Ok(text(&out))
}
