//! Names of load balancers and target groups, hashed as upstream hashes them.
//!
//! Names given by annotation do not come through here.

use crate::group::GroupId;
use sha2::{Digest, Sha256};

/// Lowercase hex SHA-256 over the plain concatenation of the parts.
pub fn hash(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    parts.iter().for_each(|part| hasher.update(part.as_bytes()));
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The first `length` letters and digits of a text.
pub fn plain(text: &str, length: usize) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).take(length).collect()
}

fn ten(hash: &str) -> &str {
    hash.get(..10).unwrap_or(hash)
}

fn of_group(group: &GroupId, hash: &str) -> String {
    if group.is_explicit() {
        format!("k8s-{}-{}", plain(&group.name, 17), ten(hash))
    } else {
        format!("k8s-{}-{}-{}", plain(&group.namespace, 8), plain(&group.name, 8), ten(hash))
    }
}

/// Name of the load balancer of a group.
pub fn load_balancer(cluster: &str, group: &GroupId, scheme: &str) -> String {
    of_group(group, &hash(&[cluster, &group.to_string(), scheme]))
}

/// Name of the security group that the controller manages for a group's load balancer.
pub fn security_group(cluster: &str, group: &GroupId) -> String {
    of_group(group, &hash(&[cluster, &group.to_string()]))
}

/// What the name of a target group is made of.
#[derive(Debug, Clone, Copy)]
pub struct TargetGroupName<'a> {
    /// Cluster name.
    pub cluster: &'a str,
    /// The Ingress group.
    pub group: &'a GroupId,
    /// Namespace and name of the Ingress.
    pub ingress: (&'a str, &'a str),
    /// Namespace, name and uid of the Service.
    pub service: (&'a str, &'a str, &'a str),
    /// The Service's port as the Ingress says it.
    pub service_port: &'a str,
    /// Port of the target group.
    pub port: u16,
    /// `instance` or `ip`.
    pub target_type: &'a str,
    /// `HTTP` or `HTTPS`.
    pub protocol: &'a str,
    /// `HTTP1`, `HTTP2` or `GRPC`.
    pub protocol_version: &'a str,
}

/// Name of a target group.
pub fn target_group(of: TargetGroupName<'_>) -> String {
    let (namespace, name, uid) = of.service;
    let hash = hash(&[
        of.cluster,
        &of.group.to_string(),
        of.ingress.0,
        of.ingress.1,
        uid,
        of.service_port,
        &of.port.to_string(),
        of.target_type,
        of.protocol,
        of.protocol_version,
    ]);
    format!("k8s-{}-{}-{}", plain(namespace, 8), plain(name, 8), ten(&hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_balancers_are_named_as_upstream_names_them() {
        let implicit = |ns: &str, name: &str| GroupId { namespace: ns.into(), name: name.into() };
        let explicit = |name: &str| implicit("", name);
        let table = [
            ("", implicit("awesome-ns", "ing-1"), "internet-facing", "k8s-awesomen-ing1-43b698093c"),
            ("", explicit("explicit-group"), "internal", "k8s-explicitgroup-5bf9e53c23"),
            ("kind", implicit("default", "web"), "internal", "k8s-default-web-5b232f83fc"),
            ("kind", implicit("default", "web"), "internet-facing", "k8s-default-web-4dac25c253"),
            ("kind", explicit("my-team.prod"), "internet-facing", "k8s-myteamprod-f4bd6d0b5a"),
        ];
        for (cluster, group, scheme, name) in table {
            assert_eq!(load_balancer(cluster, &group, scheme), name);
        }
    }

    #[test]
    fn target_groups_are_named_as_upstream_names_them() {
        let name = target_group(TargetGroupName {
            cluster: "",
            group: &GroupId::default(),
            ingress: ("ns-1", "name-1"),
            service: ("ns-1", "name-1", "my-uuid"),
            service_port: "http",
            port: 8080,
            target_type: "ip",
            protocol: "HTTP",
            protocol_version: "HTTP1",
        });
        assert_eq!(name, "k8s-ns1-name1-2c37289a00");
    }
}
