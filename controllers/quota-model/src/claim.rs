//! PersistentVolumeClaims: themselves and the storage they ask for, also by storage class.

use serde_json::Value;

use crate::amount::Amount;
use crate::amounts::{self, Amounts};
use crate::scope::Requirement;
use crate::text;

const COUNT: &str = "count/persistentvolumeclaims";
const OF_CLASSES: &[&str] = &["persistentvolumeclaims", "requests.storage"];
const CLASS: &str = ".storageclass.storage.k8s.io/";
const LEGACY_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

pub(crate) fn counts(name: &str) -> bool {
    let by_class = |(_, of): (&str, &str)| OF_CLASSES.contains(&of);
    name == COUNT || OF_CLASSES.contains(&name) || name.rsplit_once(CLASS).is_some_and(by_class)
}

pub(crate) fn usage(claim: &Value) -> Amounts {
    let mut usage = Amounts::from([(COUNT.to_owned(), Amount::count(1))]);
    let class = class(claim);
    let mut charge = |name: &str, amount: &Amount| {
        usage.insert(name.to_owned(), amount.clone());
        if !class.is_empty() {
            usage.insert(format!("{class}{CLASS}{name}"), amount.clone());
        }
    };
    charge("persistentvolumeclaims", &Amount::count(1));
    if let Some(storage) = storage(claim) {
        charge("requests.storage", &storage);
    }
    usage
}

fn class(claim: &Value) -> &str {
    let legacy = claim["metadata"]["annotations"].get(LEGACY_CLASS).and_then(Value::as_str);
    legacy.unwrap_or_else(|| text(&claim["spec"], "storageClassName"))
}

/// What is asked for, or was allocated while it grew: in whole bytes.
fn storage(claim: &Value) -> Option<Amount> {
    let asked = amounts::read(&claim["spec"]["resources"], "requests").remove("storage")?;
    let allocated = amounts::read(&claim["status"], "allocatedResources").remove("storage");
    let storage = allocated.filter(|allocated| *allocated > asked).unwrap_or(asked);
    Some(storage.rounded_up())
}

pub(crate) fn matches(requirement: &Requirement<'_>, claim: &Value) -> bool {
    let (spec, status) = (&claim["spec"], &claim["status"]);
    let mut names = vec![
        text(spec, "volumeAttributesClassName"),
        text(status, "currentVolumeAttributesClassName"),
        text(&status["modifyVolumeStatus"], "targetVolumeAttributesClassName"),
    ];
    names.retain(|name| !name.is_empty());
    requirement.scope == "VolumeAttributesClass" && requirement.meets(&names)
}
