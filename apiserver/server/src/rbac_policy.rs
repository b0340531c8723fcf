//! Bootstrap roles and bindings that are there already get back what they lack, whenever a server starts:
//! `k8s.io/component-helpers/auth/rbac/reconciliation` and `pkg/registry/rbac/rest/storage_rbac.go` upstream.

use apiserver_json::{Value, json};
use apiserver_meta::Status;
use apiserver_registry::{Changed, DeleteOptions, Registry, Resource, object};
use std::sync::Arc;

use crate::authz::Rule;
use crate::escalation::uncovered;
use crate::housekeeping::call;

const GROUP: &str = "rbac.authorization.k8s.io";
/// Whoever sets this to `false` keeps a role as it is.
const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// Roles whose rules moved to another one, and that one.
const AGGREGATED: [(&str, &str); 3] = [
    ("admin", "system:aggregate-to-admin"),
    ("edit", "system:aggregate-to-edit"),
    ("view", "system:aggregate-to-view"),
];
/// The binding that was part of another one, and that one.
const SPLIT: (&str, &str) = ("system:public-info-viewer", "system:discovery");

/// What is to be done with an object that is there.
#[derive(Debug, PartialEq)]
enum Step {
    Nothing,
    Update(Value),
    /// What a binding leads to can't be changed.
    Recreate,
}

fn find(registry: &Registry, plural: &str, namespace: Option<&str>, name: &str) -> Option<Value> {
    let catalogue = registry.catalogue();
    let resource = catalogue.get(GROUP, "v1", plural)?;
    Some(registry.cache().get(&resource.key(namespace, name))?.parse())
}

/// Before anything is made: what an older server had in one object and this one has in two keeps what was changed of it.
pub(crate) fn carry_over(registry: &Registry, objects: &mut [Value]) {
    let mut carry = |plural: &str, kind: &str, from: &str, to: &str, members: &[&str]| {
        let Some(before) = find(registry, plural, None, from) else { return };
        if find(registry, plural, None, to).is_some() || before.get("aggregationRule").is_some() {
            return;
        }
        let made = objects.iter_mut().find(|made| made["kind"] == kind && object::name(made) == to);
        let Some(made) = made else { return };
        for member in members {
            made[member] = before.get(*member).cloned().unwrap_or_else(|| json!([]));
        }
        for member in ["labels", "annotations"] {
            let given = before["metadata"].get(member).cloned();
            made["metadata"][member] = given.unwrap_or_else(|| json!({}));
        }
    };
    for (from, to) in AGGREGATED {
        carry("clusterroles", "ClusterRole", from, to, &["rules"]);
    }
    carry("clusterrolebindings", "ClusterRoleBinding", SPLIT.1, SPLIT.0, &["subjects"]);
}

/// Gives what is there what it lacks of these. What fails is told and left.
pub(crate) async fn reconcile(registry: &Registry, expected: &[Value]) {
    let catalogue = registry.catalogue();
    for expected in expected.iter().filter(|object| object["apiVersion"] == "rbac.authorization.k8s.io/v1") {
        let gvk = apiserver_meta::GroupVersionKind::new(GROUP, "v1", expected["kind"].as_str().unwrap_or(""));
        let Some(resource) = catalogue.by_kind(&gvk) else { continue };
        let (namespace, name) = (object::namespace(expected), object::name(expected));
        let namespace = Some(namespace).filter(|namespace| !namespace.is_empty());
        let Some(found) = registry.cache().get(&resource.key(namespace, name)) else { continue };
        let done = match step(expected, &found.parse()) {
            Step::Nothing => continue,
            Step::Update(_) => update(registry, resource, namespace, expected).await,
            Step::Recreate => recreate(registry, resource, namespace, expected).await,
        };
        match done {
            Ok(()) => {
                tracing::info!(kind = gvk.kind, name, "what it lacked of the bootstrap policy was added")
            }
            Err(error) => {
                tracing::warn!(error = %error, kind = gvk.kind, name, "the bootstrap policy could not be restored")
            }
        }
    }
}

async fn update(
    registry: &Registry,
    resource: &Arc<Resource>,
    namespace: Option<&str>,
    expected: &Value,
) -> Result<(), Status> {
    let change = |live: Option<&Value>| {
        let live = live.cloned().unwrap_or_default();
        Ok(Changed::Patched(match step(expected, &live) {
            Step::Update(next) => next,
            Step::Nothing | Step::Recreate => live,
        }))
    };
    registry.update(&call(resource, namespace, ""), object::name(expected), false, change).await.map(drop)
}

async fn recreate(
    registry: &Registry,
    resource: &Arc<Resource>,
    namespace: Option<&str>,
    expected: &Value,
) -> Result<(), Status> {
    let call = call(resource, namespace, "");
    registry.delete(&call, object::name(expected), &DeleteOptions::default()).await?;
    registry.create(&call, expected.clone()).await.map(drop)
}

fn step(expected: &Value, existing: &Value) -> Step {
    let metadata = &existing["metadata"];
    if metadata["annotations"][AUTO_UPDATE] == "false" {
        return Step::Nothing;
    }
    if existing.get("roleRef") != expected.get("roleRef") {
        return Step::Recreate;
    }
    let mut next = existing.clone();
    for member in ["annotations", "labels"] {
        let wanted = expected["metadata"][member].as_object();
        for (name, value) in wanted.into_iter().flatten() {
            if metadata[member].get(name).is_none() {
                next["metadata"][member][name] = value.clone();
            }
        }
    }
    let rules = |role: &Value| -> Vec<Rule> {
        role["rules"].as_array().into_iter().flatten().map(Rule::parse).collect()
    };
    let held = rules(existing);
    let lacks = uncovered(&held.iter().collect::<Vec<_>>(), &rules(expected));
    extend(&mut next, "rules", lacks.iter().map(Rule::to_json));
    let wanted = expected["subjects"].as_array().unwrap_or_default();
    let known = existing["subjects"].as_array().unwrap_or_default();
    extend(&mut next, "subjects", wanted.iter().filter(|subject| !known.contains(subject)).cloned());
    let selectors = |role: &Value| {
        let gathered = role.pointer("/aggregationRule/clusterRoleSelectors");
        gathered.and_then(Value::as_array).unwrap_or_default().to_vec()
    };
    if expected.get("aggregationRule").is_none()
        && let Some(role) = next.as_object_mut()
    {
        role.remove("aggregationRule");
    }
    let known = selectors(existing);
    let lacks: Vec<Value> =
        selectors(expected).into_iter().filter(|selector| !known.contains(selector)).collect();
    if !lacks.is_empty() {
        extend(&mut next["aggregationRule"], "clusterRoleSelectors", lacks);
    }
    if next == *existing { Step::Nothing } else { Step::Update(next) }
}

fn extend(object: &mut Value, member: &str, more: impl IntoIterator<Item = Value>) {
    let mut list = object.get(member).and_then(Value::as_array).unwrap_or_default().to_vec();
    let before = list.len();
    list.extend(more);
    if list.len() > before {
        object[member] = list.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(rules: Value) -> Value {
        json!({"metadata": {"name": "r", "labels": {"a": "b"}}, "rules": rules})
    }

    #[test]
    fn what_a_role_lacks_is_added_and_what_it_has_stays() {
        let pods = |verbs: Value| json!({"verbs": verbs, "apiGroups": [""], "resources": ["pods"]});
        let expected = role(json!([pods(json!(["get", "list"]))]));
        let own = json!({"verbs": ["get"], "apiGroups": ["x"], "resources": ["y"]});
        for (existing, want) in [
            (expected.clone(), None),
            (role(json!([pods(json!(["*"]))])), None),
            (
                role(json!([own.clone(), pods(json!(["get"]))])),
                Some(role(json!([own, pods(json!(["get"])), pods(json!(["list"]))]))),
            ),
            (json!({"metadata": {"name": "r"}, "rules": expected["rules"]}), Some(expected.clone())),
            (json!({"metadata": {"name": "r", "annotations": {AUTO_UPDATE: "false"}}}), None),
        ] {
            let next = match step(&expected, &existing) {
                Step::Update(next) => Some(next),
                _ => None,
            };
            assert_eq!(next, want, "{existing}");
        }
    }

    #[test]
    fn a_binding_keeps_its_subjects_and_is_made_anew_for_another_role() {
        let subject = |name: &str| json!({"kind": "Group", "name": name});
        let binding = |role: &str, names: &[&str]| {
            let subjects: Vec<Value> = names.iter().map(|name| subject(name)).collect();
            json!({"metadata": {"name": "b"}, "roleRef": {"name": role}, "subjects": subjects})
        };
        let expected = binding("r", &["x"]);
        assert_eq!(step(&expected, &binding("r", &["y", "x"])), Step::Nothing);
        assert_eq!(step(&expected, &binding("s", &["x"])), Step::Recreate);
        let Step::Update(next) = step(&expected, &binding("r", &["y"])) else { panic!("it lacks one") };
        assert_eq!(next["subjects"], json!([subject("y"), subject("x")]));
    }
}
