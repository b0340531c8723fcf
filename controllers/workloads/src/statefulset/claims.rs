//! The claims of a StatefulSet's Pods: made with the Pod, and left or owned as the retention policy says.

use super::{Loop, plan, pod};
use controllers_kit::meta::controller_reference;
use controllers_kit::{Done, Error, Key};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::json;
use std::sync::Arc;

/// Said of each claim, for whoever wonders why it stays Pending.
const UNBOUND: &str = "no volume is provisioned here: simulated containers have no file system, and Pods run without their claims";

/// The claims of a number, each with the volume it is for.
pub(super) fn build(set: &StatefulSet, ordinal: i32) -> Vec<(String, PersistentVolumeClaim)> {
    let Some(spec) = &set.spec else { return Vec::new() };
    let claim = |template: &PersistentVolumeClaim| {
        let volume = template.metadata.name.clone().unwrap_or_default();
        let mut claim = template.clone();
        claim.metadata.name = Some(format!("{volume}-{}", pod::name(set, ordinal)));
        claim.metadata.namespace = set.metadata.namespace.clone();
        let labels = claim.metadata.labels.get_or_insert_default();
        labels.extend(spec.selector.match_labels.clone().unwrap_or_default());
        claim.status = None;
        (volume, claim)
    };
    spec.volume_claim_templates.iter().flatten().map(claim).collect()
}

/// Whether the set and whether the Pod owns the Pod's claims.
fn owners(set: &StatefulSet, ordinal: i32) -> (bool, bool) {
    let policy = set.spec.as_ref().and_then(|s| s.persistent_volume_claim_retention_policy.clone());
    let policy = policy.unwrap_or_default();
    let deletes = |when: &Option<String>| when.as_deref() == Some("Delete");
    let scaled_down = !plan::is_wanted(set, ordinal) && deletes(&policy.when_scaled);
    (deletes(&policy.when_deleted) && !scaled_down, scaled_down)
}

fn is_of(reference: &OwnerReference, kind: &str, name: Option<&String>) -> bool {
    reference.kind == kind && Some(&reference.name) == name
}

/// The owners a claim should have; None where they are right, or are of a Pod that is gone.
fn owners_of(
    claim: &PersistentVolumeClaim,
    set: &StatefulSet,
    pod: &Pod,
    ordinal: i32,
) -> Option<Vec<OwnerReference>> {
    let before = claim.metadata.owner_references.clone().unwrap_or_default();
    let (set_name, pod_name) = (set.metadata.name.as_ref(), pod.metadata.name.as_ref());
    let of_set = |o: &OwnerReference| is_of(o, "StatefulSet", set_name);
    let of_pod = |o: &OwnerReference| is_of(o, "Pod", pod_name);
    let stale = |o: &OwnerReference| {
        (of_set(o) && Some(&o.uid) != set.metadata.uid.as_ref())
            || (of_pod(o) && Some(&o.uid) != pod.metadata.uid.as_ref())
    };
    if before.iter().any(stale) {
        return None;
    }
    let mut after: Vec<_> = before.iter().filter(|o| !of_set(o) && !of_pod(o)).cloned().collect();
    let (by_set, by_pod) = owners(set, ordinal);
    after.extend(by_set.then(|| controller_reference(set)));
    after.extend(by_pod.then(|| controller_reference(pod)));
    (after != before).then_some(after)
}

impl Loop {
    pub(super) async fn make_claims(
        &self,
        set: &StatefulSet,
        ordinal: i32,
        done: &mut Done,
    ) -> Result<(), Error> {
        let pod = pod::name(set, ordinal);
        for (_, claim) in build(set, ordinal) {
            let key = Key::of(&claim.metadata);
            match self.claims.get(&key) {
                Some(known) if known.metadata.deletion_timestamp.is_some() => {
                    return Err(Error::Transient(format!("pvc {} is being deleted", key.name)));
                }
                Some(_) => continue,
                None => {}
            }
            let set_name = set.metadata.name.as_deref().unwrap_or_default();
            match self.claims.create(&claim).await {
                Ok(made) => {
                    let text =
                        format!("Create Claim {} Pod {pod} in StatefulSet {set_name} success", key.name);
                    self.events.normal(set, "SuccessfulCreate", text);
                    self.events.normal(&*made, "FailedBinding", UNBOUND);
                    done.note(format!("created claim {}", key.name));
                }
                Err(error) => {
                    let what = format!("Create Claim {} for Pod {pod} in StatefulSet {set_name}", key.name);
                    let text = format!("{what} failed error: {}", error.sentence());
                    self.events.warning(set, "FailedCreate", text);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// True if a claim still belongs to a Pod of this name that was scaled away: it will be collected.
    pub(super) fn awaits_collection(&self, set: &StatefulSet, ordinal: i32, pod: &str) -> bool {
        let pod = pod.to_string();
        build(set, ordinal).iter().filter_map(|(_, claim)| self.claims.get(&Key::of(&claim.metadata))).any(
            |claim| claim.metadata.owner_references.iter().flatten().any(|o| is_of(o, "Pod", Some(&pod))),
        )
    }

    pub(super) async fn own_claims(
        &self,
        set: &StatefulSet,
        pods: &[Arc<Pod>],
        done: &mut Done,
    ) -> Result<(), Error> {
        for pod in pods {
            let Some((_, ordinal)) = plan::ordinal(pod) else { continue };
            for (_, claim) in build(set, ordinal) {
                let key = Key::of(&claim.metadata);
                let Some(known) = self.claims.get(&key) else { continue };
                if let Some(owners) = owners_of(&known, set, pod, ordinal) {
                    let patch = json!({"metadata": {"uid": known.metadata.uid, "ownerReferences": owners}});
                    self.claims.patch(&key, &patch).await?;
                    done.note(format!("claim {} has {} owners", key.name, owners.len()));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_owned_as_the_policy_says() {
        let table = [
            ("Retain", "Retain", 0, vec![]),
            ("Delete", "Retain", 0, vec!["StatefulSet"]),
            ("Delete", "Retain", 1, vec!["StatefulSet"]),
            ("Retain", "Delete", 0, vec![]),
            ("Retain", "Delete", 1, vec!["Pod"]),
            ("Delete", "Delete", 0, vec!["StatefulSet"]),
            ("Delete", "Delete", 1, vec!["Pod"]),
        ];
        for (deleted, scaled, ordinal, expected) in table {
            let set: StatefulSet = serde_json::from_value(json!({
                "metadata": {"name": "web", "uid": "s"},
                "spec": {"replicas": 1, "selector": {}, "template": {},
                    "persistentVolumeClaimRetentionPolicy": {"whenDeleted": deleted, "whenScaled": scaled}},
            }))
            .unwrap();
            let pod: Pod =
                serde_json::from_value(json!({"metadata": {"name": format!("web-{ordinal}"), "uid": "p"}}))
                    .unwrap();
            let mut claim = PersistentVolumeClaim::default();
            let owners = owners_of(&claim, &set, &pod, ordinal);
            let kinds: Vec<_> = owners.iter().flatten().map(|o| o.kind.as_str()).collect();
            assert_eq!(kinds, expected, "{deleted} {scaled} {ordinal}");
            claim.metadata.owner_references = owners;
            assert_eq!(owners_of(&claim, &set, &pod, ordinal), None, "a second time");
        }
    }
}
