//! The media type of a body: `mime.ParseMediaType` of Go.

/// The media type that a header names, in small letters; `None` where Go cannot read the header.
pub(crate) fn media_type(header: &str) -> Option<String> {
    let (media, parameters) = header.split_at(header.find(';').unwrap_or(header.len()));
    let media = media.trim().to_ascii_lowercase();
    let is_token = |text: &str| !text.is_empty() && text.bytes().all(is_token_byte);
    let is_media = match media.split_once('/') {
        Some((kind, rest)) => is_token(kind) && is_token(rest),
        None => media.is_empty() && parameters.is_empty() || is_token(&media),
    };
    (is_media && are_parameters(parameters)).then_some(media)
}

/// Are these `; name=value` pairs, none of them twice?
fn are_parameters(mut rest: &str) -> bool {
    let mut names: Vec<String> = Vec::new();
    loop {
        rest = rest.trim_start();
        // A semicolon at the end is no parameter.
        if rest.is_empty() || rest.trim() == ";" {
            return true;
        }
        let Some((name, after)) = parameter(rest) else { return false };
        let name = name.to_ascii_lowercase();
        if names.contains(&name) {
            return false;
        }
        names.push(name);
        rest = after;
    }
}

/// The name of the first parameter, and what comes after its value.
fn parameter(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = token(text.strip_prefix(';')?.trim_start())?;
    let rest = rest.trim_start().strip_prefix('=')?.trim_start();
    let after = match rest.strip_prefix('"') {
        Some(quoted) => after_quoted(quoted)?,
        None => token(rest)?.1,
    };
    Some((name, after))
}

fn token(text: &str) -> Option<(&str, &str)> {
    let end = text.bytes().position(|byte| !is_token_byte(byte)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn after_quoted(text: &str) -> Option<&str> {
    let mut escaped = false;
    for (i, byte) in text.bytes().enumerate() {
        match byte {
            b'"' if !escaped => return text.get(i + 1..),
            b'\r' | b'\n' => return None,
            _ => escaped = byte == b'\\' && !escaped,
        }
    }
    None
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_go_reads_them() {
        for (header, want) in [
            ("", Some("")),
            ("application/JSON", Some("application/json")),
            (" application/json ; charset=utf-8", Some("application/json")),
            ("application/json; a=\"b;c\\\"\"; d = e;", Some("application/json")),
            ("application/yaml;x", None),
            ("application/yaml;x=", None),
            ("application/yaml;=x", None),
            ("application/yaml;a=b;A=c", None),
            ("application/yaml;a=\"b", None),
            ("application/json, text/plain", None),
            ("application//json", None),
            (";a=b", None),
            ("json", Some("json")),
        ] {
            assert_eq!(media_type(header).as_deref(), want, "{header:?}");
        }
    }
}
