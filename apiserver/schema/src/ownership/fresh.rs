//! What the writer of a new object owns, written while the object is walked: most objects are created once and never
//! taken apart again, and need no set.
//!
//! It comes to what `manager::record` makes of a comparison with the empty object; a property test holds it to that.

use apiserver_json::{Map, Value};

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
    let mut writer = Writer { out: String::with_capacity(1024), is_broken: false };
    writer.out.push('{');
    let except = Except { reset: Some(reset), never: Some(never) };
    writer.visit(schema, Some(empty), object, Place::Root, except, false);
    writer.out.push('}');
    (!writer.is_broken).then_some(writer.out)
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
    out: String,
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
        let dotted = |out: &mut String| {
            if dot && empty.is_none() {
                out.push_str("\".\":{}");
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
                return;
            }
            never = except.never.is_some_and(|set| set.has_step(&step));
            below.reset = except.reset.and_then(|set| set.below(&step));
            below.never = except.never.and_then(|set| set.below(&step));
        }
        let start = self.out.len();
        if !self.out.ends_with('{') {
            self.out.push(',');
        }
        self.out.push('"');
        self.out.push_str(step.0);
        apiserver_json::escape(&mut self.out, step.1);
        self.out.push_str("\":{");
        let (is_new, any) = match new {
            Some(new) => self.visit(schema, empty, new, place, below, !never),
            None => (true, false),
        };
        if any || is_new && !never {
            self.out.push('}');
        } else {
            self.out.truncate(start);
        }
    }
}
