//! Jobs and CronJobs.

use apiserver_meta::field::FieldError;
use serde_json::{Value, json};

use super::pod;
use super::shared::{at, at_mut, check_not_negative, check_one_of, default, default_text, keep_status, text};
use super::{PLAIN, Strategy};

pub(super) static JOB: Strategy = Strategy {
    default: |job| {
        super::apps::default_template(job);
        default_job_spec(job.get_mut("spec").unwrap_or(&mut Value::Null));
    },
    prepare_create: |job| {
        generate_selector(job);
        job["status"] = json!({});
    },
    prepare_update: keep_status,
    validate_create: |job| validate_job_spec(at(job, &["spec"]), "spec"),
    validate_update: |job, _| validate_job_spec(at(job, &["spec"]), "spec"),
    warnings: |job| super::pod_warnings::warnings(at(job, &["spec", "template"]), "spec.template"),
    status: true,
    generation: true,
    ..PLAIN
};

pub(super) static CRON_JOB: Strategy = Strategy {
    default: |cron| {
        if let Some(template) = cron.pointer_mut("/spec/jobTemplate") {
            super::apps::default_template(template);
            default_job_spec(template.get_mut("spec").unwrap_or(&mut Value::Null));
        }
        let Some(spec) = at_mut(cron, &["spec"]) else { return };
        default_text(spec, "concurrencyPolicy", "Allow");
        default(spec, "suspend", false);
        default(spec, "successfulJobsHistoryLimit", 3);
        default(spec, "failedJobsHistoryLimit", 1);
    },
    warnings: |cron| {
        let template = at(cron, &["spec", "jobTemplate", "spec", "template"]);
        super::pod_warnings::warnings(template, "spec.jobTemplate.spec.template")
    },
    prepare_create: |cron| cron["status"] = json!({}),
    prepare_update: keep_status,
    validate_create: validate_cron_job,
    validate_update: |cron, _| validate_cron_job(cron),
    status: true,
    generation: true,
    ..PLAIN
};

fn default_job_spec(spec: &mut Value) {
    let Some(spec) = spec.as_object_mut() else { return };
    if !spec.contains_key("completions") && !spec.contains_key("parallelism") {
        spec.insert("completions".into(), 1.into());
        spec.insert("parallelism".into(), 1.into());
    }
    default(spec, "parallelism", 1);
    default(spec, "backoffLimit", 6);
    default_text(spec, "completionMode", "NonIndexed");
    default(spec, "suspend", false);
    default(spec, "manualSelector", false);
    if spec.get("manualSelector") == Some(&json!(false)) {
        spec.remove("manualSelector");
    }
    let replacement = if spec.contains_key("podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
    default_text(spec, "podReplacementPolicy", replacement);
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
                labels.insert(key.into(), value.clone().into());
            }
        }
    }
    spec.insert("selector".into(), json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}));
}

fn validate_job_spec(spec: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for member in
        ["parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"]
    {
        check_not_negative(spec, member, &format!("{path}.{member}"), &mut errors);
    }
    let template = at(spec, &["template", "spec"]);
    errors.extend(pod::validate_spec(template, &format!("{path}.template.spec")));
    match text(template, "restartPolicy") {
        "OnFailure" | "Never" => {}
        "" | "Always" => errors.push(FieldError::required(
            format!("{path}.template.spec.restartPolicy"),
            "valid values: \"OnFailure\", \"Never\"",
        )),
        _ => {}
    }
    errors
}

fn validate_cron_job(cron: &Value) -> Vec<FieldError> {
    let spec = at(cron, &["spec"]);
    let mut errors = Vec::new();
    let schedule = text(spec, "schedule");
    if schedule.is_empty() {
        errors.push(FieldError::required("spec.schedule", ""));
    } else if schedule.contains("TZ") {
        errors.push(FieldError::invalid(
            "spec.schedule",
            &schedule.into(),
            "cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
        ));
    } else if !schedule.starts_with('@') {
        let fields: Vec<&str> = schedule.split_whitespace().collect();
        if fields.len() != 5 {
            errors.push(FieldError::invalid(
                "spec.schedule",
                &schedule.into(),
                format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")),
            ));
        }
    }
    check_not_negative(spec, "startingDeadlineSeconds", "spec.startingDeadlineSeconds", &mut errors);
    check_one_of(
        spec,
        "concurrencyPolicy",
        "spec.concurrencyPolicy",
        &["Allow", "Forbid", "Replace"],
        &mut errors,
    );
    errors.extend(validate_job_spec(at(spec, &["jobTemplate", "spec"]), "spec.jobTemplate.spec"));
    check_not_negative(spec, "successfulJobsHistoryLimit", "spec.successfulJobsHistoryLimit", &mut errors);
    check_not_negative(spec, "failedJobsHistoryLimit", "spec.failedJobsHistoryLimit", &mut errors);
    errors
}
