//! What the writer of a new object owns, written while the object is walked: most objects are created once and never
//! taken apart again, and need no set.
//!
//! It comes to what `manager::record` makes of a comparison with the empty object; a property test holds it to that.

use apiserver_json::{Map, Value, write_escaped};

use super::set::FieldSet;
use super::walk::{Form, Place, child_of, entries, form, groups, is_mixed, items, steps};
use crate::golang::equal;
use crate::node::Schema;

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

/// A step in two parts, as it comes: what sort of step, and which.
type Step<'a> = (&'static str, &'a str);

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
                    self.member(("f:", key), child, before, Some(value), place.below(key), except);
                }
                children
            }
            Form::List(list) => {
                let new = items(Some(new));
                if new.is_empty() {
                    return leaf();
                }
                let children = dotted(&mut self.out);
                let steps = steps(list, new);
                self.is_broken |= steps.len() < new.len();
                for group in groups(&steps) {
                    // Items with the same step are owned as a whole.
                    let one = if let [(_, item)] = group { Some(*item) } else { None };
                    let step = ("", &*group[0].0);
                    self.member(step, list.items.get(), None, one, Place::Deeper, except);
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
            let step = [step.0, step.1].concat();
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
        self.out.extend_from_slice(step.0.as_bytes());
        write_escaped(&mut self.out, step.1);
        self.out.extend_from_slice(b"\":{");
        let (is_new, any) = match new {
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
