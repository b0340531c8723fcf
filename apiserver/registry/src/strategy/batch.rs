//! Jobs and CronJobs.

use apiserver_json::{Value, json};
use apiserver_meta::field::FieldError;

use super::shared::{
    at, at_mut, check_immutable, check_immutable_as, check_not_negative, check_set_enum, default,
    default_text, has, invalid_as, is_empty, items, items_mut, keep_status, number, text,
};
use super::{PLAIN, Strategy, cron, job, job_status, pod};

pub(super) static JOB: Strategy = Strategy {
    update_checks: super::order::NEW_THEN_CHANGES,
    default: |job| {
        super::apps::default_template(job);
        default_job_spec(job.get_mut("spec").unwrap_or(&mut Value::Null));
        default_conditions(job);
        let labels = at(job, &["spec", "template", "metadata", "labels"]);
        if !is_empty(labels) && is_empty(at(job, &["metadata", "labels"])) {
            let labels = labels.clone();
            crate::object::metadata_mut(job).insert("labels".into(), labels);
        }
    },
    prepare_create: |job| {
        generate_selector(job);
        pod::drop_disabled(at_mut(job, &["spec", "template", "spec"]));
        job["status"] = json!({});
    },
    prepare_update: |new, old| {
        keep_status(new, old);
        pod::drop_disabled(at_mut(new, &["spec", "template", "spec"]));
    },
    validate_create: |job| job::check_job(job, None),
    validate_fields: |new, old| job::check_job(new, Some(old)),
    validate_update: validate_job_update,
    validate_status: job_status::check,
    shares_labels: true,
    warns_of_template: true,
    warnings: |job| super::pod_warnings::of_namesake(job, at(job, &["spec", "template"]), "spec.template"),
    status: true,
    generation: true,
    ..PLAIN
};

pub(super) static CRON_JOB: Strategy = Strategy {
    default: |cron| {
        if let Some(template) = cron.pointer_mut("/spec/jobTemplate") {
            // The rest of a Job's defaults come with the Jobs that are made of it.
            super::apps::default_template(template);
            default_conditions(template);
        }
        let Some(spec) = at_mut(cron, &["spec"]) else { return };
        default_text(spec, "concurrencyPolicy", "Allow");
        default(spec, "suspend", false);
        default(spec, "successfulJobsHistoryLimit", 3);
        default(spec, "failedJobsHistoryLimit", 1);
    },
    warns_of_template: true,
    warnings: |cron| {
        let template = at(cron, &["spec", "jobTemplate", "spec", "template"]);
        super::pod_warnings::of_namesake(cron, template, "spec.jobTemplate.spec.template")
    },
    prepare_create: |cron| {
        pod::drop_disabled(at_mut(cron, &["spec", "jobTemplate", "spec", "template", "spec"]));
        cron["status"] = json!({});
    },
    prepare_update: |new, old| {
        keep_status(new, old);
        pod::drop_disabled(at_mut(new, &["spec", "jobTemplate", "spec", "template", "spec"]));
    },
    validate_create: |cron| validate_cron_job(cron, None),
    validate_update: |cron, old| validate_cron_job(cron, Some(old)),
    status: true,
    generation: true,
    ..PLAIN
};

/// A condition that a failure policy is about is a true one.
fn default_conditions(job: &mut Value) {
    let rules = job.pointer_mut("/spec/podFailurePolicy/rules");
    for rule in rules.and_then(Value::as_array_mut).into_iter().flatten() {
        for condition in items_mut(rule, "onPodConditions").filter_map(Value::as_object_mut) {
            default_text(condition, "status", "True");
        }
    }
}

fn default_job_spec(spec: &mut Value) {
    let Some(spec) = spec.as_object_mut() else { return };
    if !spec.contains_key("completions") && !spec.contains_key("parallelism") {
        spec.insert("completions".into(), 1.into());
        spec.insert("parallelism".into(), 1.into());
    }
    default(spec, "parallelism", 1);
    let tries = if spec.contains_key("backoffLimitPerIndex") { i32::MAX } else { 6 };
    default(spec, "backoffLimit", tries);
    default(spec, "completionMode", "NonIndexed");
    default(spec, "suspend", false);
    default(spec, "manualSelector", false);
    let replacement = if spec.contains_key("podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
    default(spec, "podReplacementPolicy", replacement);
}

/// The labels by which a Job finds its Pods, unless the user manages them.
fn generate_selector(job: &mut Value) {
    if at(job, &["spec", "manualSelector"]) == &json!(true) {
        return;
    }
    let (name, uid) = (crate::object::name(job).to_owned(), crate::object::uid(job).to_owned());
    let Some(spec) = at_mut(job, &["spec"]) else { return };
    if let Some(template) = spec.get_mut("template") {
        let labels = crate::object::metadata_mut(template).entry("labels").or_insert_with(|| json!({}));
        if let Some(labels) = labels.as_object_mut() {
            for (key, value) in [
                ("batch.kubernetes.io/controller-uid", &uid),
                ("batch.kubernetes.io/job-name", &name),
                ("controller-uid", &uid),
                ("job-name", &name),
            ] {
                // What somebody else put there is kept, and refused where it is not the same.
                labels.entry(key).or_insert_with(|| value.clone().into());
            }
        }
    }
    let selector = spec.entry("selector").or_insert_with(|| json!({}));
    if let Some(selector) = selector.as_object_mut() {
        let labels = selector.entry("matchLabels").or_insert_with(|| json!({}));
        if let Some(labels) = labels.as_object_mut() {
            labels.entry("batch.kubernetes.io/controller-uid").or_insert_with(|| uid.into());
        }
    }
}

/// Errors of an updated Job: what it does is fixed. `ValidateJobSpecUpdate`.
fn validate_job_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let (spec, before) = (at(new, &["spec"]), at(old, &["spec"]));
    let mut errors = Vec::new();
    job::check_whole_spec(spec, &mut errors);
    let fixed = |member: &str, errors: &mut Vec<FieldError>| {
        check_immutable(at(spec, &[member]), at(before, &[member]), &format!("spec.{member}"), errors);
    };
    if text(spec, "completionMode") != "Indexed" {
        fixed("completions", &mut errors);
    } else if let Some(count) = number(spec, "completions")
        && number(before, "completions") != Some(count)
        && number(spec, "parallelism") != Some(count)
    {
        let why = "can only be modified in tandem with spec.parallelism";
        errors.push(FieldError::invalid("spec.completions", &count.into(), why));
    }
    super::workload::check_same_selector(new, old, &mut errors);
    check_template_update(spec, old, &mut errors);
    for (member, go_type) in [
        ("completionMode", "*s"),
        ("podFailurePolicy", "*batch.PodFailurePolicy"),
        ("backoffLimitPerIndex", "*i"),
        ("managedBy", "*s"),
        ("successPolicy", "*batch.SuccessPolicy"),
    ] {
        let path = format!("spec.{member}");
        check_immutable_as(go_type, at(spec, &[member]), at(before, &[member]), &path, &mut errors);
    }
    errors
}

/// A template may change where its Pods run, and what they need, while its Job is suspended and nothing runs.
fn check_template_update(spec: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let (template, before) = (at(spec, &["template"]), at(old, &["spec", "template"]));
    if template == before {
        return;
    }
    let status = at(old, &["status"]);
    let is_suspended = items(status, "conditions")
        .iter()
        .any(|condition| text(condition, "type") == "Suspended" && text(condition, "status") == "True");
    let may_change = at(old, &["spec", "suspend"]) == true
        && (is_suspended || !has(status, "startTime"))
        && number(status, "active").unwrap_or(0) == 0;
    if !may_change {
        errors.push(invalid_as("core.PodTemplateSpec", "spec.template", template, "field is immutable"));
        return;
    }
    let masked = |template: &Value| {
        let mut spec = at(template, &["spec"]).clone();
        for list in ["containers", "initContainers"] {
            for container in items_mut(&mut spec, list).filter_map(Value::as_object_mut) {
                container.remove("resources");
            }
        }
        if let Some(map) = spec.as_object_mut() {
            for member in ["nodeSelector", "tolerations", "schedulingGates"] {
                map.remove(member);
            }
            if let Some(affinity) = map.get_mut("affinity").and_then(Value::as_object_mut) {
                affinity.remove("nodeAffinity");
                if affinity.is_empty() {
                    map.remove("affinity");
                }
            }
        }
        spec
    };
    if masked(template) != masked(before) {
        let spec = at(template, &["spec"]);
        errors.push(invalid_as("core.PodSpec", "spec.template.spec", spec, "field is immutable"));
    }
}

/// The controller adds eleven characters to the name; 63 a Job may have.
const CRON_JOB_NAME_MAX: usize = 52;

fn validate_cron_job(cron: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let spec = at(cron, &["spec"]);
    let mut errors = Vec::new();
    let schedule = text(spec, "schedule");
    let mut wrong = |why: &str| errors.push(FieldError::invalid("spec.schedule", &schedule.into(), why));
    if schedule.is_empty() {
        errors.push(FieldError::required("spec.schedule", ""));
    } else {
        if let Some(why) = cron::problem(schedule) {
            wrong(&why);
        }
        let had_zone = old.is_some_and(|old| text(at(old, &["spec"]), "schedule").contains("TZ"));
        match (schedule.contains("TZ"), had_zone) {
            (true, false) => wrong("cannot use TZ or CRON_TZ in schedule, use timeZone field instead"),
            (true, true) if has(spec, "timeZone") => {
                wrong("cannot use both timeZone field and TZ or CRON_TZ in schedule");
            }
            _ => {}
        }
    }
    check_not_negative(spec, "startingDeadlineSeconds", "spec.startingDeadlineSeconds", &mut errors);
    if old.is_none_or(|old| at(old, &["spec", "timeZone"]) != at(spec, &["timeZone"])) {
        check_time_zone(spec, &mut errors);
    }
    check_set_enum(spec, "concurrencyPolicy", "spec", &["Allow", "Forbid", "Replace"], &mut errors);
    let template = at(spec, &["jobTemplate", "spec"]);
    job::check_spec(template, "spec.jobTemplate.spec", &mut errors);
    if let Some(selector) = template.get("selector") {
        let why = "`selector` will be auto-generated";
        let refused = super::workload::invalid_selector(selector, why);
        errors.push(FieldError { field: "spec.jobTemplate.spec.selector".into(), ..refused });
    }
    if at(template, &["manualSelector"]) == true {
        let path = "spec.jobTemplate.spec.manualSelector";
        errors.push(FieldError::not_supported_in_order(path, &true.into(), &["nil", "false"]));
    }
    check_not_negative(spec, "successfulJobsHistoryLimit", "spec.successfulJobsHistoryLimit", &mut errors);
    check_not_negative(spec, "failedJobsHistoryLimit", "spec.failedJobsHistoryLimit", &mut errors);
    let name = crate::object::name(cron);
    if old.is_none() && name.len() > CRON_JOB_NAME_MAX {
        let why = "must be no more than 52 characters";
        errors.push(FieldError::invalid("metadata.name", &name.into(), why));
    }
    errors
}

fn check_time_zone(spec: &Value, errors: &mut Vec<FieldError>) {
    let Some(zone) = spec.get("timeZone").and_then(Value::as_str) else { return };
    let is_part = |part: &str| {
        !part.starts_with('-')
            && !matches!(part, "." | "..")
            && (1..=14).contains(&part.len())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_+".contains(&byte))
    };
    let mut wrong = |why: &str| errors.push(FieldError::invalid("spec.timeZone", &zone.into(), why));
    let unknown = format!("unknown time zone {zone}");
    if zone.is_empty() {
        return wrong("timeZone must be nil or non-empty string");
    }
    if !zone.split('/').all(is_part) {
        return wrong(&unknown);
    }
    if zone.eq_ignore_ascii_case("local") {
        wrong("timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones");
    }
    // Names are as they are spelt in the tz database: it is files where upstream reads it.
    let known = |zone: &str| {
        let found = jiff::tz::db().get(zone).ok();
        found.is_some_and(|found| found.iana_name() == Some(zone) && !found.is_unknown())
    };
    if zone != "Local" && !known(zone) {
        wrong(&unknown);
    }
}
