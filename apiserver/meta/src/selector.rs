//! Label and field selectors: parsing with upstream's error texts, and matching.

use crate::field::FieldError;
use crate::names;
use apiserver_json::Value;

/// One requirement of a label selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    pub key: String,
    pub operator: Operator,
    pub values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

/// A conjunction of requirements; empty selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    pub requirements: Vec<Requirement>,
}

impl LabelSelector {
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    /// `label` answers the value of a label key.
    pub fn matches<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.iter().all(|requirement| requirement.matches(label(&requirement.key)))
    }

    /// A label that must have one of these values, if the selector says so.
    pub fn fixed(&self) -> Option<(&str, &[String])> {
        let fixed = self.requirements.iter().find(|requirement| requirement.operator == Operator::In)?;
        Some((&fixed.key, &fixed.values))
    }

    /// From a `metav1.LabelSelector` in JSON form (`matchLabels`, `matchExpressions`). An absent or broken
    /// operator selects nothing, as upstream's conversion error would.
    pub fn from_json(value: &Value) -> Option<Self> {
        let mut requirements = Vec::new();
        if let Some(labels) = value.get("matchLabels").and_then(Value::as_object) {
            for (key, value) in labels {
                requirements.push(Requirement {
                    key: key.to_string(),
                    operator: Operator::In,
                    values: vec![value.as_str()?.to_owned()],
                });
            }
        }
        for expression in value.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            let operator = match expression.get("operator")?.as_str()? {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                _ => return None,
            };
            let values = expression.get("values").and_then(Value::as_array).into_iter().flatten();
            requirements.push(Requirement {
                key: expression.get("key")?.as_str()?.to_owned(),
                operator,
                values: values.filter_map(Value::as_str).map(str::to_owned).collect(),
            });
        }
        Some(Self { requirements })
    }

    /// Parses the `labelSelector` query parameter.
    ///
    /// # Errors
    /// The text upstream answers with a 400.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut requirements = Parser { tokens: tokenize(text), at: 0 }.requirements()?;
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self { requirements })
    }
}

impl Requirement {
    fn matches(&self, value: Option<&str>) -> bool {
        match self.operator {
            Operator::In => value.is_some_and(|value| self.values.iter().any(|v| v == value)),
            Operator::NotIn => value.is_none_or(|value| !self.values.iter().any(|v| v == value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan | Operator::LessThan => {
                let (Some(Ok(have)), Some(Ok(want))) =
                    (value.map(str::parse::<i64>), self.values.first().map(|v| v.parse::<i64>()))
                else {
                    return false;
                };
                if self.operator == Operator::GreaterThan { have > want } else { have < want }
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Comma,
    Open,
    Close,
    Not,
    Equals,
    DoubleEquals,
    NotEquals,
    Greater,
    Less,
    End,
}

impl Token {
    fn literal(&self) -> &str {
        match self {
            Self::Word(word) => word,
            Self::Comma => ",",
            Self::Open => "(",
            Self::Close => ")",
            Self::Not => "!",
            Self::Equals => "=",
            Self::DoubleEquals => "==",
            Self::NotEquals => "!=",
            Self::Greater => ">",
            Self::Less => "<",
            Self::End => "",
        }
    }
}

fn tokenize(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(&c) = chars.peek() {
        if c.is_whitespace() {
            chars.next();
            continue;
        }
        if "=!(),<>".contains(c) {
            chars.next();
            let next_equals = chars.peek() == Some(&'=');
            tokens.push(match c {
                '=' if next_equals => Token::DoubleEquals,
                '!' if next_equals => Token::NotEquals,
                '=' => Token::Equals,
                '!' => Token::Not,
                '(' => Token::Open,
                ')' => Token::Close,
                ',' => Token::Comma,
                '<' => Token::Less,
                _ => Token::Greater,
            });
            if matches!(tokens.last(), Some(Token::DoubleEquals | Token::NotEquals)) {
                chars.next();
            }
            continue;
        }
        let mut word = String::new();
        while let Some(&c) = chars.peek() {
            if c.is_whitespace() || "=!(),<>".contains(c) {
                break;
            }
            word.push(c);
            chars.next();
        }
        tokens.push(Token::Word(word));
    }
    tokens.push(Token::End);
    tokens
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.at).unwrap_or(&Token::End)
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn requirements(&mut self) -> Result<Vec<Requirement>, String> {
        let mut requirements = Vec::new();
        if *self.peek() == Token::End {
            return Ok(requirements);
        }
        loop {
            match self.peek() {
                Token::Word(_) | Token::Not => {
                    let requirement =
                        self.requirement().map_err(|why| format!("unable to parse requirement: {why}"))?;
                    requirements.push(requirement);
                    match self.next() {
                        Token::End => return Ok(requirements),
                        Token::Comma => {
                            if !matches!(self.peek(), Token::Word(_) | Token::Not) {
                                return Err(format!(
                                    "found '{}', expected: identifier after ','",
                                    self.peek().literal()
                                ));
                            }
                        }
                        other => {
                            return Err(format!(
                                "found '{}', expected: ',' or 'end of string'",
                                other.literal()
                            ));
                        }
                    }
                }
                other => {
                    return Err(format!(
                        "found '{}', expected: !, identifier, or 'end of string'",
                        other.literal()
                    ));
                }
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let negated = *self.peek() == Token::Not;
        if negated {
            self.next();
        }
        let key = match self.next() {
            Token::Word(word) => word,
            other => return Err(format!("found '{}', expected: identifier", other.literal())),
        };
        let key_errors = names::qualified_name(&key);
        if !key_errors.is_empty() {
            return Err(
                FieldError::invalid("<nil>", &Value::String(key.into()), key_errors.join("; ")).to_string()
            );
        }
        if negated {
            return Ok(Requirement { key, operator: Operator::DoesNotExist, values: Vec::new() });
        }
        if matches!(self.peek(), Token::End | Token::Comma) {
            return Ok(Requirement { key, operator: Operator::Exists, values: Vec::new() });
        }
        let operator_token = self.next();
        let (operator, values) = match &operator_token {
            Token::Word(word) if word == "in" => (Operator::In, self.set()?),
            Token::Word(word) if word == "notin" => (Operator::NotIn, self.set()?),
            Token::Equals | Token::DoubleEquals => (Operator::In, vec![self.exact_value()?]),
            Token::NotEquals => (Operator::NotIn, vec![self.exact_value()?]),
            Token::Greater => (Operator::GreaterThan, vec![self.exact_value()?]),
            Token::Less => (Operator::LessThan, vec![self.exact_value()?]),
            other => {
                return Err(format!("found '{}', expected: in, notin, =, ==, !=, gt, lt", other.literal()));
            }
        };
        check_values(&key, operator, &values)?;
        Ok(Requirement { key, operator, values })
    }

    fn exact_value(&mut self) -> Result<String, String> {
        if matches!(self.peek(), Token::End | Token::Comma) {
            return Ok(String::new());
        }
        match self.next() {
            Token::Word(word) => Ok(word),
            other => Err(format!("found '{}', expected: identifier", other.literal())),
        }
    }

    fn set(&mut self) -> Result<Vec<String>, String> {
        match self.next() {
            Token::Open => {}
            other => return Err(format!("found '{}' expected: '('", other.literal())),
        }
        if !matches!(self.peek(), Token::Word(_) | Token::Comma | Token::Close) {
            return Err(format!("found '{}', expected: ',', ')' or identifier", self.peek().literal()));
        }
        let mut values = Vec::new();
        loop {
            match self.next() {
                Token::Word(word) => {
                    values.push(word);
                    match self.next() {
                        Token::Close => break,
                        Token::Comma => {
                            if *self.peek() == Token::Close {
                                values.push(String::new());
                                self.next();
                                break;
                            }
                        }
                        other => return Err(format!("found '{}', expected: ',' or ')'", other.literal())),
                    }
                }
                Token::Comma => {
                    if values.is_empty() {
                        values.push(String::new());
                    }
                    if *self.peek() == Token::Close {
                        values.push(String::new());
                        self.next();
                        break;
                    }
                }
                Token::Close => {
                    if values.is_empty() {
                        values.push(String::new());
                    }
                    break;
                }
                other => return Err(format!("found '{}', expected: ',', or identifier", other.literal())),
            }
        }
        values.sort();
        values.dedup();
        Ok(values)
    }
}

fn check_values(key: &str, operator: Operator, values: &[String]) -> Result<(), String> {
    if matches!(operator, Operator::GreaterThan | Operator::LessThan) {
        for (i, value) in values.iter().enumerate() {
            if value.parse::<i64>().is_err() {
                return Err(FieldError::invalid(
                    format!("values[{i}]"),
                    &Value::String(value.clone().into()),
                    "for 'Gt', 'Lt' operators, the value must be an integer",
                )
                .to_string());
            }
        }
    }
    for (i, value) in values.iter().enumerate() {
        let errors = names::label_value(value);
        if !errors.is_empty() {
            return Err(FieldError::invalid(
                format!("values[{i}][{key}]"),
                &Value::String(value.clone().into()),
                errors.join("; "),
            )
            .to_string());
        }
    }
    Ok(())
}

/// One term of a field selector: `path=value` or `path!=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldTerm {
    pub path: String,
    pub value: String,
    pub equal: bool,
}

/// A conjunction of field terms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    pub terms: Vec<FieldTerm>,
}

impl FieldSelector {
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    pub fn matches<'a>(&self, field: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.terms.iter().all(|term| (field(&term.path).unwrap_or("") == term.value) == term.equal)
    }

    /// The value that `path` must have, if the selector fixes it.
    pub fn exact(&self, path: &str) -> Option<&str> {
        self.terms.iter().find(|term| term.equal && term.path == path).map(|term| term.value.as_str())
    }

    /// Parses the `fieldSelector` query parameter.
    ///
    /// # Errors
    /// The text upstream answers with a 400.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut terms = Vec::new();
        for part in split_unescaped(text, ',') {
            if part.is_empty() {
                continue;
            }
            let (path, equal, value) = split_term(&part)
                .ok_or_else(|| format!("invalid selector: '{text}'; can't understand '{part}'"))?;
            // Nothing of nothing is everything, as upstream has it.
            if path.is_empty() && value.is_empty() {
                continue;
            }
            terms.push(FieldTerm { path: path.to_owned(), value: unescape(value)?, equal });
        }
        Ok(Self { terms })
    }
}

fn split_unescaped(text: &str, separator: char) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut escaped = false;
    for c in text.chars() {
        if c == separator && !escaped {
            parts.push(String::new());
            continue;
        }
        escaped = c == '\\' && !escaped;
        if let Some(last) = parts.last_mut() {
            last.push(c);
        }
    }
    parts
}

fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    for (i, _) in term.char_indices() {
        let rest = &term[i..];
        for (operator, equal) in [("!=", false), ("==", true), ("=", true)] {
            if let Some(value) = rest.strip_prefix(operator) {
                return Some((&term[..i], equal, value));
            }
        }
    }
    None
}

fn unescape(value: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                Some(c) => return Err(format!("invalid field selector: invalid escape sequence: \\{c}")),
                None => return Err("invalid field selector: invalid escape sequence: \\".to_owned()),
            },
            // Go prints the number of a rune.
            ',' | '=' => {
                return Err(format!(
                    "invalid field selector: unescaped character in value: {}",
                    u32::from(c)
                ));
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selects(text: &str, labels: &[(&str, &str)]) -> bool {
        LabelSelector::parse(text)
            .unwrap()
            .matches(|key| labels.iter().find(|(k, _)| *k == key).map(|(_, v)| *v))
    }

    #[test]
    fn label_selectors() {
        let labels = [("app", "web"), ("tier", "2")];
        for (text, want) in [
            ("", true),
            ("app=web", true),
            ("app==web,tier", true),
            ("app!=web", false),
            ("missing!=x", true),
            ("!missing", true),
            ("app in (a, web)", true),
            ("app notin (a,b)", true),
            ("tier>1", true),
            ("tier<2", false),
            ("app in ()", false),
        ] {
            assert_eq!(selects(text, &labels), want, "{text}");
        }
    }

    #[test]
    fn errors_of_selectors_are_in_upstreams_words() {
        for (text, want) in [
            ("=1", "found '=', expected: !, identifier, or 'end of string'"),
            ("app=web,", "found '', expected: identifier after ','"),
            ("a=1=2", "found '=', expected: ',' or 'end of string'"),
            ("!a=1", "found '=', expected: ',' or 'end of string'"),
            ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
            ("a in 1", "unable to parse requirement: found '1' expected: '('"),
            ("a in ((1))", "unable to parse requirement: found '(', expected: ',', ')' or identifier"),
            ("a in (1", "unable to parse requirement: found '', expected: ',' or ')'"),
        ] {
            assert_eq!(LabelSelector::parse(text).unwrap_err(), want, "{text}");
        }
        let key = LabelSelector::parse("a_=1").unwrap_err();
        assert!(
            key.starts_with("unable to parse requirement: <nil>: Invalid value: \"a_\": name part"),
            "{key}"
        );
        for (text, want) in [
            ("a=b=c", "invalid field selector: unescaped character in value: 61"),
            ("a=b\\", "invalid field selector: invalid escape sequence: \\"),
        ] {
            assert_eq!(FieldSelector::parse(text).unwrap_err(), want, "{text}");
        }
    }

    #[test]
    fn field_selectors() {
        let selector = FieldSelector::parse("metadata.name=a,spec.nodeName!=n").unwrap();
        assert!(selector.matches(|path| (path == "metadata.name").then_some("a")));
        assert!(!selector.matches(|path| Some(if path == "metadata.name" { "a" } else { "n" })));
        assert!(FieldSelector::parse("a").is_err());
        for (text, terms) in [("=", 0), ("==,!=", 0), ("=a", 1), ("a=,=", 1)] {
            assert_eq!(FieldSelector::parse(text).unwrap().terms.len(), terms, "{text}");
        }
    }
}
