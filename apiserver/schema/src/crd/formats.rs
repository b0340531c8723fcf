//! String formats that custom resource schemas may ask for.
//!
//! Unknown formats accept anything, as upstream strips those it does not support.

use std::net::Ipv6Addr;
use std::sync::{LazyLock, OnceLock};

use apiserver_meta::names;
use regex::Regex;

/// Whether a text has the format.
pub(super) fn matches(format: &str, text: &str) -> bool {
    match format {
        "date-time" | "datetime" => is_date_time(text),
        "date" => is_date(text),
        "ipv4" => is_ipv4(text) || text.contains('.') && text.parse::<Ipv6Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => is_cidr(text),
        "uuid" => is_uuid(text, "", ""),
        "uuid3" => is_uuid(text, "3", ""),
        "uuid4" => is_uuid(text, "4", "89abAB"),
        "uuid5" => is_uuid(text, "5", "89abAB"),
        "mac" => is_mac(text),
        "email" => is_email(text),
        "uri" => is_request_uri(text),
        "hostname" => is_hostname(text),
        "byte" => is_base64(text),
        "duration" => is_duration(text),
        "bsonobjectid" => text.len() == 24 && all_hex(text),
        "hexcolor" => {
            let digits = text.strip_prefix('#').unwrap_or(text);
            matches!(digits.len(), 3 | 6) && all_hex(digits)
        }
        "rgbcolor" => is_rgb(text),
        "creditcard" => is_credit_card(text),
        "isbn" => is_isbn10(text) || is_isbn13(text),
        "isbn10" => is_isbn10(text),
        "isbn13" => is_isbn13(text),
        "ssn" => text.len() == 11 && has_shape(text, &[3, 2, 4], &['-', ' ']),
        "k8s-short-name" => names::dns1123_label(text).is_empty(),
        "k8s-long-name" => names::dns1123_subdomain(text).is_empty(),
        _ => true,
    }
}

fn is_date(text: &str) -> bool {
    crate::time::normalise_time(&format!("{text}T00:00:00Z")).is_ok()
}

/// A date, any `t`, a time with any fraction, and where that is. Upstream looks at nothing behind another `t`.
fn is_date_time(text: &str) -> bool {
    static TIME: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r"^([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](.[0-9]+)?(z|[+-][0-9]{2}:[0-9]{2})$").ok()
    });
    let text = text.to_lowercase();
    let mut parts = text.split('t');
    let (Some(date), Some(time)) = (parts.next(), parts.next()) else { return false };
    is_date(date) && TIME.as_ref().is_some_and(|pattern| pattern.is_match(time))
}

fn all_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn all_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// Groups of so many digits, with one of the separators between them.
fn has_shape(text: &str, groups: &[usize], separators: &[char]) -> bool {
    let found: Vec<&str> = text.split(separators).collect();
    found.len() == groups.len()
        && found.iter().zip(groups).all(|(group, size)| group.len() == *size && all_digits(group))
}

/// Leading zeros are tolerated, as Go did until 1.17.
fn is_ipv4(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    parts.len() == 4 && parts.iter().all(|part| all_digits(part) && part.parse::<u8>().is_ok())
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let at_most = |max: u8| all_digits(bits) && bits.parse::<u8>().is_ok_and(|bits| bits <= max);
    if address.contains(':') {
        address.parse::<Ipv6Addr>().is_ok() && at_most(128)
    } else {
        is_ipv4(address) && at_most(32)
    }
}

/// `version` begins the third group, one of `variants` the fourth; both may be empty.
fn is_uuid(text: &str, version: &str, variants: &str) -> bool {
    let mut rest = text;
    for (i, size) in [8, 4, 4, 4, 12].into_iter().enumerate() {
        if i > 0 {
            rest = rest.strip_prefix('-').unwrap_or(rest);
        }
        let Some((group, after)) = rest.split_at_checked(size) else { return false };
        let fits = match i {
            2 => group.starts_with(version),
            3 => variants.is_empty() || group.starts_with(|c| variants.contains(c)),
            _ => true,
        };
        if !fits || !all_hex(group) {
            return false;
        }
        rest = after;
    }
    rest.is_empty()
}

fn is_mac(text: &str) -> bool {
    let of = |separator: char, size: usize, counts: &[usize]| {
        let groups: Vec<&str> = text.split(separator).collect();
        counts.contains(&groups.len()) && groups.iter().all(|g| g.len() == size && all_hex(g))
    };
    of(':', 2, &[6, 8, 20]) || of('-', 2, &[6, 8, 20]) || of('.', 4, &[3, 4, 10])
}

fn is_base64(text: &str) -> bool {
    let plain = text.trim_end_matches('=');
    !text.is_empty()
        && text.len().is_multiple_of(4)
        && text.len() - plain.len() <= 2
        && plain.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
}

fn is_rgb(text: &str) -> bool {
    let Some(inner) = text.strip_prefix("rgb(").and_then(|rest| rest.strip_suffix(')')) else { return false };
    let parts: Vec<&str> = inner.split(',').map(|part| part.trim_matches([' ', '\t', '\n', '\r'])).collect();
    let is_byte = |part: &&str| {
        all_digits(part) && (part.len() == 1 || !part.starts_with('0')) && part.parse::<u8>().is_ok()
    };
    parts.len() == 3 && parts.iter().all(is_byte)
}

/// The length and first digits of the issuers there were, and Luhn's sum.
fn is_credit_card(text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
    let number: String = text.chars().filter(char::is_ascii_digit).collect();
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| number.starts_with(prefix));
    let known = match digits.len() {
        13 => begins(&["4"]),
        14 => begins(&["300", "301", "302", "303", "304", "305", "36", "38"]),
        15 => begins(&["34", "37", "2131", "1800"]),
        16 => begins(&["4", "51", "52", "53", "54", "55", "6011", "65", "35"]),
        _ => false,
    };
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(i, digit)| match digit * 2 {
            _ if i.is_multiple_of(2) => *digit,
            double => double / 10 + double % 10,
        })
        .sum();
    known && sum.is_multiple_of(10)
}

fn without_separators(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_whitespace() && *c != '-').collect()
}

fn is_isbn10(text: &str) -> bool {
    let plain = without_separators(text);
    let Some((body, last)) = plain.split_at_checked(9) else { return false };
    if !all_digits(body) || last.len() != 1 {
        return false;
    }
    let check = if last == "X" { Some(10) } else { last.chars().next().and_then(|c| c.to_digit(10)) };
    let sum: u32 = (1..).zip(body.chars().filter_map(|c| c.to_digit(10))).map(|(i, digit)| i * digit).sum();
    check.is_some_and(|check| (sum + 10 * check).is_multiple_of(11))
}

fn is_isbn13(text: &str) -> bool {
    let plain = without_separators(text);
    let digits = plain.chars().filter_map(|c| c.to_digit(10)).zip([1, 3].into_iter().cycle());
    all_digits(&plain)
        && plain.len() == 13
        && digits.map(|(digit, factor)| digit * factor).sum::<u32>().is_multiple_of(10)
}

fn is_hostname(text: &str) -> bool {
    static LETTERS: OnceLock<Option<Regex>> = OnceLock::new();
    let letters = LETTERS.get_or_init(|| Regex::new(r"^[a-zA-Z0-9\p{S}\p{L}]$").ok());
    let is_letter = |c: char| {
        c.is_ascii_alphanumeric()
            || letters.as_ref().is_some_and(|letters| letters.is_match(c.encode_utf8(&mut [0; 4])))
    };
    if text.len() > 255 || text.split('.').any(|label| label.len() > 63) {
        return false;
    }
    let Some((first, top)) = text.rsplit_once('.') else {
        // Alone, a label has a hyphen behind its first letter at most.
        let mut rest = text.chars();
        let begins = rest.next().is_some_and(is_letter);
        let rest = rest.as_str();
        return begins && rest.strip_prefix('-').unwrap_or(rest).chars().all(is_letter);
    };
    let is_label = |label: &str| {
        label.chars().next().is_some_and(is_letter)
            && label.chars().next_back().is_some_and(is_letter)
            && label.chars().all(|c| c == '-' || is_letter(c))
    };
    let is_top = |c: char| c.is_ascii_alphabetic() || !c.is_ascii() && is_letter(c) && c.is_alphabetic();
    first.split('.').all(is_label) && top.chars().count() >= 2 && top.chars().all(is_top)
}

/// An address of RFC 5322, with a name or without.
fn is_email(text: &str) -> bool {
    let text = text.trim();
    let address = match text.strip_suffix('>') {
        Some(named) => match named.rsplit_once('<') {
            Some((_, address)) => address,
            None => return false,
        },
        None => text,
    };
    let Some((user, host)) = address.rsplit_once('@') else { return false };
    let is_atom = |c: char| {
        c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || !c.is_ascii() && !c.is_control()
    };
    let is_dotted = |text: &str| text.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atom));
    let quoted = user.len() > 2 && user.starts_with('"') && user.ends_with('"');
    let literal = host.len() > 2 && host.starts_with('[') && host.ends_with(']');
    (quoted || is_dotted(user)) && (literal || is_dotted(host))
}

/// What Go's `url.ParseRequestURI` reads: an absolute path, or a scheme and what follows.
fn is_request_uri(text: &str) -> bool {
    if text.is_empty() || text.chars().any(char::is_control) {
        return false;
    }
    let scheme = text.find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c)));
    let (has_scheme, rest) = match scheme {
        Some(0) if text.starts_with(':') => return false,
        Some(end) if text[end..].starts_with(':') && text.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            (true, &text[end + 1..])
        }
        _ => (false, text),
    };
    let path = rest.split_once('?').map_or(rest, |(path, _)| path);
    if !path.starts_with('/') {
        return has_scheme || text == "*";
    }
    let (authority, path) = match path.strip_prefix("//").filter(|_| has_scheme) {
        Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        None => ("", path),
    };
    is_authority(authority) && is_escaped(path)
}

fn is_authority(authority: &str) -> bool {
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((name, port)) => (name, port),
            None => return false,
        },
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let allowed =
        |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || "-_.~!$&'()*+,;=:[]<>\"%".contains(c);
    name.chars().all(allowed)
        && (port.is_empty() || port == ":" || port.strip_prefix(':').is_some_and(all_digits))
}

/// Percent signs are followed by two hexadecimal digits.
fn is_escaped(path: &str) -> bool {
    path.split('%').skip(1).all(|after| after.get(..2).is_some_and(all_hex))
}

/// Go durations (`1h30m`, `-1.5s`, `0`), or anything that has a number and the name of a unit in it.
fn is_duration(text: &str) -> bool {
    is_go_duration(text) || has_number_of_units(text)
}

fn is_go_duration(text: &str) -> bool {
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    if rest.is_empty() {
        return false;
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let number = &rest[..digits];
        if !number.bytes().any(|b| b.is_ascii_digit()) || number.matches('.').count() > 1 {
            return false;
        }
        let after = &rest[digits..];
        match ["ns", "us", "µs", "μs", "ms", "s", "m", "h"].iter().find(|unit| after.starts_with(**unit)) {
            Some(unit) => rest = &after[unit.len()..],
            None => return false,
        }
    }
    true
}

fn has_number_of_units(text: &str) -> bool {
    const NAMES: &[&str] = &["ns", "us", "µs", "ms", "s", "m", "h", "hr", "d", "w", "wk"];
    const BEGINNINGS: &[&str] = &["nano", "micro", "milli", "sec", "min", "hour", "day", "week"];
    let starts = text
        .char_indices()
        .filter(|(i, c)| c.is_ascii_digit() && !text[..*i].ends_with(|c: char| c.is_ascii_digit()));
    starts.into_iter().any(|(i, _)| {
        let word = text[i..].trim_start_matches(|c: char| c.is_ascii_digit()).trim_start();
        let end = word.find(|c: char| !(c.is_ascii_alphabetic() || c == 'µ')).unwrap_or(word.len());
        let unit = word[..end].to_lowercase();
        NAMES.contains(&unit.as_str()) || BEGINNINGS.iter().any(|beginning| unit.starts_with(beginning))
    })
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn texts_have_formats_as_upstream_sees_them() {
        let table: &[(&str, &[&str], &[&str])] = &[
            ("duration", &["1h", "3 days", "P1D", "0", "-1.5h", "1w"], &["", "1", "h", "one day"]),
            (
                "uuid4",
                &["a2d0b5a0-1111-4222-8333-123456789012"],
                &["a2d0b5a0-1111-4222-1333-123456789012", ""],
            ),
            ("uri", &["http://x", "/a/b", "mailto:x@y", "*"], &["x", "", "http://a b", ":", "/a%zz"]),
            ("email", &["a@b", "a@b.c", "\"x y\"@z.com", "A <a@b.c>"], &["a", "@b", "a b@c", ""]),
            ("hostname", &["a", "a-b", "a.example.com"], &["a.b", "a_b", "-a", "a.", "1.2.3.4", "xn--a", ""]),
            (
                "date-time",
                &["2020-01-01t00:00:00z", "2020-01-01T23:59:59,5+99:99", "2020-01-01T00:00:00ZTx"],
                &["2020-01-01T24:00:00Z", "2020-02-30T00:00:00Z", "2020-01-01 00:00:00Z", ""],
            ),
            ("ipv4", &["1.2.3.4", "01.2.3.4", "::ffff:1.2.3.4"], &["1.2.3", "::1", ""]),
            ("mac", &["00:11:22:33:44:55", "0011.2233.4455"], &["00:11", "x", ""]),
            ("byte", &["YQ==", "YWJj"], &["YQ", "!", "", "Y==="]),
            ("hexcolor", &["#fff", "ffffff"], &["#ggg", ""]),
            ("rgbcolor", &["rgb(1, 2,3)"], &["rgb(256,2,3)", "rgb(1%,2%,3%)", ""]),
            ("creditcard", &["4111 1111-11111111"], &["4111111111111112", "1234", ""]),
            ("isbn", &["978-3-16-148410-0", "0-306-40615-2"], &["123", ""]),
            ("ssn", &["123-45-6789", "123 45 6789"], &["123456789", ""]),
            ("bsonobjectid", &["507f1f77bcf86cd799439011"], &["x", ""]),
            ("k8s-short-name", &["a"], &["A", "a.b", ""]),
            ("k8s-long-name", &["a.b"], &["A", "-a", ""]),
            ("nobody-knows", &["", "x"], &[]),
        ];
        for (format, right, wrong) in table {
            for text in *right {
                assert!(matches(format, text), "{format}: {text}");
            }
            for text in *wrong {
                assert!(!matches(format, text), "{format}: {text}");
            }
        }
    }
}
