//! Who is behind a call, what they asked for beside the object, and where they are told of warnings.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

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
}

impl Requester<'_> {
    /// Is it the server that writes? Nothing that is configured in the cluster may keep it from starting.
    pub(crate) fn is_server(&self) -> bool {
        self.name.is_empty()
    }

    pub(crate) fn warn(&self, text: String) {
        if let Some(warnings) = self.warnings {
            warnings.add(text);
        }
    }
}

/// Texts for the `Warning` headers of one request, each told once.
#[derive(Debug, Default)]
pub struct Warnings(Mutex<Vec<String>>);

impl Warnings {
    pub fn add(&self, text: String) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains(&text) {
            known.push(text);
        }
    }

    /// What has been added, once.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
