//! Durations of flags, as Go writes them.

use std::time::Duration;

/// A duration as Go's flags take it, of whole units: `5m0s`, `90s`, `1h30m`, `0`.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let refused = || "expected a duration such as 5m0s".to_owned();
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut all = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(refused)?;
        let number: u32 = rest[..digits].parse().map_err(|_| refused())?;
        let end = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| digits + at);
        let unit = match &rest[digits..end] {
            "h" => Duration::from_secs(3600),
            "m" => Duration::from_secs(60),
            "s" => Duration::from_secs(1),
            "ms" => Duration::from_millis(1),
            _ => return Err(refused()),
        };
        all = unit.checked_mul(number).and_then(|part| all.checked_add(part)).ok_or_else(refused)?;
        rest = &rest[end..];
    }
    if text.is_empty() { Err(refused()) } else { Ok(all) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        for (text, seconds) in [
            ("0", Some(0.0)),
            ("5m0s", Some(300.0)),
            ("90s", Some(90.0)),
            ("1h30m", Some(5400.0)),
            ("500ms", Some(0.5)),
            ("", None),
            ("5", None),
            ("m", None),
            ("5x", None),
            ("99999999999h", None),
        ] {
            assert_eq!(parse(text).ok().map(|duration| duration.as_secs_f64()), seconds, "{text}");
        }
    }
}
