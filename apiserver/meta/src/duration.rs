//! Durations as Go writes them.

/// Units, and how many seconds they are.
const UNITS: &[(&str, f64)] = &[
    ("ns", 1e-9),
    ("us", 1e-6),
    ("\u{b5}s", 1e-6),
    ("\u{3bc}s", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
];

/// The seconds of a duration such as `1h10m`.
///
/// # Errors
/// What `time.ParseDuration` says of a text that is none.
pub fn go_parse_duration(text: &str) -> Result<f64, String> {
    let mut seconds = 0.0;
    let invalid = || format!("time: invalid duration {}", quote(text));
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return Ok(0.0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (whole, after) = rest.split_at(unit_at);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => after.split_at(after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len())),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() || !whole.is_empty() && whole.parse::<i64>().is_err() {
            return Err(invalid());
        }
        let (unit, after) =
            after.split_at(after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len()));
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {}", quote(text)));
        }
        let Some((_, unit)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(format!("time: unknown unit {} in duration {}", quote(unit), quote(text)));
        };
        // What is no number here has no digits, or more than count.
        seconds += format!("0{whole}.{fraction}0").parse::<f64>().unwrap_or(0.0) * unit;
        rest = after;
    }
    Ok(if text.starts_with('-') { -seconds } else { seconds })
}

/// As the package quotes: bytes that are no printable ASCII in hexadecimal.
fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend(['\\', char::from(byte)]),
            b' '..0x80 => out.push(char::from(byte)),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_told_from_what_is_none() {
        for (good, want) in [
            ("0", 0.0),
            ("10s", 10.0),
            ("-1s", -1.0),
            ("1h10m", 4200.0),
            ("1.5s", 1.5),
            (".5s", 0.5),
            ("2ms", 0.002),
            ("34.s", 34.0),
        ] {
            assert_eq!(go_parse_duration(good), Ok(want), "{good}");
        }
        assert!(go_parse_duration("1\u{b5}s").is_ok());
        for (bad, why) in [
            ("x", "time: invalid duration \"x\""),
            ("-", "time: invalid duration \"-\""),
            (".s", "time: invalid duration \".s\""),
            ("10", "time: missing unit in duration \"10\""),
            ("1d", "time: unknown unit \"d\" in duration \"1d\""),
            ("\u{e9}", "time: invalid duration \"\\xc3\\xa9\""),
        ] {
            assert_eq!(go_parse_duration(bad), Err(why.to_owned()), "{bad}");
        }
    }
}
