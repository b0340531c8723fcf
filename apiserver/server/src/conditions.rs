//! Conditions that the server itself sets, as upstream's own controllers do: whether the priority level of a FlowSchema
//! is there, whether the Service behind an APIService answers, that a ServiceCIDR is ready.

use std::sync::Arc;

use apiserver_json::{Value, json};
use apiserver_meta::Status;
use apiserver_registry::{Call, Changed, OWN_RANGE, Registry, Resource, now, object};
use apiserver_schema::FieldSet;

/// A kind with such a condition.
struct Kind {
    group: &'static str,
    resource: &'static str,
    /// Who sets it, and whether by an apply.
    manager: &'static str,
    applies: bool,
    /// What its condition hangs on, beside itself: (group, resource).
    causes: &'static [(&'static str, &'static str)],
    /// A piece of the stored JSON of each object that has such a condition; no others are parsed.
    piece: &'static str,
    /// The condition of an object, without a time; `None` where it is somebody else's.
    condition: fn(&Registry, &Value) -> Option<Value>,
}

const KINDS: &[Kind] = &[
    Kind {
        group: "flowcontrol.apiserver.k8s.io",
        resource: "flowschemas",
        manager: "api-priority-and-fairness-config-consumer-v1",
        applies: true,
        causes: &[("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations")],
        piece: "",
        condition: dangling,
    },
    Kind {
        group: "apiregistration.k8s.io",
        resource: "apiservices",
        manager: "kube-apiserver",
        applies: false,
        causes: &[("", "services"), ("discovery.k8s.io", "endpointslices")],
        piece: "\"service\":{",
        condition: available,
    },
    Kind {
        group: "networking.k8s.io",
        resource: "servicecidrs",
        manager: "kubernetes-service-cidr-controller",
        applies: true,
        causes: &[],
        piece: "",
        condition: ready,
    },
];

/// Sets the conditions that a change of an object of this resource has a part in.
pub(crate) async fn settle_after(registry: &Registry, resource: &Resource) {
    let of = (resource.group.as_str(), resource.name.as_str());
    for kind in KINDS.iter().filter(|kind| (kind.group, kind.resource) == of || kind.causes.contains(&of)) {
        settle_kind(registry, kind).await;
    }
}

/// Sets whatever condition is not as it should be.
pub(crate) async fn settle(registry: &Registry) {
    for kind in KINDS {
        settle_kind(registry, kind).await;
    }
}

async fn settle_kind(registry: &Registry, kind: &Kind) {
    let catalogue = registry.catalogue();
    let Some(resource) = catalogue.get(kind.group, "v1", kind.resource) else { return };
    for found in registry.cache().snapshot(&resource.prefix).objects.values() {
        if !std::str::from_utf8(found.bytes()).is_ok_and(|json| json.contains(kind.piece)) {
            continue;
        }
        let object = found.parse();
        if outdated(registry, kind, &object).is_none() {
            continue;
        }
        let name = object::name(&object);
        if let Err(status) = Box::pin(write(registry, kind, resource, name)).await
            && status.code != 404
        {
            tracing::warn!(resource = kind.resource, name, error = %status, "a condition could not be set");
        }
    }
}

/// The condition that an object should have and has not.
fn outdated(registry: &Registry, kind: &Kind, object: &Value) -> Option<Value> {
    let wanted = (kind.condition)(registry, object)?;
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let same = |condition: &Value| {
        ["type", "status", "reason", "message"].iter().all(|member| condition[*member] == wanted[*member])
    };
    (!conditions.into_iter().flatten().any(same)).then_some(wanted)
}

async fn write(registry: &Registry, kind: &Kind, resource: &Arc<Resource>, name: &str) -> Result<(), Status> {
    let call = Call {
        resource,
        namespace: None,
        subresource: "status",
        manager: kind.manager,
        dry_run: false,
        requester: apiserver_registry::Requester::default(),
    };
    let change = |live: Option<&Value>| {
        let live = live.ok_or_else(|| Status::not_found(&resource.group_resource(), name))?;
        let Some(mut condition) = outdated(registry, kind, live) else {
            return Ok(Changed::Patched(live.clone()));
        };
        let time = now();
        let before = live.pointer("/status/conditions").and_then(Value::as_array);
        let was = before.into_iter().flatten().find(|known| known["type"] == condition["type"]);
        let since = was.filter(|was| was["status"] == condition["status"]);
        condition["lastTransitionTime"] =
            since.map_or_else(|| time.clone().into(), |was| was["lastTransitionTime"].clone());
        if !kind.applies {
            let mut next = live.clone();
            let others = before.into_iter().flatten().filter(|known| known["type"] != condition["type"]);
            next["status"]["conditions"] = others.cloned().chain([condition.clone()]).collect();
            return Ok(Changed::Patched(next));
        }
        // A reason that is not said is nobody's; it is there all the same.
        let is_bare = condition["reason"] == "";
        if let Some(condition) = condition.as_object_mut().filter(|_| is_bare) {
            condition.remove("reason");
        }
        let applied = json!({
            "apiVersion": resource.api_version(), "kind": resource.kind, "metadata": {"name": name},
            "status": {"conditions": [condition]},
        });
        let api_version = resource.api_version();
        let manager = apiserver_schema::Manager {
            name: kind.manager,
            operation: apiserver_schema::Operation::Apply,
            api_version: &api_version,
            subresource: "status",
            time: &time,
            versions: None,
        };
        let schema = resource.schema().unwrap_or_else(apiserver_schema::Schema::any);
        let merged = apiserver_schema::apply(&schema, live, &applied, &manager, true, &FieldSet::new());
        let mut merged = merged.map_err(|_| Status::internal("a condition could not be applied"))?;
        let conditions = merged.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
        for condition in conditions.into_iter().flatten().filter_map(Value::as_object_mut) {
            condition.entry("reason").or_insert_with(|| "".into());
        }
        Ok(Changed::Applied(merged))
    };
    registry.update(&call, name, false, change).await.map(|_| ())
}

fn condition(kind: &str, holds: bool, reason: &str, message: String) -> Option<Value> {
    let status = if holds { "True" } else { "False" };
    Some(json!({"type": kind, "status": status, "reason": reason, "message": message}))
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

/// Does a FlowSchema name a priority level that is not there?
fn dangling(registry: &Registry, schema: &Value) -> Option<Value> {
    let level = text(schema, "/spec/priorityLevelConfiguration/name");
    let catalogue = registry.catalogue();
    let levels = catalogue.get("flowcontrol.apiserver.k8s.io", "v1", "prioritylevelconfigurations")?;
    let found = registry.cache().get(&levels.key(None, level)).is_some();
    let references =
        format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?}");
    match found {
        true => condition("Dangling", false, "Found", format!("{references} and it exists")),
        false => condition("Dangling", true, "NotFound", format!("{references} but there is no such object")),
    }
}

/// Does the Service of an APIService answer? Nothing is forwarded to one, so that is as far as this looks.
fn available(registry: &Registry, api: &Value) -> Option<Value> {
    let service = api.pointer("/spec/service")?;
    let (namespace, name) = (text(service, "/namespace"), text(service, "/name"));
    let port = service["port"].as_i64().unwrap_or(443);
    let catalogue = registry.catalogue();
    let services = catalogue.get("", "v1", "services")?;
    let no = |reason: &str, message: String| condition("Available", false, reason, message);
    let Some(found) = registry.cache().get(&services.key(Some(namespace), name)) else {
        return no("ServiceNotFound", format!("service/{name} in {namespace:?} is not present"));
    };
    let found = found.parse();
    if text(&found, "/spec/type") != "ClusterIP" {
        return None;
    }
    let ports = found.pointer("/spec/ports").and_then(Value::as_array);
    let Some(served) = ports.into_iter().flatten().find(|served| served["port"] == port) else {
        let why = format!("service/{name} in {namespace:?} is not listening on port {port}");
        return no("ServicePortError", why);
    };
    let slices = catalogue.get("discovery.k8s.io", "v1", "endpointslices")?;
    let snapshot = registry.cache().snapshot(&slices.prefix);
    let slices: Vec<Value> = snapshot
        .scope(&slices.scope(Some(namespace)))
        .map(|slice| slice.parse())
        .filter(|slice| text(slice, "/metadata/labels/kubernetes.io~1service-name") == name)
        .collect();
    if slices.is_empty() {
        let why = format!("cannot find endpointslices for service/{name} in {namespace:?}");
        return no("EndpointsNotFound", why);
    }
    let port_name = text(served, "/name");
    let answers = |slice: &Value| {
        let list = |member: &str| slice[member].as_array().unwrap_or_default();
        list("ports").iter().any(|port| text(port, "/name") == port_name)
            && list("endpoints")
                .iter()
                .any(|endpoint| endpoint.pointer("/conditions/ready") != Some(&json!(false)))
    };
    if !slices.iter().any(answers) {
        let why = format!(
            "endpointslices for service/{name} in {namespace:?} have no addresses with port name {port_name:?}"
        );
        return no("MissingEndpoints", why);
    }
    None
}

/// The range this server was started with is ready; others are a controller's, and so is what is said of this one already.
fn ready(registry: &Registry, range: &Value) -> Option<Value> {
    let cidrs: Vec<String> = registry.service_ranges().cidrs().map(|cidr| cidr.to_string()).collect();
    let conditions = range.pointer("/status/conditions").and_then(Value::as_array);
    let is_known = |condition: &Value| condition["type"] == "Ready" && condition["status"] != "Unknown";
    let is_own = object::name(range) == OWN_RANGE
        && !object::is_deleting(range)
        && range["spec"]["cidrs"] == json!(cidrs)
        && !conditions.into_iter().flatten().any(is_known);
    let message = "Kubernetes default Service CIDR is ready".to_owned();
    is_own.then(|| condition("Ready", true, "", message)).flatten()
}
