//! What is written out is checked before anything runs: lists and maps are of one type, and templates of `format` fit
//! what is put into them.

use crate::ast::{Expr, Kind, Literal};
use crate::check::Checked;
use crate::issue::Issue;
use crate::library::format::{Wrong, fill, refusal};
use crate::types::Type;

/// Finds lists and maps whose parts are not all of one type: only a template takes those.
pub(crate) fn check_types(expr: &Expr, checked: &Checked, source: &str, issues: &mut Vec<Issue>) {
    let mut same = |parts: &mut dyn Iterator<Item = (&Expr, bool)>| {
        let mut first: Option<Type> = None;
        for (part, is_optional) in parts {
            let of = checked.of(part);
            let of = if is_optional { of.unwrap_optional().unwrap_or(of) } else { of };
            let Some(wanted) = &first else {
                first = Some(of.clone());
                continue;
            };
            if wanted != of {
                let why = format!("expected type '{}' but found '{}'", wanted.show(), of.show());
                issues.push(Issue::at(source, part.at, why));
                break;
            }
        }
    };
    match &expr.kind {
        Kind::Call { function, .. } if function == "format" => return,
        Kind::List { items, optional } => {
            same(&mut items.iter().enumerate().map(|(i, item)| (item, optional.contains(&i))));
        }
        Kind::Map(entries) => {
            same(&mut entries.iter().map(|entry| (&entry.key, false)));
            same(&mut entries.iter().map(|entry| (&entry.value, entry.optional)));
        }
        _ => {}
    }
    expr.children().into_iter().for_each(|child| check_types(child, checked, source, issues));
}

/// Finds what is wrong with the templates of an expression.
pub(crate) fn check(expr: &Expr, checked: &Checked, source: &str, issues: &mut Vec<Issue>) {
    if let Kind::Call { function, target: Some(target), args } = &expr.kind
        && function == "format"
        && let Kind::Literal(Literal::Text(template)) = &target.kind
        && let [list] = args.as_slice()
        && let Kind::List { items, .. } = &list.kind
        && let Err((at, why)) = check_call(expr, template, items, checked)
    {
        issues.push(Issue::at(source, at, why));
    }
    expr.children().into_iter().for_each(|child| check(child, checked, source, issues));
}

fn check_call(expr: &Expr, template: &str, items: &[Expr], checked: &Checked) -> Result<(), (usize, String)> {
    let mut asked = 0;
    let filled = fill(template, items.len(), false, &mut |clause| {
        asked += 1;
        let Some(item) = items.get(clause.index) else { return Ok(String::new()) };
        match misfit(clause.letter, item, checked) {
            Some(wrong) => Err((wrong.at, refusal(clause.letter, name(checked.of(wrong))))),
            None => Ok(String::new()),
        }
    });
    match filled {
        Err(Wrong::Template(why)) => Err((expr.at, why)),
        Err(Wrong::Argument(wrong)) => Err(wrong),
        Ok(_) if items.len() > asked => {
            let given = items.len();
            let why = format!("too many arguments supplied to string.format (expected {asked}, got {given})");
            Err((expr.at, why))
        }
        Ok(_) => Ok(()),
    }
}

/// The part of an argument that a clause does not take.
fn misfit<'e>(letter: char, item: &'e Expr, checked: &Checked) -> Option<&'e Expr> {
    let of = checked.of(item);
    if letter != 's' {
        return (!takes(letter, of)).then_some(item);
    }
    if !takes(letter, of) {
        return Some(item);
    }
    match &item.kind {
        Kind::List { items, .. } => items.iter().find_map(|item| misfit(letter, item, checked)),
        Kind::Map(entries) => entries
            .iter()
            .flat_map(|entry| [&entry.key, &entry.value])
            .find_map(|part| misfit(letter, part, checked)),
        _ => None,
    }
}

fn takes(letter: char, of: &Type) -> bool {
    match of {
        Type::Dyn | Type::Error | Type::Param(_) => true,
        Type::Int | Type::Uint => !matches!(letter, 'f' | 'e'),
        Type::Double => matches!(letter, 's' | 'f' | 'e'),
        Type::Text => matches!(letter, 's' | 'f' | 'e' | 'x' | 'X'),
        Type::Bytes => matches!(letter, 's' | 'x' | 'X'),
        Type::Bool => matches!(letter, 's' | 'b'),
        Type::Null | Type::Timestamp | Type::Duration | Type::List(_) | Type::Map(..) | Type::Type(_) => {
            letter == 's'
        }
        Type::Object(_) | Type::Opaque(..) => false,
    }
}

/// A type without its parameters.
fn name(of: &Type) -> &str {
    match of {
        Type::Dyn => "dyn",
        Type::Error => "!error!",
        Type::Null => "null_type",
        Type::Bool => "bool",
        Type::Int => "int",
        Type::Uint => "uint",
        Type::Double => "double",
        Type::Text => "string",
        Type::Bytes => "bytes",
        Type::Timestamp => "google.protobuf.Timestamp",
        Type::Duration => "google.protobuf.Duration",
        Type::List(_) => "list",
        Type::Map(..) => "map",
        Type::Type(_) => "type",
        Type::Param(name) | Type::Object(name) | Type::Opaque(name, _) => name,
    }
}
