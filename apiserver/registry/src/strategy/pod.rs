//! Pods and pod templates: `pkg/apis/core/v1/defaults.go` and `pkg/apis/core/validation`.

use apiserver_meta::field::FieldError;
use apiserver_meta::names;
use serde_json::{Map, Value, json};

use super::shared::{at, at_mut, default, default_text, items, items_mut, text};
use super::{PLAIN, Strategy};

pub(super) static POD: Strategy = Strategy {
    default: default_pod,
    prepare_create,
    prepare_update: super::shared::keep_status,
    validate_create: |pod| validate_spec(at(pod, &["spec"]), "spec"),
    validate_update,
    warnings: |pod| super::pod_warnings::warnings(pod, ""),
    status: true,
    generation: true,
    delete_returns_object: true,
    ..PLAIN
};

fn default_pod(pod: &mut Value) {
    if let Some(spec) = pod.get_mut("spec").filter(|spec| spec.is_object()) {
        default_spec(spec);
        let Some(map) = spec.as_object_mut() else { return };
        default(map, "enableServiceLinks", true);
    }
}

fn prepare_create(pod: &mut Value) {
    let class = qos_class(pod.get("spec").unwrap_or(&Value::Null));
    pod["status"] = json!({"phase": "Pending", "qosClass": class});
    let Some(spec) = at_mut(pod, &["spec"]) else { return };
    let seconds = 300;
    let tolerations = spec.entry("tolerations").or_insert_with(|| json!([]));
    if let Some(tolerations) = tolerations.as_array_mut() {
        for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
            let tolerated = tolerations.iter().any(|toleration| {
                let matches_key = text(toleration, "key") == key || text(toleration, "key").is_empty();
                matches_key && matches!(text(toleration, "effect"), "" | "NoExecute")
            });
            if !tolerated {
                tolerations.push(json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}));
            }
        }
    }
}

/// Defaults of a Pod's spec, in a Pod or a template.
pub(crate) fn default_spec(spec: &mut Value) {
    let host_network = spec.get("hostNetwork").and_then(Value::as_bool) == Some(true);
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in items_mut(spec, list) {
            default_container(container, host_network);
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

fn default_container(container: &mut Value, host_network: bool) {
    let policy = if text(container, "image").ends_with(":latest") || !has_tag(text(container, "image")) {
        "Always"
    } else {
        "IfNotPresent"
    };
    for port in items_mut(container, "ports") {
        let Some(map) = port.as_object_mut() else { continue };
        default_text(map, "protocol", "TCP");
        if host_network && let Some(number) = map.get("containerPort").cloned() {
            default(map, "hostPort", number);
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
    }
    let Some(map) = container.as_object_mut() else { return };
    default_text(map, "terminationMessagePath", "/dev/termination-log");
    default_text(map, "terminationMessagePolicy", "File");
    default_text(map, "imagePullPolicy", policy);
    default(map, "resources", json!({}));
    if let Some(resources) = map.get_mut("resources").and_then(Value::as_object_mut)
        && let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned()
    {
        let requests = resources.entry("requests").or_insert_with(|| json!({}));
        if let Some(requests) = requests.as_object_mut() {
            for (name, limit) in limits {
                requests.entry(name).or_insert(limit);
            }
        }
    }
}

/// An image reference without a tag and without a digest means `latest`.
fn has_tag(image: &str) -> bool {
    let name = image.rsplit('/').next().unwrap_or(image);
    name.contains(':') || name.contains('@')
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

fn default_http_get(get: &mut Map<String, Value>) {
    default_text(get, "path", "/");
    default_text(get, "scheme", "HTTP");
}

const VOLUME_SOURCES: &[&str] = &[
    "hostPath",
    "emptyDir",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "gitRepo",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "persistentVolumeClaim",
    "rbd",
    "flexVolume",
    "cinder",
    "cephfs",
    "flocker",
    "downwardAPI",
    "fc",
    "azureFile",
    "configMap",
    "vsphereVolume",
    "quobyte",
    "azureDisk",
    "photonPersistentDisk",
    "projected",
    "portworxVolume",
    "scaleIO",
    "storageos",
    "csi",
    "ephemeral",
    "image",
];

fn default_volume(volume: &mut Value) {
    let Some(map) = volume.as_object_mut() else { return };
    if !VOLUME_SOURCES.iter().any(|source| map.contains_key(*source)) {
        map.insert("emptyDir".into(), json!({}));
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = map.get_mut(source).and_then(Value::as_object_mut) {
            default(source, "defaultMode", 0o644);
        }
    }
    if let Some(path) = map.get_mut("hostPath").and_then(Value::as_object_mut) {
        default(path, "type", "");
    }
    if let Some(iscsi) = map.get_mut("iscsi").and_then(Value::as_object_mut) {
        default_text(iscsi, "iscsiInterface", "default");
    }
    if let Some(template) =
        map.get_mut("ephemeral").and_then(|source| source.pointer_mut("/volumeClaimTemplate/spec"))
        && let Some(spec) = template.as_object_mut()
    {
        default_text(spec, "volumeMode", "Filesystem");
    }
    let projected =
        map.get_mut("projected").and_then(|source| source.get_mut("sources")).and_then(Value::as_array_mut);
    for source in projected.into_iter().flatten() {
        if let Some(token) = at_mut(source, &["serviceAccountToken"]) {
            default(token, "expirationSeconds", 3600);
        }
        for item in source
            .get_mut("downwardAPI")
            .and_then(|api| api.get_mut("items"))
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            if let Some(field) = at_mut(item, &["fieldRef"]) {
                default_text(field, "apiVersion", "v1");
            }
        }
    }
    for item in map
        .get_mut("downwardAPI")
        .and_then(|api| api.get_mut("items"))
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Some(field) = at_mut(item, &["fieldRef"]) {
            default_text(field, "apiVersion", "v1");
        }
    }
}

/// `Guaranteed`, `Burstable` or `BestEffort`.
fn qos_class(spec: &Value) -> &'static str {
    let mut any = false;
    let mut guaranteed = true;
    for container in items(spec, "containers").iter().chain(items(spec, "initContainers")) {
        let resources = container.get("resources").unwrap_or(&Value::Null);
        for name in ["cpu", "memory"] {
            let limit = at(resources, &["limits", name]);
            let request = at(resources, &["requests", name]);
            any |= !limit.is_null() || !request.is_null();
            guaranteed &= !limit.is_null() && limit == request;
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// Errors of a Pod's spec at `path`.
pub(crate) fn validate_spec(spec: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let volumes = validate_volumes(spec, path, &mut errors);
    if items(spec, "containers").is_empty() {
        errors.push(FieldError::required(format!("{path}.containers"), ""));
    }
    let mut seen: Vec<&str> = Vec::new();
    for list in ["initContainers", "containers"] {
        for (i, container) in items(spec, list).iter().enumerate() {
            let path = format!("{path}.{list}[{i}]");
            validate_container(container, &path, &volumes, &mut errors);
            let name = text(container, "name");
            if !name.is_empty() && seen.contains(&name) {
                errors.push(FieldError::duplicate(format!("{path}.name"), &name.into()));
            }
            seen.push(name);
        }
    }
    for (member, allowed) in [
        ("restartPolicy", &["Always", "OnFailure", "Never"][..]),
        ("dnsPolicy", &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"][..]),
    ] {
        let value = text(spec, member);
        if !value.is_empty() && !allowed.contains(&value) {
            errors.push(FieldError::not_supported_in_order(
                format!("{path}.{member}"),
                &value.into(),
                allowed,
            ));
        }
    }
    for (member, rule) in [
        ("serviceAccountName", names::dns1123_subdomain as fn(&str) -> Vec<String>),
        ("nodeName", names::dns1123_subdomain),
    ] {
        let value = text(spec, member);
        if !value.is_empty() {
            errors.extend(
                rule(value)
                    .into_iter()
                    .map(|problem| FieldError::invalid(format!("{path}.{member}"), &value.into(), problem)),
            );
        }
    }
    crate::object::validate_labels(spec.get("nodeSelector"), &format!("{path}.nodeSelector"), &mut errors);
    let hostname = text(spec, "hostname");
    if !hostname.is_empty() {
        errors.extend(
            names::dns1123_label(hostname)
                .into_iter()
                .map(|problem| FieldError::invalid(format!("{path}.hostname"), &hostname.into(), problem)),
        );
    }
    if let Some(seconds) = spec.get("activeDeadlineSeconds").and_then(Value::as_i64)
        && !(1..=i64::from(i32::MAX)).contains(&seconds)
    {
        errors.push(FieldError::invalid(
            format!("{path}.activeDeadlineSeconds"),
            &seconds.into(),
            "must be between 1 and 2147483647, inclusive",
        ));
    }
    errors
}

fn validate_volumes<'a>(spec: &'a Value, path: &str, errors: &mut Vec<FieldError>) -> Vec<&'a str> {
    let mut names_seen: Vec<&str> = Vec::new();
    for (i, volume) in items(spec, "volumes").iter().enumerate() {
        let path = format!("{path}.volumes[{i}]");
        let name = text(volume, "name");
        if name.is_empty() {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        } else {
            errors.extend(
                names::dns1123_label(name)
                    .into_iter()
                    .map(|problem| FieldError::invalid(format!("{path}.name"), &name.into(), problem)),
            );
        }
        if names_seen.contains(&name) {
            errors.push(FieldError::duplicate(format!("{path}.name"), &name.into()));
        }
        names_seen.push(name);
        let mut sources = VOLUME_SOURCES.iter().filter(|source| volume.get(**source).is_some());
        sources.next();
        for extra in sources {
            errors.push(FieldError::forbidden(
                format!("{path}.{extra}"),
                "may not specify more than 1 volume type",
            ));
        }
        for (j, source) in
            items(volume.get("projected").unwrap_or(&Value::Null), "sources").iter().enumerate()
        {
            if source.get("serviceAccountToken").is_some() && text(spec, "serviceAccountName").is_empty() {
                errors.push(FieldError::forbidden(
                    format!("{path}.projected.sources[{j}].serviceAccountToken"),
                    "must not be specified when serviceAccountName is not set",
                ));
            }
        }
    }
    names_seen
}

fn validate_container(container: &Value, path: &str, volumes: &[&str], errors: &mut Vec<FieldError>) {
    let name = text(container, "name");
    if name.is_empty() {
        errors.push(FieldError::required(format!("{path}.name"), ""));
    } else {
        errors.extend(
            names::dns1123_label(name)
                .into_iter()
                .map(|problem| FieldError::invalid(format!("{path}.name"), &name.into(), problem)),
        );
    }
    let image = text(container, "image");
    if image.is_empty() {
        errors.push(FieldError::required(format!("{path}.image"), ""));
    } else if image.trim() != image {
        errors.push(FieldError::invalid(
            format!("{path}.image"),
            &image.into(),
            "must not have leading or trailing whitespace",
        ));
    }
    super::shared::check_one_of(
        container,
        "imagePullPolicy",
        &format!("{path}.imagePullPolicy"),
        &["Always", "IfNotPresent", "Never"],
        errors,
    );
    validate_ports(container, path, errors);
    for (i, variable) in items(container, "env").iter().enumerate() {
        if text(variable, "name").is_empty() {
            errors.push(FieldError::required(format!("{path}.env[{i}].name"), ""));
        }
        if !text(variable, "value").is_empty() && variable.get("valueFrom").is_some() {
            errors.push(FieldError::invalid(
                format!("{path}.env[{i}].valueFrom"),
                &"".into(),
                "may not be specified when `value` is not empty",
            ));
        }
    }
    for (i, mount) in items(container, "volumeMounts").iter().enumerate() {
        let path = format!("{path}.volumeMounts[{i}]");
        let name = text(mount, "name");
        if name.is_empty() {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        }
        if !volumes.contains(&name) {
            errors.push(FieldError::not_found(format!("{path}.name"), &name.into()));
        }
        if text(mount, "mountPath").is_empty() {
            errors.push(FieldError::required(format!("{path}.mountPath"), ""));
        }
    }
    super::resources::validate(
        container.get("resources").unwrap_or(&Value::Null),
        &format!("{path}.resources"),
        errors,
    );
}

fn validate_ports(container: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let mut seen: Vec<&str> = Vec::new();
    for (i, port) in items(container, "ports").iter().enumerate() {
        let path = format!("{path}.ports[{i}]");
        let name = text(port, "name");
        if !name.is_empty() {
            errors.extend(
                names::port_name(name)
                    .into_iter()
                    .map(|problem| FieldError::invalid(format!("{path}.name"), &name.into(), problem)),
            );
            if seen.contains(&name) {
                errors.push(FieldError::duplicate(format!("{path}.name"), &name.into()));
            }
            seen.push(name);
        }
        match port.get("containerPort").and_then(Value::as_i64).unwrap_or(0) {
            0 => errors.push(FieldError::required(format!("{path}.containerPort"), "")),
            _ => super::shared::check_port(&port["containerPort"], format!("{path}.containerPort"), errors),
        }
        super::shared::check_one_of(
            port,
            "protocol",
            &format!("{path}.protocol"),
            &["TCP", "UDP", "SCTP"],
            errors,
        );
    }
}

const IMMUTABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

fn validate_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = validate_spec(at(new, &["spec"]), "spec");
    let (new_spec, old_spec) = (at(new, &["spec"]), at(old, &["spec"]));
    if items(new_spec, "containers").len() != items(old_spec, "containers").len() {
        errors.push(FieldError::forbidden("spec.containers", "pod updates may not add or remove containers"));
        return errors;
    }
    if items(new_spec, "initContainers").len() != items(old_spec, "initContainers").len() {
        errors.push(FieldError::forbidden(
            "spec.initContainers",
            "pod updates may not add or remove containers",
        ));
        return errors;
    }
    let mut masked = new_spec.clone();
    for list in ["containers", "initContainers"] {
        for (container, before) in items_mut(&mut masked, list).zip(items(old_spec, list)) {
            if let Some(image) = before.get("image") {
                container["image"] = image.clone();
            }
        }
    }
    let Some(map) = masked.as_object_mut() else { return errors };
    let tolerations_grow = items(old_spec, "tolerations")
        .iter()
        .all(|toleration| items(new_spec, "tolerations").contains(toleration));
    for (member, may_change) in
        [("activeDeadlineSeconds", true), ("tolerations", tolerations_grow), ("schedulingGates", true)]
    {
        if may_change {
            match old_spec.get(member) {
                Some(value) => map.insert(member.into(), value.clone()),
                None => map.remove(member),
            };
        }
    }
    if masked != *old_spec {
        errors.push(FieldError::forbidden("spec", IMMUTABLE));
    }
    errors
}
