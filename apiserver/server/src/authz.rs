//! Whether they may: RBAC over the roles and bindings in the cache (`plugin/pkg/auth/authorizer/rbac`), or everybody.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use apiserver_json::{Value, json};
use apiserver_registry::Registry;
use apiserver_watchcache::Object;

use crate::authn::User;

/// What somebody wants to do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attributes<'a> {
    pub verb: &'a str,
    pub group: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    pub name: &'a str,
    pub namespace: Option<&'a str>,
    /// Of a request that is about no resource.
    pub path: Option<&'a str>,
}

impl Attributes<'_> {
    /// Whether it is about a resource, or a subresource as `pods/log`. A review may ask for the latter as a resource.
    pub(crate) fn is_about(&self, known: &str) -> bool {
        if self.subresource.is_empty() {
            return known == self.resource;
        }
        let sub = known.strip_prefix(self.resource).and_then(|rest| rest.strip_prefix('/'));
        sub == Some(self.subresource)
    }
}

/// The RBAC authorizer. Its index is rebuilt when a role or binding changed.
#[derive(Debug, Default)]
pub(crate) struct Rbac {
    /// Who is granted nothing may all the same: the mode `AlwaysAllow`.
    always_allows: bool,
    index: Mutex<Option<(Stamp, Arc<Index>)>>,
}

/// Identity of the four resources' states: the newest revision and the count of each.
type Stamp = [(u64, usize); 4];

const PREFIXES: [&str; 4] = [
    "/registry/rbac.authorization.k8s.io/roles/",
    "/registry/rbac.authorization.k8s.io/clusterroles/",
    "/registry/rbac.authorization.k8s.io/rolebindings/",
    "/registry/rbac.authorization.k8s.io/clusterrolebindings/",
];

#[derive(Debug, Default)]
pub(crate) struct Index {
    /// Rules by `namespace/name`; cluster roles have an empty namespace.
    rules: HashMap<String, Vec<Rule>>,
    bindings: Vec<Binding>,
}

#[derive(Debug)]
struct Binding {
    name: String,
    /// Empty for cluster role bindings.
    namespace: String,
    role: String,
    subjects: Vec<Value>,
}

/// A rule of a role.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rule {
    pub verbs: Vec<String>,
    pub groups: Vec<String>,
    pub resources: Vec<String>,
    pub names: Vec<String>,
    pub urls: Vec<String>,
}

impl Binding {
    fn describe(&self, subject: &Value) -> String {
        let text = |member: &str| subject[member].as_str().unwrap_or("");
        let shown = match text("kind") {
            "ServiceAccount" => {
                let namespace = subject["namespace"].as_str().unwrap_or(&self.namespace);
                format!("ServiceAccount \"{}/{namespace}\"", text("name"))
            }
            kind => format!("{kind} {:?}", text("name")),
        };
        let (role_namespace, role) = self.role.split_once('/').unwrap_or(("", &self.role));
        let role_kind = if role_namespace.is_empty() { "ClusterRole" } else { "Role" };
        if self.namespace.is_empty() {
            format!("RBAC: allowed by ClusterRoleBinding {:?} of {role_kind} {role:?} to {shown}", self.name)
        } else {
            format!(
                "RBAC: allowed by RoleBinding \"{}/{}\" of {role_kind} {role:?} to {shown}",
                self.name, self.namespace
            )
        }
    }
}

impl Rule {
    pub(crate) fn parse(rule: &Value) -> Self {
        let list = |member: &str| {
            rule.get(member)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect()
        };
        Self {
            verbs: list("verbs"),
            groups: list("apiGroups"),
            resources: list("resources"),
            names: list("resourceNames"),
            urls: list("nonResourceURLs"),
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        let mut rule = json!({"verbs": self.verbs});
        for (member, list) in
            [("apiGroups", &self.groups), ("resources", &self.resources), ("resourceNames", &self.names)]
        {
            if !list.is_empty() {
                rule[member] = json!(list);
            }
        }
        rule
    }

    fn allows(&self, wanted: &Attributes) -> bool {
        let has = |list: &[String], item: &str| list.iter().any(|known| known == "*" || known == item);
        if !has(&self.verbs, wanted.verb) {
            return false;
        }
        if let Some(path) = wanted.path {
            return self.urls.iter().any(|url| {
                url == "*"
                    || url == path
                    || url.strip_suffix('*').is_some_and(|prefix| path.starts_with(prefix))
            });
        }
        let all_of = |known: &str| {
            !wanted.subresource.is_empty() && known.strip_prefix("*/") == Some(wanted.subresource)
        };
        let resource =
            self.resources.iter().any(|known| known == "*" || wanted.is_about(known) || all_of(known));
        has(&self.groups, wanted.group)
            && resource
            && (self.names.is_empty() || self.names.iter().any(|name| name == wanted.name))
    }
}

impl Index {
    fn build(states: &[Vec<Arc<Object>>; 4]) -> Self {
        let mut index = Self::default();
        for role in states[0].iter().chain(&states[1]) {
            let role = role.parse();
            let rules = role["rules"].as_array().into_iter().flatten().map(Rule::parse).collect();
            let metadata = &role["metadata"];
            let key = format!(
                "{}/{}",
                metadata["namespace"].as_str().unwrap_or(""),
                metadata["name"].as_str().unwrap_or("")
            );
            index.rules.insert(key, rules);
        }
        for binding in states[2].iter().chain(&states[3]) {
            let binding = binding.parse();
            let namespace = binding["metadata"]["namespace"].as_str().unwrap_or("").to_owned();
            let role_namespace = if binding["roleRef"]["kind"] == "Role" { namespace.as_str() } else { "" };
            index.bindings.push(Binding {
                role: format!("{role_namespace}/{}", binding["roleRef"]["name"].as_str().unwrap_or("")),
                name: binding["metadata"]["name"].as_str().unwrap_or("").to_owned(),
                subjects: binding["subjects"].as_array().unwrap_or_default().to_vec(),
                namespace,
            });
        }
        index
    }

    fn reason(&self, user: &User, wanted: &Attributes) -> Option<String> {
        for binding in &self.bindings {
            if !binding.namespace.is_empty() && Some(binding.namespace.as_str()) != wanted.namespace {
                continue;
            }
            let Some(subject) =
                binding.subjects.iter().find(|subject| applies(subject, &binding.namespace, user))
            else {
                continue;
            };
            let rules = self.rules.get(&binding.role).map_or(&[][..], Vec::as_slice);
            if rules.iter().any(|rule| rule.allows(wanted)) {
                return Some(binding.describe(subject));
            }
        }
        None
    }

    /// The rules of a role; cluster roles have an empty namespace.
    pub(crate) fn rules_of(&self, namespace: &str, name: &str) -> Option<&[Rule]> {
        self.rules.get(&format!("{namespace}/{name}")).map(Vec::as_slice)
    }

    /// The rules that hold for a user in a namespace (and cluster-wide).
    pub(crate) fn rules_for<'a>(
        &'a self,
        user: &User,
        namespace: Option<&str>,
    ) -> impl Iterator<Item = &'a Rule> {
        let chosen: Vec<&Rule> = self
            .bindings
            .iter()
            .filter(|binding| binding.namespace.is_empty() || Some(binding.namespace.as_str()) == namespace)
            .filter(|binding| {
                binding.subjects.iter().any(|subject| applies(subject, &binding.namespace, user))
            })
            .filter_map(|binding| self.rules.get(&binding.role))
            .flatten()
            .collect();
        chosen.into_iter()
    }
}

fn applies(subject: &Value, namespace: &str, user: &User) -> bool {
    let name = subject["name"].as_str().unwrap_or("");
    match subject["kind"].as_str().unwrap_or("") {
        "User" => user.name == name,
        "Group" => user.is_in(name),
        "ServiceAccount" => {
            let namespace = subject["namespace"].as_str().unwrap_or(namespace);
            user.name == format!("system:serviceaccount:{namespace}:{name}")
        }
        _ => false,
    }
}

impl Rbac {
    pub(crate) fn new(always_allows: bool) -> Self {
        Self { always_allows, ..Self::default() }
    }

    /// The roles and bindings as they are now.
    pub(crate) fn index(&self, registry: &Registry) -> Arc<Index> {
        // Before the snapshots: what they have that is newer is indexed again, what they missed would stay.
        let changed = PREFIXES.map(|prefix| registry.cache().last_change(prefix));
        let snapshots = PREFIXES.map(|prefix| registry.cache().snapshot(prefix));
        let stamp = std::array::from_fn(|i| (changed[i], snapshots[i].objects.len()));
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, index)) = index.as_ref()
            && *known == stamp
        {
            return index.clone();
        }
        let states = snapshots.map(|snapshot| snapshot.objects.values().cloned().collect::<Vec<_>>());
        let built = Arc::new(Index::build(&states));
        *index = Some((stamp, built.clone()));
        built
    }

    /// Why the user may do this: the binding and role, as access reviews print them; empty for the masters, and where
    /// everybody may.
    pub(crate) fn reason(&self, registry: &Registry, user: &User, wanted: &Attributes) -> Option<String> {
        if user.is_in("system:masters") {
            return Some(String::new());
        }
        self.index(registry).reason(user, wanted).or_else(|| self.always_allows.then(String::new))
    }

    /// May the user do this?
    pub(crate) fn allows(&self, registry: &Registry, user: &User, wanted: &Attributes) -> bool {
        if self.always_allows || user.is_in("system:masters") {
            return true;
        }
        self.index(registry).rules_for(user, wanted.namespace).any(|rule| rule.allows(wanted))
    }

    /// The rules of a user, as SelfSubjectRulesReview prints them.
    pub(crate) fn review(
        &self,
        registry: &Registry,
        user: &User,
        namespace: &str,
    ) -> (Vec<Value>, Vec<Value>) {
        let index = self.index(registry);
        let (mut resources, mut urls) = (Vec::new(), Vec::new());
        for rule in index.rules_for(user, Some(namespace)) {
            if !rule.resources.is_empty() {
                resources.push(rule.to_json());
            }
            if !rule.urls.is_empty() {
                urls.push(json!({"verbs": rule.verbs, "nonResourceURLs": rule.urls}));
            }
        }
        if self.always_allows {
            resources.push(json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}));
            urls.push(json!({"verbs": ["*"], "nonResourceURLs": ["*"]}));
        }
        (resources, urls)
    }
}

/// Why a request is refused, in upstream's words.
pub(crate) fn refusal(user: &User, wanted: &Attributes) -> String {
    if let Some(path) = wanted.path {
        return format!("User {:?} cannot {} path {path:?}", user.name, wanted.verb);
    }
    let resource = if wanted.subresource.is_empty() {
        wanted.resource.to_owned()
    } else {
        format!("{}/{}", wanted.resource, wanted.subresource)
    };
    let place = match wanted.namespace {
        Some(namespace) => format!("in the namespace {namespace:?}"),
        None => "at the cluster scope".to_owned(),
    };
    format!(
        "User {:?} cannot {} resource {resource:?} in API group {:?} {place}",
        user.name, wanted.verb, wanted.group
    )
}
