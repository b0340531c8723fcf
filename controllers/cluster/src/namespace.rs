//! Namespaces being deleted: their Pods go first, then the rest of their content, then the finalizer `kubernetes`.
//!
//! Finalizers on the content are waited for, never removed.

use crate::discovery::{self, Resource};
use controllers_kit::meta::now;
use controllers_kit::{Cache, Caches, Done, Error, Key, Queue};
use futures::future::join_all;
use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition};
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::core::{DynamicObject, Request};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const FINALIZER: &str = "kubernetes";
/// While content is going.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

struct Loop {
    client: kube::Client,
    namespaces: Cache<Namespace>,
}

pub(crate) async fn run(caches: Caches) {
    let namespaces = caches.of::<Namespace>();
    let queue: Queue<Key> = Queue::new();
    let q = queue.clone();
    namespaces.on_change(move |change| {
        if change.new.as_ref().is_some_and(|n| n.metadata.deletion_timestamp.is_some()) {
            q.add(change.key.clone(), change.story());
        }
    });
    namespaces.synced().await;
    let this = Arc::new(Loop { client: caches.client().clone(), namespaces });
    controllers_kit::run("namespace", queue, 4, move |key| {
        let this = this.clone();
        async move { this.reconcile(key).await }
    })
    .await;
}

/// What is left in a namespace.
#[derive(Clone, Default)]
struct Remains {
    counts: BTreeMap<String, usize>,
    finalizers: BTreeMap<String, usize>,
    failures: Vec<String>,
}

impl Loop {
    async fn reconcile(&self, key: Key) -> Result<Done, Error> {
        let Some(namespace) = self.namespaces.get(&key) else { return Ok(Done::nothing()) };
        let has_ours =
            namespace.spec.iter().flat_map(|s| s.finalizers.iter().flatten()).any(|f| f == FINALIZER);
        if namespace.metadata.deletion_timestamp.is_none() || !has_ours {
            return Ok(Done::nothing());
        }
        let resources = discovery::all(&self.client).await;
        let (remains, told) = match &resources {
            Ok(resources) => {
                let content = resources.iter().filter(|r| {
                    r.namespaced && r.can("delete") && r.can("list") && r.api.group != "events.k8s.io"
                });
                let is_pods = |r: &&Resource| r.api.group.is_empty() && r.api.plural == "pods";
                let (pods, rest): (Vec<_>, Vec<_>) = content.partition(is_pods);
                // What runs may need what is beside it to the last: the rest stays while there are Pods.
                let pods = sum(self.empty_all(&key.name, &pods).await);
                if pods.counts.is_empty() {
                    let mut rest = sum(self.empty_all(&key.name, &rest).await);
                    rest.failures.extend(pods.failures);
                    (rest.clone(), rest)
                } else {
                    // As upstream, which tells what remains only once the Pods are gone.
                    let told = Remains { failures: pods.failures.clone(), ..Remains::default() };
                    (pods, told)
                }
            }
            Err(_) => Default::default(),
        };
        let discovered = resources.as_ref().map(|_| ()).map_err(|error| error.sentence());
        self.write_conditions(&key, &namespace, &told, discovered).await?;
        if resources.is_ok() && remains.counts.is_empty() && remains.failures.is_empty() {
            return self.finalize(&key).await;
        }
        let mut done = Done::nothing();
        done.again_after(LOOK_AGAIN);
        Ok(done)
    }

    async fn empty_all(&self, namespace: &str, resources: &[&Resource]) -> Vec<Part> {
        join_all(resources.iter().map(|resource| self.empty(namespace, resource))).await
    }

    /// Delete everything of one resource and say what is left.
    async fn empty(&self, namespace: &str, resource: &Resource) -> Part {
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &resource.api);
        let list = || async {
            let list =
                api.list_metadata(&ListParams::default()).await.map_err(|e| Error::from(e).sentence())?;
            Ok::<_, String>(list.items)
        };
        let name = match resource.api.group.as_str() {
            "" => format!("{}.", resource.api.plural),
            group => format!("{}.{group}", resource.api.plural),
        };
        let before = list().await?;
        if before.is_empty() {
            return Ok((name, Vec::new()));
        }
        // Marked objects need no second deletion; their own loops finish them.
        let params = DeleteParams::background();
        for object in before.iter().filter(|o| o.metadata.deletion_timestamp.is_none()) {
            let object = object.metadata.name.clone().unwrap_or_default();
            if let Err(error) = api.delete(&object, &params).await.map_err(Error::from)
                && !error.is_not_found()
            {
                return Err(error.sentence());
            }
        }
        let left = list().await?;
        Ok((name, left.into_iter().map(|o| o.metadata.finalizers.unwrap_or_default()).collect()))
    }

    async fn finalize(&self, key: &Key) -> Result<Done, Error> {
        let Some(mut namespace) = self.namespaces.get(key).map(|n| (*n).clone()) else {
            return Ok(Done::nothing());
        };
        if let Some(finalizers) = namespace.spec.as_mut().and_then(|s| s.finalizers.as_mut()) {
            finalizers.retain(|f| f != FINALIZER);
        }
        let request = Request::new("/api/v1/namespaces")
            .replace_subresource(
                "finalize",
                &key.name,
                &PostParams::default(),
                serde_json::to_vec(&namespace)?,
            )
            .map_err(kube::Error::BuildRequest)?;
        let answer = self.client.request::<serde_json::Value>(request).await.map_err(Error::from);
        controllers_kit::error::gone_is_fine(answer)?;
        Ok(Done::change("content deleted, finalized"))
    }

    async fn write_conditions(
        &self,
        key: &Key,
        namespace: &Namespace,
        remains: &Remains,
        discovered: Result<(), String>,
    ) -> Result<(), Error> {
        let mut status = namespace.status.clone().unwrap_or_default();
        let before = status.conditions.clone().unwrap_or_default();
        let wanted = conditions(remains, discovered.err());
        let all = wanted.into_iter().map(|mut new| {
            let same = before.iter().find(|c| c.type_ == new.type_ && c.status == new.status);
            new.last_transition_time =
                same.and_then(|c| c.last_transition_time.clone()).or_else(|| Some(now()));
            new
        });
        let all: Vec<NamespaceCondition> = all.collect();
        if all == before {
            return Ok(());
        }
        status.conditions = Some(all);
        let written = Namespace { status: Some(status), ..namespace.clone() };
        match self.namespaces.replace_status(&written).await {
            Err(error) if error.is_not_found() => Ok(()),
            other => other.map(|_| ()),
        }
        .inspect_err(|error| tracing::debug!(namespace = %key, error = %error, "conditions not written"))
    }
}

/// Of one kind: how it is called, and the finalizers of each object that is left; or why it can't be told.
type Part = Result<(String, Vec<Vec<String>>), String>;

fn sum(parts: Vec<Part>) -> Remains {
    let mut remains = Remains::default();
    for part in parts {
        match part {
            Ok((_, left)) if left.is_empty() => {}
            Ok((name, left)) => {
                left.iter().flatten().for_each(|f| *remains.finalizers.entry(f.clone()).or_default() += 1);
                remains.counts.insert(name, left.len());
            }
            Err(text) => remains.failures.push(text),
        }
    }
    remains
}

fn conditions(remains: &Remains, undiscovered: Option<String>) -> Vec<NamespaceCondition> {
    let condition = |kind: &str, bad: Option<(&str, String)>, good: (&str, &str)| {
        let (status, reason, message) = match bad {
            Some((reason, message)) => ("True", reason.to_string(), message),
            None => ("False", good.0.to_string(), good.1.to_string()),
        };
        NamespaceCondition {
            type_: kind.into(),
            status: status.into(),
            reason: Some(reason),
            message: Some(message),
            last_transition_time: None,
        }
    };
    let list = |counts: &BTreeMap<String, usize>, middle: &str| {
        let parts: Vec<String> =
            counts.iter().map(|(name, n)| format!("{name} {middle} {n} resource instances")).collect();
        parts.join(", ")
    };
    let undiscovered =
        undiscovered.map(|text| ("DiscoveryFailed", format!("Discovery failed for some groups: {text}")));
    let failed = (!remains.failures.is_empty()).then(|| {
        (
            "ContentDeletionFailed",
            format!(
                "Failed to delete all resource types, {} remaining: {}",
                remains.failures.len(),
                remains.failures.join(", ")
            ),
        )
    });
    let left = (!remains.counts.is_empty()).then(|| {
        ("SomeResourcesRemain", format!("Some resources are remaining: {}", list(&remains.counts, "has")))
    });
    let held = (!remains.finalizers.is_empty()).then(|| {
        let text = list(&remains.finalizers, "in");
        ("SomeFinalizersRemain", format!("Some content in the namespace has finalizers remaining: {text}"))
    });
    vec![
        condition(
            "NamespaceDeletionDiscoveryFailure",
            undiscovered,
            ("ResourcesDiscovered", "All resources successfully discovered"),
        ),
        condition(
            "NamespaceDeletionGroupVersionParsingFailure",
            None,
            ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
        ),
        condition(
            "NamespaceDeletionContentFailure",
            failed,
            ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
        ),
        condition("NamespaceContentRemaining", left, ("ContentRemoved", "All content successfully removed")),
        condition(
            "NamespaceFinalizersRemaining",
            held,
            ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remaining_content_is_named() {
        let parts = vec![
            Ok(("pods.".to_string(), vec![vec!["x.io/f".to_string()], vec![]])),
            Ok(("ingresses.networking.k8s.io".to_string(), vec![])),
        ];
        let all = conditions(&sum(parts), None);
        let text = |i: usize| all[i].message.clone().unwrap_or_default();
        assert_eq!(text(3), "Some resources are remaining: pods. has 2 resource instances");
        assert_eq!(
            text(4),
            "Some content in the namespace has finalizers remaining: x.io/f in 1 resource instances"
        );
        assert_eq!(all[0].reason.as_deref(), Some("ResourcesDiscovered"));
    }
}
