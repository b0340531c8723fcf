//! Object metadata: what the server fills in, what may not change, and what is wrong with it.
//!
//! Rules are those of `k8s.io/apimachinery/pkg/api/validation/objectmeta.go` and `registry/rest`.

use std::collections::BTreeSet;
use std::fmt::Display;

use apiserver_json::{Map, Value, json};
use apiserver_meta::field::FieldError;
use apiserver_meta::names;

use crate::catalogue::Resource;
use crate::strategy::{Strategy, UpdateCheck};

/// Total size of annotations, in bytes.
const ANNOTATIONS_BYTES_MAX: usize = 256 << 10;
/// Length up to which a generated name keeps its prefix: 63 less five random characters.
const GENERATED_PREFIX_MAX: usize = 58;

/// The metadata object; an empty one where there is none.
pub fn metadata(object: &Value) -> &Map {
    static EMPTY: std::sync::OnceLock<Map> = std::sync::OnceLock::new();
    object.get("metadata").and_then(Value::as_object).unwrap_or_else(|| EMPTY.get_or_init(Map::new))
}

/// Makes these members of the metadata what they were.
pub(crate) fn keep_metadata(new: &mut Value, old: &Value, members: &[&str]) {
    let before = metadata(old);
    let now = metadata_mut(new);
    for member in members {
        match before.get(member) {
            Some(value) => now.insert((*member).to_owned().into(), value.clone()),
            None => now.remove(member),
        };
    }
}

/// The metadata object, made where it is missing.
pub fn metadata_mut(object: &mut Value) -> &mut Map {
    member_mut(object, "metadata")
}

/// A member that is an object, made where it is missing or something else.
pub fn member_mut<'a>(object: &'a mut Value, name: &str) -> &'a mut Map {
    if !object.is_object() {
        *object = json!({});
    }
    let Value::Object(map) = object else { unreachable!("made an object above") };
    let member = map.entry(name).or_insert_with(|| json!({}));
    if !member.is_object() {
        *member = json!({});
    }
    match member {
        Value::Object(map) => map,
        _ => unreachable!("made an object above"),
    }
}

/// A string of the metadata; empty where it is missing.
pub fn text<'a>(object: &'a Value, member: &str) -> &'a str {
    metadata(object).get(member).and_then(Value::as_str).unwrap_or("")
}

pub fn name(object: &Value) -> &str {
    text(object, "name")
}

pub fn namespace(object: &Value) -> &str {
    text(object, "namespace")
}

pub fn uid(object: &Value) -> &str {
    text(object, "uid")
}

/// Finalizers, in order.
pub fn finalizers(object: &Value) -> Vec<&str> {
    metadata(object)
        .get("finalizers")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

pub fn is_deleting(object: &Value) -> bool {
    metadata(object).contains_key("deletionTimestamp")
}

/// What a new object gets: uid, times, a generated name, a first generation. `random` gives five characters.
pub fn fill_for_create(resource: &Resource, object: &mut Value, uid: &str, now: &str, random: &str) {
    let has_generation = resource.strategy.generation || resource.is_custom();
    let metadata = metadata_mut(object);
    let named = metadata.get("name").and_then(Value::as_str).is_some_and(|name| !name.is_empty());
    if !named
        && let Some(prefix) =
            metadata.get("generateName").and_then(Value::as_str).filter(|text| !text.is_empty())
    {
        let mut end = prefix.len().min(GENERATED_PREFIX_MAX);
        while !prefix.is_char_boundary(end) {
            end -= 1;
        }
        let generated = format!("{}{random}", &prefix[..end]);
        metadata.insert("name".into(), generated.into());
    }
    for member in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "resourceVersion"] {
        metadata.remove(member);
    }
    metadata.insert("uid".into(), uid.into());
    metadata.insert("creationTimestamp".into(), now.into());
    if has_generation {
        metadata.insert("generation".into(), 1.into());
    }
}

/// Takes out what a client may not say of a new object, before admission sees it.
pub fn wipe_for_create(object: &mut Value) {
    let metadata = metadata_mut(object);
    for member in ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"]
    {
        metadata.remove(member);
    }
}

/// What an update may not change is taken from the object as it is.
pub fn keep_for_update(namespaced: bool, object: &mut Value, old: &Value) {
    let old = self::metadata(old);
    let metadata = metadata_mut(object);
    if !namespaced {
        metadata.remove("namespace");
    }
    // What a client says of these does not count; of the last two it does where they were not set.
    for member in ["creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        match old.get(member) {
            Some(_) if member == "deletionGracePeriodSeconds" && metadata.contains_key(member) => {}
            Some(value) => {
                metadata.insert(member.into(), value.clone());
            }
            None if member.starts_with("deletion") => {}
            None => {
                metadata.remove(member);
            }
        }
    }
    for member in ["uid", "name", "namespace"] {
        if metadata.get(member).and_then(Value::as_str).is_none_or(str::is_empty)
            && let Some(value) = old.get(member)
        {
            metadata.insert(member.into(), value.clone());
        }
    }
    metadata.remove("resourceVersion");
}

/// Takes out owners that are named twice, and the warning of it. `mutated` says that this is after mutating admission.
pub fn dedup_owners(object: &mut Value, mutated: bool) -> Option<String> {
    let uids = take_repeated_owners(object)?;
    let after = if mutated { " after mutating admission happens" } else { "" };
    Some(format!(
        ".metadata.ownerReferences contains duplicate entries{after}; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {uids}"
    ))
}

/// Takes out owners that are there twice; answers the uids of what went, as a warning names them.
fn take_repeated_owners(object: &mut Value) -> Option<String> {
    let owners = metadata(object).get("ownerReferences")?.as_array()?;
    let is_repeated = |i: usize| owners[..i].contains(&owners[i]);
    let repeated: Vec<usize> = (1..owners.len()).filter(|i| is_repeated(*i)).collect();
    if repeated.is_empty() {
        return None;
    }
    let uids: Vec<&str> =
        repeated.iter().map(|i| owners[*i].get("uid").and_then(Value::as_str).unwrap_or("")).collect();
    let uids = uids.join(", ");
    let mut i = 0..;
    if let Some(owners) = metadata_mut(object).get_mut("ownerReferences").and_then(Value::as_array_mut) {
        owners.retain(|_| !repeated.contains(&i.next().unwrap_or_default()));
    }
    Some(uids)
}

/// Removes what Go would not print: empty labels, annotations, owner references, finalizers.
pub fn tidy(object: &mut Value) {
    let metadata = metadata_mut(object);
    metadata.retain(|key, value| match value {
        Value::Null => false,
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::String(text) => !text.is_empty() || key == "creationTimestamp",
        Value::Number(number) => key != "generation" || number.as_i64() != Some(0),
        Value::Bool(_) | Value::Raw(_) => true,
    });
}

/// Errors of the metadata of a new object.
pub fn validate_create(resource: &Resource, object: &Value) -> Vec<FieldError> {
    let rule = resource.strategy.name_rule;
    let mut errors = own_prefix_errors(resource.strategy, object);
    let name = name(object);
    if name.is_empty() {
        errors.push(FieldError::required("metadata.name", "name or generateName is required"));
    } else {
        for problem in rule(name) {
            errors.push(FieldError::invalid("metadata.name", &name.into(), problem));
        }
    }
    if resource.namespaced {
        let namespace = namespace(object);
        if namespace.is_empty() {
            errors.push(FieldError::required("metadata.namespace", ""));
        } else {
            for problem in names::dns1123_label(namespace) {
                errors.push(FieldError::invalid("metadata.namespace", &namespace.into(), problem));
            }
        }
    } else if !namespace(object).is_empty() {
        errors.push(FieldError::forbidden("metadata.namespace", "not allowed on this type"));
    }
    // The server counts the generations of most kinds; of the others a client may say one.
    if let Some(generation) = metadata(object).get("generation").filter(|value| value.as_i64() < Some(0)) {
        let why = "must be greater than or equal to 0";
        errors.push(FieldError::invalid("metadata.generation", generation, why));
    }
    validate_common(resource.strategy, object, &mut errors);
    errors
}

/// Errors of the names of a new object in which its kind found nothing wrong: any must do in a path.
pub fn validate_names(object: &Value) -> Vec<FieldError> {
    let mut errors = generate_name_errors(object, names::path_segment);
    let name = name(object);
    let invalid = |problem| FieldError::invalid("metadata.name", &name.into(), problem);
    errors.extend(names::path_segment(name).into_iter().map(invalid));
    errors
}

/// Errors of the prefix of a generated name.
fn generate_name_errors(object: &Value, rule: fn(&str) -> Vec<String>) -> Vec<FieldError> {
    let prefix = text(object, "generateName");
    if prefix.is_empty() {
        return Vec::new();
    }
    // A trailing hyphen is fine in a prefix: the random part follows. Upstream takes what is before it with it.
    let mut stem = prefix.strip_suffix('-').unwrap_or("").chars();
    let masked = match stem.next_back() {
        Some(_) => format!("{}a", stem.as_str()),
        None => prefix.to_owned(),
    };
    let invalid = |problem| FieldError::invalid("metadata.generateName", &prefix.into(), problem);
    rule(&masked).into_iter().map(invalid).collect()
}

/// Errors of the prefix of a generated name, as the kind sees it.
fn own_prefix_errors(strategy: &Strategy, object: &Value) -> Vec<FieldError> {
    if strategy.checks_prefix { generate_name_errors(object, strategy.name_rule) } else { Vec::new() }
}

/// Errors of an updated object: of its metadata, at which the server looks twice, and of what its kind looks at as
/// `checks` say, `own` being the last of it. What is wrong with the metadata is found once and told as often.
pub fn validate_update(
    strategy: &Strategy,
    object: &Value,
    old: &Value,
    checks: &[UpdateCheck],
    own: impl Fn(&Value, &Value) -> Vec<FieldError>,
) -> Vec<FieldError> {
    let mut always = Vec::new();
    validate_members(object, &mut always);
    let mut names = Vec::new();
    let mut standard = Vec::new();
    validate_finalizers(object, &mut names, &mut standard);
    standard.retain(|_| strategy.standard_finalizers);
    let changed = validate_changes(object, old);
    let prefix = generate_name_errors(object, names::path_segment);
    let own_prefix = own_prefix_errors(strategy, object);
    let mut errors = [prefix.as_slice(), &always, &names, &changed, &always].concat();
    for check in checks {
        match check {
            UpdateCheck::Metadata => {
                errors.extend([own_prefix.as_slice(), &always, &names, &standard].concat())
            }
            UpdateCheck::MetadataChanges => errors.extend([changed.as_slice(), &always, &standard].concat()),
            UpdateCheck::Fields => errors.extend((strategy.validate_fields)(object, old)),
            UpdateCheck::Own => errors.extend(own(object, old)),
        }
    }
    errors
}

/// Errors of what may not change.
fn validate_changes(object: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if is_deleting(old) {
        let before = finalizers(old);
        let added: BTreeSet<&str> =
            finalizers(object).into_iter().filter(|finalizer| !before.contains(finalizer)).collect();
        if !added.is_empty() {
            let added: Vec<String> = added.into_iter().map(|finalizer| format!("{finalizer:?}")).collect();
            errors.push(FieldError::forbidden(
                "metadata.finalizers",
                format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                    added.join(", ")
                ),
            ));
        }
    }
    for member in ["name", "namespace", "uid"] {
        if text(object, member) != text(old, member) {
            let value = text(object, member).into();
            errors.push(FieldError::invalid(format!("metadata.{member}"), &value, "field is immutable"));
        }
    }
    for member in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
        let value = metadata(object).get(member);
        if value.is_some_and(|value| !value.is_null()) && value != metadata(old).get(member) {
            let value = value.unwrap_or(&Value::Null);
            errors.push(FieldError::invalid(format!("metadata.{member}"), value, "field is immutable"));
        }
    }
    errors
}

fn validate_common(strategy: &Strategy, object: &Value, errors: &mut Vec<FieldError>) {
    validate_members(object, errors);
    let (mut names, mut standard) = (Vec::new(), Vec::new());
    validate_finalizers(object, &mut names, &mut standard);
    errors.extend(names);
    errors.extend(standard.into_iter().filter(|_| strategy.standard_finalizers));
}

/// Errors of labels, annotations and owners.
pub(crate) fn validate_members(object: &Value, errors: &mut Vec<FieldError>) {
    let metadata = metadata(object);
    validate_labels(metadata.get("labels"), "metadata.labels", errors);
    validate_annotations(metadata.get("annotations"), "metadata.annotations", errors);
    for owner in metadata.get("ownerReferences").and_then(Value::as_array).into_iter().flatten() {
        validate_owner(owner, "metadata.ownerReferences", errors);
    }
    let owners = metadata.get("ownerReferences").and_then(Value::as_array).into_iter().flatten();
    let controllers: Vec<String> = owners
        .filter(|owner| owner.get("controller").and_then(Value::as_bool) == Some(true))
        .map(|owner| {
            let text = |member: &str| owner.get(member).and_then(Value::as_str).unwrap_or("");
            format!("{}/{}", text("kind"), text("name"))
        })
        .collect();
    if let [first, .., last] = controllers.as_slice() {
        errors.push(FieldError {
            problem: apiserver_meta::field::Problem::Invalid,
            field: "metadata.ownerReferences".into(),
            value: owners_as_go(metadata.get("ownerReferences").unwrap_or(&Value::Null)),
            detail: format!(
                "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {last}"
            ),
        });
    }
}

/// Errors of finalizers: of their shape, and of names without a domain that are not the server's own.
fn validate_finalizers(object: &Value, shapes: &mut Vec<FieldError>, standard: &mut Vec<FieldError>) {
    for (i, finalizer) in finalizers(object).into_iter().enumerate() {
        validate_finalizer(finalizer, "metadata.finalizers", shapes);
        validate_short_finalizer(finalizer, &format!("metadata.finalizers[{i}]"), standard);
    }
    let all = finalizers(object);
    if ["orphan", "foregroundDeletion"].iter().all(|name| all.contains(name)) {
        let why = "finalizer orphan and foregroundDeletion cannot be both set";
        shapes.push(FieldError::invalid("metadata.finalizers", &apiserver_json::json!(all), why));
    }
}

/// Errors of a finalizer's shape.
pub(crate) fn validate_finalizer(finalizer: &str, path: &str, errors: &mut Vec<FieldError>) {
    let invalid = |problem| FieldError::invalid(path, &finalizer.into(), problem);
    errors.extend(names::qualified_name(finalizer).into_iter().map(invalid));
}

/// The error of a finalizer without a domain that is not one of the server's own.
pub(crate) fn validate_short_finalizer(finalizer: &str, path: &str, errors: &mut Vec<FieldError>) {
    if !finalizer.contains('/') && !["foregroundDeletion", "orphan", "kubernetes"].contains(&finalizer) {
        let why = "name is neither a standard finalizer name nor is it fully qualified";
        errors.push(FieldError::invalid(path, &finalizer.into(), why));
    }
}

/// Owner references with their members in Go's order.
fn owners_as_go(owners: &Value) -> String {
    let members = ["apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion"];
    let one = |owner: &Value| {
        let parts: Vec<String> = members
            .iter()
            .filter_map(|member| owner.get(*member).map(|value| format!("\"{member}\":{value}")))
            .collect();
        format!("{{{}}}", parts.join(","))
    };
    let all: Vec<String> = owners.as_array().into_iter().flatten().map(one).collect();
    format!("[{}]", all.join(","))
}

/// Errors of a label map at `path`.
pub fn validate_labels(labels: Option<&Value>, path: impl Display, errors: &mut Vec<FieldError>) {
    for (key, value) in labels.and_then(Value::as_object).into_iter().flatten() {
        for problem in names::qualified_name(key) {
            errors.push(FieldError::invalid(path.to_string(), &key.clone().into(), problem));
        }
        for problem in names::label_value(value.as_str().unwrap_or("")) {
            errors.push(FieldError::invalid(path.to_string(), value, problem));
        }
    }
}

/// Errors of an annotation map at `path`.
pub fn validate_annotations(annotations: Option<&Value>, path: &str, errors: &mut Vec<FieldError>) {
    let mut size = 0;
    for (key, value) in annotations.and_then(Value::as_object).into_iter().flatten() {
        for problem in names::qualified_name(&key.to_lowercase()) {
            errors.push(FieldError::invalid(path, &key.clone().into(), problem));
        }
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > ANNOTATIONS_BYTES_MAX {
        errors.push(FieldError::too_long(path, ANNOTATIONS_BYTES_MAX));
    }
}

fn validate_owner(owner: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let text = |member: &str| owner.get(member).and_then(Value::as_str).unwrap_or("");
    if text("apiVersion").is_empty() || text("apiVersion").matches('/').count() > 1 {
        errors.push(FieldError::invalid(
            format!("{path}.apiVersion"),
            &text("apiVersion").into(),
            "version must not be empty",
        ));
    }
    for (member, problem) in
        [("kind", "must not be empty"), ("name", "must not be empty"), ("uid", "must not be empty")]
    {
        if text(member).is_empty() {
            errors.push(FieldError::invalid(format!("{path}.{member}"), &"".into(), problem));
        }
    }
    if text("apiVersion") == "v1" && text("kind") == "Event" {
        errors.push(FieldError::invalid(path, owner, "/v1, Kind=Event is disallowed from being an owner"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors_of_update(new: &Value, old: &Value) -> Vec<FieldError> {
        let plain = &crate::strategy::PLAIN;
        validate_update(plain, new, old, plain.update_checks, plain.validate_update)
    }

    #[test]
    fn a_prefix_may_end_in_a_hyphen() {
        for (prefix, is_fine) in [
            ("a-", true),
            ("ab-", true),
            ("ab--", true),
            ("a", true),
            ("-", false),
            ("-a-", false),
            ("a.", false),
        ] {
            let object = json!({"metadata": {"generateName": prefix}});
            assert_eq!(
                generate_name_errors(&object, names::dns1123_subdomain).is_empty(),
                is_fine,
                "{prefix}"
            );
        }
    }

    #[test]
    fn an_update_keeps_what_it_may_not_change() {
        let old = json!({"metadata": {"name": "a", "uid": "u", "creationTimestamp": "t", "generation": 3}});
        let mut new = json!({"metadata": {"generation": 9, "resourceVersion": "5", "namespace": "n", "generateName": "a"}});
        keep_for_update(false, &mut new, &old);
        metadata_mut(&mut new).remove("generateName");
        assert_eq!(new, old);
        metadata_mut(&mut new).insert("deletionTimestamp".into(), "x".into());
        keep_for_update(false, &mut new, &old);
        assert_eq!(
            errors_of_update(&new, &old)[0].to_string(),
            "metadata.deletionTimestamp: Invalid value: \"x\": field is immutable"
        );
    }

    #[test]
    fn owners_that_are_there_twice_go_once() {
        let owner = |name: &str| json!({"kind": "Pod", "name": name, "uid": "u"});
        let mut object = json!({"metadata": {"ownerReferences": [owner("a"), owner("b"), owner("a")]}});
        assert_eq!(take_repeated_owners(&mut object).as_deref(), Some("u"));
        assert_eq!(object, json!({"metadata": {"ownerReferences": [owner("a"), owner("b")]}}));
        assert_eq!(dedup_owners(&mut object, true), None);
    }

    #[test]
    fn new_finalizers_are_refused_while_deleting() {
        let old = json!({"metadata": {"name": "a", "deletionTimestamp": "t", "finalizers": ["e.com/f"]}});
        let new = json!({"metadata": {"name": "a", "deletionTimestamp": "t", "finalizers": ["e.com/f", "e.com/g"]}});
        assert_eq!(
            errors_of_update(&new, &old)[0].to_string(),
            "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{\"e.com/g\"}"
        );
    }
}
