//! The `ConversionReview`: what a webhook is sent, and what its answer must be.

use apiserver_json::value::RawValue;
use apiserver_json::{Map, Value, json};
use apiserver_meta::field::FieldError;
use apiserver_meta::{GroupVersion, GroupVersionKind};
use apiserver_schema::json_kind;
use bytes::Bytes;

use crate::strategy::shared::text;
use crate::webhook::{Envelope, Version};
use crate::{encode, object};

const REVIEW: Envelope = Envelope {
    group: "apiextensions.k8s.io",
    kind: "ConversionReview",
    response: "ConversionResponse",
    scheme: "pkg/runtime/scheme.go:111",
    types: &[("uid", "types.UID"), ("convertedObjects", "[]runtime.RawExtension"), ("result", "v1.Status")],
};

/// The body of a review of objects, which may be packed trees.
pub(super) fn body(version: Version, uid: &str, wanted: &str, objects: &[Value]) -> Bytes {
    let mut out = Vec::with_capacity(8192);
    REVIEW.open(&mut out, version);
    let head = format!("\"uid\":{},\"desiredAPIVersion\":{},\"objects\":[", json!(uid), json!(wanted));
    out.extend_from_slice(head.as_bytes());
    for (i, object) in objects.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        out.extend_from_slice(&encode::document(object).bytes);
    }
    out.extend_from_slice(
        b"]},\"response\":{\"uid\":\"\",\"convertedObjects\":null,\"result\":{\"metadata\":{}}}}",
    );
    out.into()
}

/// What a failure is told of.
pub(super) fn subject(object: Option<&Value>) -> String {
    let object = object.unwrap_or(&Value::Null);
    let gv = GroupVersion::parse(text(object, "apiVersion"));
    format!("conversion webhook for {}", GroupVersionKind::new(gv.group, gv.version, text(object, "kind")))
}

/// The objects of an answer to the review `uid`, as they came. Of v1beta1 little was ever checked.
///
/// # Errors
/// Why the webhook failed.
pub(super) fn read(version: Version, uid: &str, body: &[u8]) -> Result<Vec<Box<RawValue>>, String> {
    let review = REVIEW.read(version, body)?;
    if version == Version::V1 {
        REVIEW.is_named(&review)?;
    }
    let response = &review["response"];
    if response.is_null() {
        return Err("no response provided".to_owned());
    }
    let given = text(response, "uid");
    if version == Version::V1 && given != uid {
        return Err(format!("expected response.uid={uid:?}, got {given:?}"));
    }
    let result = &response["result"];
    match (text(result, "status"), text(result, "message")) {
        ("Success", _) => {}
        (status, "") => return Err(format!("response.result.status was '{status}', not 'Success'")),
        (_, why) => return Err(why.to_owned()),
    }
    #[derive(serde::Deserialize)]
    struct Review {
        response: Response,
    }
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Response {
        converted_objects: Option<Vec<Box<RawValue>>>,
    }
    // It was parsed above: members that stand twice are all that is left to go wrong.
    let review: Review = apiserver_json::from_slice(body).map_err(|error| error.to_string())?;
    Ok(review.response.converted_objects.unwrap_or_default())
}

/// The converted objects, each with the metadata of its original but for labels and annotations.
///
/// # Errors
/// Upstream's sentence for what a webhook may not answer.
pub(super) fn checked(
    originals: &[Value],
    converted: Vec<Box<RawValue>>,
    wanted: &str,
) -> Result<Vec<Value>, String> {
    if converted.len() != originals.len() {
        return Err(format!(
            "{} returned {} objects, expected {}",
            subject(originals.first()),
            converted.len(),
            originals.len()
        ));
    }
    originals.iter().zip(converted).map(|(original, raw)| check(original, &raw, wanted)).collect()
}

fn check(original: &Value, raw: &RawValue, wanted: &str) -> Result<Value, String> {
    let mut object: Value = apiserver_json::from_str(raw.get()).map_err(|error| error.to_string())?;
    match &object {
        Value::Object(_) => {}
        // Go's decoder never sees it.
        Value::Null => return Err("unexpected end of JSON input".to_owned()),
        other => {
            let found = json_kind(other);
            return Err(format!(
                "json: cannot unmarshal {found} into Go value of type map[string]interface {{}}"
            ));
        }
    }
    if text(&object, "kind").is_empty() {
        return Err(format!("Object 'Kind' is missing in '{}'", raw.get()));
    }
    let wrong =
        |what: &str, why: String| format!("{} returned invalid {what}: {why}", subject(Some(original)));
    for (member, what, expected) in
        [("apiVersion", "groupVersion", wanted), ("kind", "kind", text(original, "kind"))]
    {
        let found = text(&object, member);
        if found != expected {
            let why = format!("invalid {what} (expected {expected}, received {found})");
            return Err(wrong("object at index 0", why));
        }
    }
    for (member, what) in [("name", "name"), ("namespace", "namespace"), ("uid", "UID")] {
        let (before, after) = (object::text(original, member), object::text(&object, member));
        if before != after {
            return Err(wrong("object", format!("must have the same {what}: {before} != {after}")));
        }
    }
    let metadata = restored(original, &object).map_err(|why| wrong("metadata", why))?;
    if let Some(map) = object.as_object_mut() {
        map.insert("metadata".into(), Value::Object(metadata));
    }
    Ok(object)
}

/// The metadata of the original with the labels and annotations of what was made of it.
fn restored(original: &Value, converted: &Value) -> Result<Map, String> {
    let answered = converted.get("metadata").ok_or("missing metadata in converted object")?;
    let Value::Object(answered) = answered else {
        return Err(format!("invalid metadata of type {} in converted object", go_type(answered)));
    };
    let mut metadata = object::metadata(original).clone();
    for member in ["labels", "annotations"] {
        let found = match answered.get(member) {
            None | Some(Value::Null) => {
                metadata.remove(member);
                continue;
            }
            Some(Value::Object(found)) => found,
            Some(other) => {
                let found = go_type(other);
                return Err(format!("invalid metadata.{member} of type {found} in converted object"));
            }
        };
        if let Some((key, value)) = found.iter().find(|(_, value)| !value.is_string()) {
            return Err(format!(
                "metadata.{member}[{key}] must be a string, but is {} in converted object",
                go_type(value)
            ));
        }
        let found = Value::Object(found.clone());
        // What was wrong before may stay.
        if metadata.get(member) != Some(&found) {
            let mut errors = Vec::new();
            match member {
                "labels" => object::validate_labels(Some(&found), "metadata.labels", &mut errors),
                _ => object::validate_annotations(Some(&found), "metadata.annotation", &mut errors),
            }
            aggregate(&errors)?;
        }
        metadata.insert(member.to_owned().into(), found);
    }
    Ok(metadata)
}

/// Several errors as Go's aggregate prints them.
fn aggregate(errors: &[FieldError]) -> Result<(), String> {
    let mut texts: Vec<String> = Vec::new();
    for text in errors.iter().map(ToString::to_string) {
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    match texts.as_slice() {
        [] => Ok(()),
        [one] => Err(one.clone()),
        several => Err(format!("[{}]", several.join(", "))),
    }
}

/// The Go type that JSON is decoded into where nothing is known of it.
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_i64() => "int64",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) | Value::Raw(_) => "map[string]interface {}",
    }
}

#[cfg(test)]
mod tests;
