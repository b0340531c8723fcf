//! Field errors in upstream's words (`k8s.io/apimachinery/pkg/util/validation/field`).
//!
//! Does not validate anything; it only says what was wrong and where.

use std::fmt;

use apiserver_json::{Value, json};

/// The kind of a field error. `reason` is what a `Status` cause carries; `title` opens its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    NotFound,
    Required,
    Duplicate,
    Invalid,
    NotSupported,
    Forbidden,
    TooLong,
    TooMany,
    Internal,
    TypeInvalid,
    TooShort,
    TooFew,
}

impl Problem {
    /// The machine-readable reason of a Status cause.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid | Self::TooShort | Self::TooFew => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::Internal => "InternalError",
            Self::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    /// The words that open the message, as `ErrorType.String()` spells them.
    pub fn title(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid | Self::TooShort | Self::TooFew => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::Internal => "Internal error",
        }
    }
}

/// One thing wrong with one field. Displays as `spec.ports[0].port: Invalid value: 0: must be …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    pub problem: Problem,
    /// Path as upstream prints it: `spec.ports[0].nodePort`, `metadata.labels`, `data[key]`.
    pub field: String,
    /// The value as Go's error would print it (already quoted); empty where upstream prints none.
    pub value: String,
    pub detail: String,
}

impl FieldError {
    pub fn required(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { problem: Problem::Required, field: field.into(), value: String::new(), detail: detail.into() }
    }

    pub fn invalid(field: impl Into<String>, value: &Value, detail: impl Into<String>) -> Self {
        Self { problem: Problem::Invalid, field: field.into(), value: go_value(value), detail: detail.into() }
    }

    pub fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        Self {
            problem: Problem::Duplicate,
            field: field.into(),
            value: go_value(value),
            detail: String::new(),
        }
    }

    pub fn not_found(field: impl Into<String>, value: &Value) -> Self {
        Self {
            problem: Problem::NotFound,
            field: field.into(),
            value: go_value(value),
            detail: String::new(),
        }
    }

    pub fn forbidden(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { problem: Problem::Forbidden, field: field.into(), value: String::new(), detail: detail.into() }
    }

    /// What is not the client's fault.
    pub fn internal(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { problem: Problem::Internal, field: field.into(), value: String::new(), detail: detail.into() }
    }

    /// `supported` in the order upstream prints it (it sorts; so does this).
    pub fn not_supported(field: impl Into<String>, value: &Value, supported: &[&str]) -> Self {
        let mut names: Vec<String> = supported.iter().map(|name| format!("{name:?}")).collect();
        names.sort();
        let detail =
            if names.is_empty() { String::new() } else { format!("supported values: {}", names.join(", ")) };
        Self { problem: Problem::NotSupported, field: field.into(), value: go_value(value), detail }
    }

    /// As [`FieldError::not_supported`] where upstream lists the values in an order of its own.
    pub fn not_supported_in_order(field: impl Into<String>, value: &Value, supported: &[&str]) -> Self {
        let names: Vec<String> = supported.iter().map(|name| format!("{name:?}")).collect();
        let detail = format!("supported values: {}", names.join(", "));
        Self { problem: Problem::NotSupported, field: field.into(), value: go_value(value), detail }
    }

    /// Too long: upstream prints no value, and the unit follows the kind of value.
    pub fn too_long(field: impl Into<String>, max: usize) -> Self {
        Self {
            problem: Problem::TooLong,
            field: field.into(),
            value: String::new(),
            detail: format!("may not be more than {max} byte{}", if max == 1 { "" } else { "s" }),
        }
    }

    pub fn too_many(field: impl Into<String>, actual: usize, max: usize) -> Self {
        Self {
            problem: Problem::TooMany,
            field: field.into(),
            value: actual.to_string(),
            detail: format!("must have at most {max} item{}", if max == 1 { "" } else { "s" }),
        }
    }

    /// The message without the field, as a Status cause carries it.
    pub fn message(&self) -> String {
        let mut text = self.problem.title().to_owned();
        if !self.value.is_empty() {
            text.push_str(": ");
            text.push_str(&self.value);
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }

    /// The cause of a `Status`, as JSON.
    pub fn cause(&self) -> Value {
        json!({"reason": self.problem.reason(), "message": self.message(), "field": self.field})
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message())
    }
}

/// Prints a JSON value as Go's field errors do: strings quoted, objects and lists as compact JSON.
pub fn go_value(value: &Value) -> String {
    match value {
        Value::String(text) => go_quote(text),
        Value::Number(number) if number.is_f64() => go_float(number.as_f64().unwrap_or_default()),
        other => go_json(other),
    }
}

/// A floating point number as Go's `%v` prints it.
pub fn go_float(number: f64) -> String {
    let text = format!("{number:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return number.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// JSON as Go's `json.Marshal` writes it, which escapes what could be read as HTML.
pub fn go_json(value: &Value) -> String {
    let mut out = value.to_string();
    // Outside of texts none of these occurs.
    for (plain, escaped) in [
        ("<", "\\u003c"),
        (">", "\\u003e"),
        ("&", "\\u0026"),
        ("\u{2028}", "\\u2028"),
        ("\u{2029}", "\\u2029"),
    ] {
        if out.contains(plain) {
            out = out.replace(plain, escaped);
        }
    }
    out
}

/// Quotes as Go's `%q` does for text that people write: escapes quotes, backslashes and control characters.
pub fn go_quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => out.push_str(&format!("\\x{:02x}", c as u32)),
            '\u{80}'..='\u{a0}'
            | '\u{ad}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202f}'
            | '\u{2060}'..='\u{206f}'
            | '\u{e000}'..='\u{f8ff}'
            | '\u{feff}' => out.push_str(&format!("\\u{:04x}", c as u32)),
            '\u{f0000}'.. => out.push_str(&format!("\\U{:08x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Reads a number as Go's `strconv.ParseUint` does.
///
/// # Errors
/// Its sentence.
pub fn go_parse_uint(text: &str) -> Result<u64, String> {
    let why = if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        "invalid syntax"
    } else {
        match text.parse() {
            Ok(number) => return Ok(number),
            Err(_) => "value out of range",
        }
    };
    Err(format!("strconv.ParseUint: parsing {}: {why}", go_quote(text)))
}

/// Reads a number as Go's `strconv.ParseInt` does.
///
/// # Errors
/// Its sentence.
pub fn go_parse_int(text: &str) -> Result<i64, String> {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    text.parse().map_err(|error: std::num::ParseIntError| {
        let is_far = matches!(error.kind(), PosOverflow | NegOverflow);
        let why = if is_far { "value out of range" } else { "invalid syntax" };
        format!("strconv.ParseInt: parsing {}: {why}", go_quote(text))
    })
}

/// The sentence of several field errors: one alone, more in brackets, as `utilerrors.Aggregate` prints them.
pub fn aggregate(errors: &[FieldError]) -> String {
    let mut seen: Vec<String> = Vec::new();
    for error in errors {
        let text = error.to_string();
        if !seen.contains(&text) {
            seen.push(text);
        }
    }
    match seen.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_numbers_are_read_as_go_reads_them() {
        assert_eq!(go_quote("a\u{15}\u{94}\u{200b}é\"\n"), r#""a\x15\u0094\u200bé\"\n""#);
        assert_eq!(go_parse_uint("7"), Ok(7));
        for (text, why) in
            [("", "invalid syntax"), ("+7", "invalid syntax"), ("99999999999999999999", "value out of range")]
        {
            assert_eq!(go_parse_uint(text), Err(format!("strconv.ParseUint: parsing \"{text}\": {why}")));
        }
    }

    #[test]
    fn floats_are_shown_as_go_shows_them() {
        for (number, text) in
            [(1000.0, "1000"), (1.5, "1.5"), (1e6, "1e+06"), (9.3e18, "9.3e+18"), (1e-5, "1e-05")]
        {
            assert_eq!(go_float(number), text);
        }
    }

    #[test]
    fn messages_read_as_upstream_prints_them() {
        let error =
            FieldError::invalid("spec.ports[0].port", &json!(0), "must be between 1 and 65535, inclusive");
        assert_eq!(
            error.to_string(),
            "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"
        );
        let error = FieldError::not_supported("spec.type", &json!("X"), &["NodePort", "ClusterIP"]);
        assert_eq!(
            error.to_string(),
            r#"spec.type: Unsupported value: "X": supported values: "ClusterIP", "NodePort""#
        );
        assert_eq!(FieldError::required("metadata.name", "").to_string(), "metadata.name: Required value");
    }
}
