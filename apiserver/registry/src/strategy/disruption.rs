//! PodDisruptionBudgets: `pkg/apis/policy/validation` upstream.

use apiserver_json::{Value, json};
use apiserver_meta::field::{FieldError, Problem};

use super::shared::{at, check_label_selector, check_not_negative, check_set_enum, has, keep_status};
use super::workload::{check_amount, check_whole, selector_as_go};
use super::{PLAIN, Strategy};

pub(super) static DISRUPTION_BUDGET: Strategy = Strategy {
    update_checks: super::order::OWN,
    standard_finalizers: false,
    name_rule: |_| Vec::new(),
    prepare_create: |budget| {
        budget["status"] =
            json!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0});
    },
    prepare_update: keep_status,
    validate_create: validate,
    validate_update: |budget, _| validate(budget),
    validate_status: |budget, _| {
        let mut errors = Vec::new();
        super::conditions::check(at(budget, &["status"]), "status", &mut errors);
        for member in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
            let path = format!("status.{member}");
            check_not_negative(at(budget, &["status"]), member, &path, &mut errors);
        }
        errors
    },
    status: true,
    generation: true,
    unconditional_update: false,
    ..PLAIN
};

fn validate(budget: &Value) -> Vec<FieldError> {
    let spec = at(budget, &["spec"]);
    let mut errors = Vec::new();
    if has(spec, "minAvailable") && has(spec, "maxUnavailable") {
        errors.push(FieldError {
            problem: Problem::Invalid,
            field: "spec".into(),
            value: format!(
                "{{\"MinAvailable\":{},\"Selector\":{},\"MaxUnavailable\":{},\"UnhealthyPodEvictionPolicy\":{}}}",
                at(spec, &["minAvailable"]),
                selector_as_go(at(spec, &["selector"])),
                at(spec, &["maxUnavailable"]),
                at(spec, &["unhealthyPodEvictionPolicy"]),
            ),
            detail: "minAvailable and maxUnavailable cannot be both set".into(),
        });
    }
    for member in ["minAvailable", "maxUnavailable"] {
        let path = format!("spec.{member}");
        check_amount(at(spec, &[member]), &path, &mut errors);
        check_whole(at(spec, &[member]), &path, &mut errors);
    }
    check_label_selector(at(spec, &["selector"]), "spec.selector", &mut errors);
    let policies = ["AlwaysAllow", "IfHealthyBudget"];
    check_set_enum(spec, "unhealthyPodEvictionPolicy", "spec", &policies, &mut errors);
    errors
}
