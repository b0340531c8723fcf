//! Objects as upstream's internal Go types print them, which is how they stand in its error texts.
//!
//! `internal-types.tsv` has a line `type` tab `members` for each struct, in Go's order. A member is
//! `Name=source:type`: what it is printed as, where its value is in the served object (`.` the object itself, `^x` in
//! the one around it, `-` nowhere; the name in lower camel case where nothing stands), and its type. `*T` is a pointer,
//! `[T` a list, `{T` a map, `?T` left out where empty; `s b i q t o d y` are text, bool, number, quantity, time,
//! number or text, duration, bytes; `=` is printed as it is. A type `@` stands for the members of the metadata.

mod unified;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::OnceLock;

use apiserver_json::Value;
use apiserver_meta::field::go_json;

use self::unified::unified_diff;

const TYPES: &str = include_str!("../../data/internal-types.tsv");

/// Levels of nesting that are printed: no type of the table has as many.
const DEPTH_MAX: usize = 64;

/// A value on its way to text: members in Go's order.
enum Printed {
    Leaf(String),
    List(Vec<Printed>),
    Members(Vec<(String, Printed)>),
}

/// A served value as JSON of an internal type, on one line: `core.PodSpec`, `[core.Container`.
pub fn internal_json(go_type: &str, value: &Value) -> String {
    let mut out = String::new();
    print(go_type, Some(value), &Value::Null, 0).write(&mut out, None);
    out
}

/// What changed between two served values, as upstream tells it: a unified diff of their indented JSON.
pub fn internal_diff(go_type: &str, old: &Value, new: &Value) -> String {
    let indented = |value: &Value| {
        let mut out = String::new();
        print(go_type, Some(value), &Value::Null, 0).write(&mut out, Some(0));
        out
    };
    unified_diff(&indented(old), &indented(new))
}

impl Printed {
    fn null() -> Self {
        Self::Leaf("null".to_owned())
    }

    /// `indent` is the depth of what is written, where it is to be indented.
    fn write(&self, out: &mut String, indent: Option<usize>) {
        let (open, close, count) = match self {
            Self::Leaf(text) => return out.push_str(text),
            Self::List(items) => ('[', ']', items.len()),
            Self::Members(members) => ('{', '}', members.len()),
        };
        let inner = indent.map(|depth| depth + 1);
        let line = |out: &mut String, depth: Option<usize>| {
            if let Some(depth) = depth.filter(|_| count > 0) {
                out.push('\n');
                out.extend(std::iter::repeat_n(' ', depth));
            }
        };
        out.push(open);
        match self {
            Self::Leaf(_) => {}
            Self::List(items) => {
                for (i, item) in items.iter().enumerate() {
                    out.push_str(if i > 0 { "," } else { "" });
                    line(out, inner);
                    item.write(out, inner);
                }
            }
            Self::Members(members) => {
                for (i, (name, item)) in members.iter().enumerate() {
                    out.push_str(if i > 0 { "," } else { "" });
                    line(out, inner);
                    out.push_str(&go_json(&name.as_str().into()));
                    out.push_str(if inner.is_some() { ": " } else { ":" });
                    item.write(out, inner);
                }
            }
        }
        line(out, indent);
        out.push(close);
    }
}

fn print(go_type: &str, value: Option<&Value>, around: &Value, depth: usize) -> Printed {
    let value = value.filter(|value| !value.is_null());
    if depth > DEPTH_MAX {
        return Printed::null();
    }
    let kind = go_type.as_bytes().first().copied().unwrap_or(b'=');
    let rest = go_type.get(1..).unwrap_or("");
    match (kind, value) {
        (b'?', _) => print(rest, value, around, depth),
        (b'*', Some(_)) => print(rest, value, around, depth + 1),
        (b'*' | b'[' | b'{' | b'y', None) => Printed::null(),
        (b'[', Some(value)) => {
            let items = value.as_array().into_iter().flatten();
            Printed::List(items.map(|item| print(rest, Some(item), value, depth + 1)).collect())
        }
        (b'{', Some(value)) => {
            let entries = value.as_object().into_iter().flatten();
            Printed::Members(
                entries
                    .map(|(key, item)| (key.to_string(), print(rest, Some(item), value, depth + 1)))
                    .collect(),
            )
        }
        _ if go_type.len() > 1 => members_of(go_type, value.unwrap_or(&Value::Null), around, depth),
        _ => Printed::Leaf(value.map_or_else(|| empty(kind).to_owned(), go_json)),
    }
}

fn members_of(go_type: &str, value: &Value, around: &Value, depth: usize) -> Printed {
    let mut shown = Vec::new();
    for member in table().get(go_type).map_or(&[][..], Vec::as_slice) {
        let found = match member.source.as_ref() {
            "." => Some(value),
            "-" => None,
            source => match source.strip_prefix('^') {
                Some(name) => around.get(name),
                None => source.split('.').try_fold(value, |place, name| place.get(name)),
            },
        };
        // A pointer says something whatever it points to.
        let says_nothing =
            |value: &Value| value.is_null() || !member.go_type.starts_with("?*") && is_empty(value);
        if !(member.may_be_left_out && found.is_none_or(says_nothing)) {
            shown.push((member.name.to_owned(), print(member.go_type, found, value, depth + 1)));
        }
    }
    Printed::Members(shown)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Raw(text) => &**text == "{}",
    }
}

/// What stands for a value of a simple type that is not there.
fn empty(kind: u8) -> &'static str {
    match kind {
        b's' => "\"\"",
        b'b' => "false",
        b'i' | b'o' => "0",
        b'q' => "\"0\"",
        b'd' => "\"0s\"",
        _ => "null",
    }
}

struct Member {
    name: &'static str,
    source: Cow<'static, str>,
    go_type: &'static str,
    may_be_left_out: bool,
}

fn table() -> &'static HashMap<&'static str, Vec<Member>> {
    static TABLE: OnceLock<HashMap<&'static str, Vec<Member>>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let rows = || TYPES.lines().filter_map(|line| line.split_once('\t'));
        let metadata = rows().find(|(name, _)| *name == "@").map_or("", |(_, members)| members);
        let read = |members: &'static str| {
            members.split(' ').flat_map(|word| if word == "@" { metadata } else { word }.split(' '))
        };
        rows().map(|(name, members)| (name, read(members).filter_map(member).collect())).collect()
    })
}

fn member(text: &'static str) -> Option<Member> {
    let (names, go_type) = text.split_once(':')?;
    let (name, source) = match names.split_once('=') {
        Some((name, source)) => (name, source.into()),
        None => (names, lower_camel(names).into()),
    };
    Some(Member { name, source, go_type, may_be_left_out: go_type.starts_with('?') })
}

/// The name with its first letter in lower case.
fn lower_camel(name: &str) -> String {
    let mut letters = name.chars();
    let first: String = letters.next().into_iter().flat_map(char::to_lowercase).collect();
    first + letters.as_str()
}

#[cfg(test)]
mod tests {
    use apiserver_json::json;

    use super::*;

    #[test]
    fn values_are_printed_as_their_internal_types() {
        for (go_type, value, want) in [
            ("core.HTTPHeader", json!({"name": "<a>"}), r#"{"Name":"\u003ca\u003e","Value":""}"#),
            ("[core.EnvVar", json!([]), "[]"),
            (
                "*core.ResourceRequirements",
                json!({"limits": {"cpu": "1"}}),
                r#"{"Limits":{"cpu":"1"},"Requests":null,"Claims":null}"#,
            ),
            ("*core.Probe", json!(null), "null"),
            (
                "v1.LabelSelector",
                json!({"matchExpressions": [{"key": "a", "operator": "Exists"}], "matchLabels": {"b": "c"}}),
                r#"{"matchLabels":{"b":"c"},"matchExpressions":[{"key":"a","operator":"Exists"}]}"#,
            ),
            (
                "core.PersistentVolumeClaimTemplate",
                json!({"metadata": {"labels": {"a": "b"}}, "spec": {"volumeName": "v"}}),
                r#"{"labels":{"a":"b"},"Spec":{"AccessModes":null,"Selector":null,"Resources":{"Limits":null,"Requests":null},"VolumeName":"v","StorageClassName":null,"VolumeMode":null,"DataSource":null,"DataSourceRef":null,"VolumeAttributesClassName":null}}"#,
            ),
            ("core.Unknown", json!({"a": 1}), "{}"),
        ] {
            assert_eq!(internal_json(go_type, &value), want);
        }
    }

    #[test]
    fn the_host_of_a_pod_is_a_matter_of_its_security() {
        let printed = internal_json("core.PodSpec", &json!({"hostNetwork": true, "securityContext": {}}));
        assert!(printed.contains(r#""SecurityContext":{"HostNetwork":true,"HostPID":false,"#), "{printed}");
    }

    #[test]
    fn every_type_of_a_member_is_in_the_table() {
        for member in table().values().flatten() {
            let go_type = member.go_type.trim_start_matches(['?', '*', '[', '{']);
            assert!(go_type.len() == 1 || table().contains_key(go_type), "{go_type}");
        }
    }

    #[test]
    fn a_change_is_told_with_three_lines_around_it() {
        let old = json!({"name": "a", "image": "i", "command": ["x"]});
        let new = json!({"name": "a", "image": "i", "command": ["y"]});
        assert_eq!(
            internal_diff("core.Container", &old, &new),
            "@@ -2,7 +2,7 @@\n  \"Name\": \"a\",\n  \"Image\": \"i\",\n  \"Command\": [\n-  \"x\"\n+  \"y\"\n  ],\n  \"Args\": null,\n  \"WorkingDir\": \"\",\n"
        );
        assert_eq!(internal_diff("core.Container", &old, &old), "");
    }
}
