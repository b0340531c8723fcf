//! Which type may stand where another is wanted: cel-go's assignability, with type parameters bound on the way.

use std::collections::HashMap;
use std::sync::Arc;

use crate::types::Type;

/// What type parameters are known to stand for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mapping(HashMap<Arc<str>, Type>);

impl Mapping {
    pub(crate) fn bind(&mut self, name: &Arc<str>, to: Type) {
        self.0.insert(name.clone(), to);
    }

    fn find(&self, t: &Type) -> Option<&Type> {
        match t {
            Type::Param(name) => self.0.get(name),
            _ => None,
        }
    }

    /// Replaces bound parameters; unbound ones become `dyn` if asked.
    pub(crate) fn substitute(&self, t: &Type, unbound_to_dyn: bool) -> Type {
        if let Some(bound) = self.find(t) {
            return self.substitute(bound, unbound_to_dyn);
        }
        match t {
            Type::Param(_) if unbound_to_dyn => Type::Dyn,
            Type::List(item) => Type::list(self.substitute(item, unbound_to_dyn)),
            Type::Map(key, value) => {
                Type::map(self.substitute(key, unbound_to_dyn), self.substitute(value, unbound_to_dyn))
            }
            Type::Type(Some(of)) => Type::Type(Some(Arc::new(self.substitute(of, unbound_to_dyn)))),
            Type::Opaque(name, parameters) => Type::Opaque(
                name.clone(),
                parameters.iter().map(|parameter| self.substitute(parameter, unbound_to_dyn)).collect(),
            ),
            other => other.clone(),
        }
    }

    /// May every type of `from` stand for that of `to`? Nothing is bound unless all may.
    pub(crate) fn assignable_all(&mut self, from: &[Type], to: &[Type]) -> bool {
        let mut copy = self.clone();
        let fits = from.len() == to.len() && from.iter().zip(to).all(|(from, to)| copy.assign(from, to));
        if fits {
            *self = copy;
        }
        fits
    }

    pub(crate) fn assignable(&mut self, from: &Type, to: &Type) -> bool {
        self.assignable_all(std::slice::from_ref(from), std::slice::from_ref(to))
    }

    fn assign(&mut self, t1: &Type, t2: &Type) -> bool {
        if matches!(t2, Type::Param(_)) {
            let (valid, bound) = self.stands_for(t1, t2);
            if valid {
                return true;
            }
            if bound {
                return false;
            }
        }
        if matches!(t1, Type::Param(_)) {
            return self.stands_for(t2, t1).0;
        }
        if t1.is_dyn_or_error() || t2.is_dyn_or_error() {
            return true;
        }
        let nullable = |t: &Type| {
            matches!(t, Type::Null | Type::Opaque(..) | Type::Object(_) | Type::Duration | Type::Timestamp)
        };
        match (t1, t2) {
            (Type::Null, other) | (other, Type::Null) => nullable(other),
            (Type::Type(_), Type::Type(_)) => true,
            (Type::List(a), Type::List(b)) => self.assign(a, b),
            (Type::Map(ka, va), Type::Map(kb, vb)) => self.assign(ka, kb) && self.assign(va, vb),
            (Type::Opaque(a, pa), Type::Opaque(b, pb)) => {
                a == b && pa.len() == pb.len() && pa.iter().zip(pb).all(|(a, b)| self.assign(a, b))
            }
            _ => t1 == t2,
        }
    }

    /// Whether the parameter `t2` can stand for `t1`, and whether it was bound before.
    fn stands_for(&mut self, t1: &Type, t2: &Type) -> (bool, bool) {
        if t1 == t2 {
            return (true, true);
        }
        let Type::Param(name) = t2 else { return (false, false) };
        if let Some(bound) = self.find(t2).cloned() {
            if *t1 == bound {
                return (true, true);
            }
            if self.assign(t1, &bound) {
                let general = most_general(t1, &bound).clone();
                if self.not_within(t2, &general) {
                    self.bind(name, general);
                }
                return (true, true);
            }
            return (false, true);
        }
        if self.not_within(t2, t1) {
            self.bind(name, t1.clone());
            return (true, false);
        }
        (false, false)
    }

    fn not_within(&self, t: &Type, within: &Type) -> bool {
        if t == within {
            return false;
        }
        match within {
            Type::Param(_) => self.find(within).is_none_or(|bound| self.not_within(t, bound)),
            Type::List(item) => self.not_within(t, item),
            Type::Map(key, value) => self.not_within(t, key) && self.not_within(t, value),
            Type::Type(Some(of)) => self.not_within(t, of),
            Type::Opaque(_, parameters) => parameters.iter().all(|parameter| self.not_within(t, parameter)),
            _ => true,
        }
    }
}

/// The more general of two types that agree.
pub(crate) fn most_general<'a>(t1: &'a Type, t2: &'a Type) -> &'a Type {
    if less_specific(t1, t2) { t1 } else { t2 }
}

fn less_specific(t1: &Type, t2: &Type) -> bool {
    match (t1, t2) {
        (Type::Dyn | Type::Param(_), _) => true,
        (_, Type::Dyn | Type::Param(_)) => false,
        (Type::List(a), Type::List(b)) => less_specific(a, b),
        (Type::Map(ka, va), Type::Map(kb, vb)) => less_specific(ka, kb) && less_specific(va, vb),
        (Type::Type(_), Type::Type(_)) => true,
        (Type::Opaque(a, pa), Type::Opaque(b, pb)) => {
            a == b && pa.len() == pb.len() && pa.iter().zip(pb).all(|(a, b)| less_specific(a, b))
        }
        _ => t1 == t2,
    }
}
