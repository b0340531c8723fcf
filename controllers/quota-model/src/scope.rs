//! Which objects a quota is about: its scopes and its scope selector, which all must match.

use serde_json::Value;

use crate::{items, text};

/// One requirement.
#[derive(Clone, Copy, Debug)]
pub struct Requirement<'a> {
    pub scope: &'a str,
    pub operator: &'a str,
    pub values: &'a [Value],
}

/// The requirements of a quota's spec.
pub fn requirements(spec: &Value) -> Vec<Requirement<'_>> {
    let scopes = items(spec, "scopes").iter().filter_map(Value::as_str);
    let scopes = scopes.map(|scope| Requirement { scope, operator: "Exists", values: &[] });
    let selected = items(&spec["scopeSelector"], "matchExpressions").iter();
    let selected = selected.map(|one| Requirement {
        scope: text(one, "scopeName"),
        operator: text(one, "operator"),
        values: items(one, "values"),
    });
    scopes.chain(selected).collect()
}

impl Requirement<'_> {
    /// Does a class of these names meet it? An object without one has no name.
    pub(crate) fn meets(&self, names: &[&str]) -> bool {
        let listed = |name: &&str| self.values.iter().any(|value| value == name);
        match self.operator {
            "Exists" => !names.is_empty(),
            "In" => names.iter().any(listed),
            "NotIn" => names.is_empty() || names.iter().any(|name| !listed(name)),
            "DoesNotExist" => names.is_empty(),
            _ => false,
        }
    }
}
