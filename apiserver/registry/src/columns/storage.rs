//! Cells of volumes, claims, and the kinds of `storage.k8s.io`.

use apiserver_json::{Value, json};

use super::Subject;

pub(super) fn cell(subject: &Subject, column: &str) -> Value {
    match (subject.kind, column) {
        ("StorageClass", "Provisioner") => json!(subject.text("/provisioner")),
        ("StorageClass", "ReclaimPolicy") => json!(subject.text("/reclaimPolicy")),
        ("StorageClass", "VolumeBindingMode") => json!(subject.text("/volumeBindingMode")),
        ("StorageClass", "AllowVolumeExpansion") => {
            json!(subject.at("/allowVolumeExpansion") == &json!(true))
        }
        ("CSIDriver", "AttachRequired") => {
            json!(subject.at("/spec/attachRequired").as_bool().unwrap_or(true))
        }
        ("CSIDriver", "PodInfoOnMount") => json!(subject.at("/spec/podInfoOnMount") == true),
        ("CSIDriver", "StorageCapacity") => json!(subject.at("/spec/storageCapacity") == true),
        ("CSIDriver", "RequiresRepublish") => json!(subject.at("/spec/requiresRepublish") == true),
        ("CSIDriver", "TokenRequests") => {
            let audiences: Vec<&str> =
                subject.items("/spec/tokenRequests").iter().filter_map(|r| r["audience"].as_str()).collect();
            json!(if audiences.is_empty() { "<unset>".to_owned() } else { audiences.join(",") })
        }
        ("CSIDriver", "Modes") => {
            let modes: Vec<&str> =
                subject.items("/spec/volumeLifecycleModes").iter().filter_map(Value::as_str).collect();
            json!(if modes.is_empty() { "<none>".to_owned() } else { modes.join(",") })
        }
        ("VolumeAttachment", "Attacher") => json!(subject.text("/spec/attacher")),
        ("VolumeAttachment", "PV") => json!(subject.text("/spec/source/persistentVolumeName")),
        ("VolumeAttachment", "Node") => json!(subject.text("/spec/nodeName")),
        ("VolumeAttachment", "Attached") => json!(subject.at("/status/attached") == true),
        ("VolumeAttributesClass", "DriverName") => json!(subject.text("/driverName")),
        ("CSINode", "Drivers") => json!(subject.items("/spec/drivers").len()),
        _ => Value::Null,
    }
}

/// In the order in which they are told.
const ACCESS_MODES: [(&str, &str); 4] = [
    ("ReadWriteOnce", "RWO"),
    ("ReadOnlyMany", "ROX"),
    ("ReadWriteMany", "RWX"),
    ("ReadWriteOncePod", "RWOP"),
];

fn or_unset(value: &Value) -> Value {
    json!(value.as_str().unwrap_or("<unset>"))
}

pub(super) fn volume(volume: &Subject, column: &str) -> Value {
    let claim = volume.kind == "PersistentVolumeClaim";
    match column {
        "Status" if !volume.at("/metadata/deletionTimestamp").is_null() => json!("Terminating"),
        "Status" => json!(volume.text("/status/phase")),
        "Volume" => json!(volume.text("/spec/volumeName")),
        // Of a claim this is known once it has a volume.
        "Capacity" | "Access Modes" if claim && volume.text("/spec/volumeName").is_empty() => json!(""),
        "Capacity" => {
            let size = volume.at(if claim { "/status/capacity/storage" } else { "/spec/capacity/storage" });
            json!(size.as_str().unwrap_or("0"))
        }
        "Access Modes" => {
            let modes = volume.items(if claim { "/status/accessModes" } else { "/spec/accessModes" });
            let has = |mode: &str| modes.iter().any(|one| one == mode);
            let short = ACCESS_MODES.iter().filter(|(mode, _)| has(mode)).map(|(_, short)| *short);
            json!(short.collect::<Vec<_>>().join(","))
        }
        "StorageClass" => {
            let old = &volume.at("/metadata/annotations")["volume.beta.kubernetes.io/storage-class"];
            json!(old.as_str().unwrap_or(volume.text("/spec/storageClassName")))
        }
        "VolumeAttributesClass" => or_unset(volume.at("/spec/volumeAttributesClassName")),
        "VolumeMode" => or_unset(volume.at("/spec/volumeMode")),
        "Reclaim Policy" => json!(volume.text("/spec/persistentVolumeReclaimPolicy")),
        "Claim" => match volume.text("/spec/claimRef/name") {
            "" => json!(""),
            name => json!(format!("{}/{name}", volume.text("/spec/claimRef/namespace"))),
        },
        "Reason" => json!(volume.text("/status/reason")),
        _ => Value::Null,
    }
}
