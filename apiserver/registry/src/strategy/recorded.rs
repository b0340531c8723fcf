//! New objects and the causes kube-apiserver 1.36 refused them for, as it answered, one a line.
//!
//! `recorded.jsonl`: Secrets by type, EndpointSlices, flow control, APIServices and CertificateSigningRequests.
//! `mutations.jsonl`: objects that were fine until one member was removed, emptied, doubled or spoilt.

use apiserver_json::{Map, Value};

use super::table::{Write, check};

#[test]
fn new_objects_are_refused_as_recorded() {
    let lines: Vec<&str> =
        include_str!("recorded.jsonl").lines().chain(include_str!("mutations.jsonl").lines()).collect();
    assert!(lines.len() > 300, "{}", lines.len());
    for line in lines {
        let row: Value = apiserver_json::from_str(line).expect("a row is JSON");
        let causes: Vec<&str> =
            row["causes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let nothing = Value::Object(Map::new());
        let mut object = row["object"].clone();
        // As the server does before it looks.
        if let Some(namespace) = namespace(&object) {
            object["metadata"]["namespace"] = namespace.into();
        }
        check(Write::Create, &object, &[(nothing.clone(), nothing, &causes)]);
    }
}

fn namespace(object: &Value) -> Option<&'static str> {
    matches!(object["kind"].as_str(), Some("Secret" | "EndpointSlice")).then_some("default")
}
