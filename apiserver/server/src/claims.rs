//! Who may say of a ResourceClaim what is allocated, and how its devices are: permissions of their own, beside that to
//! write its status (`pkg/registry/resource/utils.go`).

use std::collections::BTreeSet;

use apiserver_json::Value;
use apiserver_meta::field::FieldError;
use apiserver_meta::{GroupResource, Status};
use apiserver_registry::{Resource, object};

use crate::authz::{self, Attributes};
use crate::context::Context;

const GROUP: &str = "resource.k8s.io";
const CLAIMS: &str = "resourceclaims";
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";

/// Refuses what somebody says in a status without the permission for it.
///
/// # Errors
/// 422, with what is missing.
pub(crate) fn check(
    context: &Context<'_>,
    resource: &Resource,
    new: &Value,
    old: Option<&Value>,
) -> Result<(), Status> {
    let of_claim = resource.group == GROUP && resource.kind == "ResourceClaim";
    let Some(old) = old.filter(|_| of_claim && context.info.subresource == "status") else { return Ok(()) };
    if context.user.is_in("system:masters") {
        return Ok(());
    }
    let (new_status, old_status) = (&new["status"], &old["status"]);
    let mut errors = Vec::new();
    let verb = context.info.verb.as_str();
    if ["allocation", "reservedFor"].iter().any(|member| new_status[*member] != old_status[*member]) {
        let wanted = Attributes { verb, subresource: "binding", ..claims() };
        errors.extend(missing(context, &wanted).map(|why| {
            let what = format!("changing status.allocation or status.reservedFor requires resource=\"resourceclaims/binding\", verb=\"{verb}\" permission: {why}");
            FieldError::forbidden("status.allocation", what)
        }));
    }
    if new_status["allocation"].is_object() {
        errors.extend(device_errors(context, new_status, old_status));
    }
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid(&resource.gvk(), object::name(old), &errors)) }
}

fn claims() -> Attributes<'static> {
    Attributes { group: GROUP, resource: CLAIMS, ..Attributes::default() }
}

/// Each driver whose devices change needs a permission, on any node or on that of the claim.
fn device_errors(context: &Context<'_>, new: &Value, old: &Value) -> Vec<FieldError> {
    let prefixes: &[&str] = if is_on_node(context, &new["allocation"]) {
        &["associated-node:", "arbitrary-node:"]
    } else {
        &["arbitrary-node:"]
    };
    let verbs: Vec<String> = prefixes.iter().map(|prefix| format!("{prefix}{}", context.info.verb)).collect();
    let mut errors = Vec::new();
    for driver in changed_drivers(new, old) {
        let wanted = |verb| Attributes {
            verb,
            subresource: "driver",
            namespace: context.info.namespace.as_deref(),
            name: driver,
            ..claims()
        };
        let refusals: Vec<Option<String>> =
            verbs.iter().map(|verb| missing(context, &wanted(verb.as_str()))).collect();
        if let [Some(why), ..] = refusals.as_slice()
            && refusals.iter().all(Option::is_some)
        {
            let told = verbs.join(" ");
            let what = format!(
                "changing status.devices requires resource=\"resourceclaims/driver\", verb=\"[{told}]\" permission: {why}"
            );
            errors.push(FieldError::forbidden("status.devices", what));
        }
    }
    errors
}

/// Drivers of the devices that are told of otherwise than before, or no more.
fn changed_drivers<'a>(new: &'a Value, old: &'a Value) -> BTreeSet<&'a str> {
    let devices = |status: &'a Value| status["devices"].as_array().unwrap_or_default();
    let (new, old) = (devices(new), devices(old));
    let differs = |device: &&Value, others: &[Value]| {
        others.iter().find(|other| key_of(other) == key_of(device)).is_none_or(|other| other != *device)
    };
    let changed = new.iter().filter(|device| differs(device, old));
    let gone = old.iter().filter(|device| differs(device, new));
    changed.chain(gone).filter_map(|device| device["driver"].as_str()).collect()
}

fn key_of(device: &Value) -> [&str; 4] {
    ["driver", "pool", "device", "shareID"].map(|member| device[member].as_str().unwrap_or(""))
}

/// Is the asker an account on the one node that the claim is allocated for?
fn is_on_node(context: &Context<'_>, allocation: &Value) -> bool {
    let own = match context.user.extra.get(NODE_NAME).map(Vec::as_slice) {
        Some([own]) if context.user.name.starts_with("system:serviceaccount:") => own,
        _ => return false,
    };
    let Some([term]) = allocation.pointer("/nodeSelector/nodeSelectorTerms").and_then(Value::as_array) else {
        return false;
    };
    let list = |member: &str| term[member].as_array().unwrap_or_default();
    let ([], [field]) = (list("matchExpressions"), list("matchFields")) else { return false };
    let values = field["values"].as_array().unwrap_or_default();
    field["key"] == "metadata.name"
        && field["operator"] == "In"
        && matches!(values, [only] if *only == own.as_str())
}

/// What a refusal of the permission says; nothing where it is there.
fn missing(context: &Context<'_>, wanted: &Attributes<'_>) -> Option<String> {
    if context.server.inner.rbac.allows(context.server.registry(), context.user, wanted) {
        return None;
    }
    let of = GroupResource::new(wanted.group, wanted.resource);
    let why = authz::refusal(context.user, wanted);
    Some(Status::forbidden(&of, wanted.name, &why).message.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use apiserver_json::json;

    #[test]
    fn a_driver_has_changed_where_one_of_its_devices_has() {
        let device = |driver: &str, name: &str, data: &str| json!({"driver": driver, "pool": "p", "device": name, "data": data});
        for (old, new, want) in [
            (json!([]), json!([]), &[][..]),
            (json!([device("a", "1", "x")]), json!([device("a", "1", "x")]), &[]),
            (
                json!([device("a", "1", "x")]),
                json!([device("a", "1", "y"), device("b", "1", "x")]),
                &["a", "b"],
            ),
            (json!([device("a", "1", "x"), device("b", "1", "x")]), json!([device("a", "1", "x")]), &["b"]),
        ] {
            let (new, old) = (json!({"devices": new}), json!({"devices": old}));
            assert_eq!(Vec::from_iter(changed_drivers(&new, &old)), want);
        }
    }
}
