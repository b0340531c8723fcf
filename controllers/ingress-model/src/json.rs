//! Members of a JSON annotation, read as strictly as Go reads them into upstream's types.
//!
//! Names of members are in lower case already; what a value means is the business of whoever reads it.

use crate::annotations::{Annotations, about};
use serde_json::Value;

/// Why a JSON annotation is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// It is not of the type that upstream reads.
    Type(String),
    /// It was read and then refused.
    Invalid(String),
}

impl Wrong {
    /// Upstream's sentence, with the name of the annotation.
    pub(crate) fn tell(self, annotations: Annotations<'_>, name: &str) -> String {
        match self {
            Wrong::Type(why) => annotations.not_json(name, &why),
            Wrong::Invalid(why) => about(why, name),
        }
    }

    /// The same with what was looked at in front.
    pub(crate) fn within(self, what: &str) -> Self {
        match self {
            Wrong::Invalid(why) => Wrong::Invalid(format!("invalid {what}: {why}")),
            wrong => wrong,
        }
    }
}

pub(crate) fn invalid(why: impl Into<String>) -> Wrong {
    Wrong::Invalid(why.into())
}

fn unexpected(value: &Value, member: &str, wanted: &str) -> Wrong {
    let found = match value {
        Value::Null => "null".to_string(),
        Value::Bool(_) => "bool".to_string(),
        Value::Number(number) if wanted.starts_with("int") => format!("number {number}"),
        Value::Number(_) => "number".to_string(),
        Value::String(_) => "string".to_string(),
        Value::Array(_) => "array".to_string(),
        Value::Object(_) => "object".to_string(),
    };
    Wrong::Type(format!("json: cannot unmarshal {found} into Go struct field {member} of type {wanted}"))
}

/// A member by the name upstream gives it; null counts as absent.
fn find<'v>(value: &'v Value, member: &str) -> Result<Option<&'v Value>, Wrong> {
    let all = value.as_object().ok_or_else(|| unexpected(value, member, "struct"))?;
    Ok(all.get(&member.to_ascii_lowercase()).filter(|found| !found.is_null()))
}

pub(crate) fn object<'v>(value: &'v Value, member: &str) -> Result<Option<&'v Value>, Wrong> {
    match find(value, member)? {
        Some(found) if !found.is_object() => Err(unexpected(found, member, "struct")),
        found => Ok(found),
    }
}

pub(crate) fn list<'v>(value: &'v Value, member: &str) -> Result<&'v [Value], Wrong> {
    match find(value, member)? {
        None => Ok(&[]),
        Some(Value::Array(items)) => Ok(items),
        Some(other) => Err(unexpected(other, member, "[]struct")),
    }
}

pub(crate) fn text(value: &Value, member: &str) -> Result<Option<String>, Wrong> {
    match find(value, member)? {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(unexpected(other, member, "string")),
    }
}

pub(crate) fn texts(value: &Value, member: &str) -> Result<Vec<String>, Wrong> {
    let one = |item: &Value| match item {
        Value::String(text) => Ok(text.clone()),
        other => Err(unexpected(other, member, "string")),
    };
    match find(value, member)? {
        None => Ok(Vec::new()),
        Some(Value::Array(items)) => items.iter().map(one).collect(),
        Some(other) => Err(unexpected(other, member, "[]string")),
    }
}

pub(crate) fn boolean(value: &Value, member: &str) -> Result<Option<bool>, Wrong> {
    match find(value, member)? {
        None => Ok(None),
        Some(found) => found.as_bool().map(Some).ok_or_else(|| unexpected(found, member, "bool")),
    }
}

pub(crate) fn integer(value: &Value, member: &str) -> Result<Option<i64>, Wrong> {
    match find(value, member)? {
        None => Ok(None),
        Some(found) => found.as_i64().map(Some).ok_or_else(|| unexpected(found, member, "int64")),
    }
}

/// A whole number or a text, as text.
pub(crate) fn integer_or_text(value: &Value, member: &str) -> Result<Option<String>, Wrong> {
    match find(value, member)? {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Number(number)) if number.is_i64() => Ok(Some(number.to_string())),
        Some(other) => Err(unexpected(other, member, "intstr.IntOrString")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn members_are_read_as_go_reads_them() {
        let value = json!({"a": "x", "n": 1, "f": 1.5, "l": ["x", 1], "z": null, "b": true});
        assert_eq!(text(&value, "A"), Ok(Some("x".into())));
        assert_eq!(text(&value, "z"), Ok(None));
        assert_eq!(integer_or_text(&value, "n"), Ok(Some("1".into())));
        assert_eq!(boolean(&value, "b"), Ok(Some(true)));
        let said = |wrong: Wrong| match wrong {
            Wrong::Type(why) | Wrong::Invalid(why) => why,
        };
        let table = [
            (text(&value, "n").map(drop), "cannot unmarshal number into Go struct field n of type string"),
            (
                integer(&value, "f").map(drop),
                "cannot unmarshal number 1.5 into Go struct field f of type int64",
            ),
            (integer(&value, "a").map(drop), "cannot unmarshal string into Go struct field a of type int64"),
            (texts(&value, "l").map(drop), "cannot unmarshal number into Go struct field l of type string"),
            (texts(&value, "a").map(drop), "cannot unmarshal string into Go struct field a of type []string"),
            (boolean(&value, "a").map(drop), "of type bool"),
            (object(&value, "a").map(drop), "of type struct"),
            (text(&json!([]), "a").map(drop), "cannot unmarshal array"),
        ];
        for (result, why) in table {
            let wrong = said(result.expect_err(why));
            assert!(wrong.contains(why), "{wrong}");
        }
    }
}
