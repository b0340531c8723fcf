//! Values written as JSON.

/// A [`Value`](crate::Value) written as JSON, in which expressions may stand for values, and for keys in parentheses or
/// where they are one token.
#[macro_export]
macro_rules! json {
    (null) => { $crate::Value::Null };
    ([ $($items:tt)* ]) => { $crate::Value::Array($crate::json_items!([] [] $($items)*)) };
    ({ $($members:tt)* }) => {{
        #[allow(unused_mut)]
        let mut map = $crate::Map::new();
        $crate::json_members!(map $($members)*);
        $crate::Value::Object(map)
    }};
    ($value:expr) => { $crate::ToValue::to_value(&$value) };
}

/// Items of an array: those that are done, what has been read of the next, the rest.
#[doc(hidden)]
#[macro_export]
macro_rules! json_items {
    ([ $($done:expr),* ] []) => { $crate::Items::from([ $($done),* ]) };
    ([ $($done:expr),* ] [] null $(, $($rest:tt)*)?) => {
        $crate::json_items!([ $($done,)* $crate::Value::Null ] [] $($($rest)*)?)
    };
    ([ $($done:expr),* ] [] [ $($inner:tt)* ] $(, $($rest:tt)*)?) => {
        $crate::json_items!([ $($done,)* $crate::json!([ $($inner)* ]) ] [] $($($rest)*)?)
    };
    ([ $($done:expr),* ] [] { $($inner:tt)* } $(, $($rest:tt)*)?) => {
        $crate::json_items!([ $($done,)* $crate::json!({ $($inner)* }) ] [] $($($rest)*)?)
    };
    ([ $($done:expr),* ] [] $value:expr, $($rest:tt)*) => {
        $crate::json_items!([ $($done,)* $crate::json!($value) ] [] $($rest)*)
    };
    ([ $($done:expr),* ] [] $value:expr) => {
        $crate::json_items!([ $($done,)* $crate::json!($value) ] [])
    };
}

/// Members of an object.
#[doc(hidden)]
#[macro_export]
macro_rules! json_members {
    ($map:ident) => {};
    ($map:ident $key:tt : null $(, $($rest:tt)*)?) => {
        $map.insert($crate::SmolStr::new($key), $crate::Value::Null);
        $crate::json_members!($map $($($rest)*)?);
    };
    ($map:ident $key:tt : [ $($inner:tt)* ] $(, $($rest:tt)*)?) => {
        $map.insert($crate::SmolStr::new($key), $crate::json!([ $($inner)* ]));
        $crate::json_members!($map $($($rest)*)?);
    };
    ($map:ident $key:tt : { $($inner:tt)* } $(, $($rest:tt)*)?) => {
        $map.insert($crate::SmolStr::new($key), $crate::json!({ $($inner)* }));
        $crate::json_members!($map $($($rest)*)?);
    };
    ($map:ident $key:tt : $value:expr , $($rest:tt)*) => {
        $map.insert($crate::SmolStr::new($key), $crate::json!($value));
        $crate::json_members!($map $($rest)*);
    };
    ($map:ident $key:tt : $value:expr) => {
        $map.insert($crate::SmolStr::new($key), $crate::json!($value));
    };
}
