//! `/openapi/v2` and `/openapi/v3`: the shapes of the catalogue's kinds, and the paths they are served at.

mod custom;
mod parameters;
mod paths;
mod render;
mod resource;
mod wire;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use apiserver_json::{Map, Value, json};
use apiserver_meta::Status;
use apiserver_registry::{Catalogue, Resource};
use apiserver_schema::OpenApi;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, HeaderValue, VARY};
use http::{HeaderMap, StatusCode};

use self::paths::{Path, Shape};
use crate::answer::Answer;
use crate::context::Context;
use crate::etag::{self, tagged};
use crate::{compress, negotiate};

/// The identity of a catalogue, and its documents.
type Made = (usize, HashMap<String, Bytes>);

/// Documents made once and kept until the catalogue changes.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    made: Mutex<Made>,
}

impl Documents {
    fn get<B: Into<Bytes>>(&self, catalogue: &Arc<Catalogue>, name: &str, make: impl FnOnce() -> B) -> Bytes {
        let identity = Arc::as_ptr(catalogue) as usize;
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.0 != identity {
            *made = (identity, HashMap::new());
        }
        made.1.entry(name.to_owned()).or_insert_with(|| make().into()).clone()
    }
}

/// The answer to an OpenAPI path; `None` for other paths.
pub(crate) fn answer(context: &Context, catalogue: &Arc<Catalogue>) -> Option<Result<Answer, Status>> {
    let documents = &context.server.inner.openapi;
    let path = context.info.path.as_str();
    if !matches!(path, "/openapi/v2" | "/openapi/v3") && !path.starts_with("/openapi/v3/") {
        return None;
    }
    if path != "/openapi/v3" && !negotiate::takes(context.headers, WRITTEN) {
        return Some(Ok(varied(Answer::empty(StatusCode::NOT_ACCEPTABLE))));
    }
    let server_version = context.server.inner.config.version.as_str();
    match path {
        "/openapi/v2" => {
            let make = || v2(catalogue, server_version);
            // kubectl asks for nothing but protobuf.
            let (media, bytes) = if wants_protobuf(context) {
                (wire::MEDIA, documents.get(catalogue, "v2.pb", || wire::encode(&make())))
            } else {
                ("application/json", documents.get(catalogue, "v2", || make().to_string()))
            };
            let mut answer =
                compress::whole_of(context, bytes, |bytes| Answer::of(StatusCode::OK, media, bytes));
            if !answer.headers.iter().any(|(name, _)| *name == VARY) {
                answer.headers.push((VARY, HeaderValue::from_static("Accept-Encoding")));
            }
            let groups = catalogue.groups().iter();
            let versions =
                groups.flat_map(|group| group.versions.iter().map(|version| (&group.name, version)));
            let parts: String = versions
                .map(|(group, version)| hash_of(catalogue, server_version, "", (group, version)))
                .collect();
            Some(Ok(varied(tagged(context.method, context.headers, answer, &etag::of(parts.as_bytes())))))
        }
        "/openapi/v3" => Some(Ok(index(catalogue, server_version))),
        path => {
            let name = path.strip_prefix("/openapi/v3/")?;
            let (paths, group, version) = match name.split('/').collect::<Vec<_>>().as_slice() {
                ["api"] => (vec![paths::of_group("")], "", ""),
                ["apis"] => (vec![paths::of_groups()], "", ""),
                ["apis", group] if catalogue.group(group).is_some() => (vec![paths::of_group(group)], "", ""),
                ["api", version] => (paths::of_version(catalogue, "", version), "", *version),
                ["apis", group, version] => (paths::of_version(catalogue, group, version), *group, *version),
                _ => {
                    let path =
                        paths::of_server().into_iter().find(|path| path.path.trim_matches('/') == name);
                    (path.into_iter().collect(), "", "")
                }
            };
            let rows = catalogue.resources(group, version);
            if paths.is_empty() || rows.is_empty() && !version.is_empty() {
                return Some(Ok(Answer::empty(StatusCode::NOT_FOUND)));
            }
            let hash = hash_of(catalogue, server_version, name, (group, version));
            let asked = context.query.text("hash");
            if !asked.is_empty() && asked != hash {
                // Who knows of another one is sent to the one there is.
                let mut answer = Answer::of(StatusCode::MOVED_PERMANENTLY, "application/json", Bytes::new());
                answer.headers.extend(
                    address(name, &hash).parse().ok().map(|address| (http::header::LOCATION, address)),
                );
                return Some(Ok(varied(tagged(context.method, &HeaderMap::new(), answer, &hash))));
            }
            let make = || v3(&paths, rows, (group, version), server_version).to_string();
            let mut answer = Answer::json(StatusCode::OK, documents.get(catalogue, name, make));
            if !asked.is_empty() {
                // What is at an address with a hash never changes.
                answer.headers.push((CACHE_CONTROL, HeaderValue::from_static("public, immutable")));
                answer.headers.extend(in_a_year().parse().ok().map(|time| (http::header::EXPIRES, time)));
            }
            Some(Ok(varied(tagged(context.method, context.headers, answer, &hash))))
        }
    }
}

/// When what never changes may be asked for again, as HTTP writes times but for upstream's zone.
fn in_a_year() -> String {
    let then = jiff::Timestamp::now().saturating_add(jiff::SignedDuration::from_hours(365 * 24));
    then.unwrap_or(jiff::Timestamp::MAX).strftime("%a, %d %b %Y %H:%M:%S UTC").to_string()
}

/// What documents are written as; that of version 3 is in protobuf upstream too, which nobody asks for alone.
const WRITTEN: &[&str] =
    &["application/json", wire::MEDIA, "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"];

fn varied(mut answer: Answer) -> Answer {
    answer.headers.push((VARY, HeaderValue::from_static("Accept")));
    answer
}

fn wants_protobuf(context: &Context) -> bool {
    let accept = context.headers.get(http::header::ACCEPT).and_then(|value| value.to_str().ok());
    // Older clients write an `@` before the version.
    accept.is_some_and(|accept| accept.starts_with("application/com.github.proto-openapi.spec.v2"))
}

/// What a document changes with: the server, and what is served of the group's version. The same on every server of
/// that version, so that what clients keep is good for all of them.
fn hash_of(
    catalogue: &Catalogue,
    server_version: &str,
    name: &str,
    (group, version): (&str, &str),
) -> String {
    let mut content = format!("{server_version} {name} {group}/{version}");
    for row in catalogue.resources(group, version) {
        let subresources: Vec<_> = row.subresources.iter().map(|known| (&known.name, &known.kind)).collect();
        let published = row.custom.as_ref().map(|custom| custom.published.to_string());
        content.push_str(&format!("{} {} {subresources:?} {published:?}", row.name, row.kind));
    }
    etag::of(content.as_bytes())
}

fn address(name: &str, hash: &str) -> String {
    format!("/openapi/v3/{name}?hash={hash}")
}

/// The index names every document with a hash that changes with it.
fn index(catalogue: &Catalogue, server_version: &str) -> Answer {
    let mut names = vec![("api".to_owned(), ("", "")), ("apis".to_owned(), ("", ""))];
    names.extend(paths::of_server().iter().map(|path| (path.path.trim_matches('/').to_owned(), ("", ""))));
    for group in catalogue.groups() {
        if !group.name.is_empty() && !paths::is_custom(catalogue, group) {
            names.push((format!("apis/{}", group.name), ("", "")));
        }
        for version in &group.versions {
            let name = if group.name.is_empty() {
                format!("api/{version}")
            } else {
                format!("apis/{}/{version}", group.name)
            };
            names.push((name, (&group.name, version)));
        }
    }
    let entries: Map = names
        .into_iter()
        .map(|(name, of)| {
            let hash = hash_of(catalogue, server_version, &name, of);
            (name.clone(), json!({"serverRelativeURL": address(&name, &hash)}))
        })
        .collect();
    // Upstream says text/plain of this one document.
    Answer::text(StatusCode::OK, json!({"paths": entries}).to_string())
}

/// The definition name of a kind: upstream's for built-ins, the reversed group for custom ones.
fn definition(row: &Resource, kind: &str) -> String {
    if !row.is_custom()
        && let Some(name) = apiserver_schema::definition_of(&row.group, &row.version, kind)
    {
        return name.to_owned();
    }
    let reversed: Vec<&str> = row.group.rsplit('.').collect();
    format!("{}.{}.{kind}", reversed.join("."), row.version)
}

fn gvk(row: &Resource, kind: &str) -> Value {
    json!({"group": row.group, "version": row.version, "kind": kind})
}

/// The definition of what patches and watches carry, and of `/version`: no kind of the catalogue.
fn loose_definition(v3: bool, name: &str) -> Option<Value> {
    let text = json!({"type": "string"});
    // Version 3 tells what is there when nothing is said, and puts what it says of a reference around it.
    let always = if v3 { json!({"type": "string", "default": ""}) } else { text.clone() };
    let raw = json!({"$ref": format!("{}{RAW}", render::prefix(v3))});
    let object = if v3 { json!({"allOf": [raw]}) } else { raw };
    Some(match name.strip_prefix("io.k8s.apimachinery.pkg.")? {
        "apis.meta.v1.Patch" => {
            json!({"type": "object", "description": "Patch is provided to give a concrete name and type to the Kubernetes PATCH request body."})
        }
        "apis.meta.v1.WatchEvent" => json!({
            "type": "object",
            "description": "Event represents a single event to a watched resource.",
            "required": ["type", "object"],
            "properties": {"type": always, "object": object},
            "x-kubernetes-group-version-kind": of_all_groups("WatchEvent"),
        }),
        "version.Info" => {
            let names = [
                "major",
                "minor",
                "gitVersion",
                "gitCommit",
                "gitTreeState",
                "buildDate",
                "goVersion",
                "compiler",
                "platform",
            ];
            let optional =
                ["emulationMajor", "emulationMinor", "minCompatibilityMajor", "minCompatibilityMinor"];
            let properties: Map = (names.iter().map(|name| ((*name).to_owned(), always.clone())))
                .chain(optional.iter().map(|name| ((*name).to_owned(), text.clone())))
                .collect();
            json!({
                "type": "object", "description": "What the server is.",
                "required": names, "properties": properties,
            })
        }
        _ => return None,
    })
}

/// A kind in every version of every group.
fn of_all_groups(kind: &str) -> Vec<Value> {
    let versions = apiserver_schema::group_versions().into_iter();
    versions.map(|(group, version)| json!({"group": group, "version": version, "kind": kind})).collect()
}

/// Leaves of what belongs to every group what a document of version 3 is about: the core, and its own group.
fn keep_own_groups(schemas: &mut Map, (group, version): (&str, &str)) {
    for kind in ["DeleteOptions", "WatchEvent"] {
        let name = format!("io.k8s.apimachinery.pkg.apis.meta.v1.{kind}");
        let kinds =
            schemas.get_mut(&name).and_then(|schema| schema.get_mut("x-kubernetes-group-version-kind"));
        if let Some(Value::Array(kinds)) = kinds {
            let is_own = |of: &Value| of["group"] == group && of["version"] == version;
            kinds.retain(|of| of["group"] == "" || is_own(of));
        }
    }
}

const RAW: &str = "io.k8s.apimachinery.pkg.runtime.RawExtension";

/// What the paths speak of.
fn names_in(paths: &[Path]) -> BTreeSet<String> {
    let operations = || paths.iter().flat_map(|path| &path.operations);
    let bodies =
        operations().filter_map(|operation| operation.body.as_ref()).map(|body| body.definition.clone());
    let answers =
        operations().flat_map(|operation| &operation.answers).filter_map(|(_, shape)| match shape {
            Shape::Definition(name) => Some(name.clone()),
            Shape::Text => None,
        });
    bodies.chain(answers).collect()
}

fn info(server_version: &str) -> Value {
    // The documents are of a minor version.
    let minor: Vec<&str> = server_version.trim_start_matches('v').splitn(3, '.').take(2).collect();
    json!({"title": "Kubernetes", "version": minor.join(".")})
}

fn rendered(v3: bool, paths: &[Path]) -> Map {
    paths.iter().map(|path| (path.path.clone(), render::path(v3, path))).collect()
}

/// A document of version 3 with these paths and what they speak of.
fn v3(paths: &[Path], rows: &[Arc<Resource>], of: (&str, &str), server_version: &str) -> Value {
    let mut names = names_in(paths);
    if rows.iter().any(|row| row.is_custom()) {
        let metadata =
            ["ObjectMeta", "ListMeta"].map(|kind| format!("io.k8s.apimachinery.pkg.apis.meta.v1.{kind}"));
        names.extend(metadata);
    }
    let mut schemas: Map =
        names.iter().filter_map(|name| Some((name.clone(), loose_definition(true, name)?))).collect();
    if schemas.values().any(|schema| schema.to_string().contains(RAW)) {
        schemas.insert(RAW.to_owned().into(), json!({"type": "object"}));
    }
    let known = apiserver_schema::openapi_definitions_of(OpenApi::V3, names.iter().map(String::as_str));
    schemas.extend(known.into_iter().map(|(name, schema)| (name.to_owned(), schema)));
    if !rows.iter().any(|row| row.is_custom()) {
        keep_own_groups(&mut schemas, of);
    }
    schemas.extend(custom::definitions(true, rows.iter()));
    // Those of definitions are documents of their own upstream, made by somebody else.
    let is_custom = rows.iter().any(|row| row.is_custom());
    let mut components = if is_custom { json!({}) } else { json!({"securitySchemes": render::security()}) };
    if !schemas.is_empty() {
        components["schemas"] = schemas.into();
    }
    json!({
        "openapi": "3.0.0",
        "info": if is_custom { json!({"title": "Kubernetes CRD Swagger", "version": "v0.1.0"}) } else { info(server_version) },
        "paths": rendered(true, paths),
        "components": components,
    })
}

fn v2(catalogue: &Catalogue, server_version: &str) -> Value {
    let mut definitions: Map = apiserver_schema::openapi_definitions(OpenApi::V2)
        .into_iter()
        .map(|(name, schema)| (name.to_owned(), schema))
        .collect();
    let mut paths = Vec::from(paths::of_server());
    paths.push(paths::of_groups());
    for group in catalogue.groups() {
        paths.extend((!paths::is_custom(catalogue, group)).then(|| paths::of_group(&group.name)));
        for version in &group.versions {
            paths.extend(paths::of_version(catalogue, &group.name, version));
        }
    }
    let versions = catalogue.groups().iter().flat_map(|group| {
        group.versions.iter().flat_map(|version| catalogue.resources(&group.name, version))
    });
    definitions.extend(custom::definitions(false, versions));
    let loose = names_in(&paths);
    definitions.extend(loose.into_iter().filter_map(|name| {
        let schema = loose_definition(false, &name)?;
        Some((name, schema))
    }));
    json!({
        "swagger": "2.0",
        "info": info(server_version),
        "paths": rendered(false, &paths),
        "definitions": definitions,
        "parameters": render::shared_parameters(),
        "securityDefinitions": render::security(),
        "security": [{"BearerToken": []}],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operations(document: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
        let paths = document["paths"].as_object().into_iter().flatten();
        paths.flat_map(|(path, item)| {
            let methods = item.as_object().into_iter().flatten();
            methods
                .filter(|(name, _)| *name != "parameters")
                .map(move |(name, value)| (&**path, &**name, value))
        })
    }

    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
                map.values().for_each(|value| references(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn documents_hold_together() {
        let catalogue = Catalogue::builtin();
        let mut documents = vec![v2(&catalogue, "v1.36.0")];
        for group in catalogue.groups() {
            for version in &group.versions {
                let paths = paths::of_version(&catalogue, &group.name, version);
                documents.push(v3(
                    &paths,
                    catalogue.resources(&group.name, version),
                    (&group.name, version),
                    "v1.36.0",
                ));
            }
        }
        for document in &documents {
            let mut found = BTreeSet::new();
            references(document, &mut found);
            for reference in found {
                assert!(document.pointer(&reference[1..]).is_some(), "{reference}");
            }
            let mut ids = BTreeSet::new();
            for (path, method, operation) in operations(document) {
                assert!(
                    ids.insert(operation["operationId"].as_str()),
                    "{method} {path}: {}",
                    operation["operationId"]
                );
                let own = document["paths"][path]["parameters"].as_array();
                let mut named: Vec<_> = own.into_iter().flatten().filter(|one| one["in"] == "path").collect();
                named.retain(|one| path.contains(&format!("{{{}}}", one["name"].as_str().unwrap_or("?"))));
                assert_eq!(named.len(), path.matches('{').count(), "{path}");
            }
        }
    }

    #[test]
    fn operations_have_upstreams_names() {
        let document = v2(&Catalogue::builtin(), "v1.36.0");
        for (method, path, id, kind) in [
            ("get", "/api/v1/pods", "listCoreV1PodForAllNamespaces", "Pod"),
            ("delete", "/api/v1/namespaces/{namespace}/pods", "deleteCoreV1CollectionNamespacedPod", "Pod"),
            (
                "post",
                "/api/v1/namespaces/{namespace}/pods/{name}/eviction",
                "createCoreV1NamespacedPodEviction",
                "Eviction",
            ),
            (
                "patch",
                "/api/v1/nodes/{name}/proxy/{path}",
                "connectCoreV1PatchNodeProxyWithPath",
                "NodeProxyOptions",
            ),
            (
                "get",
                "/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale",
                "readAppsV1NamespacedDeploymentScale",
                "Scale",
            ),
            (
                "get",
                "/apis/flowcontrol.apiserver.k8s.io/v1/watch/flowschemas",
                "watchFlowcontrolApiserverV1FlowSchemaList",
                "FlowSchema",
            ),
        ] {
            let operation = &document["paths"][path][method];
            assert_eq!(operation["operationId"], id, "{method} {path}");
            assert_eq!(operation["x-kubernetes-group-version-kind"]["kind"], kind, "{method} {path}");
        }
        let media = &document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}/log"]["get"]["produces"];
        assert_eq!(media[0], "text/plain");
        let patch = &document["paths"]["/api/v1/nodes/{name}"]["patch"]["parameters"];
        let names: Vec<_> = patch.as_array().unwrap().iter().filter_map(|one| one["name"].as_str()).collect();
        assert_eq!(names, ["body", "dryRun", "fieldValidation"], "kubectl 1.20 follows no references");
    }
}
