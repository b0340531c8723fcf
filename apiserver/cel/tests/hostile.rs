//! No expression panics, hangs or exhausts memory.

use apiserver_cel::{Input, Policy, Rules, policy_errors, schema_errors};
use apiserver_json::{Value, json};
use proptest::prelude::*;

fn schema(rule: &str) -> Value {
    let list = json!({"type": "array", "items": {"type": "string"}});
    let map = json!({"type": "object", "additionalProperties": {"type": "integer"}});
    json!({
        "type": "object",
        "properties": {"l": list, "m": map, "s": {"type": "string"}, "i": {"type": "integer"}},
        "x-kubernetes-validations": [{"rule": rule, "messageExpression": rule}],
    })
}

fn run(rule: &str) {
    let schema = schema(rule);
    schema_errors(&schema, "spec", Some(&[]), false);
    let object = json!({"l": ["a", "b"], "m": {"x": 1}, "s": "text", "i": 3});
    if let Some(rules) = Rules::compile(&schema) {
        rules.validate(&object, Some(&object));
    }
    let spec = json!({"validations": [{"expression": rule}]});
    policy_errors(&spec);
    let request = json!({});
    let input = Input {
        object: Some(&object),
        old_object: None,
        request: &request,
        params: None,
        namespace: None,
        authority: None,
    };
    Policy::compile(&spec).evaluate(input);
}

#[test]
fn deep_and_wide_expressions_are_refused_or_answered() {
    let nested = |open: &str, close: &str, n: usize| format!("{}true{}", open.repeat(n), close.repeat(n));
    for rule in [
        nested("(", ")", 200),
        nested("(", ")", 50_000),
        nested("[", "]", 240),
        nested("!", "", 50_000),
        nested("-", "", 50_000),
        format!("self{}", ".s".repeat(20_000)),
        format!("1{}", "+1".repeat(30_000)),
        format!("true{}", " || true".repeat(5_000)),
        format!("true{}", " ? true : true".repeat(2_000)),
        "'".repeat(50_000),
        "(".repeat(90_000),
        "a?".repeat(30_000),
    ] {
        run(&rule);
    }
}

#[test]
fn expensive_expressions_run_out_of_budget() {
    let doubling = |n: usize| {
        let inner = (0..n).fold("x.size() > 0".to_owned(), |body, _| format!("[x + x].all(x, {body})"));
        format!("[self.l].all(x, {inner})")
    };
    for rule in [
        doubling(40),
        "lists.range(100000).all(x, lists.range(100000).all(y, x + y >= 0))".to_owned(),
        "lists.range(9223372036854775807).size() > 0".to_owned(),
        "self.s.replace('', 'x'.replace('', self.s)).size() > 0".to_owned(),
        "lists.range(50000).map(x, self.s).join(',').matches('(a*)*b')".to_owned(),
        "self.s.matches('(((a{100}){100}){100})')".to_owned(),
        "lists.range(1000).map(x, lists.range(1000)).flatten().distinct().size() > 0".to_owned(),
    ] {
        let started = std::time::Instant::now();
        run(&rule);
        assert!(started.elapsed().as_secs() < 60, "{rule}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(rule in "\\PC{0,40}") {
        run(&rule);
    }

    #[test]
    fn no_words_panic(words in prop::collection::vec(prop::sample::select(vec![
        "self", "oldSelf", ".", "l", "m", "s", "i", "(", ")", "[", "]", "{", "}", "?", ":", ",", "&&", "||", "!", "-",
        "+", "*", "/", "%", "==", "<", "in", "1", "-9223372036854775808", "2.5", "'a'", "b'a'", "null", "true", "x",
        "all(x,", "map(x,", "exists(x, y,", "filter(x,", "has(", "size(", ".?", "[?", "optional.of(", "int(", "string(",
        "duration(", "timestamp(", ".matches(", ".split(", ".substring(", ".format(", "quantity(", "ip(", "cidr(",
        "semver(", "url(", ".sort()", ".sum()", ".value()", "transformMap(k, v,", "sortBy(x,", "optMap(x,",
    ]), 0..14)) {
        run(&words.concat());
    }
}
