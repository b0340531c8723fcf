//! Questions to FieldsV1 text that need no set made of it.
//!
//! Most writes touch a field or two of one owner; the others' fields are long, and stay the text they are.

use std::borrow::Cow;

use super::set::FieldSet;

/// How a text and a set relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Relation {
    /// They share a path.
    pub(super) touches: bool,
    /// Every path of the set is in the text.
    pub(super) covers: bool,
}

/// Compares FieldsV1 text with a set. `None` if the text is not written as this server writes it: no spaces, and
/// nothing but objects.
pub(super) fn relation(text: &str, set: &FieldSet) -> Option<Relation> {
    let mut cursor = Cursor { text, at: 0 };
    let (_, relation) = cursor.object(set)?;
    (cursor.at == text.len()).then_some(relation)
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// Reads an object; answers whether the path to it is in the text.
    fn object(&mut self, set: &FieldSet) -> Option<(bool, Relation)> {
        self.expect(b'{')?;
        let mut relation = Relation { touches: false, covers: set.steps() == 0 };
        if self.peek()? == b'}' {
            self.at += 1;
            return Some((true, relation));
        }
        let (mut dot, mut met, mut covered) = (false, 0, true);
        loop {
            let step = self.key()?;
            self.expect(b':')?;
            match set.node(&step) {
                Some((member, below)) => {
                    let (here, deeper) = self.object(below)?;
                    relation.touches |= member && here || deeper.touches;
                    covered &= (!member || here) && deeper.covers;
                    met += 1;
                }
                None => {
                    dot |= step == ".";
                    self.skip()?;
                }
            }
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => break,
                _ => return None,
            }
        }
        self.at += 1;
        relation.covers = covered && met == set.steps();
        Some((dot, relation))
    }

    fn key(&mut self) -> Option<Cow<'a, str>> {
        let start = self.at;
        let escaped = self.string()?;
        let quoted = &self.text[start..self.at];
        if escaped {
            apiserver_json::from_str(quoted).ok().map(Cow::Owned)
        } else {
            quoted.get(1..quoted.len() - 1).map(Cow::Borrowed)
        }
    }

    /// Goes behind a string; answers whether something in it is escaped.
    fn string(&mut self) -> Option<bool> {
        self.expect(b'"')?;
        let mut escaped = false;
        loop {
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Some(escaped);
                }
                b'\\' => {
                    escaped = true;
                    self.at += 2;
                }
                _ => self.at += 1,
            }
        }
    }

    /// Goes behind an object.
    fn skip(&mut self) -> Option<()> {
        self.expect(b'{')?;
        let mut depth = 1_u32;
        while depth > 0 {
            match self.peek()? {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' => depth += 1,
                b'}' => depth -= 1,
                b',' | b':' => {}
                _ => return None,
            }
            self.at += 1;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_touch_and_are_covered() {
        let text = r#"{"f:a":{".":{},"k:{\"n\":\"x\"}":{"f:b":{}}},"f:c":{}}"#;
        let told = |set: &str| {
            relation(text, &FieldSet::from_fields_v1(set).unwrap()).map(|r| (r.touches, r.covers))
        };
        for (set, touches, covers) in [
            ("{}", false, true),
            (r#"{"f:c":{}}"#, true, true),
            (r#"{"f:d":{}}"#, false, false),
            (r#"{"f:c":{},"f:d":{}}"#, true, false),
            (r#"{"f:a":{}}"#, true, true),
            (r#"{"f:a":{"k:{\"n\":\"x\"}":{"f:b":{}}}}"#, true, true),
            // The item itself is not in the text, only a field of it.
            (r#"{"f:a":{"k:{\"n\":\"x\"}":{}}}"#, false, false),
            (r#"{"f:a":{"k:{\"n\":\"y\"}":{"f:b":{}}}}"#, false, false),
            (r#"{"f:c":{"f:x":{}}}"#, false, false),
        ] {
            assert_eq!(told(set), Some((touches, covers)), "{set}");
        }
        for other in
            ["", "{", "{} ", r#"{"a": {}}"#, r#"{"a":1}"#, r#"{"a":{}"#, r#"{"a":{},}"#, r#"{"f:c":[]}"#]
        {
            assert_eq!(relation(other, &FieldSet::of(&[&["c"]])), None, "{other}");
        }
    }
}
