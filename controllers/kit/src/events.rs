//! Events: what happened, told on the object it happened to. The same sentence again only counts up.
//!
//! An Event that cannot be written is dropped: loops never wait for them. Events in turn wait a moment for the loops:
//! one change of a Pod makes more Events than anything else, and what routes requests goes first.

use crate::key::Key;
use crate::meta::{now, seconds};
use crate::raw;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::{Client, Resource};
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep_until};

/// More than this many waiting Events are dropped.
const WAITING_MAX: usize = 4096;
/// How long an Event is held back.
const HELD_BACK: Duration = Duration::from_millis(50);
/// Events that are written at the same time, by all recorders of a process: a cluster has as many recorders as nodes, and
/// what each of them has to tell must not crowd out what it tells of.
static WRITERS: Semaphore = Semaphore::const_new(4);
/// More than this many sentences are not remembered for counting.
const REMEMBERED_MAX: usize = 4096;

/// Good news or a warning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// As it should be.
    Normal,
    /// Somebody should look.
    Warning,
}

struct Note {
    about: ObjectReference,
    kind: Kind,
    reason: String,
    message: String,
    at: Timestamp,
    due: Instant,
}

/// Writes Events of one component; clones share the queue.
#[derive(Clone)]
pub struct Recorder {
    notes: mpsc::Sender<Note>,
}

/// The reference of an object, for Events about it.
pub fn reference<K: Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
    let meta = object.meta();
    ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path: None,
    }
}

impl Recorder {
    /// A recorder for this component, as `kubectl describe` shows it in the column From.
    pub fn new(client: Client, component: &'static str) -> Self {
        Self::with_host(client, component, None)
    }

    /// A recorder of a component on a node.
    pub fn with_host(client: Client, component: &'static str, host: Option<String>) -> Self {
        let (notes, receiver) = mpsc::channel(WAITING_MAX);
        crate::spawn("events", write_all(client, component, host, receiver));
        Recorder { notes }
    }

    /// Good news about an object.
    pub fn normal<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        reason: &str,
        message: impl Into<String>,
    ) {
        self.about(reference(object), Kind::Normal, reason, message);
    }

    /// Good news that began at a time: what follows from it may be told first and is listed after it.
    pub fn normal_since<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        reason: &str,
        message: impl Into<String>,
        at: Timestamp,
    ) {
        self.note(reference(object), Kind::Normal, (reason, message.into()), at);
    }

    /// A warning about an object.
    pub fn warning<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        reason: &str,
        message: impl Into<String>,
    ) {
        self.about(reference(object), Kind::Warning, reason, message);
    }

    /// An Event about what the reference names.
    pub fn about(&self, about: ObjectReference, kind: Kind, reason: &str, message: impl Into<String>) {
        self.note(about, kind, (reason, message.into()), Timestamp::now());
    }

    fn note(&self, about: ObjectReference, kind: Kind, (reason, message): (&str, String), at: Timestamp) {
        let note =
            Note { about, kind, reason: reason.to_string(), message, at, due: Instant::now() + HELD_BACK };
        if self.notes.try_send(note).is_err() {
            tracing::debug!(reason, "event dropped");
        }
    }
}

type Sentence = (String, String, String, String);

async fn write_all(
    client: Client,
    component: &'static str,
    host: Option<String>,
    mut notes: mpsc::Receiver<Note>,
) {
    let mut written: HashMap<Sentence, (String, i32)> = HashMap::new();
    while let Some(note) = notes.recv().await {
        sleep_until(note.due).await;
        // It is never closed.
        let _turn = WRITERS.acquire().await;
        let namespace = note.about.namespace.clone().filter(|n| !n.is_empty()).unwrap_or("default".into());
        let sentence = (
            note.about.uid.clone().unwrap_or_default(),
            note.about.field_path.clone().unwrap_or_default(),
            note.reason.clone(),
            note.message.clone(),
        );
        if let Some((name, count)) = written.get_mut(&sentence) {
            *count += 1;
            let patch = serde_json::json!({"count": *count, "lastTimestamp": now()});
            let key = Key::new(&namespace, name.as_str());
            if raw::merge::<Event>(&client, "", &key, &patch).await.is_ok() {
                continue;
            }
        }
        let event = first(&note, component, host.as_deref(), namespace);
        let name = event.metadata.name.clone().unwrap_or_default();
        match raw::create_unread(&client, &event).await {
            Ok(_) => {
                if written.len() >= REMEMBERED_MAX {
                    written.clear();
                }
                written.insert(sentence, (name, 1));
            }
            Err(error) => tracing::debug!(error = %error, reason = note.reason, "event not written"),
        }
    }
}

fn first(note: &Note, component: &str, host: Option<&str>, namespace: String) -> Event {
    let at = Time(seconds(note.at));
    let object = note.about.name.clone().unwrap_or_default();
    let name = format!("{object}.{:x}", note.at.as_nanosecond());
    let kind = match note.kind {
        Kind::Normal => "Normal",
        Kind::Warning => "Warning",
    };
    Event {
        metadata: ObjectMeta { name: Some(name), namespace: Some(namespace), ..Default::default() },
        involved_object: note.about.clone(),
        reason: Some(note.reason.clone()),
        message: Some(note.message.clone()),
        type_: Some(kind.to_string()),
        source: Some(EventSource { component: Some(component.to_string()), host: host.map(str::to_string) }),
        reporting_component: Some(component.to_string()),
        reporting_instance: Some(host.unwrap_or_default().to_string()),
        count: Some(1),
        first_timestamp: Some(at.clone()),
        last_timestamp: Some(at),
        ..Default::default()
    }
}
