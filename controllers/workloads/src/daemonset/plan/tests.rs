//! Nodes and Pods before, creations and deletions after.

use super::*;
use serde_json::{Value, json};

fn set(strategy: Value) -> DaemonSet {
    serde_json::from_value(json!({
        "metadata": {"name": "agent", "namespace": "default", "uid": "u"},
        "spec": {"selector": {"matchLabels": {"app": "agent"}}, "updateStrategy": strategy,
            "template": {"metadata": {"labels": {"app": "agent"}}, "spec": {"containers": [], "nodeSelector": {"disk": "ssd"}}}},
    }))
    .unwrap()
}

/// `n1`, `n2 no` (not selected), `n3 NoSchedule`, `n4 NoExecute` (tainted).
fn node(text: &str) -> Arc<Node> {
    let (name, what) = text.split_once(' ').unwrap_or((text, ""));
    let disk = if what == "no" { "hdd" } else { "ssd" };
    let taints = if what.starts_with("No") { json!([{"key": "k", "effect": what}]) } else { json!([]) };
    let value = json!({"metadata": {"name": name, "labels": {"disk": disk}}, "spec": {"taints": taints}});
    Arc::new(serde_json::from_value(value).unwrap())
}

/// `a n1 new ready`: name, node, template, state.
fn pod(text: &str) -> Arc<Pod> {
    let words: Vec<&str> = text.split(' ').collect();
    let [name, node, hash, state] = words[..] else { panic!("{text}") };
    let ready = if state == "ready" { "True" } else { "False" };
    let phase = if state == "failed" { "Failed" } else { "Running" };
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "default", "labels": {HASH: hash}, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"nodeName": node, "containers": []},
        "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]},
    });
    if state == "ending" {
        pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    }
    Arc::new(serde_json::from_value(pod).unwrap())
}

#[test]
fn every_node_gets_what_it_should_have() {
    let one = json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}});
    let surge = json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}});
    let on_delete = json!({"type": "OnDelete"});
    let three = &["n1", "n2", "n3"][..];
    let old = &["a n1 old ready", "b n2 old ready", "c n3 old ready"][..];
    // What, strategy, nodes, Pods, nodes that get one, Pods that go.
    type Row<'a> = (&'a str, &'a Value, &'a [&'a str], &'a [&'a str], &'a [&'a str], &'a [&'a str]);
    let table: &[Row] = &[
        ("first", &one, three, &[], &["n1", "n2", "n3"], &[]),
        ("only eligible nodes", &one, &["n1", "n2 no", "n3 NoSchedule", "n4 NoExecute"], &[], &["n1"], &[]),
        (
            "misplaced ones go",
            &one,
            &["n2 no", "n4 NoExecute"],
            &["a n2 new ready", "b n4 new ready"],
            &[],
            &["a", "b"],
        ),
        (
            "a taint against scheduling drives nobody out",
            &one,
            &["n3 NoSchedule"],
            &["a n3 new ready"],
            &[],
            &[],
        ),
        ("one a node", &one, &["n1"], &["a n1 new ready", "b n1 new ready"], &[], &["b"]),
        ("failed ones are replaced", &one, &["n1"], &["a n1 new failed"], &[], &["a"]),
        ("an ending one is awaited", &one, &["n1"], &["a n1 new ending"], &[], &[]),
        ("roll one", &one, three, old, &[], &["a"]),
        (
            "what does not work goes at once",
            &one,
            three,
            &["a n1 old no", "b n2 old ready", "c n3 new ready"],
            &[],
            &["a"],
        ),
        ("wait for the new one", &one, three, &["a n1 new no", "b n2 old ready", "c n3 old ready"], &[], &[]),
        ("on delete", &on_delete, three, old, &[], &[]),
        ("surge", &surge, three, old, &["n1"], &[]),
        (
            "surge waits",
            &surge,
            &["n1", "n2"],
            &["a n1 old ready", "b n1 new no", "c n2 old ready"],
            &[],
            &[],
        ),
        ("surge done on a node", &surge, &["n1"], &["a n1 old ready", "b n1 new ready"], &[], &["a"]),
    ];
    for (what, strategy, nodes, all, create, delete) in table {
        let set = set((*strategy).clone());
        let nodes = nodes.iter().map(|text| node(text)).collect();
        let pods = all.iter().map(|text| pod(text)).collect();
        let world = World::new((&set, "new"), nodes, pods, "2026-01-01T01:00:00Z".parse().unwrap());
        let plan = build(&world);
        let gone: Vec<_> = plan.delete.iter().filter_map(|p| p.metadata.name.as_deref()).collect();
        assert_eq!(plan.create, *create, "{what}");
        assert_eq!(gone, *delete, "{what}");
    }
}
