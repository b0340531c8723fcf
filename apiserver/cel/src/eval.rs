//! Evaluation: a walk over the tree that pays for every step.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use apiserver_json::Map;
use regex::Regex;

use crate::ast::{Entry, Expr, Field, Fold, Kind, Literal};
use crate::authority::Authority;
use crate::convert::to_json;
use crate::library;
use crate::library::object::Opaque;
use crate::operators;
use crate::spend;
use crate::types::Type;
use crate::value::{Failure, Key, Outcome, Val, fail, list, text};

/// Where names get their values.
pub(crate) trait Variables<'a> {
    /// The value of a variable; `None` if there is none of this name.
    fn get(&self, name: &str, spent: &mut Meter) -> Option<Outcome<'a>>;

    /// Who decides what somebody may do.
    fn authority(&self) -> Option<&dyn Authority> {
        None
    }
}

/// What was spent, and what may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meter {
    pub spent: u64,
    pub limit: u64,
}

impl Meter {
    pub(crate) fn new(limit: u64) -> Self {
        Self { spent: 0, limit }
    }

    pub(crate) fn pay(&mut self, cost: u64) -> Result<(), Failure> {
        self.spent = self.spent.saturating_add(cost);
        if self.spent > self.limit {
            let message = "operation cancelled: actual cost limit exceeded".to_owned();
            return Err(Failure { message, fatal: true });
        }
        Ok(())
    }
}

/// Evaluates one tree once.
pub(crate) struct Evaluation<'t, 'a> {
    pub variables: &'t dyn Variables<'a>,
    pub patterns: &'t HashMap<u32, Regex>,
    pub meter: &'t mut Meter,
    pub scopes: Vec<(&'t str, Val<'a>)>,
}

impl<'t, 'a> Evaluation<'t, 'a> {
    /// The value of a node.
    pub(crate) fn eval(&mut self, expr: &'t Expr) -> Outcome<'a> {
        match &expr.kind {
            Kind::Literal(literal) => Ok(constant(literal)),
            Kind::Ident(name) => {
                self.meter.pay(1)?;
                self.variable(name)
            }
            Kind::Select { operand, field, test } => self.select(operand, field, *test),
            Kind::Call { function, target, args } => self.call(expr.id, function, target.as_deref(), args),
            Kind::List { items, optional } => self.list(items, optional),
            Kind::Map(entries) => self.map(entries),
            Kind::Struct { name, fields } => self.structure(name, fields),
            Kind::Fold(fold) => self.fold(fold),
        }
    }

    fn variable(&mut self, name: &str) -> Outcome<'a> {
        if let Some((_, value)) = self.scopes.iter().rev().find(|(known, _)| *known == name) {
            return Ok(value.clone());
        }
        if let Some(value) = self.variables.get(name, self.meter) {
            return value;
        }
        match Type::named(name) {
            Some(_) => Ok(Val::Type(name.into())),
            None => fail(format!("no such attribute(s): {name}")),
        }
    }

    fn select(&mut self, operand: &'t Expr, field: &str, test: bool) -> Outcome<'a> {
        let holder = self.eval(operand)?;
        if !test {
            self.meter.pay(1)?;
        }
        let key = text(field);
        let (holder, optional) = match holder {
            Val::Optional(None) if test => return Ok(Val::Bool(false)),
            Val::Optional(None) => return Ok(Val::Optional(None)),
            Val::Optional(Some(inner)) => ((*inner).clone(), true),
            other => (other, false),
        };
        if !holder.is_map() {
            let is_list = matches!(holder, Val::List(_) | Val::JsonList(..));
            // What has no members has not this one either.
            return if test && !is_list {
                Ok(Val::Bool(false))
            } else {
                fail(format!("no such key: {field}"))
            };
        }
        let found = holder.entry(&key);
        match (test, optional, found) {
            (true, _, found) => Ok(Val::Bool(found.is_some())),
            (false, true, None) => Ok(Val::Optional(None)),
            (false, true, Some(value)) => Ok(Val::Optional(Some(Arc::new(value?)))),
            (false, false, Some(value)) => value,
            (false, false, None) => fail(format!("no such key: {field}")),
        }
    }

    fn list(&mut self, items: &'t [Expr], optional: &[usize]) -> Outcome<'a> {
        if !items.iter().all(|item| matches!(item.kind, Kind::Literal(_))) || items.is_empty() {
            self.meter.pay(10)?;
        }
        let mut out = Vec::with_capacity(items.len());
        for (i, item) in items.iter().enumerate() {
            match self.eval(item)? {
                Val::Optional(value) if optional.contains(&i) => {
                    out.extend(value.map(|value| (*value).clone()));
                }
                value => out.push(value),
            }
        }
        Ok(list(out))
    }

    fn map(&mut self, entries: &'t [Entry]) -> Outcome<'a> {
        self.meter.pay(30)?;
        let mut out = BTreeMap::new();
        for entry in entries {
            let key = self.eval(&entry.key)?;
            let Some(key) = Key::from(&key) else {
                return fail(format!("unsupported key type: {}", key.type_name()));
            };
            let value = match self.eval(&entry.value)? {
                Val::Optional(None) if entry.optional => continue,
                Val::Optional(Some(value)) if entry.optional => (*value).clone(),
                value => value,
            };
            // Of those that are there twice the last one counts.
            out.insert(key, value);
        }
        Ok(Val::Map(Arc::new(out)))
    }

    /// An object of a mutation; its type is named after where it stands.
    fn structure(&mut self, name: &str, fields: &'t [Field]) -> Outcome<'a> {
        self.meter.pay(40)?;
        let (mut members, mut misplaced) = (Map::new(), Vec::new());
        for field in fields {
            let value = match self.eval(&field.value)? {
                Val::Optional(None) if field.optional => continue,
                Val::Optional(Some(value)) if field.optional => (*value).clone(),
                value => value,
            };
            let place = name.starts_with("Object").then(|| format!("{name}.{}", field.name));
            find_misplaced(&value, place.as_deref(), &mut misplaced);
            members.insert(field.name.as_str().into(), to_json(&value));
        }
        library::opaque(Opaque::Made { name: name.into(), members, misplaced })
    }

    fn call(&mut self, id: u32, function: &str, target: Option<&'t Expr>, args: &'t [Expr]) -> Outcome<'a> {
        match (function, args) {
            ("_&&_", _) => return self.logic(args, false),
            ("_||_", _) => return self.logic(args, true),
            ("_?_:_", [condition, then, otherwise]) => {
                return match self.eval(condition)? {
                    Val::Bool(true) => self.eval(then),
                    Val::Bool(false) => self.eval(otherwise),
                    _ => fail("no such overload"),
                };
            }
            ("@not_strictly_false", [one]) => {
                self.meter.pay(1)?;
                return match self.eval(one) {
                    Err(failure) if failure.fatal => Err(failure),
                    value => Ok(Val::Bool(!matches!(value, Ok(Val::Bool(false))))),
                };
            }
            ("_?._" | "_[?_]", [holder, key]) => return self.optional_index(holder, key),
            ("or" | "orValue", [other]) if target.is_some() => return self.or_else(function, target, other),
            _ => {}
        }
        let mut values = Vec::with_capacity(args.len() + 1);
        for part in target.into_iter().chain(args) {
            values.push(self.eval(part)?);
        }
        let result = self.apply(id, function, &values);
        self.meter.pay(spend::call(function, &values, result.as_ref().ok()))?;
        result
    }

    fn apply(&mut self, id: u32, function: &str, values: &[Val<'a>]) -> Outcome<'a> {
        match (function, values) {
            ("!_", [Val::Bool(value)]) => Ok(Val::Bool(!value)),
            ("-_", [Val::Int(n)]) => {
                n.checked_neg().map_or_else(|| fail("integer overflow"), |n| Ok(Val::Int(n)))
            }
            ("-_", [Val::Double(n)]) => Ok(Val::Double(-n)),
            ("_[_]", [Val::Optional(holder), key]) => match holder {
                Some(holder) => Ok(found(holder, key)),
                None => Ok(Val::Optional(None)),
            },
            ("matches", [Val::Text(value), Val::Text(_)]) if self.patterns.contains_key(&id) => {
                Ok(Val::Bool(self.patterns.get(&id).is_some_and(|regex| regex.is_match(value))))
            }
            ("check", _) => library::authz::check(values, self.variables.authority()),
            ("cel.@mapInsert", _) => insert(values),
            (operator, [a, b]) if operator.starts_with(['_', '@']) && operator != "@sortByAssociatedKeys" => {
                operators::binary(operator, a, b)
            }
            _ => library::call(function, values),
        }
    }

    /// `&&` and `||`: one side that decides outweighs an error on the other.
    fn logic(&mut self, args: &'t [Expr], decisive: bool) -> Outcome<'a> {
        let mut problem = None;
        for arg in args {
            match self.eval(arg) {
                Ok(Val::Bool(value)) if value == decisive => return Ok(Val::Bool(decisive)),
                Ok(Val::Bool(_)) => {}
                Ok(_) => problem = problem.or(fail::<()>("no such overload").err()),
                Err(failure) if failure.fatal => return Err(failure),
                Err(failure) => problem = problem.or(Some(failure)),
            }
        }
        problem.map_or(Ok(Val::Bool(!decisive)), Err)
    }

    /// `a.?b` and `a[?b]`.
    fn optional_index(&mut self, holder: &'t Expr, key: &'t Expr) -> Outcome<'a> {
        let holder = self.eval(holder)?;
        let key = self.eval(key)?;
        self.meter.pay(1)?;
        match holder {
            Val::Optional(None) => Ok(Val::Optional(None)),
            Val::Optional(Some(inner)) => Ok(found(&inner, &key)),
            other => Ok(found(&other, &key)),
        }
    }

    fn or_else(&mut self, function: &str, target: Option<&'t Expr>, other: &'t Expr) -> Outcome<'a> {
        let Some(target) = target else { return fail("no such overload") };
        let value = self.eval(target)?;
        self.meter.pay(1)?;
        match value {
            Val::Optional(Some(inner)) if function == "orValue" => Ok((*inner).clone()),
            some @ Val::Optional(Some(_)) => Ok(some),
            Val::Optional(None) => self.eval(other),
            _ => fail("no such overload"),
        }
    }

    fn fold(&mut self, fold: &'t Fold) -> Outcome<'a> {
        let range = self.eval(&fold.range)?;
        let start = self.eval(&fold.init)?;
        let depth = self.scopes.len();
        let result = self.turns(fold, range, start);
        self.scopes.truncate(depth);
        let value = result?;
        self.scopes.push((&fold.accu, value));
        let result = self.eval(&fold.result);
        self.scopes.truncate(depth);
        result
    }

    fn turns(&mut self, fold: &'t Fold, range: Val<'a>, start: Val<'a>) -> Outcome<'a> {
        // An error in a turn of `all` and `exists` stands until another turn decides.
        let mut accu: Outcome<'a> = Ok(start);
        let (keys, size) = match range.keys() {
            Some(keys) => (Some(keys), 0),
            None => match range.size() {
                Some(size) if range.item(0).is_some() || size == 0 => (None, size),
                _ => return fail(format!("got '{}', expected iterable type", range.go_type())),
            },
        };
        let count = keys.as_ref().map_or(size, Vec::len);
        for turn in 0..count {
            let (first, second) = match &keys {
                Some(keys) => {
                    let key = keys[turn].clone();
                    let value = if fold.var2.is_some() { range.entry(&key) } else { None };
                    (Ok(key), value)
                }
                None if fold.var2.is_some() => (Ok(Val::Int(turn as i64)), range.item(turn)),
                None => (range.item(turn).unwrap_or_else(|| fail("index out of bounds")), None),
            };
            let depth = self.scopes.len();
            if !self.goes_on(fold, &accu)? {
                break;
            }
            let second = second.transpose();
            let step = match (first, second) {
                (Ok(first), Ok(second)) => {
                    self.scopes.push((&fold.var, first));
                    if let (Some(var2), Some(value)) = (&fold.var2, second) {
                        self.scopes.push((var2, value));
                    }
                    self.step(&fold.step, &fold.accu, accu)
                }
                (Err(failure), _) | (_, Err(failure)) => Err(failure),
            };
            self.scopes.truncate(depth);
            match step {
                Err(failure) if failure.fatal => return Err(failure),
                step => accu = step,
            }
        }
        accu
    }

    fn goes_on(&mut self, fold: &'t Fold, accu: &Outcome<'a>) -> Result<bool, Failure> {
        match &fold.condition.kind {
            Kind::Literal(Literal::Bool(value)) => Ok(*value && accu.is_ok()),
            _ => {
                let Ok(value) = accu else { return Ok(true) };
                self.scopes.push((&fold.accu, value.clone()));
                let going = self.eval(&fold.condition);
                self.scopes.pop();
                Ok(!matches!(going?, Val::Bool(false)))
            }
        }
    }

    /// One turn. The gathered value is moved, not copied, through the steps that macros make.
    fn step(&mut self, expr: &'t Expr, name: &'t str, accu: Outcome<'a>) -> Outcome<'a> {
        let is_accu = |expr: &Expr| matches!(&expr.kind, Kind::Ident(ident) if ident == name);
        match &expr.kind {
            Kind::Ident(ident) if ident == name => {
                self.meter.pay(1)?;
                accu
            }
            Kind::Call { function, target: None, args } => match (function.as_str(), args.as_slice()) {
                ("_&&_" | "_||_", [first, second]) if is_accu(first) => {
                    self.meter.pay(1)?;
                    let decisive = function == "_||_";
                    match (accu, self.eval(second)) {
                        (_, Err(failure)) if failure.fatal => Err(failure),
                        (_, Ok(Val::Bool(value))) if value == decisive => Ok(Val::Bool(decisive)),
                        (Err(failure), _) | (_, Err(failure)) => Err(failure),
                        (Ok(value), Ok(Val::Bool(_))) => Ok(value),
                        _ => fail("no such overload"),
                    }
                }
                ("_?_:_", [condition, then, otherwise]) => match self.eval(condition)? {
                    Val::Bool(true) => self.step(then, name, accu),
                    Val::Bool(false) => self.step(otherwise, name, accu),
                    _ => fail("no such overload"),
                },
                ("_+_", [first, second]) if is_accu(first) => {
                    let more = self.eval(second)?;
                    self.meter.pay(2)?;
                    match (accu?, &more) {
                        (Val::List(mut items), Val::List(new)) => {
                            Arc::make_mut(&mut items).extend(new.iter().cloned());
                            Ok(Val::List(items))
                        }
                        (value, more) => operators::binary("_+_", &value, more),
                    }
                }
                ("cel.@mapInsert", [first, rest @ ..]) if is_accu(first) => {
                    let mut values = Vec::with_capacity(3);
                    for part in rest {
                        values.push(self.eval(part)?);
                    }
                    self.meter.pay(2)?;
                    values.insert(0, accu?);
                    insert_owned(values)
                }
                _ => self.bound(expr, name, accu),
            },
            _ => self.bound(expr, name, accu),
        }
    }

    fn bound(&mut self, expr: &'t Expr, name: &'t str, accu: Outcome<'a>) -> Outcome<'a> {
        self.scopes.push((name, accu?));
        let result = self.eval(expr);
        self.scopes.pop();
        result
    }
}

/// Notes what stands elsewhere than its type says; lists and maps have no place of their own.
fn find_misplaced(value: &Val<'_>, place: Option<&str>, out: &mut Vec<String>) {
    match value {
        Val::Opaque(inner) => {
            let Opaque::Made { name, misplaced, .. } = &**inner else { return };
            if let Some(place) = place.filter(|place| *place != &**name) {
                out.push(format!(
                    "unexpected type name {name:?}, expected {place:?}, which matches field name path from root Object type"
                ));
            }
            out.extend_from_slice(misplaced);
        }
        Val::List(items) => items.iter().for_each(|item| find_misplaced(item, place, out)),
        Val::Map(entries) => entries.values().for_each(|item| find_misplaced(item, place, out)),
        _ => {}
    }
}

pub(crate) fn constant<'a>(literal: &Literal) -> Val<'a> {
    match literal {
        Literal::Null => Val::Null,
        Literal::Bool(value) => Val::Bool(*value),
        Literal::Int(value) => Val::Int(*value),
        Literal::Uint(value) => Val::Uint(*value),
        Literal::Double(value) => Val::Double(*value),
        Literal::Text(value) => text(value),
        Literal::Bytes(value) => Val::Bytes(value.as_slice().into()),
    }
}

/// The entry or item as an optional.
fn found<'a>(holder: &Val<'a>, key: &Val<'a>) -> Val<'a> {
    Val::Optional(operators::index(holder, key).ok().map(Arc::new))
}

fn insert<'a>(values: &[Val<'a>]) -> Outcome<'a> {
    insert_owned(values.to_vec())
}

fn insert_owned<'a>(mut values: Vec<Val<'a>>) -> Outcome<'a> {
    let rest = values.split_off(1);
    let Some(Val::Map(mut entries)) = values.pop() else { return fail("no such overload") };
    let map = Arc::make_mut(&mut entries);
    let mut put = |key: &Val<'a>, value: Val<'a>| -> Result<(), Failure> {
        let Some(key) = Key::from(key) else { return fail("unsupported key type") };
        if map.contains_key(&key) {
            return fail(format!("insert failed: key {} already exists", operators::shown(&key.value())));
        }
        map.insert(key, value);
        Ok(())
    };
    match rest.as_slice() {
        [key, value] => put(key, value.clone())?,
        [more] => {
            for key in more.keys().unwrap_or_default() {
                if let Some(value) = more.entry(&key) {
                    put(&key, value?)?;
                }
            }
        }
        _ => return fail("no such overload"),
    }
    Ok(Val::Map(entries))
}
