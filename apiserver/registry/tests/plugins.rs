//! Upstream's default admission plugins, on a registry over memory.

mod common;

use apiserver_json::{Value, json};
use apiserver_registry::{Call, Changed, Operation, Registry, ServiceRanges};

const NAMESPACE: &str = "team";

async fn create(registry: &Registry, group: &str, name: &str, object: Value) -> Result<Value, String> {
    let catalogue = registry.catalogue();
    let resource = catalogue.get(group, "v1", name).expect("a built-in resource");
    let written =
        registry.create(&common::call(resource, NAMESPACE), object).await.map_err(|status| status.message)?;
    Ok(apiserver_json::from_slice(&written.bytes).expect("an object"))
}

/// A namespace, and a default account that mounts no token.
async fn world(disabled: &[&str]) -> Registry {
    let registry = common::registry(ServiceRanges::default(), disabled);
    create(&registry, "", "namespaces", json!({"metadata": {"name": NAMESPACE}})).await.expect("a namespace");
    registry
}

async fn account(registry: &Registry, extra: Value) {
    let mut account = json!({"metadata": {"name": "default"}});
    if let (Some(account), Some(extra)) = (account.as_object_mut(), extra.as_object()) {
        account.extend(extra.clone());
    }
    create(registry, "", "serviceaccounts", account).await.expect("an account");
}

fn pod(extra: Value) -> Value {
    let mut pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}});
    if let (Some(spec), Some(extra)) = (pod["spec"].as_object_mut(), extra.as_object()) {
        spec.extend(extra.clone());
    }
    pod
}

#[tokio::test]
async fn a_pod_gets_its_accounts_token_and_secrets() {
    let registry = world(&[]).await;
    account(&registry, json!({"imagePullSecrets": [{"name": "pull"}]})).await;
    let created = create(&registry, "", "pods", pod(json!({}))).await.expect("a pod");
    let spec = &created["spec"];
    assert_eq!(spec["serviceAccountName"], "default");
    assert_eq!(spec["serviceAccount"], "default");
    assert_eq!(spec["imagePullSecrets"], json!([{"name": "pull"}]));
    let volume = &spec["volumes"][0];
    assert!(volume["name"].as_str().is_some_and(|name| name.starts_with("kube-api-access-")), "{volume}");
    assert_eq!(volume["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"], 3607);
    let mount = &spec["containers"][0]["volumeMounts"][0];
    assert_eq!(mount["mountPath"], "/var/run/secrets/kubernetes.io/serviceaccount");
    assert_eq!(mount["name"], volume["name"]);
    assert_eq!((&spec["priority"], &spec["preemptionPolicy"]), (&json!(0), &json!("PreemptLowerPriority")));
}

#[tokio::test]
async fn a_pod_whose_account_does_not_exist_is_refused() {
    let registry = world(&[]).await;
    let refused = create(&registry, "", "pods", pod(json!({"serviceAccountName": "nobody"}))).await;
    let why = r#"pods "p" is forbidden: error looking up service account team/nobody: serviceaccount "nobody" not found"#;
    assert_eq!(refused.expect_err("no such account"), why);
    let registry = world(&["ServiceAccount"]).await;
    let created = create(&registry, "", "pods", pod(json!({}))).await.expect("the plugin is off");
    assert!(created["spec"].get("serviceAccountName").is_none());
}

#[tokio::test]
async fn a_pod_created_with_its_namespace_waits_for_the_default_account() {
    let registry = world(&[]).await;
    let (created, ()) = tokio::join!(create(&registry, "", "pods", pod(json!({}))), async {
        tokio::task::yield_now().await;
        account(&registry, json!({"automountServiceAccountToken": false})).await;
    });
    assert!(created.expect("a pod")["spec"].get("volumes").is_none());
}

#[tokio::test]
async fn classes_become_numbers() {
    let registry = world(&["ServiceAccount"]).await;
    let class =
        |name: &str, default: bool| json!({"metadata": {"name": name}, "value": 7, "globalDefault": default});
    create(&registry, "scheduling.k8s.io", "priorityclasses", class("seven", false)).await.expect("a class");
    let mut named = pod(json!({"priorityClassName": "seven"}));
    let created = create(&registry, "", "pods", named.clone()).await.expect("a pod");
    assert_eq!(created["spec"]["priority"], 7);
    named["spec"]["priority"] = json!(8);
    let refused = create(&registry, "", "pods", named).await.expect_err("another number");
    assert!(refused.contains("the integer value of priority (8) must not be provided"), "{refused}");
    let refused = create(&registry, "", "pods", pod(json!({"priorityClassName": "none"}))).await;
    assert_eq!(
        refused.expect_err("no class"),
        r#"pods "p" is forbidden: no PriorityClass with name none was found"#
    );
    create(&registry, "scheduling.k8s.io", "priorityclasses", class("usual", true)).await.expect("a default");
    let refused = create(&registry, "scheduling.k8s.io", "priorityclasses", class("other", true)).await;
    let why = r#"priorityclasses.scheduling.k8s.io "other" is forbidden: PriorityClass usual is already marked as default. Only one default can exist"#;
    assert_eq!(refused.expect_err("a second default"), why);
}

#[tokio::test]
async fn where_nobody_asks_for_namespaces_there_need_be_none() {
    for (disabled, made) in
        [(&[][..], Some(r#"namespaces "team" not found"#)), (&["NamespaceLifecycle"], None)]
    {
        let registry = common::registry(ServiceRanges::default(), disabled);
        let created = create(&registry, "", "configmaps", json!({"metadata": {"name": "c"}})).await;
        assert_eq!(created.err().as_deref(), made, "{disabled:?}");
    }
}

#[tokio::test]
async fn a_plugin_that_is_off_changes_no_update_either() {
    for (disabled, tolerated) in
        [(vec!["ServiceAccount"], 2), (vec!["ServiceAccount", "DefaultTolerationSeconds"], 0)]
    {
        let registry = world(&disabled).await;
        create(&registry, "", "pods", pod(json!({}))).await.expect("a pod");
        let catalogue = registry.catalogue();
        let resource = catalogue.get("", "v1", "pods").expect("a built-in resource");
        let label = |live: Option<&Value>| {
            let mut next = live.expect("it is there").clone();
            next["metadata"]["labels"] = json!({"a": "b"});
            // What admission added is gone from what is sent.
            let spec = next["spec"].as_object_mut().expect("a spec");
            for added in ["tolerations", "priority", "preemptionPolicy"] {
                spec.remove(added);
            }
            Ok(Changed::Object(next))
        };
        let updated = registry.update(&common::call(resource, NAMESPACE), "p", false, label).await;
        let updated: Value =
            apiserver_json::from_slice(&updated.expect("updated").0.bytes).expect("an object");
        let found = updated["spec"].get("tolerations").and_then(Value::as_array).map_or(0, <[Value]>::len);
        assert_eq!(found, tolerated, "{disabled:?}");
        assert_eq!(updated["spec"]["priority"], json!(0), "{disabled:?}");
        assert_eq!(updated["spec"]["preemptionPolicy"], json!("PreemptLowerPriority"), "{disabled:?}");
    }
}

#[tokio::test]
async fn limit_ranges_fill_and_refuse() {
    let registry = world(&["ServiceAccount"]).await;
    let limit = json!({"type": "Container", "max": {"cpu": "1"}, "min": {"cpu": "100m"}, "defaultRequest": {"cpu": "200m"}});
    let range = json!({"metadata": {"name": "r"}, "spec": {"limits": [limit]}});
    let created = create(&registry, "", "limitranges", range).await.expect("a range");
    assert_eq!(
        created["spec"]["limits"][0]["default"],
        json!({"cpu": "1"}),
        "the maximum is the default limit"
    );
    let created = create(&registry, "", "pods", pod(json!({}))).await.expect("a pod");
    assert_eq!(
        created["metadata"]["annotations"]["kubernetes.io/limit-ranger"],
        "LimitRanger plugin set: cpu request for container c; cpu limit for container c"
    );
    let resources = &created["spec"]["containers"][0]["resources"];
    assert_eq!(resources, &json!({"limits": {"cpu": "1"}, "requests": {"cpu": "200m"}}));
    let mut greedy = pod(json!({}));
    greedy["metadata"]["name"] = "greedy".into();
    greedy.pointer_mut("/spec/containers/0").unwrap()["resources"] =
        json!({"limits": {"cpu": "2"}, "requests": {"cpu": "50m"}});
    let refused = create(&registry, "", "pods", greedy).await.expect_err("too much and too little");
    assert_eq!(
        refused,
        r#"pods "greedy" is forbidden: [minimum cpu usage per Container is 100m, but request is 50m, maximum cpu usage per Container is 1, but limit is 2]"#
    );
}

#[tokio::test]
async fn an_ingress_without_a_class_gets_the_default_one() {
    let registry = world(&[]).await;
    let ingress = |name: &str| json!({"metadata": {"name": name}, "spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}});
    let created = create(&registry, "networking.k8s.io", "ingresses", ingress("before")).await.expect("one");
    assert!(created["spec"].get("ingressClassName").is_none());
    let class = json!({
        "metadata": {"name": "alb", "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}},
        "spec": {"controller": "ingress.k8s.aws/alb"},
    });
    create(&registry, "networking.k8s.io", "ingressclasses", class).await.expect("a class");
    let created = create(&registry, "networking.k8s.io", "ingresses", ingress("after")).await.expect("one");
    assert_eq!(created["spec"]["ingressClassName"], "alb");
}

#[tokio::test]
async fn a_pod_costs_what_its_runtime_class_says() {
    let registry = world(&["ServiceAccount"]).await;
    let class = json!({
        "metadata": {"name": "vm"}, "handler": "h", "overhead": {"podFixed": {"cpu": "1"}},
        "scheduling": {"nodeSelector": {"vm": "yes"}, "tolerations": [{"key": "vm", "operator": "Exists"}]},
    });
    create(&registry, "node.k8s.io", "runtimeclasses", class).await.expect("a class");
    let made =
        create(&registry, "", "pods", pod(json!({"runtimeClassName": "vm", "nodeSelector": {"a": "b"}})))
            .await;
    let spec = &made.expect("a pod")["spec"];
    assert_eq!(spec["overhead"], json!({"cpu": "1"}));
    assert_eq!(spec["nodeSelector"], json!({"a": "b", "vm": "yes"}));
    assert!(
        spec["tolerations"].as_array().is_some_and(|list| list.iter().any(|one| one["key"] == "vm")),
        "{spec}"
    );
    for (extra, why) in [
        (json!({"runtimeClassName": "x"}), "pod rejected: RuntimeClass \"x\" not found"),
        (
            json!({"overhead": {"cpu": "1"}}),
            "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
        ),
        (
            json!({"runtimeClassName": "vm", "overhead": {"cpu": "2"}}),
            "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
        ),
        (
            json!({"runtimeClassName": "vm", "nodeSelector": {"vm": "no"}}),
            "conflict: runtimeClass.scheduling.nodeSelector[vm] = yes; pod.spec.nodeSelector[vm] = no",
        ),
    ] {
        let got = create(&registry, "", "pods", pod(extra)).await.expect_err(why);
        assert_eq!(got, format!("pods \"p\" is forbidden: {why}"));
    }
}

#[tokio::test]
async fn a_claim_without_a_class_gets_the_default_one() {
    let registry = world(&[]).await;
    let claim = |extra: Value| {
        let resources = json!({"requests": {"storage": "1Gi"}});
        let mut claim = json!({"metadata": {"generateName": "c"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": resources}});
        if let (Some(spec), Some(extra)) = (claim["spec"].as_object_mut(), extra.as_object()) {
            spec.extend(extra.clone());
        }
        claim
    };
    let class = |name: &str, default: &str| {
        let annotations = json!({"storageclass.kubernetes.io/is-default-class": default});
        json!({"metadata": {"name": name, "annotations": annotations}, "provisioner": "a.b/c"})
    };
    let none = create(&registry, "", "persistentvolumeclaims", claim(json!({}))).await.expect("a claim");
    assert_eq!(none["spec"]["storageClassName"], Value::Null);
    for (name, default) in [("other", "false"), ("usual", "true")] {
        create(&registry, "storage.k8s.io", "storageclasses", class(name, default)).await.expect("a class");
    }
    for (extra, want) in [
        (json!({}), "usual"),
        (json!({"storageClassName": "other"}), "other"),
        (json!({"storageClassName": ""}), ""),
    ] {
        let made = create(&registry, "", "persistentvolumeclaims", claim(extra)).await.expect("a claim");
        assert_eq!(made["spec"]["storageClassName"], want);
    }
}

#[tokio::test]
async fn a_pod_says_in_which_zone_its_node_is() {
    let registry = world(&["ServiceAccount"]).await;
    let labels =
        json!({"topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r", "other": "x"});
    create(&registry, "", "nodes", json!({"metadata": {"name": "n", "labels": labels}}))
        .await
        .expect("a node");
    let own = json!({"topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r"});
    for (node, want) in [("n", own.clone()), ("nope", Value::Null)] {
        let mut pod = pod(json!({"nodeName": node}));
        pod["metadata"] = json!({"name": format!("on-{node}")});
        let created = create(&registry, "", "pods", pod).await.expect("a pod");
        assert_eq!(created["metadata"]["labels"], want, "{node}");
    }
    let catalogue = registry.catalogue();
    for (resource, subresource, kind, want) in [
        ("pods", "binding", "Node", own),
        ("pods", "binding", "", Value::Null),
        ("bindings", "", "Node", Value::Null),
    ] {
        let resource = catalogue.get("", "v1", resource).expect("a built-in resource");
        let call = Call { subresource, ..common::call(resource, NAMESPACE) };
        let binding =
            json!({"metadata": {"name": "p", "namespace": NAMESPACE}, "target": {"kind": kind, "name": "n"}});
        let admitted =
            registry.admit_request(&call, "p", Operation::Create, binding).await.expect("it is let through");
        assert_eq!(admitted["metadata"]["labels"], want, "{subresource} {kind}");
    }
}

#[tokio::test]
async fn a_service_without_a_name_gets_no_address() {
    let registry = world(&[]).await;
    let ports = json!([{"port": 80}]);
    for (spec, want) in [
        (json!({"ports": ports}), "failed to allocate IP: IPAddress.networking.k8s.io \""),
        (json!({"ports": ports, "clusterIP": "None"}), "metadata.name: Required value"),
        (json!({"type": "ExternalName", "externalName": "a.b"}), "metadata.name: Required value"),
    ] {
        let refused =
            create(&registry, "", "services", json!({"metadata": {}, "spec": spec})).await.unwrap_err();
        assert!(refused.contains(want), "{refused}");
    }
}

#[tokio::test]
async fn a_new_node_takes_no_pods_yet() {
    for (disabled, want) in [
        (&[][..], json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}])),
        (&["TaintNodesByCondition"], Value::Null),
    ] {
        let registry = common::registry(ServiceRanges::default(), disabled);
        let node = create(&registry, "", "nodes", json!({"metadata": {"name": "n"}})).await.expect("a node");
        assert_eq!(node["spec"]["taints"], want, "{disabled:?}");
    }
}
