//! Which FlowSchema a request falls under, and which priority level that gives it: `pkg/util/flowcontrol` of
//! k8s.io/apiserver. Nothing waits here for it; an answer says it in two headers, as upstream's do.

use std::sync::{Arc, PoisonError, RwLock};

use apiserver_json::Value;
use apiserver_registry::Registry;
use apiserver_storage::Revision;
use apiserver_watchcache::Object;
use http::header::{HeaderName, HeaderValue};
use tokio::sync::watch;

use crate::authn::User;
use crate::authz::Attributes;

const SCHEMAS: &str = "/registry/flowcontrol.apiserver.k8s.io/flowschemas/";
const LEVELS: &str = "/registry/flowcontrol.apiserver.k8s.io/prioritylevelconfigurations/";

const SCHEMA_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");
const LEVEL_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");

/// The FlowSchemas in the order they are asked. Made anew when one of them, or a priority level, has changed; every
/// request asks, so that nobody may wait for the cache.
#[derive(Debug, Default)]
pub(crate) struct FlowControl {
    known: RwLock<Option<Known>>,
}

#[derive(Debug)]
struct Known {
    schemas: Vec<FlowSchema>,
    /// Of both resources.
    ticks: [watch::Receiver<Revision>; 2],
}

/// How a request is classified.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    schema_uid: HeaderValue,
    level_uid: HeaderValue,
}

#[derive(Debug)]
struct FlowSchema {
    precedence: i64,
    name: String,
    flow: Flow,
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    subjects: Vec<Subject>,
    resources: Vec<ResourceRule>,
    others: Vec<NonResourceRule>,
}

#[derive(Debug)]
enum Subject {
    User(String),
    Group(String),
    /// Of any name, where it is `*`.
    ServiceAccount {
        namespace: String,
        name: String,
    },
}

#[derive(Debug)]
struct ResourceRule {
    verbs: Vec<String>,
    groups: Vec<String>,
    resources: Vec<String>,
    is_cluster_scoped: bool,
    namespaces: Vec<String>,
}

#[derive(Debug)]
struct NonResourceRule {
    verbs: Vec<String>,
    urls: Vec<String>,
}

impl Flow {
    pub(crate) fn tell(self, headers: &mut Vec<(HeaderName, HeaderValue)>) {
        headers.extend([(SCHEMA_UID, self.schema_uid), (LEVEL_UID, self.level_uid)]);
    }
}

impl FlowControl {
    /// What a request of a user falls under. None where there is no FlowSchema for it, as before the bootstrap.
    pub(crate) fn classify(&self, registry: &Registry, user: &User, wanted: &Attributes) -> Option<Flow> {
        if let Some(known) = &*self.known.read().unwrap_or_else(PoisonError::into_inner)
            && known.is_current()
        {
            return known.flow_of(user, wanted);
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let ticks = match known.take() {
            Some(known) if known.ticks.iter().all(|tick| tick.has_changed().is_ok()) => known.ticks,
            _ => [SCHEMAS, LEVELS].map(|prefix| registry.cache().ticks(prefix)),
        };
        known.insert(Known::read(registry, ticks)).flow_of(user, wanted)
    }
}

impl Known {
    fn read(registry: &Registry, mut ticks: [watch::Receiver<Revision>; 2]) -> Self {
        // Before the snapshots: what they have that is newer is read again, what they missed would stay.
        ticks.iter_mut().for_each(watch::Receiver::mark_unchanged);
        let [schemas, levels] = [SCHEMAS, LEVELS].map(|prefix| {
            let found = registry.cache().snapshot(prefix).objects;
            found.values().map(|object: &Arc<Object>| object.parse()).collect::<Vec<_>>()
        });
        Self { schemas: in_order(&schemas, &levels), ticks }
    }

    fn is_current(&self) -> bool {
        self.ticks.iter().all(|tick| matches!(tick.has_changed(), Ok(false)))
    }

    fn flow_of(&self, user: &User, wanted: &Attributes) -> Option<Flow> {
        self.schemas.iter().find(|schema| schema.holds(user, wanted)).map(|schema| schema.flow.clone())
    }
}

/// FlowSchemas whose priority level is there, the first to be asked first.
fn in_order(schemas: &[Value], levels: &[Value]) -> Vec<FlowSchema> {
    let mut found: Vec<FlowSchema> = schemas
        .iter()
        .filter_map(|schema| {
            let level = &schema["spec"]["priorityLevelConfiguration"]["name"];
            let level = levels.iter().find(|known| known["metadata"]["name"] == *level)?;
            FlowSchema::parse(schema, level)
        })
        .collect();
    found.sort_by(|a, b| (a.precedence, &a.name).cmp(&(b.precedence, &b.name)));
    found
}

impl FlowSchema {
    fn parse(schema: &Value, level: &Value) -> Option<Self> {
        let uid = |object: &Value| HeaderValue::from_str(object["metadata"]["uid"].as_str()?).ok();
        Some(Self {
            precedence: schema["spec"]["matchingPrecedence"].as_i64().unwrap_or(0),
            name: text(&schema["metadata"], "name"),
            flow: Flow { schema_uid: uid(schema)?, level_uid: uid(level)? },
            rules: schema["spec"]["rules"].as_array().into_iter().flatten().map(Rule::parse).collect(),
        })
    }

    fn holds(&self, user: &User, wanted: &Attributes) -> bool {
        self.rules.iter().any(|rule| rule.holds(user, wanted))
    }
}

impl Rule {
    fn parse(rule: &Value) -> Self {
        let each = |member: &str| rule[member].as_array().unwrap_or_default().iter();
        Self {
            subjects: each("subjects").filter_map(Subject::parse).collect(),
            resources: each("resourceRules").map(ResourceRule::parse).collect(),
            others: each("nonResourceRules").map(NonResourceRule::parse).collect(),
        }
    }

    fn holds(&self, user: &User, wanted: &Attributes) -> bool {
        self.subjects.iter().any(|subject| subject.is(user))
            && match wanted.path {
                Some(path) => self.others.iter().any(|rule| rule.holds(wanted.verb, path)),
                None => self.resources.iter().any(|rule| rule.holds(wanted)),
            }
    }
}

impl Subject {
    fn parse(subject: &Value) -> Option<Self> {
        Some(match subject["kind"].as_str()? {
            "User" => Self::User(text(&subject["user"], "name")),
            "Group" => Self::Group(text(&subject["group"], "name")),
            "ServiceAccount" => {
                let account = &subject["serviceAccount"];
                Self::ServiceAccount { namespace: text(account, "namespace"), name: text(account, "name") }
            }
            _ => return None,
        })
    }

    fn is(&self, user: &User) -> bool {
        match self {
            Self::User(name) => name == "*" || *name == user.name,
            Self::Group(name) => name == "*" || user.is_in(name),
            Self::ServiceAccount { namespace, name } => user
                .name
                .strip_prefix("system:serviceaccount:")
                .and_then(|account| account.split_once(':'))
                .is_some_and(|account| account.0 == namespace && (name == "*" || account.1 == name)),
        }
    }
}

impl ResourceRule {
    fn parse(rule: &Value) -> Self {
        Self {
            verbs: texts(rule, "verbs"),
            groups: texts(rule, "apiGroups"),
            resources: texts(rule, "resources"),
            is_cluster_scoped: rule["clusterScope"].as_bool().unwrap_or(false),
            namespaces: texts(rule, "namespaces"),
        }
    }

    fn holds(&self, wanted: &Attributes) -> bool {
        has(&self.verbs, wanted.verb)
            && has(&self.groups, wanted.group)
            && self.resources.iter().any(|known| known == "*" || wanted.is_about(known))
            && match wanted.namespace.filter(|namespace| !namespace.is_empty()) {
                None => self.is_cluster_scoped,
                Some(namespace) => has(&self.namespaces, namespace),
            }
    }
}

impl NonResourceRule {
    fn parse(rule: &Value) -> Self {
        Self { verbs: texts(rule, "verbs"), urls: texts(rule, "nonResourceURLs") }
    }

    fn holds(&self, verb: &str, path: &str) -> bool {
        let holds = |url: &String| {
            url == path || url.strip_suffix('*').is_some_and(|prefix| path.starts_with(prefix))
        };
        has(&self.verbs, verb) && self.urls.iter().any(holds)
    }
}

fn has(list: &[String], item: &str) -> bool {
    list.iter().any(|known| known == "*" || known == item)
}

fn text(value: &Value, member: &str) -> String {
    value[member].as_str().unwrap_or("").to_owned()
}

fn texts(value: &Value, member: &str) -> Vec<String> {
    let list = value[member].as_array().unwrap_or_default();
    list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use apiserver_json::json;

    use super::*;

    fn object(name: &str, spec: &Value) -> Value {
        json!({"metadata": {"name": name, "uid": format!("uid-of-{name}")}, "spec": spec})
    }

    fn schema(name: &str, precedence: u32, level: &str, rule: &Value) -> Value {
        let level = json!({"name": level});
        let spec =
            json!({"matchingPrecedence": precedence, "priorityLevelConfiguration": level, "rules": [rule]});
        object(name, &spec)
    }

    fn rule(subject: &Value, of: &Value) -> Value {
        let mut rule = json!({"subjects": [subject]});
        rule[if of.get("resources").is_some() { "resourceRules" } else { "nonResourceRules" }] = json!([of]);
        rule
    }

    #[test]
    fn the_first_schema_that_holds_is_a_requests() {
        let user = |name: &str| json!({"kind": "User", "user": {"name": name}});
        let group = |name: &str| json!({"kind": "Group", "group": {"name": name}});
        let account = |namespace: &str, name: &str| json!({"kind": "ServiceAccount", "serviceAccount": {"namespace": namespace, "name": name}});
        let of = |verbs: &[&str], groups: &[&str], resources: &[&str], namespaces: &[&str]| json!({"verbs": verbs, "apiGroups": groups, "resources": resources, "namespaces": namespaces});
        let mut nodes = of(&["*"], &[""], &["nodes", "nodes/status"], &["n"]);
        nodes["clusterScope"] = json!(true);
        let all = of(&["*"], &["*"], &["*"], &["*"]);
        let paths = |urls: &[&str]| json!({"verbs": ["get"], "nonResourceURLs": urls});
        let schemas = [
            schema("last", 900, "l", &rule(&user("*"), &all)),
            schema("lost", 1, "gone", &rule(&user("*"), &all)),
            schema("accounts", 300, "l", &rule(&account("a", "*"), &all)),
            schema("account", 200, "l", &rule(&account("b", "x"), &all)),
            schema("nodes", 100, "l", &rule(&group("g"), &nodes)),
            schema("b", 50, "l", &rule(&user("u"), &of(&["get"], &["apps"], &["deployments"], &["n"]))),
            schema("a", 50, "l", &rule(&user("u"), &of(&["get"], &["apps"], &["*"], &["m"]))),
            schema("health", 40, "l", &rule(&group("*"), &paths(&["/healthz", "/live*"]))),
        ];
        let found = in_order(&schemas, &[object("l", &json!({}))]);
        let of = |user: &str, verb: &str, what: [&str; 3], namespace: Option<&str>| {
            let user =
                User { name: user.to_owned(), groups: vec![format!("{}g", &user[1..])], ..User::default() };
            let [group, resource, subresource] = what;
            let path = group.starts_with('/').then_some(group);
            let wanted = Attributes { verb, group, resource, subresource, name: "", namespace, path };
            let schema = found.iter().find(|schema| schema.holds(&user, &wanted));
            schema.map_or("", |schema| schema.name.as_str()).to_owned()
        };
        let deployments = ["apps", "deployments", ""];
        for (got, want) in [
            (of("u", "get", deployments, Some("n")), "b"),
            (of("u", "get", deployments, Some("m")), "a"),
            (of("u", "list", deployments, Some("n")), "last"),
            (of("u", "get", ["apps", "deployments", "scale"], Some("n")), "last"),
            (of("u", "get", ["apps", "deployments", "scale"], Some("m")), "a"),
            (of("u", "get", deployments, None), ""),
            (of("u", "get", ["", "nodes", "status"], None), "nodes"),
            (of("u", "get", ["", "nodes", "proxy"], None), ""),
            (of("v", "get", ["", "nodes", ""], Some("m")), "last"),
            (of("system:serviceaccount:a:x", "get", ["", "pods", ""], Some("m")), "accounts"),
            (of("system:serviceaccount:b:x", "get", ["", "pods", ""], Some("m")), "account"),
            (of("system:serviceaccount:b:y", "get", ["", "pods", ""], Some("m")), "last"),
            (of("u", "get", ["/healthz", "", ""], None), "health"),
            (of("u", "get", ["/healthz/x", "", ""], None), ""),
            (of("u", "get", ["/livez", "", ""], None), "health"),
            (of("u", "post", ["/livez", "", ""], None), ""),
        ] {
            assert_eq!(got, want);
        }
        assert_eq!(found.first().map(|schema| schema.flow.schema_uid.clone()).unwrap(), "uid-of-health");
        assert_eq!(found.first().map(|schema| schema.flow.level_uid.clone()).unwrap(), "uid-of-l");
    }
}
