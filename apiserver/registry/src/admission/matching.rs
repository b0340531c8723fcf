//! Whether a write is one that rules and selectors name: those of policies and of webhooks alike.

use std::sync::{Arc, OnceLock};

use apiserver_json::Value;
use apiserver_meta::selector::LabelSelector;

use super::request::is_namespace;
use super::{Attempt, Operation};
use crate::catalogue::Resource;
use crate::object;
use crate::registry::{Call, Registry};
use crate::strategy::shared::{items, text};

/// What is around a write and looked up once for all that ask about it.
#[derive(Default)]
pub(super) struct Surroundings {
    /// The namespace it is in.
    namespace: Option<Value>,
    /// Other versions that serve the same objects.
    equivalents: OnceLock<Vec<Arc<Resource>>>,
}

impl Surroundings {
    pub(super) fn of(registry: &Registry, call: &Call<'_>) -> Self {
        let name = call.namespace.filter(|_| call.resource.namespaced);
        let found = name.and_then(|name| registry.cache().get(&format!("/registry/core/namespaces/{name}")));
        Self { namespace: found.map(|found| found.parse()), equivalents: OnceLock::new() }
    }
}

/// A write that somebody asks about.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub registry: &'a Registry,
    pub call: &'a Call<'a>,
    pub attempt: Attempt<'a>,
    pub around: &'a Surroundings,
}

impl Asked<'_> {
    /// The namespace of the object; a Namespace is its own, as it is going to be where it is written as a whole.
    pub(super) fn namespace(&self) -> Option<&Value> {
        if is_namespace(self.call.resource) {
            let next = self.attempt.object.filter(|_| self.call.subresource.is_empty());
            return next.or(self.attempt.old).or(self.attempt.object);
        }
        self.around.namespace.as_ref()
    }

    /// What expressions call `namespaceObject`: nothing where the object is a Namespace itself.
    pub(super) fn namespace_object(&self) -> Option<&Value> {
        self.around.namespace.as_ref()
    }

    /// The version of the resource that a rule names: the request's own, else one that serves the same objects.
    pub(super) fn named(&self, rules: &[Value], equivalents: bool) -> Option<Arc<Resource>> {
        let own = self.call.resource;
        if rules.iter().any(|rule| self.names(rule, own)) {
            return Some(own.clone());
        }
        let others = if equivalents { self.equivalents() } else { &[] };
        rules.iter().find_map(|rule| others.iter().find(|other| self.names(rule, other))).cloned()
    }

    fn equivalents(&self) -> &[Arc<Resource>] {
        self.around.equivalents.get_or_init(|| {
            let own = self.call.resource;
            let catalogue = self.registry.catalogue();
            let same = |other: &Arc<Resource>| {
                other.prefix == own.prefix && (&other.group, &other.version) != (&own.group, &own.version)
            };
            catalogue.all().filter(|other| same(other)).cloned().collect()
        })
    }

    fn names(&self, rule: &Value, resource: &Resource) -> bool {
        let listed = items(rule, "resourceNames");
        names(rule, self.attempt.operation, resource, self.call.subresource)
            && (listed.is_empty() || listed.iter().any(|name| name == self.attempt.name))
    }

    /// Objects of no namespace meet every namespace selector.
    pub(super) fn is_in(&self, selector: &LabelSelector) -> bool {
        let namespaced = self.call.resource.namespaced || is_namespace(self.call.resource);
        !namespaced || selector.is_everything() || self.namespace().is_some_and(|it| fits(selector, it))
    }

    /// Is the object, or what it was, one that the selector chooses?
    pub(super) fn is_chosen(&self, selector: &LabelSelector) -> bool {
        let mut objects = [self.attempt.object, self.attempt.old].into_iter().flatten();
        selector.is_everything() || objects.any(|object| fits(selector, object))
    }

    /// Could a write meet the rules of a policy, wherever it is and whatever the object is?
    pub(super) fn is_named_by(&self, constraints: &Value) -> bool {
        let equivalents = text(constraints, "matchPolicy") != "Exact";
        self.named(items(constraints, "resourceRules"), equivalents).is_some()
    }

    /// The version in which a write meets `MatchResources`. Constraints of a policy need a rule; those of a binding
    /// narrow, so none means all.
    pub(super) fn constrained(&self, constraints: &Value, needs_rule: bool) -> Option<Arc<Resource>> {
        let own = || Some(self.call.resource.clone());
        if !constraints.is_object() {
            return if needs_rule { None } else { own() };
        }
        let selector = |member: &str| LabelSelector::from_json(&constraints[member]);
        let (namespaces, objects) = (selector("namespaceSelector")?, selector("objectSelector")?);
        if !self.is_in(&namespaces) || !self.is_chosen(&objects) {
            return None;
        }
        let equivalents = text(constraints, "matchPolicy") != "Exact";
        if self.named(items(constraints, "excludeResourceRules"), equivalents).is_some() {
            return None;
        }
        match items(constraints, "resourceRules") {
            [] if needs_rule => None,
            [] => own(),
            rules => self.named(rules, equivalents),
        }
    }
}

/// Does a rule name what is done to a resource, or to a subresource of it?
fn names(rule: &Value, operation: Operation, resource: &Resource, subresource: &str) -> bool {
    let scope = match text(rule, "scope") {
        "Cluster" => !resource.namespaced,
        "Namespaced" => resource.namespaced,
        _ => true,
    };
    let entry = |pattern: &str| {
        let (wanted, below) = pattern.split_once('/').unwrap_or((pattern, ""));
        (wanted == "*" || wanted == resource.name) && (below == "*" || below == subresource)
    };
    scope
        && has(rule, "operations", operation.name())
        && has(rule, "apiGroups", &resource.group)
        && has(rule, "apiVersions", &resource.version)
        && items(rule, "resources").iter().filter_map(Value::as_str).any(entry)
}

fn has(rule: &Value, list: &str, wanted: &str) -> bool {
    items(rule, list).iter().filter_map(Value::as_str).any(|entry| entry == "*" || entry == wanted)
}

fn fits(selector: &LabelSelector, object: &Value) -> bool {
    let labels = object::metadata(object).get("labels");
    selector.matches(|label| labels?.get(label)?.as_str())
}

#[cfg(test)]
mod tests {
    use apiserver_json::json;

    use super::*;
    use crate::catalogue::Catalogue;

    #[test]
    fn rules_name_operations_resources_and_scopes() {
        let catalogue = Catalogue::builtin();
        let rule = |operations: Value, group: &str, version: &str, resource: &str, scope: &str| json!({"operations": operations, "apiGroups": [group], "apiVersions": [version], "resources": [resource], "scope": scope});
        let create = || json!(["CREATE"]);
        let pod = ("", "v1", "pods", "");
        let status = ("", "v1", "pods", "status");
        let deployment = ("apps", "v1", "deployments", "");
        let namespace = ("", "v1", "namespaces", "");
        for (rule, (group, version, resource, below), want) in [
            (rule(create(), "", "v1", "pods", "*"), pod, true),
            (rule(json!(["*"]), "*", "*", "*", "*"), pod, true),
            (rule(json!(["UPDATE", "DELETE"]), "", "v1", "pods", "*"), pod, false),
            (rule(create(), "apps", "v1", "pods", "*"), pod, false),
            (rule(create(), "", "v2", "pods", "*"), pod, false),
            (rule(create(), "", "v1", "services", "*"), pod, false),
            (rule(create(), "", "v1", "pods", "Cluster"), pod, false),
            (rule(create(), "", "v1", "pods", "Namespaced"), pod, true),
            (rule(create(), "", "v1", "*", "Cluster"), namespace, true),
            (rule(create(), "", "v1", "*", "Namespaced"), namespace, false),
            (rule(create(), "*", "*", "*", "*"), status, false),
            (rule(create(), "*", "*", "*/*", "*"), status, true),
            (rule(create(), "*", "*", "*/*", "*"), deployment, true),
            (rule(create(), "", "v1", "pods/*", "*"), status, true),
            (rule(create(), "", "v1", "pods/*", "*"), pod, true),
            (rule(create(), "", "v1", "pods/status", "*"), status, true),
            (rule(create(), "", "v1", "pods/status", "*"), pod, false),
            (rule(create(), "", "v1", "*/status", "*"), status, true),
            (rule(create(), "", "v1", "pods/exec", "*"), status, false),
        ] {
            let resource = catalogue.get(group, version, resource).expect("a built-in resource");
            assert_eq!(names(&rule, Operation::Create, resource, below), want, "{rule} {below}");
        }
    }
}
