//! ControllerRevisions: the templates that a DaemonSet or a StatefulSet has had. `kubectl rollout undo` reads them.
//!
//! Which Pods run which of them is the owner's business.

use crate::control::adopt;
use controllers_kit::meta::{controller_of, controller_reference, safe_hash};
use controllers_kit::selector::Labels;
use controllers_kit::{Cache, Done, Error, Key, Object};
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use std::sync::Arc;

/// What differs between the kinds that have a history.
pub(crate) struct Traits<'a> {
    pub(crate) selector: &'a LabelSelector,
    /// Labels of the template, which its revision has too.
    pub(crate) labels: Option<Labels>,
    /// The label in which a revision has its hash.
    pub(crate) hash_label: &'static str,
    /// How often a hash was taken already.
    pub(crate) collisions: Option<i32>,
}

/// The revisions of an owner.
pub(crate) struct History {
    /// The template as it is now.
    pub(crate) current: Arc<ControllerRevision>,
    /// The others, oldest first.
    pub(crate) old: Vec<Arc<ControllerRevision>>,
}

/// The history of an owner, with a revision for its template as it is now.
pub(crate) async fn observe<K: Object>(
    revisions: &Cache<ControllerRevision>,
    owners: &Cache<K>,
    owner: &K,
    traits: Traits<'_>,
    done: &mut Done,
) -> Result<History, Error> {
    adopt(revisions, owner, traits.selector, |_| true).await?;
    let mut known = revisions.controlled_by(owner.meta().uid.as_deref().unwrap_or_default());
    known.sort_by_key(|r| (r.revision, r.metadata.name.clone()));
    let data = patch_of(tree(owner)?);
    let same = |r: &Arc<ControllerRevision>| r.data.as_ref().is_some_and(|kept| kept.0 == data);
    let found = known.iter().rposition(same).map(|at| known.remove(at));
    let next = known.last().map_or(0, |newest| newest.revision) + 1;
    let current = match found {
        // A template that comes back becomes the newest revision.
        Some(found) if found.revision < next => {
            done.note(format!("revision {} became revision {next}", found.revision));
            revisions.patch(&Key::of(&found.metadata), &json!({"revision": next})).await?
        }
        Some(found) => found,
        None => create(revisions, owners, owner, traits, (data, next), done).await?,
    };
    Ok(History { current, old: known })
}

async fn create<K: Object>(
    revisions: &Cache<ControllerRevision>,
    owners: &Cache<K>,
    owner: &K,
    traits: Traits<'_>,
    (data, number): (Value, i64),
    done: &mut Done,
) -> Result<Arc<ControllerRevision>, Error> {
    let collisions = traits.collisions.unwrap_or(0);
    let template = &data["spec"]["template"];
    let hash = if collisions == 0 { safe_hash(template) } else { safe_hash(&json!([template, collisions])) };
    let mut labels = traits.labels.unwrap_or_default();
    labels.insert(traits.hash_label.into(), hash.clone());
    let meta = owner.meta();
    let revision = ControllerRevision {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", meta.name.as_deref().unwrap_or_default())),
            namespace: meta.namespace.clone(),
            labels: Some(labels),
            annotations: meta.annotations.clone(),
            owner_references: Some(vec![controller_reference(owner)]),
            ..Default::default()
        },
        data: Some(RawExtension(data)),
        revision: number,
    };
    match revisions.create(&revision).await {
        Ok(made) => {
            done.note(format!("created revision {number}"));
            Ok(made)
        }
        Err(error) if error.is_already_exists() => {
            let key = Key::of(&revision.metadata);
            let foreign = revisions.get(&key).is_some_and(|r| {
                controller_of(&r.metadata).is_some_and(|o| Some(&o.uid) != meta.uid.as_ref())
            });
            if foreign {
                // Of an owner of the same name that was deleted: it will be collected.
                return Err(Error::Transient(format!("ControllerRevision {key} has another owner")));
            }
            let status = json!({"status": {"collisionCount": collisions + 1}});
            owners.patch_status(&Key::of(meta), &status).await?;
            Err(Error::Transient(format!("revision hash {hash} is taken")))
        }
        Err(error) => Err(error),
    }
}

/// The oldest revisions beyond the limit, without those in use.
pub(crate) fn surplus(
    old: &[Arc<ControllerRevision>],
    limit: Option<i32>,
    in_use: impl Fn(&ControllerRevision) -> bool,
) -> Vec<Arc<ControllerRevision>> {
    let excess = old.len().saturating_sub(usize::try_from(limit.unwrap_or(10)).unwrap_or(usize::MAX));
    old.iter().filter(|r| !in_use(r)).take(excess).cloned().collect()
}

/// Delete revisions nobody will go back to.
pub(crate) async fn forget(
    revisions: &Cache<ControllerRevision>,
    surplus: Vec<Arc<ControllerRevision>>,
    done: &mut Done,
) -> Result<(), Error> {
    for revision in surplus {
        revisions.delete(&Key::of(&revision.metadata), &DeleteParams::default()).await?;
        done.note(format!("deleted revision {}", revision.revision));
    }
    Ok(())
}

/// The owner as it would be with the template of a revision.
pub(crate) fn restored<K: Object>(owner: &K, revision: &ControllerRevision) -> Result<K, Error> {
    Ok(K::from_tree(with_template(tree(owner)?, revision))?)
}

fn tree<K: Object>(owner: &K) -> Result<Value, Error> {
    Ok(serde_json::from_slice(&owner.to_json()?)?)
}

/// What a revision keeps: the patch that puts the template back, in upstream's form.
fn patch_of(mut owner: Value) -> Value {
    let mut template = owner.pointer_mut("/spec/template").map(Value::take).unwrap_or_default();
    if let Some(template) = template.as_object_mut() {
        template.insert("$patch".into(), "replace".into());
    }
    json!({"spec": {"template": template}})
}

fn with_template(mut owner: Value, revision: &ControllerRevision) -> Value {
    let kept = revision.data.as_ref().and_then(|data| data.0.pointer("/spec/template"));
    if let (Some(mut kept), Some(template)) = (kept.cloned(), owner.pointer_mut("/spec/template")) {
        if let Some(kept) = kept.as_object_mut() {
            kept.remove("$patch");
        }
        *template = kept;
    }
    owner
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(number: i64, data: Value) -> Arc<ControllerRevision> {
        let data = Some(RawExtension(data));
        Arc::new(ControllerRevision { metadata: ObjectMeta::default(), data, revision: number })
    }

    #[test]
    fn a_revision_puts_its_template_back() {
        let was = json!({"spec": {"replicas": 1, "template": {"spec": {"containers": [1]}}}});
        let kept = patch_of(was.clone());
        assert_eq!(kept["spec"]["template"]["$patch"], "replace");
        let now =
            json!({"spec": {"replicas": 1, "template": {"spec": {"containers": [2], "nodeName": "x"}}}});
        assert_eq!(with_template(now, &revision(1, kept)), was);
    }

    #[test]
    fn the_oldest_revisions_that_nobody_uses_go() {
        let old: Vec<_> = (1..=4).map(|number| revision(number, Value::Null)).collect();
        for (limit, in_use, gone) in
            [(4, 0, vec![]), (2, 0, vec![1, 2]), (2, 1, vec![2, 3]), (0, 9, vec![1, 2, 3, 4])]
        {
            let found = surplus(&old, Some(limit), |r| r.revision == in_use);
            assert_eq!(found.iter().map(|r| r.revision).collect::<Vec<_>>(), gone, "{limit} {in_use}");
        }
    }
}
