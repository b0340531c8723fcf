//! The Pod of a StatefulSet with a number: its name, its labels, its volumes.

use super::{REVISION, claims, plan};
use crate::control::pod_from;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaimVolumeSource, Pod, Volume};

/// Name of the Pod with this number.
pub(super) fn name(set: &StatefulSet, ordinal: i32) -> String {
    format!("{}-{ordinal}", set.metadata.name.as_deref().unwrap_or_default())
}

/// True if an update that goes on leaves this number at the revision before it.
pub(super) fn is_of_current(set: &StatefulSet, ordinal: i32) -> bool {
    let strategy = set.spec.as_ref().and_then(|s| s.update_strategy.as_ref());
    let rolls = strategy.and_then(|s| s.type_.as_deref()) == Some("RollingUpdate");
    let left = match plan::partition(set) {
        Some(partition) => partition,
        None if rolls => set.status.as_ref().and_then(|s| s.current_replicas).unwrap_or(0),
        None => 0,
    };
    ordinal.saturating_sub(plan::start(set)) < left
}

/// The Pod, of a set with the template it is to have.
pub(super) fn build(set: &StatefulSet, ordinal: i32, revision: &str) -> Pod {
    let spec = set.spec.clone().unwrap_or_default();
    let mut pod = pod_from(set, &spec.template);
    let name = name(set, ordinal);
    pod.metadata.generate_name = None;
    pod.metadata.name = Some(name.clone());
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert("statefulset.kubernetes.io/pod-name".into(), name.clone());
    labels.insert("apps.kubernetes.io/pod-index".into(), ordinal.to_string());
    labels.insert(REVISION.into(), revision.into());
    let pod_spec = pod.spec.get_or_insert_default();
    pod_spec.hostname = Some(name);
    pod_spec.subdomain = spec.service_name.clone().filter(|service| !service.is_empty());
    let claims = claims::build(set, ordinal);
    if !claims.is_empty() {
        let volumes = claims.iter().map(|(volume, claim)| Volume {
            name: volume.clone(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: claim.metadata.name.clone().unwrap_or_default(),
                read_only: None,
            }),
            ..Default::default()
        });
        let mut volumes: Vec<Volume> = volumes.collect();
        let others = pod_spec.volumes.take().unwrap_or_default();
        volumes.extend(others.into_iter().filter(|v| claims.iter().all(|(name, _)| *name != v.name)));
        pod_spec.volumes = Some(volumes);
    }
    pod
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_has_its_number_and_its_claims() {
        let set: StatefulSet = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "u"},
            "spec": {"serviceName": "peers", "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [], "volumes": [
                    {"name": "data", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}]}},
                "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}]},
        }))
        .unwrap();
        let pod = build(&set, 2, "web-abc");
        let spec = pod.spec.unwrap();
        assert_eq!(pod.metadata.name.as_deref(), Some("web-2"));
        assert_eq!((spec.hostname.as_deref(), spec.subdomain.as_deref()), (Some("web-2"), Some("peers")));
        let labels = pod.metadata.labels.unwrap();
        for (key, value) in [
            ("app", "web"),
            ("statefulset.kubernetes.io/pod-name", "web-2"),
            ("apps.kubernetes.io/pod-index", "2"),
            (REVISION, "web-abc"),
        ] {
            assert_eq!(labels.get(key).map(String::as_str), Some(value), "{key}");
        }
        let volumes = spec.volumes.unwrap();
        let claim = volumes[0].persistent_volume_claim.as_ref().unwrap();
        assert_eq!(
            (claim.claim_name.as_str(), volumes[1].name.as_str(), volumes.len()),
            ("data-web-2", "tmp", 2)
        );
    }
}
