//! Kinds that are questions, not objects: access reviews, token reviews, who am I.

use std::pin::Pin;
use std::sync::Arc;

use apiserver_meta::field::FieldError;
use apiserver_meta::{GroupVersionKind, Status};
use apiserver_registry::{Resource, decode};
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use super::{options, parse_body};
use crate::authn::User;
use crate::authz::Attributes;
use crate::dispatch::{Answer, Context};
use crate::negotiate;

type Reply<'a> = Pin<Box<dyn Future<Output = Result<Answer, Status>> + Send + 'a>>;
type Handler<'a> = Box<dyn FnOnce(Context<'a>, Bytes) -> Reply<'a> + Send + 'a>;

/// The handler of a review kind; `None` for objects.
pub(super) fn answer<'a>(context: &Context<'a>, resource: &Arc<Resource>) -> Option<Handler<'a>> {
    let known = [
        "SelfSubjectReview",
        "TokenReview",
        "SubjectAccessReview",
        "LocalSubjectAccessReview",
        "SelfSubjectAccessReview",
        "SelfSubjectRulesReview",
    ];
    if context.info.verb != "create" || !known.contains(&resource.kind.as_str()) {
        return None;
    }
    let resource = resource.clone();
    Some(Box::new(move |context, raw| Box::pin(async move { review(&context, &resource, &raw) })))
}

fn review(context: &Context, resource: &Arc<Resource>, raw: &Bytes) -> Result<Answer, Status> {
    let options = options::write_options(context, "CreateOptions")?;
    let media = negotiate::body_media(context.headers)?;
    let body = parse_body(media, raw, &resource.kind)?;
    let (mut value, warnings) = decode(resource, body, options.validation)?;
    match resource.kind.as_str() {
        "SelfSubjectReview" => {
            value["status"] = json!({"userInfo": context.user.to_json()});
            value["metadata"]["creationTimestamp"] = apiserver_registry::now().into();
        }
        "TokenReview" if text(&value, "/spec/token").is_empty() => {
            return Err(Status::bad_request("token is required for TokenReview in authentication"));
        }
        "TokenReview" => value["status"] = token_status(context, &value),
        "SelfSubjectRulesReview" => value["status"] = rules_status(context, &value)?,
        "SelfSubjectAccessReview" => {
            refuse(&check_attributes(&value))?;
            value["status"] = access_status(context, &value, context.user.clone());
        }
        _ => {
            refuse(&match context.info.scope().filter(|_| resource.kind == "LocalSubjectAccessReview") {
                Some(scope) => check_local(&value, scope),
                None => check_subject(&value),
            })?;
            let user = subject(&value);
            value["status"] = access_status(context, &value, user);
        }
    }
    Ok(Answer::value(StatusCode::CREATED, context.accepted, &value).warn(warnings))
}

fn token_status(context: &Context, value: &Value) -> Value {
    let token = value.pointer("/spec/token").and_then(Value::as_str).unwrap_or("");
    let audiences = crate::token::audiences(value);
    let authentication = &context.server.inner.config.authentication;
    let known = authentication.tokens.get(token).cloned();
    let verified = match (&known, &authentication.service_accounts) {
        (Some(user), _) => Ok(user.clone()),
        (None, Some(keys)) => keys.verify(token, &audiences, context.server.registry()),
        (None, None) => Err("invalid bearer token".to_owned()),
    };
    match verified {
        Ok(mut user) => {
            user.groups.push("system:authenticated".into());
            let mut status = json!({"authenticated": true, "user": user.to_json()});
            status["audiences"] =
                if audiences.is_empty() { json!([crate::token::ISSUER]) } else { json!(audiences) };
            status
        }
        Err(why) => {
            json!({"user": {}, "error": format!("[invalid bearer token, {why}]").replace("[invalid bearer token, invalid bearer token]", "invalid bearer token")})
        }
    }
}

fn rules_status(context: &Context, value: &Value) -> Result<Value, Status> {
    let namespace = value.pointer("/spec/namespace").and_then(Value::as_str).unwrap_or("");
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let (resources, urls) =
        context.server.inner.rbac.review(context.server.registry(), context.user, namespace);
    Ok(json!({"resourceRules": resources, "nonResourceRules": urls, "incomplete": false}))
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

fn subject(value: &Value) -> User {
    let groups = value.pointer("/spec/groups").and_then(Value::as_array).into_iter().flatten();
    User {
        name: text(value, "/spec/user").to_owned(),
        uid: text(value, "/spec/uid").to_owned(),
        groups: groups.filter_map(Value::as_str).map(str::to_owned).collect(),
        ..User::default()
    }
}

fn invalid(errors: &[FieldError]) -> Status {
    Status::invalid(&GroupVersionKind::new("authorization.k8s.io", "", ""), "", errors)
}

/// A review is of a resource or of a path.
fn check_attributes(value: &Value) -> Vec<FieldError> {
    let url = value.pointer("/spec/nonResourceAttributes");
    match (value.pointer("/spec/resourceAttributes"), url) {
        (Some(_), Some(url)) => {
            vec![not_with_path(url, "cannot be specified in combination with resourceAttributes")]
        }
        (None, None) => vec![FieldError::invalid(
            "spec.resourceAttributes",
            &Value::Null,
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        )],
        _ => Vec::new(),
    }
}

fn not_with_path(url: &Value, why: &str) -> FieldError {
    FieldError {
        problem: apiserver_meta::field::Problem::Invalid,
        field: "spec.nonResourceAttributes".into(),
        value: format!("{{\"Path\":{},\"Verb\":{}}}", json!(text(url, "/path")), json!(text(url, "/verb"))),
        detail: why.into(),
    }
}

/// As [`check_attributes`], of a review of somebody.
fn check_subject(value: &Value) -> Vec<FieldError> {
    let mut errors = check_attributes(value);
    let groups =
        value.pointer("/spec/groups").and_then(Value::as_array).is_some_and(|groups| !groups.is_empty());
    if text(value, "/spec/user").is_empty() && !groups {
        let why = "at least one of user or group must be specified";
        errors.push(FieldError::invalid("spec.user", &"".into(), why));
    }
    errors
}

/// As [`check_subject`], in one namespace.
fn check_local(value: &Value, scope: &str) -> Vec<FieldError> {
    let mut errors = check_subject(value);
    if !errors.is_empty() {
        return errors;
    }
    let namespace = text(value, "/spec/resourceAttributes/namespace");
    if let Some(url) = value.pointer("/spec/nonResourceAttributes") {
        errors.push(not_with_path(url, "disallowed on this kind of request"));
    } else if namespace != scope {
        let place = "spec.resourceAttributes.namespace";
        errors.push(FieldError::invalid(place, &namespace.into(), "must match metadata.namespace"));
    }
    errors
}

fn refuse(errors: &[FieldError]) -> Result<(), Status> {
    if errors.is_empty() { Ok(()) } else { Err(invalid(errors)) }
}

fn access_status(context: &Context, value: &Value, user: User) -> Value {
    let wanted = match value.pointer("/spec/resourceAttributes") {
        Some(resource) => Attributes {
            verb: text(resource, "/verb"),
            group: text(resource, "/group"),
            resource: text(resource, "/resource"),
            subresource: text(resource, "/subresource"),
            name: text(resource, "/name"),
            namespace: Some(text(resource, "/namespace")).filter(|namespace| !namespace.is_empty()),
            path: None,
        },
        None => Attributes {
            verb: text(value, "/spec/nonResourceAttributes/verb"),
            path: Some(text(value, "/spec/nonResourceAttributes/path")),
            ..Attributes::default()
        },
    };
    match context.server.inner.rbac.reason(context.server.registry(), &user, &wanted) {
        Some(reason) if reason.is_empty() => json!({"allowed": true}),
        Some(reason) => json!({"allowed": true, "reason": reason}),
        None => json!({"allowed": false}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_wrong_with_a_review_is_told() {
        let neither = "spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified";
        let nobody = "spec.user: Invalid value: \"\": at least one of user or group must be specified";
        let path = "spec.nonResourceAttributes: Invalid value: {\"Path\":\"/\",\"Verb\":\"get\"}: disallowed on this kind of request";
        let other = "spec.resourceAttributes.namespace: Invalid value: \"m\": must match metadata.namespace";
        for (spec, want) in [
            (json!({}), vec![neither, nobody]),
            (json!({"user": "u", "nonResourceAttributes": {"path": "/", "verb": "get"}}), vec![path]),
            (json!({"groups": ["g"], "resourceAttributes": {"namespace": "m"}}), vec![other]),
            (json!({"user": "u", "resourceAttributes": {"namespace": "n"}}), vec![]),
        ] {
            let errors = check_local(&json!({ "spec": spec }), "n");
            assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), want);
        }
    }
}
