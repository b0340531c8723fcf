//! PriorityClasses: `pkg/apis/scheduling/validation`.

use apiserver_json::Value;
use apiserver_meta::field::FieldError;

use super::shared::{check_immutable, default, number, text};
use super::{PLAIN, Strategy};
use crate::object;

pub(super) static PRIORITY_CLASS: Strategy = Strategy {
    default: |class| {
        if let Some(class) = class.as_object_mut() {
            default(class, "preemptionPolicy", "PreemptLowerPriority");
        }
    },
    // It never counts on: what could change but metadata is immutable.
    prepare_create: |class| drop(object::metadata_mut(class).insert("generation".into(), 1.into())),
    validate_create: validate,
    validate_update: |new, old| {
        let mut errors = Vec::new();
        if number(new, "value") != number(old, "value") {
            errors.push(FieldError::forbidden("value", "may not be changed in an update."));
        }
        check_immutable(&new["preemptionPolicy"], &old["preemptionPolicy"], "preemptionPolicy", &mut errors);
        errors
    },
    ..PLAIN
};

const SYSTEM: &[(&str, i64)] =
    &[("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];
/// Is it a class that the system's own Pods rely on?
pub(crate) fn is_system_class(name: &str) -> bool {
    SYSTEM.iter().any(|(known, _)| *known == name)
}

const USER_MAX: i64 = 1_000_000_000;

fn validate(class: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (name, value) = (object::name(class), number(class, "value").unwrap_or(0));
    if name.starts_with("system-") {
        let why = match SYSTEM.iter().find(|(known, _)| *known == name) {
            None => Some(format!("{name} is not a known system priority class")),
            Some((_, wanted)) if *wanted != value => {
                Some(format!("value of {name} PriorityClass must be {wanted}"))
            }
            Some(_) if class["globalDefault"] == true => {
                Some(format!("globalDefault of {name} PriorityClass must be false"))
            }
            Some(_) => None,
        };
        errors.extend(why.map(|why| {
            let reserved =
                "priority class names with 'system-' prefix are reserved for system use only. error: ";
            FieldError::forbidden("metadata.name", format!("{reserved}{why}"))
        }));
    } else if value > USER_MAX {
        let why = format!("maximum allowed value of a user defined priority is {USER_MAX}");
        errors.push(FieldError::forbidden("value", why));
    }
    let policy = text(class, "preemptionPolicy");
    match policy {
        "PreemptLowerPriority" | "Never" => {}
        "" => errors.push(FieldError::required("preemptionPolicy", "")),
        _ => {
            let known = ["PreemptLowerPriority", "Never"];
            errors.push(FieldError::not_supported_in_order("preemptionPolicy", &policy.into(), &known));
        }
    }
    errors
}
