//! Lists and maps that were sent empty. Go tells them from missing ones while a request is served: defaults, rules and error
//! texts see them, and comparisons mostly do not. What is stored and answered has none of them.

use std::cell::OnceCell;

use apiserver_json::{SmolStr, Value};

use crate::node::{Field, Schema, Shape};

/// The lists and maps of an object that were sent empty.
#[derive(Debug, Default)]
pub struct Empties(Option<Node>);

/// Those in one value: which of its members, and what holds some.
#[derive(Debug, Default)]
struct Node {
    members: Vec<SmolStr>,
    below: Vec<(Step, Node)>,
}

#[derive(Debug)]
enum Step {
    Member(SmolStr),
    Item(usize),
}

/// Finds the lists and maps of a built-in object that were sent empty.
pub fn empties(schema: &Schema, object: &Value) -> Empties {
    Empties(find(&|| Some(schema), object))
}

/// Whether Go holds the member in a list or a map that it leaves out, or makes null, when it is empty.
pub(crate) fn may_go(field: &Field) -> bool {
    let is_struct = |shape: &Shape| match shape {
        Shape::List(_) => false,
        Shape::Object(object) => object.go_struct,
        _ => true,
    };
    !field.pointer && !is_struct(&field.schema.get().shape)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

/// Finds them below a value. Its schema is looked for when there is something empty, which is seldom.
fn find<'s>(schema: &dyn Fn() -> Option<&'s Schema>, value: &Value) -> Option<Node> {
    let found = OnceCell::new();
    let schema = || *found.get_or_init(schema);
    let mut node = Node::default();
    match value {
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate().filter(|(_, item)| item.is_object() || item.is_array())
            {
                let found = find(&|| Some(schema()?.list()?.items.get()), item);
                node.below.extend(found.map(|found| (Step::Item(i), found)));
            }
        }
        Value::Object(members) => {
            for (key, item) in members {
                let is_there = match item {
                    Value::Array(items) => !items.is_empty(),
                    Value::Object(members) => !members.is_empty(),
                    _ => continue,
                };
                if key == "managedFields" {
                    // An empty list of owners is a wish of its own.
                } else if is_there {
                    let found = find(&|| schema()?.child(key), item);
                    node.below.extend(found.map(|found| (Step::Member(key.clone()), found)));
                } else if schema().and_then(|schema| field(schema, key)).is_some_and(may_go) {
                    node.members.push(key.clone());
                }
            }
        }
        _ => {}
    }
    (!node.members.is_empty() || !node.below.is_empty()).then_some(node)
}

fn field<'a>(schema: &'a Schema, name: &str) -> Option<&'a Field> {
    schema.object()?.fields.get(name)
}

impl Empties {
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Leaves of an object what is stored: these are left out, or null where the member always stands.
    pub fn settle(&self, schema: &Schema, object: &mut Value) {
        if let Some(node) = &self.0 {
            node.take_out(schema, object, Some(&Value::Null));
        }
    }

    /// Leaves of an object what Go writes: these are left out, but where the member always stands.
    pub fn leave_out(&self, schema: &Schema, object: &mut Value) {
        if let Some(node) = &self.0 {
            node.take_out(schema, object, None);
        }
    }

    /// An object that lacks these, with them: so it is equal where Go takes an empty list for none.
    pub fn shared_with(&self, sent: &Value, other: &Value) -> Value {
        let mut out = other.clone();
        if let Some(node) = &self.0 {
            node.share(sent, &mut out);
        }
        out
    }
}

impl Node {
    /// Leaves these out; where the member always stands, it is what is given, if anything.
    fn take_out(&self, schema: &Schema, value: &mut Value, standing: Option<&Value>) {
        if let Some(members) = value.as_object_mut() {
            for name in &self.members {
                if !members.get(name).is_some_and(is_empty) {
                    continue;
                }
                match (field(schema, name).is_some_and(|field| !field.omit_empty), standing) {
                    (true, Some(value)) => drop(members.insert(name.clone(), value.clone())),
                    (true, None) => {}
                    (false, _) => drop(members.remove(name)),
                }
            }
        }
        for (step, node) in &self.below {
            let (below, schema) = match step {
                Step::Member(name) => (value.get_mut(name), schema.child(name)),
                Step::Item(i) => (value.get_mut(*i), schema.list().map(|list| &**list.items.get())),
            };
            if let (Some(below), Some(schema)) = (below, schema) {
                node.take_out(schema, below, standing);
            }
        }
    }

    fn share(&self, sent: &Value, out: &mut Value) {
        for name in &self.members {
            if let (Some(empty), Some(members)) = (sent.get(name), out.as_object_mut())
                && is_empty(empty)
                && members.get(name).is_none_or(Value::is_null)
            {
                members.insert(name.clone(), empty.clone());
            }
        }
        for (step, node) in &self.below {
            let (sent, out) = match step {
                Step::Member(name) => (sent.get(name), out.get_mut(name)),
                Step::Item(i) => (sent.get(*i), out.get_mut(*i)),
            };
            if let (Some(sent), Some(out)) = (sent, out) {
                node.share(sent, out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use apiserver_json::json;

    use super::*;
    use crate::decode::{Decode, decode, decode_sent};

    fn count(node: &Node) -> usize {
        node.members.len() + node.below.iter().map(|(_, node)| count(node)).sum::<usize>()
    }

    #[test]
    fn what_was_sent_empty_is_told_from_what_was_not_until_it_settles() {
        for ((group, version, kind), sent, kept, other, shared) in [
            (
                ("apps", "v1", "Deployment"),
                json!({"spec": {"template": {"metadata": {"labels": {}}, "spec": {"containers": [], "volumes": [{"emptyDir": {}}]}}}}),
                vec!["/spec/template/metadata/labels", "/spec/template/spec/containers"],
                json!({"spec": {"template": {"metadata": {}, "spec": {"volumes": []}}}}),
                json!({"spec": {"template": {"metadata": {"labels": {}}, "spec": {"containers": [], "volumes": []}}}}),
            ),
            (
                ("rbac.authorization.k8s.io", "v1", "Role"),
                json!({"rules": [], "metadata": {"labels": {}}}),
                vec!["/rules"],
                json!({"rules": [{}]}),
                json!({"rules": [{}]}),
            ),
            (("", "v1", "Pod"), json!({"spec": {"securityContext": {}}}), vec![], json!({}), json!({})),
        ] {
            let schema = crate::builtin(group, version, kind).unwrap();
            let (mut value, mut settled) = (sent.clone(), sent.clone());
            decode_sent(&schema, &mut value, Decode::Json).unwrap();
            decode(&schema, &mut settled, Decode::Json).unwrap();
            for path in &kept {
                assert!(value.pointer(path).is_some_and(is_empty), "{path} of {value}");
            }
            let found = empties(&schema, &value);
            assert_eq!(found.0.as_ref().map_or(0, count), kept.len(), "{found:?}");
            assert_eq!(found.shared_with(&value, &other), shared);
            found.settle(&schema, &mut value);
            assert_eq!(value, settled, "{sent}");
        }
    }
}
