//! YAML answers as upstream writes them: members in a natural order, text folded at 80 columns, and quotes only
//! around what would otherwise be read as something else. go-yaml 2 (`encode.go`, `sorter.go`) and its emitter.

use apiserver_json::{SmolStr, Value};
use libyaml_safer::{Emitter, Encoding, Event, MappingStyle, ScalarStyle, SequenceStyle};

use crate::yaml;

/// The document of a tree.
pub(crate) fn write(value: &Value) -> String {
    let mut out = Vec::new();
    let mut emitter = Emitter::new();
    emitter.set_output(&mut out);
    emitter.set_unicode(true);
    // Memory takes every byte, and the events are those of a tree: nothing here can fail.
    let done = document(&mut emitter, value);
    drop(emitter);
    match done {
        Ok(()) => String::from_utf8(out).unwrap_or_default(),
        Err(_) => value.to_string(),
    }
}

fn document(emitter: &mut Emitter<'_>, value: &Value) -> libyaml_safer::Result<()> {
    emitter.emit(Event::stream_start(Encoding::Utf8))?;
    emitter.emit(Event::document_start(None, &[], true))?;
    node(emitter, value)?;
    emitter.emit(Event::document_end(true))?;
    emitter.emit(Event::stream_end())?;
    emitter.flush()
}

fn node(emitter: &mut Emitter<'_>, value: &Value) -> libyaml_safer::Result<()> {
    match value {
        Value::Object(map) => {
            let style = if map.is_empty() { MappingStyle::Flow } else { MappingStyle::Block };
            emitter.emit(Event::mapping_start(None, None, true, style))?;
            let mut members: Vec<(&SmolStr, &Value)> = map.iter().collect();
            members.sort_by(|(a, _), (b, _)| natural(a, b));
            for (key, member) in members {
                scalar(emitter, key, style_of(key))?;
                node(emitter, member)?;
            }
            emitter.emit(Event::mapping_end())
        }
        Value::Array(list) => {
            let style = if list.is_empty() { SequenceStyle::Flow } else { SequenceStyle::Block };
            emitter.emit(Event::sequence_start(None, None, true, style))?;
            for item in list {
                node(emitter, item)?;
            }
            emitter.emit(Event::sequence_end())
        }
        Value::String(text) => scalar(emitter, text, style_of(text)),
        other => scalar(emitter, &other.to_string(), ScalarStyle::Plain),
    }
}

fn scalar(emitter: &mut Emitter<'_>, text: &str, style: ScalarStyle) -> libyaml_safer::Result<()> {
    emitter.emit(Event::scalar(None, None, text, true, true, style))
}

/// Plain is what is asked for; the emitter takes single quotes where a plain scalar would be read wrong.
fn style_of(text: &str) -> ScalarStyle {
    if text.contains('\n') {
        ScalarStyle::Literal
    } else if is_plain_text(text) {
        ScalarStyle::Plain
    } else {
        ScalarStyle::DoubleQuoted
    }
}

/// Is a plain scalar of this text read as the text, by every YAML 1.1 reader?
fn is_plain_text(text: &str) -> bool {
    matches!(yaml::resolve(text), Ok(("str", _))) && !is_time(text) && !is_base_60(text)
}

/// Days, and moments in the forms that go-yaml reads.
fn is_time(text: &str) -> bool {
    let digits = |text: &str, most: usize| {
        (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    let day = text.split(['T', 't', ' ']).next().unwrap_or("");
    let parts: Vec<&str> = day.split('-').collect();
    let is_day =
        matches!(parts[..], [y, m, d] if y.len() == 4 && digits(y, 4) && digits(m, 2) && digits(d, 2));
    let rest = &text[day.len()..];
    is_day && (rest.is_empty() || rest.contains(':') && rest[1..].starts_with(|c: char| c.is_ascii_digit()))
}

/// `1:20` is eighty to old readers.
fn is_base_60(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let whole = digits.split('.').next().unwrap_or("");
    let mut parts = whole.split(':');
    let first = parts.next().unwrap_or("");
    let rest: Vec<&str> = parts.collect();
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    let sixty = |text: &&str| text.parse::<u8>().is_ok_and(|number| number < 60) && text.len() <= 2;
    first.starts_with(|c: char| c.is_ascii_digit())
        && number(first)
        && !rest.is_empty()
        && rest.iter().all(sixty)
}

/// Numbers in names count as numbers, and come before letters.
fn natural(a: &str, b: &str) -> std::cmp::Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let Some(at) = a.iter().zip(&b).position(|(x, y)| x != y) else { return a.len().cmp(&b.len()) };
    let (x, y) = (a[at], b[at]);
    match (x.is_alphabetic(), y.is_alphabetic()) {
        (true, true) => return x.cmp(&y),
        (true, false) => return std::cmp::Ordering::Greater,
        (false, true) => return std::cmp::Ordering::Less,
        (false, false) => {}
    }
    // A zero inside a number is a digit like others; one in front of it counts for nothing.
    let before = a[..at].iter().rev().take_while(|c| c.is_ascii_digit());
    let inside = (x == '0' || y == '0') && before.into_iter().any(|c| *c != '0');
    let number = |text: &[char]| {
        let digits: Vec<u64> = text[at..].iter().map_while(|c| c.to_digit(10).map(u64::from)).collect();
        let start = u64::from(inside);
        (digits.iter().fold(start, |sum, digit| sum.wrapping_mul(10).wrapping_add(*digit)), digits.len())
    };
    number(&a).cmp(&number(&b)).then(x.cmp(&y))
}

#[cfg(test)]
mod tests {
    use super::*;
    use apiserver_json::json;

    #[test]
    fn texts_are_quoted_as_upstream_quotes_them() {
        for (text, want) in [
            ("a", "a"),
            ("", r#""""#),
            ("123", r#""123""#),
            ("1e3", r#""1e3""#),
            ("0o17", r#""0o17""#),
            ("1_000", r#""1_000""#),
            ("+1", r#""+1""#),
            (".inf", r#"".inf""#),
            ("1:20", r#""1:20""#),
            ("yes", r#""yes""#),
            ("off", r#""off""#),
            ("~", r#""~""#),
            ("2020-01-01", r#""2020-01-01""#),
            ("2020-01-01T00:00:00Z", r#""2020-01-01T00:00:00Z""#),
            ("a: b", "'a: b'"),
            ("a:", "'a:'"),
            ("a #b", "'a #b'"),
            (" x", "' x'"),
            ("- a", "'- a'"),
            ("-a", "-a"),
            ("?a", "?a"),
            ("'a", "'''a'"),
            ("it's \"q\"", "it's \"q\""),
            ("{a}", "'{a}'"),
            ("a,b", "a,b"),
            ("...", "'...'"),
            ("<<", "<<"),
            ("=", "="),
            ("a\tb", r#""a\tb""#),
            ("a\u{1}b", r#""a\x01b""#),
            ("h\u{e9}", "h\u{e9}"),
            ("a\nb", "|-\n  a\n  b"),
            ("a\nb\n", "|\n  a\n  b"),
            (" a\nb", "|2-\n   a\n  b"),
            (
                "aaaaaaaaaa: bbbbbbbbbbbbbbb ccccccccccccccccccc ddddddddddddddddd eeeeeeeeeeeeeeeee ffffffffffff",
                "'aaaaaaaaaa: bbbbbbbbbbbbbbb ccccccccccccccccccc ddddddddddddddddd eeeeeeeeeeeeeeeee\n  ffffffffffff'",
            ),
        ] {
            assert_eq!(write(&json!({ "k": text })), format!("k: {want}\n"), "{text:?}");
        }
    }

    #[test]
    fn trees_are_laid_out_as_upstream_lays_them_out() {
        let tree =
            json!({"b": [{"x": 1, "w": []}, [1.5, null]], "a10": {}, "a9": true, "Y": "y", "1": {"t": "u"}});
        let want =
            "\"1\":\n  t: u\n\"Y\": \"y\"\na9: true\na10: {}\nb:\n- w: []\n  x: 1\n- - 1.5\n  - null\n";
        assert_eq!(write(&tree), want);
    }
}
