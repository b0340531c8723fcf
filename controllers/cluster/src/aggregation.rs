//! ClusterRoles that gather: one with an `aggregationRule` has the rules of all that its selectors match.
//!
//! Who may write such a role is the API server's business.

use std::sync::Arc;

use controllers_kit::{Cache, Caches, Done, Error, Key, Queue, raw, selector};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use kube::api::{Patch, PatchParams};
use kube::core::Request;
use serde_json::json;

const MANAGER: &str = "clusterrole-aggregation-controller";

pub(crate) async fn run(caches: Caches) {
    let roles = caches.of::<ClusterRole>();
    let queue: Queue<Key> = Queue::new();
    let (q, all) = (queue.clone(), roles.clone());
    roles.on_change(move |change| {
        // Any role may be one that others gather.
        let gathering = all.all().into_iter().filter(|role| role.aggregation_rule.is_some());
        gathering.for_each(|role| q.add(Key::of(&role.metadata), change.story()));
    });
    roles.synced().await;
    for role in roles.all().iter().filter(|role| role.aggregation_rule.is_some()) {
        queue.add(Key::of(&role.metadata), "start");
    }
    let client = caches.client().clone();
    controllers_kit::run("clusterroleaggregation", queue, 1, move |key| {
        let (client, roles) = (client.clone(), roles.clone());
        async move { reconcile(client, &roles, key).await }
    })
    .await;
}

async fn reconcile(client: kube::Client, roles: &Cache<ClusterRole>, key: Key) -> Result<Done, Error> {
    let Some(role) = roles.get(&key).filter(|role| role.aggregation_rule.is_some()) else {
        return Ok(Done::nothing());
    };
    let rules = gather(&role, &roles.all());
    if role.rules.as_deref().unwrap_or_default() == rules {
        return Ok(Done::nothing());
    }
    let count = rules.len();
    let patch = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": key.name}, "rules": rules,
    });
    let request = Request::new("/apis/rbac.authorization.k8s.io/v1/clusterroles").patch(
        &key.name,
        &PatchParams::apply(MANAGER).force(),
        &Patch::Apply(&patch),
    );
    raw::send(client, request).await?;
    Ok(Done::change(format!("gathered {count} rules")))
}

/// The rules of the matching roles: selector by selector, role by role in order of name, each once.
fn gather(role: &ClusterRole, all: &[Arc<ClusterRole>]) -> Vec<PolicyRule> {
    let mut rules: Vec<PolicyRule> = Vec::new();
    let selectors =
        role.aggregation_rule.iter().flat_map(|rule| rule.cluster_role_selectors.iter().flatten());
    for selector in selectors {
        let matching = all.iter().filter(|other| {
            other.metadata.name != role.metadata.name
                && selector::matches(selector, other.metadata.labels.as_ref())
        });
        for rule in matching.flat_map(|other| other.rules.iter().flatten()) {
            if !rules.contains(rule) {
                rules.push(rule.clone());
            }
        }
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(value: serde_json::Value) -> Arc<ClusterRole> {
        Arc::new(serde_json::from_value(value).expect("a ClusterRole"))
    }

    #[test]
    fn rules_are_gathered_once_and_in_order() {
        let gathering = role(json!({
            "metadata": {"name": "all", "labels": {"to": "all"}},
            "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"to": "all"}}]},
            "rules": [{"verbs": ["stale"]}],
        }));
        let part = |name: &str, verb: &str| {
            role(json!({"metadata": {"name": name, "labels": {"to": "all"}}, "rules": [{"verbs": [verb]}]}))
        };
        let other = role(json!({"metadata": {"name": "other"}, "rules": [{"verbs": ["no"]}]}));
        let all = [gathering.clone(), part("a", "get"), part("b", "get"), part("c", "list"), other];
        let verbs: Vec<_> = gather(&gathering, &all).into_iter().flat_map(|rule| rule.verbs).collect();
        assert_eq!(verbs, ["get", "list"]);
    }
}
