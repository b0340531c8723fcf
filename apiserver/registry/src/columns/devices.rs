//! Cells of claims of devices, and of the devices there are.

use apiserver_json::{Value, json};

use super::Subject;

pub(super) fn cell(subject: &Subject, column: &str) -> Value {
    match (subject.kind, column) {
        ("ResourceClaim", "State") => json!(claim_state(subject)),
        ("ResourceSlice", "Node") => json!(subject.text("/spec/nodeName")),
        ("ResourceSlice", "Driver") => json!(subject.text("/spec/driver")),
        ("ResourceSlice", "Pool") => json!(subject.text("/spec/pool/name")),
        _ => Value::Null,
    }
}

/// What is true of a claim, in the order it comes to be.
fn claim_state(subject: &Subject) -> String {
    let deleted = !subject.at("/metadata/deletionTimestamp").is_null();
    let allocated = !subject.at("/status/allocation").is_null();
    let reserved = !subject.items("/status/reservedFor").is_empty();
    let states = [
        (deleted, "deleted"),
        (allocated, "allocated"),
        (allocated && reserved, "reserved"),
        (!allocated && !deleted, "pending"),
    ];
    states.iter().filter(|(holds, _)| *holds).map(|(_, name)| *name).collect::<Vec<_>>().join(",")
}
