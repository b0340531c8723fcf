//! Compiling a policy, and what is wrong with its expressions.

use apiserver_json::Value;
use apiserver_meta::field::FieldError;

use super::mutate::Mutation;
use super::types::{PATCH, declare_patches, declare_variable, declare_variables, environment};
use crate::check::Env;
use crate::program::Program;
use crate::types::Type;

/// Match conditions that a policy or a webhook may have.
const CONDITIONS_MAX: usize = 64;

/// A policy, ready to be evaluated.
#[derive(Debug)]
pub struct Policy {
    pub(super) fails_open: bool,
    pub(super) conditions: Vec<Expression>,
    pub(super) variables: Vec<(String, Expression)>,
    pub(super) validations: Vec<Validation>,
    pub(super) mutations: Vec<Mutation>,
    /// Upstream refuses everything that a policy with a wrong expression matches.
    pub(super) broken: Option<String>,
}

#[derive(Debug)]
pub(super) struct Expression {
    pub source: String,
    pub program: Program,
}

#[derive(Debug)]
pub(super) struct Validation {
    pub expression: Expression,
    pub message: String,
    pub message_expression: Option<Expression>,
    pub reason: String,
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or("")
}

fn items<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).unwrap_or_default()
}

/// Compiles an expression that must be of one of these types; no types stand for any.
fn compile(source: &str, env: &Env, wanted: &[Type]) -> Result<Expression, String> {
    let program = Program::compile(source, env).map_err(|why| format!("compilation failed: {why}"))?;
    let output = program.output();
    if !wanted.is_empty() && !wanted.contains(output) {
        let names: Vec<String> = wanted.iter().map(Type::go_name).collect();
        return Err(match names.as_slice() {
            [one] => format!("must evaluate to {one} but got {}", output.go_name()),
            several => {
                format!("must evaluate to one of [{}] but got {}", several.join(" "), output.go_name())
            }
        });
    }
    program.plan().map_err(|why| format!("program instantiation failed: {why}"))?;
    Ok(Expression { source: source.to_owned(), program })
}

struct Found<'f> {
    errors: &'f mut Vec<FieldError>,
}

impl Found<'_> {
    fn compile(&mut self, source: &str, env: &Env, wanted: &[Type], path: String) -> Option<Expression> {
        compile(source, env, wanted)
            .map_err(|why| self.errors.push(FieldError::invalid(path, &source.into(), why)))
            .ok()
    }

    fn required(&mut self, path: String) {
        self.errors.push(FieldError::required(path, "expression is not specified"));
    }
}

/// Errors of a policy's conditions, variables, validations and annotations. `spec` is the policy's.
pub fn policy_errors(spec: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    build(spec, &mut errors);
    errors
}

/// As [`policy_errors`], of a policy that mutates: its conditions, variables and mutations.
pub fn mutating_policy_errors(spec: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    build_mutating(spec, &mut errors);
    errors
}

fn build_mutating(spec: &Value, errors: &mut Vec<FieldError>) -> Policy {
    let params = spec.get("paramKind").is_some_and(Value::is_object);
    let mut found = Found { errors };
    let conditions = conditions(spec, params, "spec", &mut found);
    let mut env = environment(params, true);
    let variables = variables(spec, &mut [&mut env], &mut found);
    // Mutations know of them, be there any or not.
    declare_variables(&mut env);
    declare_patches(&mut env);
    if items(spec, "mutations").is_empty() {
        let why = "mutations must contain at least one item";
        found.errors.push(FieldError::required("spec.mutations", why));
    }
    let mut mutations = Vec::new();
    for (i, mutation) in items(spec, "mutations").iter().enumerate() {
        mutations.extend(self::mutation(mutation, &format!("spec.mutations[{i}]"), &env, &mut found));
    }
    let fails_open = text(spec, "failurePolicy") == "Ignore";
    Policy { fails_open, conditions, variables, validations: Vec::new(), mutations, broken: None }
}

fn mutation(mutation: &Value, path: &str, env: &Env, found: &mut Found<'_>) -> Option<Mutation> {
    let kind = text(mutation, "patchType");
    let (own, other) = match kind {
        "" => {
            found.errors.push(FieldError::required(format!("{path}.patchType"), ""));
            return None;
        }
        "ApplyConfiguration" => ("applyConfiguration", "jsonPatch"),
        "JSONPatch" => ("jsonPatch", "applyConfiguration"),
        _ => {
            let known = ["ApplyConfiguration", "JSONPatch"];
            let path = format!("{path}.patchType");
            found.errors.push(FieldError::not_supported(path, &kind.into(), &known));
            return None;
        }
    };
    let is_patch = own == "jsonPatch";
    let mut made = None;
    let has = |member: &str| mutation.get(member).is_some_and(Value::is_object);
    let place = format!("{path}.{own}");
    if has(own) {
        let source = text(&mutation[own], "expression").trim();
        let path = format!("{place}.expression");
        let wanted = if is_patch { Type::list(Type::object(PATCH)) } else { Type::object("Object") };
        if source.is_empty() {
            found.errors.push(FieldError::required(path, ""));
        } else {
            made = found.compile(source, env, &[wanted], path);
        }
    } else {
        let why = format!("must be specified when patchType is {kind}");
        found.errors.push(FieldError::required(place, why));
    }
    if has(other) {
        let why = format!("must not be specified when patchType is {kind}");
        let shown = format!("{{{other}}}");
        found.errors.push(FieldError::invalid(format!("{path}.{other}"), &shown.into(), why));
    }
    Some(Mutation { expression: made?, is_patch })
}

impl Policy {
    /// Compiles a stored policy, or the match conditions of a webhook.
    pub fn compile(spec: &Value) -> Self {
        let mut errors = Vec::new();
        let mut policy = build(spec, &mut errors);
        policy.broken = errors.first().map(|error| error.detail.clone());
        policy
    }

    /// As [`Policy::compile`], of a policy that mutates.
    pub fn compile_mutating(spec: &Value) -> Self {
        let mut errors = Vec::new();
        let mut policy = build_mutating(spec, &mut errors);
        policy.broken = errors.first().map(|error| error.detail.clone());
        policy
    }
}

fn is_identifier(name: &str) -> bool {
    !crate::escape::RESERVED.contains(&name)
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Errors of the match conditions that `spec` has at `path`: of a webhook, which has no parameters.
pub fn condition_errors(spec: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    conditions(spec, false, path, &mut Found { errors: &mut errors });
    errors
}

fn conditions(spec: &Value, params: bool, path: &str, found: &mut Found<'_>) -> Vec<Expression> {
    let env = environment(params, true);
    let list = path;
    let count = items(spec, "matchConditions").len();
    if count > CONDITIONS_MAX {
        found.errors.push(FieldError::too_many(format!("{path}.matchConditions"), count, CONDITIONS_MAX));
    }
    let mut out = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for (i, condition) in items(spec, "matchConditions").iter().enumerate() {
        let path = format!("{list}.matchConditions[{i}]");
        let (name, source) = (text(condition, "name"), text(condition, "expression"));
        if source.trim().is_empty() {
            found.errors.push(FieldError::required(format!("{path}.expression"), ""));
        } else {
            out.extend(found.compile(source, &env, &[Type::Bool], format!("{path}.expression")));
        }
        if name.is_empty() {
            found.errors.push(FieldError::required(format!("{path}.name"), ""));
        } else {
            let wrong = apiserver_meta::names::qualified_name(name);
            found.errors.extend(
                wrong.into_iter().map(|why| FieldError::invalid(format!("{path}.name"), &name.into(), why)),
            );
            if seen.contains(&name) {
                found.errors.push(FieldError::duplicate(format!("{path}.name"), &name.into()));
            }
            seen.push(name);
        }
    }
    out
}

/// The policy's variables, each of which those after it may use; the first environment is theirs.
fn variables(spec: &Value, envs: &mut [&mut Env], found: &mut Found<'_>) -> Vec<(String, Expression)> {
    let mut variables = Vec::new();
    if !items(spec, "variables").is_empty() {
        envs.iter_mut().for_each(|env| declare_variables(env));
    }
    for (i, variable) in items(spec, "variables").iter().enumerate() {
        let path = format!("spec.variables[{i}]");
        let (name, source) = (text(variable, "name"), text(variable, "expression"));
        if name.trim().is_empty() {
            found.errors.push(FieldError::required(format!("{path}.name"), "name is not specified"));
        } else if !is_identifier(name) {
            let why = "must be a valid CEL identifier";
            found.errors.push(FieldError::invalid(format!("{path}.name"), &name.into(), why));
        }
        if source.trim().is_empty() {
            found.required(format!("{path}.expression"));
        } else {
            let Some(env) = envs.first() else { continue };
            let made = found.compile(source, env, &[], format!("{path}.expression"));
            let of = made.as_ref().map_or(Type::Dyn, |made| made.program.output().clone());
            envs.iter_mut().for_each(|env| declare_variable(env, name, of.clone()));
            variables.extend(made.map(|made| (name.to_owned(), made)));
        }
    }
    variables
}

fn build(spec: &Value, errors: &mut Vec<FieldError>) -> Policy {
    let params = spec.get("paramKind").is_some_and(Value::is_object);
    let mut found = Found { errors };
    let conditions = conditions(spec, params, "spec", &mut found);
    let mut env = environment(params, true);
    let mut message_env = environment(params, false);
    let variables = variables(spec, &mut [&mut env, &mut message_env], &mut found);
    let mut validations = Vec::new();
    for (i, validation) in items(spec, "validations").iter().enumerate() {
        validations.extend(self::validation(
            validation,
            &format!("spec.validations[{i}]"),
            &env,
            &message_env,
            &mut found,
        ));
    }
    const LONGEST_ANNOTATION: usize = 5 * 1024;
    for (i, annotation) in items(spec, "auditAnnotations").iter().enumerate() {
        let path = format!("spec.auditAnnotations[{i}].valueExpression");
        let source = text(annotation, "valueExpression");
        if source.trim().is_empty() {
            found.errors.push(FieldError::required(path, "valueExpression is not specified"));
        } else if source.len() > LONGEST_ANNOTATION {
            let why = format!("must not exceed {LONGEST_ANNOTATION} bytes in length");
            found.errors.push(FieldError::required(path, why));
        } else {
            found.compile(source, &env, &[Type::Text, Type::Null], path);
        }
    }
    let fails_open = text(spec, "failurePolicy") == "Ignore";
    Policy { fails_open, conditions, variables, validations, mutations: Vec::new(), broken: None }
}

fn validation(
    validation: &Value,
    path: &str,
    env: &Env,
    message_env: &Env,
    found: &mut Found<'_>,
) -> Option<Validation> {
    let (source, message) = (text(validation, "expression"), text(validation, "message"));
    let expression = if source.trim().is_empty() {
        found.required(format!("{path}.expression"));
        None
    } else {
        found.compile(source, env, &[Type::Bool], format!("{path}.expression"))
    };
    let source = text(validation, "messageExpression");
    let mut message_expression = None;
    if !source.is_empty() {
        let place = format!("{path}.messageExpression");
        if source.trim().is_empty() {
            let why = "must be non-empty if specified";
            found.errors.push(FieldError::invalid(place, &source.into(), why));
        } else {
            message_expression = found.compile(source, message_env, &[Type::Text], place);
        }
    }
    let place = format!("{path}.message");
    if !message.is_empty() && message.trim().is_empty() {
        found.errors.push(FieldError::invalid(place, &message.into(), "must be non-empty if specified"));
    } else if message.trim().contains(['\n', '\r']) {
        found.errors.push(FieldError::invalid(place, &message.into(), "must not contain line breaks"));
    }
    let reason = text(validation, "reason");
    let known = ["Forbidden", "Invalid", "RequestEntityTooLarge"];
    if validation.get("reason").is_some_and(Value::is_string) && !known.contains(&reason) {
        found.errors.push(FieldError::not_supported(format!("{path}.reason"), &reason.into(), &known));
    }
    Some(Validation {
        expression: expression?,
        message: message.trim().to_owned(),
        message_expression,
        reason: reason.to_owned(),
    })
}
