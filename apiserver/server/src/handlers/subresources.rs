//! Subresources: status and scale of any kind, and those of Pods, Namespaces, ServiceAccounts and others.

use std::sync::Arc;

use apiserver_json::{Value, json};
use apiserver_meta::field::FieldError;
use apiserver_meta::{GroupResource, GroupVersionKind, Status};
use apiserver_registry::{Body, Call, Changed, Operation, Resource, cannot_handle, check_sent_kind, object};
use bytes::Bytes;
use http::StatusCode;

use super::options::{self, WriteOptions};
use super::{eviction, parse_body, patch, read, scaling, update};
use crate::answer::{Answer, method_not_allowed, not_found_here};
use crate::body::RequestBody;
use crate::body::collect;
use crate::context::Context;
use crate::negotiate;

pub(super) async fn dispatch(
    context: Context<'_>,
    resource: &Arc<Resource>,
    body: RequestBody,
    upgrade: Option<hyper::upgrade::OnUpgrade>,
) -> Result<Answer, Status> {
    let info = context.info;
    match (info.subresource.as_str(), info.verb.as_str()) {
        ("scale", _) => scaling::answer(&context, resource, context.body_of_write(body).await?).await,
        ("binding", "create") => binding(&context, resource, &context.body_of_write(body).await?).await,
        ("eviction", "create") => {
            eviction::create(&context, resource, &context.body_of_write(body).await?).await
        }
        ("token", "create") => token(&context, resource, &collect(body).await?).await,
        ("finalize", "update") => {
            update::update(&context, resource, context.body_of_write(body).await?).await
        }
        ("log" | "exec" | "attach" | "portforward" | "proxy", _) => {
            crate::node_proxy::answer(context, resource, body, upgrade).await
        }
        (_, "get") => read::get(&context, resource).await,
        (_, "update") => update::update(&context, resource, context.body_of_write(body).await?).await,
        (_, "patch") => patch::patch(&context, resource, context.body_of_write(body).await?).await,
        _ => Err(method_not_allowed()),
    }
}

/// Assigns a Pod to a node.
async fn binding(context: &Context<'_>, resource: &Arc<Resource>, raw: &Bytes) -> Result<Answer, Status> {
    let options = options::write_options(context, "CreateOptions")?;
    let media = negotiate::body_media(context.headers)?;
    let body = parse_body(media, raw, ("", "v1", "Binding"))?;
    let name = context.info.name.clone();
    if object::name(&body.value) != name {
        return Err(Status::bad_request("name in URL does not match name in Binding object"));
    }
    bind(context, (resource, resource), &options, &name, &body.value).await
}

/// A Pod is bound to a node that is named.
fn check_target(binding: &Value) -> Result<(), Status> {
    let target = |member: &str| {
        binding.pointer(&format!("/target/{member}")).and_then(Value::as_str).unwrap_or("").to_owned()
    };
    let (kind, node) = (target("kind"), target("name"));
    let mut errors = Vec::new();
    if !kind.is_empty() && kind != "Node" {
        errors.push(FieldError::not_supported_in_order("target.kind", &kind.into(), &["Node", "<empty>"]));
    }
    if node.is_empty() {
        errors.push(FieldError::required("target.name", ""));
    }
    // An error without a code of its own, as Go shows one or several.
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    match texts.as_slice() {
        [] => Ok(()),
        [only] => Err(Status::new(500, "", only)),
        several => Err(Status::new(500, "", format!("[{}]", several.join(", ")))),
    }
}

/// Assigns the Pod that a Binding names; it was sent to `asked`.
pub(super) async fn bind(
    context: &Context<'_>,
    (pods, asked): (&Arc<Resource>, &Arc<Resource>),
    options: &WriteOptions,
    name: &str,
    binding: &Value,
) -> Result<Answer, Status> {
    check_target(binding)?;
    let call = Call {
        resource: pods,
        namespace: context.info.scope(),
        subresource: "binding",
        manager: &options.manager,
        dry_run: options.dry_run,
        requester: context.requester(),
    };
    let mut binding = binding.clone();
    sent(&mut binding, &GroupVersionKind::new("", "v1", "Binding"), context, name);
    let of_pods = Arc::ptr_eq(pods, asked);
    let admitted = Call { resource: asked, subresource: if of_pods { "binding" } else { "" }, ..call };
    let binding =
        &context.server.registry().admit_request(&admitted, name, Operation::Create, binding).await?;
    let node = binding.pointer("/target/name").and_then(Value::as_str).unwrap_or("").to_owned();
    let time = apiserver_registry::now();
    let change = |live: Option<&Value>| {
        let live = live.ok_or_else(|| Status::not_found(&pods.group_resource(), name))?;
        check_bound_to(binding, live, name)?;
        let assigned = live.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or("");
        let gr = apiserver_meta::GroupResource::new("", "pods/binding");
        if object::is_deleting(live) {
            return Err(Status::conflict(
                &gr,
                name,
                &format!("pod {name} is being deleted, cannot be assigned to a host"),
            ));
        }
        if !assigned.is_empty() {
            return Err(Status::conflict(
                &gr,
                name,
                &format!("pod {name} is already assigned to node {assigned:?}"),
            ));
        }
        if live
            .pointer("/spec/schedulingGates")
            .and_then(Value::as_array)
            .is_some_and(|gates| !gates.is_empty())
        {
            let why = format!("pod {name} has non-empty .spec.schedulingGates");
            return Err(Status::conflict(&gr, name, &why));
        }
        let mut next = live.clone();
        next["spec"]["nodeName"] = node.clone().into();
        if let Some(status) = next.get_mut("status").and_then(Value::as_object_mut) {
            status.remove("nominatedNodeName");
        }
        for member in ["annotations", "labels"] {
            let given = object::metadata(binding).get(member).and_then(Value::as_object);
            for (key, value) in given.into_iter().flatten() {
                next["metadata"][member][key] = value.clone();
            }
        }
        set_condition(
            &mut next,
            json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": time}),
        );
        Ok(Changed::Patched(next))
    };
    context.server.registry().update(&call, name, false, change).await?;
    let success =
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Ok(Answer::value(StatusCode::CREATED, context.accepted, &success))
}

/// What was sent to a subresource, with what the path says of it.
pub(super) fn sent(object: &mut Value, gvk: &GroupVersionKind, context: &Context<'_>, name: &str) {
    if !object.is_object() {
        *object = json!({});
    }
    object["apiVersion"] = gvk.api_version().into();
    object["kind"] = gvk.kind.clone().into();
    let metadata = object::metadata_mut(object);
    metadata.insert("name".into(), name.into());
    if let Some(namespace) = context.info.scope() {
        metadata.insert("namespace".into(), namespace.into());
    }
}

/// How long a token is good where nobody says.
const HOUR_SECONDS: i64 = 3600;

/// Sets a condition of a Pod where it stands; one that stays what it was keeps its time: `UpdatePodCondition`.
pub(super) fn set_condition(object: &mut Value, mut condition: Value) {
    let status = object::member_mut(object, "status");
    let list = status.entry("conditions").or_insert_with(|| json!([]));
    if !list.is_array() {
        *list = json!([]);
    }
    let Some(list) = list.as_array_mut() else { return };
    let Some(known) = list.iter_mut().find(|known| known["type"] == condition["type"]) else {
        list.push(condition);
        return;
    };
    if known["status"] == condition["status"] {
        condition["lastTransitionTime"] = known["lastTransitionTime"].clone();
    }
    *known = condition;
}

/// Whether a Pod is the one that a Binding was made for, of the version it says.
///
/// # Errors
/// 409, in the words of upstream's store.
fn check_bound_to(binding: &Value, live: &Value, name: &str) -> Result<(), Status> {
    for (member, shown) in [("uid", "UID"), ("resourceVersion", "ResourceVersion")] {
        let (wanted, has) = (object::text(binding, member), object::text(live, member));
        if wanted.is_empty() || wanted == has {
            continue;
        }
        let key = format!("/registry/pods/{}/{name}", object::namespace(live));
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: {shown} in precondition: {wanted}, {shown} in object meta: {has}"
        );
        return Err(Status::conflict(&apiserver_meta::GroupResource::new("", "pods"), name, &why));
    }
    Ok(())
}

/// Issues a token for a ServiceAccount.
async fn token(context: &Context<'_>, resource: &Arc<Resource>, raw: &Bytes) -> Result<Answer, Status> {
    let media = negotiate::body_media(context.headers)?;
    let Body { mut value, .. } = parse_body(media, raw, ("authentication.k8s.io", "v1", "TokenRequest"))?;
    let gvk = GroupVersionKind::new("authentication.k8s.io", "v1", "TokenRequest");
    check_sent_kind(&gvk, &value, raw)?;
    super::create::check_namespace(context, resource, &value)?;
    if let Some(map) = value.as_object_mut() {
        map.insert("apiVersion".into(), gvk.api_version().into());
        map.insert("kind".into(), gvk.kind.clone().into());
    }
    let options = options::write_options(context, "CreateOptions")?;
    let mut warnings = Vec::new();
    let schema = apiserver_schema::builtin("authentication.k8s.io", "v1", "TokenRequest");
    if let Some(schema) = &schema {
        let unknown = apiserver_schema::decode_sent(schema, &mut value, apiserver_schema::Decode::Json)
            .map_err(|error| cannot_handle(&gvk, &error.message))?;
        scaling::strict(options.validation, unknown, &mut warnings)
            .map_err(|why| cannot_handle(&gvk, &why))?;
    }
    let call = options::call(context, resource, &options);
    let name = &context.info.name;
    let sent_name = object::name(&value).to_owned();
    sent(&mut value, &gvk, context, name);
    if value.pointer("/spec/expirationSeconds").is_none_or(Value::is_null) {
        value["spec"]["expirationSeconds"] = HOUR_SECONDS.into();
    }
    if let Some(schema) = &schema {
        apiserver_registry::record_sender(&call, schema, &gvk.api_version(), &mut value);
        apiserver_meta::packed::unpack(&mut value);
    }
    let mut value = context.server.registry().admit_request(&call, name, Operation::Create, value).await?;
    if !sent_name.is_empty() && sent_name != *name {
        let why = "must match the service account name if specified";
        let error = FieldError::invalid("metadata.name", &sent_name.as_str().into(), why);
        return Err(Status::invalid(&gvk, name, &[error]));
    }
    let account = context.server.registry().get(&call, &context.info.name)?.parse();
    let (uid, sent_uid) = (object::uid(&account), object::uid(&value));
    if !sent_uid.is_empty() && sent_uid != uid {
        let why = format!(
            "the UID in the token request ({sent_uid}) does not match the UID of the service account ({uid})"
        );
        return Err(Status::conflict(&GroupResource::new(&gvk.group, &gvk.kind), name, &why));
    }
    let keys =
        context.server.inner.config.authentication.service_accounts.clone().ok_or_else(not_found_here)?;
    let seconds = value.pointer("/spec/expirationSeconds").and_then(Value::as_i64).unwrap_or(HOUR_SECONDS);
    let mut errors = Vec::new();
    if seconds < 600 {
        errors.push(FieldError::invalid(
            "spec.expirationSeconds",
            &seconds.into(),
            "may not specify a duration less than 10 minutes",
        ));
    }
    if seconds > 1 << 32 {
        errors.push(FieldError::invalid(
            "spec.expirationSeconds",
            &seconds.into(),
            "may not specify a duration larger than 2^32 seconds",
        ));
    }
    if !errors.is_empty() {
        return Err(Status::invalid(&gvk, "", &errors));
    }
    let bound = crate::token::Bound::find(
        context.server.registry(),
        context.info.scope().unwrap_or(""),
        name,
        value.pointer("/spec/boundObjectRef"),
    )?;
    let audiences = crate::token::audiences(&value);
    let audiences = if audiences.is_empty() { keys.audiences().to_vec() } else { audiences };
    let issued = keys.issue(&account, &audiences, seconds, bound.as_ref())?;
    let metadata = object::metadata_mut(&mut value);
    metadata.insert("name".into(), name.as_str().into());
    metadata.insert("namespace".into(), context.info.scope().into());
    metadata.insert("uid".into(), object::uid(&account).into());
    metadata.insert("creationTimestamp".into(), apiserver_registry::now().into());
    value["spec"]["audiences"] = json!(audiences);
    value["spec"]["expirationSeconds"] = seconds.into();
    if value["spec"].get("boundObjectRef").is_none() {
        value["spec"]["boundObjectRef"] = Value::Null;
    }
    value["status"] = json!({"token": issued.token, "expirationTimestamp": issued.expires});
    let answer = super::unkept_answer(context, "authentication.TokenRequest", &value)?;
    Ok(answer.warn(warnings))
}

/// Used by the collection form of bindings.
pub(super) async fn bind_from_collection(context: &Context<'_>, raw: &Bytes) -> Result<Answer, Status> {
    let options = options::write_options(context, "CreateOptions")?;
    let media = negotiate::body_media(context.headers)?;
    let body = parse_body(media, raw, ("", "v1", "Binding"))?;
    let catalogue = context.server.registry().catalogue();
    let pods = catalogue.get("", "v1", "pods").cloned().ok_or_else(not_found_here)?;
    let name = object::name(&body.value).to_owned();
    check_target(&body.value)?;
    if name.is_empty() {
        return Err(Status::bad_request("Name parameter required."));
    }
    let of = GroupResource::new("", "bindings");
    context.server.registry().check_content(&context.plain_call(&pods), &of, &name)?;
    let asked = catalogue.get("", "v1", "bindings").cloned().ok_or_else(not_found_here)?;
    bind(context, (&pods, &asked), &options, &name, &body.value).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_a_token_owns_what_was_asked() {
        let catalogue = apiserver_registry::Catalogue::builtin();
        let resource = catalogue.get("", "v1", "serviceaccounts").unwrap();
        let call = Call {
            resource,
            namespace: Some("default"),
            subresource: "token",
            manager: "m",
            dry_run: false,
            requester: apiserver_registry::Requester::default(),
        };
        let schema = apiserver_schema::builtin("authentication.k8s.io", "v1", "TokenRequest").unwrap();
        for (sent, want) in [
            (json!({"spec": {"expirationSeconds": 3600}}), json!({"f:spec": {"f:expirationSeconds": {}}})),
            (
                json!({"metadata": {"labels": {"a": "b"}}, "spec": {"audiences": ["x"]}, "status": {"token": "t"}}),
                json!({
                    "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
                    "f:spec": {"f:audiences": {}},
                    "f:status": {"f:token": {}},
                }),
            ),
        ] {
            let mut value = sent;
            apiserver_registry::record_sender(&call, &schema, "authentication.k8s.io/v1", &mut value);
            apiserver_meta::packed::unpack(&mut value);
            let owner = &value["metadata"]["managedFields"][0];
            assert_eq!(owner["fieldsV1"], want);
            assert_eq!(
                (owner["manager"].as_str(), owner["subresource"].as_str()),
                (Some("m"), Some("token"))
            );
        }
    }
}
