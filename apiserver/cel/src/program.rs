//! An expression made ready: parsed, checked, its constant patterns compiled.

use std::collections::HashMap;

use regex::Regex;

use crate::ast::{Expr, Kind, Literal};
use crate::check::{Checked, Env, check};
use crate::convert::convert;
use crate::eval::{Evaluation, Meter, Variables, constant};
use crate::issue::{Issue, display};
use crate::library::{PATTERN_MAX, time};
use crate::parse::parse;
use crate::templates;
use crate::types::Type;
use crate::value::{Outcome, Val};

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
        templates::check_types(&tree, &checked, source, &mut issues);
        templates::check(&tree, &checked, source, &mut issues);
        if issues.is_empty() { Ok(Self { tree, checked, patterns }) } else { Err(issues) }
    }

    /// Makes conversions of constants at once, as cel-go does where it plans a program: what can't be converted can't be
    /// planned.
    ///
    /// # Errors
    /// Why the first of them fails.
    pub(crate) fn plan(&self) -> Result<(), String> {
        constants(&self.tree).map(|_| ())
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
        && let Kind::Literal(literal) = &last.kind
    {
        let fine = match (function.as_str(), literal) {
            ("matches", Literal::Text(text)) => match apiserver_meta::re2::compile(text, PATTERN_MAX) {
                Ok(regex) => {
                    patterns.insert(expr.id, regex);
                    true
                }
                Err(_) => false,
            },
            ("duration", Literal::Text(text)) => time::parse_duration(text).is_some(),
            ("duration", Literal::Int(_)) => false,
            ("timestamp", Literal::Text(text)) => time::parse(text).is_some(),
            ("timestamp", Literal::Int(_)) => convert("timestamp", &constant(literal)).is_ok(),
            _ => true,
        };
        if !fine {
            issues.push(Issue::at(source, last.at, format!("invalid {function} argument")));
        }
    }
    expr.children().into_iter().for_each(|child| literals(child, source, patterns, issues));
}

/// Looks for conversions of constants, and gives the value of an expression that is a constant.
fn constants<'a>(expr: &Expr) -> Result<Option<Val<'a>>, String> {
    const CONVERSIONS: &[&str] =
        &["bool", "bytes", "double", "dyn", "duration", "int", "string", "timestamp", "uint"];
    if let Kind::Literal(literal) = &expr.kind {
        return Ok(Some(constant(literal)));
    }
    let mut only = None;
    for child in expr.children() {
        only = constants(child)?;
    }
    match (&expr.kind, only) {
        (Kind::Call { function, target: None, args }, Some(value))
            if args.len() == 1 && CONVERSIONS.contains(&function.as_str()) =>
        {
            convert(function, &value).map(Some).map_err(|failure| failure.message)
        }
        _ => Ok(None),
    }
}
