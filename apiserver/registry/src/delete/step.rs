//! What deleting an object does to it: the rules, on an outline of it.

use apiserver_json::{Map, Value, json};
use apiserver_meta::Status;
use jiff::{SignedDuration, Timestamp};

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

/// What keeps a definition until its objects are gone.
const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Seconds a Pod gets where nobody says otherwise.
const POD_GRACE_SECONDS: i64 = 30;

pub(super) fn check_preconditions(
    call: &Call,
    name: &str,
    old: &Value,
    options: &DeleteOptions,
) -> Result<(), Status> {
    if (call.resource.kind == "Namespace" && call.resource.group.is_empty()) || is_definition(call) {
        check_own_preconditions(call, name, old, options)?;
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
    Ok(())
}

/// Some priority classes are not deleted by their name; upstream deletes them with all others.
pub(super) fn check_system_class(call: &Call, name: &str) -> Result<(), Status> {
    let is_class = call.resource.kind == "PriorityClass" && call.resource.group == "scheduling.k8s.io";
    if is_class && crate::strategy::is_system_priority_class(name) {
        let gr = call.resource.group_resource();
        return Err(Status::forbidden(&gr, name, "this is a system priority class and cannot be deleted"));
    }
    Ok(())
}

/// Some namespaces stay.
pub(super) fn check_immortal(call: &Call, name: &str) -> Result<(), Status> {
    let immortal = ["default", "kube-system", "kube-public"];
    if call.resource.kind == "Namespace" && call.resource.group.is_empty() && immortal.contains(&name) {
        let gr = call.resource.group_resource();
        return Err(Status::forbidden(&gr, name, "this namespace may not be deleted"));
    }
    Ok(())
}

/// Namespaces and definitions have a way of their own to be deleted, with words of its own.
fn check_own_preconditions(
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

pub(super) fn is_definition(call: &Call) -> bool {
    call.resource.kind == "CustomResourceDefinition" && call.resource.group == "apiextensions.k8s.io"
}

pub(super) fn next_step(call: &Call, old: &Value, options: &DeleteOptions) -> Step {
    let mut next = old.clone();
    let already = object::is_deleting(old);
    if is_definition(call) && !already {
        // First its objects go, whatever is said of dependents; nothing counts the seconds of that.
        let mut finalizers = object::finalizers(old);
        if !finalizers.contains(&CLEANUP) {
            finalizers.push(CLEANUP);
        }
        let metadata = object::metadata_mut(&mut next);
        metadata.insert("finalizers".into(), json!(finalizers));
        metadata.insert("deletionTimestamp".into(), now().into());
        return Step::Wait(next);
    }
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
    let is_pod = call.resource.kind == "Pod" && call.resource.group.is_empty();
    let grace = match (is_pod, already) {
        (true, false) => Some(mark_first(&mut next, grace_seconds(old, options))),
        (true, true) => match shorten(&mut next, options) {
            Shortened::NotGraceful => None,
            Shortened::Pending => return Step::AsItIs,
            Shortened::To(seconds) => Some(seconds),
        },
        (false, _) => None,
    };
    match grace {
        Some(1..) => Step::Wait(next),
        Some(_) if keeps => Step::Wait(next),
        Some(_) => Step::MarkThenRemove(next),
        None if keeps => {
            mark_at_once(&mut next);
            if next == *old { Step::AsItIs } else { Step::Wait(next) }
        }
        None => Step::Remove,
    }
}

/// Marks what is given some seconds to end, and says how many.
fn mark_first(next: &mut Value, grace: i64) -> i64 {
    let metadata = object::metadata_mut(next);
    metadata.insert("deletionTimestamp".into(), written(later(Timestamp::now(), grace)));
    metadata.insert("deletionGracePeriodSeconds".into(), grace.into());
    count_generation(metadata);
    grace
}

/// So many seconds later, or earlier; at the end of time where that comes before.
fn later(time: Timestamp, seconds: i64) -> Timestamp {
    time.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(time)
}

/// What a further request makes of a grace period that runs.
enum Shortened {
    /// None runs.
    NotGraceful,
    /// It goes on; nothing else can be changed, either.
    Pending,
    To(i64),
}

/// A grace period is only ever shortened, counted from when the deletion was asked for first.
fn shorten(next: &mut Value, options: &DeleteOptions) -> Shortened {
    let metadata = object::metadata_mut(next);
    let before = metadata.get("deletionGracePeriodSeconds").and_then(Value::as_i64).unwrap_or(0);
    let before = if before < 0 { 1 } else { before };
    if before == 0 {
        return Shortened::NotGraceful;
    }
    let asked = options.grace_period_seconds.map(|asked| if asked < 0 { 1 } else { asked });
    let Some(asked) = asked.filter(|asked| *asked < before) else { return Shortened::Pending };
    let now = Timestamp::now();
    let at = time_of(metadata).map_or(now, |time| later(time, asked.saturating_sub(before)));
    // What is over already is over now, and who is to end it gets a moment to see that.
    let (at, left) = if at < now { (now, asked.min(1)) } else { (at, asked) };
    metadata.insert("deletionTimestamp".into(), written(at));
    metadata.insert("deletionGracePeriodSeconds".into(), left.into());
    Shortened::To(asked)
}

/// Marks what only waits for its finalizers.
fn mark_at_once(next: &mut Value) {
    let metadata = object::metadata_mut(next);
    let now = Timestamp::now();
    match time_of(metadata) {
        None => {
            count_generation(metadata);
            metadata.insert("deletionTimestamp".into(), written(now));
        }
        Some(time) if time > now => drop(metadata.insert("deletionTimestamp".into(), written(now))),
        Some(_) => {}
    }
    metadata.insert("deletionGracePeriodSeconds".into(), 0.into());
}

fn time_of(metadata: &Map) -> Option<Timestamp> {
    metadata.get("deletionTimestamp")?.as_str()?.parse().ok()
}

fn written(time: Timestamp) -> Value {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into()
}

fn count_generation(metadata: &mut Map) {
    if let Some(generation) = metadata.get("generation").and_then(Value::as_i64).filter(|number| *number > 0)
    {
        metadata.insert("generation".into(), (generation + 1).into());
    }
}

/// What must go before a Namespace does.
fn namespace_finalizers(namespace: &Value) -> &[Value] {
    namespace.pointer("/spec/finalizers").and_then(Value::as_array).unwrap_or_default()
}

/// The finalizers an object has once its deletion is asked for in this way.
fn finalizers_after(call: &Call, old: &Value, options: &DeleteOptions) -> Vec<String> {
    let own = ["orphan", "foregroundDeletion"];
    let before = object::finalizers(old);
    let set = before.iter().find(|name| own.contains(name)).copied();
    let wanted = match options.propagation {
        // Nobody looks for what belongs to an Event.
        _ if call.resource.kind == "Event" => None,
        Some(Propagation::Orphan) => Some("orphan"),
        Some(Propagation::Foreground) => Some("foregroundDeletion"),
        Some(Propagation::Background) => None,
        None => set.or_else(|| {
            let orphans = matches!(
                (call.resource.group.as_str(), call.resource.kind.as_str()),
                ("batch", "Job") | ("", "ReplicationController")
            );
            orphans.then_some("orphan")
        }),
    };
    let mut after: Vec<&str> = before.iter().copied().filter(|name| !own.contains(name)).collect();
    after.extend(wanted);
    // Where it makes no difference their order stays.
    let is_same =
        before.iter().all(|name| after.contains(name)) && after.iter().all(|name| before.contains(name));
    if is_same { before } else { after }.into_iter().map(str::to_owned).collect()
}

/// Seconds a Pod lives on: only those that run somewhere get any.
fn grace_seconds(old: &Value, options: &DeleteOptions) -> i64 {
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
        let deleting = json!({"deletionTimestamp": "2999-01-01T00:00:30Z", "deletionGracePeriodSeconds": 30, "generation": 2});
        let late = json!({"deletionTimestamp": "2020-01-01T00:00:30Z", "deletionGracePeriodSeconds": 30, "generation": 2, "finalizers": ["a.b/c"]});
        for (resource, metadata, node, grace, want) in [
            // Pods are marked before they go, even where nothing has to end.
            ("pods", json!({"generation": 1}), "", None, json!([2, 0])),
            ("pods", json!({"generation": 1}), "n", Some(5), json!([2, 5])),
            ("pods", deleting.clone(), "n", Some(0), json!([2, 0, "2999-01-01T00:00:00Z"])),
            ("pods", deleting.clone(), "n", Some(10), json!([2, 10, "2999-01-01T00:00:10Z"])),
            ("pods", deleting.clone(), "n", Some(50), json!("as it is")),
            ("pods", deleting, "n", None, json!("as it is")),
            // What is over by now is over now.
            ("pods", late.clone(), "n", Some(10), json!([2, 1, now()])),
            ("pods", late, "n", None, json!("as it is")),
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
    fn finalizers_say_what_becomes_of_dependents() {
        let catalogue = Catalogue::builtin();
        let (orphan, foreground) = (Some(Propagation::Orphan), Some(Propagation::Foreground));
        for (resource, before, propagation, want) in [
            ("configmaps", json!([]), None, json!([])),
            ("configmaps", json!(["a.b/c"]), orphan, json!(["a.b/c", "orphan"])),
            ("configmaps", json!(["orphan", "a.b/c"]), foreground, json!(["a.b/c", "foregroundDeletion"])),
            (
                "configmaps",
                json!(["foregroundDeletion", "a.b/c"]),
                foreground,
                json!(["foregroundDeletion", "a.b/c"]),
            ),
            ("configmaps", json!(["foregroundDeletion"]), Some(Propagation::Background), json!([])),
            ("configmaps", json!(["foregroundDeletion"]), None, json!(["foregroundDeletion"])),
            ("replicationcontrollers", json!([]), None, json!(["orphan"])),
            ("replicationcontrollers", json!(["foregroundDeletion"]), None, json!(["foregroundDeletion"])),
            ("events", json!([]), foreground, json!([])),
        ] {
            let resource = catalogue.get("", "v1", resource).unwrap();
            let old = json!({"metadata": {"finalizers": before}});
            let options = DeleteOptions { propagation, ..DeleteOptions::default() };
            assert_eq!(
                json!(finalizers_after(&call(resource), &old, &options)),
                want,
                "{before} {propagation:?}"
            );
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
    fn a_definition_waits_for_its_objects_and_nothing_else() {
        let catalogue = Catalogue::builtin();
        let resource = catalogue.get("apiextensions.k8s.io", "v1", "customresourcedefinitions").unwrap();
        let old = json!({"metadata": {"generation": 1, "finalizers": ["a.b/c"]}});
        for propagation in [None, Some(Propagation::Orphan), Some(Propagation::Foreground)] {
            let options = DeleteOptions { propagation, ..DeleteOptions::default() };
            let Step::Wait(next) = next_step(&call(resource), &old, &options) else {
                panic!("{propagation:?}")
            };
            let metadata = object::metadata(&next);
            assert_eq!(metadata["finalizers"], json!(["a.b/c", CLEANUP]));
            assert_eq!(metadata["generation"], 1);
            assert!(object::is_deleting(&next) && !metadata.contains_key("deletionGracePeriodSeconds"));
        }
    }

    #[test]
    fn a_grace_period_may_be_longer_than_time() {
        let catalogue = Catalogue::builtin();
        let pods = call(catalogue.get("", "v1", "pods").unwrap());
        let old =
            json!({"metadata": {"name": "a"}, "spec": {"nodeName": "n"}, "status": {"phase": "Running"}});
        let options = DeleteOptions { grace_period_seconds: Some(i64::MAX), ..DeleteOptions::default() };
        let Step::Wait(next) = next_step(&pods, &old, &options) else { panic!("it is waited for") };
        assert_eq!(object::metadata(&next)["deletionGracePeriodSeconds"], i64::MAX);
        let options = DeleteOptions { grace_period_seconds: Some(2), ..DeleteOptions::default() };
        let Step::Wait(next) = next_step(&pods, &next, &options) else { panic!("it is shortened") };
        assert_eq!(object::metadata(&next)["deletionGracePeriodSeconds"], 1);
    }

    #[test]
    fn preconditions_of_namespaces_and_definitions_name_the_resource() {
        let catalogue = Catalogue::builtin();
        let old = json!({"metadata": {"uid": "u", "resourceVersion": "7"}});
        let options = DeleteOptions { uid: Some("x".to_owned()), ..DeleteOptions::default() };
        for (group, resource, named) in [
            ("", "namespaces", "namespaces"),
            (
                "apiextensions.k8s.io",
                "customresourcedefinitions",
                "customresourcedefinitions.apiextensions.k8s.io",
            ),
        ] {
            let resource = catalogue.get(group, "v1", resource).unwrap();
            let got = check_preconditions(&call(resource), "a", &old, &options).unwrap_err();
            let why = "Precondition failed: UID in precondition: x, UID in object meta: u";
            let want = format!("Operation cannot be fulfilled on {named} \"a\": {why}");
            assert_eq!(got.message, want);
        }
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
