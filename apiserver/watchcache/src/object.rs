//! One version of one object: its bytes, and what selectors ask of it, found once and kept.

use std::sync::OnceLock;

use apiserver_json::{Value, from_slice, member, split_value};
use apiserver_storage::{Document, EventKind, Key, Revision, Stored};
use bytes::Bytes;

/// An immutable version of an object.
#[derive(Debug)]
pub struct Object {
    key: Key,
    revision: Revision,
    value: Stored,
    /// Where the JSON of the metadata ends.
    metadata_end: OnceLock<u32>,
    labels: OnceLock<Pairs>,
    fields: OnceLock<Pairs>,
}

/// Names and values.
type Pairs = Box<[(Box<str>, Box<str>)]>;

impl Object {
    pub(crate) fn new(key: Key, revision: Revision, value: Stored) -> Self {
        let (labels, fields) = (OnceLock::new(), OnceLock::new());
        Self { key, revision, value, metadata_end: OnceLock::new(), labels, fields }
    }

    /// An object that is in no store.
    pub fn of(key: Key, revision: Revision, bytes: Bytes) -> Self {
        Self::new(key, revision, Stored::loaded(bytes, None))
    }

    /// The same version of the object as other bytes show it: in another version of its API.
    pub fn with_bytes(&self, bytes: Bytes) -> Self {
        Self::of(self.key.clone(), self.revision, bytes)
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
        apiserver_json::from_slice(&self.value.bytes).unwrap_or_default()
    }

    /// The JSON of the object's `metadata`. Reads no more than that, and once.
    pub fn metadata(&self) -> &[u8] {
        let Some(inside) = self.value.inside_metadata() else { return metadata_of(self.bytes(), None) };
        let start = inside.saturating_sub(1);
        let known = self.metadata_end.get().and_then(|end| self.bytes().get(start..*end as usize));
        known.unwrap_or_else(|| {
            let metadata = metadata_of(self.bytes(), Some(inside));
            self.metadata_is(metadata);
            metadata
        })
    }

    /// Who has read the object tells what its metadata is: it is not looked for again.
    pub fn metadata_is(&self, metadata: &[u8]) {
        let start = self.value.inside_metadata().and_then(|inside| inside.checked_sub(1));
        // What was found elsewhere is no place to be kept.
        if let Some(start) = start
            && !metadata.is_empty()
            && self.bytes().get(start..).is_some_and(|rest| rest.starts_with(metadata))
            && let Ok(end) = u32::try_from(start + metadata.len())
        {
            self.metadata_end.get_or_init(|| end);
        }
    }

    /// This object with other metadata, given as JSON without a resourceVersion; the rest is copied as it is.
    ///
    /// `None` of bytes in which the store found no metadata.
    pub fn with_metadata(&self, metadata: &[u8]) -> Option<Document> {
        let inside = self.value.inside_metadata()?;
        let head = self.bytes().get(..inside.checked_sub(1)?)?;
        let tail = self.bytes().get(head.len() + self.metadata().len()..)?;
        Some(Document { bytes: [head, metadata, tail].concat().into(), splice: Some(inside) })
    }

    /// A label's value.
    pub fn label(&self, key: &str) -> Option<&str> {
        find(self.labels.get_or_init(|| labels_of(self.metadata())), key)
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

fn labels_of(metadata: &[u8]) -> Pairs {
    type Labels = std::collections::BTreeMap<Box<str>, Box<str>>;
    let labels = member(metadata, "labels").and_then(|labels| from_slice::<Option<Labels>>(labels).ok()?);
    labels.into_iter().flatten().collect()
}

/// The JSON of `metadata` in that of an object, of which `inside` is an offset just behind its brace.
fn metadata_of(object: &[u8], inside: Option<usize>) -> &[u8] {
    let found = match inside.and_then(|at| object.get(at.checked_sub(1)?..)) {
        // Only the metadata is read over, not what follows it.
        Some(rest) if rest.first() == Some(&b'{') => split_value(rest).map(|(metadata, _)| metadata),
        _ => member(object, "metadata"),
    };
    found.filter(|metadata| metadata.starts_with(b"{")).unwrap_or(b"{}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_metadata_takes_the_place_of_the_old() {
        let text = br#"{"kind":"K","metadata":{"resourceVersion":"7","name":"a"},"spec":{"metadata":{}}}"#;
        let object = Object::new("/k".into(), 7, Stored::loaded(Bytes::from_static(text), Some((43, 1))));
        let document = object.with_metadata(br#"{"name":"b"}"#).unwrap();
        assert_eq!(&document.bytes[..], br#"{"kind":"K","metadata":{"name":"b"},"spec":{"metadata":{}}}"#);
        assert_eq!(
            &document.at(8)[..],
            br#"{"kind":"K","metadata":{"resourceVersion":"8","name":"b"},"spec":{"metadata":{}}}"#
        );
        let opaque = Object::new("/k".into(), 7, Stored::loaded(Bytes::from_static(text), None));
        assert!(opaque.with_metadata(b"{}").is_none());
    }

    #[test]
    fn the_metadata_is_found_with_and_without_its_place() {
        let table: [(&str, Option<usize>, &str); 5] = [
            (
                r#"{"metadata":{"resourceVersion":"7","name":"a","labels":{"a":"}"}},"spec":{"a":1}}"#,
                Some(13),
                r#"{"resourceVersion":"7","name":"a","labels":{"a":"}"}}"#,
            ),
            (r#"{"spec":{"metadata":1},"metadata":{"name":"a"}}"#, None, r#"{"name":"a"}"#),
            // A place that is none.
            (r#"{"spec":1,"metadata":{"name":"a"}}"#, Some(4), r#"{"name":"a"}"#),
            (r#"{"spec":1,"metadata":{"name":"a"}}"#, Some(400), r#"{"name":"a"}"#),
            (r#"{"spec":1}"#, None, "{}"),
        ];
        for (object, inside, want) in table {
            assert_eq!(metadata_of(object.as_bytes(), inside), want.as_bytes(), "{object}");
        }
    }
}
