//! Walking values along a schema: path steps of list items, comparison of two objects, the field set of one.
//!
//! Values are walked where they are; only paths that differ are written down.

use std::cell::OnceCell;
use std::cmp::Ordering;
use std::collections::HashMap;

use serde_json::{Map, Value};

use super::set::FieldSet;
use crate::golang::equal;
use crate::node::{List, ListKind, Schema, Shape};

/// How a value at a node is taken apart.
#[derive(Clone, Copy)]
pub(super) enum Form<'a> {
    Leaf,
    AtomicMap,
    AtomicList,
    Map(&'a Schema),
    List(&'a List),
}

/// The form of a value, given what the schema allows: the value decides where the schema leaves it open.
pub(super) fn form<'a>(schema: &'a Schema, value: Option<&Value>) -> Form<'a> {
    match &schema.shape {
        Shape::Object(object) if object.atomic => Form::AtomicMap,
        Shape::Object(_) => Form::Map(schema),
        Shape::List(list) if list.kind == ListKind::Atomic => Form::AtomicList,
        Shape::List(list) => Form::List(list),
        Shape::Any { deduced } => match value {
            Some(Value::Array(_)) => Form::AtomicList,
            Some(Value::Object(_)) | None if *deduced => Form::Map(schema),
            Some(Value::Object(_)) | None => Form::AtomicMap,
            Some(_) => Form::Leaf,
        },
        Shape::Raw => Form::Map(schema),
        _ => Form::Leaf,
    }
}

/// The node of a key of a map.
pub(super) fn child_of<'a>(schema: &'a Schema, key: &str) -> Option<&'a Schema> {
    match &schema.shape {
        Shape::Object(_) => schema.child(key),
        Shape::Any { deduced: true } => Some(schema),
        Shape::Raw => Some(any()),
        _ => None,
    }
}

/// Whether a key is a declared field rather than a map key.
pub(super) fn declares(schema: &Schema, key: &str) -> bool {
    schema.object().is_some_and(|object| object.fields.contains_key(key))
}

pub(super) fn any() -> &'static Schema {
    static ANY: std::sync::OnceLock<std::sync::Arc<Schema>> = std::sync::OnceLock::new();
    ANY.get_or_init(Schema::any)
}

/// The step of a list item: `k:{…}` for lists keyed by fields, `v:…` for sets.
pub(super) fn item_step(list: &List, item: &Value) -> Result<String, String> {
    let keys = match &list.kind {
        ListKind::Map(keys) => keys,
        ListKind::Atomic => return Err("invalid indexing of non-associative list".to_owned()),
        ListKind::Set => {
            return match item {
                Value::Object(_) => {
                    Err("associative list without keys has an element that's a map type".to_owned())
                }
                Value::Array(_) => Err("not supported: associative list with lists as elements".to_owned()),
                Value::Null => {
                    Err("associative list without keys has an element that's an explicit null".to_owned())
                }
                scalar => Ok(format!("v:{scalar}")),
            };
        }
    };
    let map = match item {
        Value::Object(map) => map,
        Value::Null => return Err("associative list with keys may not have a null element".to_owned()),
        _ => return Err("associative list with keys may not have non-map elements".to_owned()),
    };
    let fields = list.items.get().object().map(|object| &object.fields);
    let mut sorted: Vec<(&str, &Value)> = keys
        .iter()
        .filter_map(|key| {
            let default = || fields?.get(key)?.key_default.as_ref();
            Some((&**key, map.get(&**key).or_else(default)?))
        })
        .collect();
    if sorted.is_empty() {
        let names: Vec<_> = keys.iter().map(|key| format!("{key:?}")).collect();
        return Err(format!(
            "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
            names.join(" ")
        ));
    }
    sorted.sort_by_key(|(name, _)| *name);
    let mut step = String::from("k:{");
    for (i, (name, value)) in sorted.into_iter().enumerate() {
        if i > 0 {
            step.push(',');
        }
        step.push('"');
        step.push_str(name);
        step.push_str("\":");
        step.push_str(&value.to_string());
    }
    step.push('}');
    Ok(step)
}

/// What changed between two objects.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    pub(super) added: FieldSet,
    pub(super) modified: FieldSet,
    pub(super) removed: FieldSet,
}

impl Comparison {
    pub(super) fn is_same(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }
}

/// Compares two objects along their schema. `metadata.managedFields` is not looked at.
pub(super) fn compare(schema: &Schema, old: &Value, new: &Value) -> Comparison {
    let mut walk = Compare { out: Comparison::default(), path: Vec::new() };
    walk.visit(schema, Some(old), Some(new));
    walk.out
}

/// A step on the way; a field's is written out only when something is found there, and once.
enum Step<'a> {
    Field(&'a str, OnceCell<String>),
    Item(String),
}

impl AsRef<str> for Step<'_> {
    fn as_ref(&self) -> &str {
        match self {
            Self::Field(name, encoded) => encoded.get_or_init(|| format!("f:{name}")),
            Self::Item(step) => step,
        }
    }
}

struct Compare<'a> {
    out: Comparison,
    path: Vec<Step<'a>>,
}

impl<'a> Compare<'a> {
    fn visit(&mut self, schema: &Schema, old: Option<&'a Value>, new: Option<&'a Value>) {
        if let (Some(old), Some(new)) = (old, new)
            && !old.is_array()
            && !old.is_object()
            && old == new
        {
            return;
        }
        let form = match (form(schema, old), form(schema, new)) {
            (form, _) if new.is_none() => form,
            (_, form) => form,
        };
        match form {
            Form::Leaf | Form::AtomicMap | Form::AtomicList => return self.leaf(old, new),
            Form::Map(node) => {
                let (a, b) = (entries(old), entries(new));
                if a.is_none_or(Map::is_empty) && b.is_none_or(Map::is_empty) || mixed(old) || mixed(new) {
                    return self.leaf(old, new);
                }
                self.maps(node, a, b);
            }
            Form::List(list) => {
                let (a, b) = (items(old), items(new));
                if a.is_empty() && b.is_empty() {
                    return self.leaf(old, new);
                }
                self.lists(list, a, b);
            }
        }
        if old.is_none() {
            insert(&self.path, &mut self.out.added);
        } else if new.is_none() {
            insert(&self.path, &mut self.out.removed);
        }
    }

    fn leaf(&mut self, old: Option<&Value>, new: Option<&Value>) {
        match (old, new) {
            (None, _) => insert(&self.path, &mut self.out.added),
            (_, None) => insert(&self.path, &mut self.out.removed),
            (Some(old), Some(new)) if !equal(old, new) => insert(&self.path, &mut self.out.modified),
            _ => {}
        }
    }

    fn maps(
        &mut self,
        schema: &Schema,
        old: Option<&'a Map<String, Value>>,
        new: Option<&'a Map<String, Value>>,
    ) {
        let mut olds = old.into_iter().flatten().peekable();
        let mut news = new.into_iter().flatten().peekable();
        loop {
            let order = match (olds.peek(), news.peek()) {
                (Some((k, _)), Some((l, _))) => k.cmp(l),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return,
            };
            let a = if order.is_le() { olds.next() } else { None };
            let b = if order.is_ge() { news.next() } else { None };
            let Some((key, _)) = a.or(b) else { return };
            let (a, b) = (a.map(|(_, v)| v), b.map(|(_, v)| v));
            if key == "managedFields" && self.in_metadata() {
                continue;
            }
            let Some(child) = child_of(schema, key) else { continue };
            self.path.push(Step::Field(key, OnceCell::new()));
            self.visit(child, a, b);
            self.path.pop();
        }
    }

    fn in_metadata(&self) -> bool {
        matches!(self.path[..], [Step::Field("metadata", _)])
    }

    fn lists(&mut self, list: &List, old: &'a [Value], new: &'a [Value]) {
        if old == new {
            return;
        }
        let node = list.items.get();
        let olds = Groups::of(list, old);
        let news = Groups::of(list, new);
        let added = news.order.iter().filter(|(step, _)| !olds.index.contains_key(step));
        for (step, _) in olds.order.iter().chain(added) {
            let (a, b) = (olds.get(step), news.get(step));
            self.path.push(Step::Item(step.clone()));
            match (a.len(), b.len()) {
                (0 | 1, 0 | 1) => self.visit(node, a.first().copied(), b.first().copied()),
                (0 | 1, _) => {
                    if let Some(a) = a.first() {
                        self.visit(node, Some(a), None);
                    }
                    insert(&self.path, &mut self.out.added);
                }
                (_, 0 | 1) => {
                    if let Some(b) = b.first() {
                        self.visit(node, None, Some(b));
                    }
                    insert(&self.path, &mut self.out.removed);
                }
                _ if a != b => insert(&self.path, &mut self.out.modified),
                _ => {}
            }
            self.path.pop();
        }
    }
}

fn insert(path: &[Step<'_>], set: &mut FieldSet) {
    set.insert(path);
}

/// Items by step, in the order of their first appearance; items without a step are left out.
struct Groups<'v> {
    order: Vec<(String, Vec<&'v Value>)>,
    index: HashMap<String, usize>,
}

impl<'v> Groups<'v> {
    fn of(list: &List, values: &'v [Value]) -> Self {
        let mut out =
            Self { order: Vec::with_capacity(values.len()), index: HashMap::with_capacity(values.len()) };
        for value in values {
            let Ok(step) = item_step(list, value) else { continue };
            match out.index.get(&step) {
                Some(i) => out.order[*i].1.push(value),
                None => {
                    out.index.insert(step.clone(), out.order.len());
                    out.order.push((step, vec![value]));
                }
            }
        }
        out
    }

    fn get(&self, step: &str) -> &[&'v Value] {
        self.index.get(step).map_or(&[], |i| &self.order[*i].1)
    }
}

pub(super) fn entries(value: Option<&Value>) -> Option<&Map<String, Value>> {
    value.and_then(Value::as_object)
}

pub(super) fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A value where a map should be that is neither a map nor null: compared as one.
fn mixed(value: Option<&Value>) -> bool {
    value.is_some_and(|v| !v.is_object() && !v.is_null())
}

/// Every field that an object sets, as an applied configuration claims them.
pub(super) fn field_set(schema: &Schema, value: &Value) -> FieldSet {
    let mut out = FieldSet::new();
    collect(schema, value, &mut Vec::new(), &mut out);
    out
}

fn collect(schema: &Schema, value: &Value, path: &mut Vec<String>, out: &mut FieldSet) {
    match form(schema, Some(value)) {
        Form::Leaf | Form::AtomicMap | Form::AtomicList => out.insert(path),
        Form::Map(node) => {
            for (key, item) in value.as_object().into_iter().flatten() {
                if key == "managedFields" && path.len() == 1 && path[0] == "f:metadata" {
                    continue;
                }
                let Some(child) = child_of(node, key) else { continue };
                path.push(format!("f:{key}"));
                collect(child, item, path, out);
                let empty = item.is_null() || item.as_object().is_some_and(Map::is_empty);
                if empty || !declares(node, key) {
                    out.insert(path);
                }
                path.pop();
            }
        }
        Form::List(list) => {
            for (step, group) in Groups::of(list, items(Some(value))).order {
                path.push(step);
                if let [item] = group[..] {
                    collect(list.items.get(), item, path, out);
                }
                out.insert(path);
                path.pop();
            }
        }
    }
}
