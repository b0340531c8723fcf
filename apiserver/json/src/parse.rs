//! Reading text into a tree, several times as fast as by a parser that does not know what it makes.
//!
//! It reads what is right and leaves the rest, and whatever is seldom, to `serde_json`, which has the words for what is
//! wrong: there is one answer to what a text says.

use std::ops::Range;

use crate::{Items, Map, Members, Number, SmolStr, Value, plain_length};

/// So deep this goes itself.
const DEPTH_MAX: usize = 64;
/// Digits of a whole number that no 64 bits are too few for.
const DIGITS_MAX: usize = 18;

/// A tree, and what a tree does not show.
#[derive(Debug)]
pub struct Parsed {
    pub value: Value,
    /// An object of the text may have a key twice; the last one counts.
    pub duplicates: bool,
}

/// Reads a text. The objects at `raw`, a path of names through objects and the items of lists, stay text: they are
/// [`Value::Raw`]. Nothing where the text is no JSON, or JSON of a seldom sort.
pub fn parse(text: &str, raw: &[&str]) -> Option<Parsed> {
    let mut parser = Parser {
        text,
        bytes: text.as_bytes(),
        at: 0,
        duplicates: false,
        members: Vec::with_capacity(64),
        items: Vec::with_capacity(16),
    };
    let value = parser.value(raw, 0)?;
    (parser.next().is_none()).then_some(Parsed { value, duplicates: parser.duplicates })
}

struct Parser<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    duplicates: bool,
    /// Of the objects that are open, one after the other: each becomes a list of just its size.
    members: Vec<(SmolStr, Value)>,
    /// Of the lists that are open.
    items: Vec<Value>,
}

impl Parser<'_> {
    /// The next byte that is no space.
    #[inline]
    fn next(&mut self) -> Option<u8> {
        loop {
            match self.bytes.get(self.at)? {
                b' ' | b'\n' | b'\t' | b'\r' => self.at += 1,
                byte => return Some(*byte),
            }
        }
    }

    fn value(&mut self, raw: &[&str], depth: usize) -> Option<Value> {
        match self.next()? {
            b'"' => self.string().map(Value::String),
            b'{' => self.object(raw, depth),
            b'[' => self.array(raw, depth),
            b't' => self.word("true", Value::Bool(true)),
            b'f' => self.word("false", Value::Bool(false)),
            b'n' => self.word("null", Value::Null),
            _ => self.number(),
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Option<Value> {
        self.bytes.get(self.at..)?.starts_with(word.as_bytes()).then(|| self.at += word.len())?;
        Some(value)
    }

    fn object(&mut self, raw: &[&str], depth: usize) -> Option<Value> {
        if depth == DEPTH_MAX {
            return None;
        }
        self.at += 1;
        let open = self.members.len();
        let mut next = self.next()?;
        while next != b'}' {
            if next != b'"' {
                return None;
            }
            let key = self.string()?;
            if self.next()? != b':' {
                return None;
            }
            self.at += 1;
            let value = match raw {
                [] => self.value(&[], depth + 1)?,
                [name, below @ ..] if *name == key => self.below(below, depth + 1)?,
                _ => self.value(&[], depth + 1)?,
            };
            self.members.push((key, value));
            next = self.next()?;
            if next == b',' {
                self.at += 1;
                next = self.next().filter(|next| *next == b'"')?;
            } else if next != b'}' {
                return None;
            }
        }
        self.at += 1;
        let mut members = Members::with_capacity((self.members.len() - open).next_multiple_of(2));
        members.extend(self.members.drain(open..));
        let (map, twice) = Map::of_members(members);
        self.duplicates |= twice;
        Some(Value::Object(map))
    }

    /// The value of a name on the way to what stays text.
    fn below(&mut self, raw: &[&str], depth: usize) -> Option<Value> {
        if !raw.is_empty() || self.next()? != b'{' {
            return self.value(raw, depth);
        }
        let rest = self.text.get(self.at..)?;
        let length = nested_keys(rest.as_bytes()).or_else(|| object_length(rest))?;
        self.at += length;
        Some(Value::Raw(rest.get(..length)?.into()))
    }

    fn array(&mut self, raw: &[&str], depth: usize) -> Option<Value> {
        if depth == DEPTH_MAX {
            return None;
        }
        self.at += 1;
        let open = self.items.len();
        let mut next = self.next()?;
        while next != b']' {
            let item = self.value(raw, depth + 1)?;
            self.items.push(item);
            next = self.next()?;
            if next == b',' {
                self.at += 1;
                next = self.next().filter(|next| *next != b']')?;
            } else if next != b']' {
                return None;
            }
        }
        self.at += 1;
        let mut items = Items::with_capacity(self.items.len() - open);
        items.extend(self.items.drain(open..));
        Some(Value::Array(items))
    }

    #[inline]
    fn string(&mut self) -> Option<SmolStr> {
        let start = self.at + 1;
        let end = start + plain_length(self.bytes.get(start..)?);
        match self.bytes.get(end)? {
            b'"' => {
                self.at = end + 1;
                self.text.get(start..end).map(SmolStr::new)
            }
            b'\\' => self.escaped(start..end),
            _ => None,
        }
    }

    /// A text with escapes, of which the plain beginning is known.
    #[cold]
    fn escaped(&mut self, mut plain: Range<usize>) -> Option<SmolStr> {
        let mut text = String::new();
        loop {
            text.push_str(self.text.get(plain.clone())?);
            match self.bytes.get(plain.end)? {
                b'"' => {
                    self.at = plain.end + 1;
                    return Some(text.into());
                }
                b'\\' => {}
                _ => return None,
            }
            let mut start = plain.end + 2;
            text.push(match self.bytes.get(plain.end + 1)? {
                b'n' => '\n',
                b't' => '\t',
                b'r' => '\r',
                b'b' => '\u{8}',
                b'f' => '\u{c}',
                byte @ (b'"' | b'\\' | b'/') => char::from(*byte),
                b'u' => {
                    start += 4;
                    self.character(start - 4)?
                }
                _ => return None,
            });
            plain = start..start + plain_length(self.bytes.get(start..)?);
        }
    }

    /// The character of four digits; halves of pairs are seldom.
    fn character(&self, at: usize) -> Option<char> {
        let digits = self.text.get(at..at + 4)?;
        digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then_some(())?;
        char::from_u32(u32::from_str_radix(digits, 16).ok()?)
    }

    /// A whole number here, any other by the parser of such.
    fn number(&mut self) -> Option<Value> {
        let rest = self.bytes.get(self.at..)?;
        let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let length = rest.iter().position(|byte| !is_part(byte)).unwrap_or(rest.len());
        let text = self.text.get(self.at..self.at + length)?;
        self.at += length;
        let (digits, negative) = match text.strip_prefix('-') {
            Some(digits) => (digits, true),
            None => (text, false),
        };
        let first = digits.bytes().next()?;
        let is_whole = digits.len() <= DIGITS_MAX && digits.bytes().all(|digit| digit.is_ascii_digit());
        let is_short = is_whole && (first != b'0' || digits.len() == 1 && !negative);
        if !is_short {
            // By way of a reader of values, which knows what Go makes of them, but for what is no whole number.
            let value: Value = serde_json::from_str(text).ok()?;
            let is_nought = negative && !is_whole && value == 0;
            return if is_nought { Number::from_f64(-0.0).map(Value::Number) } else { Some(value) };
        }
        let size = digits.bytes().fold(0_i64, |size, digit| size * 10 + i64::from(digit - b'0'));
        let number = if negative { Number::from(-size) } else { Number::from(size) };
        Some(Value::Number(number))
    }
}

/// Of any object a text begins with.
#[cold]
fn object_length(text: &str) -> Option<usize> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<serde::de::IgnoredAny>();
    values.next()?.ok()?;
    Some(values.byte_offset())
}

/// The length of the object a text begins with, where it is one of objects of objects, without a space and without escapes
/// other than of a quote or a backslash: so the owners of fields are written.
fn nested_keys(text: &[u8]) -> Option<usize> {
    let mut depth = 0_u32;
    let mut at = 0;
    // An object opens; then a key or its end follows.
    loop {
        if text.get(at) != Some(&b'{') {
            return None;
        }
        depth += 1;
        at += 1;
        while text.get(at) == Some(&b'}') {
            depth -= 1;
            at += 1;
            if depth == 0 {
                return Some(at);
            }
            match text.get(at) {
                Some(b',') if text.get(at + 1) == Some(&b'"') => at += 1,
                Some(b'}') => {}
                _ => return None,
            }
        }
        if text.get(at) != Some(&b'"') {
            return None;
        }
        at += 1;
        loop {
            at += plain_length(text.get(at..)?);
            match text.get(at)? {
                b'"' => break,
                b'\\' if matches!(text.get(at + 1), Some(b'"' | b'\\')) => at += 2,
                _ => return None,
            }
        }
        if text.get(at + 1) != Some(&b':') {
            return None;
        }
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minus_nought_is_a_whole_number_where_it_is_written_as_one() {
        for (text, want) in [(r#"{"a":-0}"#, r#"{"a":0}"#), ("[-0]", "[0]"), ("[-0.0]", "[-0]")] {
            assert_eq!(parse(text, &[]).unwrap().value.to_string(), want);
        }
    }

    #[test]
    fn what_is_read_is_what_serde_reads() {
        for text in [
            "null",
            " true ",
            "[false]",
            "{}",
            "[]",
            "[ ]",
            "{ }",
            r#"{"a":1,"b":[{"c":""}], "d" : { } }"#,
            "0",
            "1",
            "-1",
            "123456789012345678",
            "1234567890123456789",
            "18446744073709551615",
            "18446744073709551616",
            "-9223372036854775808",
            "-0",
            "0.5",
            "1e3",
            "-1.5E-3",
            "1e400",
            "01",
            "-",
            "-01",
            "1.",
            ".5",
            "+1",
            "1-1",
            "--1",
            r#""a\n\t\r\b\f\"\\\/\u00e9\u0000x""#,
            r#""\ud83d\ude00""#,
            r#""\ud83d""#,
            r#""\u+123""#,
            r#""\u12"#,
            r#""\x""#,
            "\"a\u{1}\"",
            "\"é\"",
            r#"{"b":1,"a":2,"b":3}"#,
            r#"{"a":1,}"#,
            r#"{,"a":1}"#,
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1 "b":2}"#,
            r#"{1:2}"#,
            "[1,]",
            "[,1]",
            "[1 2]",
            "[",
            "{",
            "]",
            "}",
            "\"",
            "tru",
            "truex",
            "nul",
            "1 2",
            "{} x",
            "",
            " ",
            "[1}",
            r#"{"a":1]"#,
        ] {
            let serde = serde_json::from_str::<Value>(text).ok();
            if let Some(parsed) = parse(text, &[]) {
                assert_eq!(Some(&parsed.value), serde.as_ref(), "{text}");
            } else {
                assert!(
                    serde.is_none() || ["\\ud83d", "1e400"].iter().any(|seldom| text.contains(seldom)),
                    "{text} is left to serde"
                );
            }
        }
        let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(parse(&deep(DEPTH_MAX), &[]).is_some() && parse(&deep(DEPTH_MAX + 1), &[]).is_none());
    }

    #[test]
    fn a_name_that_stands_twice_is_told_of() {
        for (text, twice) in
            [(r#"{"a":1,"a":2}"#, true), (r#"[{"b":{"a":{},"a":1}}]"#, true), (r#"{"a":{"a":1}}"#, false)]
        {
            assert_eq!(parse(text, &[]).unwrap().duplicates, twice, "{text}");
        }
    }

    #[test]
    fn objects_on_a_path_stay_text() {
        let path = ["a", "b"];
        for (text, raw) in [
            (r#"{"a":[{"b":{"f:x":{}}}]}"#, Some(r#"{"f:x":{}}"#)),
            (r#"{"a":{"b": { "x" : [1, "}"] } , "c":1}}"#, Some(r#"{ "x" : [1, "}"] }"#)),
            (r#"{"a":[{"b":"{}"}]}"#, None),
            (r#"{"b":{"a":{}}}"#, None),
        ] {
            let value = parse(text, &path).unwrap().value;
            let found = value.pointer("/a/0/b").or_else(|| value.pointer("/a/b"));
            match raw {
                Some(raw) => assert_eq!(found, Some(&Value::Raw(raw.into())), "{text}"),
                None => assert_eq!(Some(value), serde_json::from_str(text).ok(), "{text}"),
            }
        }
        for broken in [r#"{"a":{"b":{"x"}}}"#, r#"{"a":{"b":{"x":1]}}"#, r#"{"a":{"b":{}"#] {
            assert!(parse(broken, &path).is_none(), "{broken}");
        }
    }

    #[test]
    fn nested_keys_end_where_their_object_does() {
        for text in ["{}", r#"{"f:a":{}}"#, r#"{"f:a":{".":{},"k:{\"n\":\"\\\\\"}":{"f:b":{}}},"f:c":{}}"#] {
            for rest in ["", "}", ",\"a\":{}"] {
                assert_eq!(nested_keys(format!("{text}{rest}").as_bytes()), Some(text.len()), "{text}{rest}");
            }
        }
        let not = [
            "",
            "{",
            "}",
            r#"{"a"}"#,
            r#"{"a":1}"#,
            r#"{"a":{},}"#,
            r#"{,"a":{}}"#,
            "{ }",
            r#"{"a":{}"#,
            r#"{"a":{}"b":{}}"#,
            r#"{"a\x":{}}"#,
            "{\"a\n\":{}}",
        ];
        for text in not {
            assert_eq!(nested_keys(text.as_bytes()), None, "{text}");
        }
    }
}
