//! Draws values: what a definition says, now and then something else, and damage.

use apiserver_json::{Map, Value, json};
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// Deeper than this, objects are empty.
const DEPTH: usize = 7;

pub(crate) fn chance(rng: &mut StdRng, part: f64) -> bool {
    rng.random_bool(part)
}

pub(crate) fn choose<'a, T>(rng: &mut StdRng, from: &'a [T]) -> &'a T {
    from.choose(rng).expect("something to choose from")
}

pub(crate) fn pick<T: Copy>(rng: &mut StdRng, from: &[T]) -> T {
    *choose(rng, from)
}

/// Stands for something that is nested deeper than a [`Value`] can be, see [`deepen`].
const DEEP: &str = "@deep@";

/// Puts what is nested in its place.
pub(crate) fn deepen(rng: &mut StdRng, json: String) -> Vec<u8> {
    if !json.contains(DEEP) {
        return json.into_bytes();
    }
    let (open, close) = pick(rng, &[("[", "]"), ("{\"a\":", "}")]);
    let depth = pick(rng, &[90, 200, 9_000, 11_000, 200_000]);
    let nested = format!("{}1{}", open.repeat(depth), close.repeat(depth));
    json.replace(&format!("\"{DEEP}\""), &nested).into_bytes()
}

/// Few, so that requests meet.
pub(crate) const NAMES: &[&str] = &["a", "b", "c-1", "default", "kubernetes", "widgets.shop.example.com"];

const TEXTS: &[&str] = &[
    "",
    "a",
    "A",
    "-",
    ".",
    "a.b/c",
    "a/b/c",
    "*",
    "0",
    "-1",
    "1.5",
    "1e3",
    "10Mi",
    "-5m",
    "999999999999999999999",
    "1e400",
    "TCP",
    "UDP",
    "Always",
    "Never",
    "OnFailure",
    "Allow",
    "Deny",
    "Delete",
    "Retain",
    "ClusterIP",
    "NodePort",
    "None",
    "In",
    "NotIn",
    "Exists",
    "DoesNotExist",
    "NoSchedule",
    "RollingUpdate",
    "Recreate",
    "10.96.0.1",
    "10.96.0.9",
    "::1",
    "fd00::1/64",
    "10.0.0.0/8",
    "256.1.1.1",
    "2026-01-01T00:00:00Z",
    "2026-13-41T00:00:00Z",
    "5m0s",
    "*/5 * * * *",
    "@hourly",
    "0 0 31 2 *",
    "Europe/Berlin",
    "app=web",
    "a in (b,c)",
    "!a,b notin (c)",
    "a==",
    "(((",
    "metadata.name=a",
    "{}",
    "[]",
    "null",
    "\u{0}",
    "\u{7f}",
    "ü",
    "日本",
    "\u{202e}",
    "😀",
    "a\nb",
    "self",
    "self.a == oldSelf.a",
    "object.spec.x > 1 && has(object.y)",
    "[1,2].map(x, x * x).exists(y, y == 4)",
    "'a'.matches('(a+)+$')",
    "duration('1h') + timestamp('2026-01-01T00:00:00Z')",
    "size(self) < 10",
    "cel.bind(x, 1, x + 1)",
    "{}.a.b.c",
    "1/0",
    "optional.of(1)",
    "quantity('1Mi').add(1)",
    "kubernetes.io/dockerconfigjson",
    "kubernetes.io/tls",
    "bm90IGpzb24=",
    "not base64!",
    "https://example.com",
    "apps/v1",
    "v1",
    "Pod",
    "ConfigMap",
    "pods",
    "deployments",
    "widgets",
    "get",
    "list",
    "create",
    "system:masters",
    "RSA-SHA256",
    "/a/~1b",
    "/-",
];

pub(crate) fn text(rng: &mut StdRng) -> String {
    match rng.random_range(0..20) {
        0 => "x".repeat(rng.random_range(50..70)),
        1 => "x".repeat(rng.random_range(240..300)),
        2 => "abc.".repeat(70),
        3..=6 => pick(rng, NAMES).to_owned(),
        7 => pick(rng, TEXTS).chars().chain(pick(rng, TEXTS).chars()).collect(),
        _ => pick(rng, TEXTS).to_owned(),
    }
}

fn integer(rng: &mut StdRng) -> Value {
    const EDGES: &[i64] = &[
        0,
        1,
        2,
        3,
        80,
        443,
        8080,
        30000,
        32767,
        65535,
        65536,
        -1,
        -2,
        100,
        101,
        1000,
        i32::MAX as i64,
        i32::MIN as i64,
        i32::MAX as i64 + 1,
        i64::MAX,
        i64::MIN,
        253402300800,
    ];
    json!(pick(rng, EDGES))
}

/// Anything at all.
pub(crate) fn anything(rng: &mut StdRng, depth: usize) -> Value {
    match rng.random_range(0..9) {
        0 => Value::Null,
        1 => json!(chance(rng, 0.5)),
        2 => integer(rng),
        3 => json!(pick(rng, &[0.5, -0.0, 1e300, -1e-300, 3.0])),
        4 if depth > 0 => (0..rng.random_range(0..3)).map(|_| anything(rng, depth - 1)).collect(),
        5 if depth > 0 => {
            let mut map = Map::new();
            (0..rng.random_range(0..3)).for_each(|_| {
                map.insert(text(rng).into(), anything(rng, depth - 1));
            });
            Value::Object(map)
        }
        6 if chance(rng, 0.05) => json!(DEEP),
        _ => json!(text(rng)),
    }
}

/// A value of a schema, mostly.
pub(crate) fn of_schema(rng: &mut StdRng, definitions: &Value, schema: &Value, depth: usize) -> Value {
    if chance(rng, 0.01) {
        return anything(rng, 3);
    }
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or("");
        return of_definition(rng, definitions, name, depth);
    }
    if let Some(allowed) = schema["enum"].as_array().filter(|_| chance(rng, 0.9)) {
        return choose(rng, allowed).clone();
    }
    match schema["type"].as_str() {
        Some("string") if schema["format"] == "int-or-string" && chance(rng, 0.5) => integer(rng),
        Some("string") if schema["format"] == "byte" && chance(rng, 0.7) => json!("YWJj"),
        Some("string") if schema["format"] == "date-time" && chance(rng, 0.8) => {
            json!("2026-01-01T00:00:00Z")
        }
        Some("string") => json!(text(rng)),
        Some("boolean") => json!(chance(rng, 0.5)),
        Some("integer" | "number") => integer(rng),
        Some("array") => {
            let count = if depth > DEPTH { 0 } else { rng.random_range(0..3) };
            (0..count).map(|_| of_schema(rng, definitions, &schema["items"], depth + 1)).collect()
        }
        Some("object") if schema["properties"].is_object() => object(rng, definitions, schema, depth),
        Some("object") if schema["additionalProperties"].is_object() => {
            let count = if depth > DEPTH { 0 } else { rng.random_range(0..3) };
            let one = |rng: &mut StdRng| {
                (text(rng), of_schema(rng, definitions, &schema["additionalProperties"], depth + 1))
            };
            Value::Object((0..count).map(|_| one(rng)).collect())
        }
        _ => anything(rng, 3),
    }
}

fn object(rng: &mut StdRng, definitions: &Value, schema: &Value, depth: usize) -> Value {
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut map = Map::new();
    // Few members of a big object: one that is right everywhere is rare enough.
    let properties = schema["properties"].as_object().into_iter().flatten();
    let count = schema["properties"].as_object().map_or(1, Map::len).max(1);
    let part = if depth > DEPTH { 0.0 } else { (2.5 / count as f64).min(0.6) };
    for (name, property) in properties {
        let wanted = required.contains(&name.as_str()) || name == "spec" && chance(rng, 0.9);
        if if wanted { chance(rng, 0.97) } else { chance(rng, part) } {
            map.insert(name.clone(), of_schema(rng, definitions, property, depth + 1));
        }
    }
    if chance(rng, 0.01) {
        map.insert(text(rng).into(), anything(rng, 2));
    }
    Value::Object(map)
}

/// A value of a definition, with the kind and the metadata that let it through the door.
pub(crate) fn of_definition(rng: &mut StdRng, definitions: &Value, name: &str, depth: usize) -> Value {
    let schema = &definitions[name];
    if name.ends_with(".ObjectMeta") && chance(rng, 0.8) {
        let mut meta = json!({"name": pick(rng, NAMES)});
        if chance(rng, 0.3) {
            meta["labels"] = json!({"app": "web", "tier": text(rng)});
        }
        if chance(rng, 0.2) {
            for (name, value) in object(rng, definitions, schema, depth).as_object().into_iter().flatten() {
                meta[name] = value.clone();
            }
        }
        return meta;
    }
    let mut value = of_schema(rng, definitions, schema, depth);
    if let (Some(map), Some(kinds)) =
        (value.as_object_mut(), schema["x-kubernetes-group-version-kind"].as_array().filter(|_| depth == 0))
    {
        let kind = &kinds[0];
        let (group, version) = (kind["group"].as_str().unwrap_or(""), kind["version"].as_str().unwrap_or(""));
        let api = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        if chance(rng, 0.97) {
            map.insert("apiVersion".into(), api.into());
            map.insert("kind".into(), kind["kind"].clone());
        }
    }
    value
}

/// Some bytes changed, cut, doubled or put elsewhere.
pub(crate) fn damage(rng: &mut StdRng, bytes: &mut Vec<u8>) {
    for _ in 0..rng.random_range(1..6) {
        let at = rng.random_range(0..=bytes.len());
        let rest = bytes.len() - at;
        match rng.random_range(0..6) {
            0 if rest > 0 => bytes[at] ^= 1 << rng.random_range(0..8),
            1 => bytes.truncate(at),
            2 => bytes.insert(at, rng.random()),
            3 if rest > 0 => {
                let part = bytes[at..at + rng.random_range(0..=rest.min(40))].to_vec();
                let to = rng.random_range(0..=bytes.len());
                bytes.splice(to..to, part);
            }
            4 if rest > 0 => drop(bytes.drain(at..at + rng.random_range(0..=rest.min(20)))),
            5 if rest > 0 => bytes[at] = pick(rng, b"\"{}[],:\\0-e\x00\xff\x80\x7f"),
            _ => {}
        }
    }
}
