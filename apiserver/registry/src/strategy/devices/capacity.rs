//! Errors of how much of a device's capacity one may ask for.

use apiserver_json::Value;
use apiserver_meta::field::FieldError;
use apiserver_meta::quantity;

use super::super::shared::{at, has, items};
use super::parts::check_set;

const OPTIONS_MAX: usize = 10;

/// The amount in thousandths; nothing stands for none.
fn amount(value: &Value) -> i128 {
    quantity::parse(value).unwrap_or(0)
}

/// The amount in whole units, rounded up, as Go's `Quantity.Value`.
fn whole(value: &Value) -> i128 {
    amount(value).div_euclid(1000) + i128::from(amount(value).rem_euclid(1000) != 0)
}

fn shown(value: &Value) -> &str {
    value.as_str().unwrap_or("0")
}

/// Errors of a capacity's `requestPolicy`, which is at `path`.
pub(super) fn check_policy(capacity: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let (policy, most) = (at(capacity, &["requestPolicy"]), at(capacity, &["value"]));
    let (options, range) = (items(policy, "validValues"), at(policy, &["validRange"]));
    let kind = match (options.is_empty(), range.is_null()) {
        (false, false) => {
            let why = "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time";
            errors.push(FieldError::forbidden(path, why));
            return;
        }
        (true, true) => return,
        (false, true) => "validValues",
        (true, false) => "validRange",
    };
    let usual = at(policy, &["default"]);
    if usual.is_null() {
        let why = format!("required when {kind} is defined");
        errors.push(FieldError::required(format!("{path}.default"), why));
    } else if kind == "validValues" {
        check_options(options, usual, most, &format!("{path}.validValues"), errors);
    } else {
        check_range(range, usual, most, &format!("{path}.validRange"), errors);
    }
}

fn check_options(options: &[Value], usual: &Value, most: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for (i, pair) in options.windows(2).enumerate() {
        if amount(&pair[0]) > amount(&pair[1]) {
            let why = "values must be sorted in ascending order";
            errors.push(FieldError::invalid(format!("{path}[{}]", i + 1), &pair[1], why));
        }
    }
    let check = |option: &Value, path: &str, errors: &mut Vec<FieldError>| {
        if amount(option) > amount(most) {
            let why = format!("option is larger than capacity value: {}", shown(most));
            errors.push(FieldError::invalid(path, option, why));
        }
    };
    check_set(options, OPTIONS_MAX, path, |option| whole(option).to_string(), &check, errors);
    if options.len() > OPTIONS_MAX || !options.iter().any(|option| amount(option) == amount(usual)) {
        let why = "default value is not valid according to the requestPolicy";
        errors.push(FieldError::invalid(path, usual, why));
    }
}

fn check_range(range: &Value, usual: &Value, most: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let (min, max, step) = (at(range, &["min"]), at(range, &["max"]), at(range, &["step"]));
    if min.is_null() {
        errors.push(FieldError::required(format!("{path}.min"), "required when validRange is defined"));
        return;
    }
    let mut wrong = |member: &str, value: &Value, why: String| {
        errors.push(FieldError::invalid(format!("{path}.{member}"), value, why));
    };
    if amount(min) > amount(most) {
        wrong("min", min, format!("min is larger than capacity value: {}", shown(most)));
    }
    if amount(usual) < amount(min) {
        wrong("min", usual, format!("default is less than min: {}", shown(min)));
    }
    if has(range, "max") {
        if amount(min) > amount(max) {
            wrong("max", min, format!("min is larger than max: {}", shown(max)));
        }
        if amount(max) > amount(most) {
            wrong("max", max, format!("max is larger than capacity value: {}", shown(most)));
        }
        if amount(usual) > amount(max) {
            wrong("max", usual, format!("default is more than max: {}", shown(max)));
        }
    }
    if !has(range, "step") {
        return;
    }
    let sum = amount(min) + amount(step);
    if sum > amount(most) {
        let sum = apiserver_schema::normalise_quantity(&format!("{sum}m")).unwrap_or_default();
        wrong("step", step, format!("one step {sum} is larger than capacity value: {}", shown(most)));
    }
    for value in [usual, max].into_iter().filter(|value| !value.is_null()) {
        let steps = (whole(value) - whole(min)).checked_rem(whole(step));
        // A step of nothing makes upstream panic; nothing is a multiple of it.
        if steps != Some(0) {
            let why =
                format!("value is not a multiple of a given step ({}) from ({})", shown(step), shown(min));
            wrong("step", value, why);
        }
    }
}
