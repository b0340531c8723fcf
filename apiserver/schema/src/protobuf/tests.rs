//! What Go wrote, and what holds for any object.

use apiserver_json::{Map, Value, json};
use apiserver_meta::base64;
use proptest::prelude::*;

use super::table::{Field, Index, Kind, Shape, table};
use super::*;
use crate::{Decode, builtin, decode};

/// A line for each kind: an object as JSON, and its body in base64, both as Go wrote them.
const SAMPLES: &str = include_str!("samples.tsv");

#[test]
fn bodies_are_gos_byte_for_byte() {
    let mut kinds = 0;
    for line in SAMPLES.lines() {
        let (json, body) = line.split_once('\t').unwrap();
        let tree: Value = apiserver_json::from_str(json).unwrap();
        let body = base64::decode(body).unwrap();
        assert_eq!(to_protobuf(&tree).unwrap(), body, "{json}");
        let read = from_protobuf(&body).unwrap();
        assert_eq!(to_protobuf(&read).unwrap(), body, "{json}");
        assert_eq!(read["kind"], tree["kind"]);
        kinds += 1;
    }
    assert!(kinds > 80);
}

#[test]
fn what_a_packed_tree_holds_is_written_alike() {
    let tree = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"managedFields": [{"fieldsV1": {"f:a": {}}}]}});
    let packed = apiserver_meta::packed::parse(tree.to_string().as_bytes()).unwrap();
    assert_eq!(to_protobuf(&packed), to_protobuf(&tree));
}

#[test]
fn kinds_without_a_message_are_known() {
    for (api_version, kind) in [("meta.k8s.io/v1", "Table"), ("e.com/v1", "Pod"), ("v1", "Widget"), ("", "")]
    {
        assert!(Message::of(api_version, kind).is_none(), "{kind}");
    }
    for (api_version, kind) in
        [("v1", "PodList"), ("", "APIVersions"), ("v1", "Status"), ("apps/v1", "DeleteOptions")]
    {
        assert!(Message::of(api_version, kind).is_some(), "{kind}");
    }
}

#[test]
fn an_event_is_a_frame_around_a_body() {
    let mut frame = Vec::new();
    write_event(&mut frame, "ADDED", b"k8s\0");
    assert_eq!(frame, b"\0\0\0\x0f\x0a\x05ADDED\x12\x06\x0a\x04k8s\0");
}

#[test]
fn damage_is_an_error_not_a_panic() {
    for (raw, want) in [
        (&b""[..], "empty data"),
        (b"k8s\0", "empty body"),
        (b"k8s\0\xff\xff\xff", "unexpected EOF"),
        (b"k8s\0\x12\x7f", "unexpected EOF"),
        (b"{}", "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"),
    ] {
        assert_eq!(from_protobuf(raw).unwrap_err(), want);
    }
}

#[test]
fn nesting_is_bounded() {
    let mut schema = Vec::new();
    for _ in 0..200 {
        let mut outer = Vec::new();
        super::write::nested(&mut outer, 28, |out| out.extend_from_slice(&schema));
        schema = outer;
    }
    let mut version = Vec::new();
    for number in [1, 4, 7, 3] {
        let mut outer = Vec::new();
        super::write::nested(&mut outer, number, |out| {
            out.extend_from_slice(if version.is_empty() { &schema } else { &version });
        });
        version = outer;
    }
    let mut body = Vec::new();
    write_prefix(&mut body, "apiextensions.k8s.io/v1", "CustomResourceDefinition", version.len());
    body.extend_from_slice(&version);
    let _ = from_protobuf(&body);
}

/// Choices that a property test made in advance.
struct Choices<'a>(std::slice::Iter<'a, u16>);

impl Choices<'_> {
    fn below(&mut self, bound: u16) -> u16 {
        self.0.next().copied().unwrap_or(0) % bound
    }

    fn of(&mut self, texts: &[&str]) -> Value {
        texts.get(usize::from(self.below(texts.len() as u16))).copied().unwrap_or_default().into()
    }
}

fn any_message(index: Index, choices: &mut Choices, depth: usize) -> Map {
    let mut object = Map::new();
    for field in table().fields(index) {
        if field.shape == Shape::Inline {
            let Kind::Message(inner) = field.kind else { continue };
            object.extend(any_message(inner, choices, depth));
        } else if depth < 8 && choices.below(3) == 1 {
            object.insert(field.member.to_owned().into(), any_field(field, choices, depth));
        }
    }
    object
}

fn any_field(field: &Field, choices: &mut Choices, depth: usize) -> Value {
    let count = choices.below(2) + 1;
    let mut item = || any_value(field.kind, choices, depth + 1);
    match field.shape {
        Shape::List => (0..count).map(|_| item()).collect(),
        Shape::Map => (0..count).map(|i| (format!("k{i}"), item())).collect::<Map>().into(),
        _ => item(),
    }
}

fn any_value(kind: Kind, choices: &mut Choices, depth: usize) -> Value {
    match kind {
        Kind::Bool => json!(choices.below(2) == 1),
        Kind::Int => json!(i32::from(choices.below(u16::MAX)) - 10),
        // As it is read from JSON: without a fraction it is an integer.
        Kind::Double => match choices.below(1000) {
            whole if whole % 8 == 0 => json!(whole / 8),
            eighths => json!(f64::from(eighths) / 8.0),
        },
        Kind::Text => choices.of(&["", "a", "\u{e9}\"<"]),
        Kind::Bytes => choices.of(&["", "YQ==", "AAECAw=="]),
        Kind::Texts => json!(["x", "y"][..usize::from(choices.below(3))]),
        Kind::Time => choices.of(&["2024-02-29T01:02:03Z", "1970-01-01T00:00:00Z", "1601-01-01T00:00:00Z"]),
        Kind::MicroTime => choices.of(&["2024-02-29T01:02:03.000001Z", "1970-01-01T00:00:00.000000Z"]),
        Kind::Quantity => choices.of(&["0", "100m", "2Gi", "1e3"]),
        Kind::IntOrString => [json!(0), json!(-8), json!(80), json!("http"), json!("50%")]
            [usize::from(choices.below(5))]
        .clone(),
        Kind::Json => {
            [json!({"a": [1, null]}), json!("s"), json!(1.5)][usize::from(choices.below(3))].clone()
        }
        Kind::Fields => json!({"f:spec": {".": {}}}),
        Kind::SchemaOrBool if choices.below(2) == 0 => json!(choices.below(2) == 1),
        Kind::SchemaOrList if choices.below(2) == 0 => json!([any_schema(choices, depth)]),
        Kind::SchemaOrTexts if choices.below(2) == 0 => json!(["p"]),
        Kind::SchemaOrBool | Kind::SchemaOrList | Kind::SchemaOrTexts => any_schema(choices, depth),
        Kind::Message(index) => any_message(index, choices, depth).into(),
    }
}

fn any_schema(choices: &mut Choices, depth: usize) -> Value {
    any_message(table().schema, choices, depth + 2).into()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Any object of any kind is read as it was written; what Go leaves out of JSON may come and go.
    #[test]
    fn what_is_written_is_read(
        kind in any::<prop::sample::Index>(),
        choices in prop::collection::vec(any::<u16>(), 600),
    ) {
        let kinds: Vec<_> = crate::kinds().filter(|(_, _, kind, _)| !kind.ends_with("Options")).collect();
        let (group, version, kind, _) = *kind.get(&kinds);
        let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        let Some(index) = table().root(&api_version, kind) else { return Ok(()) };
        let mut tree = Value::Object(any_message(index, &mut Choices(choices.iter()), 0));
        tree["apiVersion"] = api_version.into();
        tree["kind"] = kind.into();
        let body = to_protobuf(&tree).unwrap();
        let mut read = from_protobuf(&body).unwrap();
        prop_assert_eq!(to_protobuf(&read).unwrap(), body);
        let schema = builtin(group, version, kind).unwrap();
        decode(&schema, &mut tree, Decode::Json).unwrap();
        decode(&schema, &mut read, Decode::Json).unwrap();
        prop_assert_eq!(read, tree);
    }
}

#[test]
fn what_is_wrong_is_told_of_what_it_is_in() {
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(content.len()).unwrap()], content].concat()
    }
    let body = |version: &str, kind: &str, content: &[u8]| {
        let meta = [field(1, version.as_bytes()), field(2, kind.as_bytes())].concat();
        [MAGIC, &field(1, &meta), &field(2, content)].concat()
    };
    let map = |content: &[u8]| body("v1", "ConfigMap", content);
    let unknown = |version: &str, kind: &str| {
        format!(
            "no kind {kind:?} is registered for version {version:?} in scheme \"pkg/api/legacyscheme/scheme.go:30\""
        )
    };
    let of = |version: &str, kind: &str| Some((version.to_owned(), kind.to_owned()));
    for (raw, why, said) in [
        (map(&[0xff; 10]), "proto: integer overflow".to_owned(), of("v1", "ConfigMap")),
        (map(&[8, 5]), "proto: wrong wireType = 0 for field ObjectMeta".to_owned(), of("v1", "ConfigMap")),
        (map(&[2, 0]), "proto: ConfigMap: illegal tag 0 (wire type 2)".to_owned(), of("v1", "ConfigMap")),
        (map(b"{}"), "unexpected EOF".to_owned(), of("v1", "ConfigMap")),
        (body("v1", "Foo", &[]), unknown("v1", "Foo"), of("v1", "Foo")),
        (body("", "Foo", &[]), unknown("apps/v1", "Foo"), of("apps/v1", "Foo")),
        ([MAGIC, &[0, 0]].concat(), "proto: Unknown: illegal tag 0 (wire type 0)".to_owned(), None),
        ([MAGIC, &[0x12, 9]].concat(), "unexpected EOF".to_owned(), None),
    ] {
        let error = from_protobuf_as(&raw, ("apps/v1", "Deployment")).unwrap_err();
        assert_eq!((error.why, error.said), (why, said), "{raw:?}");
    }
    for raw in [body("", "", &[]), body("a/b/c", "Deployment", &[]), [MAGIC, &field(2, &[])].concat()] {
        let read = from_protobuf_as(&raw, ("apps/v1", "Deployment")).unwrap();
        assert_eq!((&read["apiVersion"], &read["kind"]), (&json!("apps/v1"), &json!("Deployment")));
    }
}
