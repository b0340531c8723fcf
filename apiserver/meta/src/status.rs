//! `metav1.Status`: what a failed request gets. Texts follow `k8s.io/apimachinery/pkg/api/errors`.

use std::borrow::Cow;

use apiserver_json::{Map, Value, json};

use crate::field::{self, FieldError};
use crate::gvk::{GroupResource, GroupVersionKind};

/// A failure as the API answers it. Constructors carry upstream's code, reason and text.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    pub code: u16,
    /// Empty where upstream gives none (plain 500s of decode errors); webhooks may say what they like.
    pub reason: Cow<'static, str>,
    pub message: String,
    pub details: Option<Value>,
    /// Seconds for a `Retry-After` header, where upstream sends one.
    pub retry_after_s: Option<u32>,
    /// The `continue` with which a list that is refused can be read on.
    pub next: Option<String>,
}

impl Status {
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
            message: message.into(),
            details: None,
            retry_after_s: None,
            next: None,
        }
    }

    fn named(code: u16, reason: &'static str, message: String, gr: &GroupResource, name: &str) -> Self {
        let mut details = Map::new();
        if !name.is_empty() {
            details.insert("name".into(), name.into());
        }
        if !gr.group.is_empty() {
            details.insert("group".into(), gr.group.clone().into());
        }
        if !gr.resource.is_empty() {
            details.insert("kind".into(), gr.resource.clone().into());
        }
        let details = Some(Value::Object(details));
        Self { code, reason: reason.into(), message, details, retry_after_s: None, next: None }
    }

    pub fn not_found(gr: &GroupResource, name: &str) -> Self {
        Self::named(404, "NotFound", format!("{gr} {} not found", crate::field::go_quote(name)), gr, name)
    }

    pub fn already_exists(gr: &GroupResource, name: &str) -> Self {
        Self::named(409, "AlreadyExists", format!("{gr} \"{name}\" already exists"), gr, name)
    }

    /// A generated name collided on every try.
    pub fn generate_name_conflict(gr: &GroupResource, name: &str) -> Self {
        let message = format!(
            "{gr} \"{name}\" already exists, the server was not able to generate a unique name for the object"
        );
        let mut status = Self::named(409, "AlreadyExists", message, gr, name);
        if let Some(Value::Object(details)) = &mut status.details {
            details.insert("retryAfterSeconds".into(), 1.into());
        }
        status.retry_after_s = Some(1);
        status
    }

    pub fn conflict(gr: &GroupResource, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {gr} \"{name}\": {why}");
        Self::named(409, "Conflict", message, gr, name)
    }

    /// The conflict of a stale resourceVersion.
    pub fn modified(gr: &GroupResource, name: &str) -> Self {
        Self::conflict(
            gr,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    pub fn forbidden(gr: &GroupResource, name: &str, why: &str) -> Self {
        let message = match (gr.resource.is_empty(), name.is_empty()) {
            (true, _) => format!("forbidden: {why}"),
            (false, true) => format!("{gr} is forbidden: {why}"),
            (false, false) => format!("{gr} \"{name}\" is forbidden: {why}"),
        };
        Self::named(403, "Forbidden", message, gr, name)
    }

    /// 422 with one cause a field error, in order, without repeats.
    pub fn invalid(gvk: &GroupVersionKind, name: &str, errors: &[FieldError]) -> Self {
        let kind = GroupResource::new(gvk.group.clone(), gvk.kind.clone());
        let text = field::aggregate(errors);
        let message = if text.is_empty() {
            format!("{kind} {name:?} is invalid")
        } else {
            format!("{kind} {name:?} is invalid: {text}")
        };
        let mut status = Self::named(422, "Invalid", message, &kind, name);
        if let Some(Value::Object(details)) = &mut status.details {
            let causes: Vec<Value> = errors.iter().map(FieldError::cause).collect();
            if !causes.is_empty() {
                details.insert("causes".into(), causes.into());
            }
        }
        status
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// A resource version that has left the event window.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    pub fn too_old(asked: u64, oldest: u64) -> Self {
        Self::expired(format!("too old resource version: {asked} ({oldest})"))
    }

    pub fn internal(message: impl std::fmt::Display) -> Self {
        let mut status = Self::new(500, "InternalError", format!("Internal error occurred: {message}"));
        status.details = Some(json!({"causes": [{"message": message.to_string()}]}));
        status
    }

    pub fn method_not_supported(gr: &GroupResource, verb: &str) -> Self {
        let mut status = Self::named(
            405,
            "MethodNotAllowed",
            format!("{verb} is not supported on resources of kind \"{gr}\""),
            gr,
            "",
        );
        if gr.resource.is_empty() {
            status.details = None;
        }
        status
    }

    pub fn not_acceptable(accepted: &[&str]) -> Self {
        Self::new(
            406,
            "NotAcceptable",
            format!("only the following media types are accepted: {}", accepted.join(", ")),
        )
    }

    pub fn unsupported_media_type(accepted: &[&str]) -> Self {
        Self::new(
            415,
            "UnsupportedMediaType",
            format!(
                "the body of the request was in an unknown format - accepted media types include: {}",
                accepted.join(", ")
            ),
        )
    }

    pub fn timeout(message: impl Into<String>, retry_after_s: u32) -> Self {
        let mut status = Self::new(504, "Timeout", message);
        status.details = Some(json!({"retryAfterSeconds": retry_after_s}));
        status.retry_after_s = Some(retry_after_s);
        status
    }

    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(413, "RequestEntityTooLarge", message)
    }

    pub fn with_details(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }

    /// The answer body.
    pub fn to_json(&self) -> Value {
        let mut body = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if let Some(next) = &self.next {
            body["metadata"]["continue"] = next.clone().into();
        }
        if !self.reason.is_empty() {
            body["reason"] = self.reason.as_ref().into();
        }
        if let Some(details) = &self.details {
            body["details"] = details.clone();
        }
        body
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}
