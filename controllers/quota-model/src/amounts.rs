//! Amounts by name: `ResourceList` upstream, and what is calculated with it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::amount::Amount;

/// Amounts by name, in order of name.
pub type Amounts = BTreeMap<String, Amount>;

/// Reads a member of an object; what is no quantity is left out.
pub fn read(object: &Value, member: &str) -> Amounts {
    let list = object.get(member).and_then(Value::as_object);
    list.into_iter().flatten().filter_map(|(name, value)| Some((name.clone(), Amount::of(value)?))).collect()
}

/// The JSON of amounts.
pub fn write(amounts: &Amounts) -> Value {
    let members = amounts.iter().map(|(name, amount)| (name.clone(), amount.to_string().into()));
    members.collect::<Map<String, Value>>().into()
}

/// Adds each of `more`.
pub fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let total = sum.get(name).map_or_else(|| amount.clone(), |before| before.plus(amount));
        sum.insert(name.clone(), total);
    }
}

/// Takes each of `other` where it is greater.
pub fn raise(list: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        if list.get(name).is_none_or(|before| amount > before) {
            list.insert(name.clone(), amount.clone());
        }
    }
}

/// What is more than before, without what is not.
pub fn growth(now: &Amounts, before: &Amounts) -> Amounts {
    let grown = now.iter().map(|(name, amount)| {
        (name.clone(), before.get(name).map_or_else(|| amount.clone(), |before| amount.less(before)))
    });
    grown.filter(|(_, amount)| !amount.is_zero()).collect()
}

/// Those whose names are among `names`.
pub fn only(amounts: &Amounts, names: &[&str]) -> Amounts {
    amounts.iter().filter(|(name, _)| names.contains(&name.as_str())).map(own).collect()
}

fn own((name, amount): (&String, &Amount)) -> (String, Amount) {
    (name.clone(), amount.clone())
}

/// `a=1,b=2`, as messages have it.
pub fn shown(amounts: &Amounts) -> String {
    amounts.iter().map(|(name, amount)| format!("{name}={amount}")).collect::<Vec<_>>().join(",")
}
