//! Expressions that choose devices: `k8s.io/dynamic-resource-allocation/cel` upstream.

use crate::check::Env;
use crate::program::Program;
use crate::types::Type;

const DEVICE: &str = "kubernetes.DRADevice";

/// What is wrong with an expression that is to say whether a device is wanted.
pub fn device_selector_error(source: &str) -> Option<String> {
    let fields = [
        ("driver", "string"),
        ("allowMultipleAllocations", "bool"),
        ("attributes", "map(string, map(string, dyn))"),
        ("capacity", "map(string, map(string, kubernetes.Quantity))"),
    ];
    let mut env = Env { bindings: true, ..Env::default() };
    let known = fields.iter().map(|(field, of)| ((*field).to_owned(), Type::parse(of)));
    env.objects.insert(DEVICE.into(), known.collect());
    env.variables.insert("device".to_owned(), Type::object(DEVICE));
    match Program::compile(source, &env) {
        Err(why) => Some(format!("compilation failed: {why}")),
        Ok(program) => match program.output() {
            Type::Bool | Type::Dyn => None,
            other => Some(format!("must evaluate to bool or the unknown type, not {}", other.go_name())),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_says_whether_a_device_is_wanted() {
        for (source, want) in [
            ("device.driver == 'd' && device.attributes['d'].a", None),
            ("device.attributes['d'].model", None),
            ("device.capacity['d'].memory.isGreaterThan(quantity('1Gi'))", None),
            ("cel.bind(d, device.attributes['d'], d.a || d.b)", None),
            ("device.driver", Some("must evaluate to bool or the unknown type, not string")),
            (
                "",
                Some(
                    "compilation failed: ERROR: <input>:1:0: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}",
                ),
            ),
            (
                "device.name",
                Some(
                    "compilation failed: ERROR: <input>:1:7: undefined field 'name'\n | device.name\n | ......^",
                ),
            ),
        ] {
            assert_eq!(device_selector_error(source).as_deref(), want, "{source}");
        }
    }
}
