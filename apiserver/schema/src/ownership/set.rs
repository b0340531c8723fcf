//! A set of field paths as a sorted tree, and its FieldsV1 form.
//!
//! Steps are kept in their encoded form (`f:spec`, `k:{"name":"c"}`, `v:"x"`), so reading and writing FieldsV1 is
//! a walk without parsing. The set knows nothing of schemas except in `with_named_parents`.

use std::cmp::Ordering;
use std::fmt;

use apiserver_json::Map;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::node::{Schema, Shape};

/// A set of field paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    /// Sorted by step.
    nodes: Vec<(Box<str>, Node)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Node {
    /// The path that ends here is in the set.
    member: bool,
    below: FieldSet,
}

impl FieldSet {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// A set of paths of plain field names: `&[&["status"], &["metadata", "labels"]]`.
    pub fn of(paths: &[&[&str]]) -> Self {
        let mut set = Self::new();
        for path in paths {
            let steps: Vec<String> = path.iter().map(|name| format!("f:{name}")).collect();
            set.insert(&steps);
        }
        set
    }

    /// Whether nothing is in the set.
    pub fn is_empty(&self) -> bool {
        self.nodes.iter().all(|(_, node)| !node.member && node.below.is_empty())
    }

    fn find(&self, step: &str) -> Result<usize, usize> {
        // Most paths come in order.
        match self.nodes.last() {
            Some((last, _)) if **last < *step => Err(self.nodes.len()),
            _ => self.nodes.binary_search_by(|(own, _)| (**own).cmp(step)),
        }
    }

    fn get(&self, step: &str) -> Option<&Node> {
        self.find(step).ok().map(|at| &self.nodes[at].1)
    }

    /// Adds a path of encoded steps.
    pub fn insert<S: AsRef<str>>(&mut self, path: &[S]) {
        let Some((first, rest)) = path.split_first() else { return };
        let at = self.find(first.as_ref()).unwrap_or_else(|at| {
            self.nodes.insert(at, (first.as_ref().into(), Node::default()));
            at
        });
        let node = &mut self.nodes[at].1;
        match rest {
            [] => node.member = true,
            rest => node.below.insert(rest),
        }
    }

    /// How many steps there are on the first level.
    pub(super) fn steps(&self) -> usize {
        self.nodes.len()
    }

    /// Whether the path of one step is in the set, and the set below it, if there is such a step.
    pub(super) fn node(&self, step: &str) -> Option<(bool, &FieldSet)> {
        self.get(step).map(|node| (node.member, &node.below))
    }

    pub(crate) fn has_step(&self, step: &str) -> bool {
        self.get(step).is_some_and(|node| node.member)
    }

    pub(crate) fn below(&self, step: &str) -> Option<&FieldSet> {
        self.get(step).map(|node| &node.below).filter(|set| !set.is_empty())
    }

    /// Adds a step behind all others, unless there is nothing to it.
    pub(super) fn push(&mut self, step: Box<str>, member: bool, below: FieldSet) {
        if member || !below.nodes.is_empty() {
            self.nodes.push((step, Node { member, below }));
        }
    }

    /// As `push`, with a step that is copied only then.
    pub(super) fn push_if(&mut self, step: &str, member: bool, below: FieldSet) {
        if member || !below.nodes.is_empty() {
            self.nodes.push((step.into(), Node { member, below }));
        }
    }

    /// Everything in either set.
    pub fn union(self, other: &Self) -> Self {
        if other.nodes.is_empty() {
            return self;
        }
        let mut out = Vec::with_capacity(self.nodes.len() + other.nodes.len());
        let mut own = self.nodes.into_iter().peekable();
        let mut theirs = other.nodes.iter().peekable();
        loop {
            let order = match (own.peek(), theirs.peek()) {
                (Some((a, _)), Some((b, _))) => a.cmp(b),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return Self { nodes: out },
            };
            let a = if order.is_le() { own.next() } else { None };
            let b = if order.is_ge() { theirs.next() } else { None };
            match (a, b) {
                (Some((step, a)), Some((_, b))) => {
                    let below = a.below.union(&b.below);
                    out.push((step, Node { member: a.member || b.member, below }));
                }
                (Some(a), None) => out.push(a),
                (None, Some(b)) => out.push(b.clone()),
                (None, None) => {}
            }
        }
    }

    /// Everything in both sets.
    pub fn intersection(&self, other: &Self) -> Self {
        let mut out = Self::new();
        for (step, a) in &self.nodes {
            if let Some(b) = other.get(step) {
                out.push(step.clone(), a.member && b.member, a.below.intersection(&b.below));
            }
        }
        out
    }

    /// Everything in this set that is not in the other; a parent in the other set leaves children here alone.
    pub fn difference(mut self, other: &Self) -> Self {
        self.nodes.retain_mut(|(step, own)| {
            if let Some(gone) = other.get(step) {
                own.member &= !gone.member;
                own.below = std::mem::take(&mut own.below).difference(&gone.below);
            }
            own.member || !own.below.nodes.is_empty()
        });
        self
    }

    /// Like `difference`, but a path in the other set takes everything below it along.
    pub fn recursive_difference(mut self, other: &Self) -> Self {
        self.nodes.retain_mut(|(step, own)| match other.get(step) {
            Some(gone) if gone.member => false,
            Some(gone) => {
                own.below = std::mem::take(&mut own.below).recursive_difference(&gone.below);
                own.member || !own.below.nodes.is_empty()
            }
            None => true,
        });
        self
    }

    /// Whether both sets share a path.
    pub(crate) fn touches(&self, other: &Self) -> bool {
        let (small, large) =
            if self.nodes.len() <= other.nodes.len() { (self, other) } else { (other, self) };
        small.nodes.iter().any(|(step, a)| {
            large.get(step).is_some_and(|b| (a.member && b.member) || a.below.touches(&b.below))
        })
    }

    /// The set plus the named fields on the way to its members: `a.b` also owns `a` if `a` is a declared field.
    pub(crate) fn with_named_parents(&self, schema: Option<&Schema>) -> Self {
        let mut out = Self::new();
        for (step, node) in &self.nodes {
            let (declared, below) = descend(schema, step);
            let has_below = !node.below.nodes.is_empty();
            let below = node.below.with_named_parents(below);
            out.push(step.clone(), node.member || (has_below && declared), below);
        }
        out
    }

    /// Calls `visit` with every path of the set, the members of a level before those below it.
    pub fn each(&self, visit: &mut dyn FnMut(&[&str])) {
        self.each_from(&mut Vec::new(), visit);
    }

    fn each_from<'a>(&'a self, path: &mut Vec<&'a str>, visit: &mut dyn FnMut(&[&str])) {
        for (step, _) in self.nodes.iter().filter(|(_, node)| node.member) {
            path.push(step);
            visit(path);
            path.pop();
        }
        for (step, node) in &self.nodes {
            path.push(step);
            node.below.each_from(path, visit);
            path.pop();
        }
    }

    /// The JSON text of the FieldsV1 form.
    pub fn to_fields_v1(&self) -> String {
        // Writing to memory cannot fail: the keys are strings.
        serde_json::to_string(&Encoded { set: self, dot: false }).unwrap_or_default()
    }

    /// Reads the JSON text of FieldsV1. Steps of unknown kinds are dropped, malformed ones make the whole unreadable.
    pub fn from_fields_v1(text: &str) -> Option<Self> {
        apiserver_json::from_str::<Option<Decoded>>(text)
            .ok()
            .map(|read| read.map(|read| read.set).unwrap_or_default())
    }
}

/// A set on its way out; `dot` says that the path to it is in the set above.
struct Encoded<'a> {
    set: &'a FieldSet,
    dot: bool,
}

impl Serialize for Encoded<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if self.dot {
            map.serialize_entry(".", &Encoded { set: &FieldSet::new(), dot: false })?;
        }
        for (step, node) in &self.set.nodes {
            let dot = node.member && !node.below.nodes.is_empty();
            map.serialize_entry(&**step, &Encoded { set: &node.below, dot })?;
        }
        map.end()
    }
}

/// A set on its way in; `dot` says that the path to it is in the set above.
struct Decoded {
    set: FieldSet,
    dot: bool,
}

impl<'de> Deserialize<'de> for Decoded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Decoded;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of field paths")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Decoded, A::Error> {
        let mut out = Decoded { set: FieldSet::new(), dot: false };
        while let Some(step) = access.next_key::<Step>()? {
            if &*step.0 == "." {
                access.next_value::<IgnoredAny>()?;
                out.dot = true;
                continue;
            }
            let Some((kind, rest)) = step.0.split_once(':') else {
                return Err(A::Error::custom("a step without a kind"));
            };
            let readable = match kind {
                "f" => true,
                "v" => apiserver_json::from_str::<IgnoredAny>(rest).is_ok(),
                "k" => rest.starts_with('{') && apiserver_json::from_str::<IgnoredAny>(rest).is_ok(),
                "i" => rest.parse::<i64>().is_ok(),
                _ => {
                    access.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            if !readable {
                return Err(A::Error::custom("a step that cannot be read"));
            }
            let below = access.next_value::<Decoded>()?;
            let member = below.dot || below.set.nodes.is_empty();
            // Others than this server may write steps in any order, or twice.
            match out.set.find(&step.0) {
                Err(at) => out.set.nodes.insert(at, (step.0, Node { member, below: below.set })),
                Ok(at) => out.set.nodes[at].1 = Node { member, below: below.set },
            }
        }
        Ok(out)
    }
}

/// A key, copied once.
struct Step(Box<str>);

impl<'de> Deserialize<'de> for Step {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Step;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a step")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Step, E> {
                Ok(Step(text.into()))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// Whether a step names a declared field of the node, and the node below it.
pub(crate) fn descend<'a>(schema: Option<&'a Schema>, step: &str) -> (bool, Option<&'a Schema>) {
    let Some(schema) = schema else { return (false, None) };
    match (step.strip_prefix("f:"), &schema.shape) {
        (Some(name), Shape::Object(object)) => match object.fields.get(name) {
            Some(field) => (true, Some(field.schema.get())),
            None => (false, super::walk::child_of(schema, name)),
        },
        (None, Shape::List(list)) => (false, Some(list.items.get())),
        (Some(_), Shape::Any { deduced: true }) => (false, Some(schema)),
        _ => (false, None),
    }
}

/// A path as upstream prints it: `.spec.ports[port=80,protocol="TCP"].name`.
pub fn print_path(path: &[&str]) -> String {
    let mut out = String::new();
    for step in path {
        match step.split_once(':') {
            Some(("f", name)) => {
                out.push('.');
                out.push_str(name);
            }
            Some(("v", value)) => out.push_str(&format!("[={value}]")),
            Some(("k", keys)) => {
                let keys: Map = apiserver_json::from_str(keys).unwrap_or_default();
                let keys: Vec<_> = keys.iter().map(|(name, value)| format!("{name}={value}")).collect();
                out.push_str(&format!("[{}]", keys.join(",")));
            }
            Some((_, index)) => out.push_str(&format!("[{index}]")),
            None => out.push_str(step),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use apiserver_json::json;

    use super::*;

    fn set(value: apiserver_json::Value) -> FieldSet {
        FieldSet::from_fields_v1(&value.to_string()).unwrap()
    }

    #[test]
    fn fields_v1_round_trips() {
        let value = json!({"f:spec": {"f:ports": {".": {}, "k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {},
            "f:port": {}}}, "f:type": {}}, "f:metadata": {"f:finalizers": {"v:\"a/b\"": {}}}});
        assert_eq!(set(value.clone()).to_fields_v1(), value.to_string());
        let mut paths = Vec::new();
        set(value).each(&mut |path| paths.push(print_path(path)));
        let want = [
            ".metadata.finalizers[=\"a/b\"]",
            ".spec.ports",
            ".spec.type",
            ".spec.ports[port=80,protocol=\"TCP\"]",
            ".spec.ports[port=80,protocol=\"TCP\"].port",
        ];
        assert_eq!(paths, want);
        for unreadable in [r#"{"x": {}}"#, r#"{"k:{": {}}"#, r#"{"f:a": 1}"#, r#"{"v:": {}}"#, "7"] {
            assert!(FieldSet::from_fields_v1(unreadable).is_none(), "{unreadable}");
        }
        assert!(FieldSet::from_fields_v1(r#"{"z:9": {}}"#).unwrap().is_empty());
        assert!(FieldSet::from_fields_v1("null").unwrap().is_empty());
        let unsorted = r#"{"f:b": {}, "f:a": {"f:d": {}, "f:c": {}}, "f:b": {}}"#;
        assert_eq!(
            set(json!({"f:a": {"f:c": {}, "f:d": {}}, "f:b": {}})),
            FieldSet::from_fields_v1(unsorted).unwrap()
        );
    }

    #[test]
    fn algebra() {
        let a = set(json!({"f:a": {".": {}, "f:b": {}}, "f:c": {}}));
        let b = set(json!({"f:a": {}}));
        assert_eq!(a.clone().difference(&b), set(json!({"f:a": {"f:b": {}}, "f:c": {}})));
        assert_eq!(a.clone().recursive_difference(&b), set(json!({"f:c": {}})));
        assert_eq!(a.intersection(&b), b);
        assert_eq!(b.clone().union(&a), a);
        assert!(a.touches(&b) && !b.touches(&set(json!({"f:c": {}}))));
    }
}
