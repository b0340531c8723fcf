//! Strict decoding errors of a document, in the order they stand in it.
//!
//! A parsed tree has lost duplicates and order, so this reads the bytes once more, along the schema. It assumes
//! well-formed JSON and gives up silently where it is not: the parser has said so already.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Write as _;

use apiserver_meta::field::go_quote;

use crate::node::{Schema, Shape};

/// Upstream stops collecting here.
const MAX_ERRORS: usize = 100;
/// Deeper documents have been refused before.
const MAX_DEPTH: usize = 1000;

/// `duplicate field "data.k"` for each key that stands twice in an object of the document.
pub fn duplicate_fields(raw: &[u8]) -> Vec<String> {
    strict_errors(None, raw)
}

/// `unknown field "spec.foo"` and `duplicate field "data.k"` in document order. Without a schema any field is known.
pub fn strict_errors(schema: Option<&Schema>, raw: &[u8]) -> Vec<String> {
    let mut scan = Scan { raw, at: 0, path: String::new(), errors: Vec::new(), depth: 0 };
    let _ = scan.value(match schema {
        Some(schema) => Known::Typed(schema),
        None => Known::Free,
    });
    scan.errors
}

/// The keys of one object: a short list, and a set beside it once it is long.
#[derive(Default)]
struct Seen<'a> {
    few: Vec<Cow<'a, str>>,
    many: HashSet<Cow<'a, str>>,
}

impl<'a> Seen<'a> {
    const FEW: usize = 16;

    fn contains(&self, key: &str) -> bool {
        self.few.iter().any(|known| known == key) || self.many.contains(key)
    }

    fn insert(&mut self, key: Cow<'a, str>) {
        if self.few.len() < Self::FEW {
            self.few.push(key);
        } else {
            self.many.insert(key);
        }
    }
}

#[derive(Clone, Copy)]
enum Known<'a> {
    /// Follow the schema: unknown and duplicate fields count.
    Typed(&'a Schema),
    /// Any field may be there: duplicates count.
    Free,
    /// Under an unknown field or a type with its own reader: nothing counts.
    Skip,
}

struct Scan<'a> {
    raw: &'a [u8],
    at: usize,
    path: String,
    errors: Vec<String>,
    depth: usize,
}

impl<'a> Scan<'a> {
    fn peek(&mut self) -> Option<u8> {
        while let Some(b) = self.raw.get(self.at) {
            if !b.is_ascii_whitespace() {
                return Some(*b);
            }
            self.at += 1;
        }
        None
    }

    fn value(&mut self, known: Known<'_>) -> Option<()> {
        match self.peek()? {
            b'{' => self.nested(|scan| scan.object(known)),
            b'[' => self.nested(|scan| scan.list(known)),
            b'"' => self.text().map(|_| ()),
            _ => {
                let rest = &self.raw[self.at..];
                let end =
                    rest.iter().position(|b| matches!(b, b',' | b'}' | b']') || b.is_ascii_whitespace());
                self.at += end.unwrap_or(rest.len()).max(1);
                Some(())
            }
        }
    }

    fn nested(&mut self, read: impl FnOnce(&mut Self) -> Option<()>) -> Option<()> {
        self.depth += 1;
        self.at += 1;
        let done = if self.depth > MAX_DEPTH { None } else { read(self) };
        self.depth -= 1;
        done
    }

    fn object(&mut self, known: Known<'_>) -> Option<()> {
        let mut seen = Seen::default();
        loop {
            match self.peek()? {
                b'}' => {
                    self.at += 1;
                    return Some(());
                }
                b',' => self.at += 1,
                b'"' => {
                    let key = self.string()?;
                    if self.peek()? != b':' {
                        return None;
                    }
                    self.at += 1;
                    let child = child(known, &key);
                    match (known, child) {
                        (Known::Skip, _) => {}
                        (_, None) => self.report("unknown field", &key),
                        _ if seen.contains(&key) => self.report("duplicate field", &key),
                        _ => {}
                    }
                    let length = self.path.len();
                    self.path_push(&key);
                    seen.insert(key);
                    self.value(child.unwrap_or(Known::Skip))?;
                    self.path.truncate(length);
                }
                _ => return None,
            }
        }
    }

    fn list(&mut self, known: Known<'_>) -> Option<()> {
        let items = match known {
            Known::Typed(schema) => match &schema.shape {
                Shape::List(list) => Known::Typed(list.items.get()),
                _ => Known::Skip,
            },
            other => other,
        };
        let mut index = 0;
        loop {
            match self.peek()? {
                b']' => {
                    self.at += 1;
                    return Some(());
                }
                b',' => self.at += 1,
                _ => {
                    let length = self.path.len();
                    // Writing to a string cannot fail.
                    let _ = write!(self.path, "[{index}]");
                    self.value(items)?;
                    self.path.truncate(length);
                    index += 1;
                }
            }
        }
    }

    /// A string as it stands in the document, quotes included, and whether it has escapes.
    fn text(&mut self) -> Option<(&'a [u8], bool)> {
        let start = self.at;
        self.at += 1;
        let mut escaped = false;
        loop {
            match self.raw.get(self.at)? {
                b'\\' => {
                    escaped = true;
                    self.at += 2;
                }
                b'"' => {
                    self.at += 1;
                    return Some((self.raw.get(start..self.at)?, escaped));
                }
                _ => self.at += 1,
            }
        }
    }

    fn string(&mut self) -> Option<Cow<'a, str>> {
        let (text, escaped) = self.text()?;
        if escaped {
            return apiserver_json::from_slice(text).ok().map(Cow::Owned);
        }
        std::str::from_utf8(text.get(1..text.len() - 1)?).ok().map(Cow::Borrowed)
    }

    fn path_push(&mut self, key: &str) {
        if !self.path.is_empty() {
            self.path.push('.');
        }
        self.path.push_str(key);
    }

    fn report(&mut self, what: &str, key: &str) {
        if self.errors.len() >= MAX_ERRORS {
            return;
        }
        let length = self.path.len();
        self.path_push(key);
        let text = format!("{what} {}", go_quote(&self.path));
        self.path.truncate(length);
        if !self.errors.contains(&text) {
            self.errors.push(text);
        }
    }
}

/// What is known below a key; `None` if the key itself is unknown.
fn child<'a>(known: Known<'a>, key: &str) -> Option<Known<'a>> {
    match known {
        Known::Free => Some(Known::Free),
        Known::Skip => Some(Known::Skip),
        Known::Typed(schema) => match &schema.shape {
            Shape::Object(_) => schema.child(key).map(Known::Typed),
            Shape::Any { deduced: true } => Some(Known::Free),
            _ => Some(Known::Skip),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::builtin;

    #[test]
    fn errors_stand_in_document_order() {
        let raw = br#"{"metadata":{"name":"d","name":"d"},"data":{"k":"1","k":"2"}}"#;
        let want = [r#"duplicate field "metadata.name""#, r#"duplicate field "data.k""#];
        assert_eq!(duplicate_fields(raw), want);
        let service = builtin("", "v1", "Service").unwrap();
        let raw = br#"{"spec":{"ports":[{"port":80,"nodeport":1}],"Selector":{"a":"b"},"foo":{"bar":[1,{"baz":2}]}}}"#;
        let want = [
            r#"unknown field "spec.ports[0].nodeport""#,
            r#"unknown field "spec.Selector""#,
            r#"unknown field "spec.foo""#,
        ];
        assert_eq!(strict_errors(Some(&service), raw), want);
    }

    #[test]
    fn broken_documents_are_survived() {
        for raw in ["", "{", "{\"", "[[", "{\"a\"", "{\"a\":", "{\"a\":{\"b\\", "]", "{]}"] {
            let _ = duplicate_fields(raw.as_bytes());
        }
        let _ = duplicate_fields("[".repeat(100_000).as_bytes());
    }
}
