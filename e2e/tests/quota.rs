//! ResourceQuotas with kubectl: what is used is told, what does not fit is refused, what goes makes room.

use std::process::Output;

use e2e::{Instance, stderr, stdout, wait_for};

fn used(instance: &Instance, quota: &str) -> String {
    instance.kubectl_ok(&["get", "quota", quota, "-o", "jsonpath={.status.used}"])
}

fn wait_for_use(instance: &Instance, quota: &str, want: &str) {
    wait_for(&format!("quota {quota} to use {want}"), || used(instance, quota) == want);
}

fn refused(output: &Output, why: &str) {
    assert!(!output.status.success(), "{}", stdout(output));
    assert!(stderr(output).contains(why), "{}", stderr(output));
}

fn pod(name: &str, resources: &str) -> String {
    format!(
        "---\n{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{containers: [{{name: c, image: nginx, resources: {resources}}}]}}}}"
    )
}

#[test]
fn pods_are_limited_and_make_room_when_they_go_or_end() {
    let instance = Instance::up(&["--nodes", "1"]);
    let hard = "--hard=pods=2,requests.cpu=1,limits.cpu=2,count/pods=4";
    instance.kubectl_ok(&["create", "quota", "team", hard]);
    let none = r#"{"count/pods":"0","limits.cpu":"0","pods":"0","requests.cpu":"0"}"#;
    wait_for_use(&instance, "team", none);

    let create =
        |name: &str, resources: &str| instance.kubectl_with(&["create", "-f", "-"], &pod(name, resources));
    refused(
        &create("a", "{requests: {cpu: 100m}}"),
        "pods \"a\" is forbidden: failed quota: team: must specify limits.cpu for: c",
    );
    refused(
        &create("a", "{limits: {cpu: 1500m}}"),
        "pods \"a\" is forbidden: exceeded quota: team, requested: requests.cpu=1500m, used: requests.cpu=0, limited: requests.cpu=1",
    );
    for name in ["a", "b"] {
        let created = create(name, "{requests: {cpu: 250m}, limits: {cpu: 500m}}");
        assert!(created.status.success(), "{}", stderr(&created));
    }
    let both = r#"{"count/pods":"2","limits.cpu":"1","pods":"2","requests.cpu":"500m"}"#;
    assert_eq!(used(&instance, "team"), both, "a creation is charged when it is answered");
    refused(
        &create("c", "{requests: {cpu: 250m}, limits: {cpu: 500m}}"),
        "pods \"c\" is forbidden: exceeded quota: team, requested: pods=1, used: pods=2, limited: pods=2",
    );

    let shown = instance.kubectl_ok(&["get", "quota", "team"]);
    assert!(shown.contains("count/pods: 2/4, pods: 2/2, requests.cpu: 500m/1   limits.cpu: 1/2"), "{shown}");
    let described = instance.kubectl_ok(&["describe", "quota", "team"]);
    for line in ["Resource      Used  Hard", "limits.cpu    1     2", "requests.cpu  500m  1"] {
        assert!(described.contains(line), "{described}");
    }

    instance.kubectl_ok(&["delete", "pod", "b", "--grace-period=0", "--force"]);
    wait_for_use(
        &instance,
        "team",
        r#"{"count/pods":"1","limits.cpu":"500m","pods":"1","requests.cpu":"250m"}"#,
    );
    let log = instance.log();
    assert!(log.contains("controller=\"resourcequota\"") && log.contains("pods 2 -> 1"), "{log}");

    // A Pod that ended is an object still, and uses nothing.
    let ends = "---\n{apiVersion: v1, kind: Pod, metadata: {name: once}, spec: {restartPolicy: Never, containers: [{name: c, image: busybox, command: [\"true\"], resources: {limits: {cpu: 100m}}}]}}";
    instance.apply(ends);
    wait_for_use(
        &instance,
        "team",
        r#"{"count/pods":"2","limits.cpu":"500m","pods":"1","requests.cpu":"250m"}"#,
    );

    // What is limited may change, and so may what is counted.
    instance.kubectl_ok(&[
        "patch",
        "quota",
        "team",
        "--type=json",
        "-p",
        r#"[{"op": "replace", "path": "/spec/hard", "value": {"pods": "1", "memory": "1Gi"}}]"#,
    ]);
    wait_for_use(&instance, "team", r#"{"memory":"0","pods":"1"}"#);
}

#[test]
fn objects_of_every_kind_are_counted() {
    let instance = Instance::up(&["--nodes", "1"]);
    let hard = "--hard=configmaps=3,count/deployments.apps=1,count/widgets.example.com=2,services.loadbalancers=1,services=5";
    instance.kubectl_ok(&["create", "quota", "things", hard]);
    // kube-root-ca.crt is one, and so is the Service kubernetes.
    let none =
        r#"{"configmaps":"1","count/deployments.apps":"0","services":"1","services.loadbalancers":"0"}"#;
    wait_for_use(&instance, "things", none);

    instance.apply(
        "---\n{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: widgets.example.com}, \
         spec: {group: example.com, scope: Namespaced, names: {plural: widgets, singular: widget, kind: Widget}, \
         versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]}}",
    );
    instance.kubectl_ok(&["wait", "--for=condition=Established", "crd/widgets.example.com"]);
    let widget = |name: &str| {
        let widget = format!("---\n{{apiVersion: example.com/v1, kind: Widget, metadata: {{name: {name}}}}}");
        instance.kubectl_with(&["create", "-f", "-"], &widget)
    };
    // The quota learns of the kind while the first one waits.
    for name in ["a", "b"] {
        let created = widget(name);
        assert!(created.status.success(), "{}", stderr(&created));
    }
    refused(
        &widget("c"),
        "widgets.example.com \"c\" is forbidden: exceeded quota: things, requested: count/widgets.example.com=1, used: count/widgets.example.com=2, limited: count/widgets.example.com=2",
    );
    instance.kubectl_ok(&["delete", "widget", "a"]);
    wait_for("room for a widget", || widget("c").status.success());

    for name in ["one", "two"] {
        instance.kubectl_ok(&["create", "configmap", name]);
    }
    refused(
        &instance.kubectl(&["create", "configmap", "three"]),
        "exceeded quota: things, requested: configmaps=1, used: configmaps=3, limited: configmaps=3",
    );
    instance.kubectl_ok(&["create", "service", "loadbalancer", "a", "--tcp=80"]);
    refused(
        &instance.kubectl(&["create", "service", "loadbalancer", "b", "--tcp=80"]),
        "exceeded quota: things, requested: services.loadbalancers=1, used: services.loadbalancers=1, limited: services.loadbalancers=1",
    );
    instance.kubectl_ok(&["patch", "service", "a", "-p", r#"{"spec": {"type": "ClusterIP"}}"#]);
    wait_for("the load balancer's room", || {
        used(&instance, "things").contains(r#""services":"2","services.loadbalancers":"0""#)
    });
    instance.kubectl_ok(&["create", "deployment", "web", "--image=nginx", "--replicas=0"]);
    refused(
        &instance.kubectl(&["create", "deployment", "web2", "--image=nginx", "--replicas=0"]),
        "deployments.apps \"web2\" is forbidden: exceeded quota: things",
    );
}

#[test]
fn what_is_used_is_right_after_a_rush_and_a_crash() {
    let instance = Instance::up(&["--nodes", "1"]);
    instance.kubectl_ok(&["create", "quota", "rush", "--hard=configmaps=9"]);
    wait_for_use(&instance, "rush", r#"{"configmaps":"1"}"#);
    let created = std::thread::scope(|scope| {
        let names: Vec<String> = (0..20).map(|i| format!("m{i}")).collect();
        let tries: Vec<_> = names
            .into_iter()
            .map(|name| {
                scope.spawn(|| instance.kubectl(&["create", "configmap", &{ name }]).status.success())
            })
            .collect();
        tries.into_iter().filter_map(|one| one.join().ok()).filter(|created| *created).count()
    });
    assert_eq!(created, 8);
    assert_eq!(instance.kubectl_ok(&["get", "configmaps", "-o", "name"]).lines().count(), 9);
    assert_eq!(used(&instance, "rush"), r#"{"configmaps":"9"}"#);

    let instance = Instance::up_in(instance.kill(), &["--nodes", "1"]);
    assert_eq!(used(&instance, "rush"), r#"{"configmaps":"9"}"#);
    refused(&instance.kubectl(&["create", "configmap", "late"]), "exceeded quota: rush");
    let gone = instance.kubectl_ok(&["get", "configmaps", "-o", "name"]);
    let gone: Vec<&str> = gone.lines().filter(|name| name.starts_with("configmap/m")).take(3).collect();
    instance.kubectl_ok(&[&["delete"], gone.as_slice()].concat());
    wait_for_use(&instance, "rush", r#"{"configmaps":"6"}"#);
    instance.kubectl_ok(&["create", "configmap", "late"]);
}
