//! An expression made ready: parsed, checked, its constant patterns compiled.

use std::collections::HashMap;

use regex::Regex;

use crate::ast::{Expr, Kind, Literal};
use crate::check::{Checked, Env, check};
use crate::eval::{Evaluation, Meter, Variables};
use crate::issue::{Issue, display};
use crate::library::{PATTERN_MAX, time};
use crate::parse::parse;
use crate::types::Type;
use crate::value::Outcome;

/// What one evaluation of an expression may cost.
pub(crate) const CALL_LIMIT: u64 = 1_000_000;

/// A checked expression.
#[derive(Debug)]
pub(crate) struct Program {
    pub tree: Expr,
    pub checked: Checked,
    patterns: HashMap<u32, Regex>,
}

impl Program {
    /// Compiles; the error is what cel-go prints.
    pub(crate) fn compile(source: &str, env: &Env) -> Result<Self, String> {
        Self::build(source, env).map_err(|issues| display(issues, source))
    }

    fn build(source: &str, env: &Env) -> Result<Self, Vec<Issue>> {
        let mut tree = parse(source, env.bindings)?;
        let checked = check(source, env, &mut tree)?;
        let mut patterns = HashMap::new();
        let mut issues = Vec::new();
        literals(&tree, source, &mut patterns, &mut issues);
        if issues.is_empty() { Ok(Self { tree, checked, patterns }) } else { Err(issues) }
    }

    /// The type of the expression's value.
    pub(crate) fn output(&self) -> &Type {
        self.checked.of(&self.tree)
    }

    /// Does it use this variable?
    pub(crate) fn uses(&self, variable: &str) -> bool {
        self.tree.any(&mut |expr| matches!(&expr.kind, Kind::Ident(name) if name == variable))
    }

    /// The value.
    pub(crate) fn run<'a>(&self, variables: &dyn Variables<'a>, meter: &mut Meter) -> Outcome<'a> {
        Evaluation { variables, patterns: &self.patterns, meter, scopes: Vec::new() }.eval(&self.tree)
    }
}

/// Constants that a function would refuse are refused before anything runs.
fn literals(expr: &Expr, source: &str, patterns: &mut HashMap<u32, Regex>, issues: &mut Vec<Issue>) {
    if let Kind::Call { function, args, .. } = &expr.kind
        && let Some(last) = args.last()
        && let Kind::Literal(Literal::Text(text)) = &last.kind
    {
        let fine = match function.as_str() {
            "matches" => match apiserver_meta::re2::compile(text, PATTERN_MAX) {
                Ok(regex) => {
                    patterns.insert(expr.id, regex);
                    true
                }
                Err(_) => false,
            },
            "duration" => time::parse_duration(text).is_some(),
            "timestamp" => time::parse(text).is_some(),
            _ => true,
        };
        if !fine {
            issues.push(Issue::at(source, last.at, format!("invalid {function} argument")));
        }
    }
    expr.children().into_iter().for_each(|child| literals(child, source, patterns, issues));
}
