//! Looking into a tree and changing parts of it.

use std::borrow::Cow;

use crate::{Items, Map, Number, SmolStr, Value};

static NULL: Value = Value::Null;

/// What is looked for in a value: the name of a member, the place of an item.
pub trait Index {
    #[doc(hidden)]
    fn of<'a>(&self, value: &'a Value) -> Option<&'a Value>;
    #[doc(hidden)]
    fn of_mut<'a>(&self, value: &'a mut Value) -> Option<&'a mut Value>;
}

macro_rules! index_by_name {
    ($($type:ty),*) => {$(
        impl Index for $type {
            #[inline]
            fn of<'a>(&self, value: &'a Value) -> Option<&'a Value> {
                value.as_object()?.get(self)
            }


            #[inline]
            fn of_mut<'a>(&self, value: &'a mut Value) -> Option<&'a mut Value> {
                value.as_object_mut()?.get_mut(self)
            }
        }
    )*};
}

index_by_name!(str, String, SmolStr);

impl Index for usize {
    #[inline]
    fn of<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        value.as_array()?.get(*self)
    }

    #[inline]
    fn of_mut<'a>(&self, value: &'a mut Value) -> Option<&'a mut Value> {
        value.as_array_mut()?.get_mut(*self)
    }
}

impl<T: Index + ?Sized> Index for &T {
    #[inline]
    fn of<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        (**self).of(value)
    }

    #[inline]
    fn of_mut<'a>(&self, value: &'a mut Value) -> Option<&'a mut Value> {
        (**self).of_mut(value)
    }
}

impl<I: Index> std::ops::Index<I> for Value {
    type Output = Value;

    /// The member or item; null where there is none.
    #[inline]
    fn index(&self, index: I) -> &Value {
        index.of(self).unwrap_or(&NULL)
    }
}

impl<S: AsRef<str> + Index> std::ops::IndexMut<S> for Value {
    /// The member, to be set: what is no object becomes one.
    #[inline]
    fn index_mut(&mut self, name: S) -> &mut Value {
        if !self.is_object() {
            *self = Value::Object(Map::new());
        }
        match self {
            Value::Object(map) => map.entry(name.as_ref()).or_insert(Value::Null),
            _ => unreachable!("made an object above"),
        }
    }
}

impl Value {
    #[inline]
    pub fn get(&self, index: impl Index) -> Option<&Value> {
        index.of(self)
    }

    #[inline]
    pub fn get_mut(&mut self, index: impl Index) -> Option<&mut Value> {
        index.of_mut(self)
    }

    #[inline]
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    #[inline]
    pub fn is_boolean(&self) -> bool {
        matches!(self, Value::Bool(_))
    }

    #[inline]
    pub fn is_number(&self) -> bool {
        matches!(self, Value::Number(_))
    }

    #[inline]
    pub fn is_string(&self) -> bool {
        matches!(self, Value::String(_))
    }

    #[inline]
    pub fn is_array(&self) -> bool {
        matches!(self, Value::Array(_))
    }

    #[inline]
    pub fn is_object(&self) -> bool {
        matches!(self, Value::Object(_))
    }

    #[inline]
    pub fn is_i64(&self) -> bool {
        self.as_number().is_some_and(Number::is_i64)
    }

    #[inline]
    pub fn is_u64(&self) -> bool {
        self.as_number().is_some_and(Number::is_u64)
    }

    #[inline]
    pub fn is_f64(&self) -> bool {
        self.as_number().is_some_and(Number::is_f64)
    }

    #[inline]
    pub fn as_bool(&self) -> Option<bool> {
        if let Value::Bool(value) = self { Some(*value) } else { None }
    }

    #[inline]
    pub fn as_number(&self) -> Option<&Number> {
        if let Value::Number(number) = self { Some(number) } else { None }
    }

    #[inline]
    pub fn as_i64(&self) -> Option<i64> {
        self.as_number()?.as_i64()
    }

    #[inline]
    pub fn as_u64(&self) -> Option<u64> {
        self.as_number()?.as_u64()
    }

    #[inline]
    pub fn as_f64(&self) -> Option<f64> {
        self.as_number()?.as_f64()
    }

    #[inline]
    pub fn as_str(&self) -> Option<&str> {
        if let Value::String(text) = self { Some(text) } else { None }
    }

    #[inline]
    pub fn as_array(&self) -> Option<&[Value]> {
        if let Value::Array(items) = self { Some(items) } else { None }
    }

    #[inline]
    pub fn as_array_mut(&mut self) -> Option<&mut Items> {
        if let Value::Array(items) = self { Some(items) } else { None }
    }

    #[inline]
    pub fn as_object(&self) -> Option<&Map> {
        if let Value::Object(map) = self { Some(map) } else { None }
    }

    #[inline]
    pub fn as_object_mut(&mut self) -> Option<&mut Map> {
        if let Value::Object(map) = self { Some(map) } else { None }
    }

    /// The text of an object nobody looked into.
    #[inline]
    pub fn as_raw(&self) -> Option<&str> {
        if let Value::Raw(text) = self { Some(text) } else { None }
    }

    /// As it is when somebody has looked into it.
    pub fn unpacked(&self) -> Value {
        match self {
            // Whoever made it knew that it is JSON.
            Value::Raw(text) => crate::from_str(text).unwrap_or_default(),
            other => other.clone(),
        }
    }

    /// Leaves null in its place.
    #[inline]
    pub fn take(&mut self) -> Value {
        std::mem::take(self)
    }

    /// The value at a JSON pointer (RFC 6901).
    pub fn pointer(&self, pointer: &str) -> Option<&Value> {
        steps(pointer)?.try_fold(self, |value, step| match value {
            Value::Object(map) => map.get(&unescaped(step)),
            Value::Array(items) => items.get(place(step)?),
            _ => None,
        })
    }

    /// As [`Value::pointer`], to be changed.
    pub fn pointer_mut(&mut self, pointer: &str) -> Option<&mut Value> {
        steps(pointer)?.try_fold(self, |value, step| match value {
            Value::Object(map) => map.get_mut(&unescaped(step)),
            Value::Array(items) => items.get_mut(place(step)?),
            _ => None,
        })
    }
}

/// The steps of a pointer that is empty or begins with a slash.
fn steps(pointer: &str) -> Option<impl Iterator<Item = &str>> {
    if !pointer.is_empty() && !pointer.starts_with('/') {
        return None;
    }
    Some(pointer.split('/').skip(1))
}

fn unescaped(step: &str) -> Cow<'_, str> {
    if step.contains('~') { step.replace("~1", "/").replace("~0", "~").into() } else { step.into() }
}

/// The place of an item: digits without a sign and without a zero in front.
fn place(step: &str) -> Option<usize> {
    if step.starts_with('+') || step.len() > 1 && step.starts_with('0') {
        return None;
    }
    step.parse().ok()
}
