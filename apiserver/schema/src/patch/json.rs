//! JSON patch (RFC 6902) with the error texts of the library upstream uses.
//!
//! That library allows negative array indices and takes a missing value for null; so does this.

use crate::decode::json_kind;
use apiserver_json::Value;
use apiserver_meta::field::go_quote;

use super::PatchError;

/// Upstream's limit of operations in one patch.
pub const MAX_OPERATIONS: usize = 10_000;

/// The most bytes that `copy` operations of one patch may add.
const MAX_COPIED: usize = 3 * 1024 * 1024;

/// Applies the operations in order; the first that fails undoes all.
pub fn json_patch(doc: &Value, ops: &Value) -> Result<Value, PatchError> {
    let Value::Array(ops) = ops else {
        if ops.is_null() {
            return Ok(doc.clone());
        }
        let what = json_kind(ops);
        return Err(PatchError::BadRequest(format!(
            "error decoding patch: json: cannot unmarshal {what} into Go value of type jsonpatch.Patch"
        )));
    };
    if ops.len() > MAX_OPERATIONS {
        return Err(PatchError::TooLarge(format!(
            "Request entity too large: The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            ops.len()
        )));
    }
    let mut out = doc.clone();
    let mut copied = 0;
    for op in ops {
        apply(&mut out, op, &mut copied)?;
    }
    Ok(out)
}

/// What a strict reader of operations says of something that is no list of them.
pub fn strict_operations(ops: &Value) -> Result<(), String> {
    let wrong = |value: &Value, wanted: &str| {
        Err(format!("json: cannot unmarshal {} into Go {wanted}", json_kind(value)))
    };
    let list = match ops {
        Value::Array(list) => list,
        Value::Null => return Ok(()),
        other => return wrong(other, "value of type []handlers.jsonPatchOp"),
    };
    for op in list.iter().filter(|op| !op.is_null()) {
        let Value::Object(members) = op else { return wrong(op, "value of type handlers.jsonPatchOp") };
        for name in ["op", "path", "from"] {
            match members.get(name) {
                None | Some(Value::Null | Value::String(_)) => {}
                Some(other) => {
                    return wrong(other, &format!("struct field jsonPatchOp.{name} of type string"));
                }
            }
        }
    }
    Ok(())
}

/// `json patch unknown field "[0].extra"` for each member of an operation that RFC 6902 does not have.
pub fn unknown_patch_fields(ops: &Value) -> Vec<String> {
    let mut out = Vec::new();
    for (i, op) in ops.as_array().into_iter().flatten().enumerate() {
        for key in op.as_object().into_iter().flatten().map(|(key, _)| key) {
            if !matches!(key.as_str(), "op" | "path" | "from" | "value") {
                out.push(format!("json patch unknown field {}", go_quote(&format!("[{i}].{key}"))));
            }
        }
    }
    out
}

fn apply(doc: &mut Value, op: &Value, copied: &mut usize) -> Result<(), PatchError> {
    let Value::Object(members) = op else {
        let what = if op.is_array() { "array" } else { crate::golang::type_name(op) };
        return Err(PatchError::BadRequest(format!(
            "error decoding patch: json: cannot unmarshal {what} into Go value of type jsonpatch.Operation"
        )));
    };
    let text = |name: &str| members.get(name).and_then(Value::as_str);
    let value = members.get("value").cloned().unwrap_or(Value::Null);
    let kind = text("op").unwrap_or("unknown");
    let path = text("path");
    match kind {
        "add" => add(doc, path, value),
        "remove" => {
            let path = need(path, "remove operation failed to decode path: missing value")?;
            remove(doc, path)
        }
        "replace" => replace(doc, path, value),
        "move" => move_value(doc, text("from"), path),
        "test" => test(doc, path, &value),
        "copy" => copy(doc, text("from"), path, copied),
        other => fail(format!("Unexpected kind: {other}")),
    }
}

fn fail<T>(message: String) -> Result<T, PatchError> {
    Err(PatchError::Unprocessable(message))
}

fn need<'a>(text: Option<&'a str>, message: &str) -> Result<&'a str, PatchError> {
    text.ok_or_else(|| PatchError::Unprocessable(message.to_owned()))
}

fn add(doc: &mut Value, path: Option<&str>, value: Value) -> Result<(), PatchError> {
    let path = need(path, "add operation failed to decode path: missing value")?;
    let Some((parent, key)) = find(doc, path) else {
        return fail(format!("add operation does not apply: doc is missing path: \"{path}\": missing value"));
    };
    insert(parent, &key, value).or_else(|message| fail(format!("error in add for path: '{path}': {message}")))
}

fn remove(doc: &mut Value, path: &str) -> Result<(), PatchError> {
    let Some((parent, key)) = find(doc, path) else {
        return fail(format!(
            "remove operation does not apply: doc is missing path: \"{path}\": missing value"
        ));
    };
    take(parent, &key)
        .map(drop)
        .or_else(|message| fail(format!("error in remove for path: '{path}': {message}")))
}

fn replace(doc: &mut Value, path: Option<&str>, value: Value) -> Result<(), PatchError> {
    let path =
        need(path, "replace operation failed to decode path: operation missing path field: missing value")?;
    if path.is_empty() {
        if !value.is_object() && !value.is_array() {
            return fail("replace operation value must be object or array: %!w(<nil>)".to_owned());
        }
        *doc = value;
        return Ok(());
    }
    let Some((parent, key)) = find(doc, path) else {
        return fail(format!("replace operation does not apply: doc is missing path: {path}: missing value"));
    };
    match parent {
        Value::Object(map) => drop(map.insert(key.into(), value)),
        Value::Array(items) => match index(items.len(), &key) {
            Ok(at) if at < items.len() => items[at] = value,
            _ => {
                return fail(format!(
                    "replace operation does not apply: doc is missing key: {path}: missing value"
                ));
            }
        },
        _ => {}
    }
    Ok(())
}

fn move_value(doc: &mut Value, from: Option<&str>, path: Option<&str>) -> Result<(), PatchError> {
    let from =
        need(from, "move operation failed to decode from: operation, missing from field: missing value")?;
    let Some((parent, key)) = find(doc, from) else {
        return fail(format!(
            "move operation does not apply: doc is missing from path: {from}: missing value"
        ));
    };
    let value =
        take(parent, &key).or_else(|message| fail(format!("error in move for path: '{key}': {message}")))?;
    let path =
        need(path, "move operation failed to decode path: operation missing path field: missing value")?;
    let Some((parent, key)) = find(doc, path) else {
        return fail(format!(
            "move operation does not apply: doc is missing destination path: {path}: missing value"
        ));
    };
    insert(parent, &key, value)
        .or_else(|message| fail(format!("error in move for path: '{path}': {message}")))
}

fn test(doc: &mut Value, path: Option<&str>, value: &Value) -> Result<(), PatchError> {
    let path =
        need(path, "test operation failed to decode path: operation missing path field: missing value")?;
    let found = if path.is_empty() {
        Some(&*doc)
    } else {
        let Some((parent, key)) = find(doc, path) else {
            return fail(format!("test operation does not apply: is missing path: {path}: missing value"));
        };
        get(parent, &key).or_else(|message| fail(format!("error in test for path: '{path}': {message}")))?
    };
    if crate::golang::equal(found.unwrap_or(&Value::Null), value) {
        return Ok(());
    }
    Err(PatchError::TestFailed(format!("testing value {path} failed: test failed")))
}

fn copy(
    doc: &mut Value,
    from: Option<&str>,
    path: Option<&str>,
    copied: &mut usize,
) -> Result<(), PatchError> {
    let from =
        need(from, "copy operation failed to decode from: operation, missing from field: missing value")?;
    let Some((parent, key)) = find(doc, from) else {
        return fail(format!(
            "copy operation does not apply: doc is missing from path: {from}: missing value"
        ));
    };
    let value = get(parent, &key)
        .or_else(|message| fail(format!("error in copy for from: '{from}': {message}")))?
        .cloned()
        .unwrap_or(Value::Null);
    *copied += value.to_string().len();
    if *copied > MAX_COPIED {
        return fail(format!(
            "Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the limit {MAX_COPIED}"
        ));
    }
    let path = need(path, "copy operation failed to decode path: missing value")?;
    let Some((parent, key)) = find(doc, path) else {
        return fail(format!(
            "copy operation does not apply: doc is missing destination path: {path}: missing value"
        ));
    };
    insert(parent, &key, value)
        .or_else(|message| fail(format!("error while adding value during copy: {message}")))
}

/// The container a pointer leads into, and its last token.
fn find<'a>(doc: &'a mut Value, path: &str) -> Option<(&'a mut Value, String)> {
    let mut tokens = path.split('/');
    tokens.next()?;
    let mut tokens: Vec<String> = tokens.map(unescape).collect();
    let key = tokens.pop()?;
    let mut at = doc;
    for token in tokens {
        at = match at {
            Value::Object(map) => map.get_mut(&token)?,
            Value::Array(items) => {
                let i = index(items.len(), &token).ok()?;
                items.get_mut(i)?
            }
            _ => return None,
        };
    }
    (at.is_object() || at.is_array()).then_some((at, key))
}

fn unescape(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

/// An array index; negative ones count from the end.
fn index(length: usize, key: &str) -> Result<usize, String> {
    let number: i64 =
        key.parse().map_err(|_| format!("strconv.Atoi: parsing {}: invalid syntax", go_quote(key)))?;
    let at = if number < 0 { i64::try_from(length).unwrap_or(i64::MAX) + number } else { number };
    usize::try_from(at).map_err(|_| invalid_index(number))
}

fn invalid_index(number: i64) -> String {
    format!("Unable to access invalid index: {number}: invalid index referenced")
}

fn get<'a>(parent: &'a Value, key: &str) -> Result<Option<&'a Value>, String> {
    match parent {
        Value::Object(map) => Ok(map.get(key)),
        Value::Array(items) => {
            let at = index(items.len(), key)?;
            items.get(at).map(Some).ok_or_else(|| invalid_index(key.parse().unwrap_or(0)))
        }
        _ => Ok(None),
    }
}

fn insert(parent: &mut Value, key: &str, value: Value) -> Result<(), String> {
    match parent {
        Value::Object(map) => drop(map.insert(key.to_owned().into(), value)),
        Value::Array(items) if key == "-" => items.push(value),
        Value::Array(items) => {
            let at = index(items.len() + 1, key).map_err(|message| {
                if key.parse::<i64>().is_ok() {
                    message
                } else {
                    format!("value was not a proper array index: '{key}': {message}")
                }
            })?;
            if at > items.len() {
                return Err(invalid_index(key.parse().unwrap_or(0)));
            }
            items.insert(at, value);
        }
        _ => {}
    }
    Ok(())
}

fn take(parent: &mut Value, key: &str) -> Result<Value, String> {
    match parent {
        Value::Object(map) => {
            map.remove(key).ok_or_else(|| format!("Unable to remove nonexistent key: {key}: missing value"))
        }
        Value::Array(items) => {
            let at = index(items.len(), key)?;
            if at >= items.len() {
                return Err(invalid_index(key.parse().unwrap_or(0)));
            }
            Ok(items.remove(at))
        }
        _ => Ok(Value::Null),
    }
}

#[cfg(test)]
mod tests {
    use apiserver_json::json;

    use super::*;

    #[test]
    fn operations() {
        let doc = json!({"a": {"b": [1, 2]}, "c/d": 1});
        for (ops, want) in [
            (json!([{"op": "add", "path": "/a/b/-", "value": 3}]), json!({"a": {"b": [1, 2, 3]}, "c/d": 1})),
            (json!([{"op": "add", "path": "/a/b/0", "value": 0}]), json!({"a": {"b": [0, 1, 2]}, "c/d": 1})),
            (json!([{"op": "remove", "path": "/c~1d"}]), json!({"a": {"b": [1, 2]}})),
            (
                json!([{"op": "replace", "path": "/a/b/-1", "value": 9}]),
                json!({"a": {"b": [1, 9]}, "c/d": 1}),
            ),
            (json!([{"op": "move", "from": "/a/b", "path": "/e"}]), json!({"a": {}, "c/d": 1, "e": [1, 2]})),
            (
                json!([{"op": "copy", "from": "/a/b/0", "path": "/a/x"}]),
                json!({"a": {"b": [1, 2], "x": 1}, "c/d": 1}),
            ),
            (json!([{"op": "test", "path": "/a/b/0", "value": 1}]), doc.clone()),
        ] {
            assert_eq!(json_patch(&doc, &ops).unwrap(), want);
        }
    }

    #[test]
    fn errors_read_as_upstream_prints_them() {
        let doc = json!({"data": {"k": "v"}, "l": [1]});
        for (op, want) in [
            (
                json!({"op": "test", "path": "/data/k", "value": "x"}),
                "testing value /data/k failed: test failed",
            ),
            (
                json!({"op": "remove", "path": "/data/nope"}),
                "error in remove for path: '/data/nope': Unable to remove nonexistent key: nope: missing value",
            ),
            (
                json!({"op": "add", "path": "/nope/x", "value": 1}),
                "add operation does not apply: doc is missing path: \"/nope/x\": missing value",
            ),
            (
                json!({"op": "replace", "path": "/l/7", "value": 1}),
                "replace operation does not apply: doc is missing key: /l/7: missing value",
            ),
            (
                json!({"op": "add", "path": "/l/7", "value": 1}),
                "error in add for path: '/l/7': Unable to access invalid index: 7: invalid index referenced",
            ),
            (json!({"op": "nope", "path": "/l"}), "Unexpected kind: nope"),
        ] {
            let error = json_patch(&doc, &json!([op.clone()])).unwrap_err();
            assert_eq!(error.message(), want, "{op}");
        }
        assert_eq!(
            unknown_patch_fields(&json!([{"op": "add", "extra": 2}])),
            ["json patch unknown field \"[0].extra\""]
        );
    }
}
