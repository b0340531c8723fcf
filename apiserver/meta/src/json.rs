//! JSON as Go's decoder speaks of it.

use crate::field::go_quote;

/// A JSON syntax error in Go's words.
pub fn go_error(raw: &[u8], error: &apiserver_json::Error) -> String {
    let place = |context: &str| {
        let line = raw.split(|byte| *byte == b'\n').nth(error.line().saturating_sub(1)).unwrap_or(&[]);
        let found = line.get(error.column().saturating_sub(1)).copied().unwrap_or(b' ');
        format!("invalid character {} {context}", shown(found))
    };
    // Go stops there, too, whatever follows.
    if error.to_string().starts_with("recursion limit") {
        return place("exceeded max depth");
    }
    match scan(raw) {
        Err(Some((found, context))) => format!("invalid character {} {context}", shown(found)),
        Err(None) => "unexpected end of JSON input".to_owned(),
        // Go's grammar has nothing against it: it is no UTF-8.
        Ok(()) => place("looking for beginning of value"),
    }
}

/// A byte as Go quotes it: each byte is taken for a character.
fn shown(byte: u8) -> String {
    match byte {
        b'\'' => "'\\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        byte => {
            let quoted = go_quote(char::from(byte).encode_utf8(&mut [0; 4]));
            format!("'{}'", &quoted[1..quoted.len() - 1])
        }
    }
}

/// The byte that no document can have there and what was expected of it; none if the document ends too early.
type Flaw = Option<(u8, String)>;

/// Reads a document for its grammar only. At the end of a document Go tries a space.
fn scan(raw: &[u8]) -> Result<(), Flaw> {
    let mut scanner = Scanner { rest: raw };
    let mut open: Vec<u8> = Vec::new();
    let mut next = Next::Value;
    loop {
        scanner.skip_space();
        let Some(byte) = scanner.peek() else {
            return if matches!(next, Next::Separator) && open.is_empty() { Ok(()) } else { Err(None) };
        };
        next = match next {
            Next::Separator => match (open.last(), byte) {
                (Some(_), b',') => {
                    scanner.advance();
                    if open.last() == Some(&b'{') { Next::Key } else { Next::Value }
                }
                (Some(b'{'), b'}') | (Some(b'['), b']') => {
                    scanner.advance();
                    open.pop();
                    Next::Separator
                }
                (Some(b'{'), _) => return Err(scanner.flaw("after object key:value pair")),
                (Some(_), _) => return Err(scanner.flaw("after array element")),
                (None, _) => return Err(scanner.flaw("after top-level value")),
            },
            Next::Key => {
                scanner.key()?;
                Next::Value
            }
            Next::Value => match byte {
                b'{' | b'[' => {
                    scanner.advance();
                    open.push(byte);
                    scanner.skip_space();
                    match (byte, scanner.peek()) {
                        (b'{', Some(b'}')) | (b'[', Some(b']')) => Next::Separator,
                        (b'{', _) => Next::Key,
                        _ => Next::Value,
                    }
                }
                _ => {
                    scanner.scalar(byte)?;
                    Next::Separator
                }
            },
        };
    }
}

/// What may come next in a document.
enum Next {
    Value,
    Key,
    /// A comma, the end of what is open, or the end of the document.
    Separator,
}

struct Scanner<'a> {
    rest: &'a [u8],
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    fn advance(&mut self) {
        self.rest = self.rest.get(1..).unwrap_or(&[]);
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.advance();
        }
    }

    /// The byte here is wrong, or the space that Go puts behind the last one.
    fn flaw(&self, context: &str) -> Flaw {
        Some((self.peek().unwrap_or(b' '), context.to_owned()))
    }

    fn key(&mut self) -> Result<(), Flaw> {
        if self.peek() != Some(b'"') {
            return Err(self.flaw("looking for beginning of object key string"));
        }
        self.string()?;
        self.skip_space();
        match self.peek() {
            None => Err(None),
            Some(b':') => {
                self.advance();
                Ok(())
            }
            Some(_) => Err(self.flaw("after object key")),
        }
    }

    fn scalar(&mut self, first: u8) -> Result<(), Flaw> {
        match first {
            b'"' => self.string(),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            b'-' | b'0'..=b'9' => self.number(),
            _ => Err(self.flaw("looking for beginning of value")),
        }
    }

    fn literal(&mut self, whole: &str) -> Result<(), Flaw> {
        for expected in whole.bytes() {
            if self.peek() != Some(expected) {
                let expected = char::from(expected);
                return Err(self.flaw(&format!("in literal {whole} (expecting '{expected}')")));
            }
            self.advance();
        }
        Ok(())
    }

    fn string(&mut self) -> Result<(), Flaw> {
        self.advance();
        loop {
            match self.peek() {
                None => return Err(None),
                Some(b'"') => {
                    self.advance();
                    return Ok(());
                }
                Some(b'\\') => {
                    self.advance();
                    self.escape()?;
                }
                Some(..0x20) => return Err(self.flaw("in string literal")),
                Some(_) => self.advance(),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Flaw> {
        match self.peek() {
            Some(b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"') => self.advance(),
            Some(b'u') => {
                self.advance();
                for _ in 0..4 {
                    if !self.peek().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                        return Err(self.flaw("in \\u hexadecimal character escape"));
                    }
                    self.advance();
                }
            }
            _ => return Err(self.flaw("in string escape code")),
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), Flaw> {
        if self.peek() == Some(b'-') {
            self.advance();
        }
        match self.peek() {
            Some(b'0') => self.advance(),
            _ => self.digits("in numeric literal")?,
        }
        if self.peek() == Some(b'.') {
            self.advance();
            self.digits("after decimal point in numeric literal")?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.advance();
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.advance();
            }
            self.digits("in exponent of numeric literal")?;
        }
        Ok(())
    }

    fn digits(&mut self, context: &str) -> Result<(), Flaw> {
        if !self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return Err(self.flaw(context));
        }
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.advance();
        }
        Ok(())
    }
}

/// The number of a document whose value this is, as it stands there.
pub fn number_as_sent(raw: &[u8], value: f64) -> Option<&str> {
    let mut scanner = Scanner { rest: raw };
    while let Some(byte) = scanner.peek() {
        let before = scanner.rest;
        match byte {
            b'"' => scanner.string().ok()?,
            b'-' | b'0'..=b'9' => {
                scanner.number().ok()?;
                let text = std::str::from_utf8(&before[..before.len() - scanner.rest.len()]).ok()?;
                // What is beyond all floats was read as the last one.
                if text.parse().map(|number: f64| number.clamp(f64::MIN, f64::MAX)) == Ok(value) {
                    return Some(text);
                }
            }
            _ => scanner.advance(),
        }
    }
    None
}

/// A document as Go reads it, where others refuse it: bytes that are no UTF-8 and halves of surrogate pairs are U+FFFD, and
/// a number beyond all floats is one that nothing else takes either. `None` where there is nothing to mend.
pub fn mended(raw: &[u8]) -> Option<String> {
    let lossy = String::from_utf8_lossy(raw);
    let text = lossy.as_ref();
    let mut scanner = Scanner { rest: text.as_bytes() };
    let mut out = String::new();
    let mut copied = 0;
    while let Some(byte) = scanner.peek() {
        let start = text.len() - scanner.rest.len();
        match byte {
            b'"' => scanner.string().ok()?,
            b'-' | b'0'..=b'9' => scanner.number().ok()?,
            0..0x80 => scanner.advance(),
            // Nothing but texts may have others.
            _ => return None,
        }
        let token = &text[start..text.len() - scanner.rest.len()];
        let instead = match byte {
            b'"' => without_halves(token),
            b'-' | b'0'..=b'9' => {
                let number = token.parse().ok().filter(|number: &f64| number.is_infinite());
                number.map(|number| format!("{:e}", number.clamp(f64::MIN, f64::MAX)))
            }
            _ => None,
        };
        if let Some(instead) = instead {
            out.push_str(&text[copied..start]);
            out.push_str(&instead);
            copied = start + token.len();
        }
    }
    if copied == 0 && matches!(lossy, std::borrow::Cow::Borrowed(_)) {
        return None;
    }
    out.push_str(&text[copied..]);
    Some(out)
}

/// A string of a document whose escapes of half a surrogate pair are those of U+FFFD; `None` where there are none.
fn without_halves(string: &str) -> Option<String> {
    let unit = |at: usize| {
        let digits = string.get(at..)?.strip_prefix("\\u")?.get(..4)?;
        u16::from_str_radix(digits, 16).ok()
    };
    let mut out = String::new();
    let (mut copied, mut at) = (0, 0);
    while let Some(found) = string.get(at..).and_then(|rest| rest.find('\\')) {
        at += found;
        match (unit(at), unit(at + 6)) {
            (Some(0xd800..0xdc00), Some(0xdc00..0xe000)) => at += 12,
            (Some(0xd800..0xe000), _) => {
                out.push_str(&string[copied..at]);
                out.push_str("\\ufffd");
                at += 6;
                copied = at;
            }
            (Some(_), _) => at += 6,
            // Of the other escapes none has more than one letter.
            (None, _) => at += 2,
        }
    }
    (copied > 0).then(|| out + &string[copied..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syntax_errors_are_told_as_go_tells_them() {
        for (raw, expected) in [
            ("", "unexpected end of JSON input"),
            ("{\"a\":\"", "unexpected end of JSON input"),
            ("{\"a\":1,", "unexpected end of JSON input"),
            ("{} x", "invalid character 'x' after top-level value"),
            ("{\"a\":1,}", "invalid character '}' looking for beginning of object key string"),
            ("{'a':1}", "invalid character '\\'' looking for beginning of object key string"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            ("{\"a\":1 \"b\":2}", "invalid character '\"' after object key:value pair"),
            ("[1 2]", "invalid character '2' after array element"),
            ("[1,]", "invalid character ']' looking for beginning of value"),
            ("{\"a\":tru}", "invalid character '}' in literal true (expecting 'e')"),
            ("{\"a\":nul", "invalid character ' ' in literal null (expecting 'l')"),
            ("{\"a\":-}", "invalid character '}' in numeric literal"),
            ("{\"a\":01}", "invalid character '1' after object key:value pair"),
            ("{\"a\":1.}", "invalid character '}' after decimal point in numeric literal"),
            ("{\"a\":1e}", "invalid character '}' in exponent of numeric literal"),
            ("{\"a\":\"\\x\"}", "invalid character 'x' in string escape code"),
            ("{\"a\":\"\\u12g4\"}", "invalid character 'g' in \\u hexadecimal character escape"),
            ("\"x\ny\"", "invalid character '\\n' in string literal"),
            ("{\"a\":\u{e9}}", "invalid character '\u{c3}' looking for beginning of value"),
        ] {
            let error = apiserver_json::from_slice::<apiserver_json::Value>(raw.as_bytes()).unwrap_err();
            assert_eq!(go_error(raw.as_bytes(), &error), expected, "{raw}");
        }
    }

    #[test]
    fn what_go_reads_is_mended() {
        for (raw, want) in [
            (&br#"{"a":"\ud83d\ude00\n\\ud800"}"#[..], None),
            (br#"{"a":1e308,"b":"1e999"}"#, None),
            (br#"{"a":"\ud800"}"#, Some(r#"{"a":"\ufffd"}"#)),
            (
                br#"{"\uDC00x":"\ud800\u0041\ud800\ud83d\ude00"}"#,
                Some(r#"{"\ufffdx":"\ufffd\u0041\ufffd\ud83d\ude00"}"#),
            ),
            (b"[\"\xff\xc3\"]", Some("[\"\u{fffd}\u{fffd}\"]")),
            (b"[\"\\ud800", None),
            (b"{\"a\":\x89{}}", None),
        ] {
            assert_eq!(mended(raw).as_deref(), want, "{}", String::from_utf8_lossy(raw));
        }
        let raw = br#"{"a":-1e999}"#;
        let number: f64 = mended(raw).unwrap()[5..].trim_end_matches('}').parse().unwrap();
        assert_eq!(number_as_sent(raw, number), Some("-1e999"));
    }

    #[test]
    fn numbers_are_found_where_they_stand() {
        let raw = br#"{"1e2":"1e2","a":[100,1e2],"b":-1E1}"#;
        assert_eq!(number_as_sent(raw, 100.0), Some("100"));
        assert_eq!(number_as_sent(raw, -10.0), Some("-1E1"));
        assert_eq!(number_as_sent(raw, 7.0), None);
    }
}
