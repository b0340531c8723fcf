//! A Job and its Pods before, Pods and verdict after; and the way of the counts.

use super::*;
use serde_json::{Value, json};

fn job(spec: &Value, status: &Value) -> Job {
    let mut job = json!({
        "metadata": {"name": "work", "namespace": "default", "uid": "j"},
        "spec": {"backoffLimit": 1, "parallelism": 1, "completions": 1, "template": {"spec": {"containers": [], "restartPolicy": "Never"}}},
        "status": status,
    });
    for (key, value) in spec.as_object().unwrap() {
        job["spec"][key] = value.clone();
    }
    serde_json::from_value(job).unwrap()
}

/// `a Running`, `b Succeeded counted`, `c Running ending`, `d Running 3` (index).
fn pod(text: &str) -> Arc<Pod> {
    let mut words = text.split(' ');
    let (name, phase) = (words.next().unwrap(), words.next().unwrap());
    let mut pod = json!({
        "metadata": {"name": name, "uid": name, "finalizers": [TRACKING], "creationTimestamp": "2026-01-01T00:00:00Z"},
        "status": {"phase": phase},
    });
    for word in words {
        match word {
            "counted" => pod["metadata"]["finalizers"] = json!([]),
            "ending" => pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into(),
            "fresh" => pod["metadata"]["creationTimestamp"] = "2026-01-01T00:59:55Z".into(),
            index => pod["metadata"]["annotations"] = json!({indexes::INDEX: index}),
        }
    }
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

#[test]
fn pods_are_made_until_it_is_decided() {
    let none = json!({});
    let one = json!({});
    let many = json!({"completions": 5, "parallelism": 2});
    let any = json!({"completions": null, "parallelism": 2});
    let indexed = json!({"completions": 4, "parallelism": 2, "completionMode": "Indexed"});
    let suspended = json!({"suspend": true});
    let deadline = json!({"activeDeadlineSeconds": 60});
    let patient = json!({"podReplacementPolicy": "Failed"});
    let begun = json!({"startTime": "2026-01-01T00:00:00Z"});
    let four = json!({"succeeded": 4});
    let two_indexes = json!({"completedIndexes": "0,2", "succeeded": 2});
    let one_failed = json!({"failed": 1});
    let decided = json!({"conditions": [{"type": "FailureTarget", "status": "True", "reason": "DeadlineExceeded", "message": "m"}]});
    // What, spec, status, Pods, how many are made, which go, why it has ended.
    type Row<'a> = (&'a str, &'a Value, &'a Value, &'a [&'a str], Value, &'a [&'a str], &'a str);
    let table: &[Row] = &[
        ("first", &one, &none, &[], json!([null]), &[], ""),
        ("at work", &one, &begun, &["a Running"], json!([]), &[], ""),
        ("done", &one, &begun, &["a Succeeded"], json!([]), &[], "CompletionsReached"),
        ("two at a time", &many, &begun, &["a Running"], json!([null]), &[], ""),
        ("only what is missing", &many, &four, &[], json!([null]), &[], ""),
        ("counted Pods count once", &many, &four, &["a Succeeded counted"], json!([null]), &[], ""),
        ("too many", &one, &begun, &["a Running", "b Running"], json!([]), &["a"], ""),
        ("again after a failure", &one, &begun, &["a Failed"], json!([null]), &[], ""),
        ("but not at once", &one, &begun, &["a Failed fresh"], json!([]), &[], ""),
        ("deleted counts as failed", &one, &begun, &["a Running ending"], json!([null]), &[], ""),
        ("or is awaited", &patient, &begun, &["a Running ending"], json!([]), &[], ""),
        (
            "too many failures",
            &one,
            &one_failed,
            &["a Failed", "b Running"],
            json!([]),
            &["b"],
            "BackoffLimitExceeded",
        ),
        ("too late", &deadline, &begun, &["a Running"], json!([]), &["a"], "DeadlineExceeded"),
        ("decided before", &one, &decided, &["a Running"], json!([]), &["a"], "DeadlineExceeded"),
        ("suspended", &suspended, &begun, &["a Running"], json!([]), &["a"], ""),
        ("a queue", &any, &begun, &["a Running", "b Succeeded"], json!([]), &[], ""),
        (
            "a queue that is empty",
            &any,
            &begun,
            &["a Succeeded", "b Succeeded"],
            json!([]),
            &[],
            "CompletionsReached",
        ),
        ("indexes", &indexed, &none, &[], json!([0, 1]), &[], ""),
        ("indexes that are missing", &indexed, &two_indexes, &["a Running 1"], json!([3]), &[], ""),
        ("an index twice", &indexed, &begun, &["a Running 1", "b Running 1"], json!([]), &["b"], ""),
        (
            "the last indexes",
            &indexed,
            &two_indexes,
            &["a Succeeded 1", "b Succeeded 3"],
            json!([]),
            &[],
            "CompletionsReached",
        ),
    ];
    for (what, spec, status, all, create, delete, reason) in table {
        let pods: Vec<_> = all.iter().map(|text| pod(text)).collect();
        let job = job(spec, status);
        let plan = build(&job, &pods, &backoff::ends(&job, &pods), now());
        let gone: Vec<_> = plan.delete.iter().filter_map(|p| p.metadata.name.as_deref()).collect();
        assert_eq!(json!(plan.create), *create, "{what}");
        assert_eq!(gone, *delete, "{what}");
        assert_eq!(plan.verdict.as_ref().map_or("", Verdict::reason), *reason, "{what}");
    }
}

#[test]
fn an_end_is_noted_then_let_go_then_counted() {
    let mut job = job(&json!({"completions": 2}), &json!({}));
    let ended = vec![pod("a Succeeded"), pod("b Failed"), pod("c Running")];
    let verdict = build(&job, &ended, &backoff::Ends::new(), now()).verdict;
    assert_eq!(verdict, None);
    job.status = Some(status::build(&job, &ended, None, now()));
    let noted = serde_json::to_value(&job.status).unwrap();
    assert_eq!(noted["uncountedTerminatedPods"], json!({"succeeded": ["a"], "failed": ["b"]}));
    assert_eq!((&noted["active"], &noted["succeeded"]), (&json!(1), &Value::Null));
    assert_eq!(status::build(&job, &ended, None, now()), job.status.clone().unwrap(), "a second time");
    let released: Vec<_> =
        status::releasable(&job, &ended, None).iter().filter_map(|p| p.metadata.name.clone()).collect();
    assert_eq!(released, ["a", "b"]);
    let let_go = vec![pod("a Succeeded counted"), pod("b Failed counted"), pod("c Running")];
    job.status = Some(status::count(&job, &let_go, None, now()));
    let counted = serde_json::to_value(&job.status).unwrap();
    assert_eq!(counted["uncountedTerminatedPods"], json!({}));
    assert_eq!((&counted["succeeded"], &counted["failed"]), (&json!(1), &json!(1)));

    let last = vec![pod("c Succeeded")];
    let verdict = build(&job, &last, &backoff::Ends::new(), now()).verdict;
    job.status = Some(status::build(&job, &last, verdict.as_ref(), now()));
    assert!(status::finished(&job).is_none());
    job.status = Some(status::count(&job, &[pod("c Succeeded counted")], verdict.as_ref(), now()));
    let done = serde_json::to_value(&job.status).unwrap();
    let kinds: Vec<_> = done["conditions"].as_array().unwrap().iter().map(|c| c["type"].clone()).collect();
    assert_eq!(kinds, ["SuccessCriteriaMet", "Complete"]);
    assert_eq!((&done["succeeded"], &done["completionTime"]), (&json!(2), &json!("2026-01-01T01:00:00Z")));
}

#[test]
fn suspending_stops_the_clock() {
    let mut job = job(&json!({"suspend": true}), &json!({"startTime": "2026-01-01T00:00:00Z"}));
    let condition = |job: &Job| {
        let status = serde_json::to_value(&job.status).unwrap();
        (status["conditions"][0]["reason"].clone(), status["startTime"].clone())
    };
    job.status = Some(status::build(&job, &[], None, now()));
    assert_eq!(condition(&job), (json!("JobSuspended"), Value::Null));
    job.spec.as_mut().unwrap().suspend = Some(false);
    job.status = Some(status::build(&job, &[], None, now()));
    assert_eq!(condition(&job), (json!("JobResumed"), json!("2026-01-01T01:00:00Z")));
}
