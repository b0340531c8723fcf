//! YAML bodies as upstream reads them: YAML 1.1, where `yes`, `on` and `n` are booleans and `0755` is octal.
//!
//! The rules of plain scalars are those of go-yaml 2 (`resolve.go`), error texts too; the result is a JSON tree.

use std::collections::{HashMap, HashSet};

use apiserver_json::{Items, Map, Members, Number, Value};
use apiserver_meta::field::go_quote;
use libyaml_safer::{ErrorKind, Event, EventData, Parser, ScalarStyle};

use crate::limits;

/// Nodes that aliases may add beyond what go-yaml calls small.
const ALIASED_NODES_MAX: usize = 400_000;
const TAG: &str = "tag:yaml.org,2002:";

/// The first document of a body, and what a strict reader says of its duplicate keys.
///
/// # Errors
/// What is wrong with it, in go-yaml's words.
pub(crate) fn parse(raw: &[u8]) -> Result<(Value, Vec<String>), String> {
    if let Some(value) = plain_json(raw) {
        return Ok((value, Vec::new()));
    }
    // The scanner wants a line to end.
    let ended;
    let (mut input, added_at) = match raw.last() {
        None | Some(b'\n' | b'\r') => (raw, None),
        Some(_) => {
            ended = [raw, b"\n"].concat();
            (&ended[..], Some(ended.iter().filter(|byte| **byte == b'\n').count() as u64))
        }
    };
    let mut parser = Parser::new();
    parser.set_input_string(&mut input);
    let mut reader = Reader {
        parser,
        anchors: HashMap::new(),
        open: Vec::new(),
        aliased: 0,
        depth: 0,
        duplicates: Vec::new(),
        added_at,
    };
    let value = reader.document().map_err(|why| format!("yaml: {why}"))?;
    let strict = match reader.duplicates.as_slice() {
        [] => Vec::new(),
        lines => vec![format!("yaml: unmarshal errors:\n  {}", lines.join("\n  "))],
    };
    Ok((value, strict))
}

/// Most YAML is JSON. Where both readers agree on it, the faster one does.
fn plain_json(raw: &[u8]) -> Option<Value> {
    let value: Value = match raw.trim_ascii_start().first()? {
        b'{' => apiserver_json::from_slice(raw).ok()?,
        _ => return None,
    };
    (!has_float(&value) && apiserver_schema::duplicate_fields(raw).is_empty()).then_some(value)
}

fn has_float(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(list) => list.iter().any(has_float),
        Value::Object(map) => map.values().any(has_float),
        _ => false,
    }
}

struct Reader<'a> {
    parser: Parser<&'a mut &'a [u8]>,
    anchors: HashMap<String, Value>,
    /// Anchors of nodes that are being read.
    open: Vec<String>,
    aliased: usize,
    depth: usize,
    duplicates: Vec<String>,
    /// The line behind an end of line that was not sent.
    added_at: Option<u64>,
}

impl Reader<'_> {
    fn next(&mut self) -> Result<Event, String> {
        self.parser.parse().map_err(|error| describe(&error, self.added_at))
    }

    fn document(&mut self) -> Result<Value, String> {
        loop {
            let event = self.next()?;
            match event.data {
                EventData::StreamEnd => return Ok(Value::Null),
                EventData::DocumentStart { version_directive: Some(version), .. }
                    if (version.major, version.minor) != (1, 1) =>
                {
                    return Err("found incompatible YAML document".to_owned());
                }
                EventData::StreamStart { .. } | EventData::DocumentStart { .. } => {}
                _ => {
                    let value = self.node(event)?;
                    // What follows the node on its line is part of the document, and may be wrong.
                    self.next()?;
                    return Ok(value);
                }
            }
        }
    }

    fn node(&mut self, event: Event) -> Result<Value, String> {
        if self.depth > limits::JSON_DEPTH_MAX {
            return Err("exceeded max depth".to_owned());
        }
        let (anchor, value) = match event.data {
            EventData::Alias { anchor } => return self.alias(&anchor),
            EventData::Scalar { anchor, tag, mut value, plain_implicit, style, .. } => {
                let is_block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
                if is_block && self.added_at == Some(event.end_mark.line) && value.ends_with('\n') {
                    value.pop();
                }
                (anchor, scalar(tag.as_deref(), plain_implicit, value)?)
            }
            EventData::SequenceStart { anchor, .. } => {
                self.enter(anchor.as_ref());
                let list = self.sequence()?;
                self.leave(anchor.as_ref());
                (anchor, list)
            }
            EventData::MappingStart { anchor, .. } => {
                self.enter(anchor.as_ref());
                let map = self.mapping()?;
                self.leave(anchor.as_ref());
                (anchor, map)
            }
            other => return Err(format!("attempted to parse unknown event: {other:?}")),
        };
        if let Some(anchor) = anchor {
            self.anchors.insert(anchor, value.clone());
        }
        Ok(value)
    }

    fn enter(&mut self, anchor: Option<&String>) {
        self.depth += 1;
        self.open.extend(anchor.cloned());
    }

    fn leave(&mut self, anchor: Option<&String>) {
        self.depth -= 1;
        if anchor.is_some() {
            self.open.pop();
        }
    }

    fn alias(&mut self, anchor: &str) -> Result<Value, String> {
        if self.open.iter().any(|open| open == anchor) {
            return Err(format!("anchor '{anchor}' value contains itself"));
        }
        let value =
            self.anchors.get(anchor).ok_or_else(|| format!("unknown anchor '{anchor}' referenced"))?;
        self.aliased += nodes(value);
        if self.aliased > ALIASED_NODES_MAX {
            return Err("document contains excessive aliasing".to_owned());
        }
        Ok(value.clone())
    }

    fn sequence(&mut self) -> Result<Value, String> {
        let mut list = Items::new();
        loop {
            let event = self.next()?;
            if matches!(event.data, EventData::SequenceEnd) {
                return Ok(Value::Array(list));
            }
            list.push(self.node(event)?);
        }
    }

    fn mapping(&mut self) -> Result<Value, String> {
        let mut members = Members::new();
        let mut seen = HashSet::new();
        loop {
            let event = self.next()?;
            if matches!(event.data, EventData::MappingEnd) {
                return Ok(Value::Object(Map::of_members(members).0));
            }
            let merges = matches!(&event.data, EventData::Scalar { value, tag, plain_implicit, .. }
                if value == "<<" && (*plain_implicit || tag.as_deref() == Some("tag:yaml.org,2002:merge")));
            let key = if merges { Value::Null } else { self.node(event)? };
            let event = self.next()?;
            let line = event.start_mark.line + 1;
            let value = self.node(event)?;
            if merges {
                let before = members.len();
                merge(&mut members, value)?;
                seen.extend(members[before..].iter().map(|(key, _)| key.clone()));
                continue;
            }
            let (key, shown) = match key {
                Value::String(text) => {
                    let shown = go_quote(&text);
                    (text, shown)
                }
                Value::Bool(flag) => (flag.to_string().into(), flag.to_string()),
                Value::Number(number) => (number.to_string().into(), number.to_string()),
                Value::Null => {
                    return Err("unsupported map key of type: %!s(<nil>), key: <nil>".to_owned());
                }
                other => return Err(format!("invalid map key: {}", apiserver_schema::go_display(&other))),
            };
            let is_new = seen.insert(key.clone());
            members.push((key, value));
            if !is_new {
                self.duplicates.push(format!("line {line}: key {shown} already set in map"));
            }
        }
    }
}

fn nodes(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().map(nodes).sum(),
        Value::Object(map) => map.values().map(nodes).sum::<usize>(),
        _ => 0,
    }
}

fn merge(members: &mut Members, value: Value) -> Result<(), String> {
    match value {
        Value::Object(other) => members.extend(other),
        Value::Array(list) if list.iter().all(Value::is_object) => {
            // The first of several wins.
            for item in list.into_iter().rev() {
                merge(members, item)?;
            }
        }
        _ => return Err("map merge requires map or sequence of maps as the value".to_owned()),
    }
    Ok(())
}

/// A parser's error with its line, as go-yaml prints it.
fn describe(error: &libyaml_safer::Error, added_at: Option<u64>) -> String {
    let marks = [error.problem_mark(), error.context_mark()];
    let by_scanner = error.kind() == ErrorKind::Scanner;
    // To the scanner no line begins where none was ended; the end of the stream is on one of its own.
    let sent = |line: u64| if by_scanner && added_at == Some(line) { line - 1 } else { line };
    let at = marks.into_iter().flatten().map(|mark| sent(mark.line)).find(|line| *line > 0);
    // Errors of the scanner count lines from zero, those of the parser from the line after.
    let line = at.map(|line| line + u64::from(by_scanner));
    match line {
        Some(line) => format!("line {line}: {}", error.problem()),
        None => error.problem().to_owned(),
    }
}

fn scalar(tag: Option<&str>, plain: bool, text: String) -> Result<Value, String> {
    let tag = match tag {
        None | Some("" | "!") if !plain => return Ok(Value::String(text.into())),
        None | Some("" | "!") => "",
        Some(tag) => match tag.strip_prefix(TAG) {
            Some(name @ ("bool" | "int" | "float" | "null" | "timestamp")) => name,
            // `!!str`, `!!binary` and what nobody knows: text.
            _ => return Ok(Value::String(text.into())),
        },
    };
    let (found, value) = resolve(&text)?;
    match tag {
        "" => Ok(value),
        "float" if found == "int" => Ok(value),
        "timestamp" if found == "str" => Ok(value),
        wanted if wanted == found => Ok(value),
        wanted => Err(format!("cannot decode !!{found} `{text}` as a !!{wanted}")),
    }
}

/// What a plain scalar means.
pub(crate) fn resolve(text: &str) -> Result<(&'static str, Value), String> {
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => ("null", Value::Null),
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            ("bool", Value::Bool(true))
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            ("bool", Value::Bool(false))
        }
        ".nan" | ".NaN" | ".NAN" => return Err("json: unsupported value: NaN".to_owned()),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Err("json: unsupported value: +Inf".to_owned());
        }
        "-.inf" | "-.Inf" | "-.INF" => return Err("json: unsupported value: -Inf".to_owned()),
        _ if !text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '.' | '+' | '-')) => {
            ("str", text.into())
        }
        _ => number(text).unwrap_or_else(|| ("str", text.into())),
    })
}

fn number(text: &str) -> Option<(&'static str, Value)> {
    if text.starts_with('.') {
        return Some(("float", float(text.parse().ok()?)?));
    }
    let plain = text.replace('_', "");
    if let Some(value) = integer(&plain) {
        return Some(("int", value));
    }
    let digits = plain.trim_start_matches(['-', '+']);
    let numeric =
        digits.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'-' | b'+'));
    let starts = digits.starts_with(|first: char| first.is_ascii_digit() || first == '.');
    if !numeric || !starts || plain.len() - digits.len() > 1 {
        return None;
    }
    Some(("float", float(plain.parse().ok()?)?))
}

/// Go's `ParseInt` and `ParseUint` with base 0.
fn integer(text: &str) -> Option<Value> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if digits.starts_with(['-', '+']) {
        return None;
    }
    let lower = digits.to_ascii_lowercase();
    let (radix, rest) = match (lower.get(..2), lower.as_bytes().first()) {
        (Some("0x"), _) => (16, &lower[2..]),
        (Some("0o"), _) => (8, &lower[2..]),
        (Some("0b"), _) => (2, &lower[2..]),
        (Some(_), Some(b'0')) => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    let number = u64::from_str_radix(rest, radix).ok()?;
    if negative {
        return Some(Value::Number(i64::try_from(-i128::from(number)).ok()?.into()));
    }
    // An explicit plus is no unsigned number in Go.
    if text.starts_with('+') && i64::try_from(number).is_err() {
        return None;
    }
    Some(Value::Number(number.into()))
}

/// A float as JSON prints it: whole ones without a fraction.
fn float(number: f64) -> Option<Value> {
    if number.fract() == 0.0 && number.abs() < 9.0e18 {
        return Some(Value::Number((number as i64).into()));
    }
    Number::from_f64(number).map(Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use apiserver_json::json;

    #[test]
    fn plain_scalars_are_read_as_go_yaml_does() {
        for (text, want) in [
            ("yes", json!(true)),
            ("n", json!(false)),
            ("Off", json!(false)),
            ("\"on\"", json!("on")),
            ("!!str on", json!("on")),
            ("~", json!(null)),
            ("0755", json!(493)),
            ("0o17", json!(15)),
            ("0b101", json!(5)),
            ("-0x10", json!(-16)),
            ("1_000", json!(1000)),
            ("08", json!(8)),
            ("1.50", json!(1.5)),
            ("2.0", json!(2)),
            ("1e3", json!(1000)),
            (".5", json!(0.5)),
            ("1.2.3", json!("1.2.3")),
            ("2020-01-02", json!("2020-01-02")),
            ("+-1", json!("+-1")),
            ("-", json!("-")),
            ("18446744073709551615", json!(18_446_744_073_709_551_615_u64)),
            ("!!int \"3\"", json!(3)),
            ("nope", json!("nope")),
        ] {
            let body = format!("a: {text}");
            let want = if text == "-" { Err(()) } else { Ok(json!({ "a": want })) };
            assert_eq!(parse(body.as_bytes()).map(|(value, _)| value).map_err(drop), want, "{text}");
        }
    }

    #[test]
    fn keys_are_scalars_too() {
        let (value, strict) = parse(b"n: 1\n2: b\nok: c\n\"y\": d\n").unwrap();
        assert_eq!(value, json!({"false": 1, "2": "b", "ok": "c", "y": "d"}));
        assert!(strict.is_empty());
    }

    #[test]
    fn anchors_and_merges() {
        let text = b"base: &b {x: 1, y: 2}\nall: *b\nmore:\n  <<: *b\n  \"y\": 3\nlist: [*b, *b]";
        let want = json!({"base": {"x": 1, "true": 2}, "all": {"x": 1, "true": 2},
            "more": {"x": 1, "true": 2, "y": 3}, "list": [{"x": 1, "true": 2}, {"x": 1, "true": 2}]});
        assert_eq!(parse(text).unwrap().0, want);
        assert_eq!(parse(b"a: *x").unwrap_err(), "yaml: unknown anchor 'x' referenced");
        assert_eq!(parse(b"a: &x [*x]").unwrap_err(), "yaml: anchor 'x' value contains itself");
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for i in 1..9 {
            let below = vec![format!("*a{}", i - 1); 10].join(", ");
            bomb.push_str(&format!("a{i}: &a{i} [{below}]\n"));
        }
        assert_eq!(parse(bomb.as_bytes()).unwrap_err(), "yaml: document contains excessive aliasing");
    }

    #[test]
    fn duplicates_are_named_with_their_line() {
        let (value, strict) = parse(b"a: 1\nb: 2\na: 3\n").unwrap();
        assert_eq!(value, json!({"a": 3, "b": 2}));
        assert_eq!(strict, ["yaml: unmarshal errors:\n  line 3: key \"a\" already set in map"]);
        assert_eq!(parse(br#"{"a": 1, "a": 2}"#).unwrap().0, json!({"a": 2}));
    }

    #[test]
    fn a_document_may_end_anywhere() {
        let text = "a: |\n  x\n  y\nb: >-\n  z\nc: \"q\\x41 r\"\nd: 'it''s'\ne: [1, {f: &g h}]\n? i\n: !!str j\n--- k\n...\n%TAG";
        for end in 0..text.len() {
            drop(parse(&text.as_bytes()[..end]));
        }
        for (text, want) in
            [("a: |\n  x", "x"), ("a: |-\n  x", "x"), ("a: >\n  x\n  y", "x y"), ("a: |\n  x\n", "x\n")]
        {
            assert_eq!(parse(text.as_bytes()).unwrap().0, json!({"a": want}), "{text:?}");
        }
    }

    #[test]
    fn broken_documents_say_where() {
        let cases: [(&[u8], &str); 7] = [
            (b"a: b: c", "yaml: mapping values are not allowed in this context"),
            (b"a: 1\nb: c: d", "yaml: line 2: mapping values are not allowed in this context"),
            (b"a: 'x", "yaml: found unexpected end of stream"),
            (b"a: 'x\n", "yaml: line 2: found unexpected end of stream"),
            (b"%YAML 1.2\n---\na: b", "yaml: found incompatible YAML document"),
            (b"a: [1", "yaml: line 1: did not find expected ',' or ']'"),
            (b"\ta: 1", "yaml: found character that cannot start any token"),
        ];
        for (text, want) in cases {
            assert_eq!(parse(text).unwrap_err(), want, "{}", String::from_utf8_lossy(text));
        }
        assert_eq!(parse(b"").unwrap().0, Value::Null);
        assert_eq!(parse(b"a: 1\n---\nb: [").unwrap().0, json!({"a": 1}));
        assert!(parse(&b"[".repeat(100_000)).is_err());
        assert!(parse(b"\xff\xfe\xfd").is_err());
    }
}
