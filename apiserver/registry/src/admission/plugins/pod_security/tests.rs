//! Pods and what the standards find wrong with them, as kube-apiserver 1.36 says it.

use apiserver_json::{Map, Value, json};

use super::checks::Pod;
use super::{Level, Policy, Standard};

fn details(standard: Standard, spec: &Value) -> Option<String> {
    let none = Value::Null;
    standard.find(&Pod { metadata: &none, spec }).map(|(details, _)| details)
}

#[test]
fn pods_are_held_to_the_level_and_the_version() {
    let plain = json!({"containers": [{"name": "c", "image": "i"}]});
    let host = json!({"hostNetwork": true, "hostPID": true, "volumes": [{"name": "v", "hostPath": {"path": "/"}}],
        "containers": [{"name": "c", "ports": [{"hostPort": 80}, {"hostPort": 9}], "securityContext": {"privileged": true, "capabilities": {"add": ["SYS_ADMIN"]}}}]});
    let good = json!({"securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "c", "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}]});
    let baseline = Standard { level: Level::Baseline, minor: None };
    let restricted = Standard { level: Level::Restricted, minor: None };
    let old = Standard { level: Level::Restricted, minor: Some(7) };
    let rows: &[(Standard, &Value, Option<&str>)] = &[
        (baseline, &plain, None),
        (restricted, &good, None),
        (
            restricted,
            &plain,
            Some(
                "allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")",
            ),
        ),
        (
            old,
            &plain,
            Some("runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true)"),
        ),
        (
            baseline,
            &host,
            Some(
                "non-default capabilities (container \"c\" must not include \"SYS_ADMIN\" in securityContext.capabilities.add), host namespaces (hostNetwork=true, hostPID=true), hostPath volumes (volume \"v\"), hostPort (container \"c\" uses hostPorts 80, 9), privileged (container \"c\" must not set securityContext.privileged=true)",
            ),
        ),
    ];
    for (standard, spec, want) in rows {
        assert_eq!(details(*standard, spec).as_deref(), *want, "{standard} {spec}");
    }
}

#[test]
fn labels_are_a_policy() {
    let label = |mode: &str| format!("pod-security.kubernetes.io/{mode}");
    // Labels, what is enforced, what is warned of, and the labels that are wrong.
    type Row = (&'static [(&'static str, &'static str)], &'static str, &'static str, &'static [&'static str]);
    let rows: &[Row] = &[
        (&[], "privileged:latest", "privileged:latest", &[]),
        (&[("enforce", "baseline"), ("enforce-version", "v1.30")], "baseline:v1.30", "baseline:v1.30", &[]),
        (&[("enforce", "baseline"), ("warn", "restricted")], "baseline:latest", "restricted:latest", &[]),
        (
            &[("enforce", "x"), ("warn-version", "v1.01")],
            "restricted:latest",
            "privileged:latest",
            &["enforce", "warn-version"],
        ),
    ];
    for (labels, enforce, warn, wrong) in rows {
        let mut map = Map::new();
        for (mode, value) in *labels {
            map.insert(label(mode).into(), Value::from(*value));
        }
        let policy = Policy::of(&Value::Object(map));
        let errors: Vec<&str> = policy.errors.iter().map(|error| error.field.as_str()).collect();
        let wrong: Vec<String> =
            wrong.iter().map(|mode| format!("metadata.labels[{}]", label(mode))).collect();
        assert_eq!(errors, wrong, "{labels:?}");
        assert_eq!(
            (policy.enforce.to_string(), policy.warn.to_string()),
            (enforce.to_string(), warn.to_string())
        );
    }
}
