//! What the writer of a new object owns, written while the object is walked: most objects are created once and never
//! taken apart again, and need no set.
//!
//! It comes to what `manager::record` makes of a comparison with the empty object; a property test holds it to that.

use apiserver_json::{Map, Value, write_escaped};

use super::set::FieldSet;
use super::walk::{Form, Place, child_of, entries, form, groups, is_mixed, items, steps};
use crate::golang::equal;
use crate::node::{List, ListKind, Schema};

/// The FieldsV1 text of everything in `object` that is not in `empty`, without `reset` and what is below it, and
/// without `never`; nothing where an item of a list has no key. `empty` has no list with items.
pub(super) fn owned(
    schema: &Schema,
    empty: &Value,
    object: &Value,
    reset: &FieldSet,
    never: &FieldSet,
) -> Option<String> {
    let mut writer = Writer { out: Vec::with_capacity(2048), is_broken: false };
    writer.out.push(b'{');
    let except = Except { reset: Some(reset), never: Some(never) };
    writer.visit(schema, Some(empty), object, Place::Root, except, false);
    writer.out.push(b'}');
    if writer.is_broken { None } else { String::from_utf8(writer.out).ok() }
}

/// What is left out below some place.
#[derive(Clone, Copy)]
struct Except<'a> {
    /// With everything below.
    reset: Option<&'a FieldSet>,
    /// Alone.
    never: Option<&'a FieldSet>,
}

/// A step in parts, as it comes.
#[derive(Clone, Copy)]
enum Step<'a> {
    Field(&'a str),
    /// An item by its one key and the text there, which is written as it stands.
    Key(&'a str, &'a str),
    Item(&'a str),
}

impl Step<'_> {
    fn text(self) -> String {
        match self {
            Self::Field(name) => ["f:", name].concat(),
            Self::Key(key, text) => ["k:{\"", key, "\":\"", text, "\"}"].concat(),
            Self::Item(step) => step.to_owned(),
        }
    }

    /// As it stands between the quotes of a JSON string.
    fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::Field(name) => {
                out.extend_from_slice(b"f:");
                write_escaped(out, name);
            }
            Self::Key(key, text) => {
                for part in [b"k:{\\\"", key.as_bytes(), b"\\\":\\\"", text.as_bytes(), b"\\\"}"] {
                    out.extend_from_slice(part);
                }
            }
            Self::Item(step) => write_escaped(out, step),
        }
    }
}

/// The key of a list and the items by their texts there, in the order of their steps, where all items have one and no two
/// the same: mostly it is so, and steps need not be made to be compared.
fn keyed<'a>(list: &'a List, items: &'a [Value]) -> Option<(&'a str, Vec<(&'a str, &'a Value)>)> {
    let ListKind::Map(keys) = &list.kind else { return None };
    let [key] = keys.as_slice() else { return None };
    // Nothing to be escaped, and nothing that comes before the quote at the end.
    let is_plain = |text: &str| text.bytes().all(|byte| byte > b'"' && byte != b'\\');
    let mut found = Vec::with_capacity(items.len());
    for item in items {
        found.push((item.get(&**key)?.as_str().filter(|text| is_plain(text))?, item));
    }
    let is_sorted = |found: &[(&str, &Value)]| found.is_sorted_by(|(one, _), (next, _)| one < next);
    if !is_sorted(&found) {
        found.sort_unstable_by_key(|(text, _)| *text);
    }
    (is_plain(key) && is_sorted(&found)).then_some((key, found))
}

struct Writer {
    out: Vec<u8>,
    /// A list has an item without a key of its own.
    is_broken: bool,
}

impl Writer {
    /// Writes what is below a value. Answers whether the value itself is new, and whether anything was written; a
    /// `.` in front says both, if it may be said.
    fn visit(
        &mut self,
        schema: &Schema,
        empty: Option<&Value>,
        new: &Value,
        place: Place,
        except: Except<'_>,
        dot: bool,
    ) -> (bool, bool) {
        let leaf = || (empty.is_none_or(|empty| !equal(empty, new)), false);
        let start = self.out.len();
        let dotted = |out: &mut Vec<u8>| {
            if dot && empty.is_none() {
                out.extend_from_slice(b"\".\":{}");
            }
            out.len()
        };
        let children = match form(schema, Some(new)) {
            Form::Leaf | Form::AtomicMap | Form::AtomicList => return leaf(),
            Form::Map(node) => {
                let (a, b) = (entries(empty), entries(Some(new)));
                let both_empty = a.is_none_or(Map::is_empty) && b.is_none_or(Map::is_empty);
                if both_empty || is_mixed(empty) || is_mixed(Some(new)) {
                    return leaf();
                }
                let children = dotted(&mut self.out);
                for (key, value) in b.into_iter().flatten() {
                    if place == Place::Metadata && key == "managedFields" {
                        continue;
                    }
                    let Some(child) = child_of(node, key) else { continue };
                    let before = a.and_then(|a| a.get(key));
                    self.member(Step::Field(key), child, before, Some(value), place.below(key), except);
                }
                children
            }
            Form::List(list) => {
                let new = items(Some(new));
                if new.is_empty() {
                    return leaf();
                }
                let children = dotted(&mut self.out);
                let mut item =
                    |step, item| self.member(step, list.items.get(), None, item, Place::Deeper, except);
                if let Some((key, found)) = keyed(list, new) {
                    found.iter().for_each(|(text, value)| item(Step::Key(key, text), Some(value)));
                } else {
                    let steps = steps(list, new);
                    for group in groups(&steps) {
                        // Items with the same step are owned as a whole.
                        let one = if let [(_, one)] = group { Some(*one) } else { None };
                        item(Step::Item(&group[0].0), one);
                    }
                    self.is_broken |= steps.len() < new.len();
                }
                children
            }
        };
        let any = self.out.len() > children;
        if !any {
            self.out.truncate(start);
        }
        (empty.is_none(), any)
    }

    /// Writes a step with what is below it, if there is anything to write.
    fn member(
        &mut self,
        step: Step<'_>,
        schema: &Schema,
        empty: Option<&Value>,
        new: Option<&Value>,
        place: Place,
        except: Except<'_>,
    ) {
        let (mut below, mut never) = (Except { reset: None, never: None }, false);
        if except.reset.is_some() || except.never.is_some() {
            let step = step.text();
            if except.reset.is_some_and(|set| set.has_step(&step)) {
                // Not owned, but an item without a key breaks there as well as elsewhere.
                if let Some(new) = new {
                    let start = self.out.len();
                    self.visit(schema, empty, new, place, below, false);
                    self.out.truncate(start);
                }
                return;
            }
            never = except.never.is_some_and(|set| set.has_step(&step));
            below.reset = except.reset.and_then(|set| set.below(&step));
            below.never = except.never.and_then(|set| set.below(&step));
        }
        let start = self.out.len();
        if self.out.last() != Some(&b'{') {
            self.out.push(b',');
        }
        self.out.push(b'"');
        step.write(&mut self.out);
        self.out.extend_from_slice(b"\":{");
        let (is_new, any) = match new {
            Some(new @ (Value::String(_) | Value::Number(_) | Value::Bool(_))) => {
                (empty.is_none_or(|empty| !equal(empty, new)), false)
            }
            Some(new) => self.visit(schema, empty, new, place, below, !never),
            None => (true, false),
        };
        if any || is_new && !never {
            self.out.push(b'}');
        } else {
            self.out.truncate(start);
        }
    }
}
