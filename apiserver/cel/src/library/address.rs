//! What Go's `netip.ParseAddr` finds wrong with an IP address.

use apiserver_meta::field::go_quote;

/// Why a text is no address.
pub(super) fn error(text: &str) -> String {
    let found = match text.bytes().find(|b| b".:%".contains(b)) {
        Some(b'.') => version_4(text),
        Some(b':') => version_6(text),
        Some(_) => Some(("missing IPv6 address", "")),
        None => None,
    };
    match found {
        Some((why, "")) => why.to_owned(),
        Some((why, at)) => format!("{why} (at {})", go_quote(at)),
        None => "unable to parse IP".to_owned(),
    }
}

type Wrong<'t> = Option<(&'static str, &'t str)>;

fn version_4(text: &str) -> Wrong<'_> {
    let bytes = text.as_bytes();
    let (mut value, mut digits, mut points) = (0, 0, 0);
    for (i, byte) in bytes.iter().enumerate() {
        match byte {
            b'0'..=b'9' => {
                if digits == 1 && value == 0 {
                    return Some(("IPv4 field has octet with leading zero", ""));
                }
                value = value * 10 + u32::from(byte - b'0');
                digits += 1;
                if value > 255 {
                    return Some(("IPv4 field has value >255", ""));
                }
            }
            b'.' => {
                if i == 0 || i == bytes.len() - 1 || bytes[i - 1] == b'.' {
                    return Some(("IPv4 field must have at least one digit", text.get(i..).unwrap_or("")));
                }
                if points == 3 {
                    return Some(("IPv4 address too long", ""));
                }
                (points, value, digits) = (points + 1, 0, 0);
            }
            _ => return Some(("unexpected character", text.get(i..).unwrap_or(""))),
        }
    }
    (points < 3).then_some(("IPv4 address too short", ""))
}

fn version_6(text: &str) -> Wrong<'_> {
    let mut rest = text;
    let mut ellipsis = None;
    if let Some(after) = rest.strip_prefix("::") {
        (ellipsis, rest) = (Some(0), after);
    }
    let mut filled = 0;
    while filled < 16 {
        let length = rest.bytes().take_while(u8::is_ascii_hexdigit).count();
        if length > 4 {
            return Some(("each group must have 4 or less digits", rest));
        }
        if length == 0 {
            return Some(("each colon-separated field must have at least one digit", rest));
        }
        let after = &rest[length..];
        if after.starts_with('.') {
            if ellipsis.is_none() && filled != 12 {
                return Some(("embedded IPv4 address must replace the final 2 fields of the address", rest));
            }
            if filled + 4 > 16 {
                return Some(("too many hex fields to fit an embedded IPv4 at the end of the address", rest));
            }
            if let Some(wrong) = version_4(rest) {
                return Some(wrong);
            }
            (filled, rest) = (filled + 4, "");
            break;
        }
        filled += 2;
        rest = after;
        if rest.is_empty() {
            break;
        }
        let Some(after) = rest.strip_prefix(':') else {
            return Some(("unexpected character, want colon", rest));
        };
        if after.is_empty() {
            return Some(("colon must be followed by more characters", rest));
        }
        rest = after;
        if let Some(after) = rest.strip_prefix(':') {
            if ellipsis.is_some() {
                return Some(("multiple :: in address", rest));
            }
            (ellipsis, rest) = (Some(filled), after);
            if rest.is_empty() {
                break;
            }
        }
    }
    if !rest.is_empty() {
        return Some(("trailing garbage after address", rest));
    }
    match ellipsis {
        None if filled < 16 => Some(("address string too short", "")),
        Some(_) if filled >= 16 => Some(("the :: must expand to at least one field of zeros", "")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_no_address_is_told_as_go_tells_it() {
        for (text, want) in [
            ("x", "unable to parse IP"),
            ("%eth0", "missing IPv6 address"),
            ("1.2.3", "IPv4 address too short"),
            ("1.2.3.4.5", "IPv4 address too long"),
            ("1.2.3.256", "IPv4 field has value >255"),
            ("1.2.03.4", "IPv4 field has octet with leading zero"),
            ("1..2.3", "IPv4 field must have at least one digit (at \".2.3\")"),
            ("10.0.0.0/8", "unexpected character (at \"/8\")"),
            ("1:2", "address string too short"),
            ("1::2::3", "multiple :: in address (at \":3\")"),
            ("12345::", "each group must have 4 or less digits (at \"12345::\")"),
            (":1", "each colon-separated field must have at least one digit (at \":1\")"),
            ("1:", "colon must be followed by more characters (at \":\")"),
            ("1:2:3:4:5:6:7:8:9", "trailing garbage after address (at \"9\")"),
            ("1:g", "each colon-separated field must have at least one digit (at \"g\")"),
            ("::1/64", "unexpected character, want colon (at \"/64\")"),
            ("1:2:3:4:5:6:7::8", "the :: must expand to at least one field of zeros"),
        ] {
            assert_eq!(super::error(text), want, "{text}");
        }
    }
}
