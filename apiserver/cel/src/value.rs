//! Values. JSON is not copied: lists and objects are views that read their members when asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use apiserver_json::{Map, Value};

use crate::decl::{Decl, ListType, Shape};
use crate::library::object::Opaque;
use crate::library::time;

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub message: String,
    /// Over the budget: nothing may swallow this.
    pub fatal: bool,
}

pub(crate) fn fail<T>(message: impl Into<String>) -> Result<T, Failure> {
    Err(Failure { message: message.into(), fatal: false })
}

pub(crate) type Outcome<'a> = Result<Val<'a>, Failure>;

/// A key of a map that an expression made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    Bool(bool),
    Int(i64),
    Uint(u64),
    Text(Arc<str>),
}

/// A value.
#[derive(Clone, Debug)]
pub(crate) enum Val<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Arc<str>),
    Bytes(Arc<[u8]>),
    /// Nanoseconds since 1970.
    Timestamp(i128),
    /// Nanoseconds.
    Duration(i64),
    List(Arc<Vec<Val<'a>>>),
    Map(Arc<BTreeMap<Key, Val<'a>>>),
    JsonList(&'a [Value], Option<&'a Decl>),
    JsonMap(&'a Map, Option<&'a Decl>),
    Type(Arc<str>),
    Optional(Option<Arc<Val<'a>>>),
    Opaque(Arc<Opaque>),
}

pub(crate) fn text<'a>(value: &str) -> Val<'a> {
    Val::Text(value.into())
}

pub(crate) fn list(items: Vec<Val<'_>>) -> Val<'_> {
    Val::List(Arc::new(items))
}

/// JSON as a value, read the way its declaration says.
pub(crate) fn from_json<'a>(value: &'a Value, decl: Option<&'a Decl>) -> Outcome<'a> {
    let Some(decl) = decl else { return Ok(untyped(value)) };
    if value.is_null() {
        return if decl.nullable {
            Ok(Val::Null)
        } else {
            fail("invalid data, got null for schema with nullable=false")
        };
    }
    match (&decl.shape, value) {
        (Shape::Either, Value::String(_) | Value::Number(_)) => Ok(untyped(value)),
        (Shape::Either, _) => {
            fail("invalid data, expected XIntOrString value to be either a string or integer")
        }
        (Shape::Object(_) | Shape::Map(_), Value::Object(map)) => Ok(Val::JsonMap(map, Some(decl))),
        (Shape::Object(_) | Shape::Map(_), _) => {
            fail("invalid data, expected a map for the provided schema with type=object")
        }
        (Shape::List(..), Value::Array(items)) => Ok(Val::JsonList(items, Some(decl))),
        (Shape::List(..), _) => {
            fail("invalid data, expected an array for the provided schema with type=array")
        }
        (Shape::Scalar, _) => scalar(value, decl),
    }
}

fn scalar<'a>(value: &'a Value, decl: &Decl) -> Outcome<'a> {
    use crate::types::Type;
    match (&decl.of, value) {
        (Type::Bool, Value::Bool(value)) => Ok(Val::Bool(*value)),
        (Type::Double, Value::Number(number)) => Ok(Val::Double(number.as_f64().unwrap_or(0.0))),
        (Type::Int, Value::Number(number)) => match number.as_i64().or_else(|| whole(number.as_f64())) {
            Some(value) => Ok(Val::Int(value)),
            None => fail("invalid data, expected int, got float64"),
        },
        (Type::Text, Value::String(value)) => Ok(text(value)),
        (Type::Bytes, Value::String(value)) => match apiserver_meta::base64::decode(value) {
            Some(bytes) => Ok(Val::Bytes(bytes.into())),
            None => fail(format!("Invalid byte formatted string {value}: illegal base64 data")),
        },
        (Type::Duration, Value::String(value)) => match time::parse_schema_duration(value) {
            Some(nanos) => Ok(Val::Duration(nanos)),
            None => fail(format!("Invalid duration {value}: unable to parse {value:?} as duration")),
        },
        (Type::Timestamp, Value::String(value)) => match time::parse_schema_time(value) {
            Some(nanos) => Ok(Val::Timestamp(nanos)),
            None => fail(format!("Invalid date-time formatted string {value}: cannot parse")),
        },
        (of, _) => fail(format!("invalid data, expected {}", of.show())),
    }
}

fn whole(value: Option<f64>) -> Option<i64> {
    value.filter(|f| f.fract() == 0.0 && f.abs() < 9.0e18).map(|f| f as i64)
}

fn untyped(value: &Value) -> Val<'_> {
    match value {
        Value::Null => Val::Null,
        Value::Bool(value) => Val::Bool(*value),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(value), _) => Val::Int(value),
            (None, Some(value)) => Val::Uint(value),
            _ => Val::Double(number.as_f64().unwrap_or(0.0)),
        },
        Value::String(value) => text(value),
        Value::Raw(value) => text(value),
        Value::Array(items) => Val::JsonList(items, None),
        Value::Object(map) => Val::JsonMap(map, None),
    }
}

impl<'a> Val<'a> {
    /// The name of the value's type.
    pub(crate) fn type_name(&self) -> &str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::Text(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::Timestamp(_) => "google.protobuf.Timestamp",
            Self::Duration(_) => "google.protobuf.Duration",
            Self::List(_) | Self::JsonList(..) => "list",
            Self::Map(_) | Self::JsonMap(..) => "map",
            Self::Type(_) => "type",
            Self::Optional(_) => "optional_type",
            Self::Opaque(inner) => inner.type_name(),
        }
    }

    /// The type as Go prints that of upstream's values.
    pub(crate) fn go_type(&self) -> &'static str {
        match self {
            Self::Null => "types.Null",
            Self::Bool(_) => "types.Bool",
            Self::Int(_) => "types.Int",
            Self::Uint(_) => "types.Uint",
            Self::Double(_) => "types.Double",
            Self::Text(_) => "types.String",
            Self::Bytes(_) => "types.Bytes",
            Self::Timestamp(_) => "types.Timestamp",
            Self::Duration(_) => "types.Duration",
            Self::Type(_) => "*types.Type",
            Self::Optional(_) => "*types.Optional",
            Self::List(_) | Self::JsonList(..) | Self::Map(_) | Self::JsonMap(..) | Self::Opaque(_) => {
                "ref.Val"
            }
        }
    }

    /// Items of a list; `None` if it is none.
    pub(crate) fn items(&self) -> Option<Result<Vec<Val<'a>>, Failure>> {
        match self {
            Self::List(items) => Some(Ok((**items).clone())),
            Self::JsonList(items, decl) => {
                Some(items.iter().map(|item| from_json(item, item_decl(*decl))).collect())
            }
            _ => None,
        }
    }

    /// One item of a list.
    pub(crate) fn item(&self, index: usize) -> Option<Outcome<'a>> {
        match self {
            Self::List(items) => items.get(index).cloned().map(Ok),
            Self::JsonList(items, decl) => items.get(index).map(|item| from_json(item, item_decl(*decl))),
            _ => None,
        }
    }

    /// The number of characters, bytes, items or entries.
    pub(crate) fn size(&self) -> Option<usize> {
        Some(match self {
            Self::Text(text) => text.chars().count(),
            Self::Bytes(bytes) => bytes.len(),
            Self::List(items) => items.len(),
            Self::JsonList(items, _) => items.len(),
            Self::Map(entries) => entries.len(),
            Self::JsonMap(map, _) => map.len(),
            Self::Opaque(inner) => return inner.size(),
            _ => return None,
        })
    }

    /// Keys of a map.
    pub(crate) fn keys(&self) -> Option<Vec<Val<'a>>> {
        match self {
            Self::Map(entries) => Some(entries.keys().map(Key::value).collect()),
            Self::JsonMap(map, decl) => Some(match decl.map(|decl| &decl.shape) {
                Some(Shape::Object(fields)) => fields
                    .iter()
                    .filter(|(_, property)| map.contains_key(&property.name))
                    .map(|(identifier, _)| text(identifier))
                    .collect(),
                _ => map.keys().map(|key| text(key)).collect(),
            }),
            _ => None,
        }
    }

    /// The entry of a map; `None` where it has none.
    pub(crate) fn entry(&self, key: &Val<'_>) -> Option<Outcome<'a>> {
        match self {
            Self::Map(entries) => {
                let found = Key::from(key)
                    .and_then(|key| entries.get(&key).or_else(|| entries.get(&key.other_sign()?)));
                found.cloned().map(Ok)
            }
            Self::JsonMap(map, decl) => {
                let Val::Text(name) = key else { return Some(fail("no such overload")) };
                match decl.map(|decl| &decl.shape) {
                    Some(Shape::Object(fields)) => {
                        let property = fields.get(&**name)?;
                        let value = map.get(&property.name).filter(|value| !value.is_null())?;
                        Some(from_json(value, Some(&property.decl)))
                    }
                    Some(Shape::Map(value)) => map.get(name).map(|item| from_json(item, Some(value))),
                    _ => map.get(name).map(|item| from_json(item, None)),
                }
            }
            _ => None,
        }
    }

    pub(crate) fn is_map(&self) -> bool {
        matches!(self, Self::Map(_) | Self::JsonMap(..))
    }

    pub(crate) fn list_type(&self) -> &ListType {
        match self {
            Self::JsonList(_, Some(decl)) => match &decl.shape {
                Shape::List(_, kind) => kind,
                _ => &ListType::Atomic,
            },
            _ => &ListType::Atomic,
        }
    }

    /// Is this what a value of its type is when nothing was said?
    pub(crate) fn is_zero(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Bool(value) => !value,
            Self::Int(value) => *value == 0,
            Self::Uint(value) => *value == 0,
            Self::Double(value) => *value == 0.0,
            Self::Duration(value) => *value == 0,
            Self::Timestamp(_) | Self::Type(_) | Self::Opaque(_) => false,
            Self::Optional(value) => value.is_none(),
            other => other.size() == Some(0),
        }
    }
}

fn item_decl(decl: Option<&Decl>) -> Option<&Decl> {
    match decl.map(|decl| &decl.shape) {
        Some(Shape::List(item, _)) => Some(item),
        _ => None,
    }
}

impl Key {
    pub(crate) fn from(value: &Val<'_>) -> Option<Self> {
        Some(match value {
            Val::Bool(value) => Self::Bool(*value),
            Val::Int(value) => Self::Int(*value),
            Val::Uint(value) => Self::Uint(*value),
            Val::Text(value) => Self::Text(value.clone()),
            Val::Double(value) if value.fract() == 0.0 && value.abs() < 9.0e15 => Self::Int(*value as i64),
            _ => return None,
        })
    }

    /// The same number as an int or a uint.
    fn other_sign(&self) -> Option<Self> {
        match self {
            Self::Int(value) => u64::try_from(*value).ok().map(Self::Uint),
            Self::Uint(value) => i64::try_from(*value).ok().map(Self::Int),
            _ => None,
        }
    }

    pub(crate) fn value<'a>(&self) -> Val<'a> {
        match self {
            Self::Bool(value) => Val::Bool(*value),
            Self::Int(value) => Val::Int(*value),
            Self::Uint(value) => Val::Uint(*value),
            Self::Text(value) => Val::Text(value.clone()),
        }
    }
}
