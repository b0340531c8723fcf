//! Which of the names that a definition asks for it gets: upstream's naming and establishing controllers.

use std::collections::BTreeSet;

use apiserver_json::{Value, json};

use crate::definition::bundle_problem;
use crate::definition::conditions::{self, Condition};

/// The names that definitions of a group have been given.
#[derive(Debug, Default)]
pub struct Claimed {
    resources: BTreeSet<String>,
    kinds: BTreeSet<String>,
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value.get(member).and_then(Value::as_str).unwrap_or("")
}

fn short_names(names: &Value) -> Vec<&str> {
    names
        .get("shortNames")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

impl Claimed {
    /// Takes in what a definition of the group has been given.
    pub fn add(&mut self, definition: &Value) {
        let accepted = &definition["status"]["acceptedNames"];
        let resources = [text(accepted, "plural"), text(accepted, "singular")];
        let resources = resources.into_iter().chain(short_names(accepted));
        self.resources.extend(resources.filter(|name| !name.is_empty()).map(str::to_owned));
        let kinds = [text(accepted, "kind"), text(accepted, "listKind")];
        self.kinds.extend(kinds.into_iter().filter(|name| !name.is_empty()).map(str::to_owned));
    }
}

/// The names a definition gets, and the last conflict: its reason and message.
fn accept(definition: &Value, claimed: &Claimed) -> (Value, Option<(&'static str, String)>) {
    let wanted = &definition["spec"]["names"];
    let had = &definition["status"]["acceptedNames"];
    let mut names = if had.is_object() { had.clone() } else { json!({}) };
    let mut conflict = None;
    let in_use = |name: &str| format!("{name:?} is already in use");
    for (member, taken, reason) in [
        ("plural", &claimed.resources, "PluralConflict"),
        ("singular", &claimed.resources, "SingularConflict"),
        ("shortNames", &claimed.resources, "ShortNamesConflict"),
        ("kind", &claimed.kinds, "KindConflict"),
        ("listKind", &claimed.kinds, "ListKindConflict"),
    ] {
        let asked = if member == "shortNames" { short_names(wanted) } else { vec![text(wanted, member)] };
        let own = if member == "shortNames" { short_names(had) } else { vec![text(had, member)] };
        let mut refused: Vec<String> = asked
            .iter()
            .filter(|name| !own.contains(name) && taken.contains(**name))
            .map(|name| in_use(name))
            .collect();
        refused.dedup();
        match refused.as_slice() {
            [] => match wanted.get(member) {
                Some(value) => names[member] = value.clone(),
                None => drop(names.as_object_mut().and_then(|names| names.remove(member))),
            },
            [one] => conflict = Some((reason, one.clone())),
            many => conflict = Some((reason, format!("[{}]", many.join(", ")))),
        }
    }
    match wanted.get("categories") {
        Some(value) => names["categories"] = value.clone(),
        None => drop(names.as_object_mut().and_then(|names| names.remove("categories"))),
    }
    for member in ["plural", "kind"] {
        if names.get(member).is_none() {
            names[member] = "".into();
        }
    }
    (names, conflict)
}

/// Are these the same names? Where none are listed it matters not how that is said.
fn are_same(names: &Value, others: &Value) -> bool {
    let listed = |names: &Value, member: &str| names[member].as_array().unwrap_or_default().to_vec();
    ["plural", "singular", "kind", "listKind"]
        .iter()
        .all(|member| text(names, member) == text(others, member))
        && ["shortNames", "categories"].iter().all(|member| listed(names, member) == listed(others, member))
}

/// A definition with the names it gets and the conditions that follow; `None` where it says so already, or has the names
/// it asks for: upstream looks no further then, though the conditions say otherwise.
pub fn named(definition: &Value, claimed: &Claimed, time: &str) -> Option<Value> {
    if are_same(&definition["spec"]["names"], &definition["status"]["acceptedNames"]) {
        return None;
    }
    let (names, conflict) = accept(definition, claimed);
    let accepted = match &conflict {
        Some((reason, message)) => Condition::new("NamesAccepted", "False", reason, message.as_str()),
        None => Condition::new("NamesAccepted", "True", "NoConflicts", "no conflicts found"),
    };
    let mut next = definition.clone();
    next["status"]["acceptedNames"] = names;
    conditions::set(&mut next, &accepted, time);
    // Who has been established stays so, whatever it asks for later.
    let was = conditions::find(definition, ESTABLISHED);
    let begins = match conflict {
        None if !crate::custom::has_condition(definition, ESTABLISHED) => {
            Some(Condition::new(ESTABLISHED, "False", "Installing", NAMED))
        }
        Some(_) if was.is_none() => {
            Some(Condition::new(ESTABLISHED, "False", "NotAccepted", "not all names are accepted"))
        }
        _ => None,
    };
    if let Some(condition) = begins {
        conditions::set(&mut next, &condition, time);
    }
    (next != *definition).then_some(next)
}

const ESTABLISHED: &str = "Established";
const NAMED: &str = "the initial names have been accepted";

/// A definition that has its names, served from now on; `None` where it is, or has no names. One whose webhook has a
/// bundle without certificates is not served.
pub fn established(definition: &Value, time: &str) -> Option<Value> {
    let holds = |kind: &str| crate::custom::has_condition(definition, kind);
    if !holds("NamesAccepted") || holds(ESTABLISHED) {
        return None;
    }
    let condition = match bundle_problem(definition) {
        None => Condition::new(ESTABLISHED, "True", "InitialNamesAccepted", NAMED),
        Some(_) => {
            let why = "The conversion webhook CABundle is invalid";
            Condition::new(ESTABLISHED, "False", "InvalidCABundle", why)
        }
    };
    let mut next = definition.clone();
    conditions::set(&mut next, &condition, time);
    (next != *definition).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_the_names_it_asks_for_is_not_looked_at() {
        let mut definition = asks(json!({"plural": "foos", "kind": "Foo", "shortNames": []}));
        definition["status"]["acceptedNames"] = json!({"plural": "foos", "kind": "Foo"});
        definition["status"]["conditions"] = json!([{"type": "NamesAccepted", "status": "False"}]);
        assert_eq!(named(&definition, &Claimed::default(), "t"), None);
        definition["spec"]["names"]["singular"] = "foo".into();
        assert!(named(&definition, &Claimed::default(), "t").is_some());
    }

    #[test]
    fn who_has_its_names_is_served() {
        let named = |bundle: &str| {
            json!({
                "spec": {"conversion": {"webhook": {"clientConfig": {"caBundle": bundle}}}},
                "status": {"conditions": [{"type": "NamesAccepted", "status": "True"}]},
            })
        };
        for (bundle, status, reason) in
            [("", "True", "InitialNamesAccepted"), ("Cg==", "False", "InvalidCABundle")]
        {
            let next = established(&named(bundle), "t").unwrap();
            let told = &next["status"]["conditions"][1];
            assert_eq!((text(told, "status"), text(told, "reason")), (status, reason));
            assert_eq!(established(&next, "u"), None, "it says so already");
        }
        assert_eq!(established(&json!({"status": {}}), "t"), None);
    }

    fn asks(names: Value) -> Value {
        json!({"spec": {"names": names}, "status": {"acceptedNames": {"plural": "", "kind": ""}}})
    }

    #[test]
    fn each_name_is_accepted_or_not_and_the_last_conflict_is_told() {
        let mut claimed = Claimed::default();
        claimed.add(&json!({"status": {"acceptedNames": {
            "plural": "widgets", "singular": "widget", "shortNames": ["wg"], "kind": "Widget", "listKind": "WidgetList"}}}));
        for (names, accepted, reason, message) in [
            (
                json!({"plural": "gadgets", "kind": "Widget", "listKind": "WidgetList"}),
                json!({"plural": "gadgets", "kind": ""}),
                "ListKindConflict",
                "\"WidgetList\" is already in use",
            ),
            (
                json!({"plural": "things", "kind": "Thing", "shortNames": ["wg"]}),
                json!({"plural": "things", "kind": "Thing"}),
                "ShortNamesConflict",
                "\"wg\" is already in use",
            ),
            (
                json!({"plural": "foos", "kind": "Foo", "categories": ["all"]}),
                json!({"plural": "foos", "kind": "Foo", "categories": ["all"]}),
                "NoConflicts",
                "no conflicts found",
            ),
        ] {
            let next = named(&asks(names), &claimed, "t").unwrap();
            assert_eq!(next["status"]["acceptedNames"], accepted);
            let told = &next["status"]["conditions"][0];
            assert_eq!((text(told, "reason"), text(told, "message")), (reason, message));
            claimed.add(&json!({}));
            assert_eq!(named(&next, &claimed, "u"), None, "it says so already");
        }
    }
}
