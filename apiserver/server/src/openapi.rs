//! `/openapi/v2` and `/openapi/v3`: the shapes of the catalogue's kinds, and the paths they are served at.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use apiserver_meta::Status;
use apiserver_registry::{Catalogue, Resource};
use apiserver_schema::OpenApi;
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::dispatch::{Answer, Context, page_not_found};
use crate::openapi_wire;

/// The identity of a catalogue, and its documents with their hashes.
type Made = (usize, HashMap<String, (Bytes, String)>);

/// Documents made once and kept until the catalogue changes.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    made: Mutex<Made>,
}

impl Documents {
    fn get<B: Into<Bytes>>(
        &self,
        catalogue: &Arc<Catalogue>,
        name: &str,
        make: impl FnOnce() -> B,
    ) -> (Bytes, String) {
        let identity = Arc::as_ptr(catalogue) as usize;
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.0 != identity {
            *made = (identity, HashMap::new());
        }
        if let Some(found) = made.1.get(name) {
            return found.clone();
        }
        let bytes: Bytes = make().into();
        let digest = ring::digest::digest(&ring::digest::SHA512, &bytes);
        let hash: String = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        made.1.insert(name.to_owned(), (bytes.clone(), hash.clone()));
        (bytes, hash)
    }
}

/// The answer to an OpenAPI path; `None` for other paths.
pub(crate) fn answer(context: &Context, catalogue: &Arc<Catalogue>) -> Option<Result<Answer, Status>> {
    let documents = &context.server.inner.openapi;
    match context.info.path.trim_end_matches('/') {
        "/openapi/v2" => {
            let make = || v2(catalogue, &context.server.inner.config.version);
            // kubectl asks for nothing but protobuf.
            if wants_protobuf(context) {
                let (bytes, hash) = documents.get(catalogue, "v2.pb", || openapi_wire::encode(&make()));
                return Some(Ok(with_etag(Answer::of(StatusCode::OK, openapi_wire::MEDIA, bytes), &hash)));
            }
            let (bytes, hash) = documents.get(catalogue, "v2", || make().to_string());
            Some(Ok(with_etag(Answer::json(StatusCode::OK, bytes), &hash)))
        }
        "/openapi/v3" => Some(Ok(index(catalogue))),
        path => {
            let name = path.strip_prefix("/openapi/v3/")?;
            if name == "version" {
                return Some(Ok(Answer::json(
                    StatusCode::OK,
                    version_document(&context.server.inner.config.version).to_string(),
                )));
            }
            let (group, version) = match name.split('/').collect::<Vec<_>>().as_slice() {
                ["api", version] => (String::new(), (*version).to_owned()),
                ["apis", group, version] => ((*group).to_owned(), (*version).to_owned()),
                _ => return Some(Err(page_not_found())),
            };
            if catalogue.resources(&group, &version).is_empty() {
                return Some(Err(page_not_found()));
            }
            let (bytes, hash) = documents.get(catalogue, name, || {
                v3(catalogue, &group, &version, &context.server.inner.config.version).to_string()
            });
            Some(Ok(with_etag(Answer::json(StatusCode::OK, bytes), &hash)))
        }
    }
}

fn wants_protobuf(context: &Context) -> bool {
    let accept = context.headers.get(http::header::ACCEPT).and_then(|value| value.to_str().ok());
    // Older clients write an `@` before the version.
    accept.is_some_and(|accept| accept.starts_with("application/com.github.proto-openapi.spec.v2"))
}

fn with_etag(mut answer: Answer, hash: &str) -> Answer {
    if let Ok(value) = format!("\"{hash}\"").parse() {
        answer.headers.push((http::header::ETAG, value));
    }
    answer
}

/// The document of `/version`.
fn version_document(server_version: &str) -> Value {
    let text = json!({"type": "string", "default": ""});
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
    let properties: Map<String, Value> =
        names.iter().map(|name| ((*name).to_owned(), text.clone())).collect();
    let reference = json!({"$ref": "#/components/schemas/io.k8s.apimachinery.pkg.version.Info"});
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": server_version},
        "paths": {"/version/": {"get": {"operationId": "getCodeVersion", "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": reference}}}}}}},
        "components": {"schemas": {"io.k8s.apimachinery.pkg.version.Info": {"type": "object", "required": names, "properties": properties}}},
    })
}

/// The index names every group version with a hash that changes with the document.
fn index(catalogue: &Catalogue) -> Answer {
    let mut paths = Map::new();
    for group in catalogue.groups() {
        for version in &group.versions {
            let name = if group.name.is_empty() {
                format!("api/{version}")
            } else {
                format!("apis/{}/{version}", group.name)
            };
            let rows = catalogue.resources(&group.name, version);
            let shape = format!(
                "{:?}",
                rows.iter().map(|row| (Arc::as_ptr(row), row.kind.as_str())).collect::<Vec<_>>()
            );
            let digest = ring::digest::digest(&ring::digest::SHA256, shape.as_bytes());
            let hash: String = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
            paths.insert(
                name.clone(),
                json!({"serverRelativeURL": format!("/openapi/v3/{name}?hash={hash}")}),
            );
        }
    }
    let version = json!({"serverRelativeURL": "/openapi/v3/version?hash=0"});
    paths.insert("version".to_owned(), version);
    // Upstream says text/plain of this one document.
    Answer::text(StatusCode::OK, json!({"paths": paths}).to_string())
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

/// The schema a custom resource is published with, and that of its list.
fn custom_definitions(row: &Resource, prefix: &str) -> Vec<(String, Value)> {
    let Some(custom) = &row.custom else { return Vec::new() };
    let metadata =
        |name: &str| json!({"$ref": format!("{prefix}io.k8s.apimachinery.pkg.apis.meta.v1.{name}")});
    let mut schema = custom.published.clone();
    if !schema.is_object() {
        schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    }
    if schema.get("properties").is_none() {
        schema["properties"] = json!({});
    }
    schema["properties"]["apiVersion"] = json!({"type": "string"});
    schema["properties"]["kind"] = json!({"type": "string"});
    schema["properties"]["metadata"] = metadata("ObjectMeta");
    schema["x-kubernetes-group-version-kind"] = json!([gvk(row, &row.kind)]);
    let name = definition(row, &row.kind);
    let list = json!({
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": metadata("ListMeta"),
            "items": {"type": "array", "items": {"$ref": format!("{prefix}{name}")}},
        },
        "x-kubernetes-group-version-kind": [gvk(row, &row.list_kind)],
    });
    vec![(name, schema), (definition(row, &row.list_kind), list)]
}

fn base_path(row: &Resource) -> String {
    let root = if row.group.is_empty() {
        format!("/api/{}", row.version)
    } else {
        format!("/apis/{}/{}", row.group, row.version)
    };
    if row.namespaced {
        format!("{root}/namespaces/{{namespace}}/{}", row.name)
    } else {
        format!("{root}/{}", row.name)
    }
}

/// The operations of a row. Only what clients read: the verbs, their kind, and the media of patches.
fn operations(row: &Resource, reference: &dyn Fn(&str) -> Value, v3: bool) -> Vec<(String, Value)> {
    let object = definition(row, &row.kind);
    let list = definition(row, &row.list_kind);
    let operation = |verb: &str, method: &str, definition: &str, kind: &str| {
        let response = if v3 {
            json!({"description": "OK", "content": {"application/json": {"schema": reference(definition)}}})
        } else {
            json!({"description": "OK", "schema": reference(definition)})
        };
        let mut operation = json!({
            "operationId": format!("{verb}{}{}", row.group.replace(['.', '-'], ""), kind),
            "responses": {"200": response, "401": {"description": "Unauthorized"}},
            "x-kubernetes-action": verb,
            "x-kubernetes-group-version-kind": gvk(row, kind),
        });
        let takes_options = matches!(method, "post" | "put" | "patch" | "delete");
        let mut parameters = Vec::new();
        if takes_options {
            let names: &[&str] =
                if method == "delete" { &["dryRun"] } else { &["dryRun", "fieldManager", "fieldValidation"] };
            for name in names {
                parameters.push(if v3 {
                    json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}})
                } else {
                    json!({"name": name, "in": "query", "type": "string", "uniqueItems": true})
                });
            }
        }
        if v3 && matches!(method, "post" | "put") {
            operation["requestBody"] =
                json!({"content": {"*/*": {"schema": reference(definition)}}, "required": true});
        } else if !v3 && matches!(method, "post" | "put") {
            parameters.push(
                json!({"name": "body", "in": "body", "required": true, "schema": reference(definition)}),
            );
        }
        if !parameters.is_empty() {
            operation["parameters"] = parameters.into();
        }
        operation
    };
    let mut collection = Map::new();
    let mut single = Map::new();
    for (verb, method, action, on_list) in [
        ("list", "get", "list", true),
        ("create", "post", "post", false),
        ("deletecollection", "delete", "deletecollection", true),
    ] {
        if row.has_verb(verb) {
            let (definition, kind) = if verb == "list" { (&list, &row.kind) } else { (&object, &row.kind) };
            collection.insert(method.into(), operation(action, method, definition, kind));
        }
        let _ = on_list;
    }
    for (verb, method, action) in [
        ("get", "get", "get"),
        ("update", "put", "put"),
        ("patch", "patch", "patch"),
        ("delete", "delete", "delete"),
    ] {
        if row.has_verb(verb) {
            single.insert(method.into(), operation(action, method, &object, &row.kind));
        }
    }
    let base = base_path(row);
    let mut paths =
        vec![(base.clone(), Value::Object(collection)), (format!("{base}/{{name}}"), Value::Object(single))];
    for subresource in &row.subresources {
        let mut methods = Map::new();
        for (verb, method) in [("get", "get"), ("update", "put"), ("patch", "patch"), ("create", "post")] {
            if subresource.verbs.iter().any(|known| known == verb) {
                methods.insert(method.into(), operation(verb, method, &object, &row.kind));
            }
        }
        paths.push((format!("{base}/{{name}}/{}", subresource.name), Value::Object(methods)));
    }
    paths
}

fn v3(catalogue: &Catalogue, group: &str, version: &str, server_version: &str) -> Value {
    const PREFIX: &str = "#/components/schemas/";
    let rows = catalogue.resources(group, version);
    let reference = |name: &str| json!({"$ref": format!("{PREFIX}{name}")});
    let mut schemas: Map<String, Value> = Map::new();
    let custom = rows.iter().any(|row| row.is_custom());
    let definitions = if custom {
        apiserver_schema::openapi_group_definitions(OpenApi::V3, "", "v1")
            .into_iter()
            .filter(|(name, _)| name.starts_with("io.k8s.apimachinery."))
            .collect()
    } else {
        apiserver_schema::openapi_group_definitions(OpenApi::V3, group, version)
    };
    schemas.extend(definitions.into_iter().map(|(name, schema)| (name.to_owned(), schema)));
    let mut paths = Map::new();
    for row in rows {
        schemas.extend(custom_definitions(row, PREFIX));
        paths.extend(operations(row, &reference, true));
    }
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": server_version},
        "paths": paths,
        "components": {"schemas": schemas},
    })
}

fn v2(catalogue: &Catalogue, server_version: &str) -> Value {
    const PREFIX: &str = "#/definitions/";
    let reference = |name: &str| json!({"$ref": format!("{PREFIX}{name}")});
    let mut definitions: Map<String, Value> = apiserver_schema::openapi_definitions(OpenApi::V2)
        .into_iter()
        .map(|(name, schema)| (name.to_owned(), schema))
        .collect();
    let mut paths = Map::new();
    for group in catalogue.groups() {
        for version in &group.versions {
            for row in catalogue.resources(&group.name, version) {
                definitions.extend(custom_definitions(row, PREFIX));
                paths.extend(operations(row, &reference, false));
            }
        }
    }
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": server_version},
        "paths": paths,
        "definitions": definitions,
    })
}
