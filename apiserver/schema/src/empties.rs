//! Lists and maps that were sent empty. Go tells them from missing ones while a request is served: defaults, rules and error
//! texts see them, and comparisons mostly do not. What is stored and answered has none of them.

use apiserver_json::{Map, SmolStr, Value};

use crate::node::{Field, Schema, Shape};

/// Where an empty list or map is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Member(SmolStr),
    Item(usize),
}

/// The lists and maps of an object that were sent empty.
#[derive(Debug, Default)]
pub struct Empties(Vec<Vec<Step>>);

/// Finds the lists and maps of a built-in object that were sent empty.
pub fn empties(schema: &Schema, object: &Value) -> Empties {
    let mut search = Search { schema, path: Vec::new(), found: Vec::new() };
    search.visit(object);
    Empties(search.found)
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

/// Few objects have any, so the schema is looked at where something empty is.
struct Search<'a> {
    schema: &'a Schema,
    path: Vec<Step>,
    found: Vec<Vec<Step>>,
}

impl Search<'_> {
    fn visit(&mut self, value: &Value) {
        match value {
            Value::Array(items) => {
                for (i, item) in items.iter().enumerate().filter(|(_, item)| may_hold(item)) {
                    self.path.push(Step::Item(i));
                    self.visit(item);
                    self.path.pop();
                }
            }
            Value::Object(members) => {
                // An empty list of owners is a wish of its own.
                let others = members.iter().filter(|(key, item)| may_hold(item) && *key != "managedFields");
                for (key, item) in others {
                    self.path.push(Step::Member(key.clone()));
                    if is_empty(item) {
                        if member_at(self.schema, &self.path).is_some_and(may_go) {
                            self.found.push(self.path.clone());
                        }
                    } else {
                        self.visit(item);
                    }
                    self.path.pop();
                }
            }
            _ => {}
        }
    }
}

fn may_hold(value: &Value) -> bool {
    value.is_array() || value.is_object()
}

/// The field of a struct at the end of a path.
fn member_at<'a>(schema: &'a Schema, path: &[Step]) -> Option<&'a Field> {
    let (last, way) = path.split_last()?;
    let mut node = schema;
    for step in way {
        node = match (step, &node.shape) {
            (Step::Item(_), Shape::List(list)) => list.items.get(),
            (Step::Member(key), _) => node.child(key)?,
            (Step::Item(_), _) => return None,
        };
    }
    match last {
        Step::Member(key) => node.object()?.fields.get(key.as_str()),
        Step::Item(_) => None,
    }
}

impl Empties {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Leaves of an object what is stored: these are left out, or null where the member always stands.
    pub fn settle(&self, schema: &Schema, object: &mut Value) {
        self.take_out(schema, object, Some(&Value::Null));
    }

    /// Leaves of an object what Go writes: these are left out, but where the member always stands.
    pub fn leave_out(&self, schema: &Schema, object: &mut Value) {
        self.take_out(schema, object, None);
    }

    /// Leaves these out; where the member always stands, it is what is given, if anything.
    fn take_out(&self, schema: &Schema, object: &mut Value, standing: Option<&Value>) {
        for path in &self.0 {
            let stands = member_at(schema, path).is_some_and(|field| !field.omit_empty);
            let Some((members, key)) = holder(object, path) else { continue };
            if members.get(key).is_none_or(|value| !is_empty(value)) {
                continue;
            }
            match (stands, standing) {
                (true, Some(value)) => drop(members.insert(key.into(), value.clone())),
                (true, None) => {}
                (false, _) => drop(members.remove(key)),
            }
        }
    }

    /// An object that lacks these, with them: so it is equal where Go takes an empty list for none.
    pub fn shared_with(&self, sent: &Value, other: &Value) -> Value {
        let mut out = other.clone();
        for path in &self.0 {
            let empty = path.iter().try_fold(sent, |place, step| match step {
                Step::Member(key) => place.get(key.as_str()),
                Step::Item(i) => place.get(*i),
            });
            let (Some(empty), Some((members, key))) =
                (empty.filter(|value| is_empty(value)), holder(&mut out, path))
            else {
                continue;
            };
            if members.get(key).is_none_or(Value::is_null) {
                members.insert(key.into(), empty.clone());
            }
        }
        out
    }
}

/// The map that a path ends in, and the key there.
fn holder<'a, 'p>(object: &'a mut Value, path: &'p [Step]) -> Option<(&'a mut Map, &'p str)> {
    let (last, way) = path.split_last()?;
    let mut place = object;
    for step in way {
        place = match step {
            Step::Member(key) => place.get_mut(key.as_str())?,
            Step::Item(i) => place.get_mut(*i)?,
        };
    }
    match last {
        Step::Member(key) => Some((place.as_object_mut()?, key)),
        Step::Item(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use apiserver_json::json;

    use super::*;
    use crate::decode::{Decode, decode, decode_sent};

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
            assert_eq!(found.0.len(), kept.len(), "{found:?}");
            assert_eq!(found.shared_with(&value, &other), shared);
            found.settle(&schema, &mut value);
            assert_eq!(value, settled, "{sent}");
        }
    }
}
