//! Writes operations as either version of OpenAPI has them. What all operations of a path take is said once, at the path,
//! as upstream does.

use apiserver_json::{Map, Value, json};

use super::parameters;
use super::paths::{Operation, Path, Shape};

/// Where definitions are, by version.
pub(super) fn prefix(v3: bool) -> &'static str {
    if v3 { "#/components/schemas/" } else { "#/definitions/" }
}

fn reference(v3: bool, definition: &str) -> Value {
    json!({"$ref": format!("{}{definition}", prefix(v3))})
}

fn schema(v3: bool, shape: &Shape) -> Value {
    match shape {
        Shape::Definition(name) => reference(v3, name),
        Shape::Text => json!({"type": "string"}),
    }
}

fn phrase(code: u16) -> &'static str {
    match code {
        201 => "Created",
        202 => "Accepted",
        _ => "OK",
    }
}

/// What older kubectls look for in operations, without following references.
const IN_PLACE: &[&str] = &["dryRun", "fieldValidation"];

/// A query parameter; version 2 refers to the one in the document.
fn query(v3: bool, name: &str) -> Option<Value> {
    if v3 || IN_PLACE.contains(&name) {
        return parameters::query(v3, name);
    }
    Some(json!({"$ref": format!("#/parameters/{name}")}))
}

/// A path with its methods.
pub(super) fn path(v3: bool, path: &Path) -> Value {
    let common = |name: &&&str| path.operations.iter().all(|operation| operation.query.contains(name));
    let first = path.operations.first();
    let shared: Vec<&str> =
        first.into_iter().flat_map(|operation| operation.query.iter().filter(common)).copied().collect();
    let named = path.path.split('{').skip(1).filter_map(|part| part.split('}').next());
    let mut own: Vec<(&str, Value)> =
        named.map(|name| (name, parameters::of_path(v3, name, &path.kind))).collect();
    own.extend(shared.iter().filter_map(|name| Some((*name, query(v3, name)?))));
    // Of two of a name the one in the path is first.
    own.sort_by_key(|(name, _)| *name);
    let mut out = Map::new();
    for operation in &path.operations {
        out.insert(operation.method.to_owned().into(), method(v3, operation, &shared));
    }
    if !own.is_empty() {
        out.insert("parameters".into(), own.into_iter().map(|(_, value)| value).collect());
    }
    Value::Object(out)
}

fn method(v3: bool, operation: &Operation, shared: &[&str]) -> Value {
    let answers: Map = operation
        .answers
        .iter()
        .map(|(code, shape)| (code.to_string(), answer(v3, *code, shape, operation)))
        .chain([("401".to_owned(), json!({"description": "Unauthorized"}))])
        .collect();
    let mut out = json!({
        "operationId": operation.id,
        "description": operation.description,
        "tags": [operation.tag],
        "responses": answers,
    });
    let mut names: Vec<&str> =
        operation.query.iter().filter(|name| !shared.contains(name)).copied().collect();
    names.sort_unstable();
    let mut given: Vec<Value> = names.into_iter().filter_map(|name| query(v3, name)).collect();
    if let Some(body) = &operation.body {
        let schema = reference(v3, &body.definition);
        if v3 {
            let content: Map = operation
                .consumes
                .iter()
                .map(|media| ((*media).to_owned(), json!({"schema": schema})))
                .collect();
            out["requestBody"] = json!({"content": content});
            if body.required {
                out["requestBody"]["required"] = true.into();
            }
        } else {
            let mut parameter = json!({"name": "body", "in": "body", "schema": schema});
            if body.required {
                parameter["required"] = true.into();
            }
            given.insert(0, parameter);
        }
    }
    if !given.is_empty() {
        out["parameters"] = given.into();
    }
    if !v3 {
        out["schemes"] = json!(["https"]);
        out["produces"] = json!(operation.produces);
        if !operation.consumes.is_empty() {
            out["consumes"] = json!(operation.consumes);
        }
    }
    if let Some((action, [group, version, kind])) = &operation.action {
        out["x-kubernetes-action"] = (*action).into();
        out["x-kubernetes-group-version-kind"] = json!({"group": group, "version": version, "kind": kind});
    }
    out
}

fn answer(v3: bool, code: u16, shape: &Shape, operation: &Operation) -> Value {
    let schema = schema(v3, shape);
    if !v3 {
        return json!({"description": phrase(code), "schema": schema});
    }
    let content: Map =
        operation.produces.iter().map(|media| ((*media).to_owned(), json!({"schema": schema}))).collect();
    json!({"description": phrase(code), "content": content})
}

/// The query parameters that version 2 refers to.
pub(super) fn shared_parameters() -> Map {
    let shared = parameters::names().filter(|name| !IN_PLACE.contains(name));
    shared.filter_map(|name| Some((name.to_owned(), parameters::query(false, name)?))).collect()
}

/// How clients say who they are.
pub(super) fn security() -> Value {
    json!({"BearerToken": {
        "type": "apiKey", "name": "authorization", "in": "header", "description": "Bearer Token authentication",
    }})
}
