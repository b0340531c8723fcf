//! Draws requests of the published document.

use std::fmt;

use apiserver_json::{Value, json};
use http::Method;
use rand::RngExt;
use rand::rngs::StdRng;

use crate::draw::{NAMES, anything, chance, choose, damage, deepen, of_definition, pick, text};

/// A request as it is sent.
pub(crate) struct Asked {
    pub method: Method,
    pub uri: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Asked {
    pub(crate) fn get(path: &str) -> Self {
        Self { method: Method::GET, uri: path.to_owned(), headers: Vec::new(), body: Vec::new() }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.method, self.uri)?;
        self.headers.iter().try_for_each(|(name, value)| writeln!(f, "{name}: {value}"))?;
        match std::str::from_utf8(&self.body) {
            Ok(text) => write!(f, "\n{}", text.chars().take(6000).collect::<String>()),
            Err(_) => {
                write!(f, "\n{:?}", bytes::Bytes::copy_from_slice(&self.body[..self.body.len().min(3000)]))
            }
        }
    }
}

struct Operation {
    method: Method,
    path: String,
    /// Name and type.
    query: Vec<(String, String)>,
    /// The definition of a body; for patches that of the object.
    body: Option<String>,
}

/// All operations that do no network I/O.
pub(crate) struct Operations {
    all: Vec<Operation>,
    definitions: Value,
}

/// Definitions of two kinds of custom resources, with rules.
pub(crate) fn definitions() -> Vec<Asked> {
    let schema = json!({
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "properties": {
                    "replicas": {"type": "integer", "minimum": 0, "default": 1},
                    "size": {"x-kubernetes-int-or-string": true},
                    "parts": {
                        "type": "array", "maxItems": 10, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                        "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "n": {"type": "number"}}},
                    },
                    "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string", "maxLength": 30}},
                    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                },
                "x-kubernetes-validations": [
                    {"rule": "self.replicas <= 1000", "messageExpression": "'too many: ' + string(self.replicas)"},
                    {"rule": "!has(self.size) || self.size == oldSelf.size"},
                ],
            },
            "status": {"type": "object", "properties": {"replicas": {"type": "integer"}}},
        },
    });
    let definition = |plural: &str, kind: &str, scope: &str| {
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.shop.example.com")},
            "spec": {
                "group": "shop.example.com", "scope": scope,
                "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List")},
                "versions": [
                    {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}, "subresources": {
                        "status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
                    }},
                    {"name": "v1beta1", "served": true, "storage": false, "schema": {"openAPIV3Schema": schema}},
                ],
            },
        })
    };
    [definition("widgets", "Widget", "Namespaced"), definition("zones", "Zone", "Cluster")]
        .into_iter()
        .map(|body| Asked {
            method: Method::POST,
            uri: "/apis/apiextensions.k8s.io/v1/customresourcedefinitions".to_owned(),
            headers: vec![("content-type", "application/json".to_owned())],
            body: body.to_string().into_bytes(),
        })
        .collect()
}

impl Operations {
    pub(crate) fn read(document: &Value) -> Self {
        let mut all = Vec::new();
        for (path, item) in document["paths"].as_object().into_iter().flatten() {
            // Webhooks and aggregated APIs would be called.
            if path.contains("webhookconfigurations") || path.contains("/apiservices") {
                continue;
            }
            let parameters = |of: &Value| -> Vec<Value> {
                let list = of["parameters"].as_array().unwrap_or_default().to_vec();
                let found = |one: Value| match one["$ref"].as_str() {
                    Some(reference) => document.pointer(&reference[1..]).cloned().unwrap_or_default(),
                    None => one,
                };
                list.into_iter().map(found).collect()
            };
            for (method, operation) in
                item.as_object().into_iter().flatten().filter(|(name, _)| *name != "parameters")
            {
                let given = [parameters(item), parameters(operation)].concat();
                let query = given.iter().filter(|one| one["in"] == "query");
                let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
                let body = given.iter().find(|one| one["in"] == "body");
                let object = &operation["responses"]["200"]["schema"]["$ref"];
                let schema =
                    body.map(|body| if method == "patch" { object } else { &body["schema"]["$ref"] });
                all.push(Operation {
                    method: method.to_uppercase().parse().expect("a method"),
                    path: path.to_string(),
                    query: query.map(|one| (text(&one["name"]), text(&one["type"]))).collect(),
                    body: schema.and_then(|schema| schema.as_str()?.rsplit('/').next().map(str::to_owned)),
                });
            }
        }
        Self { all, definitions: document["definitions"].clone() }
    }

    pub(crate) fn draw(&self, rng: &mut StdRng) -> Asked {
        let mut operation = choose(rng, &self.all);
        // Reads are most of the document and find least.
        if operation.body.is_none() && chance(rng, 0.6) {
            operation = choose(rng, &self.all);
        }
        let uri = uri(rng, operation);
        let mut headers = vec![("accept", accept(rng))];
        let mut body = Vec::new();
        if let Some(definition) = &operation.body
            && chance(rng, 0.97)
        {
            let media;
            (media, body) = self.body(rng, operation, definition);
            headers.push(("content-type", media));
        }
        if chance(rng, 0.1) {
            headers.push(("user-agent", pick(rng, &["curl/8", "kubectl/v1.36", "\u{fc}", ""]).to_string()));
        }
        Asked { method: operation.method.clone(), uri, headers, body }
    }

    fn body(&self, rng: &mut StdRng, operation: &Operation, definition: &str) -> (String, Vec<u8>) {
        let mut value = of_definition(rng, &self.definitions, definition, 0);
        // Its webhook would be called.
        if let Some(spec) = value.get_mut("spec").and_then(Value::as_object_mut) {
            spec.remove("conversion");
        }
        let mut media = "application/json";
        if operation.method == Method::PATCH {
            media = pick(
                rng,
                &[
                    "application/merge-patch+json",
                    "application/strategic-merge-patch+json",
                    "application/apply-patch+yaml",
                    "application/json-patch+json",
                ],
            );
            match media {
                "application/json-patch+json" => value = json_patch(rng, &value),
                "application/strategic-merge-patch+json" => directives(rng, &mut value),
                _ => {}
            }
        }
        let mut bytes = deepen(rng, value.to_string());
        if media == "application/json" && chance(rng, 0.2) {
            if let Some(message) = apiserver_schema::to_protobuf(&value) {
                (media, bytes) = ("application/vnd.kubernetes.protobuf", message.to_vec());
            }
        } else if chance(rng, 0.03) {
            media = pick(
                rng,
                &[
                    "application/yaml",
                    "application/json",
                    "text/plain",
                    "application/vnd.kubernetes.protobuf",
                ],
            );
        }
        if chance(rng, 0.12) {
            damage(rng, &mut bytes);
        }
        (media.to_owned(), bytes)
    }
}

fn uri(rng: &mut StdRng, operation: &Operation) -> String {
    let mut path = String::new();
    for (i, part) in operation.path.split('{').enumerate() {
        let (name, rest) = if i == 0 { ("", part) } else { part.split_once('}').unwrap_or((part, "")) };
        path.push_str(&match name {
            "" => String::new(),
            "namespace" if chance(rng, 0.95) => "default".to_owned(),
            "name" if chance(rng, 0.95) => pick(rng, NAMES).to_owned(),
            _ => escaped(&text(rng)),
        });
        path.push_str(rest);
    }
    if chance(rng, 0.02) {
        path = path.replacen(
            '/',
            pick(rng, &["//", "/../", "/%2e%2e/", "/%00", "/%zz", "/./"]),
            rng.random_range(1..4),
        );
    }
    let mut query = Vec::new();
    for (name, kind) in &operation.query {
        let part = if operation.query.len() > 6 { 0.08 } else { 0.2 };
        if chance(rng, part) {
            query.push(format!("{name}={}", escaped(&argument(rng, name, kind))));
        }
    }
    if chance(rng, 0.02) {
        query.push(
            text(rng).chars().filter(|c| c.is_ascii_graphic() && !"\"<>\\^`{|}#".contains(*c)).collect(),
        );
    }
    // No stream is waited for.
    if operation.query.iter().any(|(name, _)| name == "timeoutSeconds") && chance(rng, 0.5) {
        query.push("timeoutSeconds=1".to_owned());
    }
    if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) }
}

fn argument(rng: &mut StdRng, name: &str, kind: &str) -> String {
    const VERSIONS: &[&str] = &["0", "1", "5", "100000", "-1", "x", "18446744073709551616"];
    match (name, kind) {
        _ if chance(rng, 0.1) => text(rng),
        ("resourceVersion", _) => pick(rng, VERSIONS).to_string(),
        ("resourceVersionMatch", _) => pick(rng, &["Exact", "NotOlderThan"]).to_string(),
        ("fieldValidation", _) => pick(rng, &["Strict", "Warn", "Ignore"]).to_string(),
        ("dryRun", _) => "All".to_owned(),
        ("fieldManager", _) => pick(rng, &["me", "you"]).to_string(),
        ("propagationPolicy", _) => pick(rng, &["Orphan", "Background", "Foreground"]).to_string(),
        ("labelSelector", _) => {
            pick(rng, &["app=web", "app in (web,x),!y", "app>3", "a", "=", "app!=web"]).to_string()
        }
        ("fieldSelector", _) => pick(
            rng,
            &[
                "metadata.name=a",
                "metadata.namespace!=x",
                "status.phase=Running",
                "spec.x=1",
                "metadata.name",
            ],
        )
        .to_string(),
        (_, "boolean") => pick(rng, &["true", "false", "1", "x"]).to_string(),
        (_, "integer") => pick(rng, &["0", "1", "2", "-1", "99999999999", "x"]).to_string(),
        _ => text(rng),
    }
}

fn escaped(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    text.bytes()
        .map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn accept(rng: &mut StdRng) -> String {
    pick(rng, &[
        "application/json",
        "application/vnd.kubernetes.protobuf,application/json",
        "application/vnd.kubernetes.protobuf",
        "application/yaml",
        "*/*",
        "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
        "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json",
        "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,*/*",
        "text/html",
    ])
    .to_string()
}

/// Paths of a value, as a JSON patch names them.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(map) => map.iter().for_each(|(name, value)| {
            pointers(value, &format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), found);
        }),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(i, value)| pointers(value, &format!("{at}/{i}"), found))
        }
        _ => {}
    }
}

fn json_patch(rng: &mut StdRng, object: &Value) -> Value {
    let mut known = Vec::new();
    pointers(object, "", &mut known);
    known.extend(
        ["/metadata/labels", "/metadata/labels/x", "/spec/-", "/metadata/finalizers/-"].map(str::to_owned),
    );
    let count = rng.random_range(0..4);
    let mut one = || {
        let path = choose(rng, &known).clone();
        let value =
            object.pointer(&path).cloned().filter(|_| chance(rng, 0.7)).unwrap_or_else(|| anything(rng, 2));
        let op = pick(rng, &["add", "remove", "replace", "move", "copy", "test", "nope"]);
        json!({"op": op, "path": path, "from": choose(rng, &known), "value": value})
    };
    (0..count).map(|_| one()).collect()
}

/// Members that strategic merge patches read.
fn directives(rng: &mut StdRng, value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(|value| directives(rng, value));
            if chance(rng, 0.1) {
                let directive = pick(
                    rng,
                    &[
                        "$patch",
                        "$retainKeys",
                        "$setElementOrder/containers",
                        "$deleteFromPrimitiveList/finalizers",
                    ],
                );
                let said = if chance(rng, 0.7) {
                    json!(pick(rng, &["delete", "replace", "merge"]))
                } else {
                    anything(rng, 2)
                };
                map.insert(directive.to_owned().into(), said);
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|value| directives(rng, value)),
        _ => {}
    }
}
