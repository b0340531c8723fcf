//! Nobody grants what they do not hold: roles and bindings are refused where they would.
//!
//! `pkg/registry/rbac` upstream, with its comparator of rules (`k8s.io/component-helpers/auth/rbac/validation`).

use std::collections::BTreeSet;

use apiserver_json::Value;
use apiserver_meta::Status;
use apiserver_registry::{Resource, object};

use crate::authn::User;
use crate::authz::{Attributes, Rule};
use crate::context::Context;

const GROUP: &str = "rbac.authorization.k8s.io";

/// Refuses a role or binding that gives more than its writer has. `old` is what it was before.
///
/// # Errors
/// 403 with the missing rules; 404 where a binding names a role that does not exist.
pub(crate) fn check(
    context: &Context<'_>,
    resource: &Resource,
    new: &Value,
    old: Option<&Value>,
) -> Result<(), Status> {
    let user = context.user;
    if resource.group != GROUP
        || user.is_in("system:masters")
        || old.is_some_and(|old| same_meaning(new, old))
    {
        return Ok(());
    }
    let namespace = context.info.scope().filter(|_| resource.namespaced);
    match resource.name.as_str() {
        "roles" | "clusterroles" => check_role(context, resource, new, old, namespace),
        "rolebindings" | "clusterrolebindings" => check_binding(context, resource, new, namespace),
        _ => Ok(()),
    }
}

/// What the garbage collector may always change: finalizers and owners.
fn same_meaning(new: &Value, old: &Value) -> bool {
    ["rules", "aggregationRule", "roleRef", "subjects"]
        .iter()
        .all(|member| new.get(*member) == old.get(*member))
        && ["labels", "annotations"]
            .iter()
            .all(|member| new["metadata"].get(*member) == old["metadata"].get(*member))
}

fn check_role(
    context: &Context<'_>,
    resource: &Resource,
    new: &Value,
    old: Option<&Value>,
    namespace: Option<&str>,
) -> Result<(), Status> {
    let wanted = Attributes {
        verb: "escalate",
        group: GROUP,
        resource: &resource.name,
        name: &context.info.name,
        namespace,
        ..Attributes::default()
    };
    if may(context, &wanted) {
        return Ok(());
    }
    let forbidden = |why: &str| Status::forbidden(&resource.group_resource(), object::name(new), why);
    let rules: Vec<Rule> = new["rules"].as_array().into_iter().flatten().map(Rule::parse).collect();
    confirm(context, &rules, namespace).map_err(|why| forbidden(&why))?;
    let gathers = |role: &Value| {
        role.pointer("/aggregationRule/clusterRoleSelectors")
            .and_then(Value::as_array)
            .is_some_and(|all| !all.is_empty())
    };
    if gathers(new) || old.is_some_and(gathers) {
        let everything = [
            Rule { verbs: any(), groups: any(), resources: any(), ..Rule::default() },
            Rule { verbs: any(), urls: any(), ..Rule::default() },
        ];
        if confirm(context, &everything, namespace).is_err() {
            return Err(forbidden("must have cluster-admin privileges to use the aggregationRule"));
        }
    }
    Ok(())
}

fn any() -> Vec<String> {
    vec!["*".to_owned()]
}

fn check_binding(
    context: &Context<'_>,
    resource: &Resource,
    new: &Value,
    namespace: Option<&str>,
) -> Result<(), Status> {
    let text = |member: &str| new["roleRef"][member].as_str().unwrap_or("");
    let (of, home) = match text("kind") {
        "ClusterRole" => ("clusterroles", None),
        "Role" => ("roles", namespace),
        kind => return Err(Status::new(500, "", format!("unsupported role reference kind: {kind:?}"))),
    };
    let wanted = Attributes {
        verb: "bind",
        group: GROUP,
        resource: of,
        name: text("name"),
        namespace,
        ..Attributes::default()
    };
    if may(context, &wanted) {
        return Ok(());
    }
    // What is looked up has a place and a name.
    let lacking = match (of, home, text("name")) {
        ("roles", None, _) => Some("Namespace"),
        (_, _, "") => Some("Name"),
        _ => None,
    };
    if let Some(what) = lacking {
        return Err(Status::bad_request(format!("{what} parameter required.")));
    }
    let index = context.server.inner.rbac.index(context.server.registry());
    let Some(rules) = index.rules_of(home.unwrap_or(""), text("name")) else {
        // It is the role that is missing, but the bindings that are told of.
        return Err(Status::not_found(&resource.group_resource(), text("name")));
    };
    confirm(context, rules, namespace)
        .map_err(|why| Status::forbidden(&resource.group_resource(), object::name(new), &why))
}

fn may(context: &Context<'_>, wanted: &Attributes) -> bool {
    context.server.inner.rbac.allows(context.server.registry(), context.user, wanted)
}

fn confirm(context: &Context<'_>, rules: &[Rule], namespace: Option<&str>) -> Result<(), String> {
    let index = context.server.inner.rbac.index(context.server.registry());
    let held: Vec<&Rule> = index.rules_for(context.user, namespace).collect();
    let missing = uncovered(&held, rules);
    if missing.is_empty() { Ok(()) } else { Err(sentence(context.user, missing)) }
}

/// What of `wanted` is not held, as rules of one verb on one thing.
pub(crate) fn uncovered(held: &[&Rule], wanted: &[Rule]) -> Vec<Rule> {
    let parts = wanted.iter().flat_map(break_down);
    parts.filter(|part| !held.iter().any(|rule| covers(rule, part))).collect()
}

fn sentence(user: &User, missing: Vec<Rule>) -> String {
    let lines: BTreeSet<String> = compact(missing).iter().map(describe).collect();
    format!(
        "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
        user.name,
        quoted(&user.groups),
        lines.into_iter().collect::<Vec<_>>().join("\n")
    )
}

/// As Go prints a slice of strings with `%q`.
fn quoted(list: &[String]) -> String {
    format!("[{}]", list.iter().map(|text| format!("{text:?}")).collect::<Vec<_>>().join(" "))
}

/// A rule as rules of one verb on one thing.
fn break_down(rule: &Rule) -> Vec<Rule> {
    let one = |text: &String| vec![text.clone()];
    let mut out = Vec::new();
    for group in &rule.groups {
        for resource in &rule.resources {
            for verb in &rule.verbs {
                let simple = Rule {
                    verbs: one(verb),
                    groups: one(group),
                    resources: one(resource),
                    ..Rule::default()
                };
                if rule.names.is_empty() {
                    out.push(simple);
                    continue;
                }
                out.extend(rule.names.iter().map(|name| Rule { names: one(name), ..simple.clone() }));
            }
        }
    }
    for url in &rule.urls {
        let of = |verb| Rule { verbs: one(verb), urls: one(url), ..Rule::default() };
        out.extend(rule.verbs.iter().map(of));
    }
    out
}

fn covers(held: &Rule, wanted: &Rule) -> bool {
    let all = |held: &[String], wanted: &[String]| {
        held.iter().any(|known| known == "*") || wanted.iter().all(|item| held.contains(item))
    };
    let resources = all(&held.resources, &wanted.resources)
        || wanted.resources.iter().all(|resource| {
            let of_any = resource.split_once('/').map(|(_, subresource)| format!("*/{subresource}"));
            held.resources.contains(resource) || of_any.is_some_and(|of_any| held.resources.contains(&of_any))
        });
    let url = |wanted: &String| {
        held.urls.iter().any(|known| {
            known == wanted || known.strip_suffix('*').is_some_and(|prefix| wanted.starts_with(prefix))
        })
    };
    let names = held.names.is_empty()
        || !wanted.names.is_empty() && wanted.names.iter().all(|name| held.names.contains(name));
    all(&held.verbs, &wanted.verbs)
        && all(&held.groups, &wanted.groups)
        && resources
        && wanted.urls.iter().all(url)
        && names
}

/// Joins the verbs of rules about the same thing.
fn compact(rules: Vec<Rule>) -> Vec<Rule> {
    let mut out: Vec<Rule> = Vec::new();
    for rule in rules {
        let same = |known: &&mut Rule| {
            rule.urls.is_empty()
                && known.urls.is_empty()
                && (&known.groups, &known.resources, &known.names)
                    == (&rule.groups, &rule.resources, &rule.names)
        };
        match out.iter_mut().find(same) {
            Some(known) => known.verbs.extend(rule.verbs),
            None => out.push(rule),
        }
    }
    out
}

fn describe(rule: &Rule) -> String {
    let parts = [
        ("APIGroups", &rule.groups),
        ("Resources", &rule.resources),
        ("NonResourceURLs", &rule.urls),
        ("ResourceNames", &rule.names),
        ("Verbs", &rule.verbs),
    ];
    let shown = parts.iter().filter(|(_, list)| !list.is_empty());
    let shown: Vec<String> = shown.map(|(name, list)| format!("{name}:{}", quoted(list))).collect();
    format!("{{{}}}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use apiserver_json::json;

    #[test]
    fn rules_cover_as_upstreams_comparator_says() {
        let cases = [
            (
                json!({"verbs": ["*"], "apiGroups": [""], "resources": ["pods"]}),
                json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}),
                true,
            ),
            (
                json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}),
                json!({"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}),
                false,
            ),
            (
                json!({"verbs": ["get"], "apiGroups": ["*"], "resources": ["*/scale"]}),
                json!({"verbs": ["get"], "apiGroups": ["apps"], "resources": ["deployments/scale"]}),
                true,
            ),
            (
                json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"]}),
                json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}),
                false,
            ),
            (
                json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}),
                json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"]}),
                true,
            ),
            (
                json!({"verbs": ["get"], "nonResourceURLs": ["/healthz/*"]}),
                json!({"verbs": ["get"], "nonResourceURLs": ["/healthz/etcd"]}),
                true,
            ),
            (
                json!({"verbs": ["get"], "nonResourceURLs": ["/healthz"]}),
                json!({"verbs": ["get"], "nonResourceURLs": ["/metrics"]}),
                false,
            ),
        ];
        for (held, wanted, expected) in cases {
            let pieces = break_down(&Rule::parse(&wanted));
            let held_rule = Rule::parse(&held);
            assert_eq!(pieces.iter().all(|piece| covers(&held_rule, piece)), expected, "{held} {wanted}");
        }
    }

    #[test]
    fn what_is_missing_is_told_compactly() {
        let rule =
            Rule::parse(&json!({"verbs": ["get", "list"], "apiGroups": ["", "apps"], "resources": ["x"]}));
        let user = User { name: "bob".into(), groups: vec!["a".into(), "b".into()], ..User::default() };
        assert_eq!(
            sentence(&user, break_down(&rule)),
            "user \"bob\" (groups=[\"a\" \"b\"]) is attempting to grant RBAC permissions not currently held:\n\
             {APIGroups:[\"\"], Resources:[\"x\"], Verbs:[\"get\" \"list\"]}\n\
             {APIGroups:[\"apps\"], Resources:[\"x\"], Verbs:[\"get\" \"list\"]}"
        );
    }
}
