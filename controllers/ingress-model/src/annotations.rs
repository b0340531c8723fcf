//! Typed reading of annotations; the errors are upstream's sentences and name the annotation.
//!
//! What a value means is the business of whoever reads it.

use serde_json::Value;
use std::collections::BTreeMap;

/// Prefix of all annotations of the controller.
pub const PREFIX: &str = "alb.ingress.kubernetes.io/";

type Map = BTreeMap<String, String>;

/// Annotations in layers: the first layer that has one wins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Annotations<'a> {
    first: Option<&'a Map>,
    second: Option<&'a Map>,
}

impl<'a> Annotations<'a> {
    pub(crate) fn of(map: Option<&'a Map>) -> Self {
        Annotations { first: map, second: None }
    }

    /// A Service's annotations win over the Ingress's.
    pub(crate) fn over(first: Option<&'a Map>, second: Option<&'a Map>) -> Self {
        Annotations { first, second }
    }

    pub(crate) fn text(&self, name: &str) -> Option<&'a str> {
        let key = format!("{PREFIX}{name}");
        let find = |map: Option<&'a Map>| map.and_then(|m| m.get(&key)).map(String::as_str);
        find(self.first).or_else(|| find(self.second))
    }

    /// Names of all there are, without the prefix.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'a str> {
        let keys = self.first.into_iter().chain(self.second).flat_map(|map| map.keys());
        keys.filter_map(|key| key.strip_prefix(PREFIX))
    }

    pub(crate) fn list(&self, name: &str) -> Option<Vec<String>> {
        let items = self.text(name)?.split(',').map(str::trim).filter(|item| !item.is_empty());
        Some(items.map(str::to_string).collect())
    }

    pub(crate) fn integer(&self, name: &str) -> Result<Option<i64>, String> {
        let Some(raw) = self.text(name) else { return Ok(None) };
        let why = |_| {
            format!(
                "failed to parse int64 annotation, {PREFIX}{name}: {raw}: strconv.ParseInt: parsing {raw:?}: invalid syntax"
            )
        };
        raw.parse().map(Some).map_err(why)
    }

    pub(crate) fn number<T: TryFrom<i64>>(&self, name: &str) -> Result<Option<T>, String> {
        let Some(value) = self.integer(name)? else { return Ok(None) };
        let number = T::try_from(value);
        number.map(Some).map_err(|_| format!("value out of range, {PREFIX}{name}: {value}"))
    }

    /// As Go's `strconv.ParseBool` reads it.
    pub(crate) fn boolean(&self, name: &str) -> Result<Option<bool>, String> {
        let Some(raw) = self.text(name) else { return Ok(None) };
        match raw {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(Some(true)),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(Some(false)),
            _ => Err(format!(
                "failed to parse bool annotation, {PREFIX}{name}: {raw}: strconv.ParseBool: parsing {raw:?}: invalid syntax"
            )),
        }
    }

    /// `key=value,key=value`; `\,` stands for a comma.
    pub(crate) fn map(&self, name: &str) -> Result<Map, String> {
        let Some(raw) = self.text(name) else { return Ok(Map::new()) };
        let mut out = Map::new();
        for pair in raw.replace("\\,", "\u{0}").split(',').filter(|pair| !pair.trim().is_empty()) {
            let pair = pair.replace('\u{0}', ",");
            let Some((key, value)) = pair.split_once('=') else {
                return Err(format!("failed to parse stringMap annotation, {PREFIX}{name}: {raw}"));
            };
            if key.trim().is_empty() {
                return Err(format!("failed to parse stringMap annotation, {PREFIX}{name}: {raw}"));
            }
            out.insert(key.trim().to_string(), value.trim().to_string());
        }
        Ok(out)
    }

    /// A JSON value with all member names in lower case, because upstream matches them without case.
    pub(crate) fn json(&self, name: &str) -> Result<Option<Value>, String> {
        let Some(raw) = self.text(name) else { return Ok(None) };
        let value: Value = serde_json::from_str(raw).map_err(|e| self.not_json(name, &e.to_string()))?;
        Ok(Some(lower(value)))
    }

    pub(crate) fn not_json(&self, name: &str, why: &str) -> String {
        let raw = self.text(name).unwrap_or_default();
        format!("failed to parse json annotation, {PREFIX}{name}: {raw}: {why}")
    }
}

/// Upstream's sentence, and the annotation it is about where the sentence does not say so.
pub(crate) fn about(why: impl std::fmt::Display, name: &str) -> String {
    format!("{why} ({PREFIX}{name})")
}

fn lower(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            Value::Object(map.into_iter().map(|(key, v)| (key.to_ascii_lowercase(), lower(v))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(lower).collect()),
        other => other,
    }
}

/// A member that is a text or a number, as text.
pub(crate) fn scalar(value: &Value, name: &str) -> Option<String> {
    match value.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_read_or_refused_by_name() {
        let map: Map = [
            ("ssl-redirect", "x"),
            ("tags", "a=1,b=x\\,y"),
            ("certificate-arn", "a, b,,"),
            ("listen-ports", "["),
        ]
        .into_iter()
        .map(|(k, v)| (format!("{PREFIX}{k}"), v.to_string()))
        .collect();
        let annotations = Annotations::of(Some(&map));
        let error = annotations.integer("ssl-redirect").unwrap_err();
        assert!(
            error.starts_with("failed to parse int64 annotation, alb.ingress.kubernetes.io/ssl-redirect: x")
        );
        assert_eq!(
            annotations.map("tags"),
            Ok([("a", "1"), ("b", "x,y")].map(|(k, v)| (k.into(), v.into())).into())
        );
        assert_eq!(annotations.list("certificate-arn"), Some(vec!["a".into(), "b".into()]));
        assert!(
            annotations.json("listen-ports").unwrap_err().contains("alb.ingress.kubernetes.io/listen-ports")
        );
        assert!(annotations.map("listen-ports").is_err());
    }
}
