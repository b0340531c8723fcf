//! Label selectors against labels.
//!
//! Parsing the text form is not done here.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use std::collections::BTreeMap;

/// Labels as objects carry them.
pub type Labels = BTreeMap<String, String>;

/// True if the labels satisfy a selector. An empty selector matches everything.
pub fn matches(selector: &LabelSelector, labels: Option<&Labels>) -> bool {
    let empty = Labels::new();
    let labels = labels.unwrap_or(&empty);
    selector.match_labels.as_ref().is_none_or(|wanted| contains(labels, wanted))
        && selector.match_expressions.iter().flatten().all(|requirement| {
            let value = labels.get(&requirement.key);
            one_of(&requirement.operator, value, requirement.values.as_deref().unwrap_or_default())
        })
}

/// True if the labels include all pairs of `wanted`.
pub fn contains(labels: &Labels, wanted: &Labels) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// One requirement, also the ones only node affinity knows (`Gt`, `Lt`).
pub fn one_of(operator: &str, value: Option<&String>, values: &[String]) -> bool {
    let number = |text: &String| text.parse::<i64>().ok();
    let bound = || values.first().and_then(number);
    match operator {
        "In" => value.is_some_and(|v| values.contains(v)),
        "NotIn" => value.is_none_or(|v| !values.contains(v)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => value.and_then(number).zip(bound()).is_some_and(|(v, b)| v > b),
        "Lt" => value.and_then(number).zip(bound()).is_some_and(|(v, b)| v < b),
        _ => false,
    }
}
