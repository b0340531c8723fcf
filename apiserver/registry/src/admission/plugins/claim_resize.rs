//! PersistentVolumeClaimResize: only a bound claim grows, and only where its class lets volumes grow.

use apiserver_json::Value;
use apiserver_meta::quantity;

use super::Refusal;
use crate::registry::{Call, Registry};
use crate::strategy::shared::{at, text};

const STORAGE_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

pub(super) fn check(
    registry: &Registry,
    _: &Call<'_>,
    claim: &Value,
    old: Option<&Value>,
) -> Result<(), Refusal> {
    let Some(old) = old else { return Ok(()) };
    let wanted = |claim: &Value| quantity::parse(at(claim, &["spec", "resources", "requests", "storage"]));
    if wanted(claim).unwrap_or(0) <= wanted(old).unwrap_or(0) {
        return Ok(());
    }
    if text(at(old, &["status"]), "phase") != "Bound" {
        return Err("Only bound persistent volume claims can be expanded".to_owned().into());
    }
    if !may_grow(registry, claim, old) {
        let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";
        return Err(why.to_owned().into());
    }
    Ok(())
}

fn may_grow(registry: &Registry, claim: &Value, old: &Value) -> bool {
    let class = class_of(claim);
    if class.is_empty() || class != class_of(old) {
        return false;
    }
    let class = super::object_named(registry, "storage.k8s.io", "storageclasses", class);
    class.is_some_and(|class| class["allowVolumeExpansion"] == true)
}

/// The class of a claim; an annotation was there before the member.
fn class_of(claim: &Value) -> &str {
    let annotation = at(claim, &["metadata", "annotations", STORAGE_CLASS]).as_str();
    annotation.unwrap_or_else(|| text(at(claim, &["spec"]), "storageClassName"))
}
