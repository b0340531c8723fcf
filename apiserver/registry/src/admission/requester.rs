//! Who is behind a call, what they asked for beside the object, and where they are told of warnings.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use apiserver_cel::Authority;
use apiserver_json::Value;

/// Who asks; nobody where the server itself writes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Requester<'a> {
    pub name: &'a str,
    pub uid: &'a str,
    pub groups: &'a [String],
    pub extra: Option<&'a BTreeMap<String, Vec<String>>>,
    /// The members of the request's options that were given.
    pub options: Option<&'a Value>,
    /// Where warnings go that are told whatever becomes of the request.
    pub warnings: Option<&'a Warnings>,
    /// Who decides what they may do.
    pub authority: Option<&'a dyn Authority>,
}

impl Requester<'_> {
    /// Is it the server that writes? Nothing that is configured in the cluster may keep it from starting.
    pub(crate) fn is_server(&self) -> bool {
        self.name.is_empty()
    }

    /// What webhooks come to; how long they take is noted.
    pub(crate) async fn waiting<T>(&self, webhooks: impl Future<Output = T>) -> T {
        let since = Instant::now();
        let outcome = webhooks.await;
        if let Some(warnings) = self.warnings {
            warnings.wait(since.elapsed());
        }
        outcome
    }

    pub(crate) fn warn(&self, text: String) {
        if let Some(warnings) = self.warnings {
            warnings.add(text);
        }
    }
}

/// Texts for the `Warning` headers of one request, each told once; and how long webhooks made it wait.
#[derive(Debug, Default)]
pub struct Warnings {
    texts: Mutex<Vec<String>>,
    waited_ns: AtomicU64,
}

impl Warnings {
    pub fn add(&self, text: String) {
        let mut known = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains(&text) {
            known.push(text);
        }
    }

    /// What comes before all that has been added.
    pub fn add_first(&self, texts: &[String]) {
        let mut known = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        let first: HashSet<&String> = texts.iter().collect();
        known.retain(|text| !first.contains(text));
        known.splice(..0, texts.iter().cloned());
    }

    /// What has been added, once.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.texts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Webhooks took so long.
    fn wait(&self, time: Duration) {
        self.waited_ns.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How long webhooks took, all together.
    pub fn waited(&self) -> Duration {
        Duration::from_nanos(self.waited_ns.load(Ordering::Relaxed))
    }
}
