//! Which groups a change concerns.
//!
//! Endpoints and Nodes concern targets only, never the model.

use crate::model::{Model, group_key};
use crate::objects::Certificate;
use controllers_ingress_model::{GroupId, membership, services_of};
use controllers_kit::{Change, Key, Queue};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use std::collections::BTreeSet;
use std::sync::Arc;

const GROUP_FINALIZER: &str = "group.ingress.k8s.aws/";

/// The groups an Ingress is in or has been in.
pub(crate) fn groups_of(ingress: &Ingress) -> BTreeSet<Key> {
    let own = Key::of(&ingress.metadata);
    let mut out = BTreeSet::new();
    // An invalid group is told under the Ingress's own name.
    out.insert(membership(ingress).map_or(own.clone(), |(group, _)| group_key(&group)));
    for finalizer in ingress.metadata.finalizers.iter().flatten() {
        if let Some(name) = finalizer.strip_prefix(GROUP_FINALIZER) {
            out.insert(Key::new("", name));
        } else if *finalizer
            == (GroupId { namespace: own.namespace.clone(), name: own.name.clone() }).finalizer()
        {
            out.insert(own.clone());
        }
    }
    out
}

/// Let changes of all kinds wake their groups.
pub(crate) fn connect(model: &Arc<Model>, queue: &Queue<Key>) {
    let waiting = queue.clone();
    model.ingresses.on_change(move |change: &Change<Ingress>| {
        let only_status = match (&change.old, &change.new) {
            (Some(old), Some(new)) => {
                old.spec == new.spec
                    && old.metadata.annotations == new.metadata.annotations
                    && old.metadata.deletion_timestamp == new.metadata.deletion_timestamp
            }
            _ => false,
        };
        if only_status {
            return;
        }
        let both = change.old.iter().chain(&change.new);
        let groups: BTreeSet<Key> = both.flat_map(|ingress| groups_of(ingress)).collect();
        groups.into_iter().for_each(|group| waiting.add(group, change.story()));
    });
    let (waiting, of) = (queue.clone(), model.clone());
    model.services.on_change(move |change: &Change<Service>| {
        let same = match (&change.old, &change.new) {
            (Some(old), Some(new)) => {
                old.spec == new.spec && old.metadata.annotations == new.metadata.annotations
            }
            _ => false,
        };
        if same {
            return;
        }
        let service = (change.key.namespace.clone(), change.key.name.clone());
        for ingress in of.ingresses.in_namespace(&change.key.namespace) {
            if services_of(&ingress).contains(&service) {
                groups_of(&ingress).into_iter().for_each(|group| waiting.add(group, change.story()));
            }
        }
    });
    let (waiting, of) = (queue.clone(), model.clone());
    model.certificates.on_change(move |change: &Change<Certificate>| {
        let state = |c: &Option<Arc<Certificate>>| {
            c.as_ref().map(|c| (c.state().0.map(str::to_string), c.state().1.map(str::to_string)))
        };
        if state(&change.old) != state(&change.new) {
            for ingress in of.ingresses.all() {
                groups_of(&ingress).into_iter().for_each(|group| waiting.add(group, change.story()));
            }
        }
    });
    let (waiting, of) = (queue.clone(), model.clone());
    model.classes.on_change(move |change: &Change<IngressClass>| {
        for ingress in of.ingresses.all() {
            groups_of(&ingress).into_iter().for_each(|group| waiting.add(group, change.story()));
        }
    });
}
