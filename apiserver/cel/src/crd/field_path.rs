//! `fieldPath` of a rule: a JSON path of fields and keys that the schema has.

use apiserver_json::Value;

/// Splits at `.`, `[` and `]`, which are tokens of their own; quoted text is one token.
fn tokens(path: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut rest = path;
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '.' | '[' | ']' => 1,
            '\'' => {
                let bytes = rest.as_bytes();
                let close = (1..bytes.len()).find(|i| bytes[*i] == b'\'' && bytes[*i - 1] != b'\\');
                close.map_or(rest.len(), |i| i + 1)
            }
            _ => rest.find(['.', '[', ']']).unwrap_or(rest.len()),
        };
        out.push(&rest[..end]);
        rest = &rest[end..];
    }
    out
}

fn unescape(text: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        out.push(match chars.next() {
            Some('a') => '\u{7}',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('v') => '\u{b}',
            Some('\'') => '\'',
            Some('\\') => '\\',
            Some(other) => return Err(format!("invalid string literal: invalid escape char \\{other}")),
            None => '\\',
        });
    }
    Ok(out)
}

/// The path as errors print it, if the schema has it.
pub(super) fn normalise(path: &str, schema: &Value) -> Result<String, String> {
    let found = tokens(path);
    let (mut rest, mut node, mut out) = (found.as_slice(), schema, String::new());
    while let Some((token, after)) = rest.split_first() {
        let name = match (*token, after) {
            ("[", [quoted, "]", more @ ..]) => {
                rest = more;
                let inner = quoted.strip_prefix('\'').and_then(|q| q.strip_suffix('\''));
                let inner = inner.filter(|_| quoted.len() >= 2);
                unescape(inner.ok_or_else(|| format!("expected single quoted string but got {quoted}"))?)?
            }
            ("[", [_, other, ..]) => return Err(format!("expected ] but got {other}")),
            (".", [name, more @ ..]) => {
                rest = more;
                (*name).to_owned()
            }
            ("[" | ".", _) => return Err("unexpected end of JSON path".to_owned()),
            (other, _) => return Err(format!("expected [ or . but got: {other}")),
        };
        let missing = || "does not refer to a valid field".to_owned();
        let properties = node.get("properties").filter(|p| p.as_object().is_some_and(|p| !p.is_empty()));
        match properties {
            Some(properties) => {
                node = properties.get(&name).ok_or_else(missing)?;
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(&name);
            }
            None => {
                node = node
                    .get("additionalProperties")
                    .filter(|values| values.is_object())
                    .ok_or_else(missing)?;
                out.push_str(&format!("[{name}]"));
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::normalise;
    use apiserver_json::json;

    #[test]
    fn paths_are_those_of_the_schema() {
        let schema = json!({"properties": {"spec": {"properties": {
            "a.b": {"type": "string"},
            "map": {"additionalProperties": {"type": "string"}},
        }}}});
        for (path, want) in [
            (".spec", Ok("spec")),
            (".spec['a.b']", Ok("spec.a.b")),
            (".spec.map['k']", Ok("spec.map[k]")),
            ("spec", Err("expected [ or . but got: spec")),
            (".nope", Err("does not refer to a valid field")),
            (".spec.", Err("unexpected end of JSON path")),
        ] {
            assert_eq!(normalise(path, &schema).as_deref().map_err(String::as_str), want, "{path}");
        }
    }
}
