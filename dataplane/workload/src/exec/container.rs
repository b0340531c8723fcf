//! What the processes of a container see: environment, host name, and the few files that a kubelet writes.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{Container, EnvVar, Pod};

use super::Surroundings;
use crate::console::find;
use crate::image::{Behaviour, behaviour_of, short};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The cluster's resolver, as Pods know it.
pub(super) const RESOLVER: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

/// A container as a process in it sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct View {
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) ip: Option<Ipv4Addr>,
    pub(super) directory: String,
    pub(super) env: BTreeMap<String, String>,
    pub(super) files: BTreeMap<String, String>,
    /// Its image has a shell and the usual tools; images from scratch have none.
    pub(super) tools: bool,
    /// Its image is perl's.
    pub(super) perl: bool,
}

/// A container of a Pod, with its address and node as they are now.
pub(super) fn view(pod: &Pod, name: &str, ip: Ipv4Addr, around: &dyn Surroundings) -> Option<View> {
    let spec = pod.spec.as_ref()?;
    let container = &*find(pod, name)?;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (pod_name, namespace) = (text(&pod.metadata.name), text(&pod.metadata.namespace));
    let hostname = spec.hostname.clone().unwrap_or_else(|| pod_name.clone());
    let full = match spec.subdomain.as_deref().filter(|subdomain| !subdomain.is_empty()) {
        Some(subdomain) => format!("{hostname}.{subdomain}.{namespace}.svc.cluster.local\t{hostname}"),
        None => hostname.clone(),
    };
    let mut hosts = format!(
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nfe00::\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n{ip}\t{full}\n"
    );
    let aliases = spec.host_aliases.iter().flatten();
    for (i, alias) in aliases.enumerate() {
        if i == 0 {
            hosts.push_str("\n# Entries added by HostAliases.\n");
        }
        let names: Vec<&str> = alias.hostnames.iter().flatten().map(String::as_str).collect();
        hosts.push_str(&format!("{}\t{}\n", alias.ip, names.join("\t")));
    }
    let resolver = format!(
        "search {namespace}.svc.cluster.local svc.cluster.local cluster.local\nnameserver {RESOLVER}\noptions ndots:5\n"
    );
    let secrets = "/var/run/secrets/kubernetes.io/serviceaccount/namespace".to_owned();
    let files = BTreeMap::from([
        ("/etc/hosts".to_owned(), hosts),
        ("/etc/hostname".to_owned(), format!("{hostname}\n")),
        ("/etc/resolv.conf".to_owned(), resolver),
        (secrets, namespace.clone()),
    ]);
    let image = text(&container.image);
    let bare = is_bare(&image);
    let mut env = BTreeMap::from([("PATH".to_owned(), PATH.to_owned()), ("HOSTNAME".to_owned(), hostname)]);
    if spec.enable_service_links != Some(false) {
        env.extend(around.service_variables(&namespace));
    }
    env.extend(around.service_variables("").into_iter().filter(|(name, _)| name.starts_with("KUBERNETES_")));
    add_env(&mut env, pod, container, ip);
    if !bare {
        env.entry("HOME".to_owned()).or_insert_with(|| "/root".to_owned());
    }
    let directory = container.working_dir.clone().unwrap_or_else(|| "/".to_owned());
    Some(View {
        namespace,
        pod: pod_name,
        ip: Some(ip),
        directory,
        env,
        files,
        tools: !bare,
        perl: short(&image) == "perl",
    })
}

/// True for an image with nothing in it but its server.
pub(super) fn is_bare(image: &str) -> bool {
    let behaviour = behaviour_of(image).map(|(behaviour, _)| behaviour);
    matches!(behaviour, Some(Behaviour::Whoami | Behaviour::HttpEcho)) || image.contains("pause")
}

/// The variables of the container itself, in order: later ones may name earlier ones.
fn add_env(env: &mut BTreeMap<String, String>, pod: &Pod, container: &Container, ip: Ipv4Addr) {
    for variable in container.env.iter().flatten() {
        let value = match value_of(pod, variable, ip) {
            Some(value) => substitute(&value, env),
            None => continue,
        };
        env.insert(variable.name.clone(), value);
    }
}

/// A variable's own text. Those of ConfigMaps and Secrets are not known here.
fn value_of(pod: &Pod, variable: &EnvVar, ip: Ipv4Addr) -> Option<String> {
    let Some(from) = &variable.value_from else { return Some(variable.value.clone().unwrap_or_default()) };
    let path = from.field_ref.as_ref()?.field_path.as_str();
    let (metadata, spec) = (&pod.metadata, pod.spec.as_ref()?);
    let of = |map: &Option<BTreeMap<String, String>>, key: &str| {
        Some(map.as_ref().and_then(|map| map.get(key)).cloned().unwrap_or_default())
    };
    let key = |prefix: &str| path.strip_prefix(prefix).and_then(|rest| rest.strip_suffix("']"));
    if let Some(label) = key("metadata.labels['") {
        return of(&metadata.labels, label);
    }
    if let Some(annotation) = key("metadata.annotations['") {
        return of(&metadata.annotations, annotation);
    }
    match path {
        "metadata.name" => metadata.name.clone(),
        "metadata.namespace" => metadata.namespace.clone(),
        "metadata.uid" => metadata.uid.clone(),
        "spec.nodeName" => spec.node_name.clone(),
        "spec.serviceAccountName" => spec.service_account_name.clone().or_else(|| Some("default".into())),
        "status.podIP" | "status.podIPs" => Some(ip.to_string()),
        "status.hostIP" | "status.hostIPs" => pod.status.as_ref()?.host_ip.clone(),
        _ => None,
    }
}

/// `$(NAME)` becomes the value of an earlier variable, `$$` a `$`; an unknown name stays.
pub(super) fn substitute(text: &str, env: &BTreeMap<String, String>) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        rest = after;
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|rest| rest.split_once(')'))
            && let Some(value) = env.get(name)
        {
            out.push_str(value);
            rest = after;
        } else {
            out.push('$');
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    struct Nothing;

    impl Surroundings for Nothing {
        fn resolve(&self, _: &str, _: &str, _: &str) -> Vec<Ipv4Addr> {
            Vec::new()
        }
        fn service_variables(&self, namespace: &str) -> Vec<(String, String)> {
            let name = if namespace.is_empty() { "KUBERNETES_SERVICE_HOST" } else { "WEB_SERVICE_HOST" };
            vec![(name.to_owned(), "10.96.0.1".to_owned())]
        }
    }

    #[test]
    fn a_container_sees_its_pod() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "web-1", "namespace": "shop", "labels": {"app": "web"}},
            "spec": {"nodeName": "node-2", "hostAliases": [{"ip": "10.1.2.3", "hostnames": ["db", "db.local"]}],
              "containers": [{"name": "c", "image": "nginx", "env": [
                {"name": "A", "value": "a"},
                {"name": "B", "value": "$(A)-$(NONE)-$$(A)"},
                {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
                {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
              ]}, {"name": "bare", "image": "traefik/whoami"}]},
        }))
        .expect("a Pod");
        let ip = Ipv4Addr::new(10, 0, 16, 9);
        let seen = view(&pod, "c", ip, &Nothing).expect("a container");
        let expected = [
            ("A", Some("a")),
            ("B", Some("a-$(NONE)-$(A)")),
            ("NODE", Some("node-2")),
            ("APP", Some("web")),
            ("SECRET", None),
            ("HOSTNAME", Some("web-1")),
            ("WEB_SERVICE_HOST", Some("10.96.0.1")),
            ("KUBERNETES_SERVICE_HOST", Some("10.96.0.1")),
        ];
        for (name, value) in expected {
            assert_eq!(seen.env.get(name).map(String::as_str), value, "{name}");
        }
        assert!(seen.files["/etc/hosts"].contains("10.0.16.9\tweb-1\n"));
        assert!(
            seen.files["/etc/hosts"].ends_with("# Entries added by HostAliases.\n10.1.2.3\tdb\tdb.local\n")
        );
        assert!(seen.files["/etc/resolv.conf"].starts_with("search shop.svc.cluster.local "));
        assert!(seen.tools);
        assert!(!view(&pod, "bare", ip, &Nothing).expect("a container").tools);
        assert_eq!(view(&pod, "none", ip, &Nothing), None);
    }
}
