//! The `AdmissionRequest`: what webhooks are sent and what expressions call `request`.

use apiserver_json::{Map, Value, json};
use apiserver_meta::GroupVersionKind;

use super::{Attempt, Operation};
use crate::catalogue::Resource;
use crate::registry::Call;

/// The kind of what is sent to a resource or to a subresource of it.
pub(super) fn kind_of(resource: &Resource, subresource: &str) -> GroupVersionKind {
    match resource.subresource(subresource) {
        Some(below) if !subresource.is_empty() && below.kind != resource.kind => {
            let own = below.version.is_empty();
            let group = if own { &resource.group } else { &below.group };
            let version = if own { &resource.version } else { &below.version };
            GroupVersionKind::new(group.clone(), version.clone(), below.kind.clone())
        }
        _ => resource.gvk(),
    }
}

/// Are the objects of a call of its resource's kind, so that they can be had in its other versions?
pub(super) fn is_own_kind(call: &Call<'_>) -> bool {
    kind_of(call.resource, call.subresource).kind == call.resource.kind
}

/// The namespace of a request; that of a Namespace is itself.
pub(super) fn namespace<'a>(call: &Call<'a>, name: &'a str) -> &'a str {
    if is_namespace(call.resource) {
        return name;
    }
    call.namespace.filter(|_| call.resource.namespaced).unwrap_or("")
}

pub(super) fn is_namespace(resource: &Resource) -> bool {
    resource.group.is_empty() && resource.name == "namespaces"
}

fn options(call: &Call<'_>, operation: Operation) -> Value {
    let kind = match operation {
        Operation::Create => "CreateOptions",
        Operation::Update => "UpdateOptions",
        Operation::Delete => "DeleteOptions",
        Operation::Connect => return Value::Null,
    };
    let mut options = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
    for (member, value) in call.requester.options.and_then(Value::as_object).into_iter().flatten() {
        options[member] = value.clone();
    }
    options
}

fn user(call: &Call<'_>) -> Value {
    let requester = &call.requester;
    let mut user = Map::new();
    let mut put = |member: &str, value: Value| drop(user.insert(member.to_owned().into(), value));
    if !requester.name.is_empty() {
        put("username", requester.name.into());
    }
    if !requester.uid.is_empty() {
        put("uid", requester.uid.into());
    }
    if !requester.groups.is_empty() {
        put("groups", json!(requester.groups));
    }
    if let Some(extra) = requester.extra.filter(|extra| !extra.is_empty()) {
        put("extra", json!(extra));
    }
    Value::Object(user)
}

/// The request, without its uid and its objects. `seen` is the version of the resource that a rule named.
pub(super) fn request(call: &Call<'_>, attempt: Attempt<'_>, seen: &Resource) -> Value {
    let kind = |resource: &Resource| {
        let GroupVersionKind { group, version, kind } = kind_of(resource, call.subresource);
        json!({"group": group, "version": version, "kind": kind})
    };
    let place = |resource: &Resource| json!({"group": resource.group, "version": resource.version, "resource": resource.name});
    let mut request = json!({
        "kind": kind(seen),
        "resource": place(seen),
        "requestKind": kind(call.resource),
        "requestResource": place(call.resource),
        "operation": attempt.operation.name(),
        "userInfo": user(call),
        "dryRun": call.dry_run,
        "options": options(call, attempt.operation),
    });
    let mut put = |member: &str, value: &str| {
        if !value.is_empty() {
            request[member] = value.into();
        }
    };
    put("name", attempt.name);
    put("namespace", namespace(call, attempt.name));
    put("subResource", call.subresource);
    put("requestSubResource", call.subresource);
    request
}
