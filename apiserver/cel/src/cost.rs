//! The most an expression can cost, estimated from its schema's bounds: cel-go's `checker/cost.go`.

use std::collections::HashMap;

use crate::ast::{ACCU, Expr, Fold, Kind, Literal};
use crate::check::Checked;
use crate::decl::Decl;
use crate::price;
use crate::size::Range;
use crate::types::Type;

/// Sizes of the entries of a list or map that the expression makes.
#[derive(Clone, Copy, Debug)]
struct Entries {
    list: bool,
    key: Range,
    value: Range,
}

impl Entries {
    fn union(a: Option<Self>, b: Option<Self>) -> Option<Self> {
        let (a, b) = (a?, b?);
        Some(Self { list: a.list, key: a.key.union(b.key), value: a.value.union(b.value) })
    }
}

#[derive(Clone, Debug)]
struct Local {
    path: Vec<String>,
    size: Option<Range>,
    entries: Option<Entries>,
}

/// A part of an expression as the price list sees it.
#[derive(Clone, Debug)]
pub(crate) struct Part<'e> {
    pub path: Vec<String>,
    pub of: Type,
    pub expr: Option<&'e Expr>,
    pub size: Option<Range>,
}

/// The estimate of a checked expression over `root`, which `self` and `oldSelf` stand for.
pub(crate) fn estimate(tree: &Expr, checked: &Checked, root: &Decl) -> Range {
    let mut coster = Coster {
        checked,
        root,
        paths: HashMap::new(),
        sizes: HashMap::new(),
        entries: HashMap::new(),
        locals: Vec::new(),
    };
    coster.cost(tree)
}

pub(crate) struct Coster<'c> {
    checked: &'c Checked,
    root: &'c Decl,
    paths: HashMap<u32, Vec<String>>,
    sizes: HashMap<u32, Range>,
    entries: HashMap<u32, Entries>,
    locals: Vec<(String, Local)>,
}

impl Coster<'_> {
    fn cost(&mut self, expr: &Expr) -> Range {
        match &expr.kind {
            Kind::Literal(_) => Range::ZERO,
            Kind::Ident(name) => {
                let path = self.local(name).map_or_else(|| vec![name.clone()], |local| local.path.clone());
                self.paths.insert(expr.id, path);
                Range::ONE
            }
            Kind::Select { operand, field, test } => {
                let sum = self.cost(operand);
                if *test {
                    return sum;
                }
                let mut path = self.path(operand);
                path.push(field.clone());
                self.paths.insert(expr.id, path);
                match self.checked.of(operand) {
                    Type::Map(..) | Type::Object(_) | Type::Param(_) => sum.plus(Range::ONE),
                    _ => sum,
                }
            }
            Kind::Call { .. } => self.call(expr),
            Kind::List { items, .. } => {
                let mut sum = Range::fixed(10);
                let mut value = none_yet(items.is_empty());
                for item in items {
                    sum = sum.plus(self.cost(item));
                    value = value.union(self.size_or_unknown(item));
                }
                self.entries.insert(expr.id, Entries { list: true, key: Range::ONE, value });
                sum
            }
            Kind::Map(pairs) => {
                let mut sum = Range::fixed(30);
                let (mut key, mut value) = (none_yet(pairs.is_empty()), none_yet(pairs.is_empty()));
                for pair in pairs {
                    sum = sum.plus(self.cost(&pair.key)).plus(self.cost(&pair.value));
                    key = key.union(self.size_or_unknown(&pair.key));
                    value = value.union(self.size_or_unknown(&pair.value));
                }
                self.entries.insert(expr.id, Entries { list: false, key, value });
                sum
            }
            Kind::Struct { fields, .. } => {
                let mut sum = Range::fixed(40);
                for field in fields {
                    sum = sum.plus(self.cost(&field.value));
                }
                sum
            }
            Kind::Fold(fold) => self.fold(expr, fold),
        }
    }

    fn local(&self, name: &str) -> Option<&Local> {
        self.locals.iter().rev().find(|(known, _)| known == name).map(|(_, local)| local)
    }

    fn path(&self, expr: &Expr) -> Vec<String> {
        if let Kind::Ident(name) = &expr.kind
            && let Some(local) = self.local(name)
        {
            return local.path.clone();
        }
        self.paths.get(&expr.id).cloned().unwrap_or_default()
    }

    fn call(&mut self, expr: &Expr) -> Range {
        let Kind::Call { function, target, args } = &expr.kind else { return Range::ZERO };
        if let ("dyn", [arg]) = (function.as_str(), args.as_slice()) {
            let cost = self.cost(arg).plus(Range::ONE);
            if let Some(size) = self.size(arg) {
                self.sizes.insert(expr.id, size);
            }
            if let Some(entries) = self.entry_sizes(arg) {
                self.entries.insert(expr.id, entries);
            }
            return cost;
        }
        let (mut costs, mut parts) = (Vec::new(), Vec::new());
        for arg in args {
            costs.push(self.cost(arg));
            parts.push(self.part(arg));
        }
        let Some(overloads) = self.checked.overloads.get(&expr.id).cloned() else { return Range::ZERO };
        let (mut sum, mut receiver) = (Range::ZERO, None);
        if let Some(target) = target {
            sum = self.cost(target);
            receiver = Some(self.part(target));
        }
        let mut total = Range { min: u64::MAX, max: 0 };
        let mut result: Option<Range> = None;
        for overload in overloads {
            let (cost, size) = self.price(expr, function, overload, receiver.as_ref(), &parts, &costs);
            total = total.union(cost);
            if let Some(size) = size {
                result = Some(result.map_or(size, |known| known.union(size)));
            }
            if let ("index_list" | "index_map", Some(holder)) = (overload, args.first()) {
                result = self.entry_sizes(holder).map(|entries| entries.value);
                let mut path = self.path(holder);
                path.push(if overload == "index_list" { "@items" } else { "@values" }.to_owned());
                self.paths.insert(expr.id, path);
            }
            if result.is_none() {
                result = self.size(expr);
            }
        }
        if let Some(size) = result {
            self.sizes.insert(expr.id, size);
        }
        sum.plus(total)
    }

    fn price(
        &mut self,
        expr: &Expr,
        function: &str,
        overload: &str,
        target: Option<&Part<'_>>,
        args: &[Part<'_>],
        costs: &[Range],
    ) -> (Range, Option<Range>) {
        let sum = costs.iter().fold(Range::ZERO, |sum, cost| sum.plus(*cost));
        let measure =
            |part: &Part<'_>| part.size.or_else(|| self.declared(&part.path)).unwrap_or(Range::UNKNOWN);
        if let Some((cost, size)) = price::library(function, overload, target, args, &measure) {
            return (cost.plus(sum), size);
        }
        match (overload, costs, args) {
            ("logical_or" | "logical_and", [lhs, rhs, ..], _) => {
                let rest = costs[2..].iter().fold(lhs.plus(*rhs), |sum, cost| sum.plus(*cost));
                (Range { min: lhs.min, max: rest.max }, None)
            }
            ("conditional", [condition, yes, no], [_, then, otherwise]) => {
                let size = known(then).union(known(otherwise));
                let entries = then
                    .expr
                    .zip(otherwise.expr)
                    .and_then(|(a, b)| Entries::union(self.entry_sizes(a), self.entry_sizes(b)));
                if let Some(entries) = entries {
                    self.entries.insert(expr.id, entries);
                }
                (condition.plus(yes.union(*no)), Some(size))
            }
            ("add_string" | "add_bytes" | "add_list", _, [a, b]) => {
                let size = known(a).plus(known(b));
                let entries = a
                    .expr
                    .zip(b.expr)
                    .and_then(|(a, b)| Entries::union(self.entry_sizes(a), self.entry_sizes(b)));
                if let Some(entries) = entries {
                    self.entries.insert(expr.id, entries);
                }
                let cost = if overload == "add_list" { Range::ONE } else { size.at(price::CHARACTER) };
                (cost.plus(sum), Some(size))
            }
            _ => {
                let (cost, size) = price::standard(overload, target, args);
                (cost.plus(sum), size)
            }
        }
    }

    fn fold(&mut self, expr: &Expr, fold: &Fold) -> Range {
        let bound = matches!(&fold.range.kind, Kind::List { items, .. } if items.is_empty())
            && matches!(fold.condition.kind, Kind::Literal(Literal::Bool(false)))
            && fold.accu != "__result__";
        let mut sum = self.cost(&fold.range).plus(self.cost(&fold.init));
        let accu = Local {
            path: self.path(&fold.init),
            size: self.size(&fold.init),
            entries: self.entry_sizes(&fold.init),
        };
        let depth = self.locals.len();
        self.locals.push((fold.accu.clone(), accu));
        if bound {
            sum = sum.plus(self.cost(&fold.result));
            self.locals.truncate(depth);
            if let Some(size) = self.size(&fold.result) {
                self.sizes.insert(expr.id, size);
            }
            if let Some(entries) = self.entry_sizes(&fold.result) {
                self.entries.insert(expr.id, entries);
            }
            return sum;
        }
        self.bind_turn(fold);
        let turn = self.cost(&fold.condition).plus(self.cost(&fold.step));
        self.locals.truncate(depth + 1);
        sum = sum.plus(self.cost(&fold.result));
        self.locals.truncate(depth);
        let count = self.size_or_unknown(&fold.range);
        sum = sum.plus(count.times(turn));
        match &fold.init.kind {
            Kind::Literal(_) => {
                if let Some(size) = self.size(&fold.init) {
                    self.sizes.insert(expr.id, size);
                }
            }
            Kind::List { .. } | Kind::Map(_) => {
                self.sizes.insert(expr.id, count);
                if let Some(entries) = self.entry_sizes(&fold.step) {
                    self.entries.insert(expr.id, entries);
                }
            }
            _ => {}
        }
        sum
    }

    /// The variables of a turn of a loop.
    fn bind_turn(&mut self, fold: &Fold) {
        let entries = self.entry_sizes(&fold.range);
        let path = self.path(&fold.range);
        let list = entries
            .map_or_else(|| matches!(self.checked.of(&fold.range), Type::List(_)), |entries| entries.list);
        let sub = |name: &str| {
            let mut path = path.clone();
            path.push(name.to_owned());
            path
        };
        let (key, value) = (entries.map(|e| e.key), entries.map(|e| e.value));
        let local = |path, size| Local { path, size, entries: None };
        match &fold.var2 {
            Some(var2) => {
                let (keys, values) = if list { ("@indices", "@items") } else { ("@keys", "@values") };
                self.locals.push((fold.var.clone(), local(sub(keys), key)));
                self.locals.push((var2.clone(), local(sub(values), value)));
            }
            None if list => self.locals.push((fold.var.clone(), local(sub("@items"), value))),
            None => self.locals.push((fold.var.clone(), local(sub("@keys"), key))),
        }
    }

    fn part<'e>(&mut self, expr: &'e Expr) -> Part<'e> {
        let mut path = self.path(expr);
        if path.first().is_some_and(|first| first == ACCU || first == "__result__") {
            path.clear();
        }
        let size = self.size(expr);
        Part { path, of: self.checked.of(expr).clone(), expr: Some(expr), size }
    }

    fn size_or_unknown(&mut self, expr: &Expr) -> Range {
        self.size(expr).unwrap_or(Range::UNKNOWN)
    }

    fn size(&mut self, expr: &Expr) -> Option<Range> {
        if let Some(size) = self.sizes.get(&expr.id) {
            return Some(*size);
        }
        if let Some(size) = written_size(expr) {
            return Some(size);
        }
        if let Some(size) = self.declared(&self.path(expr)) {
            self.sizes.insert(expr.id, size);
            return Some(size);
        }
        if self.checked.of(expr).is_scalar() {
            return Some(Range::ONE);
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name).and_then(|local| local.size),
            _ => None,
        }
    }

    fn entry_sizes(&self, expr: &Expr) -> Option<Entries> {
        if let Some(entries) = self.entries.get(&expr.id) {
            return Some(*entries);
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name).and_then(|local| local.entries),
            _ => None,
        }
    }

    /// The size the schema gives a path; the first step is the variable.
    fn declared(&self, path: &[String]) -> Option<Range> {
        let (_, steps) = path.split_first()?;
        let mut node = self.root;
        for (i, step) in steps.iter().enumerate() {
            if step == "@keys" && matches!(node.shape, crate::decl::Shape::Map(_)) {
                // Keys have no declared length, and nothing below them.
                return (i + 1 == steps.len()).then_some(Range::ZERO);
            }
            node = node.step(step)?;
        }
        Some(Range { min: 0, max: node.max_elements as u64 })
    }
}

fn none_yet(empty: bool) -> Range {
    Range { min: if empty { 0 } else { u64::MAX }, max: 0 }
}

fn known(part: &Part<'_>) -> Range {
    part.size.unwrap_or(Range::UNKNOWN)
}

fn written_size(expr: &Expr) -> Option<Range> {
    Some(Range::fixed(match &expr.kind {
        Kind::Literal(Literal::Text(text)) => text.chars().count() as u64,
        Kind::Literal(Literal::Bytes(bytes)) => bytes.len() as u64,
        Kind::Literal(_) => 1,
        Kind::List { items, .. } => items.len() as u64,
        Kind::Map(entries) => entries.len() as u64,
        _ => return None,
    }))
}
