//! Warnings of Pods and templates, each in its place.

use apiserver_json::json;

use super::*;

const APPARMOR: &str = apparmor::ANNOTATION;

#[test]
fn names_are_hostnames() {
    let named = |name: &str| of_name(&json!({"metadata": {"name": name}}), "the Pod's hostname");
    assert!(named("a").is_empty());
    let want = "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]";
    assert_eq!(named("a.b"), [want]);
}

#[test]
fn each_has_its_place() {
    let pod = json!({"metadata": {"annotations": {"security.alpha.kubernetes.io/sysctls": "x"}}, "spec": {
        "nodeSelector": {"beta.kubernetes.io/os": "linux"},
        "imagePullSecrets": [{"name": "a"}, {"name": "a"}],
        "containers": [
            {"name": "a", "resources": {"requests": {"memory": "1500m"}}, "ports": [{"containerPort": 80, "protocol": "TCP", "name": "web"}],
             "env": [{"name": "X", "value": "1"}, {"name": "X", "value": "2"}, {"name": "X", "value": "$(X)3"}]},
            {"name": "b", "ports": [{"containerPort": 80, "protocol": "TCP", "name": "web"}]}]}});
    let template = "spec.template.spec.";
    let want = [
        format!("{template}nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead"),
        "spec.template.metadata.annotations[security.alpha.kubernetes.io/sysctls]: non-functional in v1.11+; use the \"sysctls\" field instead".to_owned(),
        format!("{template}imagePullSecrets[1].name: duplicate name \"a\""),
        format!("{template}containers[0].resources.requests[memory]: fractional byte value \"1500m\" is invalid, must be an integer"),
        format!("{template}containers[0].env[1]: hides previous definition of \"X\", which may be dropped when using apply"),
        format!("{template}containers[1].ports[0]: duplicate port definition with {template}containers[0].ports[0]"),
        format!("{template}containers[1].ports[0]: duplicate port name \"web\" with {template}containers[0].ports[0], services and probes that select ports by name will use {template}containers[0].ports[0]"),
    ];
    assert_eq!(warnings(&pod, "spec.template"), want);
    assert!(warnings(&json!({"spec": {"containers": [{"name": "a"}]}}), "").is_empty());
}

#[test]
fn older_ways_are_told() {
    let pod = json!({"metadata": {"annotations": {(format!("{APPARMOR}a")): "runtime/default", (format!("{APPARMOR}b")): "unconfined"}}, "spec": {
        "securityContext": {"appArmorProfile": {"type": "RuntimeDefault"}},
        "dnsConfig": {"nameservers": ["10.0.0.010"]},
        "hostAliases": [{"ip": "FD00::1"}],
        "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
            {"preference": {"matchExpressions": [{"key": "node-role.kubernetes.io/master", "values": ["a b"]}]}}]}},
        "volumes": [{"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {"resources": {"requests": {"storage": "1500m"}}}}}}],
        "containers": [{"name": "a"}, {"name": "b", "ports": [{"containerPort": 80, "protocol": "TCP", "hostIP": "10.0.0.1"}]}]}});
    let spec = "spec.template.spec";
    let term = format!(
        "{spec}.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[0]"
    );
    let told = warnings(&pod, "spec.template");
    for want in [
        format!(
            "{term}.key: node-role.kubernetes.io/master is use \"node-role.kubernetes.io/control-plane\" instead"
        ),
        format!(
            "{spec}.volumes[0].ephemeral.volumeClaimTemplate.spec.resources.requests[storage]: fractional byte value \"1500m\" is invalid, must be an integer"
        ),
        format!(
            "spec.template.metadata.annotations[{APPARMOR}b]: deprecated since v1.30; use the \"appArmorProfile\" field instead"
        ),
        format!(
            "{spec}.containers[1].ports[0]: hostIP set without hostPort: {{Name: HostPort:0 ContainerPort:80 Protocol:TCP HostIP:10.0.0.1}}"
        ),
        format!(
            "{spec}.dnsConfig.nameservers[0]: non-standard IP address \"10.0.0.010\" is invalid: use \"10.0.0.10\""
        ),
        format!(
            "{spec}.hostAliases[0].ip: IPv6 address \"FD00::1\" should be in RFC 5952 canonical format (\"fd00::1\")"
        ),
    ] {
        assert!(told.contains(&want), "{want}\n{told:#?}");
    }
    assert!(
        told.iter().any(|line| line.starts_with(&format!("{term}.values[0]: a b is invalid, a valid label"))),
        "{told:#?}"
    );
    assert_eq!(told.len(), 7, "{told:#?}");
}
