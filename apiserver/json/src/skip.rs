//! Reading over text that is known to be JSON, without a look at what it says: several times as fast as to read it.

/// The value that a text begins with, and what comes after it; nothing where the text ends before the value does. What is no
/// JSON is not told from what is.
pub fn split_value(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.trim_ascii_start();
    let length = match text.first()? {
        b'"' | b'{' | b'[' => closed_length(text)?,
        _ => text.iter().position(is_end).unwrap_or(text.len()),
    };
    text.split_at_checked(length).filter(|(value, _)| !value.is_empty())
}

/// The value of an object's first member of that name, as it is written.
pub fn member<'a>(object: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut cursor = Cursor::open(object)?;
    while let Some(found) = cursor.name()? {
        let value = cursor.value()?;
        if found == name.as_bytes() {
            return Some(value);
        }
    }
    None
}

/// The members of an object, one after the other, in one pass: after each name its value is to be read, or read over.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// Before the first member; nothing of what is no object.
    pub fn open(text: &'a [u8]) -> Option<Self> {
        Some(Self { rest: text.trim_ascii_start().strip_prefix(b"{")? })
    }

    /// The name of the next member, as it is written between the quotes; `Some(None)` behind the last one, nothing where the
    /// text ends or is no JSON.
    pub fn name(&mut self) -> Option<Option<&'a [u8]>> {
        let rest = self.rest.trim_ascii_start();
        if let Some(after) = rest.strip_prefix(b"}") {
            self.rest = after;
            return Some(None);
        }
        let (name, after) = split_value(rest.strip_prefix(b",").unwrap_or(rest))?;
        self.rest = after.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
        name.strip_prefix(b"\"")?.strip_suffix(b"\"").map(Some)
    }

    /// The value after a name.
    pub fn value(&mut self) -> Option<&'a [u8]> {
        let (value, after) = split_value(self.rest)?;
        self.rest = after;
        Some(value)
    }

    /// What was not read yet: after a name, from its value on.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Goes on behind a value that was read by a cursor of its own.
    pub fn go_on_behind(&mut self, value: Self) {
        self.rest = value.rest;
    }
}

/// Does a number or a word end here?
fn is_end(byte: &u8) -> bool {
    matches!(byte, b',' | b']' | b'}') || byte.is_ascii_whitespace()
}

/// Of a string, an object or a list.
fn closed_length(text: &[u8]) -> Option<usize> {
    let mut bytes = text.iter();
    let mut depth = 0_usize;
    loop {
        match bytes.next()? {
            b'"' => loop {
                match bytes.find(|byte| **byte == b'"' || **byte == b'\\')? {
                    b'"' => break,
                    _ => drop(bytes.next()?),
                }
            },
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => continue,
        }
        if depth == 0 {
            return Some(text.len() - bytes.as_slice().len());
        }
    }
}
