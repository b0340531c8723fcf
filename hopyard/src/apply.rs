//! Applies manifests as `kubectl apply --server-side` does: documents in order, kinds found in the catalogue.

use std::path::{Path, PathBuf};

use apiserver_meta::{GroupVersion, GroupVersionKind};
use apiserver_registry::Registry;
use http::Request;
use kube::Client;
use serde::Deserialize;
use serde_json::Value;

use crate::error::Error;

/// The documents of files and folders, in the order of their names.
pub(crate) fn read(paths: &[PathBuf]) -> Result<Vec<(String, Value)>, Error> {
    let mut documents = Vec::new();
    for path in paths {
        for file in files(path)? {
            let text = std::fs::read_to_string(&file).map_err(|error| Error::path(&file, error))?;
            for document in serde_yaml_ng::Deserializer::from_str(&text) {
                let value = Value::deserialize(document)
                    .map_err(|error| Error::Failed(format!("{}: {error}", file.display())))?;
                if !value.is_null() {
                    documents.push((file.display().to_string(), value));
                }
            }
        }
    }
    Ok(documents)
}

fn files(path: &Path) -> Result<Vec<PathBuf>, Error> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = std::fs::read_dir(path).map_err(|error| Error::path(path, error))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|file| file.extension().is_some_and(|ext| ext == "yaml" || ext == "yml" || ext == "json"))
        .collect();
    files.sort();
    Ok(files)
}

/// Applies the documents; gives `kind/name` of each.
pub(crate) async fn apply(
    client: &Client,
    registry: &Registry,
    documents: Vec<(String, Value)>,
) -> Result<Vec<String>, Error> {
    let mut applied = Vec::new();
    for (file, document) in documents {
        let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).unwrap_or("").to_owned();
        let gv = GroupVersion::parse(&text("/apiVersion"));
        let gvk = GroupVersionKind::new(gv.group.clone(), gv.version.clone(), text("/kind"));
        let catalogue = registry.catalogue();
        let resource = catalogue.by_kind(&gvk).ok_or_else(|| {
            Error::Failed(format!("{file}: no kind {} in {}", gvk.kind, text("/apiVersion")))
        })?;
        let root = if gv.group.is_empty() {
            format!("/api/{}", gv.version)
        } else {
            format!("/apis/{}/{}", gv.group, gv.version)
        };
        let namespace = match text("/metadata/namespace") {
            namespace if namespace.is_empty() => "default".to_owned(),
            namespace => namespace,
        };
        let place = if resource.namespaced { format!("/namespaces/{namespace}") } else { String::new() };
        let name = text("/metadata/name");
        let request =
            Request::patch(format!("{root}{place}/{}/{name}?fieldManager=hopyard&force=true", resource.name))
                .header("content-type", "application/apply-patch+yaml")
                .body(document.to_string().into_bytes())
                .map_err(|error| Error::Failed(error.to_string()))?;
        client.request::<Value>(request).await.map_err(|error| {
            Error::Failed(format!("{file}: {}/{name}: {}", resource.singular, said(&error)))
        })?;
        if gvk.group == "aws.hopyard.dev" && gvk.kind == "Certificate" {
            wait_until_issued(client, &format!("{root}/{}/{name}", resource.name)).await?;
        }
        applied.push(format!("{}/{name}", resource.singular));
    }
    Ok(applied)
}

/// What the server said, in its own words.
fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        error => error.to_string(),
    }
}

/// How long a certificate may take to be issued.
const ISSUE_PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// An Ingress that follows may need the certificate: it is issued in a moment.
async fn wait_until_issued(client: &Client, path: &str) -> Result<(), Error> {
    let failed = |error: &dyn std::fmt::Display| Error::Failed(format!("{path}: {error}"));
    let began = std::time::Instant::now();
    while began.elapsed() < ISSUE_PATIENCE {
        let request = Request::get(path).body(Vec::new()).map_err(|error| failed(&error))?;
        let certificate = client.request::<Value>(request).await.map_err(|error| failed(&error))?;
        if certificate.pointer("/status/status").and_then(Value::as_str) == Some("ISSUED") {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    Err(failed(&"the certificate was not issued in time"))
}
