//! Conditions that the server sets on its own, and versions of autoscalers, which tell each other nothing less.

mod common;

use apiserver_json::{Value, json};
use apiserver_server::ApiServer;
use http::{Method, StatusCode};

use common::{ask, server};

async fn get(server: &ApiServer, path: &str) -> Value {
    ask(server, Method::GET, path, &Value::Null).await.1
}

async fn create(server: &ApiServer, path: &str, object: Value) {
    let (status, answer) = ask(server, Method::POST, path, &object).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
}

/// Status, reason and message of the only condition.
async fn condition(server: &ApiServer, path: &str) -> [String; 3] {
    let object = get(server, path).await;
    let condition = &object["status"]["conditions"][0];
    assert!(condition["lastTransitionTime"].is_string(), "{object}");
    ["status", "reason", "message"].map(|member| condition[member].as_str().unwrap_or("").to_owned())
}

#[tokio::test]
async fn a_schema_says_whether_its_priority_level_is_there() {
    const SCHEMAS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas";
    const LEVELS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations";
    let server = server().await;
    let level = |name: &str| json!({"metadata": {"name": name}, "spec": {"type": "Exempt"}});
    let schema = json!({
        "metadata": {"name": "s"},
        "spec": {"priorityLevelConfiguration": {"name": "l"}, "matchingPrecedence": 50},
    });
    create(&server, SCHEMAS, schema).await;
    let path = format!("{SCHEMAS}/s");
    let message = "This FlowSchema references the PriorityLevelConfiguration object named \"l\"";
    let missing = ["True", "NotFound", &format!("{message} but there is no such object")];
    let found = ["False", "Found", &format!("{message} and it exists")];
    assert_eq!(condition(&server, &path).await, missing);
    let mut limited = level("l");
    limited["spec"] = json!({"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}});
    create(&server, LEVELS, limited).await;
    assert_eq!(condition(&server, &path).await, found);
    ask(&server, Method::DELETE, &format!("{LEVELS}/l"), &Value::Null).await;
    assert_eq!(condition(&server, &path).await, missing);
    let owner = &get(&server, &path).await["metadata"]["managedFields"];
    let owners: Vec<&Value> =
        owner.as_array().into_iter().flatten().filter(|owner| owner["subresource"] == "status").collect();
    assert_eq!(owners.len(), 1, "{owner}");
    assert_eq!(owners[0]["manager"], "api-priority-and-fairness-config-consumer-v1");
    assert_eq!(owners[0]["operation"], "Apply");
}

#[tokio::test]
async fn an_api_says_what_its_service_lacks() {
    const APIS: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
    let server = server().await;
    let api = json!({"metadata": {"name": "v1.a.io"}, "spec": {
        "service": {"name": "s", "namespace": "default", "port": 443}, "group": "a.io", "version": "v1",
        "groupPriorityMinimum": 100, "versionPriority": 10, "insecureSkipTLSVerify": true,
    }});
    create(&server, APIS, api).await;
    let path = format!("{APIS}/v1.a.io");
    assert_eq!(
        condition(&server, &path).await,
        ["False", "ServiceNotFound", "service/s in \"default\" is not present"]
    );
    let services = "/api/v1/namespaces/default/services";
    let service = json!({"metadata": {"name": "s"}, "spec": {"clusterIP": "None", "ports": [{"name": "a", "port": 80}]}});
    create(&server, services, service).await;
    assert_eq!(
        condition(&server, &path).await,
        ["False", "ServicePortError", "service/s in \"default\" is not listening on port 443"]
    );
    let mut service = get(&server, &format!("{services}/s")).await;
    *service.pointer_mut("/spec/ports/0/port").unwrap() = 443.into();
    ask(&server, Method::PUT, &format!("{services}/s"), &service).await;
    assert_eq!(
        condition(&server, &path).await,
        ["False", "EndpointsNotFound", "cannot find endpointslices for service/s in \"default\""]
    );
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    let labels = json!({"kubernetes.io/service-name": "s"});
    let slice = json!({"metadata": {"name": "s", "labels": labels}, "addressType": "IPv4", "endpoints": [], "ports": []});
    create(&server, slices, slice).await;
    let why = "endpointslices for service/s in \"default\" have no addresses with port name \"a\"";
    assert_eq!(condition(&server, &path).await, ["False", "MissingEndpoints", why]);
}

#[tokio::test]
async fn an_autoscaler_of_the_older_version_keeps_what_only_the_newer_has() {
    const OLD: &str = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";
    const NEW: &str = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
    let server = server().await;
    let target = json!({"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"});
    let metric = json!({"type": "Pods", "pods": {"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "5"}}});
    let scaler = json!({"metadata": {"name": "h"}, "spec": {"maxReplicas": 3, "scaleTargetRef": target, "metrics": [metric]}});
    create(&server, NEW, scaler).await;
    let mut old = get(&server, &format!("{OLD}/h")).await;
    assert_eq!(
        old["metadata"]["annotations"],
        json!({"autoscaling.alpha.kubernetes.io/metrics": r#"[{"type":"Pods","pods":{"metricName":"m","targetAverageValue":"5"}}]"#})
    );
    assert_eq!(old["status"], json!({"currentReplicas": 0, "desiredReplicas": 0}));
    old["spec"]["maxReplicas"] = 4.into();
    let (status, answer) = ask(&server, Method::PUT, &format!("{OLD}/h"), &old).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let new = get(&server, &format!("{NEW}/h")).await;
    assert_eq!(new["spec"]["metrics"], json!([metric]));
    assert_eq!((&new["spec"]["maxReplicas"], &new["metadata"]["annotations"]), (&json!(4), &Value::Null));
    let broken = json!({"autoscaling.alpha.kubernetes.io/metrics": r#"[{"type":"Pods","pods":{"metricName":"","targetAverageValue":"5"}}]"#});
    old["metadata"]["annotations"] = broken;
    old["metadata"]["resourceVersion"] = Value::Null;
    let (_, answer) = ask(&server, Method::PUT, &format!("{OLD}/h"), &old).await;
    assert_eq!(
        answer["message"],
        "HorizontalPodAutoscaler.autoscaling \"h\" is invalid: spec.metrics[0].pods.metric.name: Required value: must specify a metric name"
    );
}
