//! What is wrong with an access review: `pkg/apis/authorization/validation` upstream.

use apiserver_json::{Value, json};
use apiserver_meta::field::{FieldError, Problem};
use apiserver_meta::names;
use apiserver_meta::selector::{FieldSelector, LabelSelector};

use super::reviews::text;

/// Members of an object's metadata in the order of Go's struct, which is the order it prints them in.
const METADATA: &[&str] = &[
    "name",
    "generateName",
    "namespace",
    "resourceVersion",
    "generation",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
];
const REFERENCE: &[&str] = &["apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion"];
const MANAGER: &[&str] =
    &["manager", "operation", "apiVersion", "time", "fieldsType", "fieldsV1", "subresource"];

/// Errors of a review of oneself.
pub(super) fn check_self(value: &Value) -> Vec<FieldError> {
    let mut errors = check_attributes(value);
    check_selectors(value, &mut errors);
    check_metadata(value, "", "must be empty", &mut errors);
    errors
}

/// Errors of a review of somebody.
pub(super) fn check_subject(value: &Value) -> Vec<FieldError> {
    let mut errors = check_somebody(value);
    check_metadata(value, "", "must be empty", &mut errors);
    errors
}

/// As [`check_subject`], in one namespace.
pub(super) fn check_local(value: &Value, scope: &str) -> Vec<FieldError> {
    let mut errors = check_somebody(value);
    check_metadata(value, "namespace", "must be empty except for namespace", &mut errors);
    let namespace = text(value, "/spec/resourceAttributes/namespace");
    if value.pointer("/spec/resourceAttributes").is_some() && namespace != scope {
        let place = "spec.resourceAttributes.namespace";
        errors.push(FieldError::invalid(place, &namespace.into(), "must match metadata.namespace"));
    }
    if let Some(url) = value.pointer("/spec/nonResourceAttributes") {
        errors.push(not_with_path(url, "disallowed on this kind of request"));
    }
    errors
}

fn check_somebody(value: &Value) -> Vec<FieldError> {
    let mut errors = check_attributes(value);
    let groups =
        value.pointer("/spec/groups").and_then(Value::as_array).is_some_and(|groups| !groups.is_empty());
    if text(value, "/spec/user").is_empty() && !groups {
        let why = "at least one of user or group must be specified";
        errors.push(FieldError::invalid("spec.user", &"".into(), why));
    }
    check_selectors(value, &mut errors);
    errors
}

/// A review is of a resource or of a path.
fn check_attributes(value: &Value) -> Vec<FieldError> {
    let url = value.pointer("/spec/nonResourceAttributes");
    match (value.pointer("/spec/resourceAttributes"), url) {
        (Some(_), Some(url)) => {
            vec![not_with_path(url, "cannot be specified in combination with resourceAttributes")]
        }
        (None, None) => vec![FieldError::invalid(
            "spec.resourceAttributes",
            &Value::Null,
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        )],
        _ => Vec::new(),
    }
}

fn not_with_path(url: &Value, why: &str) -> FieldError {
    FieldError {
        problem: Problem::Invalid,
        field: "spec.nonResourceAttributes".into(),
        value: format!("{{\"Path\":{},\"Verb\":{}}}", json!(text(url, "/path")), json!(text(url, "/verb"))),
        detail: why.into(),
    }
}

/// A review is not kept, hence it has no name and no labels. Who manages its fields is the server's own note.
fn check_metadata(value: &Value, allowed: &str, why: &str, errors: &mut Vec<FieldError>) {
    let metadata = &value["metadata"];
    let is_set = |member: &&str| match metadata.get(*member) {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(list)) => !list.is_empty(),
        Some(Value::Object(map)) => !map.is_empty(),
        Some(other) => other.as_i64() != Some(0),
    };
    if METADATA.iter().any(|member| *member != allowed && *member != "managedFields" && is_set(member)) {
        errors.push(FieldError {
            problem: Problem::Invalid,
            field: "metadata".into(),
            value: in_order(metadata, METADATA),
            detail: why.into(),
        });
    }
}

fn in_order(value: &Value, members: &[&str]) -> String {
    let shown = members.iter().filter_map(|member| {
        let value = value.get(member)?;
        let text = match (*member, value) {
            ("ownerReferences", Value::Array(list)) => list_in_order(list, REFERENCE),
            ("managedFields", Value::Array(list)) => list_in_order(list, MANAGER),
            _ => value.to_string(),
        };
        Some(format!("{member:?}:{text}"))
    });
    format!("{{{}}}", shown.collect::<Vec<_>>().join(","))
}

fn list_in_order(list: &[Value], members: &[&str]) -> String {
    let items: Vec<String> = list.iter().map(|item| in_order(item, members)).collect();
    format!("[{}]", items.join(","))
}

const SELECTORS: [&str; 2] = ["fieldSelector", "labelSelector"];

fn selectors(value: &Value) -> impl Iterator<Item = (&'static str, &Value)> {
    SELECTORS
        .into_iter()
        .filter_map(move |which| Some((which, value.pointer(&format!("/spec/resourceAttributes/{which}"))?)))
}

fn requirements(selector: &Value) -> &[Value] {
    selector.get("requirements").and_then(Value::as_array).unwrap_or_default()
}

fn values(requirement: &Value) -> &[Value] {
    requirement.get("values").and_then(Value::as_array).unwrap_or_default()
}

fn check_selectors(value: &Value, errors: &mut Vec<FieldError>) {
    for (which, selector) in selectors(value) {
        let path = format!("spec.resourceAttributes.{which}");
        let (raw, requirements) = (text(selector, "/rawSelector"), requirements(selector));
        if !raw.is_empty() && !requirements.is_empty() {
            let why = "may not specified at the same time as requirements";
            errors.push(FieldError::invalid(format!("{path}.rawSelector"), &raw.into(), why));
        }
        if raw.is_empty() && requirements.is_empty() {
            let why = format!("when {path} is specified, requirements or rawSelector is required");
            errors.push(FieldError::required(format!("{path}.requirements"), why));
        }
        for (i, requirement) in requirements.iter().enumerate() {
            let path = format!("{path}.requirements[{i}]");
            check_requirement(requirement, which == "labelSelector", &path, errors);
        }
    }
}

/// An operator that nobody knows is let pass: a newer client may know more of them.
fn check_requirement(requirement: &Value, of_labels: bool, path: &str, errors: &mut Vec<FieldError>) {
    let (key, values) = (text(requirement, "/key"), values(requirement));
    if !of_labels && key.is_empty() {
        errors.push(FieldError::required(format!("{path}.key"), "must be specified"));
    }
    match text(requirement, "/operator") {
        "In" | "NotIn" if values.is_empty() => {
            let why = "must be specified when `operator` is 'In' or 'NotIn'";
            errors.push(FieldError::required(format!("{path}.values"), why));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.push(FieldError::forbidden(format!("{path}.values"), why));
        }
        _ => {}
    }
    if !of_labels {
        return;
    }
    for why in names::qualified_name(key) {
        errors.push(FieldError::invalid(format!("{path}.key"), &key.into(), why));
    }
    for (i, value) in values.iter().enumerate() {
        for why in names::label_value(value.as_str().unwrap_or("")) {
            errors.push(FieldError::invalid(format!("{path}.values[{i}]"), value, why));
        }
    }
}

/// What is said of selectors that cannot be read, wholly or in part. RBAC looks at none of them, hence they
/// change no decision.
pub(super) fn ignored_selectors(value: &Value) -> Vec<String> {
    let said = selectors(value).filter_map(|(which, selector)| {
        let of_labels = which == "labelSelector";
        let raw = text(selector, "/rawSelector");
        let (read, all) = if raw.is_empty() {
            let requirements = requirements(selector);
            (requirements.iter().filter(|one| is_known(one, of_labels)).count(), requirements.len())
        } else if of_labels {
            (usize::from(LabelSelector::parse(raw).is_ok()), 1)
        } else {
            (usize::from(FieldSelector::parse(raw).is_ok()), 1)
        };
        let how = match read {
            _ if read == all => return None,
            0 => "",
            _ => "partially ",
        };
        Some(format!("spec.resourceAttributes.{which} {how}ignored due to parse error"))
    });
    said.collect()
}

/// Field selectors say no more than equal and not equal.
fn is_known(requirement: &Value, of_labels: bool) -> bool {
    match text(requirement, "/operator") {
        "In" | "NotIn" => of_labels || values(requirement).len() == 1,
        "Exists" | "DoesNotExist" => of_labels,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(errors: &[FieldError]) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn everything_wrong_with_a_review_is_told() {
        let neither = "spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified";
        let nobody = "spec.user: Invalid value: \"\": at least one of user or group must be specified";
        let path = "spec.nonResourceAttributes: Invalid value: {\"Path\":\"/\",\"Verb\":\"get\"}: disallowed on this kind of request";
        let other = "spec.resourceAttributes.namespace: Invalid value: \"m\": must match metadata.namespace";
        for (spec, want) in [
            (json!({}), vec![neither, nobody]),
            (json!({"user": "u", "nonResourceAttributes": {"path": "/", "verb": "get"}}), vec![path]),
            (json!({"groups": ["g"], "resourceAttributes": {"namespace": "m"}}), vec![other]),
            (json!({"resourceAttributes": {"namespace": "m"}}), vec![nobody, other]),
            (json!({"user": "u", "resourceAttributes": {"namespace": "n"}}), vec![]),
        ] {
            assert_eq!(texts(&check_local(&json!({ "spec": spec }), "n")), want);
        }
    }

    #[test]
    fn a_review_has_no_metadata_but_its_namespace() {
        let metadata = json!({"namespace": "n", "name": "x", "labels": {"a": "b"}});
        let value = json!({"metadata": metadata, "spec": {"resourceAttributes": {}}});
        let want =
            r#"metadata: Invalid value: {"name":"x","namespace":"n","labels":{"a":"b"}}: must be empty"#;
        assert_eq!(texts(&check_self(&value)), [want]);
        let value = json!({"metadata": {"namespace": "n", "managedFields": [{"manager": "m"}]}, "spec": {"user": "u", "resourceAttributes": {"namespace": "n"}}});
        assert_eq!(texts(&check_local(&value, "n")), [""; 0]);
    }

    #[test]
    fn selectors_are_checked_and_what_cannot_be_read_is_said() {
        let at = "spec.resourceAttributes";
        let part = |text: &str| format!("{at}.{text} due to parse error");
        let rows: [(Value, Vec<String>, Vec<String>); 7] = [
            (json!({"fieldSelector": {"rawSelector": "a=b"}}), vec![], vec![]),
            (
                json!({"fieldSelector": {}}),
                vec![format!(
                    "{at}.fieldSelector.requirements: Required value: when {at}.fieldSelector is specified, requirements or rawSelector is required"
                )],
                vec![],
            ),
            (
                json!({"labelSelector": {"rawSelector": "a", "requirements": [{"key": "a", "operator": "Exists"}]}}),
                vec![format!(
                    r#"{at}.labelSelector.rawSelector: Invalid value: "a": may not specified at the same time as requirements"#
                )],
                vec![],
            ),
            (
                json!({"fieldSelector": {"requirements": [{"operator": "In"}]}}),
                vec![
                    format!("{at}.fieldSelector.requirements[0].key: Required value: must be specified"),
                    format!(
                        "{at}.fieldSelector.requirements[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"
                    ),
                ],
                vec![part("fieldSelector ignored")],
            ),
            (
                json!({"fieldSelector": {"requirements": [{"key": "a", "operator": "In", "values": ["x"]}, {"key": "a", "operator": "Exists"}]}}),
                vec![],
                vec![part("fieldSelector partially ignored")],
            ),
            (
                json!({"fieldSelector": {"rawSelector": "x y"}, "labelSelector": {"rawSelector": "x y"}}),
                vec![],
                vec![part("fieldSelector ignored"), part("labelSelector ignored")],
            ),
            (
                json!({"labelSelector": {"requirements": [{"key": "a", "operator": "In", "values": ["x", "y"]}, {"key": "a", "operator": "Gt"}]}}),
                vec![],
                vec![part("labelSelector partially ignored")],
            ),
        ];
        for (attributes, errors, ignored) in rows {
            let value = json!({"spec": {"resourceAttributes": attributes}});
            assert_eq!(texts(&check_self(&value)), errors, "{value}");
            assert_eq!(ignored_selectors(&value), ignored, "{value}");
        }
    }
}
