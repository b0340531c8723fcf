//! StorageObjectInUseProtection: what stores data is not gone while somebody uses it. A controller takes the finalizer
//! away once nobody does.

use apiserver_json::{Items, Value};

use crate::object;
use crate::registry::{Call, Registry};

pub(super) const NAME: &str = "StorageObjectInUseProtection";

const FINALIZERS: [(&str, &str); 3] = [
    ("PersistentVolumeClaim", "kubernetes.io/pvc-protection"),
    ("PersistentVolume", "kubernetes.io/pv-protection"),
    ("VolumeAttributesClass", "kubernetes.io/vac-protection"),
];

pub(super) fn protect(_: &Registry, call: &Call<'_>, value: &mut Value) -> Result<(), super::Refusal> {
    let ours = FINALIZERS.iter().find(|(kind, _)| *kind == call.resource.kind);
    if let Some((_, finalizer)) = ours
        && !object::finalizers(value).contains(finalizer)
    {
        let list =
            object::metadata_mut(value).entry("finalizers").or_insert_with(|| Value::Array(Items::new()));
        if let Some(list) = list.as_array_mut() {
            list.push((*finalizer).into());
        }
    }
    Ok(())
}
