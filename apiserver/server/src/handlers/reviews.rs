//! Kinds that are questions, not objects: access reviews, token reviews, who am I.

use std::pin::Pin;
use std::sync::Arc;

use apiserver_json::{Value, json};
use apiserver_meta::field::FieldError;
use apiserver_meta::{GroupVersionKind, Status};
use apiserver_registry::{Call, Operation, Resource, decode, object, settle};
use bytes::Bytes;

use super::review_checks::{check_local, check_self, check_subject, ignored_selectors};
use super::{create, options, parse_body, read, unkept_answer};
use crate::answer::Answer;
use crate::authn::User;
use crate::authz::Attributes;
use crate::context::Context;
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
    Some(Box::new(move |context, raw| Box::pin(async move { review(&context, &resource, &raw).await })))
}

async fn review(context: &Context<'_>, resource: &Arc<Resource>, raw: &Bytes) -> Result<Answer, Status> {
    let options = options::write_options(context, "CreateOptions")?;
    let media = negotiate::body_media(context.headers)?;
    let body = parse_body(media, raw, (&resource.group, &resource.version, &resource.kind))?;
    let (mut value, warnings) = decode(resource, body, options.validation)?;
    settle(resource, &mut value);
    context.told(&warnings, create::check_namespace(context, resource, &value))?;
    let scope = context.info.scope().filter(|_| resource.namespaced);
    let call = options::call(context, resource, &options);
    adopt(&call, scope, &mut value);
    let name = object::name(&value).to_owned();
    let registry = context.server.registry();
    let mut value = registry.admit_request(&call, &name, Operation::Create, value).await?;
    match resource.kind.as_str() {
        "SelfSubjectReview" => {
            value["metadata"] = json!({"creationTimestamp": apiserver_registry::now()});
            value["status"] = json!({"userInfo": context.user.to_json()});
        }
        "TokenReview" if text(&value, "/spec/token").is_empty() => {
            return Err(Status::bad_request("token is required for TokenReview in authentication"));
        }
        "TokenReview" => value["status"] = token_status(context, &value),
        "SelfSubjectRulesReview" => {
            // The answer tells the rules alone.
            value["status"] = rules_status(context, &value)?;
            value["metadata"] = json!({});
            value["spec"] = json!({});
        }
        "SelfSubjectAccessReview" => {
            context.told(&warnings, refuse(&check_self(&value)))?;
            value["status"] = access_status(context, &value, context.user.clone());
        }
        _ => {
            let errors = scope.map_or_else(|| check_subject(&value), |scope| check_local(&value, scope));
            context.told(&warnings, refuse(&errors))?;
            let user = subject(&value);
            value["status"] = access_status(context, &value, user);
        }
    }
    let answer = unkept_answer(context, &read::go_type(resource, false), &value);
    Ok(context.told(&warnings, answer)?.warn(warnings))
}

/// What the server does to the metadata of anything that is created, kept or not.
fn adopt(call: &Call<'_>, scope: Option<&str>, value: &mut Value) {
    let metadata = object::metadata_mut(value);
    let system = [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
        "namespace",
    ];
    for member in system {
        metadata.remove(member);
    }
    if let Some(scope) = scope {
        metadata.insert("namespace".into(), scope.into());
    }
    apiserver_registry::record_owner(call, &apiserver_registry::now(), None, value);
    apiserver_meta::packed::unpack(value);
}

fn token_status(context: &Context, value: &Value) -> Value {
    let token = value.pointer("/spec/token").and_then(Value::as_str).unwrap_or("");
    let audiences = crate::token::audiences(value);
    let authentication = &context.server.inner.config.authentication;
    let known = authentication.tokens.get(token).cloned();
    let own = authentication.audiences();
    let asked = if audiences.is_empty() { own.clone() } else { audiences };
    let believed = |audiences: &[String]| match (&known, &authentication.service_accounts) {
        // Such tokens are for this server, whatever they are.
        (Some(user), _) if audiences.iter().any(|audience| own.contains(audience)) => Ok(user.clone()),
        (None, Some(keys)) => keys.verify(token, audiences, context.server.registry(), context.warnings),
        _ => Err("invalid bearer token".to_owned()),
    };
    let verified = believed(&asked);
    match verified {
        Ok(mut user) => {
            user.groups.push("system:authenticated".into());
            let mut status = json!({"authenticated": true, "user": user.to_json()});
            let of_token =
                asked.into_iter().filter(|audience| believed(std::slice::from_ref(audience)).is_ok());
            status["audiences"] = json!(of_token.collect::<Vec<_>>());
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

pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
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

fn refuse(errors: &[FieldError]) -> Result<(), Status> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(&GroupVersionKind::new("authorization.k8s.io", "", ""), "", errors))
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
    let mut status = match context.server.inner.rbac.reason(context.server.registry(), &user, &wanted) {
        Some(reason) if reason.is_empty() => json!({"allowed": true}),
        Some(reason) => json!({"allowed": true, "reason": reason}),
        None => json!({"allowed": false}),
    };
    let ignored = ignored_selectors(value);
    if !ignored.is_empty() {
        status["evaluationError"] = ignored.join("; ").into();
    }
    status
}
