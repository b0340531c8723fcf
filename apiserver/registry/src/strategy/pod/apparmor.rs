//! Annotations about AppArmor, which are older than the field: what one says of a container of a new Pod becomes its field
//! (`applyAppArmorVersionSkew`).

use apiserver_json::{SmolStr, Value, json};

use super::security::check_apparmor;
use crate::admission::Requester;
use crate::object;
use crate::strategy::shared::{at, items_mut, text};

/// The annotation of a container, before its name.
pub(in crate::strategy) const ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";

/// The field that an annotation means; null where it means none.
pub(in crate::strategy) fn profile(annotation: &str) -> Value {
    match annotation {
        "unconfined" => json!({"type": "Unconfined"}),
        "runtime/default" => json!({"type": "RuntimeDefault"}),
        other => match other.strip_prefix("localhost/") {
            None | Some("") => Value::Null,
            Some(name) => json!({"type": "Localhost", "localhostProfile": name}),
        },
    }
}

/// Gives the containers of a new Pod the profiles of its annotations, and warns of these.
pub(super) fn adopt(pod: &mut Value, requester: &Requester<'_>) {
    let annotations = at(pod, &["metadata", "annotations"]);
    let is_one = |key: &SmolStr| key.starts_with(ANNOTATION);
    if !annotations.as_object().is_some_and(|map| map.keys().any(is_one)) {
        return;
    }
    let (annotations, spec) = (annotations.clone(), at(pod, &["spec"]));
    if text(at(spec, &["os"]), "name") == "windows" {
        return;
    }
    let of_pod = at(spec, &["securityContext", "appArmorProfile"]).clone();
    let Some(spec) = pod.get_mut("spec") else { return };
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in items_mut(spec, list) {
            let key = format!("{ANNOTATION}{}", text(container, "name"));
            let Some(annotated) = annotations.get(&key).and_then(Value::as_str) else { continue };
            if !at(container, &["securityContext", "appArmorProfile"]).is_null() {
                continue;
            }
            let mut errors = Vec::new();
            let meant = profile(annotated);
            check_apparmor(&meant, "", &mut errors);
            let fine = !meant.is_null() && errors.is_empty();
            if fine && meant == of_pod {
                continue;
            }
            if fine {
                object::member_mut(container, "securityContext").insert("appArmorProfile".into(), meant);
            }
            requester.warn(format!(
                "metadata.annotations[{key}]: deprecated since v1.30; use the \"appArmorProfile\" field instead"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::Warnings;

    #[test]
    fn annotations_become_fields() {
        let default = json!({"type": "RuntimeDefault"});
        for (annotation, container, of_pod, want, warns) in [
            ("runtime/default", json!({}), Value::Null, default.clone(), true),
            ("runtime/default", json!({}), default.clone(), Value::Null, false),
            ("unconfined", json!({}), default.clone(), json!({"type": "Unconfined"}), true),
            (
                "localhost/x",
                json!({}),
                Value::Null,
                json!({"type": "Localhost", "localhostProfile": "x"}),
                true,
            ),
            ("localhost/", json!({}), Value::Null, Value::Null, true),
            ("localhost/ x", json!({}), Value::Null, Value::Null, true),
            (
                "unconfined",
                json!({"securityContext": {"appArmorProfile": default}}),
                Value::Null,
                default.clone(),
                false,
            ),
        ] {
            let mut container = container.clone();
            container["name"] = "a".into();
            let mut pod = json!({
                "metadata": {"annotations": {(format!("{ANNOTATION}a")): annotation}},
                "spec": {"containers": [container], "securityContext": {"appArmorProfile": of_pod}},
            });
            let warnings = Warnings::default();
            adopt(&mut pod, &Requester { warnings: Some(&warnings), ..Requester::default() });
            let found = at(&pod, &["spec", "containers"]).get(0).cloned().unwrap_or_default();
            assert_eq!(at(&found, &["securityContext", "appArmorProfile"]), &want, "{annotation}");
            assert_eq!(warnings.take().len(), usize::from(warns), "{annotation}");
        }
    }
}
