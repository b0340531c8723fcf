//! The `continue` of a list that was read in part: where it goes on, and at which revision.

use apiserver_json::{Value, json};
use apiserver_meta::Status;
use apiserver_schema::json_kind;

const VERSION: &str = "meta.k8s.io/v1";

/// The token of a list of keys with a prefix that goes on at `next`, a key, at a revision; -1 is whichever is the last one then.
pub(super) fn write(prefix: &str, next: &str, revision: i64) -> String {
    let start = next.get(prefix.len()..).unwrap_or("");
    encode(json!({"v": VERSION, "rv": revision, "start": start}).to_string().as_bytes())
}

/// The key where a list goes on, and its revision; 0 is the last one.
///
/// # Errors
/// 400 in the words of upstream's `DecodeContinue`.
pub(super) fn read(token: &str, prefix: &str) -> Result<(String, u64), Status> {
    let refuse =
        |why: &str| Status::bad_request(format!("invalid continue token: continue key is not valid: {why}"));
    let raw = decode(token).map_err(|at| refuse(&format!("illegal base64 data at input byte {at}")))?;
    let value: Value =
        apiserver_json::from_slice(&raw).map_err(|error| refuse(&super::json_error(&raw, &error)))?;
    let empty = apiserver_json::Map::new();
    let members = match &value {
        Value::Object(members) => members,
        Value::Null => &empty,
        other => {
            let found = json_kind(other);
            return Err(refuse(&format!(
                "json: cannot unmarshal {found} into Go value of type storage.continueToken"
            )));
        }
    };
    let mistyped = |member: &str, found: &Value, wanted: &str| {
        let found = json_kind(found);
        refuse(&format!(
            "json: cannot unmarshal {found} into Go struct field continueToken.{member} of type {wanted}"
        ))
    };
    let text = |member: &str| match members.get(member) {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(text)) => Ok(text.as_str()),
        Some(other) => Err(mistyped(member, other, "string")),
    };
    let revision = match members.get("rv") {
        None | Some(Value::Null) => 0,
        Some(other) => other.as_i64().ok_or_else(|| mistyped("rv", other, "int64"))?,
    };
    let (version, start) = (text("v")?, text("start")?);
    if version != VERSION {
        return Err(refuse(&format!("server does not recognize this encoded version {version}")));
    }
    if revision == 0 {
        return Err(refuse("incorrect encoded start resourceVersion (version meta.k8s.io/v1)"));
    }
    if start.is_empty() {
        return Err(refuse("encoded start key empty (version meta.k8s.io/v1)"));
    }
    let path = start.strip_prefix('/').unwrap_or(start);
    // Nobody gets above the collection.
    if path.split('/').any(|step| matches!(step, "" | "." | "..")) {
        return Err(refuse(start));
    }
    Ok((format!("{prefix}{path}"), u64::try_from(revision).unwrap_or(0)))
}

const URL_ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn encode(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let block =
            chunk.iter().enumerate().fold(0u32, |block, (i, byte)| block | u32::from(*byte) << (16 - 8 * i));
        for i in 0..=chunk.len() {
            out.push(char::from(URL_ALPHABET[(block >> (18 - 6 * i) & 63) as usize]));
        }
    }
    out
}

/// # Errors
/// The place of the first byte that is wrong.
fn decode(text: &str) -> Result<Vec<u8>, usize> {
    let mut out = Vec::new();
    let (mut block, mut bits) = (0u32, 0);
    for (at, byte) in text.bytes().enumerate() {
        let value = URL_ALPHABET.iter().position(|known| *known == byte).ok_or(at)? as u32;
        block = block << 6 | value;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((block >> bits & 0xff) as u8);
        }
    }
    // One character alone is no byte.
    if text.len() % 4 == 1 { Err(text.len() - 1) } else { Ok(out) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive() {
        for text in ["", "a", "ab", "abc", "{\"rv\":12}"] {
            assert_eq!(decode(&encode(text.as_bytes())).unwrap(), text.as_bytes());
        }
        for (text, at) in [("gar*", 3), ("e30=", 3), ("e30ab", 4)] {
            assert_eq!(decode(text), Err(at), "{text}");
        }
    }

    #[test]
    fn what_is_no_token_is_told_as_upstream_does() {
        for (token, want) in [
            (r#"{}"#, "server does not recognize this encoded version "),
            (r#"{"v":"v2"}"#, "server does not recognize this encoded version v2"),
            (
                r#"{"v":1}"#,
                "json: cannot unmarshal number into Go struct field continueToken.v of type string",
            ),
            (
                r#"{"v":"meta.k8s.io/v1","rv":"1"}"#,
                "json: cannot unmarshal string into Go struct field continueToken.rv of type int64",
            ),
            ("[]", "json: cannot unmarshal array into Go value of type storage.continueToken"),
            (
                r#"{"v":"meta.k8s.io/v1","start":"a"}"#,
                "incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
            ),
            (r#"{"v":"meta.k8s.io/v1","rv":1}"#, "encoded start key empty (version meta.k8s.io/v1)"),
            (r#"{"v":"meta.k8s.io/v1","rv":1,"start":"../x"}"#, "../x"),
        ] {
            let message = read(&encode(token.as_bytes()), "/p/").unwrap_err().message;
            assert_eq!(
                message,
                format!("invalid continue token: continue key is not valid: {want}"),
                "{token}"
            );
        }
        let of = |revision| read(&write("/p/", "/p/a/b", revision), "/p/").unwrap();
        assert_eq!((of(7), of(-1)), (("/p/a/b".to_owned(), 7), ("/p/a/b".to_owned(), 0)));
    }
}
