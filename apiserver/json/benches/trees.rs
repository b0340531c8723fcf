//! What a tree costs, beside `serde_json`'s, that of a Pod of some 5 kB: `cargo bench -p apiserver-json`.

use divan::Bencher;
use serde::Serialize;

fn main() {
    divan::main();
}

/// The two sorts of trees.
trait Tree: Clone {
    fn of(text: &[u8]) -> Self;
    fn text(&self) -> Vec<u8>;
    fn name(&self) -> Option<&str>;
}

#[derive(Clone)]
struct ApiserverJson(apiserver_json::Value);

impl Tree for ApiserverJson {
    fn of(text: &[u8]) -> Self {
        let text = std::str::from_utf8(text).expect("text");
        Self(apiserver_json::parse(text, &[]).expect("JSON").value)
    }

    fn text(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(8192);
        apiserver_json::write(&mut out, &self.0);
        out
    }

    fn name(&self) -> Option<&str> {
        self.0.pointer("/spec/containers/0/env/19/name")?.as_str()
    }
}

#[derive(Clone)]
struct SerdeJson(serde_json::Value);

impl Tree for SerdeJson {
    fn of(text: &[u8]) -> Self {
        Self(serde_json::from_slice(text).expect("JSON"))
    }

    fn text(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(8192);
        let written = self.0.serialize(&mut serde_json::Serializer::new(&mut out));
        written.map(|()| out).expect("a tree is JSON")
    }

    fn name(&self) -> Option<&str> {
        self.0.pointer("/spec/containers/0/env/19/name")?.as_str()
    }
}

fn pod() -> Vec<u8> {
    let environment: Vec<serde_json::Value> = (0..20)
        .map(
            |i| serde_json::json!({"name": format!("SETTING_{i}"), "value": format!("value of setting {i}")}),
        )
        .collect();
    let owned: serde_json::Map<String, serde_json::Value> = (0..20)
        .map(|i| {
            (
                format!("k:{{\"name\":\"SETTING_{i}\"}}"),
                serde_json::json!({".": {}, "f:name": {}, "f:value": {}}),
            )
        })
        .collect();
    let pod = serde_json::json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "web-7d4b9c6f5-x2x7q", "namespace": "default", "resourceVersion": "123456",
            "uid": "0b0f4a52-7d0a-4f0e-9d5b-1f6e8f1f7a11", "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"app": "web", "tier": "common"},
            "managedFields": [{"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:spec": {"f:containers": owned}}}],
        },
        "spec": {"restartPolicy": "Always", "containers": [{
            "name": "web", "image": "registry.example.com/team/web:1.2.3", "env": environment,
            "ports": [{"containerPort": 8080, "name": "http", "protocol": "TCP"}],
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
        }]},
        "status": {"phase": "Pending", "qosClass": "Burstable"},
    });
    pod.to_string().into_bytes()
}

fn parsed<T: Tree>() -> T {
    T::of(&pod())
}

#[divan::bench(types = [ApiserverJson, SerdeJson])]
fn parse<T: Tree>(bencher: Bencher<'_, '_>) {
    let text = pod();
    bencher.bench(|| T::of(&text));
}

#[divan::bench(types = [ApiserverJson, SerdeJson])]
fn clone<T: Tree>(bencher: Bencher<'_, '_>) {
    let pod = parsed::<T>();
    bencher.bench_local(|| pod.clone());
}

#[divan::bench(types = [ApiserverJson, SerdeJson])]
fn write<T: Tree>(bencher: Bencher<'_, '_>) {
    let pod = parsed::<T>();
    bencher.bench_local(|| pod.text());
}

#[divan::bench(types = [ApiserverJson, SerdeJson])]
fn look_up<T: Tree>(bencher: Bencher<'_, '_>) {
    let pod = parsed::<T>();
    bencher.bench_local(|| pod.name().map(str::len));
}

#[divan::bench(types = [ApiserverJson, SerdeJson])]
fn drop<T: Tree>(bencher: Bencher<'_, '_>) {
    let pod = parsed::<T>();
    bencher.with_inputs(|| pod.clone()).bench_local_values(std::mem::drop);
}
