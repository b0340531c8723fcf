//! Roles and role bindings: `pkg/apis/rbac/validation`.

use apiserver_json::{Value, json};
use apiserver_meta::field::FieldError;
use apiserver_meta::names;

use super::shared::{
    check_label_selector, check_optional, check_rule, default_text, invalid_as, items, items_mut, text,
};
use super::{PLAIN, Strategy};

const GROUP: &str = "rbac.authorization.k8s.io";

pub(super) static ROLE: Strategy = Strategy {
    update_checks: super::order::NEW_THEN_CHANGES,
    validate_create: validate_role,
    validate_fields: |role, _| validate_role(role),
    name_rule: names::path_segment,
    create_on_update: true,
    ..PLAIN
};

pub(super) static BINDING: Strategy = Strategy {
    update_checks: super::order::NEW_THEN_CHANGES,
    default: |binding| {
        if let Some(role) = binding.get_mut("roleRef").and_then(Value::as_object_mut) {
            default_text(role, "apiGroup", GROUP);
        }
        for subject in items_mut(binding, "subjects") {
            let group = if text(subject, "kind") == "ServiceAccount" { "" } else { GROUP };
            if let Some(subject) = subject.as_object_mut()
                && !group.is_empty()
            {
                default_text(subject, "apiGroup", group);
            }
        }
    },
    validate_create: validate_binding,
    validate_fields: |binding, _| validate_binding(binding),
    validate_update: |binding, old| {
        let mut errors = Vec::new();
        if binding.get("roleRef") != old.get("roleRef") {
            let role = binding.get("roleRef").unwrap_or(&Value::Null);
            errors.push(invalid_as("rbac.RoleRef", "roleRef", role, "cannot change roleRef"));
        }
        errors
    },
    name_rule: names::path_segment,
    create_on_update: true,
    ..PLAIN
};

fn validate_role(role: &Value) -> Vec<FieldError> {
    let namespaced = !crate::object::namespace(role).is_empty();
    let mut errors = Vec::new();
    for (i, rule) in items(role, "rules").iter().enumerate() {
        let path = format!("rules[{i}]");
        if items(rule, "verbs").is_empty() {
            errors
                .push(FieldError::required(format!("{path}.verbs"), "verbs must contain at least one value"));
        }
        let urls = items(rule, "nonResourceURLs");
        let is_resource = !items(rule, "apiGroups").is_empty()
            || !items(rule, "resources").is_empty()
            || !items(rule, "resourceNames").is_empty();
        if !urls.is_empty() {
            if namespaced {
                errors.push(FieldError::invalid(
                    format!("{path}.nonResourceURLs"),
                    &json!(urls),
                    "namespaced rules cannot apply to non-resource URLs",
                ));
            }
            if is_resource {
                errors.push(FieldError::invalid(
                    format!("{path}.nonResourceURLs"),
                    &json!(urls),
                    "rules cannot apply to both regular resources and non-resource URLs",
                ));
            }
            continue;
        }
        if items(rule, "apiGroups").is_empty() {
            errors.push(FieldError::required(
                format!("{path}.apiGroups"),
                "resource rules must supply at least one api group",
            ));
        }
        if items(rule, "resources").is_empty() {
            errors.push(FieldError::required(
                format!("{path}.resources"),
                "resource rules must supply at least one resource",
            ));
        }
    }
    let rule = role.get("aggregationRule").filter(|rule| !namespaced && rule.is_object());
    if rule.is_some_and(|rule| items(rule, "clusterRoleSelectors").is_empty()) {
        let why = "at least one clusterRoleSelector required if aggregationRule is non-nil";
        errors.push(FieldError::required("aggregationRule.clusterRoleSelectors", why));
    }
    let selectors = rule.map_or(&[][..], |rule| items(rule, "clusterRoleSelectors"));
    for (i, selector) in selectors.iter().enumerate() {
        let path = format!("aggregationRule.clusterRoleSelectors[{i}]");
        let before = errors.len();
        check_label_selector(selector, &path, &mut errors);
        if errors.len() > before {
            errors.push(FieldError::invalid(path, &Value::Null, "invalid label selector."));
        }
    }
    errors
}

fn validate_binding(binding: &Value) -> Vec<FieldError> {
    let namespaced = !crate::object::namespace(binding).is_empty();
    let mut errors = Vec::new();
    let role = binding.get("roleRef").unwrap_or(&Value::Null);
    if text(role, "apiGroup") != GROUP {
        errors.push(FieldError::not_supported("roleRef.apiGroup", &text(role, "apiGroup").into(), &[GROUP]));
    }
    let kinds: &[&str] = if namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    if !kinds.contains(&text(role, "kind")) {
        errors.push(FieldError::not_supported_in_order("roleRef.kind", &text(role, "kind").into(), kinds));
    }
    if text(role, "name").is_empty() {
        errors.push(FieldError::required("roleRef.name", ""));
    }
    check_rule(text(role, "name"), names::path_segment, "roleRef.name", &mut errors);
    for (i, subject) in items(binding, "subjects").iter().enumerate() {
        let path = format!("subjects[{i}]");
        if text(subject, "name").is_empty() {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        }
        match text(subject, "kind") {
            "ServiceAccount" => {
                check_optional(subject, "name", names::dns1123_subdomain, &path, &mut errors);
                let group = text(subject, "apiGroup");
                if !group.is_empty() {
                    errors.push(FieldError::not_supported(format!("{path}.apiGroup"), &group.into(), &[""]));
                }
                if !namespaced && text(subject, "namespace").is_empty() {
                    errors.push(FieldError::required(format!("{path}.namespace"), ""));
                }
            }
            "User" | "Group" => {
                if text(subject, "apiGroup") != GROUP {
                    errors.push(FieldError::not_supported(
                        format!("{path}.apiGroup"),
                        &text(subject, "apiGroup").into(),
                        &[GROUP],
                    ));
                }
            }
            other => errors.push(FieldError::not_supported_in_order(
                format!("{path}.kind"),
                &other.into(),
                &["ServiceAccount", "User", "Group"],
            )),
        }
    }
    errors
}
