//! The FlowSchemas and PriorityLevelConfigurations that every server has: their specs are fixed.

use apiserver_json::{Value, json};
use apiserver_meta::field::FieldError;

use crate::strategy::shared::at;

/// The specs of the objects every server has, as they are stored.
fn fixed(name: &str, kind: &str) -> Option<Value> {
    let schema = |subjects: &[&str], precedence: i64, method: Option<&str>| {
        let subjects: Vec<Value> =
            subjects.iter().map(|group| json!({"kind": "Group", "group": {"name": group}})).collect();
        let mut spec = json!({
            "priorityLevelConfiguration": {"name": name}, "matchingPrecedence": precedence,
            "rules": [{
                "subjects": subjects,
                "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true, "namespaces": ["*"]}],
                "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
            }],
        });
        if let Some(method) = method {
            spec["distinguisherMethod"] = json!({"type": method});
        }
        spec
    };
    Some(match (kind, name) {
        ("FlowSchema", "exempt") => schema(&["system:masters"], 1, None),
        ("FlowSchema", "catch-all") => {
            schema(&["system:unauthenticated", "system:authenticated"], 10_000, Some("ByUser"))
        }
        ("PriorityLevelConfiguration", "exempt") => json!({"type": "Exempt"}),
        ("PriorityLevelConfiguration", "catch-all") => json!({"type": "Limited", "limited": {
            "nominalConcurrencyShares": 5, "lendablePercent": 0, "limitResponse": {"type": "Reject"},
        }}),
        _ => return None,
    })
}

pub(super) fn check_fixed(name: &str, kind: &str, spec: &Value, errors: &mut Vec<FieldError>) {
    let Some(fixed) = fixed(name, kind) else { return };
    let mut compared = spec.clone();
    let mut why = format!("spec of '{name}' must equal the fixed value");
    if let ("exempt", "PriorityLevelConfiguration", Some(spec)) = (name, kind, compared.as_object_mut()) {
        spec.remove("exempt");
        why = format!("spec of '{name}' except the 'spec.exempt' field must equal the fixed value");
    }
    if compared != fixed {
        let shape = if kind == "FlowSchema" { SCHEMA } else { LEVEL };
        errors.push(FieldError { value: go(spec, shape), ..FieldError::invalid("spec", spec, why) });
    }
}

/// How Go prints a value: a struct of (name, member, shape), a list, or what JSON says, or another text where missing.
enum Shape {
    Struct(&'static [(&'static str, &'static str, Shape)]),
    /// As `Struct`, `null` where it is missing.
    Pointer(&'static [(&'static str, &'static str, Shape)]),
    List(&'static Shape),
    Plain(&'static str),
}

use Shape::{List, Plain, Pointer, Struct};

const STRINGS: Shape = Plain("null");
const SCHEMA: &Shape = &Struct(&[
    ("PriorityLevelConfiguration", "priorityLevelConfiguration", Struct(&[("Name", "name", Plain("\"\""))])),
    ("MatchingPrecedence", "matchingPrecedence", Plain("0")),
    ("DistinguisherMethod", "distinguisherMethod", Pointer(&[("Type", "type", Plain("\"\""))])),
    ("Rules", "rules", List(&RULE)),
]);
const RULE: Shape = Struct(&[
    (
        "Subjects",
        "subjects",
        List(&Struct(&[
            ("Kind", "kind", Plain("\"\"")),
            ("User", "user", Pointer(&[("Name", "name", Plain("\"\""))])),
            ("Group", "group", Pointer(&[("Name", "name", Plain("\"\""))])),
            (
                "ServiceAccount",
                "serviceAccount",
                Pointer(&[("Namespace", "namespace", Plain("\"\"")), ("Name", "name", Plain("\"\""))]),
            ),
        ])),
    ),
    (
        "ResourceRules",
        "resourceRules",
        List(&Struct(&[
            ("Verbs", "verbs", STRINGS),
            ("APIGroups", "apiGroups", STRINGS),
            ("Resources", "resources", STRINGS),
            ("ClusterScope", "clusterScope", Plain("false")),
            ("Namespaces", "namespaces", STRINGS),
        ])),
    ),
    (
        "NonResourceRules",
        "nonResourceRules",
        List(&Struct(&[("Verbs", "verbs", STRINGS), ("NonResourceURLs", "nonResourceURLs", STRINGS)])),
    ),
]);
const LEVEL: &Shape = &Struct(&[
    ("Type", "type", Plain("\"\"")),
    (
        "Limited",
        "limited",
        Pointer(&[
            ("NominalConcurrencyShares", "nominalConcurrencyShares", Plain("0")),
            (
                "LimitResponse",
                "limitResponse",
                Struct(&[
                    ("Type", "type", Plain("\"\"")),
                    (
                        "Queuing",
                        "queuing",
                        Pointer(&[
                            ("Queues", "queues", Plain("0")),
                            ("HandSize", "handSize", Plain("0")),
                            ("QueueLengthLimit", "queueLengthLimit", Plain("0")),
                        ]),
                    ),
                ]),
            ),
            ("LendablePercent", "lendablePercent", Plain("null")),
            ("BorrowingLimitPercent", "borrowingLimitPercent", Plain("null")),
        ]),
    ),
    (
        "Exempt",
        "exempt",
        Pointer(&[
            ("NominalConcurrencyShares", "nominalConcurrencyShares", Plain("null")),
            ("LendablePercent", "lendablePercent", Plain("null")),
        ]),
    ),
]);

fn go(value: &Value, shape: &Shape) -> String {
    let members = |members: &[(&str, &str, Shape)]| {
        let shown: Vec<String> = members
            .iter()
            .map(|(name, member, shape)| format!("{name:?}:{}", go(at(value, &[member]), shape)))
            .collect();
        format!("{{{}}}", shown.join(","))
    };
    match shape {
        Struct(all) => members(all),
        Pointer(_) | List(_) if value.is_null() => "null".to_owned(),
        Pointer(all) => members(all),
        List(one) => {
            let shown: Vec<String> =
                value.as_array().into_iter().flatten().map(|entry| go(entry, one)).collect();
            format!("[{}]", shown.join(","))
        }
        Plain(missing) if value.is_null() => (*missing).to_owned(),
        Plain(_) => value.to_string(),
    }
}
