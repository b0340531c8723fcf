//! Type checking: cel-go's checker, its order of errors and its words.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::ast::{Expr, Fold, Kind, Literal};
use crate::functions::{self, Overload};
use crate::issue::Issue;
use crate::types::Type;
use crate::unify::{Mapping, most_general};

/// What an expression may name: variables, and the fields of types.
#[derive(Clone, Debug, Default)]
pub(crate) struct Env {
    /// Knows `cel.bind`.
    pub bindings: bool,
    /// Knows what patches are made of: objects of any fields, and `jsonpatch.escapeKey`.
    pub patches: bool,
    pub variables: BTreeMap<String, Type>,
    pub objects: HashMap<Arc<str>, BTreeMap<String, Type>>,
}

/// What the checker learned.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    pub types: HashMap<u32, Type>,
    pub overloads: HashMap<u32, Vec<&'static str>>,
}

impl Checked {
    pub(crate) fn of(&self, expr: &Expr) -> &Type {
        self.types.get(&expr.id).unwrap_or(&Type::Dyn)
    }
}

/// Checks a tree; calls of functions whose names have dots are rewritten in place.
pub(crate) fn check(source: &str, env: &Env, tree: &mut Expr) -> Result<Checked, Vec<Issue>> {
    let mut checker = Checker {
        source,
        env,
        scopes: Vec::new(),
        mapping: Mapping::default(),
        issues: Vec::new(),
        fresh: 0,
        done: Checked::default(),
    };
    checker.check(tree);
    if !checker.issues.is_empty() {
        return Err(checker.issues);
    }
    let mapping = checker.mapping;
    let mut done = checker.done;
    for t in done.types.values_mut() {
        *t = mapping.substitute(t, true);
    }
    Ok(done)
}

struct Checker<'a> {
    source: &'a str,
    env: &'a Env,
    scopes: Vec<(String, Type)>,
    mapping: Mapping,
    issues: Vec<Issue>,
    fresh: usize,
    done: Checked,
}

impl Checker<'_> {
    fn fail(&mut self, at: usize, message: String) {
        self.issues.push(Issue::at(self.source, at, message));
    }

    fn undeclared(&mut self, at: usize, name: &str) {
        self.fail(at, format!("undeclared reference to '{name}' (in container '')"));
    }

    fn mismatch(&mut self, at: usize, wanted: &Type, got: &Type) {
        let text = format!("expected type '{}' but found '{}'", wanted.show(), got.show());
        self.fail(at, text);
    }

    fn fresh(&mut self) -> Type {
        self.fresh += 1;
        Type::Param(format!("_var{}", self.fresh - 1).into())
    }

    fn set(&mut self, expr: &Expr, t: Type) -> Type {
        self.done.types.insert(expr.id, t.clone());
        t
    }

    fn variable(&self, name: &str) -> Option<Type> {
        self.scopes
            .iter()
            .rev()
            .find(|(known, _)| known == name)
            .map(|(_, t)| t.clone())
            .or_else(|| self.env.variables.get(name).cloned())
            .or_else(|| Type::named(name).map(|t| Type::Type(Some(Arc::new(t)))))
    }

    fn check(&mut self, expr: &mut Expr) -> Type {
        let t = match &mut expr.kind {
            Kind::Literal(literal) => literal_type(literal),
            Kind::Ident(name) => match self.variable(name) {
                Some(t) => t,
                None => {
                    let name = name.clone();
                    self.undeclared(expr.at, &name);
                    Type::Error
                }
            },
            Kind::Select { .. } => return self.check_select(expr),
            Kind::Call { .. } => return self.check_call(expr),
            Kind::List { items, optional } => {
                let mut joined = None;
                for (i, item) in items.iter_mut().enumerate() {
                    let mut t = self.check(item);
                    if optional.contains(&i) {
                        t = self.unwrapped(item.at, t);
                    }
                    joined = Some(self.join(joined, t));
                }
                let item = joined.unwrap_or_else(|| self.fresh());
                Type::list(item)
            }
            Kind::Map(entries) => {
                let (mut keys, mut values) = (None, None);
                for entry in entries {
                    let key = self.check(&mut entry.key);
                    keys = Some(self.join(keys, key));
                    let mut value = self.check(&mut entry.value);
                    if entry.optional {
                        value = self.unwrapped(entry.value.at, value);
                    }
                    values = Some(self.join(values, value));
                }
                match (keys, values) {
                    (Some(key), Some(value)) => Type::map(key, value),
                    _ => {
                        let key = self.fresh();
                        Type::map(key, self.fresh())
                    }
                }
            }
            Kind::Struct { .. } => return self.check_struct(expr),
            Kind::Fold(fold) => self.check_fold(fold),
        };
        self.set(expr, t)
    }

    fn unwrapped(&mut self, at: usize, t: Type) -> Type {
        if let Some(inner) = t.unwrap_optional() {
            return inner.clone();
        }
        if t != Type::Dyn {
            self.mismatch(at, &Type::optional(t.clone()), &t);
        }
        t
    }

    /// The type of a list's items so far and one more.
    fn join(&mut self, previous: Option<Type>, current: Type) -> Type {
        let Some(previous) = previous else { return current };
        if self.mapping.assignable(&previous, &current) {
            return most_general(&previous, &current).clone();
        }
        Type::Dyn
    }

    fn check_select(&mut self, expr: &mut Expr) -> Type {
        if let Some(name) = expr.qualified_name()
            && let Some(t) = self.variable(&name)
        {
            expr.kind = Kind::Ident(name);
            return self.set(expr, t);
        }
        let at = expr.at;
        let Kind::Select { operand, field, test } = &mut expr.kind else { return Type::Error };
        let (field, test) = (field.clone(), *test);
        let t = self.select(at, operand, &field, false);
        let t = if test { Type::Bool } else { self.mapping.substitute(&t, false) };
        self.set(expr, t)
    }

    fn select(&mut self, at: usize, operand: &mut Expr, field: &str, optional: bool) -> Type {
        let operand = self.check(operand);
        let operand = self.mapping.substitute(&operand, false);
        let inner = operand.unwrap_optional();
        let target = inner.unwrap_or(&operand).clone();
        let result = match &target {
            Type::Map(_, value) => (**value).clone(),
            Type::Object(name) => {
                let field_type = match self.env.objects.get(name) {
                    Some(fields) => fields.get(field).cloned(),
                    None => None,
                };
                field_type.unwrap_or_else(|| {
                    self.fail(at, format!("undefined field '{field}'"));
                    Type::Error
                })
            }
            Type::Param(_) => {
                self.mapping.assignable(&Type::Dyn, &target);
                Type::Dyn
            }
            other => {
                if !other.is_dyn_or_error() {
                    let text = format!("type '{}' does not support field selection", other.show());
                    self.fail(at, text);
                }
                Type::Dyn
            }
        };
        if inner.is_some() || optional { Type::optional(result) } else { result }
    }

    fn check_call(&mut self, expr: &mut Expr) -> Type {
        let (at, id) = (expr.at, expr.id);
        let Kind::Call { function, target, args } = &mut expr.kind else { return Type::Error };
        if function == "_?._"
            && let [operand, field] = args.as_mut_slice()
            && let Kind::Literal(Literal::Text(name)) = &field.kind
        {
            let name = name.clone();
            let t = self.select(at, operand, &name, true);
            let t = self.mapping.substitute(&t, false);
            self.done.overloads.insert(id, vec!["select_optional_field"]);
            return self.set(expr, t);
        }
        let mut types: Vec<Type> = args.iter_mut().map(|arg| self.check(arg)).collect();
        let mut member = false;
        if let Some(object) = target {
            let qualified = object.qualified_name().map(|prefix| format!("{prefix}.{function}"));
            let known = |name: &String| {
                functions::overloads(name).is_some() && (self.env.patches || name != "jsonpatch.escapeKey")
            };
            match qualified.filter(known) {
                Some(name) => {
                    *function = name;
                    *target = None;
                }
                None => {
                    types.insert(0, self.check(object));
                    member = true;
                }
            }
        }
        let name = function.clone();
        let places: Vec<usize> = args.iter().map(|arg| arg.at).collect();
        let t = match functions::overloads(&name) {
            None => {
                self.undeclared(at, &name);
                Type::Error
            }
            Some(overloads) => self.resolve(id, at, &name, overloads, types, member, &places),
        };
        self.set(expr, t)
    }

    #[allow(clippy::too_many_arguments, reason = "one call with everything the checker knows of it")]
    fn resolve(
        &mut self,
        id: u32,
        at: usize,
        name: &str,
        overloads: &'static [Overload],
        types: Vec<Type>,
        member: bool,
        places: &[usize],
    ) -> Type {
        if matches!(name, "_&&_" | "_||_") {
            self.done.overloads.insert(id, vec![overloads[0].id]);
            let mut wrong = false;
            for (t, place) in types.iter().zip(places) {
                if !self.mapping.assignable(t, &Type::Bool) {
                    let shown = self.mapping.substitute(t, true);
                    self.mismatch(*place, &Type::Bool, &shown);
                    wrong = true;
                }
            }
            return if wrong { Type::Error } else { Type::Bool };
        }
        let mut result: Option<Type> = None;
        let mut matched = Vec::new();
        for overload in overloads.iter().filter(|overload| overload.member == member) {
            let mut names = Mapping::default();
            let mut bound = Vec::new();
            for t in overload.args.iter().chain([&overload.result]) {
                self.freshen(t, &mut names, &mut bound);
            }
            let wanted: Vec<Type> = overload.args.iter().map(|arg| names.substitute(arg, false)).collect();
            if !self.mapping.assignable_all(&types, &wanted) {
                continue;
            }
            matched.push(overload.id);
            let t = self.mapping.substitute(&names.substitute(&overload.result, false), false);
            result = Some(match result {
                None => t,
                Some(known) if known == Type::Dyn || known == t => known,
                Some(_) => Type::Dyn,
            });
        }
        let Some(result) = result else {
            let shown: Vec<String> = types.iter().map(|t| self.mapping.substitute(t, true).show()).collect();
            let signature = match (member, shown.as_slice()) {
                (true, [object, args @ ..]) => format!("{object}.({})", args.join(", ")),
                (_, args) => format!("({})", args.join(", ")),
            };
            self.fail(at, format!("found no matching overload for '{name}' applied to '{signature}'"));
            return Type::Error;
        };
        self.done.overloads.insert(id, matched);
        result
    }

    /// Gives each parameter of a signature a fresh variable.
    fn freshen(&mut self, t: &Type, names: &mut Mapping, bound: &mut Vec<Arc<str>>) {
        match t {
            Type::Param(name) if !bound.contains(name) => {
                bound.push(name.clone());
                let fresh = self.fresh();
                names.bind(name, fresh);
            }
            Type::List(item) => self.freshen(item, names, bound),
            Type::Map(key, value) => {
                self.freshen(key, names, bound);
                self.freshen(value, names, bound);
            }
            Type::Type(Some(of)) => self.freshen(of, names, bound),
            Type::Opaque(_, parameters) => {
                parameters.iter().for_each(|parameter| self.freshen(parameter, names, bound));
            }
            _ => {}
        }
    }

    fn check_struct(&mut self, expr: &mut Expr) -> Type {
        let at = expr.at;
        let Kind::Struct { name, fields } = &mut expr.kind else { return Type::Error };
        let name: Arc<str> = name.as_str().into();
        let is_open = self.env.patches && (&*name == "Object" || name.starts_with("Object."));
        let Some(known) = self.env.objects.get(&name).cloned().or(is_open.then(BTreeMap::new)) else {
            self.undeclared(at, &name);
            return self.set(expr, Type::Error);
        };
        for field in fields {
            let mut t = self.check(&mut field.value);
            if field.optional {
                t = self.unwrapped(field.value.at, t);
            }
            match known.get(&field.name) {
                None if is_open => {}
                // Of these upstream's type has fields of any name, and most of them no type.
                None if self.env.patches && &*name == "JSONPatch" => {
                    let (name, given) = (&field.name, t.show());
                    let text =
                        format!("expected type of field '{name}' is '' but provided type is '{given}'");
                    self.fail(field.at, text);
                }
                None => self.fail(field.at, format!("undefined field '{}'", field.name)),
                Some(wanted) if !self.mapping.assignable(wanted, &t) => {
                    let text = format!(
                        "expected type of field '{}' is '{}' but provided type is '{}'",
                        field.name,
                        wanted.show(),
                        t.show()
                    );
                    self.fail(field.at, text);
                }
                Some(_) => {}
            }
        }
        self.set(expr, Type::Object(name))
    }

    fn check_fold(&mut self, fold: &mut Fold) -> Type {
        let range = self.check(&mut fold.range);
        let accu = self.check(&mut fold.init);
        let range = self.mapping.substitute(&range, false);
        let depth = self.scopes.len();
        self.scopes.push((fold.accu.clone(), accu.clone()));
        let two = fold.var2.is_some();
        let (first, second) = match &range {
            Type::List(item) if two => (Type::Int, (**item).clone()),
            Type::List(item) => ((**item).clone(), Type::Dyn),
            Type::Map(key, value) => ((**key).clone(), (**value).clone()),
            Type::Dyn | Type::Error | Type::Param(_) => {
                self.mapping.assignable(&Type::Dyn, &range);
                (Type::Dyn, Type::Dyn)
            }
            other => {
                let text = format!(
                    "expression of type '{}' cannot be range of a comprehension (must be list, map, or dynamic)",
                    other.show()
                );
                self.fail(fold.range.at, text);
                (Type::Error, Type::Error)
            }
        };
        self.scopes.push((fold.var.clone(), first));
        if let Some(var2) = &fold.var2 {
            self.scopes.push((var2.clone(), second));
        }
        for (part, wanted) in [(&mut fold.condition, Type::Bool), (&mut fold.step, accu)] {
            let t = self.check(part);
            if !self.mapping.assignable(&wanted, &t) {
                self.mismatch(part.at, &wanted, &t);
            }
        }
        self.scopes.truncate(depth + 1);
        let result = self.check(&mut fold.result);
        self.scopes.truncate(depth);
        self.mapping.substitute(&result, false)
    }
}

fn literal_type(literal: &Literal) -> Type {
    match literal {
        Literal::Null => Type::Null,
        Literal::Bool(_) => Type::Bool,
        Literal::Int(_) => Type::Int,
        Literal::Uint(_) => Type::Uint,
        Literal::Double(_) => Type::Double,
        Literal::Text(_) => Type::Text,
        Literal::Bytes(_) => Type::Bytes,
    }
}
