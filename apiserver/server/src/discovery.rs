//! What is served: `/api`, `/apis`, their groups and versions, aggregated discovery, OpenAPI.

use std::collections::BTreeSet;

use apiserver_json::{Value, json};
use apiserver_meta::Status;
use apiserver_registry::{Catalogue, Group, Resource};
use http::header::{CACHE_CONTROL, HeaderValue, VARY};
use http::{Method, StatusCode};

use crate::answer::{Answer, method_not_allowed, page_not_found};
use crate::context::Context;
use crate::etag;
use crate::negotiate::{self, Media, Place};

/// Answers a path that is about no resource.
pub(crate) fn answer(context: &mut Context) -> Result<Answer, Status> {
    let path = context.info.path.clone();
    let catalogue = context.server.registry().catalogue();
    if let Some(answer) = crate::openapi::answer(context, &catalogue) {
        return answer;
    }
    let parts: Vec<&str> = path.trim_start_matches('/').trim_end_matches('/').split('/').collect();
    let parts = if path == "/index.html" { vec![""] } else { parts };
    let known = match parts.as_slice() {
        [""] => true,
        ["api"] | ["apis"] => true,
        ["api", version] => !catalogue.resources("", version).is_empty(),
        ["apis", group] => catalogue.group(group).is_some() && !group.is_empty(),
        ["apis", group, version] => !catalogue.resources(group, version).is_empty(),
        _ => false,
    };
    if path.trim_end_matches('/') == "/version" {
        return Err(method_not_allowed());
    }
    if path.starts_with("//") || path.ends_with("//") || !known {
        return Err(match parts.as_slice() {
            ["api", _] => crate::answer::not_found_here(),
            ["apis", group, _]
                if !group.is_empty()
                    && catalogue.group(group).is_some_and(|found| !is_custom(&catalogue, found)) =>
            {
                crate::answer::not_found_here()
            }
            _ => page_not_found(),
        });
    }
    // Upstream answers any method where no route is: at the root and of the groups.
    let is_routed = !matches!(parts.as_slice(), [""] | ["apis"] | ["apis", _]);
    if *context.method != Method::GET && is_routed {
        return Err(method_not_allowed());
    }
    if matches!(parts.as_slice(), ["api"] | ["apis"])
        && path != "/apis/"
        && let Some(answer) = aggregated(context, &catalogue, parts[0] == "api")
    {
        return Ok(answer);
    }
    if parts.as_slice() == [""] {
        // No object: indented JSON, whatever is accepted.
        return Ok(Answer::json(StatusCode::OK, format!("{:#}", paths(&catalogue))));
    }
    let place = if is_routed { Place::Discovery } else { Place::Groups };
    context.accepted = negotiate::accept(context.headers, context.accepted.pretty, place)?;
    let value = match parts.as_slice() {
        ["api"] => json!({
            "kind": "APIVersions",
            "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": context.server.inner.config.advertise.to_string()}],
        }),
        ["apis"] => json!({
            "kind": "APIGroupList",
            "apiVersion": "v1",
            "groups": catalogue.groups().iter().filter(|group| !group.name.is_empty()).map(group_json).collect::<Vec<_>>(),
        }),
        ["apis", group] => {
            let mut value = catalogue.group(group).map(group_json).unwrap_or_default();
            value["kind"] = "APIGroup".into();
            value["apiVersion"] = "v1".into();
            value
        }
        ["api", version] => resource_list(&catalogue, "", version),
        [_, group, version] => resource_list(&catalogue, group, version),
        _ => Value::Null,
    };
    Ok(Answer::value(StatusCode::OK, context.accepted, &value))
}

/// Are resources of a group defined by somebody?
pub(crate) fn is_custom(catalogue: &Catalogue, group: &Group) -> bool {
    group
        .versions
        .iter()
        .flat_map(|version| catalogue.resources(&group.name, version))
        .any(|row| row.is_custom())
}

/// Everything that has an address of its own, in order.
fn paths(catalogue: &Catalogue) -> Value {
    const SINGLE: [&str; 14] = [
        "/.well-known/openid-configuration",
        "/api",
        "/api/v1",
        "/apis",
        "/apis/",
        crate::metrics::PATH,
        crate::health::SLIS,
        crate::zpages::STATUS,
        crate::zpages::FLAGS,
        "/openapi/v2",
        "/openapi/v3",
        "/openapi/v3/",
        "/openid/v1/jwks",
        "/version",
    ];
    let mut paths: BTreeSet<String> = SINGLE.map(str::to_owned).into();
    for group in catalogue.groups().iter().filter(|group| !group.name.is_empty()) {
        paths.insert(format!("/apis/{}", group.name));
        paths.extend(group.versions.iter().map(|version| format!("/apis/{}/{version}", group.name)));
    }
    for endpoint in crate::health::ENDPOINTS {
        paths.insert(format!("/{endpoint}"));
        paths.extend(crate::health::named(endpoint).map(|check| format!("/{endpoint}/{check}")));
    }
    json!({"paths": paths.into_iter().collect::<Vec<_>>()})
}

fn group_json(group: &Group) -> Value {
    let version =
        |version: &String| json!({"groupVersion": format!("{}/{version}", group.name), "version": version});
    json!({
        "name": group.name,
        "versions": group.versions.iter().map(version).collect::<Vec<_>>(),
        "preferredVersion": group.versions.first().map(version),
    })
}

fn resource_list(catalogue: &Catalogue, group: &str, version: &str) -> Value {
    let mut resources = Vec::new();
    for row in catalogue.resources(group, version) {
        let mut entry = json!({
            "name": row.name, "singularName": row.singular, "namespaced": row.namespaced, "kind": row.kind, "verbs": row.told_verbs(),
        });
        if !row.short_names.is_empty() {
            entry["shortNames"] = json!(row.short_names);
        }
        if !row.categories.is_empty() {
            entry["categories"] = json!(row.categories);
        }
        if row.has_verb("list") && row.name != "componentstatuses" {
            entry["storageVersionHash"] = storage_hash(row).into();
        }
        resources.push(entry);
        for subresource in &row.subresources {
            let mut entry = json!({
                "name": format!("{}/{}", row.name, subresource.name), "singularName": "", "namespaced": row.namespaced,
                "kind": subresource.kind, "verbs": subresource.verbs,
            });
            if !subresource.group.is_empty() {
                entry["group"] = subresource.group.clone().into();
            }
            if !subresource.version.is_empty() {
                entry["version"] = subresource.version.clone().into();
            }
            resources.push(entry);
        }
    }
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let mut list = json!({"kind": "APIResourceList", "groupVersion": group_version, "resources": resources});
    if !group.is_empty() {
        list["apiVersion"] = "v1".into();
    }
    list
}

/// Kinds that upstream stores in another version than they are served in: clients compare hashes of different servers.
const STORED_ELSEWHERE: &[(&str, &str, &str)] = &[
    ("events.k8s.io", "Event", "v1"),
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicy", "admissionregistration.k8s.io/v1beta1"),
    (
        "admissionregistration.k8s.io",
        "MutatingAdmissionPolicyBinding",
        "admissionregistration.k8s.io/v1beta1",
    ),
    ("apiextensions.k8s.io", "CustomResourceDefinition", "apiextensions.k8s.io/v1beta1"),
];

/// A stable hash of where objects are stored, as `storageVersionHash` is.
fn storage_hash(row: &Resource) -> String {
    use base64::Engine;
    let elsewhere = STORED_ELSEWHERE
        .iter()
        .find(|(group, kind, _)| (row.group.as_str(), row.kind.as_str()) == (*group, *kind));
    let stored = elsewhere.map_or(row.stored_api_version.as_str(), |(_, _, stored)| stored);
    let digest = ring::digest::digest(
        &ring::digest::SHA256,
        // The core group is the empty one.
        format!("{}{stored}/{}", if stored.contains('/') { "" } else { "/" }, row.kind).as_bytes(),
    );
    base64::engine::general_purpose::STANDARD.encode(&digest.as_ref()[..8])
}

/// Aggregated discovery, where the client asks for it at all.
fn aggregated(context: &Context, catalogue: &Catalogue, core: bool) -> Option<Answer> {
    let accepted = negotiate::accept(context.headers, context.accepted.pretty, Place::Aggregated).ok()?;
    let items: Vec<Value> = catalogue
        .groups()
        .iter()
        .filter(|group| group.name.is_empty() == core)
        .map(|group| {
            let versions: Vec<Value> = group
                .versions
                .iter()
                .map(|version| {
                    let resources: Vec<Value> = catalogue
                        .resources(&group.name, version)
                        .iter()
                        .map(|row| discovered(row, &group.name, version))
                        .collect();
                    json!({"version": version, "resources": resources, "freshness": "Current"})
                })
                .collect();
            let metadata = if group.name.is_empty() { json!({}) } else { json!({"name": group.name}) };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    let list = json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items});
    let hash = etag::of(list.to_string().as_bytes());
    let mut answer = Answer::value(StatusCode::OK, accepted, &list);
    answer.content_type = HeaderValue::from_static(match accepted.media {
        Media::Json => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        Media::Yaml => "application/yaml;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        Media::Protobuf => {
            "application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        }
    });
    answer.headers.push((VARY, HeaderValue::from_static("Accept")));
    answer.headers.push((CACHE_CONTROL, HeaderValue::from_static("public")));
    Some(etag::tagged(context.method, context.headers, answer, &hash))
}

fn discovered(row: &Resource, _group: &str, _version: &str) -> Value {
    let kind =
        |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
    // Built-in kinds leave group and version out where they are the list's own; custom ones print them.
    let own =
        if row.is_custom() { kind(&row.group, &row.version, &row.kind) } else { kind("", "", &row.kind) };
    let mut entry = json!({
        "resource": row.name,
        "responseKind": own,
        "scope": if row.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": row.singular,
        "verbs": row.told_verbs(),
    });
    if !row.short_names.is_empty() {
        entry["shortNames"] = json!(row.short_names);
    }
    if !row.categories.is_empty() {
        entry["categories"] = json!(row.categories);
    }
    if !row.subresources.is_empty() {
        let subresources: Vec<Value> = row
            .subresources
            .iter()
            .map(|subresource| {
                let response = match (subresource.group.is_empty(), row.is_custom()) {
                    (true, true) => kind(&row.group, &row.version, &subresource.kind),
                    _ => kind(&subresource.group, &subresource.version, &subresource.kind),
                };
                json!({"subresource": subresource.name, "responseKind": response, "verbs": subresource.verbs})
            })
            .collect();
        entry["subresources"] = subresources.into();
    }
    entry
}
