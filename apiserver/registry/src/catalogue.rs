//! The table of kinds: which resources are served, under which names, with which verbs and subresources.
//!
//! Built-in rows are data (`data/resources.jsonl`, `data/columns.jsonl`); custom resources add rows while the
//! server runs. What a kind's rules are is the business of its strategy.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use apiserver_meta::{GroupResource, GroupVersionKind};
use apiserver_schema::Schema;
use serde::Deserialize;

use crate::custom::CustomVersion;
use crate::strategy::{self, Strategy};

/// One served resource of one group and version.
#[derive(Debug)]
pub struct Resource {
    pub group: String,
    pub version: String,
    /// Plural, as in paths: `deployments`.
    pub name: String,
    pub kind: String,
    pub list_kind: String,
    pub singular: String,
    pub namespaced: bool,
    pub verbs: Vec<String>,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
    pub subresources: Vec<Subresource>,
    pub columns: Vec<Column>,
    /// Key prefix of its objects, shared by all versions: `/registry/apps/deployments/`.
    pub prefix: String,
    /// The `apiVersion` its objects are stored with.
    pub stored_api_version: String,
    pub strategy: &'static Strategy,
    /// What a custom resource definition says of this version.
    pub custom: Option<Arc<CustomVersion>>,
    /// Of a built-in kind, once somebody has asked for it: to make all of them takes longer than to start.
    pub(crate) schema: OnceLock<Option<Arc<Schema>>>,
}

/// `deployments/scale` and the like.
#[derive(Clone, Debug, Deserialize)]
pub struct Subresource {
    pub name: String,
    pub kind: String,
    #[serde(default)]
    pub group: String,
    #[serde(default)]
    pub version: String,
    pub verbs: Vec<String>,
}

/// A Table column.
#[derive(Clone, Debug)]
pub struct Column {
    pub name: String,
    pub kind: String,
    pub format: String,
    pub priority: i32,
    pub description: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    group: String,
    version: String,
    resource: String,
    kind: String,
    singular: String,
    scope: String,
    verbs: Vec<String>,
    short_names: Vec<String>,
    categories: Vec<String>,
    subresources: Vec<Subresource>,
}

#[derive(Deserialize)]
struct ColumnRow {
    group: String,
    version: String,
    resource: String,
    columns: Vec<(String, String, String, i32)>,
}

impl Resource {
    pub fn gvk(&self) -> GroupVersionKind {
        GroupVersionKind::new(self.group.clone(), self.version.clone(), self.kind.clone())
    }

    /// Are its objects stored with the `apiVersion` they are served with?
    pub fn is_stored_as_served(&self) -> bool {
        let (group, version) =
            self.stored_api_version.split_once('/').unwrap_or(("", &self.stored_api_version));
        group == self.group && version == self.version
    }

    /// The kind as upstream's internal types name it, and with them what is invalid: Events of both groups are the core
    /// group's.
    pub fn internal_gvk(&self) -> GroupVersionKind {
        match self.gvk() {
            event if event.group == "events.k8s.io" => GroupVersionKind { group: String::new(), ..event },
            other => other,
        }
    }

    pub fn group_resource(&self) -> GroupResource {
        GroupResource::new(self.group.clone(), self.name.clone())
    }

    pub fn api_version(&self) -> String {
        self.gvk().api_version()
    }

    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|subresource| subresource.name == name)
    }

    /// The verbs that discovery tells of: of a definition that is going nothing can be written.
    pub fn told_verbs(&self) -> Vec<&str> {
        let terminating = self.custom.as_ref().is_some_and(|custom| custom.terminating);
        let is_told = |verb: &&str| !terminating || !matches!(*verb, "create" | "patch" | "update");
        self.verbs.iter().map(String::as_str).filter(is_told).collect()
    }

    pub fn has_verb(&self, verb: &str) -> bool {
        self.verbs.iter().any(|known| known == verb)
    }

    /// Key of an object.
    pub fn key(&self, namespace: Option<&str>, name: &str) -> Arc<str> {
        match namespace {
            Some(namespace) if self.namespaced => [&self.prefix, namespace, "/", name].concat().into(),
            _ => [&self.prefix, name].concat().into(),
        }
    }

    /// Key prefix of a namespace's objects, or of all of them.
    pub fn scope(&self, namespace: Option<&str>) -> String {
        match namespace {
            Some(namespace) if self.namespaced => [&self.prefix, namespace, "/"].concat(),
            _ => self.prefix.clone(),
        }
    }

    /// The structural schema of its objects; `None` where nothing is known of them.
    pub fn schema(&self) -> Option<Arc<Schema>> {
        match &self.custom {
            Some(custom) => Some(custom.schema.clone()),
            None => {
                let make = || apiserver_schema::builtin(&self.group, &self.version, &self.kind);
                self.schema.get_or_init(make).clone()
            }
        }
    }

    /// The versions of a custom resource whose objects are the same in all of them, by `apiVersion`.
    pub fn unconverted_versions(&self) -> Option<&apiserver_schema::Versions> {
        let custom = self.custom.as_ref().filter(|custom| custom.conversion.is_none())?;
        Some(&*custom.versions)
    }

    pub fn is_custom(&self) -> bool {
        self.custom.is_some()
    }
}

/// A group and its versions, the preferred one first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub name: String,
    pub versions: Vec<String>,
}

/// All rows. Immutable: a change makes a new catalogue.
#[derive(Clone, Debug)]
pub struct Catalogue {
    /// By name: of each few groups and versions.
    rows: HashMap<String, Vec<Arc<Resource>>>,
    /// Rows of a group version in the order discovery lists them.
    order: BTreeMap<(String, String), Vec<Arc<Resource>>>,
    groups: Vec<Group>,
}

/// Groups as a fresh server lists them; custom groups follow in alphabetical order.
const GROUP_ORDER: &[&str] = &[
    "",
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
    "flowcontrol.apiserver.k8s.io",
];

/// Resources that several groups or versions serve, and where their objects live.
const STORED_AS: &[(&str, &str, &str, &str)] = &[
    // served group, resource, storing group, stored apiVersion
    ("events.k8s.io", "events", "", "v1"),
    ("autoscaling", "horizontalpodautoscalers", "autoscaling", "autoscaling/v2"),
];

impl Catalogue {
    /// The built-in kinds.
    pub fn builtin() -> Self {
        let mut columns: HashMap<(String, String, String), Vec<Column>> = HashMap::new();
        for row in lines::<ColumnRow>(include_str!("../data/columns.jsonl")) {
            let described = row.columns.into_iter().map(|(name, kind, format, priority)| Column {
                description: String::new(),
                name,
                kind,
                format,
                priority,
            });
            columns.insert((row.group, row.version, row.resource), described.collect());
        }
        let mut catalogue = Self { rows: HashMap::new(), order: BTreeMap::new(), groups: Vec::new() };
        for row in lines::<Row>(include_str!("../data/resources.jsonl")) {
            let columns = columns
                .remove(&(row.group.clone(), row.version.clone(), row.resource.clone()))
                .unwrap_or_else(default_columns);
            catalogue.insert(Arc::new(builtin_row(row, columns)));
        }
        catalogue.sort_groups();
        catalogue
    }

    /// This catalogue with `rows` in place of every custom row, but for those that would have the keys of a built-in one.
    pub fn with_custom(&self, rows: Vec<Arc<Resource>>) -> Self {
        let mut next = Self { rows: HashMap::new(), order: BTreeMap::new(), groups: Vec::new() };
        for row in self.order.values().flatten().filter(|row| !row.is_custom()) {
            next.insert(row.clone());
        }
        let taken: HashSet<String> = next.rows.values().flatten().map(|row| row.prefix.clone()).collect();
        let built_in = |row: &Resource| self.has_built_in(&row.group, &row.version);
        for row in rows.into_iter().filter(|row| !taken.contains(&row.prefix) && !built_in(row)) {
            next.insert(row);
        }
        next.sort_groups();
        next
    }

    /// Is this a version of a group that has built-in kinds? What else is defined in it is not served.
    fn has_built_in(&self, group: &str, version: &str) -> bool {
        let rows = self.order.get(&(group.to_owned(), version.to_owned()));
        rows.into_iter().flatten().any(|row| !row.is_custom())
    }

    /// Are these the keys of a built-in kind?
    pub fn is_built_in(&self, prefix: &str) -> bool {
        self.order.values().flatten().any(|row| !row.is_custom() && row.prefix == prefix)
    }

    fn insert(&mut self, row: Arc<Resource>) {
        let key = (row.group.clone(), row.version.clone());
        self.order.entry(key).or_default().push(row.clone());
        self.rows.entry(row.name.clone()).or_default().push(row);
    }

    fn sort_groups(&mut self) {
        let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (group, version) in self.order.keys() {
            groups.entry(group.clone()).or_default().push(version.clone());
        }
        let rank =
            |name: &str| GROUP_ORDER.iter().position(|known| *known == name).unwrap_or(GROUP_ORDER.len());
        let mut sorted: Vec<Group> = groups
            .into_iter()
            .map(|(name, mut versions)| {
                versions.sort_by(|a, b| compare_versions(a, b));
                Group { name, versions }
            })
            .collect();
        sorted.sort_by(|a, b| rank(&a.name).cmp(&rank(&b.name)).then_with(|| a.name.cmp(&b.name)));
        self.groups = sorted;
    }

    pub fn get(&self, group: &str, version: &str, resource: &str) -> Option<&Arc<Resource>> {
        let rows = self.rows.get(resource)?;
        rows.iter().find(|row| row.version == version && row.group == group)
    }

    /// The row of a kind.
    pub fn by_kind(&self, gvk: &GroupVersionKind) -> Option<&Arc<Resource>> {
        self.resources(&gvk.group, &gvk.version).iter().find(|row| row.kind == gvk.kind)
    }

    /// Rows of a group version, as discovery lists them; empty where it is not served.
    pub fn resources(&self, group: &str, version: &str) -> &[Arc<Resource>] {
        self.order.get(&(group.to_owned(), version.to_owned())).map_or(&[], Vec::as_slice)
    }

    /// Groups in discovery order, the core group (empty name) first.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }

    /// Every row.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.order.values().flatten()
    }

    /// One row for each resource whose objects are stored: aliases and other versions are left out.
    pub fn stored(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.order.values().flatten().filter(|row| {
            row.has_verb("list")
                && row.api_version() == row.stored_api_version
                && row.name != "componentstatuses"
        })
    }
}

fn builtin_row(row: Row, columns: Vec<Column>) -> Resource {
    let alias = STORED_AS.iter().find(|(group, name, _, _)| *group == row.group && *name == row.resource);
    let storing_group = alias.map_or(row.group.as_str(), |(_, _, group, _)| group);
    let directory = if storing_group.is_empty() { "core" } else { storing_group };
    let gvk = GroupVersionKind::new(row.group.clone(), row.version.clone(), row.kind.clone());
    Resource {
        prefix: format!("/registry/{directory}/{}/", row.resource),
        stored_api_version: alias.map_or_else(|| gvk.api_version(), |(_, _, _, stored)| (*stored).to_owned()),
        strategy: strategy::of(&row.group, &row.kind),
        list_kind: format!("{}List", row.kind),
        namespaced: row.scope == "Namespaced",
        group: row.group,
        version: row.version,
        name: row.resource,
        kind: row.kind,
        singular: row.singular,
        verbs: row.verbs,
        short_names: row.short_names,
        categories: row.categories,
        subresources: row.subresources,
        columns,
        custom: None,
        schema: OnceLock::new(),
    }
}

/// What a kind without columns of its own is printed with.
pub fn default_columns() -> Vec<Column> {
    let column = |name: &str, kind: &str, format: &str| Column {
        name: name.to_owned(),
        kind: kind.to_owned(),
        format: format.to_owned(),
        priority: 0,
        description: String::new(),
    };
    vec![column("Name", "string", "name"), column("Created At", "date", "")]
}

fn lines<T: serde::de::DeserializeOwned>(text: &str) -> impl Iterator<Item = T> {
    text.lines().filter(|line| !line.is_empty()).map(|line| {
        apiserver_json::from_str(line).expect("the table is part of the binary and parsed by a test")
    })
}

/// Kubernetes' version order: stable before beta before alpha, higher numbers first, others by name.
pub fn compare_versions(a: &str, b: &str) -> std::cmp::Ordering {
    match (parse_version(a), parse_version(b)) {
        (Some(a), Some(b)) => b.cmp(&a),
        (Some(_), None) => std::cmp::Ordering::Less,
        (None, Some(_)) => std::cmp::Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

fn parse_version(text: &str) -> Option<(u8, u64, u64)> {
    let rest = text.strip_prefix('v')?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let major = rest[..digits].parse().ok()?;
    match &rest[digits..] {
        "" => Some((3, major, 0)),
        tail => {
            let (stage, rank) = if let Some(minor) = tail.strip_prefix("beta") {
                (minor, 2)
            } else {
                (tail.strip_prefix("alpha")?, 1)
            };
            Some((rank, major, stage.parse().ok()?))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_parse_and_every_row_is_found() {
        let catalogue = Catalogue::builtin();
        let pods = catalogue.get("", "v1", "pods").unwrap();
        assert_eq!(pods.prefix, "/registry/core/pods/");
        assert!(pods.subresource("log").is_some());
        assert_eq!(catalogue.groups()[0].name, "");
        assert_eq!(catalogue.group("autoscaling").unwrap().versions, ["v2", "v1"]);
        assert_eq!(&*pods.key(Some("a"), "b"), "/registry/core/pods/a/b");
    }

    #[test]
    fn versions_that_are_built_in_take_no_custom_kinds() {
        let builtin = Catalogue::builtin();
        for (version, is_served) in [("v1", false), ("v1beta1", true), ("v2", true)] {
            let version = apiserver_json::json!({"name": version, "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}});
            let names = apiserver_json::json!({"plural": "foos", "kind": "Foo", "singular": "foo", "listKind": "FooList"});
            let definition = apiserver_json::json!({
                "metadata": {"name": "foos.networking.k8s.io"},
                "spec": {"group": "networking.k8s.io", "names": names, "scope": "Namespaced", "versions": [version]},
                "status": {"acceptedNames": names, "conditions": [{"type": "Established", "status": "True"}]},
            });
            let rows = crate::custom::rows(&definition);
            assert_eq!(rows.len(), 1, "{definition}");
            let (group, version) = (rows[0].group.clone(), rows[0].version.clone());
            let served = builtin.with_custom(rows).get(&group, &version, "foos").is_some();
            assert_eq!(served, is_served, "{version}");
        }
    }

    #[test]
    fn versions_sort_as_upstream() {
        let mut versions = ["v1alpha1", "v2", "foo", "v1", "v1beta2", "v10", "v1beta10"];
        versions.sort_by(|a, b| compare_versions(a, b));
        assert_eq!(versions, ["v10", "v2", "v1", "v1beta10", "v1beta2", "v1alpha1", "foo"]);
    }
}
