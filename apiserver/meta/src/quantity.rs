//! Quantities (`k8s.io/apimachinery/pkg/api/resource`), compared in thousandths.

use apiserver_json::Value;

/// The amount of a quantity in thousandths, rounded up; `None` where the text is none.
pub fn parse(value: &Value) -> Option<i128> {
    match value {
        Value::Number(number) => parse_text(&number.to_string()),
        Value::String(text) => parse_text(text),
        _ => None,
    }
}

/// Whether a quantity is no whole number, as upstream finds out: what is too large for its 64 bits of thousandths may seem so.
pub fn is_fractional(value: &Value) -> bool {
    parse(value).is_some_and(|thousandths| {
        let low = thousandths.unsigned_abs() & u128::from(u64::MAX);
        u64::try_from(low).is_ok_and(|low| low.cast_signed() % 1000 != 0)
    })
}

/// As [`parse`], from text such as `100m`, `1.5Gi`, `2e3`.
pub fn parse_text(text: &str) -> Option<i128> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = unsigned.bytes().position(|b| !b.is_ascii_digit() && b != b'.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty())
        || whole.len() > 24
        || fraction.len() > 9
        || fraction.contains('.')
    {
        return None;
    }
    let digits = whole.bytes().chain(fraction.bytes());
    let digits = digits.fold(0, |number: i128, digit| number * 10 + i128::from(digit - b'0'));
    let scale = 10i128.pow(fraction.len() as u32);
    let (multiplier, divisor) = multiplier(suffix)?;
    let scaled = digits.checked_mul(multiplier)?.checked_mul(1000)?;
    let amount = divided(scaled, scale.checked_mul(divisor)?);
    Some(if negative { -amount } else { amount })
}

/// Rounded up; in one word where that will do, as it mostly does.
fn divided(amount: i128, by: i128) -> i128 {
    match (u64::try_from(amount), u64::try_from(by)) {
        (Ok(amount), Ok(by)) => amount.div_ceil(by).into(),
        _ => amount.div_euclid(by) + i128::from(amount.rem_euclid(by) != 0),
    }
}

fn multiplier(suffix: &str) -> Option<(i128, i128)> {
    let binary = |power: u32| Some((1024i128.pow(power), 1));
    let decimal = |power: u32| Some((10i128.pow(power), 1));
    match suffix {
        "" => Some((1, 1)),
        "n" => Some((1, 1_000_000_000)),
        "u" => Some((1, 1_000_000)),
        "m" => Some((1, 1000)),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        exponent => {
            let power: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            match power {
                0..=18 => Some((10i128.pow(power as u32), 1)),
                -9..0 => Some((1, 10i128.pow(power.unsigned_abs()))),
                _ => None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_are_those_of_64_bits() {
        for (text, want) in
            [("1", false), ("1500m", true), ("1500", false), ("-1m", true), ("1Ei", true), ("1Pi", false)]
        {
            assert_eq!(is_fractional(&text.into()), want, "{text}");
        }
    }

    #[test]
    fn quantities() {
        for (text, want) in [
            ("1", Some(1000)),
            ("100m", Some(100)),
            ("1.5", Some(1500)),
            ("1Ki", Some(1_024_000)),
            ("2e3", Some(2_000_000)),
            ("-1", Some(-1000)),
            ("1n", Some(1)),
            ("", None),
            ("x", None),
            ("1.1.1", None),
        ] {
            assert_eq!(parse_text(text), want, "{text}");
        }
    }
}
