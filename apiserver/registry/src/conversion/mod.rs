//! Conversion of custom resources by a webhook: `apiextensions-apiserver/pkg/apiserver/conversion` upstream.
//!
//! Whatever is read, watched or written passes here on its way between the store and the version of the request, so
//! that the rest of the server sees objects of one version alone. Nothing is remembered of what a webhook answered:
//! who mends one sees the new answers at once.

mod review;
mod settle;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use apiserver_json::Value;
use apiserver_meta::{Status, packed};
use apiserver_schema::Schema;
use apiserver_watchcache::Object;
use bytes::Bytes;

pub use self::settle::needs_settling;
use crate::catalogue::Resource;
use crate::registry::Registry;
use crate::strategy::shared::{items, text};
use crate::webhook::{Version, WebhookError, WebhookTarget};
use crate::{convert, encode, object};

/// How long a webhook is waited for.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of objects in one review: an answer may be three times as long before it is refused.
const REVIEW_BYTES_MAX: usize = 1 << 20;

/// `spec.conversion` of a definition whose strategy is Webhook.
#[derive(Debug)]
pub struct Conversion {
    target: WebhookTarget,
    /// The review it is sent; `None` where it takes none that we know.
    version: Option<Version>,
    /// The schema of each version, by `apiVersion`: what a webhook adds beside them is dropped.
    schemas: BTreeMap<String, Arc<Schema>>,
}

impl Conversion {
    /// Reads a definition's `spec`; `None` where no webhook converts.
    pub(crate) fn of(spec: &Value, schemas: &BTreeMap<String, Arc<Schema>>) -> Option<Self> {
        let conversion = &spec["conversion"];
        if text(conversion, "strategy") != "Webhook" {
            return None;
        }
        let webhook = &conversion["webhook"];
        let versions = items(webhook, "conversionReviewVersions");
        Some(Self {
            target: WebhookTarget::of(&webhook["clientConfig"]),
            version: versions.iter().filter_map(Value::as_str).find_map(Version::named),
            schemas: schemas.clone(),
        })
    }

    fn schema(&self, api_version: &str, direction: &str) -> Result<&Schema, Status> {
        let found = self.schemas.get(api_version).map(Arc::as_ref);
        let why = || format!("request to convert CR {direction} an invalid group/version: {api_version}");
        found.ok_or_else(|| failed(why()))
    }
}

/// Upstream lets the bare sentence through.
fn failed(why: String) -> Status {
    Status::new(500, "", why)
}

fn conversion(resource: &Resource) -> Option<&Conversion> {
    resource.custom.as_ref()?.conversion.as_ref().map(Arc::as_ref)
}

impl Resource {
    /// Does a webhook convert its objects?
    pub fn asks_to_convert(&self) -> bool {
        conversion(self).is_some()
    }
}

impl Registry {
    /// A stored tree in the version of `resource`.
    ///
    /// # Errors
    /// 500 where a webhook does not convert it.
    pub(crate) async fn to_served(
        &self,
        resource: &Resource,
        stored: Arc<Value>,
    ) -> Result<Arc<Value>, Status> {
        let api_version = resource.api_version();
        match conversion(resource).filter(|_| text(&stored, "apiVersion") != api_version) {
            Some(conversion) => {
                let stored = Arc::unwrap_or_clone(settle::of_today(resource, stored));
                Box::pin(self.convert_one(conversion, stored, &api_version)).await.map(Arc::new)
            }
            None => Ok(convert::shared_from_stored(resource, settle::settled_tree(resource, stored))),
        }
    }

    /// An object of the version of `resource` as it is stored.
    ///
    /// # Errors
    /// 500 where a webhook does not convert it.
    pub(crate) async fn to_stored(&self, resource: &Resource, object: Value) -> Result<Value, Status> {
        let wanted = &resource.stored_api_version;
        match conversion(resource).filter(|_| text(&object, "apiVersion") != wanted) {
            Some(conversion) => {
                let converted = Box::pin(self.convert_one(conversion, object, wanted)).await?;
                Ok(settle::settled_for_store(resource, converted))
            }
            None => Ok(settle::settled_for_store(resource, convert::to_stored(resource, object))),
        }
    }

    /// An object of one version of a resource in another one.
    ///
    /// # Errors
    /// 500 where a webhook does not convert it.
    pub(crate) async fn in_version(
        &self,
        from: &Resource,
        to: &Resource,
        object: Value,
    ) -> Result<Value, Status> {
        match conversion(from) {
            Some(conversion) => {
                let found = self.convert_one(conversion, object, &to.api_version()).await;
                found.map_err(|status| Status::internal(status.message))
            }
            None => Ok(convert::from_stored(to, convert::to_stored(from, object))),
        }
    }

    /// Stored bytes as [`convert::from_stored`] can read them: converted where that takes a webhook.
    ///
    /// # Errors
    /// 500 where a webhook does not convert them.
    pub(crate) async fn served_bytes(&self, resource: &Resource, stored: Bytes) -> Result<Bytes, Status> {
        let api_version = resource.api_version();
        let Some(conversion) = conversion(resource) else {
            return Ok(settle::settled_bytes(resource, stored));
        };
        if is_in(&stored, &api_version) {
            return Ok(stored);
        }
        let object = packed::parse(&stored).unwrap_or_default();
        let converted = Box::pin(self.convert_one(conversion, object, &api_version)).await?;
        Ok(encode::document(&converted).bytes)
    }

    /// As [`Registry::served_bytes`], of many objects: those that need it are converted together.
    ///
    /// # Errors
    /// 500 where a webhook does not convert them.
    pub async fn served_objects(
        &self,
        resource: &Resource,
        mut objects: Vec<Arc<Object>>,
    ) -> Result<Vec<Arc<Object>>, Status> {
        let api_version = resource.api_version();
        let Some(conversion) = conversion(resource) else {
            let settled = objects.into_iter().map(|object| settle::settled(resource, object));
            return Ok(settled.collect());
        };
        let others = |(i, object): (usize, &Arc<Object>)| {
            (!is_in(object.bytes(), &api_version)).then(|| (i, object.bytes().len()))
        };
        let others: Vec<(usize, usize)> = objects.iter().enumerate().filter_map(others).collect();
        for object in &mut objects {
            if is_in(object.bytes(), &api_version) {
                *object = settle::settled(resource, object.clone());
            }
        }
        for batch in batches(&others) {
            let trees = batch.iter().map(|(i, _)| settle::tree_of_today(resource, &objects[*i])).collect();
            let converted = match Box::pin(self.convert(conversion, trees, &api_version)).await {
                Ok(converted) => converted,
                Err(status) => {
                    // Upstream has each converted by itself: what is told is what is wrong with the first.
                    let [(first, _), _, ..] = batch else { return Err(status) };
                    let first = settle::tree_of_today(resource, &objects[*first]);
                    Box::pin(self.convert_one(conversion, first, &api_version)).await?;
                    return Err(status);
                }
            };
            for ((i, _), tree) in batch.iter().zip(converted) {
                objects[*i] = Arc::new(objects[*i].with_bytes(encode::document(&tree).bytes));
            }
        }
        Ok(objects)
    }

    async fn convert_one(
        &self,
        conversion: &Conversion,
        object: Value,
        wanted: &str,
    ) -> Result<Value, Status> {
        let converted = self.convert(conversion, vec![object], wanted).await?;
        converted.into_iter().next().ok_or_else(|| failed("no object was converted".to_owned()))
    }

    /// Has a webhook convert packed trees. A resourceVersion is no part of what it is sent.
    async fn convert(
        &self,
        conversion: &Conversion,
        mut objects: Vec<Value>,
        wanted: &str,
    ) -> Result<Vec<Value>, Status> {
        let schema = conversion.schema(wanted, "to")?;
        for object in &objects {
            conversion.schema(text(object, "apiVersion"), "from")?;
        }
        let version = conversion.version;
        let version = version.ok_or_else(|| failed("no supported conversion review versions".to_owned()))?;
        let revisions: Vec<Option<Value>> =
            objects.iter_mut().map(|object| object::metadata_mut(object).remove("resourceVersion")).collect();
        let uid = uuid::Uuid::new_v4().to_string();
        let body = review::body(version, &uid, wanted, &objects);
        let answer = match self.webhook_caller() {
            Some(caller) => caller.call(&conversion.target, body, TIMEOUT).await,
            None => Err(WebhookError::Call("this server calls no webhooks".to_owned())),
        };
        let answer = answer.map_err(|error| match error {
            WebhookError::Config(why) | WebhookError::Call(why) => why,
        });
        let converted = answer.and_then(|answer| review::read(version, &uid, &answer));
        let converted =
            converted.map_err(|why| failed(format!("{} failed: {why}", review::subject(objects.first()))))?;
        let mut converted = review::checked(&objects, converted, wanted).map_err(failed)?;
        for (object, revision) in converted.iter_mut().zip(revisions) {
            apiserver_schema::prune(schema, object);
            if let Some(revision) = revision {
                object::metadata_mut(object).insert("resourceVersion".into(), revision);
            }
        }
        Ok(converted)
    }
}

/// Do an object's bytes begin with this `apiVersion`, as [`encode::document`] writes them?
fn is_in(bytes: &[u8], api_version: &str) -> bool {
    let rest =
        bytes.strip_prefix(b"{\"apiVersion\":\"").and_then(|rest| rest.strip_prefix(api_version.as_bytes()));
    rest.is_some_and(|rest| rest.starts_with(b"\""))
}

/// Objects, by place and size, in pieces that fit into a review.
fn batches(objects: &[(usize, usize)]) -> Vec<&[(usize, usize)]> {
    let mut found = Vec::new();
    let (mut start, mut size) = (0, 0);
    for (i, (_, bytes)) in objects.iter().enumerate() {
        if i > start && size + bytes > REVIEW_BYTES_MAX {
            found.push(&objects[start..i]);
            (start, size) = (i, 0);
        }
        size += bytes;
    }
    if start < objects.len() {
        found.push(&objects[start..]);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_sent_together_as_far_as_they_fit() {
        let half = REVIEW_BYTES_MAX / 2;
        for (sizes, want) in [
            (vec![], vec![]),
            (vec![1, 2, 3], vec![3]),
            (vec![half, half, 1], vec![2, 1]),
            (vec![3 * half, 1, half, half], vec![1, 2, 1]),
        ] {
            let objects: Vec<(usize, usize)> = sizes.into_iter().enumerate().collect();
            let found: Vec<usize> = batches(&objects).into_iter().map(<[_]>::len).collect();
            assert_eq!(found, want, "{objects:?}");
        }
    }

    #[test]
    fn the_version_of_stored_bytes_is_seen_without_a_parse() {
        for (bytes, want) in [
            (r#"{"apiVersion":"e.com/v1","kind":"A"}"#, true),
            (r#"{"apiVersion":"e.com/v10","kind":"A"}"#, false),
            (r#"{"kind":"A"}"#, false),
            ("", false),
        ] {
            assert_eq!(is_in(bytes.as_bytes(), "e.com/v1"), want, "{bytes}");
        }
    }
}
