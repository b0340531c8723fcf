//! Strategic merge patch: merging by the kind's patch strategies and merge keys.
//!
//! Fields the kind does not have are errors, as upstream looks up the strategy of every map and list it merges.

use apiserver_json::{Items, Map, Value};

use super::PatchError;
use super::directives::{
    DELETE_PREFIX, ORDER_PREFIX, PATCH, are_maps, bad_argument, bad_patch_type, directive_key, discard_nulls,
    fail, no_merge_key, retain_keys, strip,
};
use super::order::{arrange, check_order};
use crate::node::{Patch, Schema, Shape};

/// Applies a strategic merge patch to an object of a built-in kind.
pub fn strategic_merge(schema: &Schema, doc: &Value, patch: &Value) -> Result<Value, PatchError> {
    let Value::Object(patch) = patch else {
        let what = match patch {
            Value::Null => return Ok(doc.clone()),
            Value::Array(_) => "array",
            Value::String(_) => "string",
            Value::Bool(_) => "bool",
            _ => "number",
        };
        return Err(PatchError::BadRequest(format!(
            "json: cannot unmarshal {what} into Go value of type map[string]interface {{}}"
        )));
    };
    let doc = doc.as_object().cloned().unwrap_or_default();
    merge_maps(Some(schema), doc, patch.clone()).map(Value::Object)
}

/// The strategy of a field and the node of its value (of its items, for lists).
fn look_up<'a>(schema: Option<&'a Schema>, key: &str) -> Result<(Option<&'a Schema>, Patch), PatchError> {
    let Some(schema) = schema else { return Ok((None, Patch::default())) };
    match &schema.shape {
        Shape::Object(object) if object.go_struct => match object.fields.get(key) {
            Some(field) => Ok((Some(field.schema.get()), field.patch.clone())),
            None => fail(format!(
                "unable to find api field in struct {} for the json field {}",
                name(schema),
                apiserver_meta::field::go_quote(key)
            )),
        },
        Shape::Object(object) => Ok((object.additional.as_ref().map(|slot| &**slot.get()), Patch::default())),
        _ => Ok((None, Patch::default())),
    }
}

fn name(schema: &Schema) -> &str {
    schema.go_type.rsplit('.').next().unwrap_or_default()
}

fn items_of(schema: Option<&Schema>) -> Option<&Schema> {
    schema.and_then(Schema::list).map(|list| &**list.items.get())
}

fn merge_maps(schema: Option<&Schema>, mut original: Map, mut patch: Map) -> Result<Map, PatchError> {
    if let Some(directive) = patch.get(PATCH) {
        return match directive.as_str() {
            Some("replace") => {
                patch.remove(PATCH);
                Ok(patch)
            }
            Some("delete") => Ok(Map::new()),
            _ => bad_patch_type(directive, &patch),
        };
    }
    retain_keys(&mut original, &mut patch)?;
    merge_ordered(schema, &mut original, &mut patch)?;
    for (key, value) in patch {
        let (key, is_delete_list) = if key.starts_with(DELETE_PREFIX) {
            (directive_key(&key, DELETE_PREFIX)?.into(), true)
        } else {
            (key, false)
        };
        merge_member(schema, &mut original, key.to_string(), value, is_delete_list)?;
    }
    Ok(original)
}

fn merge_member(
    schema: Option<&Schema>,
    original: &mut Map,
    key: String,
    mut value: Value,
    is_delete_list: bool,
) -> Result<(), PatchError> {
    if value.is_null() {
        original.remove(&key);
        return Ok(());
    }
    let merged = match (original.remove(&key), value) {
        (Some(Value::Object(old)), Value::Object(new)) => {
            let (node, strategy) = look_up(schema, &key)?;
            if strategy.replace {
                Some(Value::Object(new))
            } else {
                Some(Value::Object(merge_maps(node, old, new)?))
            }
        }
        (Some(Value::Array(old)), Value::Array(new)) => {
            let (node, strategy) = look_up(schema, &key)?;
            if strategy.merge || is_delete_list {
                let merge_key = strategy.merge_key.unwrap_or_default();
                Some(Value::Array(merge_lists(items_of(node), old, new, merge_key, is_delete_list)?))
            } else {
                Some(Value::Array(new))
            }
        }
        (old, _) if is_delete_list => old,
        (Some(old), new) if std::mem::discriminant(&old) == std::mem::discriminant(&new) => strip(new),
        (_, new) => {
            value = new;
            discard_nulls(&mut value);
            strip(value)
        }
    };
    if let Some(merged) = merged {
        original.insert(key.into(), merged);
    }
    Ok(())
}

/// Merges the lists that `$setElementOrder` directives name, and takes both out of the patch.
fn merge_ordered(schema: Option<&Schema>, original: &mut Map, patch: &mut Map) -> Result<(), PatchError> {
    let directives: Vec<_> = patch.keys().filter(|key| key.starts_with(ORDER_PREFIX)).cloned().collect();
    for directive in directives {
        let order = match patch.remove(&directive) {
            Some(Value::Array(order)) => order,
            other => return bad_argument("[]interface {}", &other.unwrap_or_default()),
        };
        let key = directive_key(&directive, ORDER_PREFIX)?;
        let live = as_list(original.get(key))?;
        let wanted = as_list(patch.get(key))?;
        let (node, strategy) = look_up(schema, key)?;
        let merge_key = strategy.merge_key.unwrap_or_default();
        check_order(wanted.as_deref().unwrap_or_default(), &order, merge_key)?;
        let before = live.clone().unwrap_or_default();
        let merged = match (live, wanted) {
            (None, None) => continue,
            (Some(live), None) => live,
            (None, Some(wanted)) => wanted.into_iter().filter_map(strip).collect(),
            (Some(live), Some(wanted)) if strategy.merge => {
                merge_lists(items_of(node), live, wanted, merge_key, false)?
            }
            (Some(_), Some(wanted)) => wanted,
        };
        let arranged = arrange(merged, &order, &before, merge_key)?;
        original.insert(key.to_owned().into(), Value::Array(arranged));
        patch.remove(key);
    }
    Ok(())
}

fn as_list(value: Option<&Value>) -> Result<Option<Items>, PatchError> {
    match value {
        None => Ok(None),
        Some(Value::Array(items)) => Ok(Some(items.clone())),
        Some(other) => bad_argument("[]interface {}", other),
    }
}

fn merge_lists(
    schema: Option<&Schema>,
    original: Items,
    patch: Items,
    merge_key: &str,
    is_delete_list: bool,
) -> Result<Items, PatchError> {
    if original.is_empty() && patch.is_empty() {
        return Ok(original);
    }
    if !are_maps(&[&original, &patch])? {
        if is_delete_list {
            return Ok(original.into_iter().filter(|item| !patch.contains(item)).collect());
        }
        let merged = deduplicate(original.iter().chain(&patch).cloned().collect());
        return arrange(merged, &patch, &original, "");
    }
    if merge_key.is_empty() {
        return fail(format!(
            "cannot merge lists without merge key for {}",
            if schema.is_some_and(|s| s.object().is_some_and(|o| o.go_struct)) { "struct" } else { "map" }
        ));
    }
    let (live, wanted) = special_elements(original, patch, merge_key)?;
    let before = live.clone();
    let merged = merge_elements(schema, live, &wanted, merge_key)?;
    arrange(merged, &wanted, &before, merge_key)
}

/// Upstream's deduplication: a later equal is overwritten by the last element, which moves there.
fn deduplicate(mut items: Items) -> Items {
    let mut i = 0;
    while i < items.len() {
        let mut j = i + 1;
        while j < items.len() {
            if items[i] == items[j] {
                items.swap_remove(j);
            } else {
                j += 1;
            }
        }
        i += 1;
    }
    items
}

/// Carries out `$patch` elements of a list; returns the live list and the patch without them.
fn special_elements(
    mut original: Items,
    patch: Items,
    merge_key: &str,
) -> Result<(Items, Items), PatchError> {
    let mut rest = Items::with_capacity(patch.len());
    let mut replace = false;
    for item in patch {
        let Value::Object(map) = &item else { continue };
        match map.get(PATCH) {
            None => rest.push(item),
            Some(directive) => match directive.as_str() {
                Some("delete") => {
                    let Some(id) = map.get(merge_key) else { return no_merge_key(map, merge_key) };
                    original.retain(|old| old.get(merge_key) != Some(id));
                }
                Some("replace") => replace = true,
                Some("merge") => return fail("merging lists cannot yet be specified in the patch"),
                _ => return bad_patch_type(directive, map),
            },
        }
    }
    if replace { Ok((rest, Items::new())) } else { Ok((original, rest)) }
}

fn merge_elements(
    schema: Option<&Schema>,
    mut original: Items,
    patch: &[Value],
    merge_key: &str,
) -> Result<Items, PatchError> {
    let mut at: std::collections::HashMap<String, usize> = std::collections::HashMap::new();
    for (i, item) in original.iter().enumerate() {
        if let Some(id) = item.get(merge_key) {
            at.entry(id.to_string()).or_insert(i);
        }
    }
    for item in patch {
        let Value::Object(map) = item else { continue };
        let Some(id) = map.get(merge_key) else { return no_merge_key(map, merge_key) };
        let found = at.get(&id.to_string()).and_then(|i| original.get_mut(*i));
        match found {
            Some(slot) => {
                let old = match slot.take() {
                    Value::Object(old) => old,
                    _ => Map::new(),
                };
                *slot = Value::Object(merge_maps(schema, old, map.clone())?);
            }
            None => {
                at.insert(id.to_string(), original.len());
                original.push(item.clone());
            }
        }
    }
    Ok(original)
}

#[cfg(test)]
mod tests {
    use apiserver_json::json;

    use super::*;
    use crate::types::builtin;

    fn pod_spec(spec: Value) -> Value {
        json!({"spec": {"template": {"spec": spec}}})
    }

    fn deployment(doc: Value, patch: Value) -> Result<Value, PatchError> {
        let schema = builtin("apps", "v1", "Deployment").unwrap();
        let out = strategic_merge(&schema, &pod_spec(doc), &pod_spec(patch))?;
        Ok(out["spec"]["template"]["spec"].clone())
    }

    #[test]
    fn lists_merge_by_key() {
        let live = json!({"containers": [{"name": "a", "image": "a:1", "env": [{"name": "X", "value": "1"}]},
            {"name": "b", "image": "b:1"}]});
        let merged = deployment(
            live.clone(),
            json!({"containers": [
            {"name": "a", "image": "a:2", "env": [{"name": "Z", "value": "3"}]}, {"name": "c", "image": "c:1"}]}),
        );
        assert_eq!(
            merged.unwrap(),
            json!({"containers": [
                {"name": "a", "image": "a:2", "env": [{"name": "Z", "value": "3"}, {"name": "X", "value": "1"}]},
                {"name": "c", "image": "c:1"}, {"name": "b", "image": "b:1"}]})
        );
        let deleted = deployment(live.clone(), json!({"containers": [{"name": "b", "$patch": "delete"}]}));
        assert_eq!(deleted.unwrap()["containers"].as_array().unwrap().len(), 1);
        let replaced = deployment(live, json!({"containers": [{"name": "x"}, {"$patch": "replace"}]}));
        assert_eq!(replaced.unwrap(), json!({"containers": [{"name": "x"}]}));
    }

    #[test]
    fn order_directive() {
        let live = json!({"containers": [{"name": "a"}, {"name": "b"}]});
        let patch = json!({"$setElementOrder/containers": [{"name": "c"}, {"name": "b"}, {"name": "a"}],
            "containers": [{"name": "c", "image": "c:1"}]});
        let want = json!({"containers": [{"name": "c", "image": "c:1"}, {"name": "b"}, {"name": "a"}]});
        assert_eq!(deployment(live, patch).unwrap(), want);
    }

    #[test]
    fn retain_keys_clears_the_others() {
        let live = json!({"volumes": [{"name": "v", "emptyDir": {}}]});
        let patch = json!({"volumes": [{"name": "v", "$retainKeys": ["name", "configMap"], "configMap": {"name": "x"}}]});
        let want = json!({"volumes": [{"name": "v", "configMap": {"name": "x"}}]});
        assert_eq!(deployment(live, patch).unwrap(), want);
    }

    #[test]
    fn primitive_lists() {
        let schema = builtin("", "v1", "ConfigMap").unwrap();
        let doc = json!({"metadata": {"finalizers": ["a/1", "b/2"], "labels": {"x": "1"}}});
        let patch = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a/1"],
            "labels": {"$patch": "replace", "only": "this"}}});
        assert_eq!(
            strategic_merge(&schema, &doc, &patch).unwrap(),
            json!({"metadata": {"finalizers": ["b/2"], "labels": {"only": "this"}}})
        );
        let patch = json!({"metadata": {"finalizers": ["c/3"]}});
        let merged = strategic_merge(&schema, &doc, &patch).unwrap();
        assert_eq!(merged["metadata"]["finalizers"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn errors_read_as_upstream_prints_them() {
        let live = json!({"containers": [{"name": "c", "image": "i"}]});
        for (patch, want) in [
            (
                json!({"containers": [{"image": "x"}]}),
                "map: map[image:x] does not contain declared merge key: name",
            ),
            (
                json!({"containers": [{"name": "c", "$patch": "nope"}]}),
                "unknown patch type: nope in map: map[$patch:nope name:c]",
            ),
        ] {
            assert_eq!(deployment(live.clone(), patch).unwrap_err(), PatchError::Failed(want.to_owned()));
        }
        let schema = builtin("apps", "v1", "Deployment").unwrap();
        assert_eq!(
            strategic_merge(&schema, &json!({}), &json!([])).unwrap_err(),
            PatchError::BadRequest(
                "json: cannot unmarshal array into Go value of type map[string]interface {}".to_owned()
            )
        );
    }
}
