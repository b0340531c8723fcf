//! Keys in etcd, as upstream's `pkg/kubeapiserver/default_storage_factory_builder.go` has them: a resource's name says where
//! its objects are, whatever its group, but for a few that were named otherwise once.

use apiserver_storage::etcd::Layout;

use crate::catalogue::Catalogue;

/// Resources that are not kept under their own name.
const NAMED_OTHERWISE: &[(&str, &str, &str)] = &[
    ("", "replicationcontrollers", "controllers"),
    ("", "endpoints", "services/endpoints"),
    ("", "nodes", "minions"),
    ("", "services", "services/specs"),
    ("networking.k8s.io", "ingresses", "ingress"),
    // These servers of their own keep the group, as custom resources do.
    ("apiextensions.k8s.io", "customresourcedefinitions", "apiextensions.k8s.io/customresourcedefinitions"),
    ("apiregistration.k8s.io", "apiservices", "apiregistration.k8s.io/apiservices"),
];

/// Where the objects of all kinds are under `prefix`, which is `--etcd-prefix`.
pub fn layout(prefix: &str) -> Layout {
    let catalogue = Catalogue::builtin();
    let directories = catalogue.stored().map(|row| {
        let outside = directory(&row.group, &row.name);
        let inside = row.prefix.trim_start_matches("/registry/").trim_end_matches('/');
        (inside.to_owned(), outside.to_owned())
    });
    Layout::new(prefix, directories.collect::<Vec<_>>())
}

/// The directory of a built-in resource, below the prefix.
pub(crate) fn directory<'a>(group: &str, name: &'a str) -> &'a str {
    let named = NAMED_OTHERWISE.iter().find(|(of, known, _)| *of == group && *known == name);
    named.map_or(name, |(_, _, directory)| directory)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_kinds_share_a_directory() {
        let catalogue = Catalogue::builtin();
        let prefixes: BTreeSet<&str> = catalogue.stored().map(|row| row.prefix.as_str()).collect();
        let layout = layout("/registry");
        for prefix in &prefixes {
            let key = format!("{prefix}a/b");
            let outside = layout.to_etcd(&key);
            assert_eq!(layout.of_etcd(&outside).as_deref(), Some(key.as_str()), "{outside:?}");
        }
    }

    #[test]
    fn keys_are_upstreams() {
        let layout = layout("/registry");
        for (inside, outside) in [
            ("core/pods/a/b", "pods/a/b"),
            ("core/services/a/b", "services/specs/a/b"),
            ("core/endpoints/a/b", "services/endpoints/a/b"),
            ("core/nodes/a", "minions/a"),
            ("core/replicationcontrollers/a/b", "controllers/a/b"),
            ("core/events/a/b", "events/a/b"),
            ("apps/deployments/a/b", "deployments/a/b"),
            ("networking.k8s.io/ingresses/a/b", "ingress/a/b"),
            ("networking.k8s.io/ingressclasses/a", "ingressclasses/a"),
            ("discovery.k8s.io/endpointslices/a/b", "endpointslices/a/b"),
            ("rbac.authorization.k8s.io/clusterroles/system:node", "clusterroles/system:node"),
            ("coordination.k8s.io/leases/a/b", "leases/a/b"),
            ("apiregistration.k8s.io/apiservices/v1.apps", "apiregistration.k8s.io/apiservices/v1.apps"),
            (
                "apiextensions.k8s.io/customresourcedefinitions/a.b.c",
                "apiextensions.k8s.io/customresourcedefinitions/a.b.c",
            ),
            ("stable.example.com/crontabs/a/b", "stable.example.com/crontabs/a/b"),
        ] {
            let (inside, outside) = (format!("/registry/{inside}"), format!("/registry/{outside}"));
            assert_eq!(layout.to_etcd(&inside), outside);
            assert_eq!(layout.of_etcd(outside.as_bytes()).as_deref(), Some(inside.as_str()));
        }
        for foreign in
            ["ranges/serviceips", "masterleases/192.0.2.2", "peerserverleases/apiserver-x", "health"]
        {
            assert_eq!(layout.of_etcd(format!("/registry/{foreign}").as_bytes()), None, "{foreign}");
        }
    }
}
