//! JSON as Go's decoder speaks of it.

/// A JSON syntax error in Go's words.
pub fn go_error(raw: &[u8], error: &apiserver_json::Error) -> String {
    if error.is_eof() {
        return "unexpected end of JSON input".to_owned();
    }
    let line = raw.split(|byte| *byte == b'\n').nth(error.line().saturating_sub(1)).unwrap_or(&[]);
    let found = line.get(error.column().saturating_sub(1)).copied().unwrap_or(b' ');
    let shown = match found {
        b'\'' => "'\\''".to_owned(),
        byte if byte.is_ascii_graphic() || byte == b' ' => format!("'{}'", char::from(byte)),
        byte => format!("'\\u{byte:04x}'"),
    };
    if error.to_string().starts_with("recursion limit") {
        return format!("invalid character {shown} exceeded max depth");
    }
    format!("invalid character {shown} looking for beginning of value")
}
