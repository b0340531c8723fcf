//! Quantities that can be compared, added and asked.

use std::sync::Arc;

use super::object::Opaque;
use super::{mistyped, opaque};
use crate::value::{Outcome, Val, fail};

/// An amount in billionths, rounded up as upstream rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Quantity(i128);

const NANO: i128 = 1_000_000_000;
const WRONG: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

impl Quantity {
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let (negative, rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if number.is_empty() || number == "." || fraction.contains('.') {
            return Err(WRONG);
        }
        if !suffix.chars().all(|c| "eEinumkKMGTP+-0123456789".contains(c)) {
            return Err(WRONG);
        }
        let (base, power) = unit(suffix).ok_or("unable to parse quantity's suffix")?;
        let digits: i128 = format!("{whole}{fraction}")
            .trim_start_matches('0')
            .parse()
            .or_else(
                |error: std::num::ParseIntError| {
                    if *error.kind() == std::num::IntErrorKind::Empty { Ok(0) } else { Err(error) }
                },
            )
            .unwrap_or(i128::MAX);
        let scale = power_of(10, fraction.len());
        let factor = if base == 2 { power_of(2, power.unsigned_abs() as usize) } else { 1 };
        let mut amount = digits.saturating_mul(NANO).saturating_mul(factor);
        let mut divisor = scale;
        if base == 10 {
            let ten = power_of(10, power.unsigned_abs() as usize);
            if power >= 0 {
                amount = amount.saturating_mul(ten)
            } else {
                divisor = divisor.saturating_mul(ten)
            }
        }
        let rounded = amount.div_euclid(divisor).saturating_add(i128::from(amount.rem_euclid(divisor) != 0));
        Ok(Self(if negative { -rounded } else { rounded }))
    }

    fn whole(self) -> Option<i64> {
        (self.0 % NANO == 0).then(|| i64::try_from(self.0 / NANO).ok()).flatten()
    }
}

fn power_of(base: i128, exponent: usize) -> i128 {
    u32::try_from(exponent).ok().and_then(|exponent| base.checked_pow(exponent)).unwrap_or(i128::MAX)
}

fn unit(suffix: &str) -> Option<(i128, i32)> {
    Some(match suffix {
        "" => (10, 0),
        "n" => (10, -9),
        "u" => (10, -6),
        "m" => (10, -3),
        "k" => (10, 3),
        "M" => (10, 6),
        "G" => (10, 9),
        "T" => (10, 12),
        "P" => (10, 15),
        "E" => (10, 18),
        "Ki" => (2, 10),
        "Mi" => (2, 20),
        "Gi" => (2, 30),
        "Ti" => (2, 40),
        "Pi" => (2, 50),
        "Ei" => (2, 60),
        exponent => (10, exponent.strip_prefix(['e', 'E'])?.parse().ok()?),
    })
}

fn of(value: &Val<'_>) -> Option<Quantity> {
    match value {
        Val::Opaque(inner) => match &**inner {
            Opaque::Quantity(quantity) => Some(*quantity),
            _ => None,
        },
        Val::Int(n) => Some(Quantity(i128::from(*n) * NANO)),
        _ => None,
    }
}

/// A function of quantities.
pub(crate) fn call<'a>(function: &str, args: &[Val<'a>]) -> Outcome<'a> {
    match (function, args) {
        ("quantity", [Val::Text(text)]) => match Quantity::parse(text) {
            Ok(quantity) => opaque(Opaque::Quantity(quantity)),
            Err(why) => fail(why),
        },
        ("isQuantity", [Val::Text(text)]) => Ok(Val::Bool(Quantity::parse(text).is_ok())),
        (_, [one]) => {
            let Some(quantity) = of(one) else { return mistyped(function, args) };
            match function {
                "sign" => Ok(Val::Int(quantity.0.signum() as i64)),
                "isInteger" => Ok(Val::Bool(quantity.whole().is_some())),
                "asInteger" => quantity
                    .whole()
                    .map_or_else(|| fail("cannot convert value to integer"), |n| Ok(Val::Int(n))),
                "asApproximateFloat" => Ok(Val::Double(quantity.0 as f64 / NANO as f64)),
                _ => mistyped(function, args),
            }
        }
        (_, [one, two]) => {
            let (Some(a), Some(b)) = (of(one), of(two)) else { return mistyped(function, args) };
            let made = |amount| Ok(Val::Opaque(Arc::new(Opaque::Quantity(Quantity(amount)))));
            match function {
                "add" => made(a.0.saturating_add(b.0)),
                "sub" => made(a.0.saturating_sub(b.0)),
                "compareTo" => Ok(Val::Int(a.0.cmp(&b.0) as i64)),
                "isGreaterThan" => Ok(Val::Bool(a.0 > b.0)),
                "isLessThan" => Ok(Val::Bool(a.0 < b.0)),
                _ => mistyped(function, args),
            }
        }
        _ => mistyped(function, args),
    }
}
