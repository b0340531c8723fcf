//! What is wrong with a pattern, in the words of Go's `regexp/syntax`.

/// A number of repetitions may not be larger.
const REPEAT_MAX: u32 = 1000;

const CLASSES: &[&str] = &[
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
    "upper", "word", "xdigit",
];

fn wrong<T>(what: &str, shown: &str) -> Result<T, String> {
    Err(format!("error parsing regexp: {what}: `{shown}`"))
}

/// Reads a pattern as Go's parser does.
///
/// # Errors
/// The first thing that is wrong.
pub(super) fn check(pattern: &str) -> Result<(), String> {
    let mut rest = pattern;
    // Whether there is something that an operator could repeat, here and before each open group.
    let (mut repeatable, mut groups) = (false, 0_usize);
    let mut last_repeat: Option<&str> = None;
    while let Some(c) = rest.chars().next() {
        let before = rest;
        let mut repeat = None;
        match c {
            '(' => {
                (rest, repeatable, groups) = group(rest, repeatable, groups)?;
            }
            ')' => {
                if groups == 0 {
                    return wrong("unexpected )", pattern);
                }
                (groups, repeatable, rest) = (groups - 1, true, &rest[1..]);
            }
            '|' => (repeatable, rest) = (false, &rest[1..]),
            '[' => (repeatable, rest) = (true, class(rest)?),
            '*' | '+' | '?' => {
                rest = repeated(before, &rest[1..], last_repeat, repeatable)?;
                repeat = Some(before);
            }
            '{' => match counts(rest) {
                None => (repeatable, rest) = (true, &rest[1..]),
                Some((min, max, after)) => {
                    let too_many = |n: Option<u32>| n.is_none_or(|n| n > REPEAT_MAX);
                    if too_many(min) || max.is_some_and(too_many) || max.is_some_and(|max| max < min) {
                        return wrong("invalid repeat count", taken(before, after));
                    }
                    rest = repeated(before, after, last_repeat, repeatable)?;
                    repeat = Some(before);
                }
            },
            '\\' => (repeatable, rest) = (true, escaped(rest)?),
            c => (repeatable, rest) = (true, &rest[c.len_utf8()..]),
        }
        last_repeat = repeat;
    }
    if groups > 0 { wrong("missing closing )", pattern) } else { Ok(()) }
}

fn taken<'a>(before: &'a str, after: &str) -> &'a str {
    &before[..before.len() - after.len()]
}

/// What follows an operator; a second one right behind another is refused, as is one with nothing to repeat.
fn repeated<'a>(
    before: &str,
    after: &'a str,
    last: Option<&str>,
    repeatable: bool,
) -> Result<&'a str, String> {
    let after = after.strip_prefix('?').unwrap_or(after);
    match last {
        Some(last) => wrong("invalid nested repetition operator", taken(last, after)),
        None if !repeatable => wrong("missing argument to repetition operator", taken(before, after)),
        None => Ok(after),
    }
}

/// `{2}`, `{2,}` or `{2,3}`: the smallest and the largest number, each `None` where it is out of reach, and what
/// follows. Anything else is text.
type Counts<'a> = (Option<u32>, Option<Option<u32>>, &'a str);

fn counts(text: &str) -> Option<Counts<'_>> {
    let (min, rest) = number(text.strip_prefix('{')?)?;
    let Some(rest) = rest.strip_prefix(',') else {
        return Some((min, Some(min), rest.strip_prefix('}')?));
    };
    if let Some(rest) = rest.strip_prefix('}') {
        return Some((min, None, rest));
    }
    let (max, rest) = number(rest)?;
    Some((min, Some(max), rest.strip_prefix('}')?))
}

fn number(text: &str) -> Option<(Option<u32>, &str)> {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    let digits = &text[..end];
    if digits.is_empty() || digits.len() > 1 && digits.starts_with('0') {
        return None;
    }
    Some((digits.parse().ok(), &text[end..]))
}

/// The beginning of a group, or flags.
fn group(text: &str, repeatable: bool, groups: usize) -> Result<(&str, bool, usize), String> {
    let Some(inner) = text.strip_prefix("(?") else { return Ok((&text[1..], false, groups + 1)) };
    if let Some(named) = inner.strip_prefix("P<").or_else(|| inner.strip_prefix('<')) {
        let Some((name, rest)) = named.split_once('>') else { return wrong("invalid named capture", text) };
        let is_word = |c: char| c == '_' || c.is_ascii_alphanumeric();
        if name.is_empty() || !name.chars().all(is_word) {
            return wrong("invalid named capture", taken(text, rest));
        }
        return Ok((rest, false, groups + 1));
    }
    let (mut rest, mut negative, mut seen) = (inner, false, false);
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            'i' | 'm' | 's' | 'U' => seen = true,
            '-' if !negative => (negative, seen) = (true, false),
            ':' if !negative || seen => return Ok((rest, false, groups + 1)),
            ')' if !negative || seen => return Ok((rest, repeatable, groups)),
            _ => break,
        }
    }
    wrong("invalid or unsupported Perl syntax", taken(text, rest))
}

/// What follows an escape outside of brackets.
fn escaped(text: &str) -> Result<&str, String> {
    match text[1..].chars().next() {
        Some('A' | 'b' | 'B' | 'z' | 'd' | 'D' | 's' | 'S' | 'w' | 'W') => Ok(&text[2..]),
        Some('Q') => Ok(text[2..].split_once("\\E").map_or("", |(_, after)| after)),
        Some('p' | 'P') => property(text),
        _ => escape(text).map(|(_, rest)| rest),
    }
}

/// `\pL` or `\p{Greek}`.
fn property(text: &str) -> Result<&str, String> {
    let rest = match text[2..].strip_prefix('{') {
        Some(named) => match named.split_once('}') {
            Some((_, rest)) => rest,
            None => return wrong("invalid character class range", text),
        },
        None => {
            let Some(c) = text[2..].chars().next() else {
                return wrong("invalid character class range", text);
            };
            &text[2 + c.len_utf8()..]
        }
    };
    let shown = taken(text, rest);
    if regex::Regex::new(shown).is_err() {
        return wrong("invalid character class range", shown);
    }
    Ok(rest)
}

/// An escaped character and what follows it.
fn escape(text: &str) -> Result<(char, &str), String> {
    let Some(c) = text[1..].chars().next() else {
        return wrong("trailing backslash at end of expression", "");
    };
    let rest = &text[1 + c.len_utf8()..];
    let invalid = || wrong("invalid escape sequence", taken(text, rest));
    let is_octal = |c: char| ('0'..='7').contains(&c);
    match c {
        '1'..='7' if !rest.starts_with(is_octal) => invalid(),
        '0'..='7' => {
            let end = rest.bytes().take(2).take_while(|b| is_octal(char::from(*b))).count();
            let code = u32::from_str_radix(&text[1..2 + end], 8).unwrap_or(0);
            Ok((char::from_u32(code).unwrap_or('\0'), &rest[end..]))
        }
        'x' => match rest.strip_prefix('{') {
            Some(hex) => {
                match hex.split_once('}').map(|(code, after)| (u32::from_str_radix(code, 16), after)) {
                    Some((Ok(code), after)) => Ok((char::from_u32(code).unwrap_or('\0'), after)),
                    _ => invalid(),
                }
            }
            None => match rest.get(..2).map(|code| u32::from_str_radix(code, 16)) {
                Some(Ok(code)) => Ok((char::from_u32(code).unwrap_or('\0'), &rest[2..])),
                _ => invalid(),
            },
        },
        'a' => Ok(('\x07', rest)),
        'f' => Ok(('\x0c', rest)),
        'n' => Ok(('\n', rest)),
        'r' => Ok(('\r', rest)),
        't' => Ok(('\t', rest)),
        'v' => Ok(('\x0b', rest)),
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => Ok((c, rest)),
        _ => invalid(),
    }
}

/// What follows a class in brackets.
fn class(whole: &str) -> Result<&str, String> {
    let mut rest = whole[1..].strip_prefix('^').unwrap_or(&whole[1..]);
    let mut first = true;
    while first || !rest.starts_with(']') {
        first = false;
        if let Some(named) = rest.strip_prefix("[:")
            && let Some((name, after)) = named.split_once(":]")
        {
            if !CLASSES.contains(&name.strip_prefix('^').unwrap_or(name)) {
                return wrong("invalid character class range", taken(rest, after));
            }
            rest = after;
            continue;
        }
        match rest.as_bytes() {
            [b'\\', b'p' | b'P', ..] => {
                rest = property(rest)?;
                continue;
            }
            [b'\\', b'd' | b'D' | b's' | b'S' | b'w' | b'W', ..] => {
                rest = &rest[2..];
                continue;
            }
            _ => {}
        }
        let range = rest;
        let low;
        (low, rest) = class_char(rest, whole)?;
        if rest.starts_with('-') && rest.len() > 1 && !rest.starts_with("-]") {
            let high;
            (high, rest) = class_char(&rest[1..], whole)?;
            if high < low {
                return wrong("invalid character class range", taken(range, rest));
            }
        }
    }
    Ok(&rest[1..])
}

fn class_char<'a>(text: &'a str, whole: &str) -> Result<(char, &'a str), String> {
    match text.chars().next() {
        None => wrong("missing closing ]", whole),
        Some('\\') => escape(text),
        Some(c) => Ok((c, &text[c.len_utf8()..])),
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn what_is_wrong_is_told_as_go_tells_it() {
        for (pattern, why) in [
            ("[", "missing closing ]: `[`"),
            ("x[a-", "missing closing ]: `[a-`"),
            ("[]a", "missing closing ]: `[]a`"),
            ("^(?!a)", "invalid or unsupported Perl syntax: `(?!`"),
            ("(?<=a)", "invalid named capture: `(?<=a)`"),
            ("(?P<a b>x)", "invalid named capture: `(?P<a b>`"),
            ("(a", "missing closing ): `(a`"),
            ("a)", "unexpected ): `a)`"),
            ("*a", "missing argument to repetition operator: `*`"),
            ("a|+?b", "missing argument to repetition operator: `+?`"),
            ("({2})", "missing argument to repetition operator: `{2}`"),
            ("a**", "invalid nested repetition operator: `**`"),
            ("a{2}{3}", "invalid nested repetition operator: `{2}{3}`"),
            ("a{1001}", "invalid repeat count: `{1001}`"),
            ("a{3,2}", "invalid repeat count: `{3,2}`"),
            ("[z-a]", "invalid character class range: `z-a`"),
            ("[[:nope:]]", "invalid character class range: `[:nope:]`"),
            (r"\p{Nope}", r"invalid character class range: `\p{Nope}`"),
            (r"\y", r"invalid escape sequence: `\y`"),
            (r"(a)\1", r"invalid escape sequence: `\1`"),
            ("a\\", "trailing backslash at end of expression: ``"),
        ] {
            assert_eq!(check(pattern), Err(format!("error parsing regexp: {why}")), "{pattern}");
        }
        for pattern in
            ["", "^a{2,}b{,3}{x$", r"[a\-z\]^-]", "(?i)(?P<n>a|b)+?(?-s:.)*", r"\Q(\E[[:alpha:]]\pL\x{41}"]
        {
            assert_eq!(check(pattern), Ok(()), "{pattern}");
        }
    }
}
