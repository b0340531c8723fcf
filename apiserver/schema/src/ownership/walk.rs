//! Walking values along a schema: path steps of list items, comparison of two objects, the field set of one.
//!
//! Values are walked where they are; only paths that differ are written down.

use std::cmp::Ordering;
use std::fmt::Write;

use apiserver_json::{Map, Value, escape};

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
        Shape::Raw => Form::AtomicMap,
        _ => Form::Leaf,
    }
}

/// The node of a key of a map.
pub(super) fn child_of<'a>(schema: &'a Schema, key: &str) -> Option<&'a Schema> {
    match &schema.shape {
        Shape::Object(object) => schema.child(key).or_else(|| object.lenient.then(any)),
        Shape::Any { deduced: true } => Some(schema),
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
                scalar => {
                    let mut step = String::from("v:");
                    write_scalar(scalar, &mut step);
                    Ok(step)
                }
            };
        }
    };
    let map = match item {
        Value::Object(map) => map,
        Value::Null => return Err("associative list with keys may not have a null element".to_owned()),
        _ => return Err("associative list with keys may not have non-map elements".to_owned()),
    };
    let fields = list.items.get().object().map(|object| &object.fields);
    let set = |key: &str| {
        let default = || fields?.get(key)?.key_default.as_ref();
        map.get(key).or_else(default)
    };
    if let [key] = keys.as_slice()
        && let Some(value) = set(key)
    {
        let mut step = String::with_capacity(48);
        write_key(&mut step, "k:{", key, value);
        step.push('}');
        return Ok(step);
    }
    let mut sorted: Vec<(&str, &Value)> = keys.iter().filter_map(|key| Some((&**key, set(key)?))).collect();
    if sorted.is_empty() {
        let names: Vec<_> = keys.iter().map(|key| format!("{key:?}")).collect();
        return Err(format!(
            "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
            names.join(" ")
        ));
    }
    sorted.sort_unstable_by_key(|(name, _)| *name);
    let mut step = String::with_capacity(96);
    for (i, (name, value)) in sorted.into_iter().enumerate() {
        write_key(&mut step, if i > 0 { "," } else { "k:{" }, name, value);
    }
    step.push('}');
    Ok(step)
}

fn write_key(step: &mut String, before: &str, name: &str, value: &Value) {
    step.push_str(before);
    step.push('"');
    step.push_str(name);
    step.push_str("\":");
    write_scalar(value, step);
}

fn write_scalar(value: &Value, out: &mut String) {
    match value {
        Value::String(text) => {
            out.push('"');
            escape(out, text);
            out.push('"');
        }
        other => match other.as_i64() {
            // Writing to memory does not fail.
            Some(number) => drop(write!(out, "{number}")),
            None => out.push_str(&other.to_string()),
        },
    }
}

/// What changed between two objects.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    pub(super) added: FieldSet,
    pub(super) modified: FieldSet,
    pub(super) removed: FieldSet,
    /// A list that changed has an item without a key of its own.
    pub(super) is_broken: bool,
}

impl Comparison {
    pub(super) fn is_same(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }
}

/// Compares two objects along their schema. `metadata.managedFields` is not looked at.
pub(super) fn compare(schema: &Schema, old: &Value, new: &Value) -> Comparison {
    visit(schema, Some(old), Some(new), Place::Root).below
}

/// Where on the way a map is: the owners themselves are not compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Root,
    Metadata,
    Deeper,
}

impl Place {
    pub(super) fn below(self, key: &str) -> Self {
        if self == Self::Root && key == "metadata" { Self::Metadata } else { Self::Deeper }
    }
}

/// What was found at a value (`here`) and in it. Sets are built from below, so that a step is written once.
#[derive(Default)]
struct Found {
    here: Option<Sort>,
    below: Comparison,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    Added,
    Modified,
    Removed,
}

impl Comparison {
    /// Takes in what was found at a step behind all others.
    fn push(&mut self, step: impl FnOnce() -> Box<str>, found: Found) {
        let Found { here, below } = found;
        self.is_broken |= below.is_broken;
        if here.is_none() && below.is_same() {
            return;
        }
        let step = step();
        self.modified.push_if(&step, here == Some(Sort::Modified), below.modified);
        self.removed.push_if(&step, here == Some(Sort::Removed), below.removed);
        self.added.push(step, here == Some(Sort::Added), below.added);
    }
}

fn visit(schema: &Schema, old: Option<&Value>, new: Option<&Value>, place: Place) -> Found {
    if let (Some(old), Some(new)) = (old, new)
        && !old.is_array()
        && !old.is_object()
        && old == new
    {
        return Found::default();
    }
    let mut below = Comparison::default();
    if let (Shape::Any { deduced: true }, Some(a), Some(b)) = (&schema.shape, old, new)
        && a.is_object() != b.is_object()
        && !a.is_null()
        && !b.is_null()
    {
        // Where one is a map, its members are there on one side only.
        maps(schema, entries(old), entries(new), place, &mut below);
        return Found { here: Some(Sort::Modified), below };
    }
    match form(schema, new.or(old)) {
        Form::Leaf | Form::AtomicMap | Form::AtomicList => return leaf(old, new),
        Form::Map(node) => {
            let (a, b) = (entries(old), entries(new));
            if a.is_none_or(Map::is_empty) && b.is_none_or(Map::is_empty) || is_mixed(old) || is_mixed(new) {
                return leaf(old, new);
            }
            maps(node, a, b, place, &mut below);
        }
        Form::List(list) => {
            let (a, b) = (items(old), items(new));
            if a.is_empty() && b.is_empty() {
                return leaf(old, new);
            }
            lists(list, a, b, &mut below);
        }
    }
    Found { here: sort_of_one(old, new), below }
}

/// A value that is on one side only is itself added or removed.
fn sort_of_one(old: Option<&Value>, new: Option<&Value>) -> Option<Sort> {
    match (old, new) {
        (None, _) => Some(Sort::Added),
        (_, None) => Some(Sort::Removed),
        _ => None,
    }
}

fn leaf(old: Option<&Value>, new: Option<&Value>) -> Found {
    let modified =
        || matches!((old, new), (Some(old), Some(new)) if !equal(old, new)).then_some(Sort::Modified);
    Found { here: sort_of_one(old, new).or_else(modified), below: Comparison::default() }
}

fn maps(schema: &Schema, old: Option<&Map>, new: Option<&Map>, place: Place, out: &mut Comparison) {
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
        if place == Place::Metadata && key == "managedFields" {
            continue;
        }
        let Some(child) = child_of(schema, key) else { continue };
        out.push(|| field_step(key), visit(child, a, b, place.below(key)));
    }
}

fn lists(list: &List, old: &[Value], new: &[Value], out: &mut Comparison) {
    if old == new {
        return;
    }
    let node = list.items.get();
    let (olds, news) = (steps(list, old), steps(list, new));
    out.is_broken |= olds.len() < old.len() || news.len() < new.len();
    let (mut olds, mut news) = (groups(&olds).peekable(), groups(&news).peekable());
    loop {
        let order = match (olds.peek(), news.peek()) {
            (Some(a), Some(b)) => a[0].0.cmp(&b[0].0),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return,
        };
        let a = if order.is_le() { olds.next() } else { None }.unwrap_or_default();
        let b = if order.is_ge() { news.next() } else { None }.unwrap_or_default();
        let Some((step, _)) = a.first().or(b.first()) else { return };
        let found = match (a.len(), b.len()) {
            (0 | 1, 0 | 1) => visit(node, first(a), first(b), Place::Deeper),
            (0 | 1, _) => Found { here: Some(Sort::Added), ..visit_if(node, first(a), None) },
            (_, 0 | 1) => Found { here: Some(Sort::Removed), ..visit_if(node, None, first(b)) },
            _ if a != b => Found { here: Some(Sort::Modified), ..Found::default() },
            _ => Found::default(),
        };
        out.push(|| step.as_str().into(), found);
    }
}

fn visit_if(node: &Schema, old: Option<&Value>, new: Option<&Value>) -> Found {
    if old.or(new).is_some() { visit(node, old, new, Place::Deeper) } else { Found::default() }
}

fn first<'v>(group: &[(String, &'v Value)]) -> Option<&'v Value> {
    group.first().map(|(_, value)| *value)
}

fn field_step(key: &str) -> Box<str> {
    let mut step = String::with_capacity(key.len() + 2);
    step.push_str("f:");
    step.push_str(key);
    step.into_boxed_str()
}

/// Items with their steps, sorted by these; items without a step are left out.
pub(super) fn steps<'v>(list: &List, values: &'v [Value]) -> Vec<(String, &'v Value)> {
    let mut out = Vec::with_capacity(values.len());
    out.extend(values.iter().filter_map(|value| Some((item_step(list, value).ok()?, value))));
    out.sort_by(|(a, _), (b, _)| a.cmp(b));
    out
}

/// Runs of items with the same step.
pub(super) fn groups<'a, 'v>(
    steps: &'a [(String, &'v Value)],
) -> impl Iterator<Item = &'a [(String, &'v Value)]> {
    steps.chunk_by(|(a, _), (b, _)| a == b)
}

pub(super) fn entries(value: Option<&Value>) -> Option<&Map> {
    value.and_then(Value::as_object)
}

pub(super) fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).unwrap_or_default()
}

/// A value where a map should be that is neither a map nor null: compared as one.
pub(super) fn is_mixed(value: Option<&Value>) -> bool {
    value.is_some_and(|v| !v.is_object() && !v.is_null())
}

/// Every field that an object sets, as an applied configuration claims them.
pub(super) fn field_set(schema: &Schema, value: &Value) -> FieldSet {
    collect(schema, value, Place::Root).1
}

/// Whether the path to a value is in the set, and the set below it.
fn collect(schema: &Schema, value: &Value, place: Place) -> (bool, FieldSet) {
    let mut out = FieldSet::new();
    match form(schema, Some(value)) {
        Form::Leaf | Form::AtomicMap | Form::AtomicList => return (place != Place::Root, out),
        Form::Map(node) => {
            for (key, item) in value.as_object().into_iter().flatten() {
                if place == Place::Metadata && key == "managedFields" {
                    continue;
                }
                let Some(child) = child_of(node, key) else { continue };
                let (member, below) = collect(child, item, place.below(key));
                let empty = item.is_null() || item.as_object().is_some_and(Map::is_empty);
                out.push(field_step(key), member || empty || !declares(node, key), below);
            }
        }
        Form::List(list) => {
            for group in groups(&steps(list, items(Some(value)))) {
                let below = match group {
                    [(_, item)] => collect(list.items.get(), item, Place::Deeper).1,
                    _ => FieldSet::new(),
                };
                out.push(group[0].0.as_str().into(), true, below);
            }
        }
    }
    (false, out)
}
