//! What a policy or a binding may match, and the parameters they name.

use apiserver_json::{Value, json};
use apiserver_meta::field::FieldError;
use apiserver_meta::names;

use super::shared::{at, check_label_selector, items, text};

/// Errors of `matchConstraints` or `matchResources`.
pub(super) fn check(constraints: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let policy = text(constraints, "matchPolicy");
    if !["Equivalent", "Exact"].contains(&policy) {
        let known = ["Equivalent", "Exact"];
        errors.push(FieldError::not_supported(format!("{path}.matchPolicy"), &policy.into(), &known));
    }
    for selector in ["namespaceSelector", "objectSelector"] {
        check_label_selector(at(constraints, &[selector]), &format!("{path}.{selector}"), errors);
    }
    for list in ["resourceRules", "excludeResourceRules"] {
        for (i, rule) in items(constraints, list).iter().enumerate() {
            check_rule(rule, &format!("{path}.{list}[{i}]"), errors);
        }
    }
}

/// Errors of one rule about resources and what is done to them.
pub(super) fn check_rule(rule: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let mut seen: Vec<&Value> = Vec::new();
    for (i, name) in items(rule, "resourceNames").iter().enumerate() {
        let place = format!("{path}.resourceNames[{i}]");
        let wrong = names::path_segment(name.as_str().unwrap_or(""));
        errors.extend(wrong.into_iter().map(|why| FieldError::invalid(&*place, name, why)));
        if seen.contains(&name) {
            errors.push(FieldError::duplicate(place, name));
        }
        seen.push(name);
    }
    alone(rule, path, "operations", "operations", errors);
    for (i, operation) in items(rule, "operations").iter().enumerate() {
        let known = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
        if !known.contains(&operation.as_str().unwrap_or("")) {
            errors.push(FieldError::not_supported(format!("{path}.operations[{i}]"), operation, &known));
        }
    }
    alone(rule, path, "apiGroups", "API groups", errors);
    alone(rule, path, "apiVersions", "API versions", errors);
    for (i, version) in items(rule, "apiVersions").iter().enumerate() {
        if version == "" {
            errors.push(FieldError::required(format!("{path}.apiVersions[{i}]"), ""));
        }
    }
    check_resources(items(rule, "resources"), &format!("{path}.resources"), errors);
    let scope = text(rule, "scope");
    if !["*", "Cluster", "Namespaced"].contains(&scope) {
        let known = ["*", "Cluster", "Namespaced"];
        errors.push(FieldError::not_supported(format!("{path}.scope"), &scope.into(), &known));
    }
}

/// A list must say something, and `*` says everything.
fn alone(rule: &Value, path: &str, list: &str, what: &str, errors: &mut Vec<FieldError>) {
    let entries = items(rule, list);
    let place = format!("{path}.{list}");
    if entries.is_empty() {
        errors.push(FieldError::required(place, ""));
    } else if entries.len() > 1 && entries.contains(&json!("*")) {
        let why = format!("if '*' is present, must not specify other {what}");
        errors.push(FieldError::invalid(place, &json!(entries), why));
    }
}

fn check_resources(resources: &[Value], path: &str, errors: &mut Vec<FieldError>) {
    if resources.is_empty() {
        errors.push(FieldError::required(path, ""));
    }
    let (mut all_below, mut below_all) = (Vec::new(), Vec::new());
    let mut plain = false;
    for (i, entry) in resources.iter().enumerate() {
        let place = format!("{path}[{i}]");
        let resource = entry.as_str().unwrap_or("");
        if resource.is_empty() {
            errors.push(FieldError::required(place, ""));
            continue;
        }
        let Some((name, sub)) = resource.split_once('/') else {
            plain = resource != "*";
            continue;
        };
        let mut clash = |present: String| {
            let why = format!("if '{present}' is present, must not specify {resource}");
            errors.push(FieldError::invalid(&*place, entry, why));
        };
        if all_below.contains(&name) {
            clash(format!("{name}/*"));
        }
        if below_all.contains(&sub) {
            clash(format!("*/{sub}"));
        }
        if sub == "*" {
            all_below.push(name);
        }
        if name == "*" {
            below_all.push(sub);
        }
    }
    if resources.len() > 1 && resources.contains(&json!("*/*")) {
        let why = "if '*/*' is present, must not specify other resources";
        errors.push(FieldError::invalid(path, &json!(resources), why));
    }
    if plain && resources.contains(&json!("*")) {
        let why = "if '*' is present, must not specify other resources without subresources";
        errors.push(FieldError::invalid(path, &json!(resources), why));
    }
}

/// Errors of a policy's `paramKind`.
pub(super) fn check_param_kind(kind: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let (api_version, name) = (text(kind, "apiVersion"), text(kind, "kind"));
    let place = format!("{path}.apiVersion");
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    if api_version.is_empty() {
        errors.push(FieldError::required(place, ""));
    } else if version.contains('/') {
        let why = format!("unexpected GroupVersion string: {api_version}");
        errors.push(FieldError::invalid(place, &api_version.into(), why));
    } else {
        let wrong = if group.is_empty() { Vec::new() } else { names::dns1123_subdomain(group) };
        if !wrong.is_empty() {
            errors.push(FieldError::invalid(&*place, &group.into(), wrong.join(",")));
        }
        if version.is_empty() {
            errors.push(FieldError::invalid(place, &api_version.into(), "version must be specified"));
        } else {
            let wrong = names::dns1035_label(version);
            if !wrong.is_empty() {
                errors.push(FieldError::invalid(place, &version.into(), wrong.join(",")));
            }
        }
    }
    let wrong = names::dns1035_label(&name.to_lowercase());
    if name.is_empty() {
        errors.push(FieldError::required(format!("{path}.kind"), ""));
    } else if !wrong.is_empty() {
        let why = format!("may have mixed case, but should otherwise match: {}", wrong.join(","));
        errors.push(FieldError::invalid(format!("{path}.kind"), &name.into(), why));
    }
}

/// Errors of a binding's `paramRef`.
pub(super) fn check_param_ref(reference: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let (name, selector) = (text(reference, "name"), reference.get("selector").is_some_and(Value::is_object));
    let both = "name and selector are mutually exclusive";
    if !name.is_empty() {
        let wrong = names::path_segment(name);
        let place = format!("{path}.name");
        errors.extend(wrong.into_iter().map(|why| FieldError::invalid(&*place, &name.into(), why)));
        if selector {
            errors.push(FieldError::forbidden(place, both));
        }
    } else if !selector {
        errors.push(FieldError::required(path, "one of name or selector must be specified"));
    }
    if selector {
        let place = format!("{path}.selector");
        check_label_selector(&reference["selector"], &place, errors);
        if !name.is_empty() {
            errors.push(FieldError::forbidden(place, both));
        }
    }
    let action = text(reference, "parameterNotFoundAction");
    let place = format!("{path}.parameterNotFoundAction");
    if action.is_empty() {
        errors.push(FieldError::required(place, ""));
    } else if !["Allow", "Deny"].contains(&action) {
        errors.push(FieldError::not_supported_in_order(place, &action.into(), &["Deny", "Allow"]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use apiserver_meta::field::aggregate;

    #[test]
    fn rules_are_checked() {
        let rule = |resources: Value, operations: Value| {
            json!({"matchPolicy": "Equivalent", "resourceRules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "scope": "*",
                "operations": operations, "resources": resources,
            }]})
        };
        let p = "m.resourceRules[0]";
        for (constraints, want) in [
            (rule(json!(["pods", "pods/status"]), json!(["CREATE"])), String::new()),
            (rule(json!([]), json!(["CREATE"])), format!("{p}.resources: Required value")),
            (
                rule(json!(["*", "pods"]), json!(["CREATE"])),
                format!(
                    "{p}.resources: Invalid value: [\"*\",\"pods\"]: if '*' is present, must not specify other resources without subresources"
                ),
            ),
            (
                rule(json!(["pods"]), json!(["*", "CREATE"])),
                format!(
                    "{p}.operations: Invalid value: [\"*\",\"CREATE\"]: if '*' is present, must not specify other operations"
                ),
            ),
            (
                rule(json!(["pods"]), json!(["Nope"])),
                format!(
                    "{p}.operations[0]: Unsupported value: \"Nope\": supported values: \"*\", \"CONNECT\", \"CREATE\", \"DELETE\", \"UPDATE\""
                ),
            ),
        ] {
            let mut errors = Vec::new();
            check(&constraints, "m", &mut errors);
            assert_eq!(aggregate(&errors), want);
        }
    }
}
