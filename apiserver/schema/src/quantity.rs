//! Quantities in the form Go writes them: `0.5` becomes `500m`, `1024Mi` becomes `1Gi`.
//!
//! Knows the text form only; arithmetic on quantities belongs to whoever counts with them.

use std::borrow::Cow;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Decimal,
    Exponent,
    Binary,
}

const WRONG_FORMAT: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
const WRONG_NUMBER: &str = "unable to parse numeric part of quantity";
const WRONG_SUFFIX: &str = "unable to parse quantity's suffix";

struct Parts<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    suffix: &'a str,
}

/// The canonical text of a quantity, or `None` if it is not one.
pub fn normalise_quantity(text: &str) -> Option<String> {
    canonical(text, NANO).ok().map(Cow::into_owned)
}

/// The finest that quantities are.
pub(crate) const NANO: i32 = -9;
/// The finest that amounts of resources are: upstream rounds them up where it sets defaults.
pub(crate) const MILLI: i32 = -3;

/// The text a Go server writes for a quantity it read, no finer than `finest`; the error is upstream's sentence.
pub(crate) fn canonical(text: &str, finest: i32) -> Result<Cow<'_, str>, &'static str> {
    let text = text.trim();
    if text.is_empty() {
        return Err(WRONG_FORMAT);
    }
    if text == "0" {
        return Ok(text.into());
    }
    let parts = split(text)?;
    let (format, exponent) = suffix(parts.suffix).ok_or(WRONG_SUFFIX)?;
    let digits = match parts.fraction {
        "" => Cow::Borrowed(parts.whole),
        fraction => Cow::Owned([parts.whole, fraction].concat()),
    };
    let Ok(value) = digits.parse::<i128>() else {
        return if digits.bytes().all(|b| b.is_ascii_digit()) && !digits.is_empty() {
            Ok(text.into())
        } else {
            Err(WRONG_NUMBER)
        };
    };
    let places = i32::try_from(parts.fraction.len()).unwrap_or(i32::MAX);
    let is_fine = format != Format::Binary && exponent.saturating_sub(places) < finest;
    if !is_fine && kept_as_written(format, exponent, value, &digits, &parts, places) {
        return Ok(text.into());
    }
    let (mut amount, mut scale) = match format {
        Format::Binary => (value.saturating_mul(1_i128 << exponent.clamp(0, 60)), -places),
        _ => (value, exponent.saturating_sub(places)),
    };
    while scale < finest && amount != 0 {
        amount = amount / 10 + i128::from(amount % 10 != 0);
        scale += 1;
    }
    Ok(write(format, parts.negative, amount, scale).into())
}

/// Go keeps the text where it can see that it is canonical already.
fn kept_as_written(
    format: Format,
    exponent: i32,
    value: i128,
    digits: &str,
    parts: &Parts<'_>,
    places: i32,
) -> bool {
    match format {
        Format::Binary => {
            let precision = 15 - parts.whole.len() as i32 - (exponent as f32 * 3.0 / 10.0) as i32 - 1;
            places == 0 && precision >= 0 && exponent % 10 == 0 && value & 7 != 0
        }
        _ => {
            let scale = exponent.saturating_sub(places);
            digits.len() <= 18
                && scale >= -9
                && scale % 3 == 0
                && !digits.ends_with("000")
                && !digits.starts_with('0')
        }
    }
}

fn split(text: &str) -> Result<Parts<'_>, &'static str> {
    let (negative, rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let rest = rest.trim_start_matches('0');
    if rest.is_empty() {
        return Ok(Parts { negative, whole: "0", fraction: "", suffix: "" });
    }
    let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
    let (whole, mut rest) = rest.split_at(digits(rest));
    let mut fraction = "";
    if let Some(after) = rest.strip_prefix('.') {
        (fraction, rest) = after.split_at(digits(after));
    }
    let letters = rest.bytes().take_while(|b| b"eEinumkKMGTP".contains(b)).count();
    let tail = rest[letters..].trim_start_matches(['-', '+']);
    let signs = rest.len() - letters - tail.len();
    if signs > 1 || !tail.bytes().all(|b| b.is_ascii_digit()) {
        return Err(WRONG_FORMAT);
    }
    Ok(Parts { negative, whole: if whole.is_empty() { "0" } else { whole }, fraction, suffix: rest })
}

fn suffix(text: &str) -> Option<(Format, i32)> {
    Some(match text {
        "" => (Format::Decimal, 0),
        "n" => (Format::Decimal, -9),
        "u" => (Format::Decimal, -6),
        "m" => (Format::Decimal, -3),
        "k" => (Format::Decimal, 3),
        "M" => (Format::Decimal, 6),
        "G" => (Format::Decimal, 9),
        "T" => (Format::Decimal, 12),
        "P" => (Format::Decimal, 15),
        "E" => (Format::Decimal, 18),
        "Ki" => (Format::Binary, 10),
        "Mi" => (Format::Binary, 20),
        "Gi" => (Format::Binary, 30),
        "Ti" => (Format::Binary, 40),
        "Pi" => (Format::Binary, 50),
        "Ei" => (Format::Binary, 60),
        _ => (Format::Exponent, text.strip_prefix(['e', 'E'])?.parse().ok()?),
    })
}

fn write(format: Format, negative: bool, mut amount: i128, mut scale: i32) -> String {
    if amount == 0 {
        return "0".to_owned();
    }
    while amount % 10 == 0 {
        amount /= 10;
        scale += 1;
    }
    let sign = if negative { "-" } else { "" };
    if format == Format::Binary && scale >= 0 {
        let cap = i128::from(i64::MAX);
        let mut whole = 10_i128.checked_pow(scale.unsigned_abs()).and_then(|p| amount.checked_mul(p));
        whole = whole.map(|w| w.min(cap)).or(Some(cap));
        if let Some(mut whole) = whole.filter(|w| *w >= 1024) {
            let mut power = 0;
            while whole % 1024 == 0 && power < 6 {
                whole /= 1024;
                power += 1;
            }
            return format!("{sign}{whole}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][power]);
        }
    }
    while scale.rem_euclid(3) != 0 {
        amount = amount.saturating_mul(10);
        scale -= 1;
    }
    let unit = match (format, scale) {
        (_, 0) => String::new(),
        (Format::Exponent, _) => format!("e{scale}"),
        (_, -9) => "n".to_owned(),
        (_, -6) => "u".to_owned(),
        (_, -3) => "m".to_owned(),
        (_, 3) => "k".to_owned(),
        (_, 6) => "M".to_owned(),
        (_, 9) => "G".to_owned(),
        (_, 12) => "T".to_owned(),
        (_, 15) => "P".to_owned(),
        (_, 18) => "E".to_owned(),
        _ => format!("e{scale}"),
    };
    format!("{sign}{amount}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_forms() {
        for (text, want) in [
            ("0.5", "500m"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("2048Mi", "2Gi"),
            ("1500M", "1500M"),
            ("1500m", "1500m"),
            ("1.5", "1500m"),
            ("1000", "1k"),
            ("1e3", "1e3"),
            ("10k", "10k"),
            ("128974848", "128974848"),
            ("1", "1"),
            ("-1", "-1"),
            ("0.1m", "100u"),
            ("12e6", "12e6"),
            ("0Gi", "0"),
            ("100Mi", "100Mi"),
            ("512Ki", "512Ki"),
        ] {
            assert_eq!(canonical(text, NANO).as_deref(), Ok(want), "{text}");
        }
        assert_eq!(canonical("x", NANO), Err(WRONG_FORMAT));
        assert_eq!(canonical("1.2.3", NANO), Err(WRONG_FORMAT));
        assert_eq!(canonical("1KiB", NANO), Err(WRONG_FORMAT));
        assert_eq!(canonical("1KK", MILLI), Err(WRONG_SUFFIX));
    }

    #[test]
    fn amounts_of_resources_are_rounded_up() {
        for (text, want) in [
            ("100u", "1m"),
            ("1n", "1m"),
            ("0.0015", "2m"),
            ("1500u", "2m"),
            ("1.0001", "1001m"),
            ("1e-6", "1e-3"),
            ("0.0001Ki", "103m"),
            ("1023.9999", "1024"),
            ("0.99999999Ki", "1Ki"),
            ("100m", "100m"),
            ("1.5", "1500m"),
            ("1Gi", "1Gi"),
            ("0", "0"),
            ("-100u", "-1m"),
        ] {
            assert_eq!(canonical(text, MILLI).as_deref(), Ok(want), "{text}");
        }
    }
}
