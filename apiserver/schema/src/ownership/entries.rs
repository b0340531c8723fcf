//! `metadata.managedFields`: reading and writing its entries.
//!
//! Who owns what after an operation is decided in `manager`; this only knows the wire form and its order. Entries
//! are read from ordinary and from packed trees (`apiserver_meta::packed`), and written packed.

use std::collections::BTreeMap;

use apiserver_json::{Items, Map, Value, json};

use super::set::FieldSet;
use super::text;
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

/// The fields of an entry, parsed only when something looks into them.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields {
    /// What was read and not yet parsed; `set` is empty meanwhile.
    raw: Option<Value>,
    set: FieldSet,
}

impl Fields {
    pub(super) fn of(set: FieldSet) -> Self {
        Self { raw: None, set }
    }

    /// From FieldsV1 text.
    pub(super) fn raw(text: String) -> Self {
        Self { raw: Some(Value::Raw(text.into())), set: FieldSet::new() }
    }

    /// The parsed set; fields that cannot be read count as none.
    pub(super) fn set(&mut self) -> &mut FieldSet {
        if let Some(raw) = self.raw.take() {
            self.set = read_fields(&raw).unwrap_or_default();
        }
        &mut self.set
    }

    pub(super) fn is_empty(&self) -> bool {
        match &self.raw {
            Some(Value::Raw(text)) => &**text == "{}",
            Some(raw) => raw.as_object().is_none_or(Map::is_empty),
            None => self.set.is_empty(),
        }
    }

    /// Takes the paths of another set out.
    pub(super) fn remove(&mut self, other: &FieldSet) {
        if other.is_empty() {
            return;
        }
        match &self.raw {
            // What is not touched stays the text it is.
            Some(Value::Raw(text)) if text::relation(text, other).is_some_and(|r| !r.touches) => {}
            Some(raw) => {
                let set = read_fields(raw).unwrap_or_default();
                if set.touches(other) {
                    self.raw = None;
                    self.set = set.difference(other);
                }
            }
            None if self.set.touches(other) => {
                self.set = std::mem::take(&mut self.set).difference(other);
            }
            None => {}
        }
    }

    /// Whether all paths of `own` are known to be there and none of the others is: nothing is to be done then.
    pub(super) fn hold(&self, own: &FieldSet, others: [&FieldSet; 2]) -> bool {
        let Some(Value::Raw(text)) = &self.raw else { return false };
        text::relation(text, own).is_some_and(|r| r.covers)
            && others.iter().all(|other| text::relation(text, other).is_some_and(|r| !r.touches))
    }

    fn into_fields_v1(self) -> Value {
        self.raw.unwrap_or_else(|| Value::Raw(self.set.to_fields_v1().into()))
    }
}

/// `fieldsV1` of a packed tree or of an ordinary one.
fn read_fields(raw: &Value) -> Option<FieldSet> {
    match raw {
        Value::Raw(text) => FieldSet::from_fields_v1(text),
        other => FieldSet::from_fields_v1(&other.to_string()),
    }
}

/// What a manager owns.
#[derive(Clone, Debug)]
pub(super) struct Owned {
    pub(super) fields: Fields,
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
    match raw(object).and_then(Value::as_array) {
        Some([]) => true,
        Some([Value::Object(entry)]) => {
            entry.values().all(|v| v.is_null() || v.as_str().is_some_and(str::is_empty))
        }
        _ => false,
    }
}

/// Reads the entries of an object; the error says what is wrong with them.
pub(super) fn read(object: &Value) -> Result<Entries, String> {
    let mut out = parse(raw(object).cloned().unwrap_or_default())?;
    for (i, owned) in out.values_mut().enumerate() {
        let Some(raw) = owned.fields.raw.take() else { continue };
        let Some(set) = read_fields(&raw) else {
            return Err(format!("error decoding versioned set from managed fields entry {i}"));
        };
        owned.fields.set = set;
    }
    Ok(out)
}

/// Reads a list of entries without looking into their fields.
pub(super) fn parse(list: Value) -> Result<Entries, String> {
    let mut out = Entries::new();
    let Value::Array(list) = list else { return Ok(out) };
    for (i, mut entry) in list.into_iter().enumerate() {
        let text = |entry: &Value, name: &str| {
            entry.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let operation = match text(&entry, "operation").as_str() {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return Err("operation must be `Apply` or `Update`".to_owned()),
        };
        let api_version = text(&entry, "apiVersion");
        if api_version.is_empty() {
            return Err("apiVersion must not be empty".to_owned());
        }
        match text(&entry, "fieldsType").as_str() {
            "FieldsV1" => {}
            "" => return Err(format!("missing fieldsType in managed fields entry {i}")),
            other => return Err(format!("invalid fieldsType {other:?} in managed fields entry {i}")),
        }
        let identity = Identity {
            manager: text(&entry, "manager"),
            operation,
            api_version: if operation == Operation::Apply { String::new() } else { api_version.clone() },
            subresource: text(&entry, "subresource"),
        };
        let time = entry.get("time").and_then(Value::as_str).map(str::to_owned);
        let raw = entry.get_mut("fieldsV1").map(Value::take).unwrap_or_default();
        let fields = Fields { raw: Some(raw), set: FieldSet::new() };
        out.insert(identity, Owned { fields, api_version, time });
    }
    Ok(out)
}

/// Writes the entries into an object's metadata, in upstream's order; none leaves no list.
pub(super) fn write(object: &mut Value, entries: Entries) {
    let mut sorted: Vec<_> = entries.into_iter().collect();
    sorted.sort_by(|(a, x), (b, y)| {
        (a.operation, x.seconds(), &a.manager, &x.api_version, &a.subresource).cmp(&(
            b.operation,
            y.seconds(),
            &b.manager,
            &y.api_version,
            &b.subresource,
        ))
    });
    let list: Items = sorted.into_iter().map(|(identity, owned)| encode(identity, owned)).collect();
    set_raw(object, (!list.is_empty()).then_some(Value::Array(list)));
}

/// Puts a list of entries into an object's metadata, or takes it out.
pub(super) fn set_raw(object: &mut Value, list: Option<Value>) {
    let Value::Object(map) = object else { return };
    match list {
        Some(list) => {
            let metadata = map.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(metadata) = metadata {
                metadata.insert("managedFields".into(), list);
            }
        }
        None => {
            if let Some(Value::Object(metadata)) = map.get_mut("metadata") {
                metadata.remove("managedFields");
            }
        }
    }
}

fn encode(identity: Identity, owned: Owned) -> Value {
    let mut entry = Map::new();
    entry.insert("apiVersion".into(), Value::String(owned.api_version.into()));
    entry.insert("fieldsType".into(), json!("FieldsV1"));
    entry.insert("fieldsV1".into(), owned.fields.into_fields_v1());
    if !identity.manager.is_empty() {
        entry.insert("manager".into(), Value::String(identity.manager.into()));
    }
    entry.insert("operation".into(), json!(identity.operation.as_str()));
    if !identity.subresource.is_empty() {
        entry.insert("subresource".into(), Value::String(identity.subresource.into()));
    }
    if let Some(time) = owned.time {
        entry.insert("time".into(), Value::String(time.into()));
    }
    Value::Object(entry)
}
