//! Stored objects as the items of a list.

use std::sync::Arc;

use apiserver_registry::Resource;
use bytes::{BufMut, Bytes, BytesMut};

use super::served;

/// How the items of a resource's lists are written; what is the same for all of them is found once.
pub(super) struct Items {
    resource: Arc<Resource>,
    /// How a stored object begins that is served as it is.
    stored_head: String,
    /// What of that an item leaves to its list.
    left_out: usize,
}

impl Items {
    pub(super) fn of(resource: &Arc<Resource>) -> Self {
        let api_version = resource.api_version();
        // Custom resources are stored in whatever version was the stored one when they were written, and repeat it.
        let (stored_head, left_out) = if resource.is_custom() {
            (format!("{{\"apiVersion\":\"{api_version}\","), 0)
        } else {
            let head = format!("{{\"apiVersion\":\"{api_version}\",\"kind\":\"{}\",", resource.kind);
            let left_out = head.len();
            (head, left_out)
        };
        Self { resource: resource.clone(), stored_head, left_out }
    }

    /// Appends an object, given as stored.
    pub(super) fn write(&self, out: &mut BytesMut, stored: &Bytes) {
        if stored.starts_with(self.stored_head.as_bytes()) {
            self.put(out, stored);
        } else {
            let value = apiserver_json::from_slice(stored).unwrap_or_default();
            self.put(out, &apiserver_registry::document(&served(&self.resource, value)).bytes);
        }
    }

    fn put(&self, out: &mut BytesMut, bytes: &[u8]) {
        match bytes.get(self.left_out..) {
            Some(rest) if self.left_out > 0 && bytes.starts_with(self.stored_head.as_bytes()) => {
                out.put_u8(b'{');
                out.put_slice(rest);
            }
            _ => out.put_slice(bytes),
        }
    }
}
