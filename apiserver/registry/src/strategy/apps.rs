//! Deployments, ReplicaSets, StatefulSets, DaemonSets and ReplicationControllers.

use apiserver_meta::field::FieldError;
use serde_json::{Map, Value, json};

use super::pod;
use super::shared::{
    at, at_mut, check_immutable, check_label_selector, check_not_negative, default, default_text, is_empty,
    keep_status, selector_matches_template, text,
};
use super::{PLAIN, Strategy};

const WORKLOAD: Strategy = Strategy {
    warnings: |workload| super::pod_warnings::warnings(at(workload, &["spec", "template"]), "spec.template"),
    status: true,
    generation: true,
    prepare_update: keep_status,
    prepare_create: empty_status,
    ..PLAIN
};

pub(super) static DEPLOYMENT: Strategy = Strategy {
    default: |deployment| {
        default_template(deployment);
        let Some(spec) = at_mut(deployment, &["spec"]) else { return };
        default(spec, "replicas", 1);
        default(spec, "revisionHistoryLimit", 10);
        default(spec, "progressDeadlineSeconds", 600);
        default_strategy(spec, "strategy", json!({"maxUnavailable": "25%", "maxSurge": "25%"}));
    },
    validate_create: validate_deployment,
    validate_update: |new, old| {
        let mut errors = validate_deployment(new);
        check_immutable(
            at(new, &["spec", "selector"]),
            at(old, &["spec", "selector"]),
            "spec.selector",
            &mut errors,
        );
        errors
    },
    ..WORKLOAD
};

pub(super) static REPLICA_SET: Strategy = Strategy {
    default: |set| {
        default_template(set);
        if let Some(spec) = at_mut(set, &["spec"]) {
            default(spec, "replicas", 1);
        }
    },
    prepare_create: |set| set["status"] = json!({"replicas": 0}),
    validate_create: validate_replica_set,
    validate_update: |new, old| {
        let mut errors = validate_replica_set(new);
        check_immutable(
            at(new, &["spec", "selector"]),
            at(old, &["spec", "selector"]),
            "spec.selector",
            &mut errors,
        );
        errors
    },
    ..WORKLOAD
};

pub(super) static STATEFUL_SET: Strategy = Strategy {
    default: |set| {
        default_template(set);
        for claim in
            set.pointer_mut("/spec/volumeClaimTemplates").and_then(Value::as_array_mut).into_iter().flatten()
        {
            if let Some(object) = claim.as_object_mut() {
                default_text(object, "apiVersion", "v1");
                default_text(object, "kind", "PersistentVolumeClaim");
                let status = object.entry("status").or_insert_with(|| json!({}));
                if let Some(status) = status.as_object_mut() {
                    default_text(status, "phase", "Pending");
                }
            }
            if let Some(spec) = at_mut(claim, &["spec"]) {
                default_text(spec, "volumeMode", "Filesystem");
            }
        }
        let Some(spec) = at_mut(set, &["spec"]) else { return };
        default_text(spec, "podManagementPolicy", "OrderedReady");
        default_strategy(spec, "updateStrategy", json!({"partition": 0}));
        default(
            spec,
            "persistentVolumeClaimRetentionPolicy",
            json!({"whenDeleted": "Retain", "whenScaled": "Retain"}),
        );
        default(spec, "replicas", 1);
        default(spec, "revisionHistoryLimit", 10);
    },
    prepare_create: |set| set["status"] = json!({"replicas": 0, "availableReplicas": 0}),
    validate_create: validate_stateful_set,
    validate_update: |new, old| {
        let mut errors = validate_stateful_set(new);
        let mutable = [
            "replicas",
            "ordinals",
            "template",
            "updateStrategy",
            "revisionHistoryLimit",
            "persistentVolumeClaimRetentionPolicy",
            "minReadySeconds",
        ];
        let fixed = |set: &Value| -> Map<String, Value> {
            let mut spec = at(set, &["spec"]).as_object().cloned().unwrap_or_default();
            spec.retain(|key, _| !mutable.contains(&key.as_str()));
            spec
        };
        if fixed(new) != fixed(old) {
            errors.push(FieldError::forbidden(
                "spec",
                "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
            ));
        }
        errors
    },
    ..WORKLOAD
};

pub(super) static DAEMON_SET: Strategy = Strategy {
    default: |set| {
        default_template(set);
        let Some(spec) = at_mut(set, &["spec"]) else { return };
        default_strategy(spec, "updateStrategy", json!({"maxUnavailable": 1, "maxSurge": 0}));
        default(spec, "revisionHistoryLimit", 10);
    },
    prepare_create: |set| {
        set["status"] = json!({"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0});
        template_generation(set, 1);
    },
    prepare_update: prepare_daemon_set_update,
    validate_create: validate_selector_and_template,
    validate_update: |new, old| {
        let mut errors = validate_selector_and_template(new);
        check_immutable(
            at(new, &["spec", "selector"]),
            at(old, &["spec", "selector"]),
            "spec.selector",
            &mut errors,
        );
        errors
    },
    ..WORKLOAD
};

pub(super) static REPLICATION_CONTROLLER: Strategy = Strategy {
    default: |controller| {
        default_template(controller);
        let labels = at(controller, &["spec", "template", "metadata", "labels"]).clone();
        if is_empty(at(controller, &["spec", "selector"])) && !is_empty(&labels) {
            controller["spec"]["selector"] = labels.clone();
        }
        if is_empty(at(controller, &["metadata", "labels"])) && !is_empty(&labels) {
            controller["metadata"]["labels"] = labels;
        }
        if let Some(spec) = at_mut(controller, &["spec"]) {
            default(spec, "replicas", 1);
        }
    },
    prepare_create: |controller| controller["status"] = json!({"replicas": 0}),
    ..WORKLOAD
};

/// DaemonSets still count their template's versions, in an annotation.
fn template_generation(set: &mut Value, generation: i64) {
    let annotations = crate::object::metadata_mut(set).entry("annotations").or_insert_with(|| json!({}));
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.insert("deprecated.daemonset.template.generation".into(), generation.to_string().into());
    }
}

fn prepare_daemon_set_update(new: &mut Value, old: &Value) {
    keep_status(new, old);
    let before = at(old, &["metadata", "annotations", "deprecated.daemonset.template.generation"]);
    let before: i64 = before.as_str().and_then(|text| text.parse().ok()).unwrap_or(1);
    let changed = at(new, &["spec", "template"]) != at(old, &["spec", "template"]);
    template_generation(new, before + i64::from(changed));
}

fn empty_status(object: &mut Value) {
    object["status"] = json!({});
}

/// Defaults of `spec.template`.
pub(super) fn default_template(object: &mut Value) {
    if let Some(template) = object.pointer_mut("/spec/template")
        && let Some(map) = template.as_object_mut()
    {
        default(map, "metadata", json!({"creationTimestamp": null}));
        if map.contains_key("spec")
            && let Some(spec) = map.get_mut("spec")
        {
            pod::default_spec(spec);
        }
    }
}

fn default_strategy(spec: &mut Map<String, Value>, member: &str, rolling: Value) {
    default(spec, member, json!({}));
    let Some(strategy) = spec.get_mut(member).and_then(Value::as_object_mut) else { return };
    default_text(strategy, "type", "RollingUpdate");
    if strategy.get("type") == Some(&json!("RollingUpdate")) {
        default(strategy, "rollingUpdate", json!({}));
        if let (Some(update), Some(rolling)) =
            (strategy.get_mut("rollingUpdate").and_then(Value::as_object_mut), rolling.as_object())
        {
            for (member, value) in rolling {
                default(update, member, value.clone());
            }
        }
    }
}

fn validate_selector_and_template(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = at(object, &["spec"]);
    let selector = at(spec, &["selector"]);
    if selector.is_null() {
        errors.push(FieldError::required("spec.selector", ""));
    } else {
        check_label_selector(selector, "spec.selector", &mut errors);
        if is_empty(at(selector, &["matchLabels"])) && is_empty(at(selector, &["matchExpressions"])) {
            errors.push(FieldError::invalid(
                "spec.selector",
                selector,
                "empty selector is invalid for deployment",
            ));
        }
        if !selector_matches_template(spec) {
            errors.push(FieldError::invalid(
                "spec.template.metadata.labels",
                at(spec, &["template", "metadata", "labels"]),
                "`selector` does not match template `labels`",
            ));
        }
    }
    let mut labels = Vec::new();
    crate::object::validate_labels(
        spec.pointer("/template/metadata/labels"),
        "spec.template.labels",
        &mut labels,
    );
    errors.extend(labels);
    let template = at(spec, &["template", "spec"]);
    errors.extend(pod::validate_spec(template, "spec.template.spec"));
    let restart = text(template, "restartPolicy");
    if !restart.is_empty() && restart != "Always" && ["OnFailure", "Never"].contains(&restart) {
        errors.push(FieldError::not_supported(
            "spec.template.spec.restartPolicy",
            &restart.into(),
            &["Always"],
        ));
    }
    check_not_negative(spec, "minReadySeconds", "spec.minReadySeconds", &mut errors);
    check_not_negative(spec, "revisionHistoryLimit", "spec.revisionHistoryLimit", &mut errors);
    errors
}

fn validate_replica_set(set: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    check_not_negative(at(set, &["spec"]), "replicas", "spec.replicas", &mut errors);
    errors.extend(validate_selector_and_template(set));
    errors
}

fn validate_stateful_set(set: &Value) -> Vec<FieldError> {
    let spec = at(set, &["spec"]);
    let mut errors = Vec::new();
    super::shared::check_one_of(
        spec,
        "podManagementPolicy",
        "spec.podManagementPolicy",
        &["OrderedReady", "Parallel"],
        &mut errors,
    );
    check_not_negative(spec, "replicas", "spec.replicas", &mut errors);
    errors.extend(validate_selector_and_template(&with_claims_as_volumes(set)));
    errors
}

/// Containers may mount what their Pod gets from a claim template: `volumesToAddForTemplates`.
fn with_claims_as_volumes(set: &Value) -> Value {
    let mut set = set.clone();
    let claims = set.pointer_mut("/spec/volumeClaimTemplates").map(Value::take).unwrap_or_default();
    let names: Vec<&Value> =
        claims.as_array().into_iter().flatten().map(|c| at(c, &["metadata", "name"])).collect();
    if let Some(spec) =
        set.pointer_mut("/spec/template/spec").filter(|spec| spec.is_object() && !names.is_empty())
    {
        let given = spec["volumes"].as_array().cloned().unwrap_or_default();
        let others = given.into_iter().filter(|volume| !names.contains(&at(volume, &["name"])));
        let claimed = names.iter().map(|name| json!({"name": name, "emptyDir": {}}));
        spec["volumes"] = claimed.chain(others).collect();
    }
    set
}

fn validate_deployment(deployment: &Value) -> Vec<FieldError> {
    let spec = at(deployment, &["spec"]);
    let mut errors = Vec::new();
    check_not_negative(spec, "replicas", "spec.replicas", &mut errors);
    let mut rest = validate_selector_and_template(deployment);
    let counts = |error: &FieldError| {
        error.field == "spec.minReadySeconds" || error.field == "spec.revisionHistoryLimit"
    };
    let late: Vec<FieldError> = rest.iter().filter(|error| counts(error)).cloned().collect();
    rest.retain(|error| !counts(error));
    errors.extend(rest);
    validate_strategy(at(spec, &["strategy"]), &mut errors);
    errors.extend(late);
    let deadline = spec.get("progressDeadlineSeconds").and_then(Value::as_i64);
    if let Some(deadline) = deadline {
        check_not_negative(spec, "progressDeadlineSeconds", "spec.progressDeadlineSeconds", &mut errors);
        if deadline <= spec.get("minReadySeconds").and_then(Value::as_i64).unwrap_or(0) {
            errors.push(FieldError::invalid(
                "spec.progressDeadlineSeconds",
                &deadline.into(),
                "must be greater than minReadySeconds",
            ));
        }
    }
    errors
}

fn validate_strategy(strategy: &Value, errors: &mut Vec<FieldError>) {
    let rolling = at(strategy, &["rollingUpdate"]);
    match text(strategy, "type") {
        "Recreate" => {
            if !rolling.is_null() {
                errors.push(FieldError::forbidden(
                    "spec.strategy.rollingUpdate",
                    "may not be specified when strategy `type` is 'Recreate'",
                ));
            }
        }
        "RollingUpdate" => validate_rolling_update(rolling, errors),
        other => errors.push(FieldError {
            problem: apiserver_meta::field::Problem::NotSupported,
            field: "spec.strategy".into(),
            value: format!("{{\"Type\":{},\"RollingUpdate\":null}}", json!(other)),
            detail: "supported values: \"Recreate\", \"RollingUpdate\"".into(),
        }),
    }
}

fn validate_rolling_update(rolling: &Value, errors: &mut Vec<FieldError>) {
    const PERCENT: &str = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";
    let mut zero = true;
    for member in ["maxUnavailable", "maxSurge"] {
        let path = format!("spec.strategy.rollingUpdate.{member}");
        match at(rolling, &[member]) {
            Value::String(text) => match text.strip_suffix('%').and_then(|digits| digits.parse::<u64>().ok())
            {
                Some(percent) => {
                    zero &= percent == 0;
                    if member == "maxUnavailable" && percent > 100 {
                        errors.push(FieldError::invalid(
                            path,
                            &text.clone().into(),
                            "must not be greater than 100%",
                        ));
                    }
                }
                None => {
                    errors.push(FieldError::invalid(path, &text.clone().into(), PERCENT));
                    zero = false;
                }
            },
            Value::Number(number) => {
                let number = number.as_i64().unwrap_or(0);
                zero &= number == 0;
                if number < 0 {
                    errors.push(FieldError::invalid(path, &number.into(), super::shared::NOT_NEGATIVE));
                }
            }
            _ => {}
        }
    }
    if zero {
        errors.push(FieldError::invalid(
            "spec.strategy.rollingUpdate.maxUnavailable",
            at(rolling, &["maxUnavailable"]),
            "may not be 0 when `maxSurge` is 0",
        ));
    }
}
