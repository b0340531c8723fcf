//! CEL's types as the checker sees them, and their names in messages.

use std::sync::Arc;

/// A type.
#[allow(clippy::enum_variant_names, reason = "CEL calls the type of types `type`")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Dyn,
    Error,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    Text,
    Bytes,
    Timestamp,
    Duration,
    List(Arc<Type>),
    Map(Arc<Type>, Arc<Type>),
    /// The type of a type; without parameter for `type` itself.
    Type(Option<Arc<Type>>),
    /// A type parameter, or a type that is not known yet.
    Param(Arc<str>),
    /// Something with fields.
    Object(Arc<str>),
    Opaque(Arc<str>, Vec<Type>),
}

pub(crate) const OPTIONAL: &str = "optional_type";

impl Type {
    pub(crate) fn list(item: Type) -> Self {
        Self::List(Arc::new(item))
    }

    pub(crate) fn map(key: Type, value: Type) -> Self {
        Self::Map(Arc::new(key), Arc::new(value))
    }

    pub(crate) fn optional(inner: Type) -> Self {
        Self::Opaque(OPTIONAL.into(), vec![inner])
    }

    pub(crate) fn object(name: &str) -> Self {
        Self::Object(name.into())
    }

    /// What an optional holds.
    pub(crate) fn unwrap_optional(&self) -> Option<&Type> {
        match self {
            Self::Opaque(name, parameters) if &**name == OPTIONAL => parameters.first(),
            _ => None,
        }
    }

    pub(crate) fn is_dyn_or_error(&self) -> bool {
        matches!(self, Self::Dyn | Self::Error)
    }

    /// The type that a variable of this name stands for: `int`, `map`, …
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "bool" => Self::Bool,
            "bytes" => Self::Bytes,
            "double" => Self::Double,
            "int" => Self::Int,
            "uint" => Self::Uint,
            "string" => Self::Text,
            "null_type" => Self::Null,
            "google.protobuf.Duration" => Self::Duration,
            "google.protobuf.Timestamp" => Self::Timestamp,
            "list" => Self::list(Self::Dyn),
            "map" => Self::map(Self::Dyn, Self::Dyn),
            "type" => Self::Type(None),
            "net.IP" | "net.CIDR" => Self::Opaque(name.into(), Vec::new()),
            "kubernetes.URL" | "kubernetes.Quantity" | "kubernetes.Semver" => Self::object(name),
            _ => return None,
        })
    }

    /// Reads what cel-go's `Type.String()` writes.
    pub(crate) fn parse(text: &str) -> Self {
        let text = text.trim();
        if let Some(name) = text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')) {
            return Self::Param(name.into());
        }
        let Some((head, rest)) = text.split_once('(') else {
            return match text {
                "dyn" => Self::Dyn,
                "type" => Self::Type(None),
                _ => Self::named(text).unwrap_or_else(|| Self::object(text)),
            };
        };
        let mut inner: Vec<Type> =
            split_top(rest.strip_suffix(')').unwrap_or(rest)).into_iter().map(Self::parse).collect();
        match (head, inner.len()) {
            ("list", 1) => Self::list(inner.remove(0)),
            ("map", 2) => {
                let value = inner.remove(1);
                Self::map(inner.remove(0), value)
            }
            ("type", 1) => Self::Type(Some(Arc::new(inner.remove(0)))),
            _ => Self::Opaque(head.into(), inner),
        }
    }

    /// The name in messages: cel-go's `FormatCELType`.
    pub(crate) fn show(&self) -> String {
        match self {
            Self::Dyn => "dyn".to_owned(),
            Self::Error => "!error!".to_owned(),
            Self::Null => "null".to_owned(),
            Self::Bool => "bool".to_owned(),
            Self::Int => "int".to_owned(),
            Self::Uint => "uint".to_owned(),
            Self::Double => "double".to_owned(),
            Self::Text => "string".to_owned(),
            Self::Bytes => "bytes".to_owned(),
            Self::Timestamp => "timestamp".to_owned(),
            Self::Duration => "duration".to_owned(),
            Self::List(item) => format!("list({})", item.show()),
            Self::Map(key, value) => format!("map({}, {})", key.show(), value.show()),
            Self::Type(None) => "type".to_owned(),
            Self::Type(Some(of)) => format!("type({})", of.show()),
            Self::Param(name) | Self::Object(name) => name.to_string(),
            Self::Opaque(name, parameters) if parameters.is_empty() => name.to_string(),
            Self::Opaque(name, parameters) => {
                let inner: Vec<String> = parameters.iter().map(Type::show).collect();
                format!("{name}({})", inner.join(", "))
            }
        }
    }

    /// The name as Go's `Type.String()` has it, which policies print.
    pub(crate) fn go_name(&self) -> String {
        match self {
            Self::Timestamp => "google.protobuf.Timestamp".to_owned(),
            Self::Duration => "google.protobuf.Duration".to_owned(),
            Self::Null => "null_type".to_owned(),
            Self::List(item) => format!("list({})", item.go_name()),
            Self::Map(key, value) => format!("map({}, {})", key.go_name(), value.go_name()),
            Self::Type(Some(of)) => format!("type({})", of.go_name()),
            Self::Param(name) => format!("<{name}>"),
            Self::Opaque(name, parameters) if !parameters.is_empty() => {
                let inner: Vec<String> = parameters.iter().map(Type::go_name).collect();
                format!("{name}({})", inner.join(", "))
            }
            other => other.show(),
        }
    }

    /// Is the size of a value of this type always one?
    pub(crate) fn is_scalar(&self) -> bool {
        match self {
            Self::Bool | Self::Double | Self::Duration | Self::Int | Self::Timestamp | Self::Uint => true,
            other => other.unwrap_optional().is_some_and(Type::is_scalar),
        }
    }
}

/// Splits at commas and semicolons that stand outside parentheses.
pub(crate) fn split_top(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_i32, 0);
    for (i, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' | ';' if depth == 0 => {
                parts.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    if !text[start..].trim().is_empty() {
        parts.push(&text[start..]);
    }
    parts
}
