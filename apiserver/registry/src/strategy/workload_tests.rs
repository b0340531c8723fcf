//! What upstream says of kinds that make Pods: rows of what differs from a plain object, and the causes.

use apiserver_json::{Value, json};

use super::table::{Write, check, check_new};

#[test]
#[rustfmt::skip]
fn what_every_template_is_asked() {
    for base in [plain_deployment(), plain_replica_set(), plain_daemon_set(), plain_stateful_set()] {
        check_new(&base, &[
            (json!({"spec": {"selector": {"matchLabels": {"a": "x"}}}}), &[r#"spec.template.metadata.labels: Invalid value: {"a":"b"}: `selector` does not match template `labels`"#]),
            (json!({"spec": {"template": {"spec": {"restartPolicy": "X"}}}}), &[r#"spec.template.spec.restartPolicy: Unsupported value: "X": supported values: "Always", "OnFailure", "Never""#, r#"spec.template.spec.restartPolicy: Unsupported value: "X": supported values: "Always""#]),
            (json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": " i"}]}}}}), &[]),
            (json!({"spec": {"template": {"metadata": {"labels": null}}}}), &["spec.template.metadata.labels: Invalid value: null: `selector` does not match template `labels`"]),
            (json!({"spec": {"template": {"spec": {"ephemeralContainers": [{"name": "e", "image": "i"}]}}}}), &["spec.template.spec.ephemeralContainers: Forbidden: ephemeral containers not allowed in pod template"]),
            (json!({"spec": {"template": {"spec": {"hostNetwork": true, "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}]}]}}}}), &[]),
        ]);
    }
}

#[rustfmt::skip]
fn plain_deployment() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "w", "namespace": "default"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
}

#[test]
#[rustfmt::skip]
fn deployment() {
    check_new(&plain_deployment(), &[
        (json!({}), &[]),
        (json!({"spec": {"selector": null}}), &["spec.selector: Required value", r#"spec.template.metadata.labels: Invalid value: {"a":"b"}: `selector` does not match template `labels`"#]),
        (json!({"spec": {"selector": {"matchLabels": {"a": "b c"}}}}), &[r#"spec.selector.matchLabels: Invalid value: "b c": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"#, r#"spec.selector: Invalid value: {"matchLabels":{"a":"b c"}}: invalid label selector"#]),
        (json!({"spec": {"selector": {"matchLabels": null}}}), &["spec.selector: Invalid value: {}: empty selector is invalid for deployment"]),
        (json!({"spec": {"minReadySeconds": -1, "revisionHistoryLimit": -1}}), &["spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0", "spec.revisionHistoryLimit: Invalid value: -1: must be greater than or equal to 0"]),
        (json!({"spec": {"template": {"spec": {"restartPolicy": "Never", "activeDeadlineSeconds": 5}}}}), &[r#"spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always""#, "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicaSet is not Supported"]),
        (json!({"spec": {"template": {"metadata": {"labels": {"a": "b", "c d": "e"}, "annotations": {"a b": "c"}}}}}), &[r#"spec.template.labels: Invalid value: "c d": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#, r#"spec.template.annotations: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#]),
        (json!({"spec": {"replicas": -1}}), &["spec.replicas: Invalid value: -1: must be greater than or equal to 0"]),
        (json!({"spec": {"strategy": {"type": "X"}}}), &[r#"spec.strategy: Unsupported value: {"Type":"X","RollingUpdate":null}: supported values: "Recreate", "RollingUpdate""#]),
        (json!({"spec": {"strategy": {"type": "Recreate", "rollingUpdate": {}}}}), &["spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"]),
        (json!({"spec": {"strategy": {"rollingUpdate": {"maxUnavailable": "x", "maxSurge": -1}}}}), &[r#"spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "x": a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')"#, "spec.strategy.rollingUpdate.maxSurge: Invalid value: -1: must be greater than or equal to 0"]),
        (json!({"spec": {"strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": "0%"}}}}), &["spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"]),
        (json!({"spec": {"strategy": {"rollingUpdate": {"maxUnavailable": "101%"}}}}), &[r#"spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "101%": must not be greater than 100%"#]),
        (json!({"spec": {"progressDeadlineSeconds": 5, "minReadySeconds": 10}}), &["spec.progressDeadlineSeconds: Invalid value: 5: must be greater than minReadySeconds"]),
    ]);
    check(Write::Update, &plain_deployment(), &[
        (json!({}), json!({"spec": {"replicas": 3}}), &[]),
        (json!({}), json!({"spec": {"selector": {"matchLabels": {"a": "c"}}, "template": {"metadata": {"labels": {"a": "c"}}}}}), &[r#"spec.selector: Invalid value: {"matchLabels":{"a":"c"}}: field is immutable"#]),
    ]);
    check(Write::Status, &plain_deployment(), &[
        (json!({"status": {"collisionCount": 2}}), json!({"status": {"replicas": 1, "updatedReplicas": 2, "readyReplicas": 3, "availableReplicas": 4, "unavailableReplicas": -1, "collisionCount": 1}}), &["status.unavailableReplicas: Invalid value: -1: must be greater than or equal to 0", "status.updatedReplicas: Invalid value: 2: cannot be greater than status.replicas", "status.readyReplicas: Invalid value: 3: cannot be greater than status.replicas", "status.availableReplicas: Invalid value: 4: cannot be greater than status.replicas", "status.availableReplicas: Invalid value: 4: cannot be greater than readyReplicas", "status.collisionCount: Invalid value: 1: cannot be decremented"]),
    ]);
}

#[rustfmt::skip]
fn plain_replica_set() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "w", "namespace": "default"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
}

#[test]
#[rustfmt::skip]
fn replica_set() {
    check_new(&plain_replica_set(), &[
        (json!({}), &[]),
        (json!({"spec": {"selector": null}}), &["spec.selector: Required value", r#"spec.template.metadata.labels: Invalid value: {"a":"b"}: `selector` does not match template `labels`"#]),
        (json!({"spec": {"selector": {"matchLabels": {"a": "b c"}}}}), &[r#"spec.selector.matchLabels: Invalid value: "b c": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"#, r#"spec.selector: Invalid value: {"matchLabels":{"a":"b c"}}: invalid label selector"#]),
        (json!({"spec": {"selector": {"matchLabels": null}}}), &["spec.selector: Invalid value: {}: empty selector is invalid for deployment"]),
        (json!({"spec": {"minReadySeconds": -1, "revisionHistoryLimit": -1}}), &["spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0"]),
        (json!({"spec": {"template": {"spec": {"restartPolicy": "Never", "activeDeadlineSeconds": 5}}}}), &[r#"spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always""#, "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicaSet is not Supported"]),
        (json!({"spec": {"template": {"metadata": {"labels": {"a": "b", "c d": "e"}, "annotations": {"a b": "c"}}}}}), &[r#"spec.template.labels: Invalid value: "c d": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#, r#"spec.template.annotations: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#]),
        (json!({"spec": {"replicas": -1}}), &["spec.replicas: Invalid value: -1: must be greater than or equal to 0"]),
    ]);
    check(Write::Status, &plain_replica_set(), &[
        (json!({}), json!({"status": {"replicas": -1, "fullyLabeledReplicas": 2, "readyReplicas": 3, "availableReplicas": 4}}), &["status.replicas: Invalid value: -1: must be greater than or equal to 0", "status.fullyLabeledReplicas: Invalid value: 2: cannot be greater than status.replicas", "status.readyReplicas: Invalid value: 3: cannot be greater than status.replicas", "status.availableReplicas: Invalid value: 4: cannot be greater than status.replicas", "status.availableReplicas: Invalid value: 4: cannot be greater than readyReplicas"]),
    ]);
}

#[rustfmt::skip]
fn plain_daemon_set() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "w", "namespace": "default"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
}

#[test]
#[rustfmt::skip]
fn daemon_set() {
    check_new(&plain_daemon_set(), &[
        (json!({}), &[]),
        (json!({"spec": {"selector": null}}), &[r#"spec.template.metadata.labels: Invalid value: {"a":"b"}: `selector` does not match template `labels`"#]),
        (json!({"spec": {"selector": {"matchLabels": {"a": "b c"}}}}), &[r#"spec.selector.matchLabels: Invalid value: "b c": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"#]),
        (json!({"spec": {"selector": {"matchLabels": null}}}), &["spec.selector: Invalid value: {}: empty selector is invalid for daemonset"]),
        (json!({"spec": {"minReadySeconds": -1, "revisionHistoryLimit": -1}}), &["spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0", "spec.revisionHistoryLimit: Invalid value: -1: must be greater than or equal to 0"]),
        (json!({"spec": {"template": {"spec": {"restartPolicy": "Never", "activeDeadlineSeconds": 5}}}}), &[r#"spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always""#, "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in DaemonSet is not Supported"]),
        (json!({"spec": {"template": {"metadata": {"labels": {"a": "b", "c d": "e"}, "annotations": {"a b": "c"}}}}}), &[r#"spec.template.labels: Invalid value: "c d": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#, r#"spec.template.annotations: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#]),
        (json!({"spec": {"updateStrategy": {"type": "X"}}}), &[r#"spec.updateStrategy: Unsupported value: {"Type":"X","RollingUpdate":null}: supported values: "RollingUpdate", "OnDelete""#]),
        (json!({"spec": {"updateStrategy": {"rollingUpdate": {"maxUnavailable": "x", "maxSurge": "101%"}}}}), &[r#"spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: "x": a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')"#, r#"spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: "101%": must not be greater than 100%"#]),
        (json!({"spec": {"updateStrategy": {"rollingUpdate": {"maxUnavailable": 0}}}}), &["spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0"]),
        (json!({"spec": {"updateStrategy": {"rollingUpdate": {"maxUnavailable": 1, "maxSurge": 1}}}}), &["spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero"]),
    ]);
    check(Write::Update, &plain_daemon_set(), &[
        (json!({}), json!({"spec": {"selector": {"matchLabels": {"a": "c"}}, "template": {"metadata": {"labels": {"a": "c"}}}}}), &[r#"spec.selector: Invalid value: {"matchLabels":{"a":"c"}}: field is immutable"#]),
        (json!({}), json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "j"}]}}}}), &[]),
    ]);
    check(Write::Status, &plain_daemon_set(), &[
        (json!({}), json!({"status": {"currentNumberScheduled": -1, "numberMisscheduled": -1, "desiredNumberScheduled": -1, "numberReady": -1, "numberAvailable": -1}}), &["status.currentNumberScheduled: Invalid value: -1: must be greater than or equal to 0", "status.numberMisscheduled: Invalid value: -1: must be greater than or equal to 0", "status.desiredNumberScheduled: Invalid value: -1: must be greater than or equal to 0", "status.numberReady: Invalid value: -1: must be greater than or equal to 0", "status.numberAvailable: Invalid value: -1: must be greater than or equal to 0"]),
    ]);
}

#[rustfmt::skip]
fn plain_stateful_set() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "w", "namespace": "default"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}, "serviceName": "s"}})
}

#[test]
#[rustfmt::skip]
fn stateful_set() {
    check_new(&plain_stateful_set(), &[
        (json!({}), &[]),
        (json!({"spec": {"selector": null}}), &["spec.selector: Required value", r#"spec.template.metadata.labels: Invalid value: {"a":"b"}: `selector` does not match template `labels`"#]),
        (json!({"spec": {"selector": {"matchLabels": {"a": "b c"}}}}), &[r#"spec.selector.matchLabels: Invalid value: "b c": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"#, r#"spec.selector: Invalid value: {"matchLabels":{"a":"b c"}}"#]),
        (json!({"spec": {"selector": {"matchLabels": null}}}), &["spec.selector: Invalid value: {}: empty selector is invalid for statefulset"]),
        (json!({"spec": {"minReadySeconds": -1, "revisionHistoryLimit": -1}}), &["spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0"]),
        (json!({"spec": {"template": {"spec": {"restartPolicy": "Never", "activeDeadlineSeconds": 5}}}}), &[r#"spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always""#, "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in StatefulSet is not Supported"]),
        (json!({"spec": {"template": {"metadata": {"labels": {"a": "b", "c d": "e"}, "annotations": {"a b": "c"}}}}}), &[r#"spec.template.labels: Invalid value: "c d": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#, r#"spec.template.annotations: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#, r#"spec.template.labels: Invalid value: "c d": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#, r#"spec.template.annotations: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#]),
        (json!({"spec": {"replicas": -1, "podManagementPolicy": "X", "serviceName": "A"}}), &[r#"spec.podManagementPolicy: Invalid value: "X": must be 'OrderedReady' or 'Parallel'"#, "spec.replicas: Invalid value: -1: must be greater than or equal to 0", r#"spec.serviceName: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"#]),
        (json!({"spec": {"updateStrategy": {"type": "X"}}}), &[r#"spec.updateStrategy: Invalid value: {"Type":"X","RollingUpdate":null}: must be 'RollingUpdate' or 'OnDelete'"#]),
        (json!({"spec": {"updateStrategy": {"type": "OnDelete", "rollingUpdate": {}}}}), &[r#"spec.updateStrategy.rollingUpdate: Invalid value: {"Partition":0,"MaxUnavailable":null}: only allowed for updateStrategy 'RollingUpdate'"#]),
        (json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": -1}}}}), &["spec.updateStrategy.rollingUpdate.partition: Invalid value: -1: must be greater than or equal to 0"]),
        (json!({"spec": {"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "X"}}}), &[r#"spec.persistentVolumeClaimRetentionPolicy.whenDeleted: Unsupported value: "X": supported values: "Retain", "Delete""#]),
        (json!({"spec": {"ordinals": {"start": -1}}}), &["spec.ordinals.start: Invalid value: -1: must be greater than or equal to 0"]),
        (json!({"spec": {"volumeClaimTemplates": [{"metadata": {"name": "v"}, "spec": {}}]}}), &["spec.volumeClaimTemplates[0].spec.accessModes: Required value: at least 1 access mode is required", "spec.volumeClaimTemplates[0].spec.resources[storage]: Required value"]),
        (json!({"metadata": {"name": "a.b"}}), &[r#"metadata.name: Invalid value: "a.b": must not contain dots"#]),
        (json!({"spec": {"volumeClaimTemplates": [{"metadata": {"name": "v"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}], "template": {"spec": {"hostname": "A", "containers": [{"name": "c", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]}}}}), &[]),
    ]);
    check(Write::Update, &plain_stateful_set(), &[
        (json!({}), json!({"spec": {"replicas": 3}}), &[]),
        (json!({}), json!({"spec": {"serviceName": "z"}}), &["spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"]),
        (json!({}), json!({"spec": {"podManagementPolicy": "Parallel"}}), &["spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"]),
    ]);
    check(Write::Status, &plain_stateful_set(), &[
        (json!({"status": {"replicas": 1}}), json!({"status": {"replicas": 1, "readyReplicas": 2, "currentReplicas": 2, "updatedReplicas": 2, "availableReplicas": 3}}), &["status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas", "status.currentReplicas: Invalid value: 2: cannot be greater than status.replicas", "status.updatedReplicas: Invalid value: 2: cannot be greater than status.replicas", "status.availableReplicas: Invalid value: 3: cannot be greater than status.replicas", "status.availableReplicas: Invalid value: 3: cannot be greater than status.readyReplicas"]),
    ]);
}

#[rustfmt::skip]
fn plain_replication_controller() -> Value {
    json!({"apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": "w", "namespace": "default"}, "spec": {"selector": {"a": "b"}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
}

#[test]
#[rustfmt::skip]
fn replication_controller() {
    check_new(&plain_replication_controller(), &[
        (json!({}), &[]),
        (json!({"spec": {"selector": {"a": "x"}}}), &[r#"spec.template.metadata.labels: Invalid value: {"a":"b"}: `selector` does not match template `labels`"#]),
        (json!({"spec": {"replicas": -1, "minReadySeconds": -1}}), &["spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0", "spec.replicas: Invalid value: -1: must be greater than or equal to 0"]),
        (json!({"spec": {"template": null}}), &["spec.template: Required value"]),
        (json!({"spec": {"template": {"spec": {"restartPolicy": "Never", "activeDeadlineSeconds": 5}}}}), &[r#"spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always""#, "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicationController is not Supported"]),
        (json!({"spec": {"template": {"metadata": {"labels": null}}, "selector": null}}), &["spec.selector: Required value"]),
    ]);
}

#[rustfmt::skip]
fn plain_pod_template() -> Value {
    json!({"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "w", "namespace": "default"}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}})
}

#[test]
#[rustfmt::skip]
fn pod_template() {
    check_new(&plain_pod_template(), &[
        (json!({}), &[]),
        (json!({"template": {"spec": {"containers": []}}}), &["template.spec.containers: Required value"]),
        (json!({"template": {"metadata": {"labels": {"a b": "c"}}}}), &[r#"template.labels: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#]),
    ]);
}

#[rustfmt::skip]
fn plain_job() -> Value {
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "w", "namespace": "default"}, "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}})
}

#[test]
#[rustfmt::skip]
fn job() {
    check_new(&plain_job(), &[
        (json!({}), &[]),
        (json!({"spec": {"parallelism": -1, "completions": -1, "activeDeadlineSeconds": -1, "backoffLimit": -1, "ttlSecondsAfterFinished": -1}}), &["spec.parallelism: Invalid value: -1: must be greater than or equal to 0", "spec.completions: Invalid value: -1: must be greater than or equal to 0", "spec.activeDeadlineSeconds: Invalid value: -1: must be greater than or equal to 0", "spec.backoffLimit: Invalid value: -1: must be greater than or equal to 0", "spec.ttlSecondsAfterFinished: Invalid value: -1: must be greater than or equal to 0"]),
        (json!({"spec": {"template": {"spec": {"restartPolicy": null}}}}), &[r#"spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never""#]),
        (json!({"spec": {"template": {"spec": {"restartPolicy": "X"}}}}), &[r#"spec.template.spec.restartPolicy: Unsupported value: "X": supported values: "Always", "OnFailure", "Never""#, r#"spec.template.spec.restartPolicy: Unsupported value: "X": supported values: "OnFailure", "Never""#]),
        (json!({"spec": {"completionMode": "X"}}), &[r#"spec.completionMode: Unsupported value: "X": supported values: "NonIndexed", "Indexed""#]),
        (json!({"spec": {"completionMode": "Indexed"}}), &[]),
        (json!({"spec": {"completionMode": "Indexed", "completions": 3, "maxFailedIndexes": 5}}), &["spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified", "spec.maxFailedIndexes: Invalid value: 5: must be less than or equal to completions"]),
        (json!({"spec": {"backoffLimitPerIndex": 1, "maxFailedIndexes": 1}}), &["spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode", "spec.maxFailedIndexes: Invalid value: 1: requires indexed completion mode"]),
        (json!({"spec": {"managedBy": "x"}}), &[r#"spec.managedBy: Invalid value: "x": must be a domain-prefixed path (such as "acme.io/foo")"#]),
        (json!({"spec": {"managedBy": "A/b c"}}), &[r#"spec.managedBy: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"#, r#"spec.managedBy: Invalid value: "b c": Invalid path (regex used for validation is '[A-Za-z0-9/\-._~%!$&'()*+,;=:]+')"#]),
        (json!({"spec": {"managedBy": ""}}), &["spec.managedBy: Required value"]),
        (json!({"spec": {"completionMode": "Indexed", "completions": 200000, "backoffLimitPerIndex": 1, "parallelism": 20000}}), &["spec.maxFailedIndexes: Required value: must be specified when completions is above 100000", "spec.parallelism: Invalid value: 20000: must be less than or equal to 10000 when completions are above 100000 and used with backoff limit per index"]),
        (json!({"spec": {"completionMode": "Indexed", "completions": 200000, "parallelism": 200000}}), &["spec.parallelism: Invalid value: 200000: must be less than or equal to 100000 when completion mode is Indexed"]),
        (json!({"spec": {"podFailurePolicy": {"rules": [{"action": ""}, {"action": "X", "onExitCodes": {"operator": "", "values": []}}, {"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [0, 3, 2, 2], "containerName": "z"}, "onPodConditions": [{"type": "a b", "status": "X"}]}]}}}), &[r#"spec.podFailurePolicy.rules[0].action: Required value: valid values: ["Count" "FailIndex" "FailJob" "Ignore"]"#, "spec.podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required", r#"spec.podFailurePolicy.rules[1].action: Unsupported value: "X": supported values: "Count", "FailIndex", "FailJob", "Ignore""#, r#"spec.podFailurePolicy.rules[1].onExitCodes.operator: Required value: valid values: ["In" "NotIn"]"#, "spec.podFailurePolicy.rules[1].onExitCodes.values: Invalid value: []: at least one value is required", r#"spec.podFailurePolicy.rules[2].action: Invalid value: "FailIndex": requires the backoffLimitPerIndex to be set"#, r#"spec.podFailurePolicy.rules[2].onExitCodes.containerName: Invalid value: "z": must be one of the container or initContainer names in the pod template"#, "spec.podFailurePolicy.rules[2].onExitCodes.values[0]: Invalid value: 0: must not be 0 for the In operator", "spec.podFailurePolicy.rules[2].onExitCodes.values[3]: Duplicate value: 2", "spec.podFailurePolicy.rules[2].onExitCodes.values: Invalid value: [0,3,2,2]: must be ordered", r#"spec.podFailurePolicy.rules[2].onPodConditions[0].type: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#, r#"spec.podFailurePolicy.rules[2].onPodConditions[0].status: Unsupported value: "X": supported values: "False", "True", "Unknown""#, "spec.podFailurePolicy.rules[2]: Invalid value: specifying both OnExitCodes and OnPodConditions is not supported"]),
        (json!({"spec": {"podFailurePolicy": {"rules": []}, "podReplacementPolicy": "TerminatingOrFailed", "template": {"spec": {"restartPolicy": "OnFailure"}}}}), &[r#"spec.podReplacementPolicy: Unsupported value: "TerminatingOrFailed": supported values: "Failed""#, r#"spec.template.spec.restartPolicy: Invalid value: "OnFailure": only "Never" is supported when podFailurePolicy is specified"#]),
        (json!({"spec": {"podReplacementPolicy": "X"}}), &[r#"spec.podReplacementPolicy: Unsupported value: "X": supported values: "Failed", "TerminatingOrFailed""#]),
        (json!({"spec": {"completionMode": "Indexed", "completions": 3, "successPolicy": {"rules": [{}, {"succeededCount": 5}]}}}), &["spec.successPolicy.rules[0]: Required value: at least one of succeededCount or succeededIndexes must be specified", "spec.successPolicy.rules[1].succeededCount: Invalid value: 5: must be less than or equal to 3 (the number of specified completions)"]),
        (json!({"spec": {"completionMode": "Indexed", "completions": 3, "successPolicy": {"rules": []}}}), &["spec.successPolicy.rules: Required value: at least one rules must be specified when the successPolicy is specified"]),
        (json!({"spec": {"selector": {"matchLabels": {"a": "b"}}}}), &[r#"spec.selector: Invalid value: {"matchLabels":{"a":"b","batch.kubernetes.io/controller-uid":"u"}}: `selector` not auto-generated"#, r#"spec.template.metadata.labels: Invalid value: {"batch.kubernetes.io/controller-uid":"u","batch.kubernetes.io/job-name":"w","controller-uid":"u","job-name":"w"}: `selector` does not match template `labels`"#]),
        (json!({"spec": {"manualSelector": true}}), &["spec.selector: Required value", "spec.template.metadata.labels: Invalid value: null: `selector` does not match template `labels`"]),
        (json!({"spec": {"manualSelector": true, "selector": {"matchLabels": {"a": "b"}}}}), &["spec.template.metadata.labels: Invalid value: null: `selector` does not match template `labels`"]),
        (json!({"metadata": {"name": "a.b"}, "spec": {"completionMode": "Indexed", "completions": 3}}), &[r#"metadata.name: Invalid value: "a.b": will not able to create pod with invalid DNS label: a.b-2"#]),
    ]);
    check(Write::Update, &plain_job(), &[
        (json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "w", "namespace": "default", "uid": "u"}, "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}, "metadata": {"labels": {"batch.kubernetes.io/controller-uid": "u", "batch.kubernetes.io/job-name": "w", "controller-uid": "u", "job-name": "w"}}}, "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}}}}), json!({"spec": {"parallelism": 2}}), &["spec.completions: Invalid value: null: field is immutable"]),
        (json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "w", "namespace": "default", "uid": "u"}, "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}, "metadata": {"labels": {"batch.kubernetes.io/controller-uid": "u", "batch.kubernetes.io/job-name": "w", "controller-uid": "u", "job-name": "w"}}}, "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}}}}), json!({"spec": {"completions": 2}}), &["spec.completions: Invalid value: 2: field is immutable"]),
        (json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "w", "namespace": "default", "uid": "u"}, "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}, "metadata": {"labels": {"batch.kubernetes.io/controller-uid": "u", "batch.kubernetes.io/job-name": "w", "controller-uid": "u", "job-name": "w"}}}, "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}}}}), json!({"spec": {"completionMode": "Indexed"}}), &[r#"spec.completionMode: Invalid value: "Indexed": field is immutable"#]),
        (json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "w", "namespace": "default", "uid": "u"}, "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}, "metadata": {"labels": {"batch.kubernetes.io/controller-uid": "u", "batch.kubernetes.io/job-name": "w", "controller-uid": "u", "job-name": "w"}}}, "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}}}}), json!({"spec": {"managedBy": "a.b/c"}}), &[r#"spec.managedBy: Invalid value: "a.b/c": field is immutable"#]),
        (json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "w", "namespace": "default", "uid": "u"}, "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}, "metadata": {"labels": {"batch.kubernetes.io/controller-uid": "u", "batch.kubernetes.io/job-name": "w", "controller-uid": "u", "job-name": "w"}}}, "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}}}}), json!({"spec": {"backoffLimitPerIndex": 1, "completionMode": "Indexed"}}), &[r#"spec.completionMode: Invalid value: "Indexed": field is immutable"#, "spec.backoffLimitPerIndex: Invalid value: 1: field is immutable"]),
        (json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "w", "namespace": "default", "uid": "u"}, "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}, "metadata": {"labels": {"batch.kubernetes.io/controller-uid": "u", "batch.kubernetes.io/job-name": "w", "controller-uid": "u", "job-name": "w"}}}, "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}}, "completionMode": "Indexed", "completions": 2, "parallelism": 2}}), json!({"spec": {"completions": 3}}), &["spec.completions: Invalid value: 3: can only be modified in tandem with spec.parallelism"]),
        (json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "w", "namespace": "default", "uid": "u"}, "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}, "metadata": {"labels": {"batch.kubernetes.io/controller-uid": "u", "batch.kubernetes.io/job-name": "w", "controller-uid": "u", "job-name": "w"}}}, "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}}, "completionMode": "Indexed", "completions": 2, "parallelism": 2}}), json!({"spec": {"completions": 3, "parallelism": 3}}), &[]),
        (json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "w", "namespace": "default", "uid": "u"}, "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}, "metadata": {"labels": {"batch.kubernetes.io/controller-uid": "u", "batch.kubernetes.io/job-name": "w", "controller-uid": "u", "job-name": "w"}}}, "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}}}}), json!({"spec": {"selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "z"}}}}), &[r#"spec.selector: Invalid value: {"matchLabels":{"batch.kubernetes.io/controller-uid":"z"}}: `selector` not auto-generated"#, r#"spec.template.metadata.labels: Invalid value: {"batch.kubernetes.io/controller-uid":"u","batch.kubernetes.io/job-name":"w","controller-uid":"u","job-name":"w"}: `selector` does not match template `labels`"#, r#"spec.template.metadata.labels: Invalid value: {"batch.kubernetes.io/controller-uid":"u","batch.kubernetes.io/job-name":"w","controller-uid":"u","job-name":"w"}: `selector` does not match template `labels`"#, r#"spec.selector: Invalid value: {"matchLabels":{"batch.kubernetes.io/controller-uid":"z"}}: field is immutable"#]),
    ]);
}

#[rustfmt::skip]
fn plain_cron_job() -> Value {
    json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "w", "namespace": "default"}, "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}}}})
}

#[test]
#[rustfmt::skip]
fn cron_job() {
    check_new(&plain_cron_job(), &[
        (json!({}), &[]),
        (json!({"spec": {"schedule": ""}}), &["spec.schedule: Required value"]),
        (json!({"spec": {"schedule": "60 * * * *"}}), &[r#"spec.schedule: Invalid value: "60 * * * *": end of range (60) above maximum (59): 60"#]),
        (json!({"spec": {"schedule": "* * *"}}), &[r#"spec.schedule: Invalid value: "* * *": expected exactly 5 fields, found 3: [* * *]"#]),
        (json!({"spec": {"schedule": "TZ=UTC * * * * *"}}), &[r#"spec.schedule: Invalid value: "TZ=UTC * * * * *": cannot use TZ or CRON_TZ in schedule, use timeZone field instead"#]),
        (json!({"spec": {"schedule": "@x"}}), &[r#"spec.schedule: Invalid value: "@x": unrecognized descriptor: @x"#]),
        (json!({"spec": {"timeZone": ""}}), &[r#"spec.timeZone: Invalid value: "": timeZone must be nil or non-empty string"#]),
        (json!({"spec": {"timeZone": "Local"}}), &[r#"spec.timeZone: Invalid value: "Local": timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"#]),
        (json!({"spec": {"timeZone": "Europe/Berlin"}}), &[]),
        (json!({"spec": {"timeZone": "US/Eastern"}}), &[]),
        (json!({"spec": {"timeZone": "local"}}), &[r#"spec.timeZone: Invalid value: "local": timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"#, r#"spec.timeZone: Invalid value: "local": unknown time zone local"#]),
        (json!({"spec": {"timeZone": "Europe/Nowhere"}}), &[r#"spec.timeZone: Invalid value: "Europe/Nowhere": unknown time zone Europe/Nowhere"#]),
        (json!({"spec": {"timeZone": "europe/berlin"}}), &[r#"spec.timeZone: Invalid value: "europe/berlin": unknown time zone europe/berlin"#]),
        (json!({"spec": {"timeZone": "a b"}}), &[r#"spec.timeZone: Invalid value: "a b": unknown time zone a b"#]),
        (json!({"spec": {"concurrencyPolicy": "X", "startingDeadlineSeconds": -1, "successfulJobsHistoryLimit": -1, "failedJobsHistoryLimit": -1}}), &["spec.startingDeadlineSeconds: Invalid value: -1: must be greater than or equal to 0", r#"spec.concurrencyPolicy: Unsupported value: "X": supported values: "Allow", "Forbid", "Replace""#, "spec.successfulJobsHistoryLimit: Invalid value: -1: must be greater than or equal to 0", "spec.failedJobsHistoryLimit: Invalid value: -1: must be greater than or equal to 0"]),
        (json!({"spec": {"jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": null}}}}}}), &[r#"spec.jobTemplate.spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never""#]),
        (json!({"spec": {"jobTemplate": {"spec": {"manualSelector": true}}}}), &[r#"spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: "nil", "false""#]),
        (json!({"metadata": {"name": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}}), &[r#"metadata.name: Invalid value: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa": must be no more than 52 characters"#]),
    ]);
    check(Write::Update, &plain_cron_job(), &[
        (json!({}), json!({"spec": {"schedule": "a b c d e"}}), &[r#"spec.schedule: Invalid value: "a b c d e": failed to parse int from a: strconv.Atoi: parsing "a": invalid syntax"#]),
        (json!({}), json!({"metadata": {"labels": {"x": "y"}}}), &[]),
    ]);
}
