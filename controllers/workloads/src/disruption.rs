//! PodDisruptionBudgets: how many of their Pods there should be, are healthy, and may be evicted now.
//! `pkg/controller/disruption` upstream; the eviction itself is the API server's.

mod status;

use crate::control::scaled;
use crate::deployment::replicas;
use controllers_kit::meta::{controller_of, now};
use controllers_kit::selector::matches;
use controllers_kit::{Cache, Caches, Done, Error, Key, Queue, Recorder};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{Api, DynamicObject, GroupVersionKind};
use status::Counts;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

struct Loop {
    budgets: Cache<PodDisruptionBudget>,
    pods: Cache<Pod>,
    deployments: Cache<Deployment>,
    sets: Cache<ReplicaSet>,
    stateful: Cache<StatefulSet>,
    controllers: Cache<ReplicationController>,
    events: Recorder,
}

pub(crate) async fn run(caches: Caches) {
    let (budgets, pods) = (caches.of::<PodDisruptionBudget>(), caches.of::<Pod>());
    let queue: Queue<Key> = Queue::new();
    budgets.wake(&queue);
    let (q, all) = (queue.clone(), budgets.clone());
    pods.on_change(move |change| {
        for budget in all.in_namespace(&change.key.namespace) {
            if [&change.old, &change.new].into_iter().flatten().any(|pod| selects(&budget, pod)) {
                q.add_settled(Key::of(&budget.metadata), change.story());
            }
        }
    });
    let this = Arc::new(Loop {
        budgets,
        pods,
        deployments: caches.of(),
        sets: caches.of(),
        stateful: caches.of(),
        controllers: caches.of(),
        events: Recorder::new(caches.client().clone(), "controllermanager"),
    });
    this.budgets.synced().await;
    this.pods.synced().await;
    this.deployments.synced().await;
    this.sets.synced().await;
    this.stateful.synced().await;
    this.controllers.synced().await;
    controllers_kit::run("disruption", queue, 4, move |key| {
        let this = this.clone();
        async move { this.reconcile(key).await }
    })
    .await;
}

fn selects(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| matches(selector, pod.metadata.labels.as_ref()))
}

impl Loop {
    async fn reconcile(&self, key: Key) -> Result<Done, Error> {
        let mut done = Done::nothing();
        let Some(budget) = self.budgets.get(&key) else { return Ok(done) };
        let mut pods = self.pods.in_namespace(&key.namespace);
        pods.retain(|pod| selects(&budget, pod));
        if pods.is_empty() {
            self.events.normal(&*budget, "NoPods", "No matching pods found");
        }
        let counts = match self.counts(&budget, &pods).await {
            Ok(counts) => counts,
            Err(error) => {
                let why = error.sentence();
                let text = format!("Failed to calculate the number of expected pods: {why}");
                self.events.warning(&*budget, "CalculateExpectedPodCountFailed", text);
                self.write(&budget, status::failed(&budget, &why, now()), &mut done).await?;
                return Err(error);
            }
        };
        let (disrupted, late, again) = status::disrupted(&budget, &pods, now().0);
        for pod in late {
            let text = format!("Pod was expected by PDB {0}/{0} to be deleted but it wasn't", key.namespace);
            self.events.warning(&*pod, "NotDeleted", text);
        }
        let healthy = status::healthy(&pods, &disrupted);
        self.write(&budget, status::of(&budget, &counts, healthy, disrupted, now()), &mut done).await?;
        if let Some(again) = again {
            done.again_after(again);
        }
        Ok(done)
    }

    async fn write(
        &self,
        budget: &PodDisruptionBudget,
        status: PodDisruptionBudgetStatus,
        done: &mut Done,
    ) -> Result<(), Error> {
        if budget.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let number = Option::unwrap_or_default;
        let (healthy, allowed) = (number(status.current_healthy), number(status.disruptions_allowed));
        let written = PodDisruptionBudget { status: Some(status), ..budget.clone() };
        let answer = self.budgets.replace_status(&written).await;
        if controllers_kit::error::gone_is_fine(answer)?.is_some() {
            done.note(format!("status: {healthy} healthy, {allowed} may be evicted"));
        }
        Ok(())
    }

    /// How many Pods there should be, and how many of them healthy.
    async fn counts(&self, budget: &PodDisruptionBudget, pods: &[Arc<Pod>]) -> Result<Counts, Error> {
        let Some(spec) = &budget.spec else { return Ok(Counts::default()) };
        if let Some(unavailable) = &spec.max_unavailable {
            let expected = self.expected(budget, pods).await?;
            return Ok(Counts { expected, desired: (expected - scaled(unavailable, expected, true)).max(0) });
        }
        match &spec.min_available {
            None => Ok(Counts::default()),
            Some(IntOrString::Int(desired)) => {
                Ok(Counts { expected: i32::try_from(pods.len()).unwrap_or(i32::MAX), desired: *desired })
            }
            Some(share) => {
                let expected = self.expected(budget, pods).await?;
                Ok(Counts { expected, desired: scaled(share, expected, true) })
            }
        }
    }

    /// How many Pods the controllers of these want together.
    async fn expected(&self, budget: &PodDisruptionBudget, pods: &[Arc<Pod>]) -> Result<i32, Error> {
        let mut scales: HashMap<String, i32> = HashMap::new();
        let mut known: HashSet<&str> = HashSet::new();
        let mut unmanaged = false;
        for pod in pods {
            let Some(owner) = controller_of(&pod.metadata) else {
                unmanaged = true;
                continue;
            };
            if !known.insert(&owner.uid) {
                continue;
            }
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let Some((uid, scale)) = self.scale(namespace, owner).await? else {
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                return Err(Error::Transient(format!("found no controllers for pod {name:?}")));
            };
            scales.insert(uid, scale);
        }
        if unmanaged {
            let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
            self.events.warning(budget, "UnmanagedPods", status::unmanaged(selector));
        }
        Ok(scales.values().sum())
    }

    /// The uid of what decides how many Pods a controller has, and how many that is.
    async fn scale(&self, namespace: &str, owner: &OwnerReference) -> Result<Option<(String, i32)>, Error> {
        let key = Key::new(namespace, &owner.name);
        let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
        let of = |uid: Option<String>, scale: Option<i32>| {
            Some((uid.filter(|uid| *uid == owner.uid)?, scale.unwrap_or(1)))
        };
        Ok(match (group, owner.kind.as_str()) {
            ("apps", "ReplicaSet") => {
                let Some(set) =
                    self.sets.get(&key).filter(|set| set.metadata.uid.as_ref() == Some(&owner.uid))
                else {
                    return Ok(None);
                };
                let above = controller_of(&set.metadata).filter(|above| above.kind == "Deployment");
                match above.map(|above| (above, self.deployments.get(&Key::new(namespace, &above.name)))) {
                    None => of(set.metadata.uid.clone(), Some(replicas(&set))),
                    Some((above, Some(deployment)))
                        if deployment.metadata.uid.as_ref() == Some(&above.uid) =>
                    {
                        let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas);
                        Some((above.uid.clone(), wanted.unwrap_or(1)))
                    }
                    Some(_) => None,
                }
            }
            ("apps", "StatefulSet") => self.stateful.get(&key).and_then(|set| {
                of(set.metadata.uid.clone(), set.spec.as_ref().and_then(|spec| spec.replicas))
            }),
            ("", "ReplicationController") => self.controllers.get(&key).and_then(|controller| {
                of(controller.metadata.uid.clone(), controller.spec.as_ref().and_then(|spec| spec.replicas))
            }),
            _ => self.asked(namespace, owner).await?,
        })
    }

    /// The scale of a kind that is not known here.
    async fn asked(&self, namespace: &str, owner: &OwnerReference) -> Result<Option<(String, i32)>, Error> {
        let (group, version) = owner.api_version.split_once('/').unwrap_or(("", &owner.api_version));
        let kind = GroupVersionKind::gvk(group, version, &owner.kind);
        let client = self.pods.client().clone();
        let (resource, _) = kube::discovery::pinned_kind(&client, &kind).await?;
        let api: Api<DynamicObject> = Api::namespaced_with(client, namespace, &resource);
        match api.get_scale(&owner.name).await.map_err(Error::from) {
            Ok(scale) if scale.metadata.uid.as_ref() != Some(&owner.uid) => Ok(None),
            Ok(scale) => {
                Ok(Some((owner.uid.clone(), scale.spec.and_then(|spec| spec.replicas).unwrap_or(0))))
            }
            Err(error) if error.is_not_found() => {
                let of = if group.is_empty() { String::new() } else { format!(".{group}") };
                let plural = resource.plural;
                Err(Error::Transient(format!("{plural}{of} does not implement the scale subresource")))
            }
            Err(error) => Err(error),
        }
    }
}
