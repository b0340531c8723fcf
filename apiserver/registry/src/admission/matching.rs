//! Whether a write is one that rules and selectors name: `MatchResources`.

use apiserver_meta::selector::LabelSelector;
use serde_json::Value;

use super::Attempt;
use crate::object;
use crate::registry::Call;
use crate::strategy::shared::{items, text};

/// Does the write match? Constraints of a policy need a rule; those of a binding narrow, so none means all.
pub(super) fn matches(
    constraints: &Value,
    call: &Call<'_>,
    attempt: Attempt<'_>,
    namespace: Option<&Value>,
    needs_rule: bool,
) -> bool {
    if !constraints.is_object() {
        return !needs_rule;
    }
    let any_version = text(constraints, "matchPolicy") != "Exact";
    let named =
        |list: &str| items(constraints, list).iter().any(|rule| names(rule, call, attempt, any_version));
    let rules = !items(constraints, "resourceRules").is_empty();
    if named("excludeResourceRules") || (rules && !named("resourceRules")) || (!rules && needs_rule) {
        return false;
    }
    // Objects of no namespace meet every namespace selector.
    let fits = |selector: &Value, object: &Value| {
        let Some(selector) = LabelSelector::from_json(selector) else { return false };
        let labels = object::metadata(object).get("labels");
        selector.matches(|label| labels?.get(label)?.as_str())
    };
    if namespace.is_some_and(|namespace| !fits(&constraints["namespaceSelector"], namespace)) {
        return false;
    }
    let selector = &constraints["objectSelector"];
    [attempt.object, attempt.old].into_iter().flatten().any(|object| fits(selector, object))
}

fn has(rule: &Value, list: &str, wanted: &str) -> bool {
    items(rule, list).iter().filter_map(Value::as_str).any(|entry| entry == "*" || entry == wanted)
}

fn names(rule: &Value, call: &Call<'_>, attempt: Attempt<'_>, any_version: bool) -> bool {
    let resource = call.resource;
    let scope = match text(rule, "scope") {
        "Cluster" => !resource.namespaced,
        "Namespaced" => resource.namespaced,
        _ => true,
    };
    let entry = |pattern: &str| {
        let (wanted, below) = pattern.split_once('/').unwrap_or((pattern, ""));
        (wanted == "*" || wanted == resource.name) && (below == "*" || below == call.subresource)
    };
    let listed = items(rule, "resourceNames");
    scope
        && has(rule, "operations", attempt.operation.name())
        && has(rule, "apiGroups", &resource.group)
        && (any_version || has(rule, "apiVersions", &resource.version))
        && items(rule, "resources").iter().filter_map(Value::as_str).any(entry)
        && (listed.is_empty() || listed.iter().any(|name| name == attempt.name))
}
