//! The simple commands of a shell: words, quotes, variables, `;`, `&&` and `||`. A pure function; the rest is refused.

/// When a command runs, by how the one before it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    Always,
    /// After success.
    And,
    /// After failure.
    Or,
}

/// A piece of a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Text(String),
    /// A variable, and its value where it is not set. Outside quotes its value is split into words.
    Variable {
        name: String,
        default: String,
        quoted: bool,
    },
}

/// A word before its variables have values.
pub(super) type Word = Vec<Part>;

/// A command and when it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Simple {
    pub(super) when: When,
    pub(super) words: Vec<Word>,
}

/// What a simulated container's shell does not do, where it stands at the place of a command.
const KEYWORDS: [&str; 9] = ["if", "for", "while", "until", "case", "function", "{", "!", "["];

/// The commands of a script.
///
/// # Errors
/// What is not a list of simple commands, as a sentence.
pub(super) fn parse(script: &str) -> Result<Vec<Simple>, String> {
    let mut parser = Parser { rest: script.chars().peekable(), words: Vec::new(), word: None };
    let (mut commands, mut when) = (Vec::new(), When::Always);
    while let Some(c) = parser.rest.next() {
        let joined = match c {
            ' ' | '\t' | '\r' => {
                parser.end_word();
                continue;
            }
            '#' if parser.word.is_none() => {
                while parser.rest.next_if(|c| *c != '\n').is_some() {}
                continue;
            }
            '\n' | ';' => When::Always,
            '&' if parser.rest.next_if_eq(&'&').is_some() => When::And,
            '|' if parser.rest.next_if_eq(&'|').is_some() => When::Or,
            '&' | '|' | '<' | '>' | '(' | ')' | '`' => return Err(unsupported(&c.to_string())),
            other => {
                parser.part(other)?;
                continue;
            }
        };
        parser.end_command(&mut commands, &mut when, joined)?;
    }
    if when != When::Always && parser.words.is_empty() && parser.word.is_none() {
        return Err("syntax error: unexpected end of file".to_owned());
    }
    parser.end_command(&mut commands, &mut when, When::Always)?;
    Ok(commands)
}

fn unsupported(what: &str) -> String {
    format!("{what:?} is not supported in a simulated container")
}

struct Parser<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    words: Vec<Word>,
    word: Option<Word>,
}

impl Parser<'_> {
    fn end_word(&mut self) {
        self.words.extend(self.word.take());
    }

    fn end_command(&mut self, commands: &mut Vec<Simple>, when: &mut When, next: When) -> Result<(), String> {
        self.end_word();
        let words = std::mem::take(&mut self.words);
        if words.is_empty() {
            // An empty line, or the end of one after `&&`.
            return if next == When::Always {
                Ok(())
            } else {
                Err("syntax error: a command is missing".to_owned())
            };
        }
        if let [Part::Text(first)] = words[0].as_slice()
            && KEYWORDS.contains(&first.as_str())
        {
            return Err(unsupported(first));
        }
        commands.push(Simple { when: *when, words });
        *when = next;
        Ok(())
    }

    fn text(&mut self, text: &str) {
        let word = self.word.get_or_insert_default();
        match word.last_mut() {
            Some(Part::Text(last)) => last.push_str(text),
            _ => word.push(Part::Text(text.to_owned())),
        }
    }

    fn part(&mut self, first: char) -> Result<(), String> {
        match first {
            '\'' => {
                let mut quoted = String::new();
                loop {
                    match self.rest.next() {
                        Some('\'') => break,
                        Some(c) => quoted.push(c),
                        None => return Err("syntax error: unterminated quoted string".to_owned()),
                    }
                }
                self.text(&quoted);
            }
            '"' => {
                self.text("");
                loop {
                    match self.rest.next() {
                        Some('"') => break,
                        Some('\\') => match self.rest.next() {
                            Some('\n') => {}
                            Some(c @ ('"' | '\\' | '$' | '`')) => self.text(&c.to_string()),
                            Some(c) => self.text(&format!("\\{c}")),
                            None => return Err("syntax error: unterminated quoted string".to_owned()),
                        },
                        Some('$') => self.variable(true)?,
                        Some('`') => return Err(unsupported("`")),
                        Some(c) => self.text(&c.to_string()),
                        None => return Err("syntax error: unterminated quoted string".to_owned()),
                    }
                }
            }
            '\\' => match self.rest.next() {
                Some('\n') | None => {}
                Some(c) => self.text(&c.to_string()),
            },
            '$' => self.variable(false)?,
            c => self.text(&c.to_string()),
        }
        Ok(())
    }

    fn variable(&mut self, quoted: bool) -> Result<(), String> {
        let (mut name, mut default) = (String::new(), String::new());
        match self.rest.peek() {
            Some('(') => return Err(unsupported("$(")),
            Some('{') => {
                self.rest.next();
                while let Some(c) = self.rest.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
                    name.push(c);
                }
                if self.rest.next_if_eq(&':').is_some() && self.rest.next_if_eq(&'-').is_none() {
                    return Err(unsupported("${…:"));
                }
                while let Some(c) = self.rest.next_if(|c| *c != '}') {
                    default.push(c);
                }
                if self.rest.next() != Some('}') || name.is_empty() {
                    return Err("bad substitution".to_owned());
                }
            }
            Some('?') => {
                self.rest.next();
                name.push('?');
            }
            _ => {
                while let Some(c) = self.rest.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
                    name.push(c);
                }
            }
        }
        if name.is_empty() {
            self.text("$");
        } else {
            self.word.get_or_insert_default().push(Part::Variable { name, default, quoted });
        }
        Ok(())
    }
}

/// The words of a command, with the values of its variables.
pub(super) fn expand(words: &[Word], value: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for word in words {
        let mut current: Option<String> = None;
        for part in word {
            match part {
                Part::Text(text) => current.get_or_insert_default().push_str(text),
                Part::Variable { name, default, quoted } => {
                    let text = value(name).filter(|text| !text.is_empty()).unwrap_or_else(|| default.clone());
                    if *quoted {
                        current.get_or_insert_default().push_str(&text);
                        continue;
                    }
                    let blank = |c: Option<char>| c.is_some_and(char::is_whitespace);
                    if blank(text.chars().next()) {
                        out.extend(current.take());
                    }
                    for (i, piece) in text.split_whitespace().enumerate() {
                        if i > 0 {
                            out.extend(current.take());
                        }
                        current.get_or_insert_default().push_str(piece);
                    }
                    if blank(text.chars().last()) {
                        out.extend(current.take());
                    }
                }
            }
        }
        out.extend(current);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(script: &str) -> Result<Vec<Vec<String>>, String> {
        let value = |name: &str| match name {
            "A" => Some("one two".to_owned()),
            "B" => Some("b".to_owned()),
            "?" => Some("3".to_owned()),
            _ => None,
        };
        Ok(parse(script)?.iter().map(|command| expand(&command.words, value)).collect())
    }

    #[test]
    fn words_are_cut_and_expanded_as_a_shell_does() {
        let table: [(&str, &[&[&str]]); 12] = [
            ("", &[]),
            ("  echo  hi ", &[&["echo", "hi"]]),
            ("echo 'a  b' \"c  d\"e \\f\\ g", &[&["echo", "a  b", "c  de", "f g"]]),
            (
                "echo $A \"$A\" x$A$B $NONE \"$NONE\"",
                &[&["echo", "one", "two", "one two", "xone", "twob", ""]],
            ),
            ("echo ${B}x ${NONE:-d e} '$A' \\$A $", &[&["echo", "bx", "d", "e", "$A", "$A", "$"]]),
            ("echo \"a\\n\\\"b\\\"\"", &[&["echo", "a\\n\"b\""]]),
            ("a; b\n\nc;", &[&["a"], &["b"], &["c"]]),
            ("a && b || c", &[&["a"], &["b"], &["c"]]),
            ("a &&\n b # rest && nothing", &[&["a"], &["b"]]),
            ("echo a#b", &[&["echo", "a#b"]]),
            ("exit $?", &[&["exit", "3"]]),
            ("A=b env", &[&["A=b", "env"]]),
        ];
        for (script, expected) in table {
            let expected: Vec<Vec<String>> =
                expected.iter().map(|words| words.iter().map(|word| (*word).to_owned()).collect()).collect();
            assert_eq!(words(script), Ok(expected), "{script}");
        }
        let whens: Vec<When> = parse("a && b || c; d").unwrap().iter().map(|command| command.when).collect();
        assert_eq!(whens, [When::Always, When::And, When::Or, When::Always]);
    }

    #[test]
    fn what_is_more_than_simple_commands_is_refused() {
        for script in [
            "a | b", "a > f", "a < f", "a &", "(a)", "`a`", "$(a)", "\"`a`\"", "\"$(a)\"", "if true", "! a",
            "'a", "\"a", "a &&", "&& a", "; ; && a", "${", "${A", "${A:=b}",
        ] {
            assert!(parse(script).is_err(), "{script}");
        }
    }
}
