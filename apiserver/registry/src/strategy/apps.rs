//! Deployments, ReplicaSets, StatefulSets, DaemonSets and ReplicationControllers.

use std::sync::LazyLock;

use apiserver_json::{Map, Value, json};
use apiserver_meta::field::FieldError;
use apiserver_meta::names;
use apiserver_schema::FieldSet;

use crate::convert::annotations::TEMPLATE_GENERATION;

use super::shared::{at, at_mut, default, default_text, has, is_empty, items, keep_status, number, text};
use super::{PLAIN, Strategy, pod, workload};

const WORKLOAD: Strategy = Strategy {
    warnings: |workload| super::pod_warnings::warnings(at(workload, &["spec", "template"]), "spec.template"),
    warns_of_template: true,
    status: true,
    generation: true,
    prepare_update: |new, old| {
        keep_status(new, old);
        drop_disabled(new);
    },
    prepare_create: |object| {
        drop_disabled(object);
        object["status"] = json!({});
    },
    ..PLAIN
};

/// As [`WORKLOAD`], where Pods are named after it.
const NAMESAKE: Strategy = Strategy {
    warnings: |workload| {
        let template = at(workload, &["spec", "template"]);
        super::pod_warnings::of_namesake(workload, template, "spec.template")
    },
    ..WORKLOAD
};

/// What a status update of a Deployment sets back.
static SPEC_AND_LABELS: LazyLock<FieldSet> =
    LazyLock::new(|| FieldSet::of(&[&["spec"], &["metadata", "labels"]]));

pub(super) static DEPLOYMENT: Strategy = Strategy {
    status_keeps: &["labels"],
    resets: |subresource| (subresource == "status").then(|| &*SPEC_AND_LABELS),
    default: |deployment| {
        default_template(deployment);
        let Some(spec) = at_mut(deployment, &["spec"]) else { return };
        default(spec, "replicas", 1);
        default(spec, "revisionHistoryLimit", 10);
        default(spec, "progressDeadlineSeconds", 600);
        default_strategy(spec, "strategy", json!({"maxUnavailable": "25%", "maxSurge": "25%"}));
    },
    validate_create: workload::check_deployment,
    validate_update: |new, old| {
        let mut errors = workload::check_deployment(new);
        workload::check_same_selector(new, old, &mut errors);
        errors
    },
    validate_status: |new, old| {
        let counts = [
            "observedGeneration",
            "replicas",
            "updatedReplicas",
            "readyReplicas",
            "availableReplicas",
            "unavailableReplicas",
            "terminatingReplicas",
            "collisionCount",
        ];
        let mut errors = workload::check_status(
            at(new, &["status"]),
            &counts,
            &["updatedReplicas", "readyReplicas", "availableReplicas"],
            "cannot be greater than readyReplicas",
        );
        check_collisions(new, old, &mut errors);
        errors
    },
    annotations_count: true,
    ..NAMESAKE
};

pub(super) static REPLICA_SET: Strategy = Strategy {
    default: |set| {
        default_template(set);
        if let Some(spec) = at_mut(set, &["spec"]) {
            default(spec, "replicas", 1);
        }
    },
    prepare_create: |set| {
        drop_disabled(set);
        set["status"] = json!({"replicas": 0});
    },
    validate_create: workload::check_replica_set,
    validate_update: |new, old| {
        let mut errors = workload::check_replica_set(new);
        workload::check_same_selector(new, old, &mut errors);
        errors
    },
    validate_status: |set, _| replica_status(set),
    ..NAMESAKE
};

pub(super) static STATEFUL_SET: Strategy = Strategy {
    warnings: |set| {
        let spec = at(set, &["spec"]);
        let mut out = super::pod_warnings::warnings(at(spec, &["template"]), "spec.template");
        for (i, claim) in items(spec, "volumeClaimTemplates").iter().enumerate() {
            let path = format!("spec.volumeClaimTemplates[{i}]");
            out.extend(super::volumes::claim_warnings(at(claim, &["spec"]), &path));
        }
        if number(spec, "revisionHistoryLimit").is_some_and(|limit| limit < 0) {
            out.push("spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended".to_owned());
        }
        out
    },
    default: |set| {
        default_template(set);
        for claim in
            set.pointer_mut("/spec/volumeClaimTemplates").and_then(Value::as_array_mut).into_iter().flatten()
        {
            if let Some(object) = claim.as_object_mut() {
                object.insert("apiVersion".into(), "v1".into());
                object.insert("kind".into(), "PersistentVolumeClaim".into());
                let status = object.entry("status").or_insert_with(|| json!({}));
                if let Some(status) = status.as_object_mut() {
                    default_text(status, "phase", "Pending");
                }
            }
            if let Some(spec) = at_mut(claim, &["spec"]) {
                default(spec, "volumeMode", "Filesystem");
            }
        }
        let Some(spec) = at_mut(set, &["spec"]) else { return };
        default_text(spec, "podManagementPolicy", "OrderedReady");
        default_stateful_strategy(spec);
        default(spec, "persistentVolumeClaimRetentionPolicy", json!({}));
        if let Some(policy) =
            spec.get_mut("persistentVolumeClaimRetentionPolicy").and_then(Value::as_object_mut)
        {
            default_text(policy, "whenDeleted", "Retain");
            default_text(policy, "whenScaled", "Retain");
        }
        default(spec, "replicas", 1);
        default(spec, "revisionHistoryLimit", 10);
    },
    prepare_create: |set| {
        drop_disabled(set);
        drop_max_unavailable(set);
        set["status"] = json!({"replicas": 0, "availableReplicas": 0});
    },
    prepare_update: |new, old| {
        keep_status(new, old);
        drop_disabled(new);
        if !has(at(old, &["spec", "updateStrategy", "rollingUpdate"]), "maxUnavailable") {
            drop_max_unavailable(new);
        }
    },
    validate_create: |set| workload::check_stateful_set(set, true),
    validate_status: |new, old| {
        let counts = [
            "replicas",
            "readyReplicas",
            "currentReplicas",
            "updatedReplicas",
            "availableReplicas",
            "observedGeneration",
            "collisionCount",
        ];
        let of_ready = "cannot be greater than status.readyReplicas";
        let mut errors = workload::check_status(
            at(new, &["status"]),
            &counts,
            &["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"],
            of_ready,
        );
        check_collisions(new, old, &mut errors);
        errors
    },
    name_rule: names::dns1123_label,
    validate_update: |new, old| {
        let mut errors = workload::check_stateful_set(new, false);
        let mutable = [
            "replicas",
            "ordinals",
            "template",
            "updateStrategy",
            "revisionHistoryLimit",
            "persistentVolumeClaimRetentionPolicy",
            "minReadySeconds",
        ];
        let fixed = |set: &Value| -> Map {
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
        // The version of the template is shown in an annotation, of which who writes the set is the owner.
        if at(set, &["metadata", "annotations", TEMPLATE_GENERATION]).is_null() {
            template_generation(set, 0);
        }
    },
    prepare_create: |set| {
        drop_disabled(set);
        set["status"] = json!({"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0});
        let sent = at(set, &["metadata", "annotations", TEMPLATE_GENERATION]);
        let sent: i64 = sent.as_str().and_then(|text| text.parse().ok()).unwrap_or(0);
        template_generation(set, sent.max(1));
    },
    prepare_update: prepare_daemon_set_update,
    prepare_status: |new, old| {
        let before = at(old, &["metadata", "annotations", TEMPLATE_GENERATION]);
        if let Some(generation) = before.as_str().and_then(|text| text.parse().ok()) {
            template_generation(new, generation);
        }
    },
    validate_create: workload::check_daemon_set,
    validate_update: |new, old| {
        let mut errors = Vec::new();
        workload::check_same_selector(new, old, &mut errors);
        errors.extend(workload::check_daemon_set(new));
        errors
    },
    validate_status: |new, old| {
        let counts = [
            "currentNumberScheduled",
            "numberMisscheduled",
            "desiredNumberScheduled",
            "numberReady",
            "observedGeneration",
            "updatedNumberScheduled",
            "numberAvailable",
            "numberUnavailable",
            "collisionCount",
        ];
        let mut errors = workload::check_status(at(new, &["status"]), &counts, &[], "");
        check_collisions(new, old, &mut errors);
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
    prepare_create: |controller| {
        drop_disabled(controller);
        controller["status"] = json!({"replicas": 0});
    },
    checks_prefix: false,
    // Upstream takes one template for the other.
    warns_of_old: true,
    validate_create: workload::check_replication_controller,
    validate_update: |controller, _| workload::check_replication_controller(controller),
    validate_status: |controller, _| replica_status(controller),
    ..NAMESAKE
};

pub(super) static POD_TEMPLATE: Strategy = Strategy {
    default: |object| {
        if let Some(template) = object.get_mut("template") {
            default_template_itself(template);
        }
    },
    prepare_create: |object| pod::drop_disabled(at_mut(object, &["template", "spec"])),
    prepare_update: |object, _| pod::drop_disabled(at_mut(object, &["template", "spec"])),
    validate_create: validate_pod_template,
    validate_update: |object, _| validate_pod_template(object),
    warnings: |object| super::pod_warnings::warnings(at(object, &["template"]), "template"),
    warns_of_template: true,
    generation: true,
    delete_returns_object: true,
    ..PLAIN
};

fn validate_pod_template(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    pod::check_template(at(object, &["template"]), "template", &mut errors);
    errors
}

/// Errors of what a ReplicaSet or ReplicationController says it has.
fn replica_status(object: &Value) -> Vec<FieldError> {
    let counts = [
        "replicas",
        "fullyLabeledReplicas",
        "readyReplicas",
        "availableReplicas",
        "observedGeneration",
        "terminatingReplicas",
    ];
    workload::check_status(
        at(object, &["status"]),
        &counts,
        &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"],
        "cannot be greater than readyReplicas",
    )
}

/// Collisions are counted, never forgotten.
fn check_collisions(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let count = |object: &Value| number(at(object, &["status"]), "collisionCount");
    if let Some(before) = count(old)
        && count(new).is_none_or(|now| now < before)
    {
        let now = count(new).unwrap_or(0);
        errors.push(FieldError::invalid("status.collisionCount", &now.into(), "cannot be decremented"));
    }
}

/// Fields of features that are off leave the template.
fn drop_disabled(object: &mut Value) {
    pod::drop_disabled(at_mut(object, &["spec", "template", "spec"]));
}

/// DaemonSets still count their template's versions, in an annotation.
fn template_generation(set: &mut Value, generation: i64) {
    let annotations = crate::object::metadata_mut(set).entry("annotations").or_insert_with(|| json!({}));
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.insert(TEMPLATE_GENERATION.into(), generation.to_string().into());
    }
}

fn prepare_daemon_set_update(new: &mut Value, old: &Value) {
    keep_status(new, old);
    drop_disabled(new);
    let before = at(old, &["metadata", "annotations", TEMPLATE_GENERATION]);
    let before: i64 = before.as_str().and_then(|text| text.parse().ok()).unwrap_or(1);
    let changed = at(new, &["spec", "template"]) != at(old, &["spec", "template"]);
    template_generation(new, before + i64::from(changed));
}

/// Defaults of `spec.template`.
pub(super) fn default_template(object: &mut Value) {
    if let Some(template) = object.pointer_mut("/spec/template") {
        default_template_itself(template);
    }
}

fn default_template_itself(template: &mut Value) {
    if let Some(map) = template.as_object_mut() {
        default(map, "metadata", json!({"creationTimestamp": null}));
        if map.contains_key("spec")
            && let Some(spec) = map.get_mut("spec")
        {
            pod::default_spec(spec);
        }
    }
}

/// A strategy that is named is taken as it is; only one that is not gets a place to begin at.
fn default_stateful_strategy(spec: &mut Map) {
    let named = spec.get("updateStrategy").is_some_and(|strategy| !text(strategy, "type").is_empty());
    if !named {
        default_strategy(spec, "updateStrategy", json!({"partition": 0}));
    } else if let Some(rolling) = spec
        .get_mut("updateStrategy")
        .filter(|strategy| text(strategy, "type") == "RollingUpdate")
        .and_then(|strategy| strategy.get_mut("rollingUpdate"))
        .and_then(Value::as_object_mut)
    {
        default(rolling, "partition", 0);
    }
}

/// `MaxUnavailableStatefulSet` is off.
fn drop_max_unavailable(set: &mut Value) {
    if let Some(rolling) = at_mut(set, &["spec", "updateStrategy", "rollingUpdate"]) {
        rolling.remove("maxUnavailable");
    }
}

fn default_strategy(spec: &mut Map, member: &str, rolling: Value) {
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
