//! How large an object may be. What owns its fields is given up before the object is.

use apiserver_json::Value;
use apiserver_meta::Status;
use apiserver_storage::Document;

use crate::catalogue::Resource;
use crate::create::Ownership;
use crate::{encode, object};

/// Bytes of a stored object: what etcd takes unless it is told otherwise, and so what upstream's servers take.
const OBJECT_BYTES_MAX: usize = 3 << 19;

/// The bytes of an object that is stored. `in_etcd` knows a limit of its own; here custom resources have it, which
/// upstream stores as they are here. Built-in kinds are smaller there than here: requests have a limit, that must do.
///
/// # Errors
/// 500 with etcd's words for an object that is too large.
pub(crate) fn fit(
    resource: &Resource,
    stored: &mut Value,
    ownership: Ownership,
    in_etcd: bool,
) -> Result<Document, Status> {
    let document = encode::document(stored);
    let is_bound = in_etcd || resource.is_custom();
    if document.bytes.len() <= OBJECT_BYTES_MAX || !is_bound {
        return Ok(document);
    }
    // As upstream's handlers do after the store has refused it, but for an apply.
    let document = match ownership {
        Ownership::Applied => document,
        Ownership::Update => {
            object::metadata_mut(stored).remove("managedFields");
            encode::document(stored)
        }
    };
    if document.bytes.len() > OBJECT_BYTES_MAX && !in_etcd {
        return Err(Status::new(500, "", "etcdserver: request is too large"));
    }
    Ok(document)
}

#[cfg(test)]
mod tests {
    use apiserver_json::json;

    use super::*;
    use crate::catalogue::Catalogue;

    #[test]
    fn owners_are_given_up_before_the_object_is() {
        let catalogue = Catalogue::builtin();
        let resource = catalogue.get("", "v1", "configmaps").expect("a built-in resource");
        let object = |kept: usize, owned: usize| json!({"metadata": {"name": "a", "managedFields": [{"manager": "m".repeat(owned)}]}, "data": {"k": "x".repeat(kept)}});
        let half = OBJECT_BYTES_MAX / 2;
        for (kept, owned, ownership, is_owned) in [
            (10, 10, Ownership::Update, true),
            (half, half, Ownership::Update, false),
            (half, half, Ownership::Applied, true),
        ] {
            let mut stored = object(kept, owned);
            let document = fit(resource, &mut stored, ownership, true).expect("etcd is asked");
            assert_eq!(stored["metadata"].get("managedFields").is_some(), is_owned);
            assert_eq!(document.bytes, encode::document(&stored).bytes);
        }
    }
}
