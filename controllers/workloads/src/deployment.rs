//! Deployment: rolls from one ReplicaSet to the next, keeps history, tells progress.
//!
//! It makes no Pods; undo is kubectl writing an older template.

mod plan;
mod status;

use crate::control::{adopt, orphans, wake_controllers};
use controllers_kit::meta::{annotation, controller_of, controller_reference, now, safe_hash};
use controllers_kit::{Cache, Caches, Change, Done, Error, Key, Queue, Recorder, pods};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::api::DeleteParams;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub(crate) const HASH: &str = "pod-template-hash";
const REVISION: &str = "deployment.kubernetes.io/revision";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";
/// Annotations of a Deployment that its ReplicaSets do not get.
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    "deployment.kubernetes.io/revision-history",
    DESIRED,
    MAX,
    "deprecated.deployment.rollback.to",
];

struct Loop {
    deployments: Cache<Deployment>,
    sets: Cache<ReplicaSet>,
    pods: Cache<Pod>,
    events: Recorder,
}

pub(crate) async fn run(caches: Caches) {
    let (deployments, sets, pods) =
        (caches.of::<Deployment>(), caches.of::<ReplicaSet>(), caches.of::<Pod>());
    let queue: Queue<Key> = Queue::new();
    orphans(&sets);
    deployments.wake(&queue);
    wake_controllers(&sets, "Deployment", queue.clone(), Change::story);
    // Recreate waits for the last old Pod to go.
    let (q, all_sets) = (queue.clone(), sets.clone());
    pods.on_change(move |change| {
        let (None, Some(old)) = (&change.new, &change.old) else { return };
        let set = controller_of(&old.metadata).filter(|o| o.kind == "ReplicaSet");
        let set = set.and_then(|o| all_sets.get(&Key::new(&change.key.namespace, &o.name)));
        if let Some(owner) = set.as_ref().and_then(|s| controller_of(&s.metadata)) {
            q.add(Key::new(&change.key.namespace, &owner.name), format!("Pod {} deleted", change.key));
        }
    });
    deployments.synced().await;
    sets.synced().await;
    pods.synced().await;
    let events = Recorder::new(caches.client().clone(), "deployment-controller");
    let this = Arc::new(Loop { deployments, sets, pods, events });
    controllers_kit::run("deployment", queue, 4, move |key| {
        let this = this.clone();
        async move { this.reconcile(key).await }
    })
    .await;
}

/// A Deployment with its ReplicaSets: the one of the current template, and the rest by age.
pub(crate) struct Rollout {
    pub(crate) deployment: Arc<Deployment>,
    pub(crate) new: Option<Arc<ReplicaSet>>,
    pub(crate) old: Vec<Arc<ReplicaSet>>,
}

impl Rollout {
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<ReplicaSet>> {
        self.old.iter().chain(&self.new)
    }
}

/// `spec.replicas` of a ReplicaSet.
pub(crate) fn replicas(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)
}

fn revision(set: &ReplicaSet) -> i64 {
    annotation(&set.metadata, REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn same_template(a: &PodTemplateSpec, b: &PodTemplateSpec) -> bool {
    let bare = |template: &PodTemplateSpec| {
        let mut template = template.clone();
        if let Some(labels) = template.metadata.as_mut().and_then(|m| m.labels.as_mut()) {
            labels.remove(HASH);
        }
        if let Some(meta) = &mut template.metadata {
            meta.creation_timestamp = None;
        }
        template
    };
    bare(a) == bare(b)
}

impl Loop {
    async fn reconcile(&self, key: Key) -> Result<Done, Error> {
        let mut done = Done::nothing();
        let Some(deployment) = self.deployments.get(&key) else { return Ok(done) };
        let Some(spec) = deployment.spec.clone() else { return Ok(done) };
        let mut rollout = self.observe(deployment.clone()).await?;
        if deployment.metadata.deletion_timestamp.is_some() {
            self.write_status(&rollout, &mut done).await?;
            return Ok(done);
        }
        let paused = spec.paused == Some(true);
        if paused || is_scaling(&rollout) {
            self.scale_in_proportion(&mut rollout, &mut done).await?;
        } else {
            self.ensure_new(&mut rollout, &mut done).await?;
            if spec.strategy.as_ref().and_then(|s| s.type_.as_deref()) == Some("Recreate") {
                self.recreate(&mut rollout, &mut done).await?;
            } else {
                for (set, to) in plan::rolling(&rollout) {
                    self.scale(&mut rollout, &set, to, &mut done).await?;
                }
            }
        }
        if status::is_complete(&rollout) || paused {
            self.clean_up(&rollout, &mut done).await?;
        }
        if done.changed() {
            done.settle();
        } else {
            self.write_status(&rollout, &mut done).await?;
        }
        Ok(done)
    }

    async fn observe(&self, deployment: Arc<Deployment>) -> Result<Rollout, Error> {
        let uid = deployment.metadata.uid.clone().unwrap_or_default();
        let spec = deployment.spec.clone().unwrap_or_default();
        adopt(&self.sets, &*deployment, &spec.selector, |_| true).await?;
        let mut all = self.sets.controlled_by(&uid);
        all.sort_by_key(|set| {
            (set.metadata.creation_timestamp.as_ref().map(|t| t.0), set.metadata.name.clone())
        });
        let is_new = |set: &Arc<ReplicaSet>| {
            set.spec
                .as_ref()
                .and_then(|s| s.template.as_ref())
                .is_some_and(|t| same_template(t, &spec.template))
        };
        let new = all.iter().find(|set| is_new(set)).cloned();
        all.retain(|set| new.as_ref().is_none_or(|new| new.metadata.uid != set.metadata.uid));
        Ok(Rollout { deployment, new, old: all })
    }

    /// The ReplicaSet of the current template exists and has the newest revision.
    async fn ensure_new(&self, rollout: &mut Rollout, done: &mut Done) -> Result<(), Error> {
        let newest = rollout.old.iter().map(|set| revision(set)).max().unwrap_or(0);
        let wanted = (newest + 1).to_string();
        let deployment = rollout.deployment.clone();
        let set = match &rollout.new {
            Some(set) => {
                let current = revision(set).max(newest + 1).to_string();
                if annotation(&set.metadata, REVISION) != Some(&current) {
                    let mut patch = json!({"metadata": {"annotations": {REVISION: current}}});
                    if let Some(before) = annotation(&set.metadata, REVISION) {
                        let history = annotation(&set.metadata, "deployment.kubernetes.io/revision-history");
                        let history = history.map_or(before.to_string(), |h| format!("{h},{before}"));
                        patch["metadata"]["annotations"]["deployment.kubernetes.io/revision-history"] =
                            json!(history);
                    }
                    done.note(format!("revision {current}"));
                    self.sets.patch(&Key::of(&set.metadata), &patch).await?
                } else {
                    set.clone()
                }
            }
            None => self.create_new(rollout, &wanted, done).await?,
        };
        let shown = annotation(&set.metadata, REVISION).map(str::to_string);
        rollout.new = Some(set);
        if annotation(&deployment.metadata, REVISION) != shown.as_deref() {
            let patch = json!({"metadata": {"annotations": {REVISION: shown}}});
            rollout.deployment = self.deployments.patch(&Key::of(&deployment.metadata), &patch).await?;
        }
        Ok(())
    }

    async fn create_new(
        &self,
        rollout: &Rollout,
        revision: &str,
        done: &mut Done,
    ) -> Result<Arc<ReplicaSet>, Error> {
        let deployment = &rollout.deployment;
        let spec = deployment.spec.clone().unwrap_or_default();
        let collisions = deployment.status.as_ref().and_then(|s| s.collision_count).unwrap_or(0);
        let hash = match collisions {
            0 => safe_hash(&spec.template),
            n => safe_hash(&(&spec.template, n)),
        };
        let mut set = build_set(deployment, &hash, revision);
        let count = plan::new_replicas(rollout);
        if let Some(spec) = &mut set.spec {
            spec.replicas = Some(count);
        }
        match self.sets.create(&set).await {
            Ok(set) => {
                let name = set.metadata.name.clone().unwrap_or_default();
                if count > 0 {
                    let text = format!("Scaled up replica set {name} from 0 to {count}");
                    self.events.normal(&**deployment, "ScalingReplicaSet", text);
                }
                done.note(format!("created ReplicaSet {name} with {count} replicas"));
                Ok(set)
            }
            Err(error) if error.is_already_exists() => {
                let status = json!({"status": {"collisionCount": collisions + 1}});
                self.deployments.patch_status(&Key::of(&deployment.metadata), &status).await?;
                Err(Error::Transient(format!("pod template hash {hash} is taken")))
            }
            Err(error) => {
                let name = set.metadata.name.unwrap_or_default();
                let text = format!("Failed to create new replica set \"{name}\": {}", error.sentence());
                self.events.warning(&**deployment, "ReplicaSetCreateError", text);
                Err(error)
            }
        }
    }

    async fn recreate(&self, rollout: &mut Rollout, done: &mut Done) -> Result<(), Error> {
        for set in rollout.old.clone() {
            self.scale(rollout, &set, 0, done).await?;
        }
        let still_running = rollout.old.iter().any(|set| {
            let uid = set.metadata.uid.as_deref().unwrap_or_default();
            self.pods.controlled_by(uid).iter().any(|pod| !pods::is_finished(pod))
        });
        if !still_running && let Some(new) = rollout.new.clone() {
            self.scale(rollout, &new, plan::desired(rollout), done).await?;
        }
        Ok(())
    }

    async fn scale_in_proportion(&self, rollout: &mut Rollout, done: &mut Done) -> Result<(), Error> {
        for (set, to) in plan::proportional(rollout) {
            self.scale(rollout, &set, to, done).await?;
        }
        Ok(())
    }

    /// Give a ReplicaSet this many replicas, and the notes that later steps compare with.
    async fn scale(
        &self,
        rollout: &mut Rollout,
        set: &Arc<ReplicaSet>,
        to: i32,
        done: &mut Done,
    ) -> Result<(), Error> {
        let desired = plan::desired(rollout).to_string();
        let max = (plan::desired(rollout) + plan::surge(rollout)).to_string();
        let from = replicas(set);
        let noted = annotation(&set.metadata, DESIRED) == Some(&desired)
            && annotation(&set.metadata, MAX) == Some(&max);
        if from == to && noted {
            return Ok(());
        }
        let patch = json!({
            "metadata": {"resourceVersion": set.metadata.resource_version, "annotations": {DESIRED: desired, MAX: max}},
            "spec": {"replicas": to},
        });
        let scaled = self.sets.patch(&Key::of(&set.metadata), &patch).await?;
        let name = set.metadata.name.clone().unwrap_or_default();
        if from != to {
            let way = if from < to { "up" } else { "down" };
            let text = format!("Scaled {way} replica set {name} from {from} to {to}");
            done.note(format!("scaled {way} {name} from {from} to {to}"));
            self.events.normal(&*rollout.deployment, "ScalingReplicaSet", text);
        }
        let same = |s: &Arc<ReplicaSet>| s.metadata.uid == scaled.metadata.uid;
        match rollout.old.iter_mut().chain(&mut rollout.new).find(|s| same(s)) {
            Some(slot) => *slot = scaled,
            None => return Ok(()),
        }
        Ok(())
    }

    /// Old ReplicaSets beyond the history limit go, oldest revision first.
    async fn clean_up(&self, rollout: &Rollout, done: &mut Done) -> Result<(), Error> {
        let spec = rollout.deployment.spec.as_ref();
        let limit = usize::try_from(spec.and_then(|s| s.revision_history_limit).unwrap_or(10)).unwrap_or(0);
        let mut old: Vec<_> =
            rollout.old.iter().filter(|s| s.metadata.deletion_timestamp.is_none()).collect();
        old.sort_by_key(|set| revision(set));
        let excess = old.len().saturating_sub(limit);
        for set in old.into_iter().take(excess) {
            let empty = replicas(set) == 0 && set.status.as_ref().is_none_or(|s| s.replicas == 0);
            if empty {
                self.sets.delete(&Key::of(&set.metadata), &DeleteParams::default()).await?;
                done.note(format!(
                    "deleted old ReplicaSet {}",
                    set.metadata.name.as_deref().unwrap_or_default()
                ));
            }
        }
        Ok(())
    }

    async fn write_status(&self, rollout: &Rollout, done: &mut Done) -> Result<(), Error> {
        let deployment = &rollout.deployment;
        let status = status::build(rollout, &now());
        if let Some(left) = status::until_deadline(deployment, &status) {
            done.again_after(left.max(Duration::from_millis(100)));
        }
        if deployment.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let note = format!(
            "status: {} updated, {} available",
            status.updated_replicas.unwrap_or(0),
            status.available_replicas.unwrap_or(0)
        );
        self.deployments
            .replace_status(&Deployment { status: Some(status), ..(**deployment).clone() })
            .await?;
        done.note(note);
        Ok(())
    }
}

/// True if `spec.replicas` changed since the ReplicaSets were last scaled.
fn is_scaling(rollout: &Rollout) -> bool {
    let desired = plan::desired(rollout).to_string();
    rollout
        .all()
        .filter(|set| replicas(set) > 0)
        .any(|set| annotation(&set.metadata, DESIRED).is_some_and(|noted| noted != desired))
}

fn build_set(deployment: &Deployment, hash: &str, revision: &str) -> ReplicaSet {
    let spec = deployment.spec.clone().unwrap_or_default();
    let with_hash = |labels: Option<BTreeMap<String, String>>| {
        let mut labels = labels.unwrap_or_default();
        labels.insert(HASH.to_string(), hash.to_string());
        Some(labels)
    };
    let mut template = spec.template.clone();
    let meta = template.metadata.get_or_insert_default();
    meta.labels = with_hash(meta.labels.take());
    let mut annotations = deployment.metadata.annotations.clone().unwrap_or_default();
    annotations.retain(|key, _| !NOT_COPIED.contains(&key.as_str()));
    let desired = spec.replicas.unwrap_or(1);
    annotations.insert(REVISION.into(), revision.into());
    annotations.insert(DESIRED.into(), desired.to_string());
    annotations.insert(MAX.into(), (desired + plan::surge_of(&spec)).to_string());
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", deployment.metadata.name.as_deref().unwrap_or_default())),
            namespace: deployment.metadata.namespace.clone(),
            labels: template.metadata.as_ref().and_then(|m| m.labels.clone()),
            annotations: Some(annotations),
            owner_references: Some(vec![controller_reference(deployment)]),
            ..Default::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(0),
            min_ready_seconds: spec.min_ready_seconds,
            selector: LabelSelector {
                match_labels: with_hash(spec.selector.match_labels),
                match_expressions: spec.selector.match_expressions,
            },
            template: Some(template),
        }),
        status: None,
    }
}
