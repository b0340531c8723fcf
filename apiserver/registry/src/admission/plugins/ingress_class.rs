//! DefaultIngressClass: an Ingress that names no class gets the default one, the newest where there are several.

use serde_json::Value;

use crate::object;
use crate::registry::{Call, Registry};
use crate::strategy::shared::at;

const IS_DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";
const LEGACY: &str = "kubernetes.io/ingress.class";

pub(super) fn set_default(registry: &Registry, _: &Call<'_>, ingress: &mut Value) -> Result<(), String> {
    let named = !at(ingress, &["spec", "ingressClassName"]).is_null();
    if named || !at(ingress, &["metadata", "annotations", LEGACY]).is_null() {
        return Ok(());
    }
    let classes = super::objects(registry, "networking.k8s.io", "ingressclasses", None);
    let default = classes
        .iter()
        .filter(|class| at(class, &["metadata", "annotations", IS_DEFAULT]) == "true")
        .map(|class| (std::cmp::Reverse(object::text(class, "creationTimestamp")), object::name(class)))
        .min();
    if let Some((_, name)) = default {
        object::member_mut(ingress, "spec").insert("ingressClassName".into(), name.into());
    }
    Ok(())
}
