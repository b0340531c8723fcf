//! RE2's patterns, run by the `regex` crate: both are linear in the text.

mod syntax;

use regex::{Regex, RegexBuilder};

/// Compiles a pattern, which may take so much memory.
///
/// # Errors
/// What Go says of it, or that it would be too large.
pub fn compile(pattern: &str, memory: usize) -> Result<Regex, String> {
    syntax::check(pattern)?;
    RegexBuilder::new(&translate(pattern))
        .size_limit(memory)
        .build()
        .map_err(|_| format!("error parsing regexp: expression too large: `{pattern}`"))
}

/// RE2's classes are of ASCII, and it knows no operators within brackets.
fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let (mut chars, mut bracket, mut first) = (pattern.chars().peekable(), false, false);
    while let Some(c) = chars.next() {
        let at_start = std::mem::take(&mut first);
        match c {
            '\\' => match chars.next() {
                Some('d') => out.push_str("[0-9]"),
                Some('D') => out.push_str("[^0-9]"),
                Some('w') => out.push_str("[0-9A-Za-z_]"),
                Some('W') => out.push_str("[^0-9A-Za-z_]"),
                Some('s') => out.push_str("[\\t\\n\\f\\r ]"),
                Some('S') => out.push_str("[^\\t\\n\\f\\r ]"),
                Some('b') if !bracket => out.push_str("(?-u:\\b)"),
                Some('Q') => {
                    let rest: String = chars.by_ref().collect();
                    let (quoted, after) = rest.split_once("\\E").unwrap_or((&rest, ""));
                    out.push_str(&regex::escape(quoted));
                    out.push_str(&translate(after));
                    return out;
                }
                Some(other) => {
                    out.push('\\');
                    out.push(other);
                }
                None => out.push('\\'),
            },
            '[' if bracket && chars.peek() != Some(&':') => out.push_str("\\["),
            '[' if !bracket => {
                (bracket, first) = (true, true);
                out.push('[');
                if chars.peek() == Some(&'^') {
                    chars.next();
                    out.push('^');
                }
            }
            '[' => {
                // A named class such as `[:alpha:]` ends with its own bracket.
                out.push('[');
                for c in chars.by_ref() {
                    out.push(c);
                    if c == ']' {
                        break;
                    }
                }
            }
            ']' if bracket && at_start => out.push_str("\\]"),
            ']' => {
                bracket = false;
                out.push(']');
            }
            '&' | '~' if bracket => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::compile;

    #[test]
    fn patterns_mean_what_re2_means() {
        for (pattern, text, want) in [
            (r"^\d+$", "12", true),
            (r"^\d+$", "٣", false),
            (r"^[\w.-]+$", "a.b-c", true),
            (r"^[[]$", "[", true),
            (r"^[]a]+$", "]a", true),
            (r"^[[:alpha:]]+$", "ab", true),
            (r"^\Qa.b\E$", "a.b", true),
            (r"^\Qa.b\E$", "axb", false),
        ] {
            assert_eq!(compile(pattern, 1 << 20).unwrap().is_match(text), want, "{pattern} on {text}");
        }
        assert!(compile("(", 1 << 20).is_err());
        assert!(compile("(a{1000}){1000}", 1 << 20).is_err(), "too large");
    }
}
