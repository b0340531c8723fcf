//! Pruning: what a custom resource's schema does not name is dropped.
//!
//! `metadata` is no matter of the CRD's schema; `decode_metadata` reads it as any other object's.

use apiserver_json::{Map, Value};

use super::is_meta;
use crate::decode::{Decode, DecodeError, Unknown, decode};
use crate::node::{Schema, Shape};
use crate::types::named;

/// Drops unknown fields and returns their paths, sorted: `spec.items[0].b`.
pub fn prune(schema: &Schema, value: &mut Value) -> Vec<String> {
    prune_part(schema, value, true)
}

/// As [`prune`], of any value; `is_object` says that it is a whole API object.
pub fn prune_part(schema: &Schema, value: &mut Value, is_object: bool) -> Vec<String> {
    let mut pruner = Pruner { path: String::new(), unknown: Vec::new() };
    pruner.visit(Some(schema), value, is_object);
    pruner.unknown.sort();
    pruner.unknown
}

/// Reads `metadata` of a custom resource in place, as Go would. Unknown fields are named `metadata.x`.
pub fn decode_metadata(object: &mut Value) -> Result<Vec<Unknown>, DecodeError> {
    let Some(metadata) = object.get_mut("metadata") else { return Ok(Vec::new()) };
    let schema = named("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
    let unknown = decode(&schema, metadata, Decode::Json)?;
    Ok(unknown.into_iter().map(|Unknown(path)| Unknown(format!("metadata.{path}"))).collect())
}

struct Pruner {
    path: String,
    unknown: Vec<String>,
}

impl Pruner {
    fn visit(&mut self, schema: Option<&Schema>, value: &mut Value, is_root: bool) {
        let preserve = schema.is_some_and(|s| s.preserve_unknown);
        match value {
            Value::Object(map) => self.object(schema, map, is_root, preserve),
            Value::Array(items) => {
                let child = schema.and_then(Schema::list).map(|list| &**list.items.get());
                if preserve && child.is_none() {
                    return;
                }
                for (i, item) in items.iter_mut().enumerate() {
                    let length = self.path.len();
                    self.path.push_str(&format!("[{i}]"));
                    self.visit(child, item, false);
                    self.path.truncate(length);
                }
            }
            _ => {}
        }
    }

    fn object(&mut self, schema: Option<&Schema>, map: &mut Map, is_root: bool, preserve: bool) {
        let embedded = is_root || schema.is_some_and(|s| s.embedded);
        map.retain(|key, item| {
            if embedded && is_meta(key) {
                return true;
            }
            let length = self.path.len();
            if length > 0 {
                self.path.push('.');
            }
            self.path.push_str(key);
            let child = schema.and_then(|schema| match &schema.shape {
                Shape::Object(_) => schema.child(key),
                _ => None,
            });
            let keep = child.is_some() || preserve;
            match child {
                Some(child) => self.visit(Some(child), item, false),
                None if !preserve => self.unknown.push(self.path.clone()),
                None => {}
            }
            self.path.truncate(length);
            keep
        });
    }
}
