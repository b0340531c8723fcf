//! What the server sets of an object is nobody's: neither what plugins and rules fill in, nor what is allocated.

mod common;

use apiserver_json::{Value, json};
use apiserver_registry::{Call, Changed, Registry, ServiceRanges};

async fn create(registry: &Registry, name: &str, object: Value) -> Value {
    let catalogue = registry.catalogue();
    let resource = catalogue.get("", "v1", name).expect("a built-in resource");
    let written = registry.create(&common::call(resource, "default"), object).await.expect("it is created");
    apiserver_json::from_slice(&written.bytes).expect("JSON")
}

async fn change(
    registry: &Registry,
    (name, subresource): (&str, &str),
    change: impl Fn(&mut Value),
) -> Value {
    let catalogue = registry.catalogue();
    let resource = catalogue.get("", "v1", name).expect("a built-in resource");
    let call = Call { subresource, ..common::call(resource, "default") };
    let change = |old: Option<&Value>| {
        let mut new = old.cloned().unwrap_or_default();
        change(&mut new);
        Ok(Changed::Patched(new))
    };
    let (written, _) = registry.update(&call, "x", false, change).await.expect("it is changed");
    apiserver_json::from_slice(&written.bytes).expect("JSON")
}

/// Names of the fields of `spec` and `status` that somebody owns.
fn owned(object: &Value) -> Vec<String> {
    let mut names = Vec::new();
    for entry in object["metadata"]["managedFields"].as_array().into_iter().flatten() {
        for part in ["spec", "status"] {
            let fields = entry["fieldsV1"][format!("f:{part}")].as_object().cloned().unwrap_or_default();
            names.extend(fields.keys().map(|field| format!("{part}.{}", field.trim_start_matches("f:"))));
        }
    }
    names.sort();
    names
}

#[tokio::test]
async fn nobody_owns_what_the_server_sets() {
    let registry = common::registry(ServiceRanges::default(), &[]);
    create(&registry, "namespaces", json!({"metadata": {"name": "default"}})).await;
    create(&registry, "serviceaccounts", json!({"metadata": {"name": "default"}})).await;

    let service =
        create(&registry, "services", json!({"metadata": {"name": "x"}, "spec": {"ports": [{"port": 80}]}}));
    let service = service.await;
    assert!(service["spec"]["clusterIP"].is_string() && service["spec"]["ipFamilies"].is_array());
    let defaulted = ["spec.internalTrafficPolicy", "spec.ports", "spec.sessionAffinity", "spec.type"];
    assert_eq!(owned(&service), defaulted);
    let service =
        change(&registry, ("services", ""), |service| service["spec"]["type"] = "NodePort".into()).await;
    assert!(service["spec"]["ports"][0]["nodePort"].is_number());
    assert!(!service["metadata"]["managedFields"].to_string().contains("nodePort"), "{service}");

    let containers = json!([{"name": "c", "image": "i:1"}]);
    let pod =
        create(&registry, "pods", json!({"metadata": {"name": "x"}, "spec": {"containers": containers}}))
            .await;
    for set in ["serviceAccountName", "tolerations", "priority", "volumes"] {
        assert!(!pod["spec"][set].is_null(), "{set}");
        assert!(!owned(&pod).contains(&format!("spec.{set}")), "{set} of {:?}", owned(&pod));
    }
    assert!(!owned(&pod).iter().any(|field| field.starts_with("status")));
    let before = owned(&pod);
    let bound = change(&registry, ("pods", "binding"), |pod| pod["spec"]["nodeName"] = "n".into()).await;
    assert_eq!(bound["spec"]["nodeName"], "n");
    assert_eq!(owned(&bound), before);
}
