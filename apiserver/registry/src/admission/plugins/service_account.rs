//! ServiceAccount: a Pod runs as an account that exists, with that account's token and pull secrets.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use apiserver_json::{Map, Value, json};
use apiserver_watchcache::Object;

use crate::object;
use crate::registry::{Call, Registry, random_suffix};
use crate::strategy::shared::{at, items, text};

pub(crate) const NAME: &str = "ServiceAccount";
const DEFAULT: &str = "default";
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
const MIRROR: &str = "kubernetes.io/config.mirror";
/// Seconds until the token expires: an hour, and what makes it recognisable as one nobody asked for.
const TOKEN_SECONDS: i64 = 3607;
const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";
/// What a volume with an account's token holds.
static TOKEN_VOLUME: LazyLock<Value> = LazyLock::new(|| {
    json!({"defaultMode": 0o644, "sources": [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [
            {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
        ]}},
    ]})
});
/// Upstream tries ten times, 100 to 200 ms apart.
const PATIENCE: Duration = Duration::from_millis(1500);
const LOOK: Duration = Duration::from_millis(10);

/// A namespace is a moment older than its default account: waits for that one, as upstream does.
pub(crate) async fn wait_for_default(registry: &Registry, call: &Call<'_>, pod: &Value) {
    let is_pod =
        call.resource.group.is_empty() && call.resource.name == "pods" && call.subresource.is_empty();
    if !is_pod || registry.disabled_plugins().contains(NAME) || is_mirror(pod) {
        return;
    }
    if !matches!(text(at(pod, &["spec"]), "serviceAccountName"), "" | DEFAULT) {
        return;
    }
    let since = Instant::now();
    while stored(registry, call, DEFAULT).is_none() && since.elapsed() < PATIENCE {
        tokio::time::sleep(LOOK).await;
    }
}

/// What an account says of its Pods: mostly nothing, and then it need not be read.
fn account(registry: &Registry, call: &Call<'_>, name: &str) -> Option<Value> {
    let found = stored(registry, call, name)?;
    let text = std::str::from_utf8(found.bytes()).unwrap_or_default();
    let says = ["\"automountServiceAccountToken\"", "\"imagePullSecrets\"", ENFORCE];
    Some(if says.iter().any(|name| text.contains(name)) { found.parse() } else { Value::Null })
}

fn stored(registry: &Registry, call: &Call<'_>, name: &str) -> Option<Arc<Object>> {
    let catalogue = registry.catalogue();
    let accounts = catalogue.get("", "v1", "serviceaccounts")?;
    registry.cache().get(&accounts.key(call.namespace, name))
}

fn is_mirror(pod: &Value) -> bool {
    !at(pod, &["metadata", "annotations", MIRROR]).is_null()
}

pub(super) fn mount(registry: &Registry, call: &Call<'_>, pod: &mut Value) -> Result<(), super::Refusal> {
    if is_mirror(pod) {
        check_mirror(pod)?;
        return Ok(());
    }
    let spec = object::member_mut(pod, "spec");
    if spec.get("serviceAccountName").and_then(Value::as_str).is_none_or(str::is_empty) {
        spec.insert("serviceAccountName".into(), DEFAULT.into());
    }
    let name = text(at(pod, &["spec"]), "serviceAccountName").to_owned();
    let Some(account) = account(registry, call, &name) else {
        let namespace = call.namespace.unwrap_or("");
        return Err(format!(
            "error looking up service account {namespace}/{name}: serviceaccount \"{name}\" not found"
        )
        .into());
    };
    let spec = object::member_mut(pod, "spec");
    spec.insert("serviceAccount".into(), name.into());
    let automount = spec
        .get("automountServiceAccountToken")
        .or_else(|| account.get("automountServiceAccountToken"))
        .and_then(Value::as_bool)
        .unwrap_or(true);
    if automount {
        mount_token(pod);
    }
    let secrets = items(&account, "imagePullSecrets");
    if items(at(pod, &["spec"]), "imagePullSecrets").is_empty() && !secrets.is_empty() {
        object::member_mut(pod, "spec").insert("imagePullSecrets".into(), secrets.into());
    }
    let enforced = at(&account, &["metadata", "annotations", ENFORCE]).as_str();
    if matches!(enforced, Some("1" | "t" | "T" | "true" | "TRUE" | "True")) {
        check_secrets(&account, at(pod, &["spec"]))?;
    }
    Ok(())
}

fn check_mirror(pod: &Value) -> Result<(), String> {
    let spec = at(pod, &["spec"]);
    if !text(spec, "serviceAccountName").is_empty() {
        return Err("a mirror pod may not reference service accounts".into());
    }
    let tokens = items(spec, "volumes").iter().flat_map(|volume| items(&volume["projected"], "sources"));
    if tokens.into_iter().any(|source| source.get("serviceAccountToken").is_some()) {
        return Err("a mirror pod may not use ServiceAccountToken volume projections".into());
    }
    Ok(())
}

fn mount_token(pod: &mut Value) {
    let existing = items(at(pod, &["spec"]), "volumes")
        .iter()
        .map(|volume| text(volume, "name"))
        .find(|name| name.starts_with(VOLUME_PREFIX))
        .map(str::to_owned);
    let known = existing.is_some();
    let name = existing.unwrap_or_else(|| format!("{VOLUME_PREFIX}{}", random_suffix()));
    let spec = object::member_mut(pod, "spec");
    let mut needed = false;
    for list in ["initContainers", "containers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            if items(container, "volumeMounts").iter().any(|mount| text(mount, "mountPath") == MOUNT_PATH) {
                continue;
            }
            needed = true;
            push(container, "volumeMounts", json!({"name": name, "readOnly": true, "mountPath": MOUNT_PATH}));
        }
    }
    if needed && !known {
        let volume = Map::from_iter([("name", name.into()), ("projected", TOKEN_VOLUME.clone())]);
        if let Some(spec) = pod.get_mut("spec") {
            push(spec, "volumes", volume.into());
        }
    }
}

fn push(owner: &mut Value, list: &str, item: Value) {
    let Some(owner) = owner.as_object_mut() else { return };
    match owner.get_mut(list).and_then(Value::as_array_mut) {
        Some(items) => items.push(item),
        None => drop(owner.insert(list.into(), vec![item].into())),
    }
}

/// The account says which secrets its Pods may use.
fn check_secrets(account: &Value, spec: &Value) -> Result<(), String> {
    let who = object::name(account);
    let named =
        |list: &str, name: &str| items(account, list).iter().any(|secret| text(secret, "name") == name);
    for volume in items(spec, "volumes").iter().filter(|volume| volume["secret"].is_object()) {
        let secret = text(&volume["secret"], "secretName");
        if !named("secrets", secret) {
            return Err(format!(
                "volume with secret.secretName=\"{secret}\" is not allowed because service account {who} does not reference that secret"
            ));
        }
    }
    for (list, what) in [("initContainers", "init container"), ("containers", "container")] {
        for container in items(spec, list) {
            let place = format!("{what} {}", text(container, "name"));
            for variable in items(container, "env") {
                let reference = at(variable, &["valueFrom", "secretKeyRef"]);
                let secret = text(reference, "name");
                if reference.is_object() && !named("secrets", secret) {
                    return Err(format!(
                        "{place} with envVar {} referencing secret.secretName=\"{secret}\" is not allowed because service account {who} does not reference that secret",
                        text(variable, "name")
                    ));
                }
            }
            for source in items(container, "envFrom").iter().filter(|source| source["secretRef"].is_object())
            {
                let secret = text(&source["secretRef"], "name");
                if !named("secrets", secret) {
                    return Err(format!(
                        "{place} with envFrom referencing secret.secretName=\"{secret}\" is not allowed because service account {who} does not reference that secret"
                    ));
                }
            }
        }
    }
    for (i, secret) in items(spec, "imagePullSecrets").iter().enumerate() {
        let name = text(secret, "name");
        if !named("imagePullSecrets", name) {
            return Err(format!(
                "imagePullSecrets[{i}].name=\"{name}\" is not allowed because service account {who} does not reference that imagePullSecret"
            ));
        }
    }
    Ok(())
}
