//! Devices for administrators: a claim may ask for them in a namespace whose label says so
//! (`pkg/registry/resource/utils.go`).

use apiserver_json::Value;
use apiserver_meta::field::FieldError;

use crate::registry::{Call, Registry};

const LABEL: &str = "resource.kubernetes.io/admin-access";

/// Where an object asks for such access, or says that it was given.
fn asked_at(call: &Call, object: &Value) -> Option<String> {
    let (list, path) = match (call.resource.kind.as_str(), call.subresource) {
        ("ResourceClaim", "") => ("/spec/devices/requests", "spec.devices.requests"),
        // The path is that of a claim there, too.
        ("ResourceClaimTemplate", "") => ("/spec/spec/devices/requests", "spec.devices.requests"),
        ("ResourceClaim", "status") => {
            ("/status/allocation/devices/results", "status.allocation.devices.results")
        }
        _ => return None,
    };
    let asks = |item: &Value| {
        let holder = if call.subresource.is_empty() { item.get("exactly") } else { Some(item) };
        holder.and_then(|holder| holder.get("adminAccess")).and_then(Value::as_bool) == Some(true)
    };
    let place = object.pointer(list)?.as_array()?.iter().position(asks)?;
    Some(format!("{path}[{place}].adminAccess"))
}

impl Registry {
    /// The error of an object that asks for access which its namespace does not have. What was given stays given, and a spec does
    /// not change.
    pub(crate) fn check_admin_access(
        &self,
        call: &Call,
        new: &Value,
        old: Option<&Value>,
    ) -> Option<FieldError> {
        if call.resource.group != "resource.k8s.io" || old.is_some() && call.subresource != "status" {
            return None;
        }
        let path = asked_at(call, new)?;
        if old.is_some_and(|old| asked_at(call, old).is_some()) {
            return None;
        }
        let namespace = call.namespace.unwrap_or("");
        let Some(found) = self.cache().get(&format!("/registry/core/namespaces/{namespace}")) else {
            let why = format!(
                "could not retrieve namespace to verify admin access: namespaces {namespace:?} not found"
            );
            return Some(FieldError::internal(path, why));
        };
        let why = "admin access to devices requires the `resource.kubernetes.io/admin-access: true` label on the containing namespace";
        (found.label(LABEL) != Some("true")).then(|| FieldError::forbidden(path, why))
    }
}
