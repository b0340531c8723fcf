//! Pods of an owner: made from a template, adopted, released, deleted.
//!
//! How many there should be is decided by the owner's loop.

use controllers_kit::meta::{controller_of, controller_reference, has_finalizer};
use controllers_kit::selector::matches;
use controllers_kit::{Cache, Change, Error, Index, Key, Object, Queue, Recorder, pods};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Preconditions};
use serde_json::json;
use std::borrow::Cow;
use std::sync::Arc;

/// A Pod of this template, controlled by `owner`.
pub(crate) fn pod_from<K: Object>(owner: &K, template: &PodTemplateSpec) -> Pod {
    let meta = template.metadata.clone().unwrap_or_default();
    let name = owner.meta().name.clone().unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: owner.meta().namespace.clone(),
            labels: meta.labels,
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![controller_reference(owner)]),
            ..Default::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

/// The owner's Pods: those it controls and that match, after adopting orphans and releasing strangers.
pub(crate) async fn claim<K: Object>(
    pods: &Cache<Pod>,
    owner: &K,
    selector: &LabelSelector,
) -> Result<Vec<Arc<Pod>>, Error> {
    claim_members(pods, owner, selector, |_| true).await
}

/// As [`claim`], for an owner whose Pods have to be more than matching.
pub(crate) async fn claim_members<K: Object>(
    pods: &Cache<Pod>,
    owner: &K,
    selector: &LabelSelector,
    is_member: impl Fn(&Pod) -> bool,
) -> Result<Vec<Arc<Pod>>, Error> {
    let uid = owner.meta().uid.clone().unwrap_or_default();
    let mut mine = Vec::new();
    for pod in pods.controlled_by(&uid) {
        let ours = matches(selector, pod.metadata.labels.as_ref()) && is_member(&pod);
        if ours || pods::is_terminating(&pod) {
            mine.push(pod);
            continue;
        }
        let others: Vec<_> =
            pod.metadata.owner_references.iter().flatten().filter(|o| o.uid != uid).collect();
        let patch = json!({"metadata": {"uid": pod.metadata.uid, "ownerReferences": others}});
        controllers_kit::error::gone_is_fine(pods.patch(&Key::of(&pod.metadata), &patch).await)?;
    }
    let is_orphan = |pod: &Pod| pods::is_active(pod) && is_member(pod);
    mine.extend(adopt(pods, owner, selector, is_orphan).await?);
    Ok(mine)
}

/// Takes those without a controller that match and are worth it.
pub(crate) async fn adopt<K: Object, M: Object>(
    members: &Cache<M>,
    owner: &K,
    selector: &LabelSelector,
    is_worth_it: impl Fn(&M) -> bool,
) -> Result<Vec<Arc<M>>, Error> {
    adopt_with(members, owner, selector, None, is_worth_it).await
}

/// As [`adopt`]; what is taken has this finalizer.
pub(crate) async fn adopt_with<K: Object, M: Object>(
    members: &Cache<M>,
    owner: &K,
    selector: &LabelSelector,
    finalizer: Option<&str>,
    is_worth_it: impl Fn(&M) -> bool,
) -> Result<Vec<Arc<M>>, Error> {
    let mut found = orphans(members).at(owner.meta().namespace.as_deref().unwrap_or_default());
    found.retain(|orphan| matches(selector, orphan.meta().labels.as_ref()) && is_worth_it(orphan));
    let mut adopted = Vec::new();
    if found.is_empty() || !may_adopt(members.client(), owner).await? {
        return Ok(adopted);
    }
    for orphan in found {
        let meta = orphan.meta();
        let mut owners = meta.owner_references.clone().unwrap_or_default();
        owners.push(controller_reference(owner));
        let mut patch = json!({"metadata": {"uid": meta.uid, "ownerReferences": owners}});
        if let Some(finalizer) = finalizer.filter(|name| !has_finalizer(meta, name)) {
            let mut finalizers = meta.finalizers.clone().unwrap_or_default();
            finalizers.push(finalizer.to_owned());
            patch["metadata"]["finalizers"] = json!(finalizers);
        }
        adopted.extend(controllers_kit::error::gone_is_fine(members.patch(&Key::of(meta), &patch).await)?);
    }
    Ok(adopted)
}

/// Asks the API server whether an owner still is the one it was, and not being deleted: what its deletion has orphaned
/// would be adopted again, and go with it. Ask after the orphans were seen; a cache may learn of them before it learns of
/// the deletion. Upstream: `RecheckDeletionTimestamp`.
async fn may_adopt<K: Object>(client: &kube::Client, owner: &K) -> Result<bool, Error> {
    let meta = owner.meta();
    if meta.deletion_timestamp.is_some() {
        return Ok(false);
    }
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    let owners: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), namespace, &ApiResource::erase::<K>(&()));
    let found = owners.get_metadata_opt(meta.name.as_deref().unwrap_or_default()).await?;
    Ok(found
        .is_some_and(|found| found.metadata.uid == meta.uid && found.metadata.deletion_timestamp.is_none()))
}

/// Objects without a controller that are not being deleted, by namespace.
pub(crate) fn orphans<K: Object>(all: &Cache<K>) -> Index<K> {
    all.index("orphans", |object| {
        let meta = object.meta();
        match controller_of(meta) {
            None if meta.deletion_timestamp.is_none() => vec![meta.namespace.clone().unwrap_or_default()],
            _ => Vec::new(),
        }
    })
}

/// Create Pods at once, with the Events upstream writes on the owner.
pub(crate) async fn create_all<K: Object>(
    pods: &Cache<Pod>,
    events: &Recorder,
    owner: &K,
    wanted: &[Pod],
) -> Result<usize, Error> {
    let results = futures::future::join_all(wanted.iter().map(|pod| pods.create(pod))).await;
    let mut made = 0;
    let mut failure = None;
    for result in results {
        match result {
            Ok(pod) => {
                made += 1;
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                events.normal(owner, "SuccessfulCreate", format!("Created pod: {name}"));
            }
            Err(error) => {
                events.warning(owner, "FailedCreate", format!("Error creating: {}", error.sentence()));
                failure = Some(error);
            }
        }
    }
    failure.map_or(Ok(made), Err)
}

/// Delete Pods at once, with the Events upstream writes on the owner.
pub(crate) async fn delete_all<K: Object>(
    pods: &Cache<Pod>,
    events: &Recorder,
    owner: &K,
    unwanted: &[Arc<Pod>],
) -> Result<(), Error> {
    let deletions = unwanted.iter().map(|pod| async move {
        let precondition = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
        let params = DeleteParams::default().preconditions(precondition);
        pods.delete(&Key::of(&pod.metadata), &params).await
    });
    let results = futures::future::join_all(deletions).await;
    let mut failure = None;
    for (pod, result) in unwanted.iter().zip(results) {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        match result {
            Ok(_) => events.normal(owner, "SuccessfulDelete", format!("Deleted pod: {name}")),
            Err(error) => {
                events.warning(owner, "FailedDelete", format!("Error deleting: {}", error.sentence()));
                failure = Some(error);
            }
        }
    }
    failure.map_or(Ok(()), Err)
}

/// Wake the controllers of Pods that changed, of this kind of owner. They are not in a hurry: requests are led away from a
/// Pod that goes before there is another one, and counts are told when all is done.
pub(crate) fn wake_owner(pods: &Cache<Pod>, kind: &'static str, queue: Queue<Key>) {
    pods.on_change(move |change| {
        for key in controllers(change, kind) {
            queue.add_settled(key, pods::story(&change.key, change.old.as_deref(), change.new.as_deref()));
        }
    });
}

/// Wake the controllers, of this kind, of what changed; `story` says why.
pub(crate) fn wake_controllers<K: Object>(
    dependents: &Cache<K>,
    kind: &'static str,
    queue: Queue<Key>,
    story: fn(&Change<K>) -> String,
) {
    dependents.on_change(move |change| {
        for key in controllers(change, kind) {
            queue.add(key, story(change));
        }
    });
}

/// The controllers of this kind that what changed had and has.
fn controllers<'a, K: Object>(change: &'a Change<K>, kind: &'a str) -> impl Iterator<Item = Key> + 'a {
    let versions = [change.old.as_ref(), change.new.as_ref()];
    let owners = versions.into_iter().flatten().filter_map(|object| controller_of(object.meta()));
    owners.filter(move |owner| owner.kind == kind).map(|owner| Key::new(&change.key.namespace, &owner.name))
}

/// Wake the owners that would adopt a Pod without a controller.
pub(crate) fn wake_adopters<K: Object>(
    pods: &Cache<Pod>,
    owners: &Cache<K>,
    selector: fn(&K) -> Option<Cow<'_, LabelSelector>>,
    queue: Queue<Key>,
) {
    // Who is woken looks for them there.
    orphans(pods);
    let owners = owners.clone();
    pods.on_change(move |change| {
        let Some(pod) = change.new.as_ref().filter(|pod| controller_of(&pod.metadata).is_none()) else {
            return;
        };
        for owner in owners.in_namespace(&change.key.namespace) {
            if selector(&owner).is_some_and(|s| matches(&s, pod.metadata.labels.as_ref())) {
                queue.add(Key::of(owner.meta()), format!("Pod {} has no controller", change.key));
            }
        }
    });
}

/// A number, or its share of another one.
pub(crate) fn scaled(value: &IntOrString, of: i32, up: bool) -> i32 {
    match value {
        IntOrString::Int(n) => *n,
        IntOrString::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            let hundredths = percent * i64::from(of);
            i32::try_from(if up { (hundredths + 99) / 100 } else { hundredths / 100 }).unwrap_or(i32::MAX)
        }
    }
}
