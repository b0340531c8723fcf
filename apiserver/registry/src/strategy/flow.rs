//! FlowSchemas and PriorityLevelConfigurations: `pkg/apis/flowcontrol/validation` upstream.

use apiserver_json::{Value, json};
use apiserver_meta::field::FieldError;
use apiserver_meta::names;

use super::shared::{
    at, at_mut, check_optional, check_range, check_rule, has, is_true, items, keep_status, number, require,
    text,
};
use super::{PLAIN, Strategy};
use crate::object;
use fixed::check_fixed;

mod fixed;

pub(super) static FLOW_SCHEMA: Strategy = Strategy {
    // The first that matches decides.
    table_order: |schema| schema.pointer("/spec/matchingPrecedence").and_then(Value::as_i64).unwrap_or(0),
    status_keeps: super::ALL_KEPT,
    update_checks: super::order::METADATA_FIRST,
    default: |schema| {
        if let Some(spec) = at_mut(schema, &["spec"]) {
            default_number(spec, "matchingPrecedence", 1000);
        }
    },
    prepare_create: |schema| schema["status"] = json!({}),
    prepare_update: keep_status,
    validate_create: validate_schema,
    validate_update: |new, _| validate_schema(new),
    validate_status: |new, _| validate_status(new),
    status: true,
    generation: true,
    ..PLAIN
};

pub(super) static PRIORITY_LEVEL: Strategy = Strategy {
    status_keeps: super::ALL_KEPT,
    update_checks: super::order::METADATA_FIRST,
    default: |level| {
        if let Some(exempt) = at_mut(level, &["spec", "exempt"]) {
            default_pointer(exempt, "nominalConcurrencyShares", 0);
            default_pointer(exempt, "lendablePercent", 0);
        }
        if let Some(limited) = at_mut(level, &["spec", "limited"]) {
            default_pointer(limited, "nominalConcurrencyShares", 30);
            default_pointer(limited, "lendablePercent", 0);
        }
        if let Some(queuing) = at_mut(level, &["spec", "limited", "limitResponse", "queuing"]) {
            default_number(queuing, "handSize", 8);
            default_number(queuing, "queues", 64);
            default_number(queuing, "queueLengthLimit", 50);
        }
    },
    prepare_create: |level| level["status"] = json!({}),
    prepare_update: keep_status,
    validate_create: validate_level,
    validate_update: |new, _| validate_level(new),
    validate_status: |new, _| validate_status(new),
    status: true,
    generation: true,
    ..PLAIN
};

/// Sets a number that is missing or null.
fn default_pointer(object: &mut apiserver_json::Map, member: &str, value: i64) {
    if object.get(member).is_none_or(Value::is_null) {
        object.insert(member.to_owned().into(), value.into());
    }
}

/// Sets a number that is missing or zero.
fn default_number(object: &mut apiserver_json::Map, member: &str, value: i64) {
    if object.get(member).and_then(Value::as_i64).unwrap_or(0) == 0 {
        object.insert(member.to_owned().into(), value.into());
    }
}

fn validate_status(object: &Value) -> Vec<FieldError> {
    let (mut errors, mut seen) = (Vec::new(), Vec::new());
    for (i, condition) in items(&object["status"], "conditions").iter().enumerate() {
        let path = format!("status.conditions[{i}]");
        let kind = text(condition, "type");
        if seen.contains(&kind) {
            errors.push(FieldError::duplicate(format!("{path}.type"), &kind.into()));
        }
        seen.push(kind);
        require(condition, "type", &path, &mut errors);
    }
    errors
}

fn validate_schema(schema: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (name, spec) = (object::name(schema), at(schema, &["spec"]));
    let precedence = number(spec, "matchingPrecedence").unwrap_or(0);
    let mut wrong = |why: &str| {
        errors.push(FieldError::invalid("spec.matchingPrecedence", &precedence.into(), why));
    };
    match precedence {
        ..=0 => wrong("must be a positive value"),
        1 if name != "exempt" => wrong("only the schema named 'exempt' may have matchingPrecedence 1"),
        10_001.. => wrong("must not be greater than 10000"),
        _ => {}
    }
    let method = &spec["distinguisherMethod"];
    let methods = ["ByNamespace", "ByUser"];
    if method.is_object() && !methods.contains(&text(method, "type")) {
        let shown = json!({"Type": text(method, "type")});
        errors.push(FieldError::not_supported("spec.distinguisherMethod.type", &shown, &methods));
    }
    let level = &spec["priorityLevelConfiguration"];
    if text(level, "name").is_empty() {
        let why = "must reference a priority level";
        errors.push(FieldError::required("spec.priorityLevelConfiguration.name", why));
    }
    check_optional(level, "name", names::dns1123_subdomain, "spec.priorityLevelConfiguration", &mut errors);
    for (i, rule) in items(spec, "rules").iter().enumerate() {
        check_rules(rule, &format!("spec.rules[{i}]"), &mut errors);
    }
    check_fixed(name, "FlowSchema", spec, &mut errors);
    errors.extend(validate_status(schema));
    errors
}

fn check_rules(rule: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let subjects = items(rule, "subjects");
    if subjects.is_empty() {
        let why = "subjects must contain at least one value";
        errors.push(FieldError::required(format!("{path}.subjects"), why));
    }
    for (i, subject) in subjects.iter().enumerate() {
        check_subject(subject, &format!("{path}.subjects[{i}]"), errors);
    }
    let (resources, others) = (items(rule, "resourceRules"), items(rule, "nonResourceRules"));
    if resources.is_empty() && others.is_empty() {
        let why = "at least one of resourceRules and nonResourceRules has to be non-empty";
        errors.push(FieldError::required(path, why));
    }
    for (i, rule) in resources.iter().enumerate() {
        check_resource_rule(rule, &format!("{path}.resourceRules[{i}]"), errors);
    }
    for (i, rule) in others.iter().enumerate() {
        check_other_rule(rule, &format!("{path}.nonResourceRules[{i}]"), errors);
    }
}

/// (kind, the member that says who).
const SUBJECTS: [(&str, &str); 3] =
    [("ServiceAccount", "serviceAccount"), ("User", "user"), ("Group", "group")];

fn check_subject(subject: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let kind = text(subject, "kind");
    let Some((_, own)) = SUBJECTS.iter().find(|(known, _)| *known == kind) else {
        let kinds = SUBJECTS.map(|(kind, _)| kind);
        errors.push(FieldError::not_supported(format!("{path}.kind"), &kind.into(), &kinds));
        return;
    };
    let (who, place) = (&subject[*own], format!("{path}.{own}"));
    if !who.is_object() {
        let why = format!("{own} is required when subject kind is '{kind}'");
        errors.push(FieldError::required(&place, why));
    } else if require(who, "name", &place, errors) && kind == "ServiceAccount" && text(who, "name") != "*" {
        check_optional(who, "name", names::dns1123_subdomain, &place, errors);
    }
    if kind == "ServiceAccount" && who.is_object() {
        if text(who, "namespace").is_empty() {
            let why = "must specify namespace for service account";
            errors.push(FieldError::required(format!("{place}.namespace"), why));
        }
        check_optional(who, "namespace", names::dns1123_label, &place, errors);
    }
    // Upstream's order: users before groups, accounts before both.
    for (other, member) in [SUBJECTS[0], SUBJECTS[1], SUBJECTS[2]] {
        if other != kind && has(subject, member) {
            let why = format!("{member} is forbidden when subject kind is not '{other}'");
            errors.push(FieldError::forbidden(format!("{path}.{member}"), why));
        }
    }
}

const VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

fn has_all(list: &[Value]) -> bool {
    list.iter().any(|entry| entry == "*")
}

/// Errors of a list that may be `*` alone; true where its entries are to be looked at.
fn check_list(
    rule: &Value,
    (list, missing, others): (&str, &str, &str),
    path: &str,
    errors: &mut Vec<FieldError>,
) -> bool {
    let entries = items(rule, list);
    if entries.is_empty() {
        errors.push(FieldError::required(format!("{path}.{list}"), missing));
    } else if has_all(entries) && entries.len() > 1 {
        let why = format!("if '*' is present, must not specify other {others}");
        errors.push(FieldError::invalid(format!("{path}.{list}"), &json!(entries), why));
    }
    !entries.is_empty() && !has_all(entries)
}

fn check_verbs(rule: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let verbs = items(rule, "verbs");
    let known = |verb: &Value| verb.as_str().is_some_and(|verb| VERBS.contains(&verb));
    if check_list(rule, ("verbs", "verbs must contain at least one value", "verbs"), path, errors)
        && !verbs.iter().all(known)
    {
        errors.push(FieldError::not_supported(format!("{path}.verbs"), &json!(verbs), VERBS));
    }
}

fn check_resource_rule(rule: &Value, path: &str, errors: &mut Vec<FieldError>) {
    check_verbs(rule, path, errors);
    check_list(
        rule,
        ("apiGroups", "resource rules must supply at least one api group", "api groups"),
        path,
        errors,
    );
    check_list(
        rule,
        ("resources", "resource rules must supply at least one resource", "resources"),
        path,
        errors,
    );
    if items(rule, "namespaces").is_empty() && is_true(rule, "clusterScope") {
        return;
    }
    let missing = "resource rules that are not cluster scoped must supply at least one namespace";
    if check_list(rule, ("namespaces", missing, "namespaces"), path, errors) {
        for (i, namespace) in items(rule, "namespaces").iter().filter_map(Value::as_str).enumerate() {
            for why in names::dns1123_label(namespace) {
                let why = format!("each member of this list must be '*' or a DNS-1123 label; {why}");
                errors.push(FieldError::invalid(format!("{path}.namespaces[{i}]"), &namespace.into(), why));
            }
        }
    }
}

fn check_other_rule(rule: &Value, path: &str, errors: &mut Vec<FieldError>) {
    check_verbs(rule, path, errors);
    let missing = "nonResourceURLs must contain at least one value";
    if check_list(rule, ("nonResourceURLs", missing, "non-resource URLs"), path, errors) {
        for (i, url) in items(rule, "nonResourceURLs").iter().filter_map(Value::as_str).enumerate() {
            check_rule(url, url_problem, format_args!("{path}.nonResourceURLs[{i}]"), errors);
        }
    }
}

fn url_problem(url: &str) -> Vec<String> {
    let stars = url.matches('*').count();
    let why = match url {
        "" => "must not be empty",
        "/" => return Vec::new(),
        _ if !url.starts_with('/') => "must start with slash",
        _ if url.contains(' ') => "must not contain white-space",
        _ if url.contains("//") => "must not contain double slash",
        _ if stars > 1 || (stars == 1 && !url.ends_with("/*")) => "wildcard can only do suffix matching",
        _ => return Vec::new(),
    };
    vec![why.to_owned()]
}

fn validate_level(level: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (name, spec) = (object::name(level), at(level, &["spec"]));
    let kind = text(spec, "type");
    if (name == "exempt") != (kind == "Exempt") {
        let why = "must be 'Exempt' if and only if `name` is 'exempt'";
        errors.push(FieldError::invalid("spec.type", &kind.into(), why));
    }
    let (limited, exempt) = (&spec["limited"], &spec["exempt"]);
    match kind {
        "Exempt" => {
            if limited.is_object() {
                errors.push(FieldError::forbidden("spec.limited", "must be nil if the type is not Limited"));
            }
            check_exempt(exempt, &mut errors);
        }
        "Limited" => {
            if exempt.is_object() {
                errors.push(FieldError::forbidden("spec.exempt", "must be nil if the type is Limited"));
            }
            if limited.is_object() {
                check_limited(limited, &mut errors);
            } else {
                errors.push(FieldError::required("spec.limited", "must not be empty when type is Limited"));
            }
        }
        _ => errors.push(FieldError::not_supported("spec.type", &kind.into(), &["Exempt", "Limited"])),
    }
    check_fixed(name, "PriorityLevelConfiguration", spec, &mut errors);
    errors.extend(validate_status(level));
    errors
}

fn check_not_negative(owner: &Value, member: &str, why: &str, path: &str, errors: &mut Vec<FieldError>) {
    if let Some(number) = number(owner, member).filter(|number| *number < 0) {
        errors.push(FieldError::invalid(format!("{path}.{member}"), &number.into(), why));
    }
}

const NEGATIVE: &str = "must be a non-negative integer";
const PERCENT: (i64, i64) = (0, 100);

fn check_exempt(exempt: &Value, errors: &mut Vec<FieldError>) {
    const PATH: &str = "spec.exempt";
    check_not_negative(exempt, "nominalConcurrencyShares", NEGATIVE, PATH, errors);
    check_range(exempt, "lendablePercent", PERCENT, PATH, errors);
}

fn check_limited(limited: &Value, errors: &mut Vec<FieldError>) {
    const PATH: &str = "spec.limited";
    check_not_negative(limited, "nominalConcurrencyShares", NEGATIVE, PATH, errors);
    check_response(&limited["limitResponse"], errors);
    check_range(limited, "lendablePercent", PERCENT, PATH, errors);
    let why = "if specified, must be a non-negative integer";
    check_not_negative(limited, "borrowingLimitPercent", why, PATH, errors);
}

fn check_response(response: &Value, errors: &mut Vec<FieldError>) {
    const PATH: &str = "spec.limited.limitResponse";
    let (kind, queuing) = (text(response, "type"), &response["queuing"]);
    match kind {
        "Reject" if queuing.is_object() => {
            let why = "must be nil if limited.limitResponse.type is not Limited";
            errors.push(FieldError::forbidden(format!("{PATH}.queuing"), why));
        }
        "Reject" => {}
        "Queue" if queuing.is_object() => check_queuing(queuing, &format!("{PATH}.queuing"), errors),
        "Queue" => {
            let why = "must not be empty if limited.limitResponse.type is Limited";
            errors.push(FieldError::required(format!("{PATH}.queuing"), why));
        }
        _ => {
            errors.push(FieldError::not_supported(
                format!("{PATH}.type"),
                &kind.into(),
                &["Queue", "Reject"],
            ));
        }
    }
}

const QUEUES_MAX: i64 = 10_000_000;
/// Bits of the hash that deals queues to flows.
const HASH_BITS_MAX: i64 = 60;

fn check_queuing(queuing: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let of = |member: &str| number(queuing, member).unwrap_or(0);
    let (length, queues, hand) = (of("queueLengthLimit"), of("queues"), of("handSize"));
    let mut wrong = |member: &str, value: i64, why: &str| {
        errors.push(FieldError::invalid(format!("{path}.{member}"), &value.into(), why));
    };
    const POSITIVE: &str = "must be positive";
    if length <= 0 {
        wrong("queueLengthLimit", length, POSITIVE);
    }
    if queues <= 0 {
        wrong("queues", queues, POSITIVE);
    } else if queues > QUEUES_MAX {
        wrong("queues", queues, &format!("must not be greater than {QUEUES_MAX}"));
    }
    let bits = ((queues as f64).log2() * hand as f64).ceil();
    if hand <= 0 {
        wrong("handSize", hand, POSITIVE);
    } else if hand > queues {
        wrong("handSize", hand, &format!("should not be greater than queues ({queues})"));
    } else if bits > HASH_BITS_MAX as f64 {
        let why = format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {HASH_BITS_MAX}"
        );
        wrong("handSize", hand, &why);
    }
}
