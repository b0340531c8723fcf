//! Pods before, the next step after.

use super::*;
use serde_json::{Value, json};

fn set(replicas: i32, extra: &Value) -> StatefulSet {
    let mut set = json!({
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"replicas": replicas, "serviceName": "web", "selector": {"matchLabels": {"app": "web"}}, "template": {"spec": {"containers": []}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}},
    });
    for (key, value) in extra.as_object().unwrap() {
        set["spec"][key] = value.clone();
    }
    serde_json::from_value(set).unwrap()
}

/// `web-0 new ready`.
fn pod(text: &str) -> Arc<Pod> {
    let words: Vec<&str> = text.split(' ').collect();
    let [name, revision, state] = words[..] else { panic!("{text}") };
    let phase = match state {
        "failed" => "Failed",
        "pending" => "Pending",
        _ => "Running",
    };
    let ready = if matches!(state, "ready" | "ending") { "True" } else { "False" };
    let mut pod = json!({
        "metadata": {"name": name, "labels": {REVISION: revision}},
        "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
    });
    if state == "ending" {
        pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    }
    Arc::new(serde_json::from_value(pod).unwrap())
}

#[test]
fn pods_come_and_go_in_order() {
    let ordered = json!({});
    let parallel = json!({"podManagementPolicy": "Parallel"});
    let from_five = json!({"ordinals": {"start": 5}});
    let half = json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}});
    let on_delete = json!({"updateStrategy": {"type": "OnDelete"}});
    let patient = json!({"minReadySeconds": 3600});
    // What, replicas, spec, Pods, ordinals that are made, Pods that go.
    type Row<'a> = (&'a str, i32, &'a Value, &'a [&'a str], &'a [i32], &'a [&'a str]);
    let table: &[Row] = &[
        ("the first", 3, &ordered, &[], &[0], &[]),
        ("the next waits", 3, &ordered, &["web-0 new pending"], &[], &[]),
        ("the next", 3, &ordered, &["web-0 new ready"], &[1], &[]),
        ("a gap is filled first", 3, &ordered, &["web-0 new ready", "web-2 new ready"], &[1], &[]),
        ("all at once", 3, &parallel, &["web-1 new no"], &[0, 2], &[]),
        ("numbers from five", 2, &from_five, &["web-5 new ready"], &[6], &[]),
        ("long enough ready", 2, &patient, &["web-0 new ready"], &[], &[]),
        ("failed ones go", 2, &ordered, &["web-0 new failed", "web-1 new ready"], &[], &["web-0"]),
        (
            "down from the top",
            1,
            &ordered,
            &["web-0 new ready", "web-1 new ready", "web-2 new ready"],
            &[],
            &["web-2"],
        ),
        ("one at a time", 1, &ordered, &["web-0 new ready", "web-1 new ready", "web-2 new ending"], &[], &[]),
        ("not while one is broken", 1, &ordered, &["web-0 new no", "web-1 new ready"], &[], &[]),
        ("the broken one itself", 1, &ordered, &["web-0 new ready", "web-1 new no"], &[], &["web-1"]),
        (
            "down at once",
            1,
            &parallel,
            &["web-0 new ready", "web-1 new ready", "web-2 new ready"],
            &[],
            &["web-2", "web-1"],
        ),
        ("update from the top", 2, &ordered, &["web-0 old ready", "web-1 old ready"], &[], &["web-1"]),
        ("update waits", 2, &parallel, &["web-0 old ready", "web-1 new no"], &[], &[]),
        ("update goes on", 2, &ordered, &["web-0 old ready", "web-1 new ready"], &[], &["web-0"]),
        ("partition", 2, &half, &["web-0 old ready", "web-1 new ready"], &[], &[]),
        ("on delete", 2, &on_delete, &["web-0 old ready", "web-1 old ready"], &[], &[]),
        ("strangers stay", 1, &ordered, &["web-0 new ready", "web new ready", "web-x new ready"], &[], &[]),
    ];
    for (what, replicas, extra, all, create, delete) in table {
        let pods: Vec<_> = all.iter().map(|text| pod(text)).collect();
        let plan = build(&set(*replicas, extra), "new", &pods, "2026-01-01T00:30:00Z".parse().unwrap());
        let gone: Vec<_> = plan.delete.iter().filter_map(|p| p.metadata.name.as_deref()).collect();
        assert_eq!(plan.create, *create, "{what}");
        assert_eq!(gone, *delete, "{what}");
    }
}
