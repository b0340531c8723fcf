//! Devices for administrators.

mod common;

use apiserver_json::{Value, json};
use apiserver_registry::ServiceRanges;
use common::call;
use std::sync::Arc;

#[tokio::test]
async fn devices_for_administrators_need_a_namespace_that_says_so() {
    let registry = common::registry(ServiceRanges::default(), &[]);
    let catalogue = registry.catalogue();
    let resource =
        |group: &str, name: &str| catalogue.get(group, "v1", name).expect("a built-in kind").clone();
    let namespaces = resource("", "namespaces");
    for (name, label) in [("plain", "false"), ("admin", "true")] {
        let labels = json!({"resource.kubernetes.io/admin-access": label});
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
        registry.create(&call(&namespaces, ""), namespace).await.expect("a namespace is created");
    }
    let devices = |admin: bool| {
        json!({"devices": {"requests": [
            {"name": "a", "exactly": {"deviceClassName": "c.io"}},
            {"name": "b", "exactly": {"deviceClassName": "c.io", "adminAccess": admin}}]}})
    };
    let claims = resource("resource.k8s.io", "resourceclaims");
    let templates = resource("resource.k8s.io", "resourceclaimtemplates");
    for (kind, admin, namespace, fine) in [
        (&claims, true, "plain", false),
        (&templates, true, "plain", false),
        (&claims, false, "plain", true),
        (&claims, true, "admin", true),
        (&templates, true, "admin", true),
    ] {
        let is_claim = Arc::ptr_eq(kind, &claims);
        let spec = if is_claim { devices(admin) } else { json!({"spec": devices(admin)}) };
        let object = json!({
            "apiVersion": "resource.k8s.io/v1", "kind": kind.kind, "metadata": {"name": format!("{namespace}-{admin}")},
            "spec": spec,
        });
        let outcome = registry.create(&call(kind, namespace), object).await.map(drop);
        let want = "spec.devices.requests[1].adminAccess: Forbidden: admin access to devices requires the `resource.kubernetes.io/admin-access: true` label on the containing namespace";
        match outcome {
            Ok(()) => assert!(fine, "{} in {namespace}", kind.kind),
            Err(status) => assert!(!fine && status.message.contains(want), "{status}"),
        }
    }
    // What is said to be given is looked at as well.
    let status = apiserver_registry::Call { subresource: "status", ..call(&claims, "plain") };
    let given = |live: Option<&Value>| {
        let mut next = live.cloned().unwrap_or_default();
        next["status"] = json!({"allocation": {"devices": {"results": [
            {"request": "b", "driver": "d.io", "pool": "p", "device": "d", "adminAccess": true}]}}});
        Ok(apiserver_registry::Changed::Patched(next))
    };
    let refused = registry.update(&status, "plain-false", false, given).await.map(drop);
    let want = "status.allocation.devices.results[0].adminAccess: Forbidden: admin access";
    assert!(refused.is_err_and(|status| status.message.contains(want)));
}
