//! The `AdmissionReview`: what a webhook is sent, and what its answer must be. `request/admissionreview.go` upstream.

use apiserver_json::Value;
use apiserver_meta::Status;
use bytes::Bytes;

use crate::encode;
use crate::strategy::shared::text;
use crate::webhook::{Envelope, Version};

const REVIEW: Envelope = Envelope {
    group: "admission.k8s.io",
    kind: "AdmissionReview",
    response: "AdmissionResponse",
    scheme: "k8s.io/apiserver/pkg/util/webhook/client.go:75",
    // The members of the answer that are looked at.
    types: &[
        ("uid", "types.UID"),
        ("allowed", "bool"),
        ("status", "v1.Status"),
        ("patch", "[]uint8"),
        ("patchType", "v1.PatchType"),
        ("warnings", "[]string"),
    ],
};

/// The body of a review: the request with its objects, which may be packed trees.
pub(super) fn body(version: Version, request: &Value, object: Option<&Value>, old: Option<&Value>) -> Bytes {
    let mut out = Vec::with_capacity(8192);
    REVIEW.open(&mut out, version);
    for (member, value) in request.as_object().into_iter().flatten() {
        out.extend_from_slice(format!("\"{member}\":").as_bytes());
        apiserver_json::write(&mut out, value);
        out.push(b',');
    }
    for (member, object) in [("object", object), ("oldObject", old)] {
        out.extend_from_slice(format!("\"{member}\":").as_bytes());
        match object {
            Some(object) => out.extend_from_slice(&encode::document(object).bytes),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(if member == "object" { b"," } else { b"}}" });
    }
    out.into()
}

/// What a webhook said.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Verdict {
    pub allowed: bool,
    pub status: Option<Value>,
    pub patch: Option<Vec<u8>>,
    /// What the patch is called where that is not known.
    pub unknown_type: Option<String>,
    pub warnings: Vec<String>,
}

/// Reads the body of an answer as a review.
///
/// # Errors
/// The decoder's sentence.
pub(super) fn read(version: Version, body: &[u8]) -> Result<Value, String> {
    let review = REVIEW.read(version, body)?;
    if apiserver_meta::base64::decode(text(&review["response"], "patch")).is_none() {
        return Err("illegal base64 data at input byte 0".to_owned());
    }
    Ok(review)
}

/// Checks that a review answers the request `uid`. Of v1beta1 little was ever checked.
///
/// # Errors
/// What is wrong with it.
pub(super) fn verify(version: Version, uid: &str, mutating: bool, review: &Value) -> Result<Verdict, String> {
    let response = &review["response"];
    if response.is_null() {
        return Err("webhook response was absent".to_owned());
    }
    let patch = apiserver_meta::base64::decode(text(response, "patch")).filter(|patch| !patch.is_empty());
    if version == Version::V1 {
        verify_identity(uid, review)?;
        let patch_type = response.get("patchType").and_then(Value::as_str);
        match (mutating, patch.is_some(), patch_type) {
            (true, true, None) => {
                return Err("webhook returned response.patch but not response.patchType".to_owned());
            }
            (true, false, Some(_)) => {
                return Err("webhook returned response.patchType but not response.patch".to_owned());
            }
            (true, _, Some("")) => {
                return Err("webhook returned invalid response.patchType of \"\"".to_owned());
            }
            (false, true, _) => return Err("validating webhook may not return response.patch".to_owned()),
            (false, _, Some(_)) => {
                return Err("validating webhook may not return response.patchType".to_owned());
            }
            _ => {}
        }
    }
    let warnings = response["warnings"].as_array().into_iter().flatten();
    Ok(Verdict {
        allowed: response["allowed"] == Value::Bool(true),
        status: response.get("status").filter(|status| status.is_object()).cloned(),
        patch: patch.filter(|_| mutating),
        unknown_type: (version == Version::V1)
            .then(|| text(response, "patchType"))
            .filter(|name| !matches!(*name, "" | "JSONPatch"))
            .map(str::to_owned),
        warnings: warnings.filter_map(Value::as_str).map(str::to_owned).collect(),
    })
}

fn verify_identity(uid: &str, review: &Value) -> Result<(), String> {
    let given = text(&review["response"], "uid");
    if given != uid {
        return Err(format!("expected response.uid={uid:?}, got {given:?}"));
    }
    REVIEW.is_named(review)
}

/// The Status of a denial, made of what the webhook gave: `ToStatusErr`.
pub(super) fn denial(webhook: &str, status: Option<&Value>) -> Status {
    let status = status.unwrap_or(&Value::Null);
    let (message, reason) = (text(status, "message"), text(status, "reason"));
    let why = match (message, reason) {
        ("", "") => " without explanation".to_owned(),
        ("", why) | (why, _) => format!(": {why}"),
    };
    let code = status.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
    let code = code.filter(|code| *code >= 400).unwrap_or(400);
    let mut denied = Status::new(code, "", format!("admission webhook {webhook:?} denied the request{why}"));
    denied.reason = reason.to_owned().into();
    denied.details = status.get("details").filter(|details| details.is_object()).cloned();
    let seconds = status.pointer("/details/retryAfterSeconds").and_then(Value::as_u64);
    denied.retry_after_s = seconds.and_then(|seconds| u32::try_from(seconds).ok()).filter(|s| *s > 0);
    denied
}

#[cfg(test)]
mod tests {
    use super::*;
    use apiserver_json::json;

    fn review(response: Value) -> Value {
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
    }

    #[test]
    fn answers_are_checked() {
        let patch = "W10=";
        for (mutating, review, want) in [
            (true, review(json!({"uid": "u", "allowed": true})), Ok(())),
            (
                true,
                json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}),
                Err("webhook response was absent"),
            ),
            (true, review(json!({"uid": "x"})), Err("expected response.uid=\"u\", got \"x\"")),
            (
                true,
                json!({"response": {"uid": "u"}}),
                Err("expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got /, Kind="),
            ),
            (
                true,
                review(json!({"uid": "u", "patch": patch})),
                Err("webhook returned response.patch but not response.patchType"),
            ),
            (
                true,
                review(json!({"uid": "u", "patchType": "JSONPatch"})),
                Err("webhook returned response.patchType but not response.patch"),
            ),
            (true, review(json!({"uid": "u", "patch": patch, "patchType": "Merge"})), Ok(())),
            (true, review(json!({"uid": "u", "patch": patch, "patchType": "JSONPatch"})), Ok(())),
            (
                false,
                review(json!({"uid": "u", "patch": patch})),
                Err("validating webhook may not return response.patch"),
            ),
            (
                false,
                review(json!({"uid": "u", "patchType": "JSONPatch"})),
                Err("validating webhook may not return response.patchType"),
            ),
        ] {
            let found = verify(Version::V1, "u", mutating, &review).map(drop);
            assert_eq!(found, want.map_err(str::to_owned), "{review}");
        }
        // v1beta1 answers need neither uid nor kind nor patchType.
        let old = json!({"response": {"allowed": true, "patch": patch}});
        let verdict = verify(Version::V1beta1, "u", true, &old).expect("it is taken");
        assert_eq!((verdict.allowed, verdict.patch), (true, Some(b"[]".to_vec())));
    }

    #[test]
    fn what_is_no_review_is_told() {
        for (body, want) in [
            (
                "{\"kind\":\"AdmissionReview\",\"apiVersion\":\"admission.k8s.io/v1beta1\"}",
                "converting (v1beta1.AdmissionReview) to (v1.AdmissionReview): unknown conversion",
            ),
            ("[]", "couldn't get version/kind; json parse error: json: cannot unmarshal array"),
            (
                "{\"response\":{\"allowed\":\"yes\"}}",
                "json: cannot unmarshal string into Go struct field AdmissionResponse.response.allowed of type bool",
            ),
            ("{\"response\":{\"patch\":\"!\"}}", "illegal base64 data at input byte 0"),
            ("<html>", "couldn't get version/kind; json parse error: json: cannot unmarshal string"),
            ("{", "couldn't get version/kind; json parse error: unexpected end of JSON input"),
        ] {
            let why = read(Version::V1, body.as_bytes()).expect_err("it is refused");
            assert!(why.starts_with(want), "{why}");
        }
    }

    #[test]
    fn denials_carry_what_the_webhook_said() {
        for (status, code, reason, message) in [
            (None, 400, "", "admission webhook \"w\" denied the request without explanation"),
            (Some(json!({"message": "no"})), 400, "", "admission webhook \"w\" denied the request: no"),
            (Some(json!({"reason": "Why"})), 400, "Why", "admission webhook \"w\" denied the request: Why"),
            (
                Some(json!({"code": 422, "reason": "Invalid", "message": "bad", "status": "Success"})),
                422,
                "Invalid",
                "admission webhook \"w\" denied the request: bad",
            ),
            (
                Some(json!({"code": 200})),
                400,
                "",
                "admission webhook \"w\" denied the request without explanation",
            ),
        ] {
            let denied = denial("w", status.as_ref());
            assert_eq!((denied.code, &*denied.reason, &*denied.message), (code, reason, message));
        }
    }

    #[test]
    fn a_review_holds_both_objects() {
        let request = json!({"uid": "u", "operation": "UPDATE"});
        let object = apiserver_meta::packed::parse(
            br#"{"kind":"Pod","metadata":{"name":"p","managedFields":[{"fieldsV1":{"f:a":{}}}]}}"#,
        );
        let object = object.expect("JSON");
        let sent: Value =
            apiserver_json::from_slice(&body(Version::V1, &request, Some(&object), None)).expect("JSON");
        assert_eq!(
            (&sent["apiVersion"], &sent["kind"]),
            (&json!("admission.k8s.io/v1"), &json!("AdmissionReview"))
        );
        let request = &sent["request"];
        assert_eq!(request["uid"], "u");
        assert_eq!(request["object"]["metadata"]["managedFields"][0]["fieldsV1"], json!({"f:a": {}}));
        assert!(request.get("oldObject").is_some_and(Value::is_null));
    }
}
