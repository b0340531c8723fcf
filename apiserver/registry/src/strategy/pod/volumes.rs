//! Volumes and what each source of one must say: `ValidateVolumes` and `validateVolumeSource` upstream.

use std::fmt::Display;

use apiserver_json::Value;
use apiserver_meta::field::FieldError;
use apiserver_meta::{names, quantity};

use super::super::shared::{
    at, below, check_enum, check_required, check_rule, check_set_enum, check_template_metadata, has, items,
    number, require, text,
};
use super::paths::{check_file_mode, check_local, check_no_backsteps, check_relative};
use super::{Spec, projected, sources};

/// What a volume source is checked with: itself, its path, the Pod, errors.
type Check = fn(&Value, &str, &Spec, &mut Vec<FieldError>);

/// (member, the name its refusal beside another shows, its own rules) in the order upstream looks at them.
pub(super) const SOURCES: &[(&str, &str, Check)] = &[
    ("emptyDir", "emptyDir", empty_dir),
    ("hostPath", "hostPath", |source, path, _, errors| host_path(source, path, errors)),
    ("gitRepo", "gitRepo", git_repo),
    ("gcePersistentDisk", "gcePersistentDisk", |source, path, _, errors| {
        sources::gce_disk(source, &path.replace("gcePersistentDisk", "persistentDisk"), errors);
    }),
    ("awsElasticBlockStore", "awsElasticBlockStore", |source, path, _, errors| {
        sources::aws_disk(source, path, errors);
    }),
    ("secret", "secret", |source, path, _, errors| {
        require(source, "secretName", path, errors);
        key_paths(source, path, errors);
    }),
    ("nfs", "nfs", |source, path, _, errors| sources::nfs(source, path, errors)),
    ("iscsi", "iscsi", |source, path, _, errors| sources::iscsi(source, path, None, errors)),
    ("glusterfs", "glusterfs", |source, path, _, errors| {
        sources::require_all("glusterfs", source, path, errors);
    }),
    ("flocker", "flocker", |source, path, _, errors| sources::flocker(source, path, errors)),
    ("persistentVolumeClaim", "persistentVolumeClaim", |source, path, _, errors| {
        require(source, "claimName", path, errors);
    }),
    ("rbd", "rbd", |source, path, _, errors| sources::require_all("rbd", source, path, errors)),
    ("cinder", "cinder", |source, path, _, errors| sources::cinder(source, path, errors)),
    ("cephfs", "cephFS", |source, path, _, errors| sources::require_all("cephfs", source, path, errors)),
    ("quobyte", "quobyte", |source, path, _, errors| sources::quobyte(source, path, errors)),
    // The slip of the pen is upstream's.
    ("downwardAPI", "downwarAPI", |source, path, _, errors| {
        check_file_mode(source, "defaultMode", path, errors);
        for file in items(source, "items") {
            projected::check_downward_file(file, path, errors);
        }
    }),
    ("fc", "fc", |source, path, _, errors| sources::fc(source, path, errors)),
    ("flexVolume", "flexVolume", |source, path, _, errors| sources::flex(source, path, errors)),
    ("configMap", "configMap", |source, path, _, errors| {
        require(source, "name", path, errors);
        key_paths(source, path, errors);
    }),
    ("azureFile", "azureFile", |source, path, _, errors| {
        sources::require_all("azureFile", source, path, errors);
    }),
    ("vsphereVolume", "vsphereVolume", |source, path, _, errors| {
        sources::require_all("vsphereVolume", source, path, errors);
    }),
    ("photonPersistentDisk", "photonPersistentDisk", |source, path, _, errors| {
        sources::require_all("photonPersistentDisk", source, path, errors);
    }),
    ("portworxVolume", "portworxVolume", |source, path, _, errors| {
        sources::require_all("portworxVolume", source, path, errors);
    }),
    ("azureDisk", "azureDisk", |source, path, _, errors| sources::azure_disk(source, path, errors)),
    ("storageos", "storageos", |source, path, _, errors| sources::storage_os(source, path, errors)),
    ("projected", "projected", projected::check),
    ("scaleIO", "scaleIO", |source, path, _, errors| sources::require_all("scaleIO", source, path, errors)),
    ("csi", "csi", csi),
    ("ephemeral", "ephemeral", ephemeral),
    ("image", "image", image),
];

/// Errors of a Pod's volumes; gives those that are right, which mounts may name.
pub(super) fn check<'a>(pod: &Spec<'a>, errors: &mut Vec<FieldError>) -> Vec<(&'a str, &'a Value)> {
    let volumes = items(pod.spec, "volumes");
    let created: Vec<String> = volumes
        .iter()
        .filter(|volume| !pod.name.is_empty() && has(volume, "ephemeral"))
        .map(|volume| format!("{}-{}", pod.name, text(volume, "name")))
        .collect();
    let mut good: Vec<(&str, &Value)> = Vec::new();
    for (i, volume) in volumes.iter().enumerate() {
        let path = format!("{}.volumes[{i}]", pod.path);
        let before = errors.len();
        check_source(volume, &path, pod, errors);
        let name = text(volume, "name");
        check_required(volume, "name", names::dns1123_label, &path, errors);
        if good.iter().any(|(known, _)| *known == name) {
            errors.push(FieldError::duplicate(format!("{path}.name"), &name.into()));
        }
        if errors.len() == before {
            good.push((name, volume));
        }
        let claim = text(at(volume, &["persistentVolumeClaim"]), "claimName");
        if created.iter().any(|created| created == claim) {
            let why = "must not reference a PVC that gets created for an ephemeral volume";
            let path = below(&path, "persistentVolumeClaim.claimName");
            errors.push(FieldError::invalid(path, &claim.into(), why));
        }
    }
    good
}

fn check_source(volume: &Value, path: &str, pod: &Spec, errors: &mut Vec<FieldError>) {
    let mut found = false;
    for (member, shown, check) in SOURCES {
        let Some(source) = volume.get(*member).filter(|source| !source.is_null()) else { continue };
        if found {
            let why = "may not specify more than 1 volume type";
            errors.push(FieldError::forbidden(format!("{path}.{shown}"), why));
        } else {
            check(source, &format!("{path}.{member}"), pod, errors);
        }
        if *member == "iscsi"
            && has(source, "initiatorName")
            && text(volume, "name").len() + 1 + text(source, "targetPortal").len() > 64
        {
            let why = sources::INITIATOR_TOO_LONG;
            errors.push(FieldError::invalid(format!("{path}.name"), &text(volume, "name").into(), why));
        }
        if *member == "ephemeral" && !found && !pod.name.is_empty() && !text(volume, "name").is_empty() {
            let name = text(volume, "name");
            let claim = format!("{}-{name}", pod.name);
            for why in names::dns1123_subdomain(&claim) {
                let why = format!("PVC name {claim:?}: {why}");
                errors.push(FieldError::invalid(format!("{path}.name"), &name.into(), why));
            }
        }
        found = true;
    }
    if !found {
        errors.push(FieldError::required(path, "must specify a volume type"));
    }
}

fn empty_dir(source: &Value, path: &str, _: &Spec, errors: &mut Vec<FieldError>) {
    if source.get("sizeLimit").and_then(quantity::parse).is_some_and(|limit| limit < 0) {
        let why = "SizeLimit field must be a valid resource quantity";
        errors.push(FieldError::forbidden(format!("{path}.sizeLimit"), why));
    }
}

const HOST_PATH_TYPES: &[&str] =
    &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];

/// Errors of a path of the node: `validateHostPathVolumeSource`.
pub(crate) fn host_path(source: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if require(source, "path", path, errors) {
        check_no_backsteps(text(source, "path"), &below(path, "path"), errors);
        check_set_enum(source, "type", path, HOST_PATH_TYPES, errors);
    }
}

fn git_repo(source: &Value, path: &str, _: &Spec, errors: &mut Vec<FieldError>) {
    require(source, "repository", path, errors);
    check_relative(text(source, "directory"), &below(path, "directory"), errors);
}

/// The mode and the items of a Secret or ConfigMap that is mounted.
fn key_paths(source: &Value, path: &str, errors: &mut Vec<FieldError>) {
    check_file_mode(source, "defaultMode", path, errors);
    for (i, item) in items(source, "items").iter().enumerate() {
        check_key_path(item, &format!("{path}.items[{i}]"), errors);
    }
}

/// Errors of one key and the file it becomes.
pub(super) fn check_key_path(item: &Value, path: impl Display + Copy, errors: &mut Vec<FieldError>) {
    require(item, "key", path, errors);
    require(item, "path", path, errors);
    check_local(text(item, "path"), format_args!("{path}.path"), errors);
    check_file_mode(item, "mode", path, errors);
}

fn csi(source: &Value, path: &str, _: &Spec, errors: &mut Vec<FieldError>) {
    check_driver_name(text(source, "driver"), &below(path, "driver"), errors);
    let Some(secret) = source.get("nodePublishSecretRef") else { return };
    let name = text(secret, "name");
    if name.is_empty() {
        errors.push(FieldError::required(format!("{path}.nodePublishSecretRef.name"), ""));
    } else {
        check_rule(name, names::dns1123_subdomain, format_args!("{path}.name"), errors);
    }
}

/// Errors of a CSI driver's name: `ValidateCSIDriverName`.
pub(crate) fn check_driver_name(name: &str, path: &str, errors: &mut Vec<FieldError>) {
    if name.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    if name.len() > 63 {
        errors.push(FieldError::too_long(path, 63));
    }
    for why in names::dns1123_subdomain(&name.to_lowercase()) {
        errors.push(FieldError::invalid(path, &name.into(), why));
    }
}

fn ephemeral(source: &Value, path: &str, _: &Spec, errors: &mut Vec<FieldError>) {
    let Some(template) = source.get("volumeClaimTemplate").filter(|template| !template.is_null()) else {
        errors.push(FieldError::required(format!("{path}.volumeClaimTemplate"), ""));
        return;
    };
    let path = below(path, "volumeClaimTemplate");
    let metadata = at(template, &["metadata"]);
    check_template_metadata(metadata, &below(&path, "metadata"), errors);
    super::super::volumes::check_claim_spec(at(template, &["spec"]), &below(&path, "spec"), errors);
}

fn image(source: &Value, path: &str, pod: &Spec, errors: &mut Vec<FieldError>) {
    if pod.is_pod {
        require(source, "reference", path, errors);
    }
    check_enum(source, "pullPolicy", path, super::containers::PULL_POLICIES, errors);
}

/// Tokens need an account: `validatePodMetadataAndSpec`, of Pods alone.
pub(super) fn check_token_projections(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if !text(spec, "serviceAccountName").is_empty() {
        return;
    }
    for (i, volume) in items(spec, "volumes").iter().enumerate() {
        for (j, source) in items(at(volume, &["projected"]), "sources").iter().enumerate() {
            if has(source, "serviceAccountToken") {
                errors.push(FieldError::forbidden(
                    format!("{path}.volumes[{i}].projected.sources[{j}].serviceAccountToken"),
                    "must not be specified when serviceAccountName is not set",
                ));
            }
        }
    }
}

/// The seconds a projected token lasts; upstream takes ten minutes to 2^32 seconds.
pub(crate) fn check_token_lifetime(token: &Value, path: impl Display + Copy, errors: &mut Vec<FieldError>) {
    let seconds = number(token, "expirationSeconds").unwrap_or(0);
    let why = match seconds {
        ..600 => "may not specify a duration less than 10 minutes",
        600..=0x1_0000_0000 => return,
        _ => "may not specify a duration larger than 2^32 seconds",
    };
    errors.push(FieldError::invalid(format!("{path}.expirationSeconds"), &seconds.into(), why));
}
