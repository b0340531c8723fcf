//! `metadata.managedFields`: reading and writing its entries.
//!
//! Who owns what after an operation is decided in `manager`; this only knows the wire form and its order.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::set::FieldSet;
use crate::time::unix_seconds;

/// What a manager did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    Apply,
    Update,
}

impl Operation {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

/// Who an entry belongs to. Appliers are the same manager in every version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Identity {
    pub(super) manager: String,
    pub(super) operation: Operation,
    /// Empty for appliers.
    pub(super) api_version: String,
    pub(super) subresource: String,
}

/// What a manager owns.
#[derive(Clone, Debug)]
pub(super) struct Owned {
    pub(super) set: FieldSet,
    pub(super) api_version: String,
    pub(super) time: Option<String>,
}

impl Owned {
    fn seconds(&self) -> i64 {
        self.time.as_deref().and_then(unix_seconds).unwrap_or(0)
    }
}

/// All entries of an object.
pub(super) type Entries = BTreeMap<Identity, Owned>;

/// The list of an object's metadata, `None` if there is none.
pub(super) fn raw(object: &Value) -> Option<&Value> {
    object.get("metadata")?.get("managedFields").filter(|value| !value.is_null())
}

/// Whether the user asks to forget all owners: an empty list, or one empty entry.
pub(super) fn is_reset(object: &Value) -> bool {
    match raw(object).and_then(Value::as_array).map(Vec::as_slice) {
        Some([]) => true,
        Some([Value::Object(entry)]) => {
            entry.values().all(|v| v.is_null() || v.as_str().is_some_and(str::is_empty))
        }
        _ => false,
    }
}

/// Reads the entries of an object; the error says what is wrong with them.
pub(super) fn read(object: &Value) -> Result<Entries, String> {
    let mut out = Entries::new();
    let list = raw(object).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for (i, entry) in list.iter().enumerate() {
        let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let operation = match text("operation").as_str() {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return Err("operation must be `Apply` or `Update`".to_owned()),
        };
        let api_version = text("apiVersion");
        if api_version.is_empty() {
            return Err("apiVersion must not be empty".to_owned());
        }
        match text("fieldsType").as_str() {
            "FieldsV1" => {}
            "" => return Err(format!("missing fieldsType in managed fields entry {i}")),
            other => return Err(format!("invalid fieldsType {other:?} in managed fields entry {i}")),
        }
        let fields = entry.get("fieldsV1").unwrap_or(&Value::Null);
        let Some(set) = FieldSet::from_fields_v1(fields) else {
            return Err(format!("error decoding versioned set from managed fields entry {i}"));
        };
        let identity = Identity {
            manager: text("manager"),
            operation,
            api_version: if operation == Operation::Apply { String::new() } else { api_version.clone() },
            subresource: text("subresource"),
        };
        let time = entry.get("time").and_then(Value::as_str).map(str::to_owned);
        out.insert(identity, Owned { set, api_version, time });
    }
    Ok(out)
}

/// Writes the entries into an object's metadata, in upstream's order; none leaves no list.
pub(super) fn write(object: &mut Value, entries: &Entries) {
    let mut sorted: Vec<_> = entries.iter().collect();
    sorted.sort_by(|(a, x), (b, y)| {
        (a.operation, x.seconds(), &a.manager, &x.api_version, &a.subresource).cmp(&(
            b.operation,
            y.seconds(),
            &b.manager,
            &y.api_version,
            &b.subresource,
        ))
    });
    let list: Vec<Value> = sorted.into_iter().map(|(identity, owned)| encode(identity, owned)).collect();
    set_raw(object, (!list.is_empty()).then_some(Value::Array(list)));
}

/// Puts a list of entries into an object's metadata, or takes it out.
pub(super) fn set_raw(object: &mut Value, list: Option<Value>) {
    let Value::Object(map) = object else { return };
    match list {
        Some(list) => {
            let metadata = map.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(metadata) = metadata {
                metadata.insert("managedFields".to_owned(), list);
            }
        }
        None => {
            if let Some(Value::Object(metadata)) = map.get_mut("metadata") {
                metadata.remove("managedFields");
            }
        }
    }
}

fn encode(identity: &Identity, owned: &Owned) -> Value {
    let mut entry = Map::new();
    entry.insert("apiVersion".to_owned(), json!(owned.api_version));
    entry.insert("fieldsType".to_owned(), json!("FieldsV1"));
    entry.insert("fieldsV1".to_owned(), owned.set.to_fields_v1());
    if !identity.manager.is_empty() {
        entry.insert("manager".to_owned(), json!(identity.manager));
    }
    entry.insert("operation".to_owned(), json!(identity.operation.as_str()));
    if !identity.subresource.is_empty() {
        entry.insert("subresource".to_owned(), json!(identity.subresource));
    }
    if let Some(time) = &owned.time {
        entry.insert("time".to_owned(), json!(time));
    }
    Value::Object(entry)
}
