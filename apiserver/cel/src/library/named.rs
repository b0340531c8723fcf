//! Named formats: `format.dns1123Label().validate(x)` gives what is wrong, if anything is.

use std::sync::Arc;

use apiserver_meta::names;

use super::object::Opaque;
use super::{mistyped, opaque};
use crate::value::{Outcome, Val, list, text};

const NAMES: [&str; 13] = [
    "byte",
    "date",
    "datetime",
    "dns1035Label",
    "dns1035LabelPrefix",
    "dns1123Label",
    "dns1123LabelPrefix",
    "dns1123Subdomain",
    "dns1123SubdomainPrefix",
    "labelValue",
    "qualifiedName",
    "uri",
    "uuid",
];

/// The longest pattern behind a format, which costs are counted by.
pub(crate) fn pattern_size(name: &str) -> usize {
    match name {
        "dns1123Label" | "dns1123LabelPrefix" => 30,
        "dns1123Subdomain" | "dns1123SubdomainPrefix" => 60,
        "qualifiedName" => 60,
        "dns1035Label" | "dns1035LabelPrefix" => 30,
        "labelValue" => 40,
        _ => 30,
    }
}

fn problems(format: &str, value: &str) -> Vec<String> {
    // A prefix is followed by a generated part, so it may end in a dash.
    let stem = match value.strip_suffix('-') {
        Some(stem) if format.ends_with("Prefix") => format!("{stem}a"),
        _ => value.to_owned(),
    };
    let unless = |fine: bool, why: &str| if fine { Vec::new() } else { vec![why.to_owned()] };
    match format.strip_suffix("Prefix").unwrap_or(format) {
        "dns1123Label" => names::dns1123_label(&stem),
        "dns1123Subdomain" => names::dns1123_subdomain(&stem),
        "dns1035Label" => names::dns1035_label(&stem),
        "qualifiedName" => names::qualified_name(value),
        "labelValue" => names::label_value(value),
        "uri" => super::url::Url::parse(value).err().into_iter().collect(),
        "uuid" => {
            let plain: String = value.chars().filter(|c| *c != '-').collect();
            let fine = plain.len() == 32 && plain.bytes().all(|b| b.is_ascii_hexdigit());
            unless(fine, "does not match the UUID format")
        }
        "byte" => unless(apiserver_meta::base64::decode(value).is_some(), "invalid base64"),
        "date" => unless(super::time::parse_date(value).is_some(), "invalid date"),
        _ => unless(super::time::parse(value).is_some(), "invalid datetime"),
    }
}

/// A function of formats.
pub(crate) fn call<'a>(function: &str, args: &[Val<'a>]) -> Outcome<'a> {
    let find = |name: &str| NAMES.iter().find(|known| **known == name).copied();
    match (function, args) {
        ("format.named", [Val::Text(name)]) => {
            let made = find(name).map(|name| Arc::new(Val::Opaque(Arc::new(Opaque::Format(name)))));
            Ok(Val::Optional(made))
        }
        ("validate", [Val::Opaque(format), Val::Text(value)]) => {
            let Opaque::Format(name) = &**format else { return mistyped(function, args) };
            let wrong = problems(name, value);
            let wrong: Vec<Val<'a>> = wrong.iter().map(|problem| text(problem)).collect();
            Ok(Val::Optional((!wrong.is_empty()).then(|| Arc::new(list(wrong)))))
        }
        (name, []) => match name.strip_prefix("format.").and_then(find) {
            Some(name) => opaque(Opaque::Format(name)),
            None => mistyped(function, args),
        },
        _ => mistyped(function, args),
    }
}
