//! The status of a definition: the versions objects have ever been stored in.

use apiserver_json::{Value, json};
use apiserver_meta::field::FieldError;

use super::storage_version;
use crate::object;
use crate::strategy::shared::{items, text};

/// A new definition is not established.
pub(super) fn begin(definition: &mut Value) {
    let stored: Option<Vec<String>> = storage_version(definition).map(|name| vec![name]);
    definition["status"] = json!({
        "acceptedNames": {"kind": "", "plural": ""},
        "conditions": null,
        "storedVersions": stored,
    });
}

/// A definition's status remembers every version that ever was the stored one.
pub(super) fn keep(definition: &mut Value, old: &Value) {
    if let (Some(status), Some(map)) = (old.get("status"), definition.as_object_mut()) {
        map.insert("status".into(), status.clone());
    }
    let Some(current) = storage_version(definition) else { return };
    let status = object::member_mut(definition, "status");
    let stored = status.entry("storedVersions").or_insert_with(|| json!([]));
    if let Some(stored) = stored.as_array_mut()
        && !stored.iter().any(|name| *name == current)
    {
        stored.push(current.into());
    }
}

/// Errors of the stored versions: they are the ones that the definition still has.
pub(super) fn validate(definition: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let path = "status.storedVersions";
    let stored = items(&definition["status"], "storedVersions");
    if stored.is_empty() {
        let shown = definition["status"].get("storedVersions").cloned().unwrap_or(Value::Null);
        errors.push(FieldError::invalid(path, &shown, "must have at least one stored version"));
        return;
    }
    let mut left: Vec<&str> = stored.iter().filter_map(Value::as_str).collect();
    for version in items(&definition["spec"], "versions") {
        let name = text(version, "name");
        let before = left.len();
        left.retain(|known| *known != name);
        if left.len() == before && version["storage"] == Value::Bool(true) {
            let why = format!("must have the storage version {name}");
            errors.push(FieldError::invalid(path, &json!(stored), why));
        }
    }
    for (i, name) in stored.iter().enumerate().filter(|(_, name)| left.iter().any(|known| *name == known)) {
        let shown = name.as_str().unwrap_or("");
        let why = match old {
            Some(_) => format!(
                "missing from spec.versions; {shown} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {shown} and removes {shown} from status.storedVersions"
            ),
            None => "must appear in spec.versions".to_owned(),
        };
        errors.push(FieldError::invalid(format!("{path}[{i}]"), name, why));
    }
}
