//! Durations as Go writes them.

const UNITS: &[&str] = &["ns", "us", "\u{b5}s", "\u{3bc}s", "ms", "s", "m", "h"];

/// Whether a text is a duration such as `1h10m`.
///
/// # Errors
/// What `time.ParseDuration` says of it.
pub fn go_check_duration(text: &str) -> Result<(), String> {
    let invalid = || format!("time: invalid duration {}", quote(text));
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return Ok(());
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
        if !UNITS.contains(&unit) {
            return Err(format!("time: unknown unit {} in duration {}", quote(unit), quote(text)));
        }
        rest = after;
    }
    Ok(())
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
        for good in ["0", "10s", "-1s", "1h10m", "1.5s", ".5s", "1\u{b5}s", "34.s"] {
            assert_eq!(go_check_duration(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("x", "time: invalid duration \"x\""),
            ("-", "time: invalid duration \"-\""),
            (".s", "time: invalid duration \".s\""),
            ("10", "time: missing unit in duration \"10\""),
            ("1d", "time: unknown unit \"d\" in duration \"1d\""),
            ("\u{e9}", "time: invalid duration \"\\xc3\\xa9\""),
        ] {
            assert_eq!(go_check_duration(bad), Err(why.to_owned()), "{bad}");
        }
    }
}
