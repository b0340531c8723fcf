//! Trees against serde_json and a map that is known to be right.

use proptest::prelude::*;

use crate::{Cursor, Map, SmolStr, Value, from_str, json, parse, split_value};

/// Any tree of `serde_json`.
fn trees() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        // Whole and extreme ones are written otherwise.
        any::<i32>().prop_map(|half| (f64::from(half) + 0.5).into()),
        ".{0,40}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 64, 12, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::vec(("[a-d]{0,2}|.{20,30}", inner), 0..16)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

#[test]
fn floats_are_written_as_go_writes_them() {
    for (number, text) in [
        (1.0, "1"),
        (0.5, "0.5"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (1.5e-7, "1.5e-7"),
        (1e-6, "0.000001"),
    ] {
        assert_eq!(Value::from(number).to_string(), text);
    }
}

proptest! {
    #[test]
    fn trees_are_read_and_written_as_serde_json_does(tree in trees()) {
        let text = tree.to_string();
        let ours: Value = from_str(&text).unwrap();
        prop_assert_eq!(ours.to_string(), text.clone());
        for text in [&text, &format!(" {tree:#} ")] {
            prop_assert_eq!(&parse(text, &[]).unwrap().value, &ours);
        }
        prop_assert_eq!(&Value::from(tree.clone()), &ours);
        prop_assert_eq!(serde_json::to_string(&ours).unwrap(), text);
        prop_assert_eq!(format!("{ours:#}"), format!("{tree:#}"));
        prop_assert_eq!(serde_json::Value::from(&ours), tree);
    }

    #[test]
    fn what_is_broken_is_read_as_serde_json_reads_it(tree in trees(), at in any::<prop::sample::Index>(), byte in "[ -~]") {
        let mut text = tree.to_string();
        let at = at.index(text.len());
        if text.is_char_boundary(at) && text.is_char_boundary(at + 1) {
            text.replace_range(at..=at, &byte);
        }
        if let Some(parsed) = parse(&text, &[]) {
            prop_assert_eq!(parsed.value.to_string(), from_str::<Value>(&text).unwrap().to_string());
        }
    }

    #[test]
    fn what_is_read_over_is_what_is_read(tree in trees(), after in "[,}\\] ]?.{0,9}") {
        for text in [tree.to_string(), format!(" {tree:#}")] {
            // A number or a word is not told from what follows it at once.
            let has_an_end = tree.is_string() || tree.is_array() || tree.is_object();
            if !has_an_end && !matches!(after.bytes().next(), None | Some(b',' | b'}' | b']' | b' ')) {
                continue;
            }
            let whole = format!("{text}{after}");
            let (value, rest) = split_value(whole.as_bytes()).unwrap();
            prop_assert_eq!(std::str::from_utf8(value).unwrap(), text.trim_start());
            prop_assert_eq!(std::str::from_utf8(rest).unwrap(), &after);
            let cut = text.len() - 1;
            if has_an_end {
                prop_assert!(split_value(text.get(..cut).unwrap_or_default().as_bytes()).is_none());
            }
            if let Some(members) = tree.as_object() {
                let mut found = Vec::new();
                let mut cursor = Cursor::open(text.as_bytes()).unwrap();
                while let Some(name) = cursor.name().unwrap() {
                    let name = format!("\"{}\"", std::str::from_utf8(name).unwrap());
                    let value = serde_json::from_slice(cursor.value().unwrap()).unwrap();
                    found.push((serde_json::from_str::<String>(&name).unwrap(), value));
                }
                prop_assert!(cursor.rest().is_empty());
                prop_assert!(members.iter().map(|(name, value)| (name.clone(), value.clone())).eq(found));
            }
        }
    }

    #[test]
    fn reading_over_any_text_ends(text in ".{0,60}|[\"{}:,a\\[\\]\\\\ ]{0,30}") {
        let _ = split_value(text.as_bytes());
        let mut cursor = Cursor::open(text.as_bytes());
        while let Some(open) = &mut cursor
            && let Some(Some(_)) = open.name()
            && open.value().is_some()
        {}
    }

    #[test]
    fn a_map_is_a_sorted_map(steps in prop::collection::vec(("[a-e]{0,3}", 0..4_u8, any::<u8>()), 0..60)) {
        let (mut ours, mut model) = (Map::new(), std::collections::BTreeMap::<String, Value>::new());
        let members = || steps.iter().map(|(key, _, value)| (key.clone(), Value::from(*value)));
        let known: std::collections::BTreeMap<String, Value> = members().collect();
        let (read, duplicates) = Map::of_members(members().map(|(key, value)| (key.into(), value)).collect());
        prop_assert!(read.iter().map(|(key, value)| (key.as_str(), value)).eq(known.iter().map(|(key, value)| (key.as_str(), value))));
        prop_assert_eq!(duplicates, known.len() < steps.len());
        for (key, step, value) in steps {
            let value = Value::from(value);
            match step {
                0 => prop_assert_eq!(ours.insert(key.as_str().into(), value.clone()), model.insert(key, value)),
                1 => prop_assert_eq!(ours.remove(&key), model.remove(&key)),
                2 => {
                    let made = ours.entry(key.as_str()).or_insert_with(|| value.clone()).clone();
                    prop_assert_eq!(&made, model.entry(key).or_insert(value));
                }
                _ => {
                    ours.retain(|name, _| name.as_str() != key);
                    model.retain(|name, _| *name != key);
                }
            }
            prop_assert!(ours.iter().map(|(key, value)| (key.as_str(), value)).eq(model.iter().map(|(key, value)| (key.as_str(), value))));
            for name in ["", "a", "b", "abc", "e"] {
                prop_assert_eq!(ours.get(name), model.get(name));
            }
        }
    }
}

#[test]
fn the_macro_writes_what_it_says() {
    let (name, list, nothing) = ("n".to_owned(), vec!["x", "y"], None::<&str>);
    let value = json!({
        "a": {"b": [null, true, -1, 1.5, "t", [], {}], "c": name.len() + 1},
        (name.clone()): list, "nothing": nothing,
        "last": {"deep": {"er": name}},
    });
    let text = r#"{"a":{"b":[null,true,-1,1.5,"t",[],{}],"c":2},"last":{"deep":{"er":"n"}},"n":["x","y"],"nothing":null}"#;
    assert_eq!(value.to_string(), text);
    assert_eq!(json!([1, null, [2], {"a": name},]).to_string(), r#"[1,null,[2],{"a":"n"}]"#);
    assert_eq!((json!(null), json!({}), json!("x")), (Value::Null, Value::Object(Map::new()), "x".into()));
}

#[test]
fn pointers_and_indexes_find_what_is_there() {
    let mut value = json!({"a": {"b/c": [1, {"d~e": 2}]}, "": 3});
    assert_eq!(value.pointer("/a/b~1c/1/d~0e"), Some(&json!(2)));
    assert_eq!(value.pointer("/"), Some(&json!(3)));
    assert_eq!(value.pointer("").map(Value::is_object), Some(true));
    for nothing in ["a", "/a/b~1c/01", "/a/b~1c/+1", "/a/b~1c/2", "/a/x", "/a/b~1c/-"] {
        assert_eq!(value.pointer(nothing), None, "{nothing}");
    }
    *value.pointer_mut("/a/b~1c/0").unwrap() = json!("new");
    value["made"]["below"] = json!(true);
    assert_eq!(value["a"]["b/c"][0], "new");
    assert_eq!(value["made"]["below"], true);
    assert!(value["missing"]["below"][7].is_null());
}

#[test]
fn trees_are_small() {
    assert_eq!((size_of::<Value>(), size_of::<SmolStr>(), size_of::<Map>()), (24, 24, 16));
}

#[test]
fn what_is_special_is_escaped_wherever_it_stands() {
    for length in 0..20 {
        for at in 0..length {
            for special in (0..=0x7f).map(char::from).chain(['\u{80}', 'é', '\u{2028}']) {
                let text: String = (0..length).map(|i| if i == at { special } else { 'x' }).collect();
                let expected = serde_json::to_string(&text).expect("a text is JSON");
                assert_eq!(Value::from(text.as_str()).to_string(), expected);
            }
        }
    }
}
