//! Rules of Jobs, alone or in a CronJob: `validateJobSpec` and its like upstream.

use apiserver_json::{Value, json};
use apiserver_meta::field::{FieldError, Problem, go_quote};
use apiserver_meta::names;

use super::pod;
use super::shared::{
    at, check_label_selector, check_not_negative, check_rule, check_set_enum, has, invalid_as, items, number,
    text,
};

/// Pods an indexed Job may have at once, and indexes of it that may fail.
const INDEXED_MAX: i64 = 100_000;
/// Completions above which a Job with a limit per index has smaller bounds, and those bounds.
const MANY: i64 = 100_000;
const BOUND_OF_MANY: i64 = 10_000;
const RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;
/// Bytes of a text that lists indexes.
const INDEXES_BYTES_MAX: usize = 64 * 1024;
const NOT_INDEXED: &str = "requires indexed completion mode";

/// Errors of a Job's spec at `path`.
pub(super) fn check_spec(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for member in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        check_not_negative(spec, member, format_args!("{path}.{member}"), errors);
    }
    if has(spec, "maxFailedIndexes") && !has(spec, "backoffLimitPerIndex") {
        let why = "when maxFailedIndexes is specified";
        errors.push(FieldError::required(format!("{path}.backoffLimitPerIndex"), why));
    }
    if let Some(manager) = spec.get("managedBy").and_then(Value::as_str) {
        check_domain_path(manager, &format!("{path}.managedBy"), errors);
        if manager.len() > 63 {
            errors.push(FieldError::too_long(format!("{path}.managedBy"), 63));
        }
    }
    check_set_enum(spec, "completionMode", path, &["NonIndexed", "Indexed"], errors);
    let is_indexed = text(spec, "completionMode") == "Indexed";
    if is_indexed {
        check_indexed(spec, path, errors);
    } else if matches!(at(spec, &["completionMode"]).as_str(), None | Some("NonIndexed")) {
        for member in ["backoffLimitPerIndex", "maxFailedIndexes"] {
            if has(spec, member) {
                errors.push(FieldError::invalid(
                    format!("{path}.{member}"),
                    at(spec, &[member]),
                    NOT_INDEXED,
                ));
            }
        }
    }
    let policy = at(spec, &["podFailurePolicy"]);
    if !policy.is_null() {
        check_failure_policy(spec, policy, &format!("{path}.podFailurePolicy.rules"), errors);
    }
    let success = at(spec, &["successPolicy"]);
    if has(spec, "successPolicy") && is_indexed {
        check_success_policy(spec, success, &format!("{path}.successPolicy.rules"), errors);
    } else if has(spec, "successPolicy") {
        let path = format!("{path}.successPolicy");
        errors.push(invalid_as("*batch.SuccessPolicy", path, success, NOT_INDEXED));
    }
    let replacements: &[&str] =
        if policy.is_null() { &["Failed", "TerminatingOrFailed"] } else { &["Failed"] };
    check_set_enum(spec, "podReplacementPolicy", path, replacements, errors);
    pod::check_template(at(spec, &["template"]), &format!("{path}.template"), errors);
    let restart = text(at(spec, &["template", "spec"]), "restartPolicy");
    let place = format!("{path}.template.spec.restartPolicy");
    match restart {
        "" | "Always" => errors.push(FieldError::required(place, "valid values: \"OnFailure\", \"Never\"")),
        "Never" => {}
        "OnFailure" if policy.is_null() => {}
        "OnFailure" => {
            let why = "only \"Never\" is supported when podFailurePolicy is specified";
            errors.push(FieldError::invalid(place, &restart.into(), why));
        }
        _ => {
            let known = ["OnFailure", "Never"];
            errors.push(FieldError::not_supported_in_order(place, &restart.into(), &known));
        }
    }
}

/// `example.com/name`: `IsDomainPrefixedPath`.
pub fn check_domain_path(value: &str, path: &str, errors: &mut Vec<FieldError>) {
    let Some((domain, rest)) =
        value.split_once('/').filter(|(domain, rest)| !domain.is_empty() && !rest.is_empty())
    else {
        let why = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        if value.is_empty() {
            errors.push(FieldError::required(path, ""));
        } else {
            errors.push(FieldError::invalid(path, &value.into(), why));
        }
        return;
    };
    check_rule(domain, names::dns1123_subdomain, path, errors);
    let fits = |c: char| c.is_ascii_alphanumeric() || "/-._~%!$&'()*+,;=:".contains(c);
    if !rest.chars().all(fits) {
        let why = "Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')";
        errors.push(FieldError::invalid(path, &rest.into(), why));
    }
}

fn check_indexed(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let (completions, parallelism) = (number(spec, "completions"), number(spec, "parallelism"));
    let failed = number(spec, "maxFailedIndexes");
    let mut wrong = |member: &str, value: i64, why: String| {
        errors.push(FieldError::invalid(format!("{path}.{member}"), &value.into(), why));
    };
    if let Some(count) = parallelism.filter(|count| *count > INDEXED_MAX) {
        let why = format!("must be less than or equal to {INDEXED_MAX} when completion mode is Indexed");
        wrong("parallelism", count, why);
    }
    if let (Some(failed), Some(completions)) = (failed, completions)
        && failed > completions
    {
        wrong("maxFailedIndexes", failed, "must be less than or equal to completions".to_owned());
    }
    if let Some(failed) = failed.filter(|failed| *failed > INDEXED_MAX) {
        wrong("maxFailedIndexes", failed, format!("must be less than or equal to {INDEXED_MAX}"));
    }
    if completions.is_none() {
        errors.push(FieldError::required(format!("{path}.completions"), "when completion mode is Indexed"));
    }
    if completions.is_none_or(|count| count <= MANY) || !has(spec, "backoffLimitPerIndex") {
        return;
    }
    if failed.is_none() {
        let why = format!("must be specified when completions is above {MANY}");
        errors.push(FieldError::required(format!("{path}.maxFailedIndexes"), why));
    }
    for member in ["parallelism", "maxFailedIndexes"] {
        if let Some(count) = number(spec, member).filter(|count| *count > BOUND_OF_MANY) {
            let why = format!(
                "must be less than or equal to {BOUND_OF_MANY} when completions are above {MANY} and used with backoff limit per index"
            );
            errors.push(FieldError::invalid(format!("{path}.{member}"), &count.into(), why));
        }
    }
}

/// An error that shows no value.
pub(super) fn plain(path: &str, why: &str) -> FieldError {
    FieldError {
        problem: Problem::Invalid,
        field: path.to_owned(),
        value: String::new(),
        detail: why.to_owned(),
    }
}

fn quoted(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    format!("valid values: [{}]", names.join(" "))
}

fn check_failure_policy(spec: &Value, policy: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let rules = items(policy, "rules");
    if rules.len() > RULES_MAX {
        errors.push(FieldError::too_many(path, rules.len(), RULES_MAX));
    }
    for (i, rule) in rules.iter().enumerate() {
        let path = format!("{path}[{i}]");
        let action = text(rule, "action");
        let known = ["Count", "FailIndex", "FailJob", "Ignore"];
        if action.is_empty() {
            errors.push(FieldError::required(format!("{path}.action"), quoted(&known)));
        } else if action == "FailIndex" && !has(spec, "backoffLimitPerIndex") {
            let why = "requires the backoffLimitPerIndex to be set";
            errors.push(FieldError::invalid(format!("{path}.action"), &action.into(), why));
        } else {
            check_set_enum(rule, "action", &path, &known, errors);
        }
        let (codes, conditions) = (at(rule, &["onExitCodes"]), items(rule, "onPodConditions"));
        if !codes.is_null() {
            check_exit_codes(spec, codes, &format!("{path}.onExitCodes"), errors);
        }
        let list = format!("{path}.onPodConditions");
        if conditions.len() > RULES_MAX {
            errors.push(FieldError::too_many(&list, conditions.len(), RULES_MAX));
        }
        for (j, condition) in conditions.iter().enumerate() {
            let path = format!("{list}[{j}]");
            check_rule(text(condition, "type"), names::qualified_name, format_args!("{path}.type"), errors);
            check_set_enum(condition, "status", &path, &["False", "True", "Unknown"], errors);
        }
        match (codes.is_null(), conditions.is_empty()) {
            (false, false) => {
                let why = "specifying both OnExitCodes and OnPodConditions is not supported";
                errors.push(plain(&path, why));
            }
            (true, true) => {
                let why = "specifying one of OnExitCodes and OnPodConditions is required";
                errors.push(plain(&path, why));
            }
            _ => {}
        }
    }
}

fn check_exit_codes(spec: &Value, codes: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let operator = text(codes, "operator");
    if operator.is_empty() {
        errors.push(FieldError::required(format!("{path}.operator"), quoted(&["In", "NotIn"])));
    } else {
        check_set_enum(codes, "operator", path, &["In", "NotIn"], errors);
    }
    if let Some(name) = codes.get("containerName").and_then(Value::as_str) {
        let template = at(spec, &["template", "spec"]);
        let mut known = items(template, "containers").iter().chain(items(template, "initContainers"));
        if !known.any(|container| text(container, "name") == name) {
            let why = "must be one of the container or initContainer names in the pod template";
            errors.push(FieldError::invalid(format!("{path}.containerName"), &name.into(), why));
        }
    }
    let values = items(codes, "values");
    let list = format!("{path}.values");
    if values.is_empty() {
        errors.push(FieldError::invalid(&list, at(codes, &["values"]), "at least one value is required"));
    } else if values.len() > EXIT_CODES_MAX {
        errors.push(FieldError::too_many(&list, values.len(), EXIT_CODES_MAX));
    }
    for (i, value) in values.iter().enumerate() {
        if operator == "In" && value == 0 {
            let why = "must not be 0 for the In operator";
            errors.push(FieldError::invalid(format!("{list}[{i}]"), value, why));
        }
        if values.iter().take(i).any(|known| known == value) {
            errors.push(FieldError::duplicate(format!("{list}[{i}]"), value));
        }
    }
    if !values.is_sorted_by_key(|value| value.as_i64()) {
        errors.push(FieldError::invalid(list, &json!(values), "must be ordered"));
    }
}

fn check_success_policy(spec: &Value, policy: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let rules = items(policy, "rules");
    if rules.is_empty() {
        let why = "at least one rules must be specified when the successPolicy is specified";
        errors.push(FieldError::required(path, why));
    }
    if rules.len() > RULES_MAX {
        errors.push(FieldError::too_many(path, rules.len(), RULES_MAX));
    }
    let completions = number(spec, "completions").unwrap_or(0);
    for (i, rule) in rules.iter().enumerate() {
        let path = format!("{path}[{i}]");
        let place = format!("{path}.succeededCount");
        if !has(rule, "succeededCount") && !has(rule, "succeededIndexes") {
            let why = "at least one of succeededCount or succeededIndexes must be specified";
            errors.push(FieldError::required(&path, why));
        }
        let mut total = 0;
        if has(rule, "succeededIndexes") {
            let (indexes, path) = (text(rule, "succeededIndexes"), format!("{path}.succeededIndexes"));
            if indexes.len() > INDEXES_BYTES_MAX {
                errors.push(FieldError::too_long(&path, INDEXES_BYTES_MAX));
            }
            match count_indexes(indexes, completions) {
                Ok(count) => total = count,
                Err(why) => {
                    let why = format!("error parsing succeededIndexes: {why}");
                    errors.push(FieldError::invalid(path, &indexes.into(), why));
                }
            }
        }
        check_not_negative(rule, "succeededCount", &place, errors);
        if let Some(count) = number(rule, "succeededCount").filter(|count| *count > completions) {
            let why =
                format!("must be less than or equal to {completions} (the number of specified completions)");
            errors.push(FieldError::invalid(&place, &count.into(), why));
        }
        let of_indexes = number(rule, "succeededCount").filter(|_| has(rule, "succeededIndexes"));
        if let Some(count) = of_indexes.filter(|count| *count > total) {
            let why = format!(
                "must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
            );
            errors.push(FieldError::invalid(place, &count.into(), why));
        }
    }
}

/// How many indexes `1,3-5` are: they grow, and are below the number of completions.
pub(super) fn count_indexes(indexes: &str, completions: i64) -> Result<i64, String> {
    let (mut total, mut last) = (0, None);
    for part in indexes.split(',').filter(|_| !indexes.is_empty()) {
        let ends: Vec<&str> = part.split('-').collect();
        if ends.len() > 2 {
            return Err(format!(
                "the fragment {part:?} violates the requirement that an index interval can have at most two parts separated by '-'"
            ));
        }
        let read = |end: &str| {
            let not_one = || format!("cannot convert string to integer for index: {}", go_quote(end));
            let index = end.parse::<i64>().map_err(|_| not_one())?;
            if index >= completions { Err(format!("too large index: {end:?}")) } else { Ok(index) }
        };
        let first = read(ends[0])?;
        let end = ends.get(1).map_or(Ok(first), |end| read(end))?;
        let grows = |before: i64, after: i64| match before < after {
            true => Ok(()),
            false => Err(format!("non-increasing order, previous: {before}, current: {after}")),
        };
        if ends.len() == 2 {
            grows(first, end)?;
        }
        if let Some(last) = last {
            grows(last, first)?;
        }
        total += end - first + 1;
        last = Some(end);
    }
    Ok(total)
}

/// Errors of a Job: what it generates, its spec, its selector. `ValidateJob`.
pub(super) fn check_job(job: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = at(job, &["spec"]);
    check_generated(job, old, &mut errors);
    check_whole_spec(spec, &mut errors);
    let completions = number(spec, "completions").unwrap_or(0);
    if text(spec, "completionMode") == "Indexed" && completions > 0 {
        let name = crate::object::name(job);
        let hostname = format!("{name}-{}", completions - 1);
        if !names::dns1123_label(&hostname).is_empty() {
            let why = format!("will not able to create pod with invalid DNS label: {hostname}");
            errors.push(FieldError::invalid("metadata.name", &name.into(), why));
        }
    }
    errors
}

/// Errors of a Job's spec with the selector that a Job in a CronJob does not have: `ValidateJobSpec`.
pub(super) fn check_whole_spec(spec: &Value, errors: &mut Vec<FieldError>) {
    check_spec(spec, "spec", errors);
    let selector = at(spec, &["selector"]);
    if selector.is_null() {
        errors.push(FieldError::required("spec.selector", ""));
    }
    let before = errors.len();
    check_label_selector(selector, "spec.selector", errors);
    if errors.len() == before {
        super::workload::check_labels_match(spec, "spec", errors);
    }
}

/// Labels by which a Job finds its Pods are its own: `validateGeneratedSelector`.
fn check_generated(job: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let spec = at(job, &["spec"]);
    if at(spec, &["manualSelector"]) == true || at(spec, &["selector"]).is_null() {
        return;
    }
    let (uid, name) = (crate::object::uid(job), crate::object::name(job));
    let labels = at(spec, &["template", "metadata", "labels"]);
    let path = "spec.template.metadata.labels";
    let expected = [
        ("controller-uid", uid),
        ("job-name", name),
        ("batch.kubernetes.io/controller-uid", uid),
        ("batch.kubernetes.io/job-name", name),
    ];
    // Jobs that are older than the names with a domain need not have them.
    let had =
        |key: &str| old.is_none_or(|old| has(at(old, &["spec", "template", "metadata", "labels"]), key));
    let is_new = had("batch.kubernetes.io/controller-uid") && had("batch.kubernetes.io/job-name");
    let expected: Vec<_> = expected.into_iter().filter(|(key, _)| is_new || !key.contains('/')).collect();
    for (key, want) in &expected {
        let (key, want) = (*key, *want);
        match labels.get(key).and_then(Value::as_str) {
            None => {
                let why = format!("must be '{want}'");
                errors.push(FieldError::required(format!("{path}[{key}]"), why));
            }
            Some(value) if value != want => {
                let why = format!("must be '{want}'");
                errors.push(FieldError::invalid(format!("{path}[{key}]"), labels, why));
            }
            Some(_) => {}
        }
    }
    // One that is wrong is refused for that alone.
    let mut wrong = Vec::new();
    check_label_selector(at(spec, &["selector"]), "", &mut wrong);
    let selects =
        apiserver_meta::selector::LabelSelector::from_json(at(spec, &["selector"])).is_none_or(|selector| {
            selector.matches(|key| expected.iter().find(|(known, _)| *known == key).map(|(_, value)| *value))
        });
    if wrong.is_empty() && !selects {
        errors.push(super::workload::invalid_selector(
            at(spec, &["selector"]),
            "`selector` not auto-generated",
        ));
    }
}
