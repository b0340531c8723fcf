//! The OpenAPI definitions of the built-in types, as `/openapi/v3` and `/openapi/v2` publish them.
//!
//! The structure comes from the tables of `types`, descriptions and required fields from k8s-openapi, what values there are
//! from a table of its own (`openapi.tsv`). Paths and operations are the server's. Everything is built anew on each call:
//! callers keep what they serialised.

use std::collections::BTreeMap;

use apiserver_json::{Map, Value, json};
use schemars::generate::SchemaSettings;

use crate::node::{Field, Schema, Shape};
use crate::types::{definition_name, kinds, list_facts, named};

/// What is published of members beyond their types: the values they have, and what is there where nothing is said but
/// decoding does not fill in. `[]` stands for the elements of a list or a map.
const PUBLISHED: &str = include_str!("../data/openapi.tsv");

/// Which document definitions are for; they differ in references, defaults and a few types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenApi {
    V2,
    V3,
}

impl OpenApi {
    fn prefix(self) -> &'static str {
        match self {
            Self::V2 => "#/definitions/",
            Self::V3 => "#/components/schemas/",
        }
    }
}

/// All definitions of a document by name.
pub fn openapi_definitions(version: OpenApi) -> BTreeMap<&'static str, Value> {
    definitions_of(version, kinds().map(|(_, _, _, name)| name))
}

/// These definitions and all that they refer to; names that are not known are left out.
pub fn openapi_definitions_of<'a>(
    version: OpenApi,
    roots: impl IntoIterator<Item = &'a str>,
) -> BTreeMap<&'static str, Value> {
    definitions_of(version, roots.into_iter().filter_map(definition_name))
}

/// What the documentation says of fields, given as type name and member. Reading it costs some milliseconds however
/// few are asked for: ask once for all.
pub fn field_descriptions(fields: &[(&str, &str)]) -> Vec<Option<String>> {
    let docs = documentation();
    fields
        .iter()
        .map(|(definition, member)| {
            let text = docs.get(definition)?.get("properties")?.get(member)?.get("description")?;
            text.as_str().map(str::to_owned)
        })
        .collect()
}

fn definitions_of(
    version: OpenApi,
    roots: impl Iterator<Item = &'static str>,
) -> BTreeMap<&'static str, Value> {
    let docs = documentation();
    let mut out = BTreeMap::new();
    let mut queue: Vec<&'static str> = roots.filter(|name| !is_query(name)).collect();
    while let Some(name) = queue.pop() {
        if out.contains_key(name) {
            continue;
        }
        let schema = named(name);
        out.insert(name, definition(version, name, &schema, docs.get(name)));
        for field in schema.object().into_iter().flat_map(|object| object.fields.values()) {
            references(field.schema.get(), &mut queue);
        }
        if matches!(schema.shape, Shape::SchemaOr) {
            queue.push("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps");
        }
    }
    out
}

/// Kinds that only stand in queries or never on the wire.
fn is_query(name: &str) -> bool {
    let kind = name.rsplit('.').next().unwrap_or_default();
    (kind.ends_with("Options") && kind != "DeleteOptions")
        || matches!(
            kind,
            "List" | "PodStatusResult" | "RangeAllocation" | "SerializedReference" | "ConversionReview"
        )
}

fn references(schema: &Schema, queue: &mut Vec<&'static str>) {
    if let Some(name) = schema.definition {
        queue.push(name);
        return;
    }
    match &schema.shape {
        Shape::List(list) => references(list.items.get(), queue),
        Shape::Object(object) => object.additional.iter().for_each(|slot| references(slot.get(), queue)),
        _ => {}
    }
}

macro_rules! document {
    ($generator:ident; $($kind:ty),+ $(,)?) => {
        $($generator.subschema_for::<$kind>();)+
    };
}

/// Descriptions and required fields by definition name.
fn documentation() -> Map {
    use k8s_openapi::api::admissionregistration::v1 as admissionregistration;
    use k8s_openapi::api::apps::v1 as apps;
    use k8s_openapi::api::authentication::v1 as authentication;
    use k8s_openapi::api::authorization::v1 as authorization;
    use k8s_openapi::api::autoscaling::v1 as autoscaling;
    use k8s_openapi::api::autoscaling::v2 as autoscaling_v2;
    use k8s_openapi::api::batch::v1 as batch;
    use k8s_openapi::api::certificates::v1 as certificates;
    use k8s_openapi::api::coordination::v1 as coordination;
    use k8s_openapi::api::core::v1 as core;
    use k8s_openapi::api::discovery::v1 as discovery;
    use k8s_openapi::api::events::v1 as events;
    use k8s_openapi::api::flowcontrol::v1 as flowcontrol;
    use k8s_openapi::api::networking::v1 as networking;
    use k8s_openapi::api::node::v1 as node;
    use k8s_openapi::api::policy::v1 as policy;
    use k8s_openapi::api::rbac::v1 as rbac;
    use k8s_openapi::api::resource::v1 as resource;
    use k8s_openapi::api::scheduling::v1 as scheduling;
    use k8s_openapi::api::storage::v1 as storage;
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
    use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1 as apiregistration;

    let mut generator = SchemaSettings::openapi3().into_generator();
    document! { generator;
        admissionregistration::MutatingAdmissionPolicy, admissionregistration::MutatingAdmissionPolicyBinding, admissionregistration::MutatingWebhookConfiguration, admissionregistration::ValidatingAdmissionPolicy, admissionregistration::ValidatingAdmissionPolicyBinding, admissionregistration::ValidatingWebhookConfiguration,
        apps::ControllerRevision, apps::DaemonSet, apps::Deployment, apps::ReplicaSet, apps::StatefulSet,
        authentication::SelfSubjectReview, authentication::TokenRequest, authentication::TokenReview,
        authorization::LocalSubjectAccessReview, authorization::SelfSubjectAccessReview, authorization::SelfSubjectRulesReview, authorization::SubjectAccessReview,
        autoscaling::HorizontalPodAutoscaler, autoscaling::Scale,
        autoscaling_v2::HorizontalPodAutoscaler,
        batch::CronJob, batch::Job,
        certificates::CertificateSigningRequest,
        coordination::Lease,
        core::Binding, core::ComponentStatus, core::ConfigMap, core::Endpoints, core::Event, core::LimitRange, core::Namespace, core::Node, core::PersistentVolume, core::PersistentVolumeClaim, core::Pod, core::PodTemplate, core::ReplicationController, core::ResourceQuota, core::Secret, core::Service, core::ServiceAccount,
        discovery::EndpointSlice,
        events::Event,
        flowcontrol::FlowSchema, flowcontrol::PriorityLevelConfiguration,
        networking::IPAddress, networking::Ingress, networking::IngressClass, networking::NetworkPolicy, networking::ServiceCIDR,
        node::RuntimeClass,
        policy::Eviction, policy::PodDisruptionBudget,
        rbac::ClusterRole, rbac::ClusterRoleBinding, rbac::Role, rbac::RoleBinding,
        resource::DeviceClass, resource::ResourceClaim, resource::ResourceClaimTemplate, resource::ResourceSlice,
        scheduling::PriorityClass,
        storage::CSIDriver, storage::CSINode, storage::CSIStorageCapacity, storage::StorageClass, storage::VolumeAttachment, storage::VolumeAttributesClass,
        apiextensions::CustomResourceDefinition,
        meta::APIGroup, meta::APIGroupList, meta::APIResourceList, meta::APIVersions, meta::DeleteOptions, meta::ListMeta, meta::Status,
        apiregistration::APIService,
    }
    generator.take_definitions(false).into_iter().collect()
}

fn definition(version: OpenApi, name: &'static str, schema: &Schema, docs: Option<&Value>) -> Value {
    let mut out = match (&schema.shape, version) {
        (Shape::Object(_), _) => object(version, name, schema, docs),
        (Shape::Quantity, OpenApi::V3) => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        (Shape::IntOrString, OpenApi::V3) => {
            json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
        }
        (Shape::IntOrString, OpenApi::V2) => json!({"format": "int-or-string", "type": "string"}),
        (Shape::Time | Shape::MicroTime, _) => json!({"format": "date-time", "type": "string"}),
        (Shape::Quantity | Shape::Duration, _) => json!({"type": "string"}),
        (Shape::Raw, _) => json!({"type": "object"}),
        _ => json!({}),
    };
    if let (Value::Object(map), Some(text)) = (&mut out, docs.and_then(|docs| docs.get("description"))) {
        map.insert("description".into(), text.clone());
    }
    out
}

/// Core types whose name may be left out, for old clients, though k8s-openapi asks for it.
const HAVE_NO_NAME: &[&str] = &[
    "ConfigMapEnvSource",
    "ConfigMapKeySelector",
    "ConfigMapProjection",
    "ConfigMapVolumeSource",
    "LocalObjectReference",
    "SecretEnvSource",
    "SecretKeySelector",
    "SecretProjection",
];

/// The enum and the default of the members of a definition.
fn published(name: &str) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let rows = PUBLISHED.lines().filter_map(|line| {
        let mut columns = line.split('\t');
        Some((columns.next()?, columns.next()?, columns.next()?, columns.next()?))
    });
    rows.filter(move |(schema, ..)| *schema == name)
        .map(|(_, member, values, default)| (member, values, default))
}

/// Adds what is published of members. Version 2 has no defaults.
fn publish(version: OpenApi, name: &str, properties: &mut Map) {
    for (member, values, default) in published(name) {
        let (member, of_elements) = match member.strip_suffix("[]") {
            Some(member) => (member, true),
            None => (member, false),
        };
        let Some(mut property) = properties.get_mut(member) else { continue };
        if of_elements {
            let inside = if property.get("items").is_some() { "items" } else { "additionalProperties" };
            property = &mut property[inside];
        }
        if !values.is_empty() {
            let values: Vec<&str> = values.split(',').collect();
            if !of_elements && let Some(text) = property.get("description").and_then(Value::as_str) {
                // Older clients show descriptions alone.
                let list: String = values.iter().map(|value| format!("\n - `{value:?}`")).collect();
                property["description"] = format!("{text}\n\nPossible enum values:{list}").into();
            }
            property["enum"] = json!(values);
        }
        if version == OpenApi::V3
            && let Ok(default @ (Value::Bool(_) | Value::Number(_) | Value::String(_))) =
                apiserver_json::from_str(default)
        {
            property["default"] = default;
        }
    }
}

fn object(version: OpenApi, name: &'static str, schema: &Schema, docs: Option<&Value>) -> Value {
    let mut out = Map::new();
    out.insert("type".into(), json!("object"));
    let facts = list_facts(name);
    let mut properties = Map::new();
    let object = schema.object();
    for (field_name, field) in object.into_iter().flat_map(|object| &object.fields) {
        let mut property = self::field(version, field);
        if let Value::Object(map) = &mut property {
            let text = docs.and_then(|docs| docs.get("properties")?.get(&**field_name)?.get("description"));
            if let Some(text) = text {
                map.insert("description".into(), text.clone());
            }
            if let Some(row) = facts.iter().find(|row| row[0] == &**field_name) {
                extensions(row, map);
            }
        }
        properties.insert(field_name.to_string().into(), bare_reference(property));
    }
    publish(version, name, &mut properties);
    if !properties.is_empty() {
        out.insert("properties".into(), Value::Object(properties));
    }
    let gvks = group_version_kinds(name);
    let required: Vec<Value> = match docs.and_then(|docs| docs.get("required")?.as_array()) {
        _ if name == "io.k8s.api.events.v1.Event" => vec![json!("eventTime")],
        Some(names) => names
            .iter()
            .filter(|n| gvks.is_empty() || **n != "metadata" || name == "io.k8s.api.core.v1.Event")
            .filter(|n| {
                **n != "name" || !HAVE_NO_NAME.iter().any(|end| name == format!("io.k8s.api.core.v1.{end}"))
            })
            .cloned()
            .collect(),
        None if name.ends_with("List") => vec![json!("items")],
        None => Vec::new(),
    };
    if !required.is_empty() {
        let mut required = required;
        required.sort_by_key(|name| {
            let field = name.as_str().and_then(|name| object?.fields.get(name));
            field.map_or(usize::MAX, |field| field.place)
        });
        out.insert("required".into(), required.into());
    }
    if let Some(row) = facts.iter().find(|row| row[0] == "(type)")
        && let Ok(Value::Object(more)) = apiserver_json::from_str(row[5])
    {
        out.extend(more);
    }
    if !gvks.is_empty() {
        out.insert("x-kubernetes-group-version-kind".into(), gvks.into());
    }
    Value::Object(out)
}

/// The kinds of a definition; options and events of watches belong to every group version.
fn group_version_kinds(name: &str) -> Vec<Value> {
    let entry =
        |group: &str, version: &str, kind: &str| json!({"group": group, "kind": kind, "version": version});
    let own: Vec<_> = kinds().filter(|(_, _, _, n)| *n == name).collect();
    let Some((_, _, kind, _)) = own.first() else { return Vec::new() };
    if *kind != "DeleteOptions" {
        return own.iter().map(|(group, version, kind, _)| entry(group, version, kind)).collect();
    }
    group_versions().into_iter().map(|(group, version)| entry(group, version, kind)).collect()
}

/// The versions of groups that upstream knows and does not serve.
const UNSERVED: &str = "admission.k8s.io/v1 admission.k8s.io/v1beta1 admissionregistration.k8s.io/v1alpha1 admissionregistration.k8s.io/v1beta1 apiextensions.k8s.io/v1beta1 apiregistration.k8s.io/v1beta1 apps/v1beta1 apps/v1beta2 authentication.k8s.io/v1alpha1 authentication.k8s.io/v1beta1 authorization.k8s.io/v1beta1 batch/v1beta1 certificates.k8s.io/v1alpha1 certificates.k8s.io/v1beta1 coordination.k8s.io/v1alpha2 coordination.k8s.io/v1beta1 discovery.k8s.io/v1beta1 events.k8s.io/v1beta1 extensions/v1beta1 flowcontrol.apiserver.k8s.io/v1beta1 flowcontrol.apiserver.k8s.io/v1beta2 flowcontrol.apiserver.k8s.io/v1beta3 imagepolicy.k8s.io/v1alpha1 internal.apiserver.k8s.io/v1alpha1 networking.k8s.io/v1beta1 node.k8s.io/v1alpha1 node.k8s.io/v1beta1 policy/v1beta1 rbac.authorization.k8s.io/v1alpha1 rbac.authorization.k8s.io/v1beta1 resource.k8s.io/v1alpha3 resource.k8s.io/v1beta1 resource.k8s.io/v1beta2 scheduling.k8s.io/v1alpha2 scheduling.k8s.io/v1beta1 storage.k8s.io/v1alpha1 storage.k8s.io/v1beta1 storagemigration.k8s.io/v1beta1";

/// Every version of a group that there are kinds of: what belongs to all groups is of each.
pub fn group_versions() -> std::collections::BTreeSet<(&'static str, &'static str)> {
    let unserved = UNSERVED.split(' ').filter_map(|text| text.split_once('/'));
    kinds().map(|(group, version, _, _)| (group, version)).chain(unserved).collect()
}

fn field(version: OpenApi, field: &Field) -> Value {
    let schema = field.schema.get();
    let mut out = node(version, schema);
    let is_struct = schema.object().is_some_and(|object| object.go_struct);
    let default = match (&field.key_default, is_struct) {
        _ if field.pointer => None,
        (Some(default), _) => Some(default.clone()),
        (None, true) => Some(json!({})),
        _ => None,
    };
    if let (Value::Object(map), Some(default), OpenApi::V3) = (&mut out, default, version) {
        map.insert("default".into(), default);
    }
    out
}

fn node(version: OpenApi, schema: &Schema) -> Value {
    if let Some(name) = schema.definition {
        let reference = json!({"$ref": format!("{}{name}", version.prefix())});
        return match version {
            OpenApi::V2 => reference,
            OpenApi::V3 => json!({"allOf": [reference]}),
        };
    }
    match &schema.shape {
        Shape::String => json!({"type": "string"}),
        Shape::Bytes => json!({"type": "string", "format": "byte"}),
        Shape::Integer(bits) => json!({"type": "integer", "format": format!("int{bits}")}),
        Shape::Number => json!({"type": "number", "format": "double"}),
        Shape::Boolean => json!({"type": "boolean"}),
        Shape::List(list) => json!({"type": "array", "items": element(version, list.items.get())}),
        Shape::Object(object) => match &object.additional {
            Some(slot) => json!({"type": "object", "additionalProperties": element(version, slot.get())}),
            None => json!({"type": "object"}),
        },
        _ => json!({}),
    }
}

fn element(version: OpenApi, schema: &Schema) -> Value {
    let mut out = node(version, schema);
    let default = match &schema.shape {
        Shape::Object(object) if object.go_struct => json!({}),
        Shape::String => json!(""),
        Shape::Integer(_) => json!(0),
        _ => return bare_reference(out),
    };
    if let (Value::Object(map), OpenApi::V3) = (&mut out, version) {
        map.insert("default".into(), default);
    }
    out
}

/// A reference that nothing stands beside needs no `allOf`.
fn bare_reference(value: Value) -> Value {
    match &value {
        Value::Object(map) if map.len() == 1 => match map.get("allOf").and_then(|all| all.get(0)) {
            Some(reference) => reference.clone(),
            None => value,
        },
        _ => value,
    }
}

fn extensions(row: &[&'static str; 6], map: &mut Map) {
    let [_, strategy, merge_key, list_type, keys, map_type] = *row;
    for (name, text) in [
        ("x-kubernetes-patch-strategy", strategy),
        ("x-kubernetes-patch-merge-key", merge_key),
        ("x-kubernetes-list-type", list_type),
        ("x-kubernetes-map-type", map_type),
    ] {
        if !text.is_empty() {
            map.insert(name.to_owned().into(), json!(text));
        }
    }
    if !keys.is_empty() {
        let keys: Vec<_> = keys.split(',').collect();
        map.insert("x-kubernetes-list-map-keys".into(), json!(keys));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_stay_inside_the_document() {
        for version in [OpenApi::V2, OpenApi::V3] {
            let all = openapi_definitions(version);
            for (name, value) in &all {
                let text = value.to_string();
                for part in text.split(&format!("\"$ref\":\"{}", version.prefix())).skip(1) {
                    let target = part.split('"').next().unwrap_or_default();
                    assert!(all.contains_key(target), "{name} refers to {target}");
                }
            }
        }
    }

    #[test]
    fn definitions_read_as_upstream_publishes_them() {
        let all = openapi_definitions_of(
            OpenApi::V3,
            [
                "io.k8s.api.core.v1.Service",
                "io.k8s.api.core.v1.EndpointsList",
                "io.k8s.api.core.v1.Pod",
                "nobody",
            ],
        );
        let ports = &all["io.k8s.api.core.v1.ServiceSpec"]["properties"]["ports"];
        assert_eq!(ports["x-kubernetes-list-map-keys"], json!(["port", "protocol"]));
        assert_eq!(ports["x-kubernetes-patch-merge-key"], "port");
        let item = json!({"allOf": [{"$ref": "#/components/schemas/io.k8s.api.core.v1.ServicePort"}], "default": {}});
        assert_eq!(ports["items"], item);
        let service = &all["io.k8s.api.core.v1.Service"];
        let gvk = json!([{"group": "", "kind": "Service", "version": "v1"}]);
        assert_eq!(service["x-kubernetes-group-version-kind"], gvk);
        assert!(service["description"].as_str().is_some_and(|text| text.starts_with("Service is")));
        assert!(all.contains_key("io.k8s.api.core.v1.EndpointsList"));
        assert_eq!(all["io.k8s.api.core.v1.ConfigMapKeySelector"]["required"], json!(["key"]));
        assert_eq!(all["io.k8s.api.core.v1.PodCondition"]["required"], json!(["type", "status"]));
        let members = &all["io.k8s.api.core.v1.ServiceSpec"]["properties"];
        assert_eq!(members["type"]["enum"], json!(["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]));
        let text = members["type"]["description"].as_str().unwrap_or_default();
        assert!(text.ends_with("\n - `\"LoadBalancer\"`\n - `\"NodePort\"`"), "{text}");
        assert_eq!(members["ipFamilies"]["items"]["enum"], json!(["", "IPv4", "IPv6"]));
        assert_eq!(all["io.k8s.api.core.v1.GRPCAction"]["properties"]["service"]["default"], "");
        let all = openapi_definitions(OpenApi::V2);
        assert_eq!(all["io.k8s.api.events.v1.Event"]["required"], json!(["eventTime"]));
        assert_eq!(all["io.k8s.api.core.v1.ServicePort"]["properties"]["protocol"]["enum"][0], "SCTP");
        assert!(all["io.k8s.api.core.v1.GRPCAction"]["properties"]["service"].get("default").is_none());
        for line in PUBLISHED.lines().skip(1) {
            let (definition, rest) = line.split_once('\t').unwrap_or_default();
            let member = rest.split('\t').next().unwrap_or_default();
            let known = &all[definition]["properties"][member.trim_end_matches("[]")];
            assert!(known.is_object(), "{definition} {member}");
        }
        let spec = &all["io.k8s.api.core.v1.Service"]["properties"]["spec"];
        assert_eq!(spec["$ref"], "#/definitions/io.k8s.api.core.v1.ServiceSpec");
    }
}
