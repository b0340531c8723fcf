//! What stores data is gone once nobody uses it: the finalizers that admission puts on claims, volumes and attribute
//! classes are taken away then. `pkg/controller/volume/{pvc,pv,vac}protection` upstream.

use controllers_kit::{Cache, Caches, Change, Done, Error, Key, Object, Queue, pods};
use futures::future::join3;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::VolumeAttributesClass;
use std::sync::Arc;

pub(crate) async fn run(caches: Caches) {
    let (claims, volumes, users) =
        (caches.of::<PersistentVolumeClaim>(), caches.of::<PersistentVolume>(), caches.of::<Pod>());
    let classes = caches.of::<VolumeAttributesClass>();
    let [of_claims, of_volumes, of_classes] = [Queue::new(), Queue::new(), Queue::new()];
    let q: Queue<Key> = of_claims.clone();
    users.on_change(move |change: &Change<Pod>| {
        let still = change.new.as_deref().is_some_and(|pod| !pods::is_finished(pod));
        for name in change.old.as_deref().filter(|_| !still).into_iter().flat_map(claims_of) {
            q.add(Key::new(&change.key.namespace, name), format!("Pod {} uses it no longer", change.key));
        }
    });
    let (q, all): (Queue<Key>, _) = (of_classes.clone(), classes.clone());
    let wake_classes = move |what: &str| {
        for class in all.all().iter().filter(|class| class.metadata.deletion_timestamp.is_some()) {
            q.add(Key::of(&class.metadata), what.to_owned());
        }
    };
    claims.on_change(move |change| wake_classes(&change.story()));
    users.synced().await;
    claims.synced().await;
    volumes.synced().await;
    classes.synced().await;
    let used = users.clone();
    let claim_is_used = move |claim: &PersistentVolumeClaim| {
        let namespace = claim.metadata.namespace.as_deref().unwrap_or_default();
        let name = claim.metadata.name.as_deref().unwrap_or_default();
        used.in_namespace(namespace).iter().any(|pod| uses(pod, name))
    };
    let volume_is_used = |volume: &PersistentVolume| {
        volume.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Bound"))
    };
    let (named, bound) = (claims.clone(), volumes.clone());
    let class_is_used = move |class: &VolumeAttributesClass| {
        let name = &class.metadata.name;
        named.all().iter().any(|claim| names_of(claim).any(|used| Some(used) == name.as_ref()))
            || bound.all().iter().any(|volume| {
                volume.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.as_ref())
                    == name.as_ref()
            })
    };
    join3(
        guard("pvc-protection", "kubernetes.io/pvc-protection", claims, of_claims, claim_is_used),
        guard("pv-protection", "kubernetes.io/pv-protection", volumes, of_volumes, volume_is_used),
        guard("vac-protection", "kubernetes.io/vac-protection", classes, of_classes, class_is_used),
    )
    .await;
}

/// Takes the finalizer from objects that are being deleted and that nobody uses.
async fn guard<K: Object>(
    controller: &'static str,
    finalizer: &'static str,
    objects: Cache<K>,
    queue: Queue<Key>,
    is_used: impl Fn(&K) -> bool + Send + Sync + 'static,
) {
    objects.wake(&queue);
    let (is_used, objects) = (Arc::new(is_used), objects.clone());
    controllers_kit::run(controller, queue, 1, move |key| {
        let (is_used, objects) = (is_used.clone(), objects.clone());
        async move { release(&objects, &key, finalizer, &*is_used).await }
    })
    .await;
}

async fn release<K: Object>(
    objects: &Cache<K>,
    key: &Key,
    finalizer: &str,
    is_used: &(impl Fn(&K) -> bool + Send + Sync),
) -> Result<Done, Error> {
    let mut done = Done::nothing();
    let Some(object) = objects.get(key) else { return Ok(done) };
    let held = object.meta().finalizers.iter().flatten().any(|held| held == finalizer);
    if !held || object.meta().deletion_timestamp.is_none() || is_used(&object) {
        return Ok(done);
    }
    let mut free = (*object).clone();
    free.meta_mut().finalizers.get_or_insert_default().retain(|held| held != finalizer);
    if controllers_kit::error::gone_is_fine(objects.replace_object(&free).await)?.is_some() {
        done.note(format!("took {finalizer} away: nobody uses it"));
    }
    Ok(done)
}

fn claims_of(pod: &Pod) -> impl Iterator<Item = &str> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| Some(volume.persistent_volume_claim.as_ref()?.claim_name.as_str()))
}

/// A Pod that no node has yet holds nothing.
fn uses(pod: &Pod, claim: &str) -> bool {
    pods::node_name(pod).is_some() && !pods::is_finished(pod) && claims_of(pod).any(|name| name == claim)
}

/// Attribute classes a claim wants and has.
fn names_of(claim: &PersistentVolumeClaim) -> impl Iterator<Item = &String> {
    let wanted = claim.spec.iter().filter_map(|spec| spec.volume_attributes_class_name.as_ref());
    let had = claim.status.iter().filter_map(|status| status.current_volume_attributes_class_name.as_ref());
    wanted.chain(had)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_holds_its_claims_from_its_binding_to_its_end() {
        let table = [
            (json!({"nodeName": "n"}), "Running", true),
            (json!({}), "Pending", false),
            (json!({"nodeName": "n"}), "Succeeded", false),
            (json!({"nodeName": "n"}), "Failed", false),
        ];
        for (mut spec, phase, holds) in table {
            spec["containers"] = json!([]);
            spec["volumes"] = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]);
            let pod: Pod =
                serde_json::from_value(json!({"metadata": {}, "spec": spec, "status": {"phase": phase}}))
                    .unwrap();
            assert_eq!((uses(&pod, "data"), uses(&pod, "other")), (holds, false), "{spec} {phase}");
        }
    }
}
