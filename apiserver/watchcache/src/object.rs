//! One version of one object: its bytes, and what selectors ask of it, found once and kept.

use std::sync::OnceLock;

use apiserver_storage::{Document, EventKind, Key, Revision, Stored};
use bytes::Bytes;
use serde_json::Value;

/// An immutable version of an object.
#[derive(Debug)]
pub struct Object {
    key: Key,
    revision: Revision,
    value: Stored,
    labels: OnceLock<Pairs>,
    fields: OnceLock<Pairs>,
}

/// Names and values.
type Pairs = Box<[(Box<str>, Box<str>)]>;

impl Object {
    pub(crate) fn new(key: Key, revision: Revision, value: Stored) -> Self {
        Self { key, revision, value, labels: OnceLock::new(), fields: OnceLock::new() }
    }

    pub fn key(&self) -> &Key {
        &self.key
    }

    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The object as JSON, with its resourceVersion.
    pub fn bytes(&self) -> &Bytes {
        &self.value.bytes
    }

    /// The watch frame of this version.
    pub fn frame(&self, kind: EventKind) -> Bytes {
        self.value.frame(kind)
    }

    /// Whether storing `document` would change nothing but the revision.
    pub fn holds(&self, document: &Document) -> bool {
        self.value.holds(document)
    }

    /// The object parsed. Costs a parse a call: keep the result.
    pub fn parse(&self) -> Value {
        // What is stored was serialised by this server; a damaged record is refused when the log is loaded.
        serde_json::from_slice(&self.value.bytes).unwrap_or_default()
    }

    /// A label's value.
    pub fn label(&self, key: &str) -> Option<&str> {
        find(self.labels.get_or_init(|| labels_of(&self.value.bytes)), key)
    }

    /// A selectable field's value; `extract` finds all of a kind's fields, once.
    pub fn field(&self, path: &str, extract: impl FnOnce(&Value) -> Vec<(String, String)>) -> Option<&str> {
        let fields = self.fields.get_or_init(|| {
            let fields = extract(&self.parse());
            fields.into_iter().map(|(path, value)| (path.into_boxed_str(), value.into_boxed_str())).collect()
        });
        find(fields, path)
    }
}

fn find<'a>(pairs: &'a [(Box<str>, Box<str>)], key: &str) -> Option<&'a str> {
    pairs.iter().find(|(name, _)| &**name == key).map(|(_, value)| &**value)
}

fn labels_of(bytes: &[u8]) -> Pairs {
    #[derive(serde::Deserialize)]
    struct Head {
        #[serde(default)]
        metadata: Metadata,
    }
    #[derive(Default, serde::Deserialize)]
    struct Metadata {
        #[serde(default)]
        labels: Option<std::collections::BTreeMap<Box<str>, Box<str>>>,
    }
    serde_json::from_slice::<Head>(bytes)
        .ok()
        .and_then(|head| head.metadata.labels)
        .map(|labels| labels.into_iter().collect())
        .unwrap_or_default()
}
