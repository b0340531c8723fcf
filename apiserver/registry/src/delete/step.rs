//! What deleting an object does to it: the rules, on an outline of it.

use apiserver_json::{Value, json};
use apiserver_meta::Status;

use super::{DeleteOptions, Propagation};
use crate::object;
use crate::registry::{Call, now};

/// What of an object, beside its metadata, says how it is deleted.
pub(super) const MEMBERS: &[(&str, &[&str])] = &[
    ("spec", &["nodeName", "terminationGracePeriodSeconds", "finalizers", "clusterIPs"]),
    ("status", &["phase"]),
];

pub(super) enum Step {
    Remove,
    /// Marked as gone at once, then removed: a watcher of Pods sees both.
    MarkThenRemove(Value),
    Wait(Value),
    AsItIs,
}

/// Seconds a Pod gets where nobody says otherwise.
const POD_GRACE_SECONDS: i64 = 30;

pub(super) fn check_preconditions(
    call: &Call,
    name: &str,
    old: &Value,
    options: &DeleteOptions,
) -> Result<(), Status> {
    if call.resource.kind == "Namespace" && call.resource.group.is_empty() {
        check_namespace_preconditions(call, name, old, options)?;
    }
    // Upstream names the kind here, not the resource.
    let kind = apiserver_meta::GroupResource::new(&call.resource.group, &call.resource.kind);
    let (own, at) = (object::uid(old), object::text(old, "resourceVersion"));
    if let Some(uid) = options.uid.as_deref().filter(|uid| *uid != own) {
        let why = format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({own}). The object might have been deleted and then recreated"
        );
        return Err(Status::conflict(&kind, name, &why));
    }
    if let Some(version) = options.resource_version.as_deref().filter(|version| *version != at) {
        let why = format!(
            "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({at}). The object might have been modified"
        );
        return Err(Status::conflict(&kind, name, &why));
    }
    let gr = call.resource.group_resource();
    let protected = ["default", "kube-system", "kube-public"];
    if call.resource.kind == "Namespace" && call.resource.group.is_empty() && protected.contains(&name) {
        return Err(Status::forbidden(&gr, name, "this namespace may not be deleted"));
    }
    Ok(())
}

/// Namespaces have a way of their own to be deleted, with words of its own.
fn check_namespace_preconditions(
    call: &Call,
    name: &str,
    old: &Value,
    options: &DeleteOptions,
) -> Result<(), Status> {
    for (what, wanted, found) in [
        ("UID", &options.uid, object::uid(old)),
        ("ResourceVersion", &options.resource_version, object::text(old, "resourceVersion")),
    ] {
        if let Some(wanted) = wanted.as_deref().filter(|wanted| *wanted != found) {
            let why = format!(
                "Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}"
            );
            return Err(Status::conflict(&call.resource.group_resource(), name, &why));
        }
    }
    Ok(())
}

pub(super) fn next_step(call: &Call, old: &Value, options: &DeleteOptions) -> Step {
    let mut next = old.clone();
    let already = object::is_deleting(old);
    let finalizers = finalizers_after(call, old, options);
    let metadata = object::metadata_mut(&mut next);
    if finalizers.is_empty() {
        metadata.remove("finalizers");
    } else {
        metadata.insert("finalizers".into(), json!(finalizers));
    }
    if call.resource.kind == "Namespace" && call.resource.group.is_empty() {
        if !already {
            // First it ends; nothing counts the seconds of that.
            next["status"]["phase"] = "Terminating".into();
            object::metadata_mut(&mut next).insert("deletionTimestamp".into(), now().into());
            return Step::Wait(next);
        }
        if !namespace_finalizers(old).is_empty() {
            return Step::AsItIs;
        }
    }
    let keeps = !finalizers.is_empty();
    let grace = grace_seconds(call, old, options);
    if grace > 0 {
        let before = object::metadata(old).get("deletionGracePeriodSeconds").and_then(Value::as_i64);
        if already && before.is_some_and(|before| before <= grace) {
            return if next == *old { Step::AsItIs } else { Step::Wait(next) };
        }
        mark(&mut next, old, grace);
        return Step::Wait(next);
    }
    if keeps {
        let before = object::metadata(old).get("deletionGracePeriodSeconds").and_then(Value::as_i64);
        if already && before == Some(0) && next == *old {
            return Step::AsItIs;
        }
        mark(&mut next, old, 0);
        return Step::Wait(next);
    }
    let is_pod = call.resource.kind == "Pod" && call.resource.group.is_empty();
    let grace_left = object::metadata(old).get("deletionGracePeriodSeconds").and_then(Value::as_i64);
    if is_pod && (!already || grace_left.is_some_and(|seconds| seconds > 0)) {
        mark(&mut next, old, 0);
        return Step::MarkThenRemove(next);
    }
    Step::Remove
}

fn mark(next: &mut Value, old: &Value, grace: i64) {
    let at = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(grace);
    let already = object::is_deleting(old);
    let metadata = object::metadata_mut(next);
    let before = metadata.get("deletionGracePeriodSeconds").and_then(Value::as_i64).unwrap_or(0);
    if !already || before > grace {
        // A shorter grace period counts from when the deletion was asked for first.
        let asked = metadata
            .get("deletionTimestamp")
            .and_then(Value::as_str)
            .and_then(|time| time.parse::<jiff::Timestamp>().ok())
            .map(|time| time + jiff::SignedDuration::from_secs(grace - before));
        let at = asked.unwrap_or(at);
        metadata.insert("deletionTimestamp".into(), at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into());
    }
    if !already && let Some(generation) = metadata.get("generation").and_then(Value::as_i64) {
        metadata.insert("generation".into(), (generation + 1).into());
    }
    metadata.insert("deletionGracePeriodSeconds".into(), grace.into());
    if !metadata.contains_key("deletionTimestamp") {
        metadata.insert("deletionTimestamp".into(), now().into());
    }
}

/// What must go before a Namespace does.
fn namespace_finalizers(namespace: &Value) -> &[Value] {
    namespace.pointer("/spec/finalizers").and_then(Value::as_array).unwrap_or_default()
}

/// The finalizers an object has once its deletion is asked for in this way.
fn finalizers_after(call: &Call, old: &Value, options: &DeleteOptions) -> Vec<String> {
    let mut finalizers: Vec<String> = object::finalizers(old)
        .into_iter()
        .filter(|finalizer| {
            !["orphan", "foregroundDeletion"].contains(finalizer) || options.propagation.is_none()
        })
        .map(str::to_owned)
        .collect();
    match options.propagation {
        Some(Propagation::Orphan) => finalizers.push("orphan".into()),
        Some(Propagation::Foreground) => finalizers.push("foregroundDeletion".into()),
        Some(Propagation::Background) => {}
        None => {
            let orphans = matches!(
                (call.resource.group.as_str(), call.resource.kind.as_str()),
                ("batch", "Job") | ("", "ReplicationController")
            );
            if orphans && !finalizers.iter().any(|name| name == "orphan" || name == "foregroundDeletion") {
                finalizers.push("orphan".into());
            }
        }
    }
    if call.resource.kind == "CustomResourceDefinition" {
        let cleanup = "customresourcecleanup.apiextensions.k8s.io";
        if !object::is_deleting(old) && !finalizers.iter().any(|name| name == cleanup) {
            finalizers.push(cleanup.into());
        }
    }
    finalizers
}

/// Seconds an object lives on: only Pods that run somewhere get any.
fn grace_seconds(call: &Call, old: &Value, options: &DeleteOptions) -> i64 {
    if call.resource.kind != "Pod" || !call.resource.group.is_empty() {
        return 0;
    }
    let from_spec = old.pointer("/spec/terminationGracePeriodSeconds").and_then(Value::as_i64);
    let mut grace = options.grace_period_seconds.or(from_spec).unwrap_or(POD_GRACE_SECONDS);
    if grace < 0 {
        grace = 1;
    }
    let assigned = old.pointer("/spec/nodeName").and_then(Value::as_str).is_some_and(|node| !node.is_empty());
    let phase = old.pointer("/status/phase").and_then(Value::as_str).unwrap_or("");
    if !assigned || matches!(phase, "Succeeded" | "Failed") { 0 } else { grace }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{Catalogue, Resource};
    use std::sync::Arc;

    #[test]
    fn what_a_deletion_does_first() {
        let catalogue = Catalogue::builtin();
        let deleting = json!({"deletionTimestamp": "2020-01-01T00:00:30Z", "deletionGracePeriodSeconds": 30, "generation": 2});
        for (resource, metadata, node, grace, want) in [
            // Pods are marked before they go, even where nothing has to end.
            ("pods", json!({"generation": 1}), "", None, json!([2, 0])),
            ("pods", json!({"generation": 1}), "n", Some(5), json!([2, 5])),
            ("pods", deleting.clone(), "n", Some(0), json!([2, 0, "2020-01-01T00:00:00Z"])),
            ("pods", deleting.clone(), "n", Some(10), json!([2, 10, "2020-01-01T00:00:10Z"])),
            ("pods", deleting, "n", Some(50), json!("as it is")),
            ("configmaps", json!({}), "", None, json!("gone")),
        ] {
            let resource = catalogue.get("", "v1", resource).unwrap();
            let old = json!({"metadata": metadata, "spec": {"nodeName": node}});
            let call = call(resource);
            let options = DeleteOptions { grace_period_seconds: grace, ..DeleteOptions::default() };
            let got = match next_step(&call, &old, &options) {
                Step::Remove => json!("gone"),
                Step::AsItIs => json!("as it is"),
                Step::MarkThenRemove(next) | Step::Wait(next) => {
                    let metadata = object::metadata(&next);
                    let mut got =
                        vec![metadata["generation"].clone(), metadata["deletionGracePeriodSeconds"].clone()];
                    if object::is_deleting(&old) {
                        got.push(metadata["deletionTimestamp"].clone());
                    }
                    json!(got)
                }
            };
            assert_eq!(got, want, "{old} {grace:?}");
        }
    }

    #[test]
    fn a_namespace_ends_before_it_goes() {
        let catalogue = Catalogue::builtin();
        let resource = catalogue.get("", "v1", "namespaces").unwrap();
        let ending = json!({"deletionTimestamp": "2020-01-01T00:00:30Z"});
        let orphan = DeleteOptions { propagation: Some(Propagation::Orphan), ..DeleteOptions::default() };
        for (metadata, left, options, want) in [
            (json!({}), json!(["kubernetes"]), DeleteOptions::default(), json!("ends")),
            (json!({}), json!([]), DeleteOptions::default(), json!("ends")),
            (ending.clone(), json!(["kubernetes"]), orphan, json!("as it is")),
            (ending, json!([]), DeleteOptions::default(), json!("gone")),
        ] {
            let old = json!({"metadata": metadata, "spec": {"finalizers": left}});
            let got = match next_step(&call(resource), &old, &options) {
                Step::Remove => json!("gone"),
                Step::AsItIs => json!("as it is"),
                Step::MarkThenRemove(next) | Step::Wait(next) => {
                    assert!(object::metadata(&next).get("deletionGracePeriodSeconds").is_none());
                    assert!(object::is_deleting(&next) && next["status"]["phase"] == "Terminating");
                    json!("ends")
                }
            };
            assert_eq!(got, want, "{old}");
        }
    }

    fn call(resource: &Arc<Resource>) -> Call<'_> {
        Call {
            resource,
            namespace: Some("n"),
            subresource: "",
            manager: "",
            dry_run: false,
            requester: crate::Requester::default(),
        }
    }

    #[test]
    fn preconditions_of_a_namespace_name_the_resource() {
        let catalogue = Catalogue::builtin();
        let resource = catalogue.get("", "v1", "namespaces").unwrap();
        let old = json!({"metadata": {"uid": "u", "resourceVersion": "7"}});
        let options = DeleteOptions { uid: Some("x".to_owned()), ..DeleteOptions::default() };
        let got = check_preconditions(&call(resource), "a", &old, &options).unwrap_err();
        let why = "Precondition failed: UID in precondition: x, UID in object meta: u";
        let want = format!("Operation cannot be fulfilled on namespaces \"a\": {why}");
        assert_eq!(got.message, want);
    }

    #[test]
    fn preconditions_name_the_kind() {
        let catalogue = Catalogue::builtin();
        let resource = catalogue.get("apps", "v1", "deployments").unwrap();
        let call = call(resource);
        let old = json!({"metadata": {"uid": "u", "resourceVersion": "7"}});
        let options = |uid: &str, version: &str| DeleteOptions {
            uid: Some(uid.to_owned()),
            resource_version: Some(version.to_owned()),
            ..DeleteOptions::default()
        };
        for (options, want) in [
            (options("u", "7"), ""),
            (
                options("x", "7"),
                "Operation cannot be fulfilled on Deployment.apps \"a\": the UID in the precondition (x) does not match the UID in record (u). The object might have been deleted and then recreated",
            ),
            (
                options("u", "8"),
                "Operation cannot be fulfilled on Deployment.apps \"a\": the ResourceVersion in the precondition (8) does not match the ResourceVersion in record (7). The object might have been modified",
            ),
        ] {
            let got = check_preconditions(&call, "a", &old, &options).err();
            assert_eq!(got.map(|status| status.message).unwrap_or_default(), want);
        }
    }
}
