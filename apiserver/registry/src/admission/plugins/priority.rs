//! Priority: a Pod's class becomes its number; only one PriorityClass is the default.

use apiserver_json::Value;

use super::Refusal;
use crate::object;
use crate::registry::{Call, Registry};
use crate::strategy::shared::{at, default, number, text};

const GROUP: &str = "scheduling.k8s.io";
const CLASSES: &str = "priorityclasses";

/// The default class; the one of least value where a race made several.
fn default_class(registry: &Registry) -> Option<Value> {
    // Every Pod asks: classes that cannot be meant are not parsed.
    let told = super::objects_with(registry, GROUP, CLASSES, "\"globalDefault\":true");
    let defaults = told.into_iter().filter(|class| class["globalDefault"] == true);
    defaults.min_by_key(|class| number(class, "value").unwrap_or(0))
}

pub(super) fn resolve(registry: &Registry, _: &Call<'_>, pod: &mut Value) -> Result<(), super::Refusal> {
    let spec = at(pod, &["spec"]);
    let class = match text(spec, "priorityClassName") {
        "" => default_class(registry),
        name => {
            let class = super::object_named(registry, GROUP, CLASSES, name);
            Some(class.ok_or_else(|| format!("no PriorityClass with name {name} was found"))?)
        }
    };
    let class = class.as_ref();
    let value = class.and_then(|class| number(class, "value")).unwrap_or(0);
    if let Some(given) = number(spec, "priority").filter(|given| *given != value) {
        return Err(format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name"
        )
        .into());
    }
    let policy = match class {
        Some(class) => text(class, "preemptionPolicy"),
        None => "PreemptLowerPriority",
    };
    let given = at(spec, &["preemptionPolicy"]).as_str().filter(|given| *given != policy);
    if let Some(given) = given.filter(|_| !policy.is_empty()) {
        return Err(format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
        )
        .into());
    }
    let spec = object::member_mut(pod, "spec");
    if let Some(class) = class {
        spec.insert("priorityClassName".into(), object::name(class).into());
    }
    spec.insert("priority".into(), value.into());
    if !policy.is_empty() {
        default(spec, "preemptionPolicy", policy);
    }
    Ok(())
}

pub(super) fn check_default(
    registry: &Registry,
    _: &Call<'_>,
    class: &Value,
    old: Option<&Value>,
) -> Result<(), Refusal> {
    if class["globalDefault"] != true {
        return Ok(());
    }
    let Some(other) = default_class(registry) else { return Ok(()) };
    if old.is_some() && object::name(&other) == object::name(class) {
        return Ok(());
    }
    Err(format!(
        "PriorityClass {} is already marked as default. Only one default can exist",
        object::name(&other)
    )
    .into())
}
