//! The functions of Kubernetes' environment: names, overloads, types (`data/functions.txt`).

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::types::{Type, split_top};

/// One way to call a function.
#[derive(Debug)]
pub(crate) struct Overload {
    pub id: &'static str,
    pub member: bool,
    pub args: Vec<Type>,
    pub result: Type,
}

static TABLE: LazyLock<HashMap<&'static str, Vec<Overload>>> = LazyLock::new(|| {
    let mut table: HashMap<&'static str, Vec<Overload>> = HashMap::new();
    for line in include_str!("../data/functions.txt").lines() {
        // `||` is an operator too, so the line is read from its end.
        let mut parts = line.rsplitn(5, '|');
        let (Some(result), Some(args), Some(style), Some(id), Some(name)) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        table.entry(name).or_default().push(Overload {
            id,
            member: style == "m",
            args: split_top(args).into_iter().map(Type::parse).collect(),
            result: Type::parse(result),
        });
    }
    table
});

/// The overloads of a function.
pub(crate) fn overloads(name: &str) -> Option<&'static [Overload]> {
    TABLE.get(name).map(Vec::as_slice)
}
