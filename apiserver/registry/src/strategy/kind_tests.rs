//! What upstream says of kinds with rules of their own: rows of what differs from a plain object, and the causes.

use apiserver_json::{Value, json};

use super::table::{Write, check, check_new};

#[rustfmt::skip]
fn plain_autoscaler() -> Value {
    json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "w", "namespace": "default"}, "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}})
}

#[test]
#[rustfmt::skip]
fn autoscaler() {
    check_new(&plain_autoscaler(), &[
        (json!({}), &[]),
        (json!({"spec": {"minReplicas": 0}}), &["spec.minReplicas: Invalid value: 0: must be greater than or equal to 1", "spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas"]),
        (json!({"spec": {"minReplicas": 5}}), &["spec.maxReplicas: Invalid value: 3: must be greater than or equal to `minReplicas`"]),
        (json!({"spec": {"maxReplicas": 0}}), &["spec.maxReplicas: Required value: must be set and greater than 0", "spec.maxReplicas: Invalid value: 0: must be greater than or equal to `minReplicas`"]),
        (json!({"spec": {"maxReplicas": -1}}), &["spec.maxReplicas: Invalid value: -1: must be greater than or equal to 1", "spec.maxReplicas: Invalid value: -1: must be greater than or equal to `minReplicas`"]),
        (json!({"spec": {"scaleTargetRef": {"apiVersion": null, "kind": "", "name": ""}}}), &["spec.scaleTargetRef.kind: Required value", "spec.scaleTargetRef.name: Required value", r#"spec.scaleTargetRef.apiVersion: Invalid value: "": apiVersion must specify API group"#]),
        (json!({"spec": {"scaleTargetRef": {"apiVersion": "a/b/c", "kind": "a/b"}}}), &[r#"spec.scaleTargetRef.kind: Invalid value: "a/b": may not contain '/'"#, r#"spec.scaleTargetRef.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c"#]),
        (json!({"spec": {"scaleTargetRef": {"apiVersion": "v1", "kind": "ReplicationController"}}}), &[]),
        (json!({"spec": {"scaleTargetRef": {"apiVersion": "v1"}}}), &[r#"spec.scaleTargetRef.apiVersion: Invalid value: "v1": apiVersion must specify API group"#]),
        (json!({"spec": {"metrics": [{"type": ""}]}}), &["spec.metrics[0].type: Required value: must specify a metric source type", r#"spec.metrics[0].type: Unsupported value: "": supported values: "ContainerResource", "External", "Object", "Pods", "Resource""#, r#"spec.metrics[0].type: Unsupported value: "": supported values: "ContainerResource", "External", "Object", "Pods", "Resource""#]),
        (json!({"spec": {"metrics": [{"type": "X"}]}}), &[r#"spec.metrics[0].type: Unsupported value: "X": supported values: "ContainerResource", "External", "Object", "Pods", "Resource""#, r#"spec.metrics[0].type: Unsupported value: "X": supported values: "ContainerResource", "External", "Object", "Pods", "Resource""#]),
        (json!({"spec": {"metrics": [{"type": "Resource"}]}}), &["spec.metrics[0].resource: Required value: must populate information for the given metric source"]),
        (json!({"spec": {"metrics": [{"type": "Resource", "resource": {"name": "", "target": {"type": ""}}}]}}), &["spec.metrics[0].resource.name: Required value: must specify a resource name", "spec.metrics[0].resource.target.type: Required value: must specify a metric target type", r#"spec.metrics[0].resource.target.type: Invalid value: "": must be either Utilization, Value, or AverageValue"#, "spec.metrics[0].resource.target.averageUtilization: Required value: must set either a target raw value or a target utilization"]),
        (json!({"spec": {"metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 0, "averageValue": "1"}}}]}}), &["spec.metrics[0].resource.target.averageUtilization: Invalid value: 0: must be greater than 0", "spec.metrics[0].resource.target.averageValue: Forbidden: may not set both a target raw value and a target utilization"]),
        (json!({"spec": {"metrics": [{"type": "Pods", "pods": {"metric": {"name": ""}, "target": {"type": "AverageValue", "averageValue": "-1"}}}]}}), &["spec.metrics[0].pods.metric.name: Required value: must specify a metric name", r#"spec.metrics[0].pods.target.averageValue: Invalid value: "-1": must be positive"#]),
        (json!({"spec": {"metrics": [{"type": "Pods", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]}}), &["spec.metrics[0].pods: Required value: must populate information for the given metric source"]),
        (json!({"spec": {"metrics": [{"type": "Resource", "pods": {"metric": {"name": "x"}, "target": {"type": "AverageValue", "averageValue": "1"}}, "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]}}), &["spec.metrics[0].pods: Forbidden: must populate the given metric source only"]),
        (json!({"spec": {"metrics": [{"type": "Object", "object": {"describedObject": {"kind": "", "name": ""}, "metric": {"name": "a/b"}, "target": {"type": "Value"}}}]}}), &["spec.metrics[0].object.describedObject.kind: Required value", "spec.metrics[0].object.describedObject.name: Required value", r#"spec.metrics[0].object.metric.name: Invalid value: "a/b": may not contain '/'"#, "spec.metrics[0].object.target.averageValue: Required value: must set either a target value or averageValue"]),
        (json!({"spec": {"metrics": [{"type": "External", "external": {"metric": {"name": "x"}, "target": {"type": "Value", "value": "1", "averageValue": "0"}}}]}}), &[r#"spec.metrics[0].external.target.averageValue: Invalid value: "0": must be positive"#, "spec.metrics[0].external.target.value: Forbidden: may not set both a target value for metric and a per-pod target"]),
        (json!({"spec": {"metrics": [{"type": "ContainerResource", "containerResource": {"name": "foo", "container": "A", "target": {"type": "Utilization"}}}]}}), &[r#"spec.metrics[0].containerResource.name: Invalid value: "foo": must be a standard resource type or fully qualified"#, r#"spec.metrics[0].containerResource.name: Invalid value: "foo": must be a standard resource for containers"#, r#"spec.metrics[0].containerResource.container: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"#, "spec.metrics[0].containerResource.target.averageUtilization: Required value: must set either a target raw value or a target utilization"]),
        (json!({"spec": {"behavior": {"scaleUp": {"stabilizationWindowSeconds": -1, "selectPolicy": "X", "policies": [{"type": "Y", "value": 0, "periodSeconds": 0}, {"type": "Pods", "value": 1, "periodSeconds": 9999}]}, "scaleDown": {"stabilizationWindowSeconds": 4000, "tolerance": "-1"}}}}), &["spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: -1: must be greater than or equal to zero", r#"spec.behavior.scaleUp.selectPolicy: Unsupported value: "X": supported values: "Disabled", "Max", "Min""#, r#"spec.behavior.scaleUp.policies[0].type: Unsupported value: "Y": supported values: "Percent", "Pods""#, "spec.behavior.scaleUp.policies[0].value: Invalid value: 0: must be greater than zero", "spec.behavior.scaleUp.policies[0].periodSeconds: Invalid value: 0: must be greater than zero", "spec.behavior.scaleUp.policies[1].periodSeconds: Invalid value: 9999: must be less than or equal to 1800", "spec.behavior.scaleDown.stabilizationWindowSeconds: Invalid value: 4000: must be less than or equal to 3600", r#"spec.behavior.scaleDown.tolerance: Invalid value: "-1": must be greater than or equal to 0"#]),
    ]);
    check(Write::Update, &plain_autoscaler(), &[
        (json!({"spec": {"scaleTargetRef": {"apiVersion": "v1"}}}), json!({"spec": {"maxReplicas": 5}}), &[]),
        (json!({}), json!({"spec": {"scaleTargetRef": {"apiVersion": "v1"}}}), &[r#"spec.scaleTargetRef.apiVersion: Invalid value: "v1": apiVersion must specify API group"#]),
    ]);
}

#[rustfmt::skip]
fn plain_autoscaler_v1() -> Value {
    json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "w", "namespace": "default"}, "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}})
}

#[test]
#[rustfmt::skip]
fn autoscaler_v1() {
    check_new(&plain_autoscaler_v1(), &[
        (json!({}), &[]),
        (json!({"spec": {"minReplicas": 0, "maxReplicas": 0}}), &["spec.minReplicas: Invalid value: 0: must be greater than or equal to 1", "spec.maxReplicas: Required value: must be set and greater than 0", "spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas"]),
        (json!({"spec": {"scaleTargetRef": {"kind": ""}}}), &["spec.scaleTargetRef.kind: Required value"]),
        (json!({"spec": {"minReplicas": 4}}), &["spec.maxReplicas: Invalid value: 3: must be greater than or equal to `minReplicas`"]),
    ]);
}

#[rustfmt::skip]
fn plain_disruption_budget() -> Value {
    json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "w", "namespace": "default"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}})
}

#[test]
#[rustfmt::skip]
fn disruption_budget() {
    check_new(&plain_disruption_budget(), &[
        (json!({}), &[]),
        (json!({"spec": {"maxUnavailable": 1}}), &[r#"spec: Invalid value: {"MinAvailable":1,"Selector":{"matchLabels":{"a":"b"}},"MaxUnavailable":1,"UnhealthyPodEvictionPolicy":null}: minAvailable and maxUnavailable cannot be both set"#]),
        (json!({"spec": {"minAvailable": "x"}}), &[r#"spec.minAvailable: Invalid value: "x": a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')"#]),
        (json!({"spec": {"minAvailable": "101%"}}), &[r#"spec.minAvailable: Invalid value: "101%": must not be greater than 100%"#]),
        (json!({"spec": {"minAvailable": -1}}), &["spec.minAvailable: Invalid value: -1: must be greater than or equal to 0"]),
        (json!({"spec": {"unhealthyPodEvictionPolicy": "X"}}), &[r#"spec.unhealthyPodEvictionPolicy: Unsupported value: "X": supported values: "AlwaysAllow", "IfHealthyBudget""#]),
        (json!({"spec": {"selector": {"matchLabels": {"a": "b c"}}}}), &[r#"spec.selector.matchLabels: Invalid value: "b c": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"#]),
        (json!({"spec": {"selector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}}), &["spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"]),
    ]);
    check(Write::Status, &plain_disruption_budget(), &[
        (json!({}), json!({"status": {"disruptionsAllowed": -1, "currentHealthy": -1, "desiredHealthy": -1, "expectedPods": -1}}), &["status.disruptionsAllowed: Invalid value: -1: must be greater than or equal to 0", "status.currentHealthy: Invalid value: -1: must be greater than or equal to 0", "status.desiredHealthy: Invalid value: -1: must be greater than or equal to 0", "status.expectedPods: Invalid value: -1: must be greater than or equal to 0"]),
    ]);
}

#[rustfmt::skip]
fn plain_quota() -> Value {
    json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "w", "namespace": "default"}, "spec": {"hard": {"pods": "1"}}})
}

#[test]
#[rustfmt::skip]
fn quota() {
    check_new(&plain_quota(), &[
        (json!({}), &[]),
        (json!({"spec": {"hard": {"pods": "-1"}}}), &[r#"spec.hard[pods]: Invalid value: "-1": must be greater than or equal to 0"#]),
        (json!({"spec": {"hard": {"pods": "1500m"}}}), &[r#"spec.hard[pods]: Invalid value: "1500m": must be an integer"#]),
        (json!({"spec": {"hard": {"foo": null, "pods": null, "bar": "1"}}}), &[r#"spec.hard[bar]: Invalid value: "bar": must be a standard resource type or fully qualified"#, r#"spec.hard[bar]: Invalid value: "bar": must be a standard resource for quota"#]),
        (json!({"spec": {"hard": {"pods": null, "storage": "1"}}}), &[r#"spec.hard[storage]: Invalid value: "storage": must be a standard resource for quota"#]),
        (json!({"spec": {"hard": {"pods": null, "requests.e.com/gpu": "1"}}}), &[]),
        (json!({"spec": {"scopes": ["X"]}}), &[r#"spec.scopes: Invalid value: ["X"]: unsupported scope"#]),
        (json!({"spec": {"scopes": ["BestEffort", "NotBestEffort"]}}), &[r#"spec.scopes: Invalid value: ["BestEffort","NotBestEffort"]: conflicting scopes"#]),
        (json!({"spec": {"hard": {"cpu": "1"}, "scopes": ["BestEffort"]}}), &[r#"spec.scopes: Invalid value: ["BestEffort"]: unsupported scope applied to resource"#]),
        (json!({"spec": {"scopeSelector": {"matchExpressions": [{"scopeName": "X", "operator": "Is"}, {"scopeName": "BestEffort", "operator": "In"}, {"scopeName": "PriorityClass", "operator": "Exists", "values": ["a"]}]}}}), &[r#"spec.scopeSelector.matchExpressions.scopeName: Invalid value: "X": unsupported scope"#, r#"spec.scopeSelector.matchExpressions.operator: Invalid value: "Is": not a valid selector operator"#, r#"spec.scopeSelector.matchExpressions.operator: Invalid value: "In": must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"#, "spec.scopeSelector.matchExpressions.values: Required value: must be at least one value when `operator` is 'In' or 'NotIn' for scope selector", r#"spec.scopeSelector.matchExpressions.values: Invalid value: ["a"]: must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"#]),
    ]);
    check(Write::Update, &plain_quota(), &[
        (json!({}), json!({"spec": {"scopes": ["BestEffort"]}}), &[r#"spec.scopes: Invalid value: ["BestEffort"]: field is immutable"#]),
    ]);
    check(Write::Status, &plain_quota(), &[
        (json!({}), json!({"status": {"hard": {"foo": "1"}, "used": {"pods": "-1"}}}), &[r#"status.hard[foo]: Invalid value: "foo": must be a standard resource type or fully qualified"#, r#"status.hard[foo]: Invalid value: "foo": must be a standard resource for quota"#, r#"status.used[pods]: Invalid value: "-1": must be greater than or equal to 0"#]),
    ]);
}

#[rustfmt::skip]
fn plain_storage_class() -> Value {
    json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "w"}, "provisioner": "a.b/c"})
}

#[test]
#[rustfmt::skip]
fn storage_class() {
    check_new(&plain_storage_class(), &[
        (json!({}), &[]),
        (json!({"provisioner": ""}), &["provisioner: Required value"]),
        (json!({"provisioner": "a b"}), &[r#"provisioner: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#]),
        (json!({"reclaimPolicy": "Recycle"}), &[r#"reclaimPolicy: Unsupported value: "Recycle": supported values: "Delete", "Retain""#]),
        (json!({"volumeBindingMode": "X"}), &[r#"volumeBindingMode: Unsupported value: "X": supported values: "Immediate", "WaitForFirstConsumer""#]),
        (json!({"parameters": {"": "x"}}), &[r#"parameters: Invalid value: "": field can not be empty."#]),
        (json!({"allowedTopologies": [{"matchLabelExpressions": [{"key": "a b", "values": []}, {"key": "k", "values": ["x", "x"]}, {"key": "k", "values": ["y"]}]}]}), &["allowedTopologies[0].matchLabelExpressions[0].values: Required value", r#"allowedTopologies[0].matchLabelExpressions[0].key: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#, r#"allowedTopologies[0].matchLabelExpressions[1].values[1]: Duplicate value: "x""#, r#"allowedTopologies[0].matchLabelExpressions[2].key: Duplicate value: "k""#]),
    ]);
    check(Write::Update, &plain_storage_class(), &[
        (json!({}), json!({"provisioner": "x"}), &[r#"provisioner: Invalid value: "x": field is immutable"#]),
        (json!({}), json!({"parameters": {"a": "b"}}), &[r#"parameters: Invalid value: {"a":"b"}: field is immutable"#]),
        (json!({}), json!({"reclaimPolicy": "Retain"}), &[r#"reclaimPolicy: Invalid value: "Retain": field is immutable"#]),
        (json!({}), json!({"volumeBindingMode": "WaitForFirstConsumer"}), &[r#"volumeBindingMode: Invalid value: "WaitForFirstConsumer": field is immutable"#]),
    ]);
}

#[rustfmt::skip]
fn plain_csi_driver() -> Value {
    json!({"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": "w"}, "spec": {}})
}

#[test]
#[rustfmt::skip]
fn csi_driver() {
    check_new(&plain_csi_driver(), &[
        (json!({}), &[]),
        (json!({"spec": {"fsGroupPolicy": "X"}}), &[r#"spec.fsGroupPolicy: Unsupported value: "X": supported values: "File", "None", "ReadWriteOnceWithFSType""#]),
        (json!({"spec": {"volumeLifecycleModes": ["X"]}}), &[r#"spec.volumeLifecycleModes: Unsupported value: "X": supported values: "Persistent", "Ephemeral""#]),
        (json!({"spec": {"tokenRequests": [{"audience": "a"}, {"audience": "a"}, {"audience": "b", "expirationSeconds": 5}]}}), &[r#"spec.tokenRequests[1].audience: Duplicate value: "a""#, "spec.tokenRequests[2].expirationSeconds: Invalid value: 5: may not specify a duration less than 10 minutes"]),
        (json!({"spec": {"nodeAllocatableUpdatePeriodSeconds": 5}}), &["spec.nodeAllocatableUpdatePeriodSeconds: Invalid value: 5: must be greater than or equal to 10 seconds"]),
    ]);
    check(Write::Update, &plain_csi_driver(), &[
        (json!({}), json!({"spec": {"attachRequired": false}}), &["spec.attachedRequired: Invalid value: false: field is immutable"]),
        (json!({}), json!({"spec": {"volumeLifecycleModes": ["Ephemeral"]}}), &[r#"spec.volumeLifecycleModes: Invalid value: ["Ephemeral"]: field is immutable"#]),
    ]);
}

#[rustfmt::skip]
fn plain_csi_node() -> Value {
    json!({"apiVersion": "storage.k8s.io/v1", "kind": "CSINode", "metadata": {"name": "w"}, "spec": {"drivers": []}})
}

#[test]
#[rustfmt::skip]
fn csi_node() {
    check_new(&plain_csi_node(), &[
        (json!({}), &[]),
        (json!({"spec": {"drivers": [{"name": "", "nodeID": ""}, {"name": "a_b", "nodeID": "x", "topologyKeys": ["k", "k", "", "a b"], "allocatable": {"count": -1}}, {"name": "c", "nodeID": "x"}, {"name": "c", "nodeID": "x"}]}}), &["spec.drivers[0].name: Required value", "spec.drivers[0].nodeID: Required value", r#"spec.drivers[1].name: Invalid value: "a_b": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"#, "spec.drivers[1].allocatable.count: Invalid value: -1: must be greater than or equal to 0", r#"spec.drivers[1]: Duplicate value: "k""#, "spec.drivers[1]: Required value", r#"spec.drivers[1]: Invalid value: "": name part must be non-empty"#, r#"spec.drivers[1]: Invalid value: "": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#, r#"spec.drivers[1]: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#, r#"spec.drivers[3].name: Duplicate value: "c""#]),
    ]);
    let driver = |keys: Value| json!({"spec": {"drivers": [{"name": "c", "nodeID": "x", "topologyKeys": keys}]}});
    check(Write::Update, &plain_csi_node(), &[
        (driver(Value::Null), driver(json!([])), &[]),
        (driver(json!([])), driver(Value::Null), &[]),
        (driver(json!(["a"])), driver(json!([])), &[r#"spec.drivers: Invalid value: {"Name":"c","NodeID":"x","TopologyKeys":[],"Allocatable":null}: field is immutable"#]),
    ]);
}

#[rustfmt::skip]
fn plain_volume_attachment() -> Value {
    json!({"apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment", "metadata": {"name": "w"}, "spec": {"attacher": "a", "nodeName": "n", "source": {"persistentVolumeName": "p"}}})
}

#[test]
#[rustfmt::skip]
fn volume_attachment() {
    check_new(&plain_volume_attachment(), &[
        (json!({}), &[]),
        (json!({"spec": {"attacher": ""}}), &["spec.attacher: Required value"]),
        (json!({"spec": {"attacher": "a_b"}}), &[r#"spec.attacher: Invalid value: "a_b": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"#]),
        (json!({"spec": {"nodeName": ""}}), &[r#"spec.nodeName: Invalid value: "": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"#]),
        (json!({"spec": {"source": {"persistentVolumeName": null}}}), &["spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName"]),
        (json!({"spec": {"source": {"persistentVolumeName": ""}}}), &["spec.source.persistentVolumeName: Required value: must specify non empty persistentVolumeName", r#"spec.source.persistentVolumeName: Invalid value: "": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"#]),
        (json!({"spec": {"source": {"persistentVolumeName": "A"}}}), &[r#"spec.source.persistentVolumeName: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"#]),
        (json!({"spec": {"source": {"persistentVolumeName": null, "inlineVolumeSpec": {"accessModes": ["ReadWriteOnce"], "csi": {"driver": "a", "volumeHandle": "h"}, "volumeMode": "Filesystem", "persistentVolumeReclaimPolicy": "Retain"}}}}), &[]),
        (json!({"spec": {"source": {"persistentVolumeName": null, "inlineVolumeSpec": {"claimRef": {"name": "a"}, "capacity": {"storage": "1Gi"}, "persistentVolumeReclaimPolicy": "Delete", "nodeAffinity": {}, "storageClassName": "a", "volumeMode": "Block", "hostPath": {"path": "/a"}}}}}), &["spec.source.inlineVolumeSpec.claimRef: Forbidden: may not be specified in the context of inline volumes", "spec.source.inlineVolumeSpec.capacity: Forbidden: may not be specified in the context of inline volumes", "spec.source.inlineVolumeSpec.csi: Required value: has to be specified in the context of inline volumes", "spec.source.inlineVolumeSpec.accessModes: Required value", "spec.source.inlineVolumeSpec.persistentVolumeReclaimPolicy: Forbidden: may only be Retain in the context of inline volumes", "spec.source.inlineVolumeSpec.nodeAffinity: Forbidden: may not be specified in the context of inline volumes", "spec.source.inlineVolumeSpec.storageClassName: Forbidden: may not be specified in the context of inline volumes", "spec.source.inlineVolumeSpec.volumeMode: Forbidden: may not specify volumeMode other than Filesystem in the context of inline volumes"]),
    ]);
}

#[rustfmt::skip]
fn plain_ip_address() -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "IPAddress", "metadata": {"name": "10.0.0.1"}, "spec": {"parentRef": {"resource": "services", "name": "a", "namespace": "b"}}})
}

#[test]
#[rustfmt::skip]
fn ip_address() {
    check_new(&plain_ip_address(), &[
        (json!({}), &[]),
        (json!({"metadata": {"name": "a"}}), &[r#"metadata.name: Invalid value: "a": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"#]),
        (json!({"metadata": {"name": "2001:DB8::1"}}), &[r#"metadata.name: Invalid value: "2001:DB8::1": must be in canonical form ("2001:db8::1")"#]),
        (json!({"metadata": {"name": "010.0.0.1"}}), &[r#"metadata.name: Invalid value: "010.0.0.1": must not have leading 0s"#]),
        (json!({"spec": {"parentRef": null}}), &["spec.parentRef: Required value"]),
        (json!({"spec": {"parentRef": {"resource": "", "name": "a/b"}}}), &["spec.parentRef.resource: Required value", r#"spec.parentRef.name: Invalid value: "a/b": may not contain '/'"#]),
        (json!({"spec": {"parentRef": {"resource": "", "name": ""}}}), &["spec.parentRef.resource: Required value", "spec.parentRef.name: Required value"]),
        (json!({"spec": {"parentRef": {"group": "A", "resource": "a/b", "name": "c%", "namespace": "d/e"}}}), &[r#"spec.parentRef.group: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"#, r#"spec.parentRef.resource: Invalid value: "a/b": may not contain '/'"#, r#"spec.parentRef.name: Invalid value: "c%": may not contain '%'"#, r#"spec.parentRef.namespace: Invalid value: "d/e": may not contain '/'"#]),
    ]);
    check(Write::Update, &plain_ip_address(), &[
        (json!({}), json!({"spec": {"parentRef": {"name": "z"}}}), &[r#"spec.parentRef: Invalid value: {"Group":"","Resource":"services","Namespace":"b","Name":"z"}: field is immutable"#]),
    ]);
}

#[rustfmt::skip]
fn plain_service_cidr() -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "w"}, "spec": {"cidrs": ["10.0.0.0/24"]}})
}

#[test]
#[rustfmt::skip]
fn service_cidr() {
    check_new(&plain_service_cidr(), &[
        (json!({}), &[]),
        (json!({"spec": {"cidrs": []}}), &["spec.cidrs: Required value: at least one CIDR required"]),
        (json!({"spec": {"cidrs": ["a"]}}), &[r#"spec.cidrs[0]: Invalid value: "a": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"#]),
        (json!({"spec": {"cidrs": ["10.0.0.1/24"]}}), &[r#"spec.cidrs[0]: Invalid value: "10.0.0.1/24": must not have bits set beyond the prefix length"#]),
        (json!({"spec": {"cidrs": ["10.0.0.0/24", "10.1.0.0/24"]}}), &[r#"spec.cidrs: Invalid value: ["10.0.0.0/24","10.1.0.0/24"]: may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"#]),
        (json!({"spec": {"cidrs": ["10.0.0.0/24", "2001:db8::/64"]}}), &[]),
        (json!({"spec": {"cidrs": ["10.0.0.0/24", "2001:DB8::/64"]}}), &[r#"spec.cidrs[1]: Invalid value: "2001:DB8::/64": must be in canonical form ("2001:db8::/64")"#]),
        (json!({"spec": {"cidrs": ["a", "b", "c"]}}), &[r#"spec.cidrs: Invalid value: {"CIDRs":["a","b","c"]}: may only hold up to 2 values"#]),
    ]);
    check(Write::Update, &plain_service_cidr(), &[
        (json!({}), json!({"spec": {"cidrs": ["10.1.0.0/24"]}}), &[r#"spec.cidrs[0]: Invalid value: "10.1.0.0/24": field is immutable"#]),
        (json!({}), json!({"spec": {"cidrs": ["10.0.0.0/24", "2001:db8::/64"]}}), &[]),
    ]);
}

#[rustfmt::skip]
fn plain_network_policy() -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "w", "namespace": "default"}, "spec": {"podSelector": {}}})
}

#[test]
#[rustfmt::skip]
fn network_policy() {
    check_new(&plain_network_policy(), &[
        (json!({}), &[]),
        (json!({"spec": {"podSelector": {"matchLabels": {"a b": "c"}}}}), &[r#"spec.podSelector.matchLabels: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#]),
        (json!({"spec": {"policyTypes": ["X"]}}), &[r#"spec.policyTypes[0]: Unsupported value: "X": supported values: "Ingress", "Egress""#]),
        (json!({"spec": {"policyTypes": ["Ingress", "Egress", "Ingress"]}}), &[r#"spec.policyTypes: Invalid value: ["Ingress","Egress","Ingress"]: may not specify more than two policyTypes"#]),
        (json!({"spec": {"ingress": [{"from": [{}]}]}}), &["spec.ingress[0].from[0]: Required value: must specify a peer"]),
        (json!({"spec": {"ingress": [{"from": [{"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}}]}]}}), &["spec.ingress[0].from[0]: Forbidden: may not specify both ipBlock and another peer"]),
        (json!({"spec": {"egress": [{"to": [{"ipBlock": {"cidr": ""}}]}]}}), &["spec.egress[0].to[0].ipBlock.cidr: Required value"]),
        (json!({"spec": {"egress": [{"to": [{"ipBlock": {"cidr": "x"}}]}]}}), &[r#"spec.egress[0].to[0].ipBlock.cidr: Invalid value: "x": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"#]),
        (json!({"spec": {"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/16", "except": ["11.0.0.0/24", "10.0.0.0/8", "x", "10.0.1.0/24", "10.0.1.1/24"]}}]}]}}), &[r#"spec.egress[0].to[0].ipBlock.except[0]: Invalid value: "11.0.0.0/24": must be a strict subset of `cidr`"#, r#"spec.egress[0].to[0].ipBlock.except[1]: Invalid value: "10.0.0.0/8": must be a strict subset of `cidr`"#, r#"spec.egress[0].to[0].ipBlock.except[2]: Invalid value: "x": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"#, r#"spec.egress[0].to[0].ipBlock.except[4]: Invalid value: "10.0.1.1/24": must not have bits set beyond the prefix length"#]),
        (json!({"spec": {"ingress": [{"ports": [{"protocol": "X", "port": 0}, {"port": "A"}, {"port": 10, "endPort": 5}, {"endPort": 5}, {"port": "http", "endPort": 5}, {"port": 10, "endPort": 70000}]}]}}), &[r#"spec.ingress[0].ports[0].protocol: Unsupported value: "X": supported values: "TCP", "UDP", "SCTP""#, "spec.ingress[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive", r#"spec.ingress[0].ports[1].port: Invalid value: "A": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"#, r#"spec.ingress[0].ports[1].port: Invalid value: "A": must contain at least one letter (a-z)"#, "spec.ingress[0].ports[2].endPort: Invalid value: 10: must be greater than or equal to `port`", "spec.ingress[0].ports[3].endPort: Invalid value: 5: may not be specified when `port` is not specified", "spec.ingress[0].ports[4].endPort: Invalid value: 5: may not be specified when `port` is non-numeric", "spec.ingress[0].ports[5].endPort: Invalid value: 70000: must be between 1 and 65535, inclusive"]),
    ]);
    check(Write::Update, &plain_network_policy(), &[
        (json!({}), json!({"metadata": {"labels": {"a b": "c"}}}), &[r#"metadata.labels: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#, r#"metadata.labels: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#, r#"metadata.labels: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#]),
    ]);
}

#[rustfmt::skip]
fn plain_ingress_class() -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "w"}, "spec": {"controller": "a.b/c"}})
}

#[test]
#[rustfmt::skip]
fn ingress_class() {
    check_new(&plain_ingress_class(), &[
        (json!({}), &[]),
        (json!({"spec": {"controller": ""}}), &["spec.controller: Required value"]),
        (json!({"spec": {"controller": "x"}}), &[r#"spec.controller: Invalid value: "x": must be a domain-prefixed path (such as "acme.io/foo")"#]),
        (json!({"spec": {"parameters": {"kind": "", "name": ""}}}), &["spec.parameters.kind: Required value", "spec.parameters.name: Required value"]),
        (json!({"spec": {"parameters": {"kind": "a/b", "name": "c", "scope": "Namespace"}}}), &[r#"spec.parameters.kind: Invalid value: "a/b": may not contain '/'"#, "spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"]),
        (json!({"spec": {"parameters": {"kind": "K", "name": "c", "scope": "X", "apiGroup": "A"}}}), &[r#"spec.parameters.apiGroup: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"#, r#"spec.parameters.scope: Unsupported value: "X": supported values: "Cluster", "Namespace""#]),
        (json!({"spec": {"parameters": {"kind": "K", "name": "c", "namespace": "n"}}}), &["spec.parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'"]),
        (json!({"spec": {"parameters": {"kind": "K", "name": "c", "namespace": "A", "scope": "Namespace"}}}), &[r#"spec.parameters.namespace: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"#]),
    ]);
    check(Write::Update, &plain_ingress_class(), &[
        (json!({}), json!({"spec": {"controller": "a.b/d"}}), &[r#"spec.controller: Invalid value: "a.b/d": field is immutable"#]),
    ]);
}

#[rustfmt::skip]
fn plain_runtime_class() -> Value {
    json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "w"}, "handler": "h"})
}

#[test]
#[rustfmt::skip]
fn runtime_class() {
    check_new(&plain_runtime_class(), &[
        (json!({}), &[]),
        (json!({"handler": ""}), &["handler: Required value"]),
        (json!({"handler": "A"}), &[r#"handler: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"#]),
        (json!({"overhead": {"podFixed": {"cpu": "-1"}}}), &[r#"overhead.limits[cpu]: Invalid value: "-1": must be greater than or equal to 0"#]),
        (json!({"scheduling": {"nodeSelector": {"a b": "c"}, "tolerations": [{"operator": "Equal"}]}}), &[r#"scheduling.nodeSelector: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#, r#"scheduling.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when `key` is empty, which means "match all values and all keys""#]),
    ]);
    check(Write::Update, &plain_runtime_class(), &[
        (json!({}), json!({"handler": "z"}), &[r#"handler: Invalid value: "z": field is immutable"#]),
    ]);
}

#[rustfmt::skip]
fn plain_controller_revision() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {"name": "w", "namespace": "default"}, "revision": 1, "data": {"a": 1}})
}

#[test]
#[rustfmt::skip]
fn controller_revision() {
    check_new(&plain_controller_revision(), &[
        (json!({}), &[]),
        (json!({"metadata": {"generation": -1}}), &["metadata.generation: Invalid value: -1: must be greater than or equal to 0"]),
        (json!({"revision": -1}), &["revision: Invalid value: -1: must be greater than or equal to 0"]),
        (json!({"data": null}), &["data: Required value: data is mandatory"]),
    ]);
    check(Write::Update, &plain_controller_revision(), &[
        (json!({}), json!({"revision": 2}), &[]),
        (json!({}), json!({"data": {"a": 2}}), &[r#"data: Invalid value: {"a":2}: field is immutable"#]),
    ]);
}

#[test]
fn cluster_roles_that_aggregate_say_which() {
    let base = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "a"}});
    let required = "aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if aggregationRule is non-nil";
    check_new(
        &base,
        &[
            (json!({"aggregationRule": {}}), &[required]),
            // Rules come first.
            (
                json!({"aggregationRule": {}, "rules": [{"apiGroups": ["a"], "resources": ["b"]}]}),
                &["rules[0].verbs: Required value: verbs must contain at least one value", required],
            ),
            (json!({"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}}), &[]),
        ],
    );
}
