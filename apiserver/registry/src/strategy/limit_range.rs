//! LimitRanges: `SetDefaults_LimitRangeItem` and `ValidateLimitRange` upstream.

use std::collections::BTreeSet;

use apiserver_json::{Map, SmolStr, Value};
use apiserver_meta::field::FieldError;
use apiserver_meta::{names, quantity};

use super::shared::{at, check_rule, items, items_mut, text};
use super::{PLAIN, Strategy, resources};

pub(super) static LIMIT_RANGE: Strategy = Strategy {
    update_checks: super::order::METADATA_FIRST,
    default: |range| {
        if let Some(spec) = range.get_mut("spec") {
            items_mut(spec, "limits").for_each(default_limit);
        }
    },
    prepare_create: |range| {
        if crate::object::name(range).is_empty() {
            let name = uuid::Uuid::new_v4().to_string();
            crate::object::metadata_mut(range).insert("name".into(), name.into());
        }
    },
    validate_create: validate,
    validate_update: |new, _| validate(new),
    create_on_update: true,
    ..PLAIN
};

/// A container's default limit is its maximum; its default request its default limit, or else its minimum.
fn default_limit(limit: &mut Value) {
    if text(limit, "type") != "Container" {
        return;
    }
    for (from, to) in [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")] {
        let Some(source) = limit.get(from).and_then(Value::as_object).cloned() else { continue };
        let Some(limit) = limit.as_object_mut() else { continue };
        let target = limit.entry(to).or_insert_with(|| Map::new().into());
        for (name, amount) in source {
            target.as_object_mut().map(|target| target.entry(name).or_insert(amount));
        }
    }
}

fn validate(range: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut types = BTreeSet::new();
    for (i, limit) in items(at(range, &["spec"]), "limits").iter().enumerate() {
        let path = format!("spec.limits[{i}]");
        let of = text(limit, "type");
        check_type(of, &format!("{path}.type"), &mut errors);
        if !types.insert(of) {
            errors.push(FieldError::duplicate(format!("{path}.type"), &of.into()));
        }
        for member in MEMBERS.into_iter().filter(|member| of != "Pod" || !member.starts_with("default")) {
            for name in limit[member].as_object().into_iter().flat_map(Map::keys) {
                let path = format_args!("{path}.{member}[{name}]");
                match of {
                    "Pod" | "Container" => resources::check_container_name(name, path, &mut errors),
                    _ => resources::check_name(name, path, &mut errors),
                }
            }
        }
        if of == "Pod" {
            for member in ["default", "defaultRequest"] {
                if limit[member].as_object().is_some_and(|amounts| !amounts.is_empty()) {
                    let why = "may not be specified when `type` is 'Pod'";
                    errors.push(FieldError::forbidden(format!("{path}.{member}"), why));
                }
            }
        }
        let has_storage = ["min", "max"].iter().any(|member| !limit[*member]["storage"].is_null());
        if of == "PersistentVolumeClaim" && !has_storage {
            let why = "either minimum or maximum storage value is required, but neither was provided";
            errors.push(FieldError::required(format!("{path}.limits"), why));
        }
        validate_amounts(limit, of == "Pod", &path, &mut errors);
    }
    errors
}

fn check_type(of: &str, path: &str, errors: &mut Vec<FieldError>) {
    let before = errors.len();
    check_rule(of, names::qualified_name, path, errors);
    let standard = ["Pod", "Container", "PersistentVolumeClaim"];
    if errors.len() == before && !of.contains('/') && !standard.contains(&of) {
        let why = "must be a standard limit type or fully qualified";
        errors.push(FieldError::invalid(path, &of.into(), why));
    }
}

/// (smaller, larger, field the error is on, member whose value it shows, what they are called): no smaller one is above.
const ORDER: &[(&str, &str, &str, &str, [&str; 2])] = &[
    ("min", "max", "min", "min", ["min", "max"]),
    ("min", "defaultRequest", "defaultRequest", "defaultRequest", ["min", "default request"]),
    ("defaultRequest", "max", "defaultRequest", "defaultRequest", ["default request", "max"]),
    ("defaultRequest", "default", "defaultRequest", "defaultRequest", ["default request", "default limit"]),
    ("min", "default", "default", "min", ["min", "default"]),
    ("default", "max", "default", "max", ["default", "max"]),
];
const MEMBERS: [&str; 5] = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];

fn validate_amounts(limit: &Value, of_pod: bool, path: &str, errors: &mut Vec<FieldError>) {
    let of = |member: &str, name: &str| -> Option<(i128, String)> {
        if of_pod && member.starts_with("default") {
            return None;
        }
        let value = limit[member].get(name)?;
        let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Some((quantity::parse(value)?, shown))
    };
    let names: BTreeSet<&SmolStr> =
        MEMBERS.iter().filter_map(|member| limit[*member].as_object()).flat_map(Map::keys).collect();
    for name in names {
        for (smaller, larger, on, value, [low, high]) in ORDER {
            if let (Some(a), Some(b)) = (of(smaller, name), of(larger, name))
                && a.0 > b.0
            {
                let why = format!("{low} value {} is greater than {high} value {}", a.1, b.1);
                let shown = if value == smaller { &a.1 } else { &b.1 };
                errors.push(FieldError::invalid(format!("{path}.{on}[{name}]"), &shown.as_str().into(), why));
            }
        }
        check_ratio(name, path, &of, errors);
        // What cannot be overcommitted is asked for as it is limited.
        if let (Some(most), Some(asked)) = (of("default", name), of("defaultRequest", name))
            && most.0 != asked.0
            && !resources::may_be_overcommitted(name)
        {
            let why =
                format!("default value {} must equal to defaultRequest value {} in {name}", most.1, asked.1);
            let path = format!("{path}.defaultRequest[{name}]");
            errors.push(FieldError::invalid(path, &asked.1.as_str().into(), why));
        }
    }
}

/// An amount of a member, and how it is shown.
type Amount<'a> = &'a dyn Fn(&str, &str) -> Option<(i128, String)>;

fn check_ratio(name: &str, path: &str, of: Amount<'_>, errors: &mut Vec<FieldError>) {
    let Some((ratio, shown)) = of("maxLimitRequestRatio", name) else { return };
    let place = format!("{path}.maxLimitRequestRatio[{name}]");
    if ratio < 1000 {
        let why = format!("ratio {shown} is less than 1");
        errors.push(FieldError::invalid(&place, &shown.as_str().into(), why));
    }
    if let (Some((least, _)), Some((most, _))) = (of("min", name), of("max", name)) {
        let bound = most as f64 / least as f64;
        if ratio as f64 / 1000.0 > bound {
            let why = format!("ratio {shown} is greater than max/min = {bound:.6}");
            errors.push(FieldError::invalid(place, &shown.as_str().into(), why));
        }
    }
}
