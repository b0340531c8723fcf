//! Defaults of Pods and templates: `pkg/apis/core/v1/defaults.go` and what is generated beside it.

use apiserver_json::{Map, Value, json};

use super::super::shared::{at_mut, default, default_text, has, items_mut, text};
use super::volumes::SOURCES;

/// Defaults of a Pod that templates do not get.
pub(super) fn default_pod(pod: &mut Value) {
    if let Some(status) = at_mut(pod, &["status"]) {
        pair_addresses(status);
    }
    let Some(spec) = pod.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    let host_network = spec.get("hostNetwork").and_then(Value::as_bool) == Some(true);
    for list in ["initContainers", "containers"] {
        for container in items_mut(spec, list) {
            default_requests(container);
            for port in items_mut(container, "ports").filter(|_| host_network) {
                if let Some(map) = port.as_object_mut()
                    && let Some(number) = map.get("containerPort").cloned()
                {
                    default(map, "hostPort", number);
                }
            }
        }
    }
    super::level::default_requests(spec);
    default_spec(spec);
    if let Some(map) = spec.as_object_mut() {
        default(map, "enableServiceLinks", true);
    }
}

/// The older member says the first address of the newer one, and counts where they differ.
fn pair_addresses(status: &mut Map) {
    let one = status.get("podIP").and_then(Value::as_str).filter(|ip| !ip.is_empty());
    let first = status.get("podIPs").and_then(|all| all.get(0)).map(|first| text(first, "ip"));
    match (one, first) {
        (Some(one), first) if first != Some(one) => {
            let all = json!([{"ip": one}]);
            status.insert("podIPs".into(), all);
        }
        (None, Some(first)) if !first.is_empty() => {
            let first = first.to_owned();
            status.insert("podIP".into(), first.into());
        }
        _ => {}
    }
}

/// What is limited is asked for.
fn default_requests(container: &mut Value) {
    let Some(resources) = at_mut(container, &["resources"]) else { return };
    let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else { return };
    let requests = resources.entry("requests").or_insert_with(|| json!({}));
    if let Some(requests) = requests.as_object_mut() {
        for (name, limit) in limits {
            requests.entry(name).or_insert(limit);
        }
    }
}

/// Defaults of a Pod's spec, in a Pod or a template.
pub(crate) fn default_spec(spec: &mut Value) {
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in items_mut(spec, list) {
            default_container(container);
        }
    }
    for volume in items_mut(spec, "volumes") {
        default_volume(volume);
    }
    let Some(map) = spec.as_object_mut() else { return };
    default_text(map, "dnsPolicy", "ClusterFirst");
    default_text(map, "restartPolicy", "Always");
    default_text(map, "schedulerName", "default-scheduler");
    default(map, "terminationGracePeriodSeconds", 30);
    default(map, "securityContext", json!({}));
    if let Some(account) = map.get("serviceAccountName").cloned() {
        map.insert("serviceAccount".into(), account);
    } else if let Some(account) = map.get("serviceAccount").cloned() {
        map.insert("serviceAccountName".into(), account);
    }
}

fn default_container(container: &mut Value) {
    let policy = pull_policy(text(container, "image"));
    for port in items_mut(container, "ports") {
        if let Some(map) = port.as_object_mut() {
            default_text(map, "protocol", "TCP");
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(probe).filter(|probe| probe.is_object()) {
            default_probe(probe);
        }
    }
    for hook in ["postStart", "preStop"] {
        if let Some(get) = at_mut(container, &["lifecycle", hook, "httpGet"]) {
            default_http_get(get);
        }
    }
    for variable in items_mut(container, "env") {
        if let Some(field) = at_mut(variable, &["valueFrom", "fieldRef"]) {
            default_text(field, "apiVersion", "v1");
        }
        if let Some(file) = at_mut(variable, &["valueFrom", "fileKeyRef"]) {
            default(file, "optional", false);
        }
    }
    let Some(map) = container.as_object_mut() else { return };
    default_text(map, "terminationMessagePath", "/dev/termination-log");
    default_text(map, "terminationMessagePolicy", "File");
    default_text(map, "imagePullPolicy", policy);
    default(map, "resources", json!({}));
}

/// `latest` is pulled always, with or without being said; so is nothing that is no image's name.
fn pull_policy(image: &str) -> &'static str {
    if image_tag(image) == Some("latest") { "Always" } else { "IfNotPresent" }
}

/// The tag of an image; none where it is named by digest or the name is wrong. `ParseImageName` upstream.
fn image_tag(image: &str) -> Option<&str> {
    if image.contains('@') {
        return None;
    }
    let (name, tag) = match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (image, "latest"),
    };
    let path = match name.split_once('/') {
        Some((host, _)) if is_host(host) && !host.contains(|c: char| c.is_ascii_alphanumeric()) => {
            return None;
        }
        Some((host, path)) if is_host(host) => path,
        _ => name,
    };
    let is_part = |part: &str| {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        part.starts_with(plain)
            && part.ends_with(plain)
            && part.chars().all(|c| plain(c) || "._-".contains(c))
    };
    // A name of 64 hexadecimal digits would be an image's id.
    let is_id = image.len() == 64 && image.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (!is_id && path.len() <= NAME_BYTES_MAX && path.split('/').all(is_part)).then_some(tag)
}

/// Bytes of an image's name without its host.
const NAME_BYTES_MAX: usize = 255;

/// Is the first part of an image's name a host? One in capitals cannot be anything else.
fn is_host(part: &str) -> bool {
    part.contains(['.', ':']) || part == "localhost" || part.chars().any(|c| c.is_ascii_uppercase())
}

fn default_probe(probe: &mut Value) {
    if let Some(get) = at_mut(probe, &["httpGet"]) {
        default_http_get(get);
    }
    if let Some(grpc) = at_mut(probe, &["grpc"])
        && grpc.get("service").is_none_or(Value::is_null)
    {
        grpc.insert("service".into(), "".into());
    }
    let Some(map) = probe.as_object_mut() else { return };
    for (member, value) in
        [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
    {
        if map.get(member).and_then(Value::as_i64).unwrap_or(0) == 0 {
            map.insert(member.into(), value.into());
        }
    }
}

fn default_http_get(get: &mut Map) {
    default_text(get, "path", "/");
    default_text(get, "scheme", "HTTP");
}

/// (source, member, text) that stands where none is given.
pub(crate) const SOURCE_TEXTS: &[(&str, &str, &str)] = &[
    ("iscsi", "iscsiInterface", "default"),
    ("rbd", "pool", "rbd"),
    ("rbd", "user", "admin"),
    ("rbd", "keyring", "/etc/ceph/keyring"),
    ("azureDisk", "cachingMode", "ReadWrite"),
    ("azureDisk", "fsType", "ext4"),
    ("azureDisk", "kind", "Shared"),
    ("scaleIO", "storageMode", "ThinProvisioned"),
    ("scaleIO", "fsType", "xfs"),
];

/// Defaults of sources that Pods and PersistentVolumes have in common.
pub(crate) fn default_source(holder: &mut Map) {
    for (kind, member, text) in SOURCE_TEXTS {
        if let Some(source) = holder.get_mut(kind).and_then(Value::as_object_mut) {
            // Those of this disk are pointers: empty is not missing.
            match *kind {
                "azureDisk" => default(source, member, *text),
                _ => default_text(source, member, text),
            }
        }
    }
    if let Some(disk) = holder.get_mut("azureDisk").and_then(Value::as_object_mut) {
        default(disk, "readOnly", false);
    }
    if let Some(path) = holder.get_mut("hostPath").and_then(Value::as_object_mut) {
        default(path, "type", "");
    }
}

fn default_volume(volume: &mut Value) {
    let has_source = SOURCES.iter().any(|(source, _, _)| has(volume, source));
    let Some(map) = volume.as_object_mut() else { return };
    if !has_source {
        map.insert("emptyDir".into(), json!({}));
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = map.get_mut(source).and_then(Value::as_object_mut) {
            default(source, "defaultMode", 0o644);
        }
    }
    default_source(map);
    if let Some(image) = map.get_mut("image") {
        let policy = pull_policy(text(image, "reference"));
        if let Some(image) = image.as_object_mut() {
            default_text(image, "pullPolicy", policy);
        }
    }
    if let Some(spec) = at_mut(volume, &["ephemeral", "volumeClaimTemplate", "spec"]) {
        default(spec, "volumeMode", "Filesystem");
    }
    if let Some(api) = volume.get_mut("downwardAPI") {
        default_field_refs(api);
    }
    if let Some(projected) = volume.get_mut("projected") {
        for source in items_mut(projected, "sources") {
            if let Some(token) = at_mut(source, &["serviceAccountToken"]) {
                default(token, "expirationSeconds", 3600);
            }
            if let Some(api) = source.get_mut("downwardAPI") {
                default_field_refs(api);
            }
        }
    }
}

fn default_field_refs(api: &mut Value) {
    for item in items_mut(api, "items") {
        if let Some(field) = at_mut(item, &["fieldRef"]) {
            default_text(field, "apiVersion", "v1");
        }
    }
}
