//! Quantities to calculate with: exact, and printed as Go prints them.
//!
//! A sum has the format of its first part that is not zero, as upstream's has.

use std::cmp::Ordering;
use std::fmt;

use serde_json::Value;

/// Nanos: the smallest part a quantity can name.
const ONE: i128 = 1_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Decimal,
    Exponent,
    Binary,
}

/// An amount of something.
#[derive(Clone, Debug)]
pub struct Amount {
    nanos: i128,
    format: Format,
    /// What it was read from; a result of arithmetic has none.
    written: Option<String>,
}

const DECIMAL: &[(&str, u32)] = &[
    ("", 9),
    ("n", 0),
    ("u", 3),
    ("m", 6),
    ("k", 12),
    ("M", 15),
    ("G", 18),
    ("T", 21),
    ("P", 24),
    ("E", 27),
];
const BINARY: &[&str] = &["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

impl Amount {
    pub const ZERO: Self = Self { nanos: 0, format: Format::Decimal, written: None };

    /// That many whole things.
    pub fn count(number: usize) -> Self {
        Self { nanos: i128::try_from(number).unwrap_or(i128::MAX / ONE) * ONE, ..Self::ZERO }
    }

    /// Reads a quantity of a stored object, whose text is canonical; `None` where it is none.
    pub fn of(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Self::parse(text),
            Value::Number(number) => Self::parse(&number.to_string()),
            _ => None,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (sign, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, text.strip_prefix('+').unwrap_or(text)),
        };
        let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
        let places = u32::try_from(fraction.len()).ok()?;
        let (format, unit, divisor) = unit(suffix)?;
        let divisor = 10_i128.checked_pow(places)?.checked_mul(divisor)?;
        let scaled = digits.checked_mul(unit)?;
        let nanos = scaled.div_euclid(divisor) + i128::from(scaled.rem_euclid(divisor) != 0);
        Some(Self { nanos: sign * nanos, format, written: Some(text.to_owned()) })
    }

    pub fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    pub fn is_negative(&self) -> bool {
        self.nanos < 0
    }

    pub fn is_positive(&self) -> bool {
        self.nanos > 0
    }

    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let format = if self.is_zero() { other.format } else { self.format };
        Self { nanos: self.nanos.saturating_add(other.nanos), format, written: None }
    }

    /// What is left, or nothing.
    #[must_use]
    pub fn less(&self, other: &Self) -> Self {
        let left = self.nanos.saturating_sub(other.nanos);
        if left > 0 { Self { nanos: left, format: self.format, written: None } } else { Self::ZERO }
    }

    /// In whole things.
    #[must_use]
    pub fn rounded_up(&self) -> Self {
        match self.nanos.rem_euclid(ONE) {
            0 => self.clone(),
            rest => Self { nanos: self.nanos - rest + ONE, format: self.format, written: None },
        }
    }
}

/// Format, and nanos of one unit as a fraction.
fn unit(suffix: &str) -> Option<(Format, i128, i128)> {
    if let Some((_, power)) = DECIMAL.iter().find(|(known, _)| *known == suffix) {
        return Some((Format::Decimal, 10_i128.pow(*power), 1));
    }
    if let Some(power) = BINARY.iter().position(|known| *known == suffix) {
        return Some((Format::Binary, ONE << (10 * power), 1));
    }
    let power: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    match power {
        0..=18 => Some((Format::Exponent, ONE * 10_i128.pow(power.unsigned_abs()), 1)),
        -18..0 => Some((Format::Exponent, ONE, 10_i128.pow(power.unsigned_abs()))),
        _ => None,
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = &self.written {
            return f.write_str(text);
        }
        if self.is_zero() {
            return f.write_str("0");
        }
        let whole = self.nanos / ONE;
        if self.format == Format::Binary && self.nanos % ONE == 0 && whole.abs() >= 1024 {
            let (mut number, mut power) = (whole, 0);
            while number % 1024 == 0 && power + 1 < BINARY.len() {
                number /= 1024;
                power += 1;
            }
            return write!(f, "{number}{}", BINARY[power]);
        }
        let (mut number, mut power) = (self.nanos, 0);
        while number % 1000 == 0 && power < 27 {
            number /= 1000;
            power += 3;
        }
        match (self.format, DECIMAL.iter().find(|(_, known)| *known == power)) {
            (Format::Exponent, _) if power != 9 => write!(f, "{number}e{}", i64::from(power) - 9),
            (_, Some((suffix, _))) => write!(f, "{number}{suffix}"),
            (_, None) => write!(f, "{number}"),
        }
    }
}

impl PartialEq for Amount {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Amount {}

impl PartialOrd for Amount {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Amount {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn amount(text: &str) -> Amount {
        Amount::parse(text).unwrap_or(Amount::ZERO)
    }

    #[test]
    fn sums_are_printed_as_go_prints_them() {
        // What resource.Quantity of k8s.io/apimachinery 0.36 printed for each sum.
        for (parts, sum) in [
            (&["100m", "900m"][..], "1"),
            (&["100m", "1"], "1100m"),
            (&["0", "1Gi"], "1Gi"),
            (&["1Gi", "512Mi"], "1536Mi"),
            (&["1Gi", "1"], "1073741825"),
            (&["1k", "1Ki"], "2024"),
            (&["512", "1Ki"], "1536"),
            (&["1Ki", "512"], "1536"),
            (&["1Ki", "1m"], "1024001m"),
            (&["500", "500"], "1k"),
            (&["1e3", "1"], "1001"),
            (&["1e3", "1e3"], "2e3"),
            (&["100Mi", "100M"], "204857600"),
            (&["1n", "1"], "1000000001n"),
        ] {
            let got = parts.iter().fold(Amount::ZERO, |sum, part| sum.plus(&amount(part)));
            assert_eq!(got.to_string(), sum, "{parts:?}");
        }
        assert_eq!(amount("1500m").less(&amount("500m")).to_string(), "1");
        assert_eq!(amount("1").less(&amount("2")), Amount::ZERO);
        assert_eq!(amount("1500m").rounded_up().to_string(), "2");
    }

    #[test]
    fn what_is_no_quantity_is_none() {
        for wrong in [json!("x"), json!(""), json!("1.2.3"), json!(null), json!("1KiB"), json!("1e99")] {
            assert!(Amount::of(&wrong).is_none(), "{wrong}");
        }
        assert_eq!(Amount::of(&json!(2)).map(|two| two.to_string()).as_deref(), Some("2"));
    }
}
