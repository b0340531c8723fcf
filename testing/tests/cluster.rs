//! What a test of a controller asks of a cluster.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use hopyard_testing::Cluster;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::runtime::wait::{await_condition, conditions};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(20);

fn config_map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"a": "1"}})).expect("a ConfigMap")
}

#[tokio::test]
async fn objects_are_written_applied_and_watched() {
    let cluster = Cluster::start().await.expect("a cluster");
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    let created = maps.create(&PostParams::default(), &config_map("a")).await.expect("created");
    let from = created.metadata.resource_version.expect("a version");
    let apply =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"b": "2"}});
    maps.patch("a", &PatchParams::apply("test"), &Patch::Apply(apply)).await.expect("applied");
    let mut events = maps.watch(&WatchParams::default(), &from).await.expect("watched").boxed();
    let event = tokio::time::timeout(PATIENCE, events.try_next()).await.expect("in time").expect("no error");
    let Some(WatchEvent::Modified(seen)) = event else { panic!("{event:?}") };
    assert_eq!(seen.data.expect("data").len(), 2);
}

#[tokio::test]
async fn clusters_know_nothing_of_each_other() {
    let (one, other) = (Cluster::start().await.expect("one"), Cluster::start().await.expect("another"));
    let maps: Api<ConfigMap> = Api::default_namespaced(one.client());
    maps.create(&PostParams::default(), &config_map("a")).await.expect("created");
    let maps: Api<ConfigMap> = Api::default_namespaced(other.client());
    assert!(maps.get_opt("a").await.expect("an answer").is_none());
}

#[tokio::test]
async fn a_user_may_what_rbac_says() {
    let cluster = Cluster::start().await.expect("a cluster");
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client_as("jane", &["developers"]));
    let refused = maps.list(&ListParams::default()).await.expect_err("nobody gave her anything");
    assert!(refused.to_string().contains("User \"jane\" cannot list resource \"configmaps\""), "{refused}");
}

#[tokio::test]
async fn a_cluster_that_is_dropped_ends_its_watches() {
    let cluster = Cluster::start().await.expect("a cluster");
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    let events = maps.watch(&WatchParams::default(), "0").await.expect("watched");
    drop(cluster);
    let rest = tokio::time::timeout(PATIENCE, events.count()).await;
    assert!(rest.is_ok(), "the watch goes on");
}

#[tokio::test]
async fn controllers_make_pods_and_finish_namespaces() {
    let cluster = Cluster::with_controllers().await.expect("a cluster");
    let client = cluster.client();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let shop = serde_json::from_value(json!({"metadata": {"name": "shop"}})).expect("a Namespace");
    namespaces.create(&PostParams::default(), &shop).await.expect("created");
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "shop");
    let web: Deployment = serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}},
    }))
    .expect("a Deployment");
    deployments.create(&PostParams::default(), &web).await.expect("created");
    let all_made =
        |d: Option<&Deployment>| d.and_then(|d| d.status.as_ref()?.updated_replicas).is_some_and(|n| n == 2);
    let made = await_condition(deployments, "web", all_made);
    tokio::time::timeout(PATIENCE, made).await.expect("in time").expect("watched");
    let pods: Api<Pod> = Api::namespaced(client.clone(), "shop");
    assert_eq!(pods.list(&ListParams::default()).await.expect("a list").items.len(), 2);

    let deleted = namespaces.delete("shop", &DeleteParams::default()).await.expect("deleted");
    let uid = deleted.left().and_then(|n| n.metadata.uid).expect("the Namespace as it ends");
    let gone = await_condition(namespaces, "shop", conditions::is_deleted(&uid));
    tokio::time::timeout(PATIENCE, gone).await.expect("in time").expect("watched");
    let sets: Api<ReplicaSet> = Api::all(client);
    assert_eq!(sets.list(&ListParams::default()).await.expect("a list").items.len(), 0);
}
