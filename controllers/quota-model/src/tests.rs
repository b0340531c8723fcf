//! Changes and what a quota says of them: each row is what kube-apiserver 1.36 answered.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::fit::fit;
use crate::measure::{Change, Measure};
use crate::{amounts, usage};

fn quota(hard: &[(&str, &str)], scope: Value) -> Value {
    let all = |value: Option<&str>| -> Value {
        let members = hard.iter().map(|(name, hard)| ((*name).to_owned(), json!(value.unwrap_or(hard))));
        members.collect::<serde_json::Map<_, _>>().into()
    };
    let mut quota = json!({
        "metadata": {"name": "q"}, "spec": {"hard": all(None)},
        "status": {"hard": all(None), "used": all(Some("0"))},
    });
    if let (Some(spec), Some(scope)) = (quota["spec"].as_object_mut(), scope.as_object()) {
        spec.extend(scope.clone());
    }
    quota
}

/// What is used after the object was created, or why it is not.
fn created(quota: &Value, resource: &str, object: &Value) -> String {
    let measure = Measure::of("", resource).expect("it is measured");
    let change = Change { new: object, old: None, subresource: "" };
    match fit(std::slice::from_ref(quota), &measure, change, Timestamp::UNIX_EPOCH) {
        Ok(used) => used.first().map_or_else(|| "not charged".to_owned(), |(_, used)| amounts::shown(used)),
        Err(refusal) => refusal.sentence(),
    }
}

fn container(cpu: &str, memory: &str) -> Value {
    let amounts = json!({"cpu": cpu, "memory": memory});
    json!({"name": "c", "resources": {"requests": amounts, "limits": amounts}})
}

#[test]
fn pods() {
    const COMPUTE: &[(&str, &str)] =
        &[("requests.cpu", "4"), ("requests.memory", "4Gi"), ("limits.cpu", "8"), ("limits.memory", "8Gi")];
    const EXTENDED: &[(&str, &str)] =
        &[("requests.example.com/gpu", "2"), ("hugepages-2Mi", "8Mi"), ("requests.hugepages-2Mi", "8Mi")];
    let sidecar = |mut container: Value| {
        container["restartPolicy"] = json!("Always");
        container
    };
    let gpu = json!({"name": "c", "resources": {"requests": {"example.com/gpu": "1"}, "limits": {"example.com/gpu": "1"}}});
    let pages = json!({"name": "c", "resources": {"requests": {"hugepages-2Mi": "4Mi"}, "limits": {"hugepages-2Mi": "4Mi"}}});
    let rows = [
        (
            COMPUTE,
            json!({
                "containers": [container("100m", "64Mi"), container("200m", "64Mi")],
                "initContainers": [container("500m", "32Mi"), sidecar(container("50m", "100Mi")), container("400m", "10Mi")],
            }),
            "limits.cpu=500m,limits.memory=228Mi,requests.cpu=500m,requests.memory=228Mi",
        ),
        (
            COMPUTE,
            json!({"containers": [{"name": "c"}], "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "2"}}}),
            "limits.cpu=2,limits.memory=0,requests.cpu=1,requests.memory=1Gi",
        ),
        (
            COMPUTE,
            json!({"containers": [container("1", "1Gi")], "overhead": {"cpu": "250m", "memory": "120Mi"}}),
            "limits.cpu=1250m,limits.memory=1144Mi,requests.cpu=1250m,requests.memory=1144Mi",
        ),
        (
            COMPUTE,
            json!({"containers": [{"name": "b"}, {"name": "a", "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}}], "initContainers": [{"name": "z"}]}),
            "failed quota: q: must specify limits.cpu for: b,z; limits.memory for: a,b,z; requests.cpu for: b,z; requests.memory for: a,b,z",
        ),
        (
            COMPUTE,
            json!({"containers": [container("5", "9Gi")]}),
            "exceeded quota: q, requested: limits.memory=9Gi,requests.cpu=5,requests.memory=9Gi, used: limits.memory=0,requests.cpu=0,requests.memory=0, limited: limits.memory=8Gi,requests.cpu=4,requests.memory=4Gi",
        ),
        (
            EXTENDED,
            json!({"containers": [gpu]}),
            "hugepages-2Mi=0,requests.example.com/gpu=1,requests.hugepages-2Mi=0",
        ),
        (
            EXTENDED,
            json!({"containers": [pages]}),
            "hugepages-2Mi=4Mi,requests.example.com/gpu=0,requests.hugepages-2Mi=4Mi",
        ),
    ];
    for (hard, spec, want) in rows {
        assert_eq!(created(&quota(hard, Value::Null), "pods", &json!({"spec": spec})), want, "{spec}");
    }
}

#[test]
fn what_ended_or_should_be_gone_is_only_an_object() {
    let at = |text: &str| text.parse::<Timestamp>().expect("a time");
    let deleted = json!({"deletionTimestamp": "2026-01-01T00:00:30Z", "deletionGracePeriodSeconds": 30});
    for (pod, now, alive) in [
        (json!({"status": {"phase": "Running"}}), "2026-01-01T00:00:00Z", true),
        (json!({"status": {"phase": "Failed"}}), "2026-01-01T00:00:00Z", false),
        (json!({"status": {"phase": "Succeeded"}}), "2026-01-01T00:00:00Z", false),
        (json!({"metadata": deleted.clone()}), "2026-01-01T00:00:59Z", true),
        (json!({"metadata": deleted}), "2026-01-01T00:01:01Z", false),
    ] {
        let used = Measure::Pods.usage(&pod, at(now));
        assert_eq!((used.contains_key("pods"), used.contains_key("count/pods")), (alive, true), "{pod}");
    }
}

#[test]
fn scopes() {
    let plain = json!({"containers": [{"name": "c"}]});
    let asking = json!({"containers": [container("1", "1Gi")]});
    let ending = json!({"activeDeadlineSeconds": 5});
    let classy = json!({"priorityClassName": "high"});
    let near = |kind: &str, term: Value| {
        json!({"affinity": {kind: {
            "requiredDuringSchedulingIgnoredDuringExecution": [term.clone()],
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": term}],
        }}})
    };
    let select = |operator: &str, values: Value| json!({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": operator, "values": values}]}});
    let scope = |name: &str| json!({"scopes": [name]});
    for (scope, pod, counts) in [
        (scope("BestEffort"), &plain, true),
        (scope("BestEffort"), &asking, false),
        (scope("NotBestEffort"), &asking, true),
        (scope("Terminating"), &ending, true),
        (scope("Terminating"), &plain, false),
        (scope("NotTerminating"), &ending, false),
        (scope("VolumeAttributesClass"), &plain, false),
        (scope("CrossNamespacePodAffinity"), &near("podAffinity", json!({"namespaces": ["x"]})), true),
        (
            scope("CrossNamespacePodAffinity"),
            &near("podAntiAffinity", json!({"namespaceSelector": {}})),
            true,
        ),
        (scope("CrossNamespacePodAffinity"), &near("podAffinity", json!({})), false),
        (select("In", json!(["high"])), &classy, true),
        (select("In", json!(["low"])), &classy, false),
        (select("In", json!(["high"])), &plain, false),
        (select("NotIn", json!(["high"])), &classy, false),
        (select("NotIn", json!(["high"])), &plain, true),
        (select("Exists", json!([])), &classy, true),
        (select("DoesNotExist", json!([])), &classy, false),
        (select("DoesNotExist", json!([])), &plain, true),
    ] {
        let said = created(&quota(&[("pods", "1")], scope.clone()), "pods", &json!({"spec": pod}));
        assert_eq!(said == "pods=1", counts, "{scope} {pod} {said}");
    }
}

#[test]
fn services_and_claims() {
    let service = |spec: Value| {
        let mut spec = spec;
        spec["ports"] = json!([{"port": 80}, {"port": 81, "nodePort": 30000}]);
        json!({"spec": spec})
    };
    const SERVICES: &[(&str, &str)] =
        &[("services", "9"), ("services.loadbalancers", "9"), ("services.nodeports", "9")];
    for (spec, want) in [
        (json!({}), "services=1,services.loadbalancers=0,services.nodeports=0"),
        (json!({"type": "NodePort"}), "services=1,services.loadbalancers=0,services.nodeports=2"),
        (json!({"type": "LoadBalancer"}), "services=1,services.loadbalancers=1,services.nodeports=2"),
        (
            json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false}),
            "services=1,services.loadbalancers=1,services.nodeports=1",
        ),
    ] {
        assert_eq!(created(&quota(SERVICES, Value::Null), "services", &service(spec)), want);
    }
    const CLAIMS: &[(&str, &str)] = &[
        ("persistentvolumeclaims", "9"),
        ("requests.storage", "9Gi"),
        ("gold.storageclass.storage.k8s.io/requests.storage", "2Gi"),
    ];
    let claim = |size: &str, class: &str, status: Value| json!({"spec": {"resources": {"requests": {"storage": size}}, "storageClassName": class}, "status": status});
    for (claim, want) in [
        (
            claim("1Gi", "gold", Value::Null),
            "gold.storageclass.storage.k8s.io/requests.storage=1Gi,persistentvolumeclaims=1,requests.storage=1Gi",
        ),
        (
            claim("500m", "silver", Value::Null),
            "gold.storageclass.storage.k8s.io/requests.storage=0,persistentvolumeclaims=1,requests.storage=1",
        ),
        (
            claim("1Gi", "", json!({"allocatedResources": {"storage": "2Gi"}})),
            "gold.storageclass.storage.k8s.io/requests.storage=0,persistentvolumeclaims=1,requests.storage=2Gi",
        ),
        (
            claim("3Gi", "gold", Value::Null),
            "exceeded quota: q, requested: gold.storageclass.storage.k8s.io/requests.storage=3Gi, used: gold.storageclass.storage.k8s.io/requests.storage=0, limited: gold.storageclass.storage.k8s.io/requests.storage=2Gi",
        ),
    ] {
        assert_eq!(created(&quota(CLAIMS, Value::Null), "persistentvolumeclaims", &claim), want);
    }
}

#[test]
fn amounts_belong_to_resources() {
    for (name, want) in [
        ("pods", Some(("", "pods"))),
        ("limits.memory", Some(("", "pods"))),
        ("requests.example.com/gpu", Some(("", "pods"))),
        ("count/pods", Some(("", "pods"))),
        ("services.nodeports", Some(("", "services"))),
        ("requests.storage", Some(("", "persistentvolumeclaims"))),
        ("gold.storageclass.storage.k8s.io/persistentvolumeclaims", Some(("", "persistentvolumeclaims"))),
        ("secrets", Some(("", "secrets"))),
        ("count/widgets.example.com", Some(("example.com", "widgets"))),
        ("endpoints", None),
        ("example.com/gpu", None),
    ] {
        assert_eq!(usage::measured(name), want, "{name}");
    }
    assert_eq!(Measure::of("events.k8s.io", "events"), None);
}
