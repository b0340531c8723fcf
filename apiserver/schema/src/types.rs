//! The built-in kinds, from two tables of facts: Go field tags (`go-types.tsv`) and list types (`list-types.tsv`).
//!
//! `go-types.tsv` has a line `= group version kind definition` for each kind and a block `# definition` with a
//! line `name type omit patchStrategy patchMergeKey` for each field. In a type `*T` is a pointer, `[]T` a list,
//! `map[K]T` a map, `{D}` a struct and `Name(T)` a named Go type; `o` in the omit column is omitempty, `z` omitzero.
//! A type is built when it is first asked for and then shared. Descriptions are not here: see `openapi`.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use apiserver_json::{Value, json};

use crate::node::{Field, List, ListKind, Object, Patch, Schema, Shape, Slot};

const GO_TYPES: &str = include_str!("../data/go-types.tsv");
const LIST_TYPES: &str = include_str!("../data/list-types.tsv");

/// The schema of a built-in kind, or of a kind every group serves (`DeleteOptions`, `Status`, …).
pub fn builtin(group: &str, version: &str, kind: &str) -> Option<Arc<Schema>> {
    Some(named(definition_of(group, version, kind)?))
}

/// The OpenAPI definition name of a built-in kind.
pub fn definition_of(group: &str, version: &str, kind: &str) -> Option<&'static str> {
    let kinds = &index().kinds;
    let own = kinds.get(&(group, version, kind));
    own.or_else(|| kinds.get(&("", "v1", kind)).filter(|name| name.contains(".meta.v1."))).copied()
}

/// The name itself, if a definition has it.
pub(crate) fn definition_name(name: &str) -> Option<&'static str> {
    index().blocks.get_key_value(name).map(|(known, _)| *known)
}

/// All built-in kinds: group, version, kind and definition name.
pub fn kinds() -> impl Iterator<Item = (&'static str, &'static str, &'static str, &'static str)> {
    index().kinds.iter().map(|((group, version, kind), name)| (*group, *version, *kind, *name))
}

/// Rows of the list-type table for a definition: field, patch strategy, merge key, list type, keys, map type.
pub(crate) fn list_facts(name: &str) -> &'static [[&'static str; 6]] {
    index().lists.get(name).map_or(&[], Vec::as_slice)
}

/// The node of a definition name; an unknown name accepts anything.
pub(crate) fn named(name: &'static str) -> Arc<Schema> {
    static TYPES: OnceLock<RwLock<HashMap<&'static str, Arc<Schema>>>> = OnceLock::new();
    let types = TYPES.get_or_init(Default::default);
    if let Some(found) = types.read().unwrap_or_else(PoisonError::into_inner).get(name) {
        return found.clone();
    }
    let built = Arc::new(build(name));
    types.write().unwrap_or_else(PoisonError::into_inner).entry(name).or_insert(built).clone()
}

struct Index {
    kinds: BTreeMap<(&'static str, &'static str, &'static str), &'static str>,
    blocks: HashMap<&'static str, &'static str>,
    lists: HashMap<&'static str, Vec<[&'static str; 6]>>,
}

fn index() -> &'static Index {
    static INDEX: OnceLock<Index> = OnceLock::new();
    INDEX.get_or_init(|| {
        let mut parts = GO_TYPES.split("#\t");
        let mut kinds = BTreeMap::new();
        for line in parts.next().unwrap_or_default().lines() {
            let columns = columns::<5>(line);
            kinds.insert((columns[1], columns[2], columns[3]), columns[4]);
        }
        let blocks = parts.map(|block| block.split_once('\n').unwrap_or((block, ""))).collect();
        let mut lists: HashMap<_, Vec<_>> = HashMap::new();
        for line in LIST_TYPES.lines().skip(1) {
            let row = columns::<7>(line);
            lists.entry(row[0]).or_default().push([row[1], row[2], row[3], row[4], row[5], row[6]]);
        }
        Index { kinds, blocks, lists }
    })
}

fn columns<const N: usize>(line: &'static str) -> [&'static str; N] {
    let mut out = [""; N];
    for (slot, text) in out.iter_mut().zip(line.split('\t')) {
        *slot = text;
    }
    out
}

fn build(name: &'static str) -> Schema {
    let mut schema = Schema::new(leaf(name).unwrap_or_else(|| Shape::Object(object(name))));
    schema.go_type = short(name).into();
    schema.definition = Some(name);
    schema
}

/// Types with a JSON form of their own.
fn leaf(name: &str) -> Option<Shape> {
    Some(match name {
        "io.k8s.apimachinery.pkg.api.resource.Quantity" => Shape::Quantity,
        "io.k8s.apimachinery.pkg.util.intstr.IntOrString" => Shape::IntOrString,
        "io.k8s.apimachinery.pkg.apis.meta.v1.Time" => Shape::Time,
        "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime" => Shape::MicroTime,
        "io.k8s.apimachinery.pkg.apis.meta.v1.Duration" => Shape::Duration,
        "io.k8s.apimachinery.pkg.runtime.RawExtension" | "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1" => {
            Shape::Raw
        }
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON" => Shape::Any { deduced: false },
        _ if name.contains(".v1.JSONSchemaPropsOr") => Shape::SchemaOr,
        _ => return None,
    })
}

fn object(name: &'static str) -> Object {
    let index = index();
    let rows = list_facts(name);
    let atomic = rows.iter().any(|row| row[0] == "(type)" && row[5].contains("atomic"));
    let mut fields = BTreeMap::new();
    for (place, line) in index.blocks.get(name).copied().unwrap_or_default().lines().enumerate() {
        let [json_name, go_type, omit, strategy, merge_key] = columns::<5>(line);
        let facts = rows.iter().find(|row| row[0] == json_name);
        let field = field(name, json_name, go_type, omit, (strategy, merge_key), facts);
        fields.insert(json_name.into(), Field { place, ..field });
    }
    let known = index.blocks.contains_key(name);
    let additional = (!known).then(|| Slot::shared(Schema::any()));
    Object { fields: fields.into(), additional, atomic, go_struct: known, ..Object::default() }
}

fn field(
    owner: &str,
    name: &str,
    go_type: &'static str,
    omit: &str,
    (strategy, merge_key): (&str, &'static str),
    facts: Option<&[&'static str; 6]>,
) -> Field {
    let (pointer, base) = match go_type.strip_prefix('*') {
        Some(base) => (true, base),
        None => (false, go_type),
    };
    let omit_empty = omit.contains('o');
    let key_default = match (owner.rsplit('.').next(), name) {
        (Some("ServicePort" | "ContainerPort"), "protocol") if owner.starts_with("io.k8s.api.core.") => {
            Some(json!("TCP"))
        }
        (Some("LocalObjectReference"), "name") => Some(json!("")),
        _ if pointer || omit_empty => None,
        _ => scalar_zero(base),
    };
    Field {
        schema: slot(base, facts),
        pointer,
        omit_empty,
        omit_zero: omit.contains('z'),
        patch: Patch {
            merge: strategy.split(',').any(|s| s == "merge"),
            replace: strategy.split(',').any(|s| s == "replace"),
            retain_keys: strategy.split(',').any(|s| s == "retainKeys"),
            merge_key: (!merge_key.is_empty()).then_some(merge_key),
        },
        key_default,
        place: 0,
    }
}

fn scalar_zero(go_type: &str) -> Option<Value> {
    let base = match go_type.strip_suffix(')').and_then(|t| t.split_once('(')) {
        Some((_, base)) => base,
        None => go_type,
    };
    match base {
        "string" => Some(json!("")),
        "bool" => Some(json!(false)),
        "int" | "int32" | "int64" | "float64" => Some(json!(0)),
        _ => None,
    }
}

fn slot(go_type: &'static str, facts: Option<&[&'static str; 6]>) -> Slot {
    let map_type = facts.map_or("", |row| row[5]);
    if let Some(name) = go_type.strip_prefix('{').and_then(|t| t.strip_suffix('}')) {
        if map_type.is_empty() {
            return Slot::named(name);
        }
        let mut schema = (*named(name)).clone();
        if let Shape::Object(object) = &mut schema.shape {
            object.atomic = map_type.contains("atomic");
        }
        return Slot::node(schema);
    }
    let mut schema = Schema::new(shape(go_type, facts));
    schema.go_type = go_name(go_type).into();
    Slot::node(schema)
}

fn shape(go_type: &'static str, facts: Option<&[&'static str; 6]>) -> Shape {
    if go_type == "[]uint8" {
        return Shape::Bytes;
    }
    if let Some(items) = go_type.strip_prefix("[]") {
        return Shape::List(List { items: slot(strip_pointer(items), None), kind: list_kind(facts) });
    }
    if let Some((_, value)) = go_type.strip_prefix("map[").and_then(|t| t.split_once(']')) {
        let atomic = facts.is_some_and(|row| row[5].contains("atomic"));
        let additional = Some(slot(strip_pointer(value), None));
        return Shape::Object(Object { additional, atomic, ..Object::default() });
    }
    if let Some((_, base)) = go_type.strip_suffix(')').and_then(|t| t.split_once('(')) {
        return shape(base, facts);
    }
    match go_type {
        "string" => Shape::String,
        "bool" => Shape::Boolean,
        "int32" => Shape::Integer(32),
        "uint8" => Shape::Integer(8),
        "int" | "int64" => Shape::Integer(64),
        "float64" => Shape::Number,
        _ => Shape::Any { deduced: true },
    }
}

fn strip_pointer(go_type: &'static str) -> &'static str {
    go_type.strip_prefix('*').unwrap_or(go_type)
}

fn list_kind(facts: Option<&[&'static str; 6]>) -> ListKind {
    let Some([_, strategy, merge_key, list_type, keys, _]) = facts.copied() else { return ListKind::Atomic };
    match list_type {
        "set" => ListKind::Set,
        "map" => ListKind::Map(keys.split(',').map(|key| key.trim().into()).collect()),
        "atomic" => ListKind::Atomic,
        _ if !strategy.split(',').any(|s| s == "merge") => ListKind::Atomic,
        _ if merge_key.is_empty() => ListKind::Set,
        _ => ListKind::Map(vec![merge_key.into()]),
    }
}

/// How Go prints a type of the table: `[]v1.ServicePort`.
fn go_name(go_type: &str) -> String {
    if let Some(name) = go_type.strip_prefix('{').and_then(|t| t.strip_suffix('}')) {
        return short(name);
    }
    if let Some(inner) = go_type.strip_prefix('*') {
        return format!("*{}", go_name(inner));
    }
    if let Some(items) = go_type.strip_prefix("[]") {
        return format!("[]{}", go_name(items));
    }
    if let Some((key, value)) = go_type.strip_prefix("map[").and_then(|t| t.split_once(']')) {
        return format!("map[{}]{}", go_name(key), go_name(value));
    }
    match go_type.split_once('(') {
        Some((name, _)) => name.to_owned(),
        None if go_type == "any" => "interface {}".to_owned(),
        None => go_type.to_owned(),
    }
}

/// `v1.ServicePort` of `io.k8s.api.core.v1.ServicePort`.
fn short(name: &str) -> String {
    let mut parts = name.rsplit('.');
    let last = parts.next().unwrap_or_default();
    format!("{}.{last}", parts.next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_say_how_lists_merge() {
        let service = builtin("", "v1", "Service").unwrap();
        let ports = service.at(&["spec", "ports"]).unwrap();
        assert_eq!(&*ports.go_type, "[]v1.ServicePort");
        assert_eq!(ports.list().unwrap().kind, ListKind::Map(vec!["port".into(), "protocol".into()]));
        assert!(service.at(&["spec", "selector"]).unwrap().object().unwrap().atomic);
        let pod = builtin("", "v1", "Pod").unwrap();
        let finalizers = pod.at(&["metadata", "finalizers"]).unwrap();
        assert_eq!(finalizers.list().unwrap().kind, ListKind::Set);
        let volume = builtin("", "v1", "PersistentVolume").unwrap();
        assert!(!volume.at(&["spec", "claimRef"]).unwrap().object().unwrap().atomic);
        assert!(builtin("apps", "v1", "DeleteOptions").is_some());
        assert!(builtin("apps", "v1", "Pod").is_none());
    }

    #[test]
    fn every_kind_resolves_to_a_struct() {
        for (group, version, kind, name) in kinds() {
            let schema = builtin(group, version, kind).unwrap();
            assert!(schema.object().is_some_and(|o| o.go_struct), "{name}");
        }
    }
}
