//! The admission plugin ResourceQuota on a registry over memory. What a quota says is used is written by hand: there is
//! no controller here.

mod common;

use apiserver_json::{Value, json};
use apiserver_meta::Status;
use apiserver_registry::{Call, Changed, Registry, ServiceRanges};

const NAMESPACE: &str = "team";

async fn create(registry: &Registry, group: &str, name: &str, object: Value) -> Result<Value, Status> {
    let catalogue = registry.catalogue();
    let resource = catalogue.get(group, "v1", name).expect("a built-in resource");
    let written = registry.create(&common::call(resource, NAMESPACE), object).await?;
    Ok(apiserver_json::from_slice(&written.bytes).expect("an object"))
}

async fn update(
    registry: &Registry,
    (name, subresource): (&str, &str),
    object: &str,
    change: impl Fn(&mut Value),
) -> Result<(), Status> {
    let catalogue = registry.catalogue();
    let resource = catalogue.get("", "v1", name).expect("a built-in resource");
    let call = Call { subresource, ..common::call(resource, NAMESPACE) };
    let changed = |live: Option<&Value>| {
        let mut next = live.cloned().unwrap_or_default();
        change(&mut next);
        Ok(Changed::Patched(next))
    };
    registry.update(&call, object, false, changed).await.map(drop)
}

async fn world(disabled: &[&str]) -> Registry {
    let disabled = [disabled, &["ServiceAccount"]].concat();
    let registry = common::registry(ServiceRanges::default(), &disabled);
    create(&registry, "", "namespaces", json!({"metadata": {"name": NAMESPACE}})).await.expect("a namespace");
    registry
}

/// A quota whose status says what its spec says, and that this is used.
async fn quota(registry: &Registry, name: &str, spec: Value, used: Value) {
    let hard = spec["hard"].clone();
    let quota = json!({"metadata": {"name": name}, "spec": spec});
    create(registry, "", "resourcequotas", quota).await.expect("a quota");
    let status = json!({"hard": hard, "used": used});
    update(registry, ("resourcequotas", "status"), name, |quota| quota["status"] = status.clone())
        .await
        .expect("its status");
}

fn used(registry: &Registry, name: &str) -> Value {
    let key = format!("/registry/core/resourcequotas/{NAMESPACE}/{name}");
    registry.cache().get(&key).expect("the quota").parse()["status"]["used"].clone()
}

fn pod(name: &str, resources: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i:1", "resources": resources}]}})
}

#[tokio::test]
async fn pods_are_charged_and_refused() {
    let registry = world(&[]).await;
    let hard = json!({"pods": "2", "requests.cpu": "1", "limits.memory": "1Gi"});
    quota(
        &registry,
        "q",
        json!({"hard": hard}),
        json!({"pods": "0", "requests.cpu": "0", "limits.memory": "0"}),
    )
    .await;
    let small = json!({"requests": {"cpu": "300m"}, "limits": {"memory": "256Mi"}});
    create(&registry, "", "pods", pod("a", small.clone())).await.expect("it fits");
    assert_eq!(used(&registry, "q"), json!({"pods": "1", "requests.cpu": "300m", "limits.memory": "256Mi"}));

    let unsaid = create(&registry, "", "pods", pod("b", json!({}))).await.expect_err("it says nothing");
    assert_eq!(
        unsaid.message,
        r#"pods "b" is forbidden: failed quota: q: must specify limits.memory for: c; requests.cpu for: c"#
    );
    let greedy = json!({"requests": {"cpu": "800m"}, "limits": {"memory": "1Gi"}});
    let refused = create(&registry, "", "pods", pod("b", greedy)).await.expect_err("too much");
    assert_eq!((refused.code, &*refused.reason), (403, "Forbidden"));
    assert_eq!(
        refused.message,
        r#"pods "b" is forbidden: exceeded quota: q, requested: limits.memory=1Gi,requests.cpu=800m, used: limits.memory=256Mi,requests.cpu=300m, limited: limits.memory=1Gi,requests.cpu=1"#
    );
    create(&registry, "", "pods", pod("b", small.clone())).await.expect("it fits");
    let refused = create(&registry, "", "pods", pod("c", small)).await.expect_err("one too many");
    assert_eq!(
        refused.message,
        r#"pods "c" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2"#
    );
}

#[tokio::test]
async fn a_dry_run_is_checked_and_not_charged() {
    let registry = world(&[]).await;
    quota(&registry, "q", json!({"hard": {"pods": "1"}}), json!({"pods": "0"})).await;
    let catalogue = registry.catalogue();
    let resource = catalogue.get("", "v1", "pods").expect("a built-in resource");
    let dry = Call { dry_run: true, ..common::call(resource, NAMESPACE) };
    registry.create(&dry, pod("a", json!({}))).await.expect("it would fit");
    assert_eq!(used(&registry, "q"), json!({"pods": "0"}));
    create(&registry, "", "pods", pod("a", json!({}))).await.expect("it fits");
    registry.create(&dry, pod("b", json!({}))).await.expect_err("it would not fit");
}

#[tokio::test]
async fn a_service_that_becomes_more_is_charged_for_that() {
    let registry = world(&[]).await;
    let hard = json!({"services": "3", "services.loadbalancers": "1", "services.nodeports": "2", "count/services": "9"});
    let none = json!({"services": "0", "services.loadbalancers": "0", "services.nodeports": "0", "count/services": "0"});
    quota(&registry, "q", json!({"hard": hard}), none).await;
    let service = |name: &str, kind: &str| json!({"metadata": {"name": name}, "spec": {"type": kind, "ports": [{"port": 80}]}});
    create(&registry, "", "services", service("a", "LoadBalancer")).await.expect("it fits");
    create(&registry, "", "services", service("b", "ClusterIP")).await.expect("it fits");
    let refused =
        update(&registry, ("services", ""), "b", |service| service["spec"]["type"] = "LoadBalancer".into())
            .await
            .expect_err("a second one");
    assert_eq!(
        refused.message,
        r#"services "b" is forbidden: exceeded quota: q, requested: services.loadbalancers=1, used: services.loadbalancers=1, limited: services.loadbalancers=1"#
    );
    update(&registry, ("services", ""), "b", |service| service["spec"]["type"] = "NodePort".into())
        .await
        .expect("a node port fits");
    assert_eq!(
        used(&registry, "q"),
        json!({"services": "2", "services.loadbalancers": "1", "services.nodeports": "2", "count/services": "2"})
    );
}

#[tokio::test]
async fn what_is_not_known_to_be_used_is_waited_for_then_refused() {
    let registry = world(&[]).await;
    quota(&registry, "q", json!({"hard": {"secrets": "1", "pods": "1"}}), json!({"pods": "0"})).await;
    let secret = |name: &str| json!({"metadata": {"name": name}});
    let refused = create(&registry, "", "secrets", secret("a")).await.expect_err("nobody counted secrets");
    assert_eq!(
        refused.message,
        r#"secrets "a" is forbidden: status unknown for quota: q, resources: secrets"#
    );
    let (created, ()) = tokio::join!(create(&registry, "", "secrets", secret("a")), async {
        tokio::task::yield_now().await;
        update(&registry, ("resourcequotas", "status"), "q", |quota| {
            quota["status"]["used"]["secrets"] = "0".into();
        })
        .await
        .expect("its status");
    });
    created.expect("it was counted while the creation waited");
    assert_eq!(used(&registry, "q")["secrets"], "1");
}

#[tokio::test]
async fn a_quota_without_a_status_and_a_plugin_that_is_off_limit_nothing() {
    let registry = world(&[]).await;
    let bare = json!({"metadata": {"name": "q"}, "spec": {"hard": {"pods": "0"}}});
    create(&registry, "", "resourcequotas", bare).await.expect("a quota");
    create(&registry, "", "pods", pod("a", json!({}))).await.expect("nobody counts");
    let registry = world(&["ResourceQuota"]).await;
    quota(&registry, "q", json!({"hard": {"pods": "0"}}), json!({"pods": "0"})).await;
    create(&registry, "", "pods", pod("a", json!({}))).await.expect("the plugin is off");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_creations_never_exceed_a_quota() {
    let registry = world(&[]).await;
    quota(&registry, "q", json!({"hard": {"configmaps": "10"}}), json!({"configmaps": "0"})).await;
    quota(&registry, "r", json!({"hard": {"count/configmaps": "7"}}), json!({"count/configmaps": "0"})).await;
    let tries = (0..40).map(|i| {
        let registry = registry.clone();
        tokio::spawn(async move {
            if i % 4 == 0 {
                // Somebody else writes the quota all the while.
                let note =
                    |quota: &mut Value| quota["metadata"]["annotations"] = json!({"note": i.to_string()});
                update(&registry, ("resourcequotas", ""), "q", note).await.expect("a note");
            }
            let map = json!({"metadata": {"name": format!("m{i}")}});
            create(&registry, "", "configmaps", map).await.is_ok()
        })
    });
    let mut created = 0;
    for outcome in futures::future::join_all(tries).await {
        created += usize::from(outcome.expect("no panic"));
    }
    assert_eq!(created, 7);
    assert_eq!(used(&registry, "q"), json!({"configmaps": "7"}));
    assert_eq!(used(&registry, "r"), json!({"count/configmaps": "7"}));
}
