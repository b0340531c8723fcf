//! Which changes of an object may have freed something a quota counts: `DefaultUpdateFilter` upstream.

use controllers_kit::{Change, pods};
use k8s_openapi::api::core::v1::{ContainerStatus, PersistentVolumeClaim, Pod, Service};

/// A Pod that is gone, ended, was resized, or came under another scope.
pub(super) fn frees_pod(change: &Change<Pod>) -> bool {
    let (old, new) = match (&change.old, &change.new) {
        (_, None) => return true,
        (None, Some(_)) => return false,
        (Some(old), Some(new)) => (old, new),
    };
    let ends = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.active_deadline_seconds).is_some();
    (!pods::is_finished(old) && pods::is_finished(new)) || ends(old) != ends(new) || is_resized(old, new)
}

fn is_resized(old: &Pod, new: &Pod) -> bool {
    let statuses = |pod: &Pod| -> Vec<ContainerStatus> {
        let status = pod.status.iter();
        let lists = status.flat_map(|status| [&status.container_statuses, &status.init_container_statuses]);
        lists.flatten().flatten().cloned().collect()
    };
    let (before, after) = (statuses(old), statuses(new));
    before.iter().any(|old| after.iter().any(|new| new.name == old.name && new.resources != old.resources))
}

/// A Service that is gone or of another kind.
pub(super) fn frees_service(change: &Change<Service>) -> bool {
    let kind = |service: &Service| {
        let kind = service.spec.as_ref().and_then(|spec| spec.type_.clone());
        kind.filter(|kind| kind == "NodePort" || kind == "LoadBalancer")
    };
    match (&change.old, &change.new) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(old), Some(new)) => kind(old) != kind(new),
    }
}

/// A claim that is gone, was given another size or names other classes of attributes.
pub(super) fn frees_claim(change: &Change<PersistentVolumeClaim>) -> bool {
    let facts = |claim: &PersistentVolumeClaim| {
        let (spec, status) =
            (claim.spec.clone().unwrap_or_default(), claim.status.clone().unwrap_or_default());
        let target =
            status.modify_volume_status.and_then(|modify| modify.target_volume_attributes_class_name);
        let classes =
            (spec.volume_attributes_class_name, status.current_volume_attributes_class_name, target);
        (status.allocated_resources, classes)
    };
    match (&change.old, &change.new) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(old), Some(new)) => facts(old) != facts(new),
    }
}
