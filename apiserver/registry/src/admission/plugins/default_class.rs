//! DefaultIngressClass and DefaultStorageClass: what names no class gets the default one, the newest of several.

use apiserver_json::Value;

use crate::object;
use crate::registry::{Call, Registry};
use crate::strategy::shared::{at, has};

const INGRESS_CLASS: &str = "kubernetes.io/ingress.class";
const STORAGE_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const DEFAULT_INGRESS_CLASS: &[&str] = &["ingressclass.kubernetes.io/is-default-class"];
const DEFAULT_STORAGE_CLASS: &[&str] =
    &["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

pub(super) fn of_ingress(
    registry: &Registry,
    _: &Call<'_>,
    ingress: &mut Value,
) -> Result<(), super::Refusal> {
    let named = has(at(ingress, &["spec"]), "ingressClassName");
    if !named && at(ingress, &["metadata", "annotations", INGRESS_CLASS]).is_null() {
        let class = ("networking.k8s.io", "ingressclasses");
        set(registry, class, DEFAULT_INGRESS_CLASS, ingress, "ingressClassName");
    }
    Ok(())
}

pub(super) fn of_claim(registry: &Registry, _: &Call<'_>, claim: &mut Value) -> Result<(), super::Refusal> {
    let named = has(at(claim, &["spec"]), "storageClassName");
    if !named && at(claim, &["metadata", "annotations", STORAGE_CLASS]).is_null() {
        let class = ("storage.k8s.io", "storageclasses");
        set(registry, class, DEFAULT_STORAGE_CLASS, claim, "storageClassName");
    }
    Ok(())
}

/// Sets a member to the name of the default class, where there is one.
fn set(
    registry: &Registry,
    (group, classes): (&str, &str),
    annotations: &[&str],
    object: &mut Value,
    member: &str,
) {
    let classes = super::objects(registry, group, classes, None);
    let is_default = |class: &&Value| {
        annotations.iter().any(|annotation| at(class, &["metadata", "annotations", annotation]) == "true")
    };
    let default = classes
        .iter()
        .filter(is_default)
        .map(|class| (std::cmp::Reverse(object::text(class, "creationTimestamp")), object::name(class)))
        .min();
    if let Some((_, name)) = default {
        object::member_mut(object, "spec").insert(member.into(), name.into());
    }
}
