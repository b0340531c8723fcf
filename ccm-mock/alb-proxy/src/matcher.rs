//! Success codes of health checks: `200`, `200-299`, `200,301`.
//!
//! gRPC codes are not read.

/// True if `code` is among the success codes.
pub(crate) fn matches(matcher: &str, code: u16) -> bool {
    matcher.split(',').any(|part| match part.trim().split_once('-') {
        Some((low, high)) => match (low.trim().parse::<u16>(), high.trim().parse::<u16>()) {
            (Ok(low), Ok(high)) => (low..=high).contains(&code),
            _ => false,
        },
        None => part.trim().parse() == Ok(code),
    })
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn codes_lists_and_ranges() {
        for (matcher, code, expected) in [
            ("200", 200, true),
            ("200", 301, false),
            ("200-299", 204, true),
            ("200,301", 301, true),
            ("200-299,404", 404, true),
            ("", 200, false),
        ] {
            assert_eq!(matches(matcher, code), expected, "{matcher} {code}");
        }
    }
}
