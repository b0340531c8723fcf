//! `text.format(args)`: `%s`, `%d`, `%f`, `%e`, `%b`, `%x`, `%X`, `%o`, as the second version of cel-go's strings.

use apiserver_meta::field::go_quote;

use super::{MADE_MAX, mistyped};
use crate::convert::string;
use crate::value::{Failure, Outcome, Val, fail, text};

const PRECISION: usize = 6;
/// No number has more digits than this.
const WIDTH_MAX: usize = 300;

/// What a template asks of one of its arguments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clause {
    pub index: usize,
    pub letter: char,
    /// What is written behind the point.
    pub precision: Option<usize>,
}

/// Why a template can't be filled in.
pub(crate) enum Wrong<E> {
    Template(String),
    /// What the clause does not take.
    Argument(E),
}

/// Fills in a template with what `show` makes of each clause; there are `size` arguments. `is_text` is false where only
/// the template's syntax counts.
pub(crate) fn fill<E>(
    template: &str,
    size: usize,
    is_text: bool,
    show: &mut dyn FnMut(Clause) -> Result<String, E>,
) -> Result<String, Wrong<E>> {
    let wrong = |why: String| Err(Wrong::Template(why));
    let missing = |index: usize| wrong(format!("index {index} out of range"));
    let unparsed = |why: &str| wrong(format!("could not parse formatting clause: {why}"));
    let (mut out, mut index) = (String::new(), 0);
    let mut chars = template.chars().peekable();
    while let Some(letter) = chars.next() {
        if letter != '%' || chars.next_if_eq(&'%').is_some() {
            out.push(letter);
            continue;
        }
        if is_text && index >= size {
            return missing(index);
        }
        let Some(mut letter) = chars.next() else { return wrong("unexpected end of string".to_owned()) };
        if index >= size {
            return missing(index);
        }
        let mut precision = None;
        if letter == '.' {
            let mut digits = String::new();
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            let Some(next) = chars.next() else {
                return unparsed("error while parsing precision: could not find end of precision specifier");
            };
            let Ok(number) = digits.parse::<usize>() else {
                let why = if digits.is_empty() { "invalid syntax" } else { "value out of range" };
                return unparsed(&format!(
                    "error while parsing precision: error while converting precision to integer: strconv.Atoi: parsing {}: {why}",
                    go_quote(&digits)
                ));
            };
            precision = Some(number.min(WIDTH_MAX));
            letter = next;
        }
        if !"sdfebxXo".contains(letter) {
            return unparsed(&format!("unrecognized formatting clause \"{letter}\""));
        }
        out.push_str(&show(Clause { index, letter, precision }).map_err(Wrong::Argument)?);
        index += 1;
        if out.len() > MADE_MAX {
            break;
        }
    }
    Ok(out)
}

/// What a clause says of an argument that it does not take.
pub(crate) fn refusal(letter: char, type_name: &str) -> String {
    let what = match letter {
        'd' => "decimal clause can only be used on integers",
        'f' => "fixed-point clause can only be used on doubles",
        'e' => "scientific clause can only be used on doubles",
        'b' => "only integers and bools can be formatted as binary",
        'o' => "octal clause can only be used on integers",
        'x' | 'X' => "only integers, byte buffers, and strings can be formatted as hex",
        _ => {
            "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps"
        }
    };
    format!("error during formatting: {what}, was given {type_name}")
}

/// `%s` of any value: lists and maps by their parts.
fn show(value: &Val<'_>) -> Result<String, Failure> {
    if let Some(parts) = nested(value) {
        return parts;
    }
    match value {
        Val::Null => Ok("null".to_owned()),
        Val::Type(name) => Ok(name.to_string()),
        Val::Opaque(_) | Val::Optional(_) => fail(refusal('s', value.type_name())),
        other => string(other).map_or_else(|| fail(refusal('s', other.type_name())), Ok),
    }
}

/// A list or a map as CEL would have it written.
fn nested(value: &Val<'_>) -> Option<Result<String, Failure>> {
    if let Some(items) = value.items() {
        let parts = || items?.iter().map(literal).collect::<Result<Vec<_>, _>>();
        return Some(parts().map(|parts| format!("[{}]", parts.join(", "))));
    }
    let keys = value.keys()?;
    let mut parts = Vec::new();
    for key in keys {
        let Some(item) = value.entry(&key) else { continue };
        let shown = item.and_then(|item| Ok(format!("{}:{}", literal(&key)?, literal(&item)?)));
        match shown {
            Ok(shown) => parts.push(shown),
            Err(failure) => return Some(Err(failure)),
        }
    }
    parts.sort();
    Some(Ok(format!("{{{}}}", parts.join(", "))))
}

/// A value within a list or a map.
fn literal(value: &Val<'_>) -> Result<String, Failure> {
    Ok(match value {
        Val::Text(text) => go_quote(text),
        Val::Bytes(_) => format!("b{}", go_quote(&show(value)?)),
        Val::Timestamp(_) => format!("timestamp({})", go_quote(&show(value)?)),
        Val::Duration(_) => format!("duration({})", go_quote(&show(value)?)),
        Val::Double(number) if number.is_finite() => format!("{number:.PRECISION$}"),
        Val::Double(_) => go_quote(&show(value)?),
        Val::Opaque(_) | Val::Optional(_) => {
            let what = value.type_name();
            return fail(format!("error during formatting: no formatting function for {what}"));
        }
        _ => return show(value),
    })
}

/// Numbers with a point, in the manner of English: of `%e` upstream takes the precision for a width.
fn fixed(value: &Val<'_>, precision: Option<usize>, exponent: bool) -> Option<String> {
    let number = match value {
        Val::Double(number) => *number,
        Val::Text(text) if matches!(&**text, "NaN" | "Infinity" | "-Infinity") => text.parse().ok()?,
        _ => return None,
    };
    let width = if exponent { precision.unwrap_or(PRECISION) } else { 0 };
    let shown = if number.is_nan() {
        "NaN".to_owned()
    } else if number.is_infinite() {
        if number > 0.0 { "∞" } else { "-∞" }.to_owned()
    } else if exponent {
        let made = format!("{number:.PRECISION$e}");
        let (digits, power) = made.split_once('e')?;
        format!("{digits}×10{}", raised(power.parse().ok()?))
    } else {
        grouped(&format!("{number:.*}", precision.unwrap_or(PRECISION)))
    };
    Some(format!("{shown:>width$}"))
}

/// A decimal number with a comma before each three digits of its whole part.
fn grouped(number: &str) -> String {
    let (sign, rest) = number.strip_prefix('-').map_or(("", number), |rest| ("-", rest));
    let (whole, fraction) = rest.split_at(rest.find('.').unwrap_or(rest.len()));
    let mut out = String::from(sign);
    for (i, digit) in whole.char_indices() {
        if i > 0 && (whole.len() - i) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out + fraction
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

fn clause(value: &Val<'_>, clause: Clause) -> Result<String, Failure> {
    let Clause { letter, precision, .. } = clause;
    let made = match letter {
        's' => return show(value),
        'd' => match value {
            Val::Int(_) | Val::Uint(_) => string(value),
            _ => None,
        },
        'f' | 'e' => fixed(value, precision, letter == 'e'),
        _ => radix(value, letter),
    };
    made.map_or_else(|| fail(refusal(letter, value.type_name())), Ok)
}

/// The call.
pub(crate) fn call<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    let [Val::Text(template), values] = args else { return mistyped("format", args) };
    let Some(values) = values.items() else { return mistyped("format", args) };
    let values = values?;
    let missing = || Failure { message: String::new(), fatal: false };
    let mut show = |asked: Clause| clause(values.get(asked.index).ok_or_else(missing)?, asked);
    match fill(template, values.len(), true, &mut show) {
        Ok(made) if made.len() > MADE_MAX => fail("operation cancelled: actual cost limit exceeded"),
        Ok(made) => Ok(text(&made)),
        Err(Wrong::Template(why)) => fail(why),
        Err(Wrong::Argument(failure)) => Err(failure),
    }
}
