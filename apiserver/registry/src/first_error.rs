//! Which of several errors of a document is told: the one that stands first in it.
//!
//! A tree is read in the order of its keys, which is not that of the document. So the document is cut shorter until
//! nothing is wrong with what is left of it; that happens only where something is.

/// Longer documents are not read again and again: the first error in the order of keys is told of them.
const BYTES_MAX: usize = 64 << 10;

/// The error of the shortest beginning of `document` that has one. What is open where it is cut is closed, so `error` is
/// asked of whole documents.
pub(crate) fn first_error<E>(document: &str, error: impl Fn(&str) -> Option<E>) -> Option<E> {
    if document.len() > BYTES_MAX {
        return None;
    }
    let cuts = cuts(document);
    let first = cuts.partition_point(|cut| error(&beginning(document, *cut)).is_none());
    error(&beginning(document, *cuts.get(first)?))
}

/// Where a value ends or begins to have members.
fn cuts(document: &str) -> Vec<usize> {
    let mut cuts = Vec::new();
    walk(document, |at, token| {
        let rest = document[at..].trim_ascii_start();
        match token {
            Token::Open(_) => cuts.push(at),
            // A key is no value.
            Token::Scalar if !rest.starts_with(':') => cuts.push(at),
            Token::Scalar | Token::Close => {}
        }
    });
    cuts
}

/// The document up to here, closed.
fn beginning(document: &str, cut: usize) -> String {
    let mut open = Vec::new();
    walk(&document[..cut], |_, token| match token {
        Token::Open(bracket) => open.push(if bracket == b'{' { '}' } else { ']' }),
        Token::Close => {
            open.pop();
        }
        Token::Scalar => {}
    });
    let mut text = document[..cut].to_owned();
    text.extend(open.into_iter().rev());
    text
}

#[derive(Clone, Copy)]
enum Token {
    Open(u8),
    Close,
    Scalar,
}

/// Tells of each token of well-formed JSON where it ends.
fn walk(document: &str, mut told: impl FnMut(usize, Token)) {
    let bytes = document.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let start = at;
        at += 1;
        match byte {
            b'{' | b'[' => told(at, Token::Open(*byte)),
            b'}' | b']' => told(at, Token::Close),
            b',' | b':' | b' ' | b'\t' | b'\r' | b'\n' => {}
            b'"' => {
                while let Some(byte) = bytes.get(at) {
                    at += if *byte == b'\\' { 2 } else { 1 };
                    if *byte == b'"' {
                        break;
                    }
                }
                at = at.min(bytes.len());
                told(at, Token::Scalar);
            }
            _ => {
                let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\r' | b'\n');
                at = bytes[start..].iter().position(ends).map_or(bytes.len(), |length| start + length);
                told(at, Token::Scalar);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers of a document are wrong; the last of them in the order of keys is told first.
    fn wrong(document: &str) -> Option<String> {
        fn all(value: &apiserver_json::Value, found: &mut Vec<String>) {
            match value {
                apiserver_json::Value::Object(map) => map.values().for_each(|value| all(value, found)),
                apiserver_json::Value::Array(items) => items.iter().for_each(|value| all(value, found)),
                apiserver_json::Value::Number(number) => found.push(number.to_string()),
                _ => {}
            }
        }
        let mut found = Vec::new();
        all(&apiserver_json::from_str(document).expect("whole"), &mut found);
        found.pop()
    }

    #[test]
    fn the_first_error_of_the_document_is_told() {
        for (document, want) in [
            (r#"{"a": "x", "b": {}}"#, None),
            (r#"{"b": 1, "a": {"z": [2, 3]}, "c": 4}"#, Some("1")),
            (r#"{"c": {"b]\"": ["}", [2, 3]]}, "a": 4}"#, Some("2")),
            (r#"[ "k" , {"a" : {}} , 5 ]"#, Some("5")),
            ("7", Some("7")),
        ] {
            assert_eq!(first_error(document, wrong).as_deref(), want, "{document}");
        }
    }
}
