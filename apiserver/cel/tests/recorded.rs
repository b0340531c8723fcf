//! What upstream's own code (`apiextensions-apiserver` 0.36, `cel-go` 0.26) answered, for each kind of rule.
//!
//! `data/recorded.jsonl` has a schema a line; with an object the answer is that of its rules, without one that of the
//! definition.

use apiserver_cel::{Rules, schema_errors};
use apiserver_json::Value;

fn answer(case: &Value) -> Vec<String> {
    let schema = &case["schema"];
    let mut found: Vec<String> = match case.get("object") {
        Some(object) => Rules::compile(schema)
            .map(|rules| rules.validate(object, case.get("old")).errors)
            .unwrap_or_default()
            .iter()
            .map(ToString::to_string)
            .collect(),
        None => {
            let found = schema_errors(schema, "spec.validation.openAPIV3Schema", Some(&[]), false);
            found.shape.iter().chain(&found.expressions).chain(&found.cost).map(ToString::to_string).collect()
        }
    };
    found.sort();
    found
}

#[test]
fn answers_are_upstreams() {
    let mut wrong = Vec::new();
    for line in include_str!("../data/recorded.jsonl").lines() {
        let case: Value = apiserver_json::from_str(line).unwrap();
        let mut want: Vec<&str> =
            case["errors"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        want.sort_unstable();
        let got = answer(&case);
        if got != want {
            wrong.push(format!("{}\n  want {want:?}\n  got  {got:?}", case["schema"]));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}
