//! Evaluating the mutations of a policy: what its expressions want changed of an object.

use std::cell::RefCell;

use apiserver_json::{Map, Value};

use super::compile::{Expression, Policy};
use super::evaluate::{Input, POLICY_BUDGET, Scope};
use crate::convert::to_json;
use crate::library::object::Opaque;
use crate::value::Val;

/// One mutation of a policy, compiled.
#[derive(Debug)]
pub(super) struct Mutation {
    pub expression: Expression,
    /// It gives operations of a JSON patch, and no configuration to be applied.
    pub is_patch: bool,
}

/// What is to become of an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Mutated {
    /// To be merged into it, as an applied configuration.
    Configuration(Value),
    /// The operations of a JSON patch.
    Operations(Value),
}

impl Policy {
    /// How many mutations the policy has.
    pub fn mutations(&self) -> usize {
        self.mutations.len()
    }

    /// What one of the policy's mutations says of a request.
    ///
    /// # Errors
    /// Why it says nothing.
    pub fn mutate(&self, mutation: usize, input: Input<'_>) -> Result<Option<Mutated>, String> {
        if let Some(why) = &self.broken {
            return Err(why.clone());
        }
        let Some(mutation) = self.mutations.get(mutation) else { return Ok(None) };
        let scope = Scope { input, policy: self, known: RefCell::default() };
        let mut budget = POLICY_BUDGET;
        let made = scope.run(&mutation.expression, &mut budget)?;
        if !mutation.is_patch {
            return configuration(&made).map(|made| Some(Mutated::Configuration(made)));
        }
        let steps = made.items().unwrap_or_else(|| Ok(Vec::new())).map_err(|failure| failure.message)?;
        steps.iter().map(operation).collect::<Result<Value, _>>().map(|made| Some(Mutated::Operations(made)))
    }
}

fn configuration(made: &Val<'_>) -> Result<Value, String> {
    check_names(made)?;
    Ok(to_json(made))
}

/// Types of what was made are named after where it stands.
fn check_names(made: &Val<'_>) -> Result<(), String> {
    match made {
        Val::Opaque(inner) => match &**inner {
            Opaque::Made { misplaced, .. } if !misplaced.is_empty() => {
                Err(format!("type mismatch: {}", misplaced.join("\n")))
            }
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

fn operation(step: &Val<'_>) -> Result<Value, String> {
    let Val::Opaque(inner) = step else { return Ok(Value::Null) };
    let Opaque::Made { members, misplaced, .. } = &**inner else { return Ok(Value::Null) };
    if !misplaced.is_empty() {
        return Err(format!("type mismatch: {}", misplaced.join("\n")));
    }
    let text = |member: &str| members.get(member).and_then(Value::as_str).unwrap_or("");
    let mut out = Map::new();
    out.insert("op".into(), text("op").into());
    out.insert("path".into(), text("path").into());
    if !text("from").is_empty() {
        out.insert("from".into(), text("from").into());
    }
    if let Some(value) = members.get("value") {
        out.insert("value".into(), value.clone());
    }
    Ok(Value::Object(out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use apiserver_json::json;

    fn mutated(kind: &str, expression: &str) -> Result<Value, String> {
        let (own, patch) =
            if kind == "JSONPatch" { ("jsonPatch", true) } else { ("applyConfiguration", false) };
        let spec = json!({"mutations": [{"patchType": kind, (own): {"expression": expression}}]});
        let policy = Policy::compile_mutating(&spec);
        let object = json!({"metadata": {"name": "o", "labels": {"a/b": "c"}}});
        let request = json!({"operation": "CREATE"});
        let input = Input {
            object: Some(&object),
            old_object: None,
            request: &request,
            params: None,
            namespace: None,
            authority: None,
        };
        Ok(match policy.mutate(0, input)?.expect("a mutation") {
            Mutated::Configuration(made) if !patch => made,
            Mutated::Operations(made) if patch => made,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn what_expressions_make_is_what_is_to_change() {
        for (expression, want) in [
            (
                "Object{metadata: Object.metadata{labels: {'n': object.metadata.name}}}",
                Ok(json!({"metadata": {"labels": {"n": "o"}}})),
            ),
            (
                "Object{spec: Object.spec{items: [Object.spec.items{name: 'a', ?x: object.?nope, ports: [1, 2]}]}}",
                Ok(json!({"spec": {"items": [{"name": "a", "ports": [1, 2]}]}})),
            ),
            ("object.metadata.name == 'o' ? Object{} : Object{a: 1}", Ok(json!({}))),
            (
                "Object{spec: Object.wrong{}}",
                Err(
                    "type mismatch: unexpected type name \"Object.wrong\", expected \"Object.spec\", which matches field name path from root Object type",
                ),
            ),
            (
                "Object{data: object.nope}",
                Err("expression 'Object{data: object.nope}' resulted in error: no such key: nope"),
            ),
        ] {
            assert_eq!(
                mutated("ApplyConfiguration", expression),
                want.map_err(str::to_owned),
                "{expression}"
            );
        }
        for (expression, want) in [
            (
                "[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('a/b~'), value: Object.metadata{x: 1.5}}]",
                json!([{"op": "add", "path": "/metadata/labels/a~1b~0", "value": {"x": 1.5}}]),
            ),
            (
                "[JSONPatch{op: 'move', from: '/a', path: '/b'}, JSONPatch{op: 'test', path: '/c', value: null}]",
                json!([{"op": "move", "path": "/b", "from": "/a"}, {"op": "test", "path": "/c", "value": null}]),
            ),
            ("request.operation == 'CREATE' ? [] : [JSONPatch{op: 'remove', path: '/a'}]", json!([])),
        ] {
            assert_eq!(mutated("JSONPatch", expression), Ok(want), "{expression}");
        }
    }
}
