//! Admission webhooks on a registry over memory; a function stands for the network.

mod common;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use apiserver_json::{Value, json};
use apiserver_registry::{
    Call, Changed, DeleteOptions, Operation, Registry, Requester, ServiceRanges, Warnings, WebhookAddress,
    WebhookCaller, WebhookError, WebhookTarget,
};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;

const NAMESPACE: &str = "team";

type Answer = Box<dyn Fn(&Value) -> Result<Value, String> + Send + Sync>;

/// Answers by the path of a URL, and keeps what was asked.
#[derive(Default)]
struct Hooks {
    answers: Mutex<BTreeMap<String, Arc<Answer>>>,
    asked: Mutex<Vec<(String, Value)>>,
}

impl Hooks {
    fn on(&self, path: &str, answer: impl Fn(&Value) -> Result<Value, String> + Send + Sync + 'static) {
        self.answers.lock().expect("no panic").insert(path.to_owned(), Arc::new(Box::new(answer)));
    }

    /// The requests since the last look, as path and request.
    fn asked(&self) -> Vec<(String, Value)> {
        std::mem::take(&mut *self.asked.lock().expect("no panic"))
    }

    fn paths(&self) -> Vec<String> {
        self.asked().into_iter().map(|(path, _)| path).collect()
    }
}

impl WebhookCaller for Hooks {
    fn call<'a>(
        &'a self,
        target: &'a WebhookTarget,
        body: Bytes,
        _: Duration,
    ) -> BoxFuture<'a, Result<Bytes, WebhookError>> {
        let review: Value = apiserver_json::from_slice(&body).expect("a review is JSON");
        let path = match &target.address {
            WebhookAddress::Url(url) => url.rsplit('/').next().unwrap_or("").to_owned(),
            WebhookAddress::Service { name, .. } => name.clone(),
        };
        let request = review["request"].clone();
        self.asked.lock().expect("no panic").push((path.clone(), request.clone()));
        let answer = self.answers.lock().expect("no panic").get(&path).cloned();
        async move {
            let Some(answer) = answer else {
                return Err(WebhookError::Call("nobody is there".to_owned()));
            };
            let mut response = answer(&request).map_err(WebhookError::Call)?;
            if response.get("uid").is_none() {
                response["uid"] = request["uid"].clone();
            }
            let review =
                json!({"apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": response});
            Ok(review.to_string().into())
        }
        .boxed()
    }
}

fn allow(_: &Value) -> Result<Value, String> {
    Ok(json!({"allowed": true}))
}

fn patch(operations: &Value) -> Value {
    let patch = apiserver_meta::base64::encode(operations.to_string().as_bytes());
    json!({"allowed": true, "patchType": "JSONPatch", "patch": patch})
}

fn label(key: &str, value: &str) -> Value {
    patch(&json!([{"op": "add", "path": format!("/metadata/labels/{key}"), "value": value}]))
}

struct World {
    registry: Registry,
    hooks: Arc<Hooks>,
    warnings: Warnings,
}

impl World {
    async fn new(disabled: &[&str]) -> Self {
        let registry = common::registry(ServiceRanges::default(), &[disabled, &["ServiceAccount"]].concat());
        let hooks = Arc::new(Hooks::default());
        registry.call_webhooks_through(hooks.clone());
        let world = Self { registry, hooks, warnings: Warnings::default() };
        world.create("", "namespaces", json!({"metadata": {"name": NAMESPACE, "labels": {"kubernetes.io/metadata.name": NAMESPACE}}})).await.expect("a namespace");
        world
    }

    /// What a call does with a resource, as somebody who is told of warnings.
    async fn with<T>(&self, group: &str, name: &str, act: impl AsyncFnOnce(Call<'_>) -> T) -> T {
        let catalogue = self.registry.catalogue();
        let resource = catalogue
            .get(group, if name == "horizontalpodautoscalers" { "v2" } else { "v1" }, name)
            .expect("a built-in resource");
        let requester = Requester { name: "jane", warnings: Some(&self.warnings), ..Requester::default() };
        act(Call { requester, ..common::call(resource, NAMESPACE) }).await
    }

    async fn create(&self, group: &str, name: &str, object: Value) -> Result<Value, String> {
        let written = self
            .with(group, name, async |call| self.registry.create(&call, decoded(&call, object)).await)
            .await
            .map_err(|status| format!("{} {}", status.code, status.message))?;
        Ok(apiserver_json::from_slice(&written.bytes).expect("an object"))
    }

    async fn configure(&self, kind: &str, name: &str, webhooks: Value) {
        let plural = if kind == "MutatingWebhookConfiguration" {
            "mutatingwebhookconfigurations"
        } else {
            "validatingwebhookconfigurations"
        };
        let configuration = json!({"metadata": {"name": name}, "webhooks": webhooks});
        self.create("admissionregistration.k8s.io", plural, configuration).await.expect("a configuration");
    }

    async fn mutate(&self, name: &str, webhooks: Value) {
        self.configure("MutatingWebhookConfiguration", name, webhooks).await;
    }

    async fn validate(&self, name: &str, webhooks: Value) {
        self.configure("ValidatingWebhookConfiguration", name, webhooks).await;
    }
}

fn decoded(call: &Call<'_>, mut object: Value) -> Value {
    object["apiVersion"] = call.resource.api_version().into();
    object["kind"] = call.resource.kind.clone().into();
    let schema = call.resource.schema().expect("a schema");
    apiserver_schema::decode(&schema, &mut object, apiserver_schema::Decode::Json).expect("it is decoded");
    object
}

fn hook(path: &str, extra: Value) -> Value {
    let mut hook = json!({
        "name": format!("{path}.example.com"),
        "clientConfig": {"url": format!("https://hooks.example.com/{path}")},
        "rules": [{"operations": ["CREATE", "UPDATE", "DELETE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    });
    if let (Some(hook), Value::Object(extra)) = (hook.as_object_mut(), extra) {
        hook.extend(extra);
    }
    hook
}

fn config_map(name: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"a": "b"}}, "data": {"k": "v"}})
}

#[tokio::test]
async fn a_review_says_what_is_asked_and_a_patch_is_applied() {
    let world = World::new(&[]).await;
    world.mutate("m", json!([hook("m", json!({}))])).await;
    world.hooks.on("m", |_| {
        let mut answer = label("seen", "yes");
        answer["warnings"] = json!(["look out"]);
        Ok(answer)
    });
    let created = world.create("", "configmaps", config_map("c")).await.expect("it is let through");
    assert_eq!(created["metadata"]["labels"], json!({"a": "b", "seen": "yes"}));
    assert_eq!(world.warnings.take(), ["look out"]);
    let asked = world.hooks.asked();
    let (_, request) = asked.first().expect("one request");
    let of = json!({"group": "", "version": "v1", "kind": "ConfigMap"});
    assert_eq!((&request["kind"], &request["requestKind"]), (&of, &of));
    assert_eq!(request["resource"], json!({"group": "", "version": "v1", "resource": "configmaps"}));
    assert_eq!(
        (&request["name"], &request["namespace"], &request["operation"]),
        (&json!("c"), &json!(NAMESPACE), &json!("CREATE"))
    );
    assert_eq!((&request["userInfo"], &request["dryRun"]), (&json!({"username": "jane"}), &json!(false)));
    assert_eq!(request["options"], json!({"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"}));
    assert!(request["oldObject"].is_null() && request.get("subResource").is_none());
    assert_eq!(request["object"]["metadata"]["namespace"], NAMESPACE);
    assert!(request["object"]["metadata"].get("uid").is_none(), "it has none before it is created");
    // Nobody owns what a webhook set.
    let owned = created["metadata"]["managedFields"][0]["fieldsV1"]["f:metadata"]["f:labels"].clone();
    assert_eq!(owned, json!({".": {}, "f:a": {}}));
}

#[tokio::test]
async fn denials_and_failures_are_told_as_upstream_tells_them() {
    let world = World::new(&[]).await;
    let ignored = json!({"failurePolicy": "Ignore"});
    world.validate("v", json!([hook("v", json!({})), hook("w", ignored)])).await;
    world.hooks.on("v", |_| Ok(json!({"allowed": false, "status": {"message": "no", "code": 403, "reason": "Forbidden"}, "warnings": ["told"]})));
    let refused = world.create("", "configmaps", config_map("c")).await.expect_err("it is denied");
    assert_eq!(refused, r#"403 admission webhook "v.example.com" denied the request: no"#);
    assert_eq!(world.warnings.take(), ["told"]);
    world.hooks.on("v", |_| Err("Post \"https://x/\": EOF".to_owned()));
    let refused = world.create("", "configmaps", config_map("c")).await.expect_err("it fails closed");
    assert_eq!(
        refused,
        r#"500 Internal error occurred: failed calling webhook "v.example.com": failed to call webhook: Post "https://x/": EOF"#
    );
    world.hooks.on("v", |_| Ok(json!({"allowed": true, "uid": "other"})));
    let refused = world.create("", "configmaps", config_map("c")).await.expect_err("another's answer");
    assert!(refused.contains("received invalid webhook response: expected response.uid="), "{refused}");
    // The other one is not there; its failures are ignored.
    world.hooks.on("v", allow);
    world.create("", "configmaps", config_map("c")).await.expect("it fails open");
}

#[tokio::test]
async fn configurations_are_asked_in_the_order_of_their_names_and_again_where_they_want() {
    let world = World::new(&[]).await;
    let again = || json!({"reinvocationPolicy": "IfNeeded"});
    world.mutate("b", json!([hook("b1", json!({})), hook("b2", again())])).await;
    world.mutate("a", json!([hook("a1", again()), hook("a2", again())])).await;
    for path in ["a1", "a2", "b1"] {
        world.hooks.on(path, allow);
    }
    world.hooks.on("b2", |_| Ok(label("late", "yes")));
    world.create("", "configmaps", config_map("c")).await.expect("it is let through");
    assert_eq!(world.hooks.paths(), ["a1", "a2", "b1", "b2", "a1", "a2"]);
    // Who changes nothing has nobody asked again.
    world.hooks.on("b2", |request| {
        let labels = &request["object"]["metadata"]["labels"];
        Ok(if labels.get("late").is_some() { json!({"allowed": true}) } else { label("late", "yes") })
    });
    let mut labelled = config_map("d");
    labelled["metadata"]["labels"]["late"] = "yes".into();
    world.create("", "configmaps", labelled).await.expect("it is let through");
    assert_eq!(world.hooks.paths(), ["a1", "a2", "b1", "b2"]);
}

#[tokio::test]
async fn selectors_conditions_and_dry_runs_decide_who_is_asked() {
    let world = World::new(&[]).await;
    let labels = |labels: Value| json!({"matchLabels": labels});
    world.validate("v", json!([
        hook("other-namespace", json!({"namespaceSelector": labels(json!({"kubernetes.io/metadata.name": "other"}))})),
        hook("this-namespace", json!({"namespaceSelector": labels(json!({"kubernetes.io/metadata.name": NAMESPACE}))})),
        hook("other-object", json!({"objectSelector": labels(json!({"a": "c"}))})),
        hook("this-object", json!({"objectSelector": labels(json!({"a": "b"}))})),
        hook("unmet", json!({"matchConditions": [{"name": "n", "expression": "object.metadata.name == 'other'"}]})),
        hook("met", json!({"matchConditions": [{"name": "n", "expression": "request.userInfo.username == 'jane'"}]})),
        hook("ignored-error", json!({"failurePolicy": "Ignore", "matchConditions": [{"name": "n", "expression": "object.nothing == 1"}]})),
        hook("cluster", json!({"rules": [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"], "scope": "Cluster"}]})),
        hook("below", json!({"rules": [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["configmaps/*"]}]})),
    ])).await;
    for path in ["this-namespace", "this-object", "met", "below", "failing"] {
        world.hooks.on(path, allow);
    }
    world.create("", "configmaps", config_map("c")).await.expect("it is let through");
    assert_eq!(world.hooks.paths(), ["this-namespace", "this-object", "met", "below"]);
    world
        .validate(
            "w",
            json!([hook(
                "failing",
                json!({"matchConditions": [{"name": "n", "expression": "object.nothing == 1"}]})
            )]),
        )
        .await;
    let refused = world.create("", "configmaps", config_map("d")).await.expect_err("a condition fails");
    assert_eq!(
        refused,
        r#"403 configmaps "d" is forbidden: expression 'object.nothing == 1' resulted in error: no such key: nothing"#
    );
}

#[tokio::test]
async fn deletions_are_asked_about_and_cannot_be_changed() {
    let world = World::new(&[]).await;
    world.create("", "configmaps", config_map("c")).await.expect("an object");
    world.mutate("m", json!([hook("m", json!({}))])).await;
    world.hooks.on("m", |_| Ok(label("x", "y")));
    let delete = async || {
        world
            .with("", "configmaps", async |call| {
                let call = Call { requester: Requester { name: "jane", ..Requester::default() }, ..call };
                world.registry.delete(&call, "c", &DeleteOptions::default()).await.map(drop)
            })
            .await
    };
    let refused = delete().await.expect_err("there is nothing to change");
    assert_eq!(
        refused.message,
        r#"Internal error occurred: admission webhook "m.example.com" attempted to modify the object, which is not supported for this operation"#
    );
    world.hooks.on("m", |_| Ok(json!({"allowed": false})));
    assert_eq!(
        delete().await.expect_err("it is denied").message,
        r#"admission webhook "m.example.com" denied the request without explanation"#
    );
    world.hooks.asked();
    world.hooks.on("m", allow);
    delete().await.expect("it is let go");
    let asked = world.hooks.asked();
    let (_, request) = asked.first().expect("one request");
    assert_eq!((&request["operation"], &request["oldObject"]["data"]["k"]), (&json!("DELETE"), &json!("v")));
    assert!(request["object"].is_null());
}

#[tokio::test]
async fn an_update_is_changed_and_a_scale_is_shown_as_one() {
    let world = World::new(&[]).await;
    let deployments = json!({"rules": [{"operations": ["UPDATE"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments/scale"]}]});
    world.mutate("m", json!([hook("m", json!({})), hook("s", deployments)])).await;
    world.validate("v", json!([hook("v", json!({}))])).await;
    world.hooks.on("m", |_| Ok(json!({"allowed": true})));
    world.hooks.on("v", |request| {
        // Of an update both have a version, sent or not.
        let version = |object: &str| request[object]["metadata"]["resourceVersion"].clone();
        if request["operation"] == "UPDATE" {
            assert!(version("object").is_string() && version("object") == version("oldObject"), "{request}");
        }
        Ok(json!({"allowed": true}))
    });
    world.create("", "configmaps", config_map("c")).await.expect("an object");
    world.hooks.on("m", |request| {
        assert_eq!(request["oldObject"]["data"]["k"], "v");
        Ok(patch(&json!([{"op": "replace", "path": "/data/k", "value": "webhook"}])))
    });
    let (written, _) = world
        .with("", "configmaps", async |call| {
            world
                .registry
                .update(&call, "c", false, |live| {
                    let mut next = live.cloned().expect("it is there");
                    next["data"]["k"] = "mine".into();
                    Ok(Changed::Patched(next))
                })
                .await
        })
        .await
        .expect("it is updated");
    let updated: Value = apiserver_json::from_slice(&written.bytes).expect("an object");
    assert_eq!(updated["data"]["k"], "webhook");
    let template =
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let deployment = json!({"metadata": {"name": "d"}, "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": template}});
    world.create("apps", "deployments", deployment).await.expect("a deployment");
    world.hooks.asked();
    world.hooks.on("s", |_| Ok(patch(&json!([{"op": "replace", "path": "/spec/replicas", "value": 7}]))));
    let (written, _) = world
        .with("apps", "deployments", async |call| {
            let call = Call { subresource: "scale", ..call };
            world
                .registry
                .update(&call, "d", false, |live| {
                    let mut next = live.cloned().expect("it is there");
                    next["spec"]["replicas"] = 3.into();
                    Ok(Changed::Patched(next))
                })
                .await
        })
        .await
        .expect("it is scaled");
    let scaled: Value = apiserver_json::from_slice(&written.bytes).expect("an object");
    assert_eq!(scaled["spec"]["replicas"], 7);
    let asked = world.hooks.asked();
    let (_, request) = asked.first().expect("one request");
    assert_eq!(request["kind"], json!({"group": "autoscaling", "version": "v1", "kind": "Scale"}));
    assert_eq!(
        (&request["subResource"], &request["resource"]["resource"]),
        (&json!("scale"), &json!("deployments"))
    );
    assert_eq!(
        (&request["object"]["spec"]["replicas"], &request["oldObject"]["spec"]["replicas"]),
        (&json!(3), &json!(1))
    );
}

#[tokio::test]
async fn equivalent_versions_are_shown_as_the_rule_names_them() {
    let world = World::new(&[]).await;
    let rules = |version: &str| json!([{"operations": ["CREATE"], "apiGroups": ["autoscaling"], "apiVersions": [version], "resources": ["horizontalpodautoscalers"]}]);
    world
        .mutate(
            "m",
            json!([
                hook("equivalent", json!({"rules": rules("v1")})),
                hook("exact", json!({"rules": rules("v1"), "matchPolicy": "Exact"})),
                hook("unserved", json!({"rules": rules("v2beta1")})),
            ]),
        )
        .await;
    world.hooks.on("equivalent", |_| {
        Ok(patch(&json!([{"op": "replace", "path": "/spec/targetCPUUtilizationPercentage", "value": 70}])))
    });
    let metric = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}});
    let scaler = json!({"metadata": {"name": "h"}, "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}, "metrics": [metric]}});
    let created =
        world.create("autoscaling", "horizontalpodautoscalers", scaler).await.expect("it is let through");
    assert_eq!(created["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 70);
    let asked = world.hooks.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    let request = &asked[0].1;
    assert_eq!(
        (&request["kind"]["version"], &request["requestKind"]["version"]),
        (&json!("v1"), &json!("v2"))
    );
    assert_eq!(request["object"]["apiVersion"], "autoscaling/v1");
    assert_eq!(request["object"]["spec"]["targetCPUUtilizationPercentage"], 50);
}

#[tokio::test]
async fn nobody_is_asked_about_configurations_or_where_the_plugin_is_off() {
    let everything = json!({"rules": [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}]});
    let world = World::new(&[]).await;
    world.validate("v", json!([hook("v", everything.clone())])).await;
    world.validate("w", json!([hook("w", json!({}))])).await;
    assert!(world.hooks.paths().is_empty());
    let world = World::new(&["MutatingAdmissionWebhook", "ValidatingAdmissionWebhook"]).await;
    world.validate("v", json!([hook("v", everything.clone())])).await;
    world.mutate("m", json!([hook("m", everything)])).await;
    world.create("", "configmaps", config_map("c")).await.expect("nobody is asked");
}

#[tokio::test]
async fn dry_runs_meet_no_side_effects_and_requests_of_subresources_are_shown() {
    let world = World::new(&[]).await;
    world.validate("v", json!([hook("v", json!({
        "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps", "pods/binding"]}],
        "admissionReviewVersions": ["v2", "v1beta1"],
        "sideEffects": "NoneOnDryRun",
    }))])).await;
    world.hooks.on("v", allow);
    world
        .with("", "configmaps", async |call| {
            let call = Call { dry_run: true, ..call };
            let made = decoded(&call, config_map("c"));
            world.registry.create(&call, made).await.expect("a dry run");
        })
        .await;
    assert_eq!(world.hooks.asked()[0].1["dryRun"], true);
    world.with("", "pods", async |call| {
        let call = Call { subresource: "binding", ..call };
        let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"name": "n"}});
        world.registry.admit_request(&call, "p", Operation::Create, binding).await.expect("it is let through");
    }).await;
    let asked = world.hooks.asked();
    assert_eq!(
        (&asked[0].1["kind"]["kind"], &asked[0].1["subResource"]),
        (&json!("Binding"), &json!("binding"))
    );
}
