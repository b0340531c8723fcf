//! What one request costs inside the server: no socket, no disk. `cargo bench -p apiserver-server`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use apiserver_json::{Value, json};
use apiserver_registry::{Registry, ServiceRanges};
use apiserver_server::{ApiServer, Authentication, Config, User};
use apiserver_storage::{Durability, Local, MemoryEngine};
use apiserver_watchcache::Cache;
use divan::Bencher;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full};

const PODS: &str = "/api/v1/namespaces/default/pods";
/// Objects in the store while single ones are written.
const BESIDE: u32 = 1000;

fn main() {
    divan::main();
}

struct Api {
    runtime: tokio::runtime::Runtime,
    server: ApiServer,
    user: User,
    /// For names nobody has.
    next: AtomicU32,
}

impl Api {
    /// A fresh server with some Pods, one in a hundred labelled `tier=rare`.
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let cache = Arc::new(Cache::default());
        let store = Local::open(MemoryEngine, Durability::None, cache.clone()).expect("memory opens");
        let config = Config {
            authentication: Arc::new(Authentication {
                tokens: Default::default(),
                service_accounts: None,
                anonymous: false,
            }),
            always_allows: false,
            nodes: None,
            ca_pem: String::new(),
            version: "v1.36.0".into(),
            advertise: ([127, 0, 0, 1], 6443).into(),
            endpoint: ([127, 0, 0, 1], 6443).into(),
        };
        let server = ApiServer::new(
            Registry::new(Arc::new(store), cache, ServiceRanges::default(), Default::default()),
            config,
        );
        runtime.block_on(apiserver_server::bootstrap(&server)).expect("a fresh store can be filled");
        let user = User { name: "admin".into(), groups: vec!["system:masters".into()], ..User::default() };
        let api = Self { runtime, server, user, next: AtomicU32::new(0) };
        let account = json!({"metadata": {"name": "default"}});
        api.ask(Method::POST, "/api/v1/namespaces/default/serviceaccounts", "application/json", &account);
        (0..BESIDE).for_each(|_| drop(api.create()));
        api
    }

    /// Bytes of the answer, which must be a success.
    fn ask(&self, method: Method, path: &str, media: &str, body: &Value) -> usize {
        self.ask_encoded(method, path, media, body, "identity")
    }

    /// As [`Api::ask`], by a client that takes this encoding.
    fn ask_encoded(&self, method: Method, path: &str, media: &str, body: &Value, encoding: &str) -> usize {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let body = Full::from(body).map_err(|never| match never {}).boxed_unsync();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::CONTENT_TYPE, media)
            .header(header::ACCEPT_ENCODING, encoding)
            .body(body)
            .expect("a request");
        self.runtime.block_on(async {
            let answer = self.server.handle(request, Some(&self.user)).await;
            let status = answer.status();
            let body = answer.into_body().collect().await.expect("a body").to_bytes();
            assert!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
            body.len()
        })
    }

    /// Creates a Pod; answers its path.
    fn create(&self) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.ask(Method::POST, PODS, "application/json", &pod(number));
        format!("{PODS}/pod-{number}")
    }
}

fn pod(number: u32) -> Value {
    let environment: Vec<Value> = (0..20)
        .map(|i| json!({"name": format!("SETTING_{i}"), "value": format!("value of setting {i}")}))
        .collect();
    let tier = if number.is_multiple_of(100) { "rare" } else { "common" };
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("pod-{number}"), "labels": {"app": "web", "tier": tier}},
        "spec": {"containers": [{
            "name": "web", "image": "registry.example.com/team/web:1.2.3", "env": environment,
            "ports": [{"containerPort": 8080, "name": "http"}],
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
            "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}},
        }]},
    })
}

#[divan::bench]
fn create(bencher: Bencher<'_, '_>) {
    let api = Api::start();
    bencher.bench_local(|| api.create());
}

#[divan::bench]
fn get(bencher: Bencher<'_, '_>) {
    let api = Api::start();
    let path = format!("{PODS}/pod-7");
    bencher.bench_local(|| api.ask(Method::GET, &path, "", &Value::Null));
}

/// A patch of one kind, that changes something each time.
fn patched(bencher: Bencher<'_, '_>, path: &str, media: &str, body: impl Fn(u32) -> Value) {
    let api = Api::start();
    let round = AtomicU32::new(0);
    bencher.bench_local(|| {
        api.ask(Method::PATCH, path, media, &body(round.fetch_add(1, Ordering::Relaxed)));
    });
}

#[divan::bench]
fn merge_patch(bencher: Bencher<'_, '_>) {
    let path = format!("{PODS}/pod-7");
    let body = |round| json!({"metadata": {"annotations": {"round": format!("{round}")}}});
    patched(bencher, &path, "application/merge-patch+json", body);
}

#[divan::bench]
fn status_patch(bencher: Bencher<'_, '_>) {
    let path = format!("{PODS}/pod-7/status");
    let body = |round| json!({"status": {"phase": "Running", "message": format!("round {round}")}});
    patched(bencher, &path, "application/strategic-merge-patch+json", body);
}

#[divan::bench]
fn apply(bencher: Bencher<'_, '_>) {
    let path = format!("{PODS}/pod-7?fieldManager=bench&force=true");
    let body = |round| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod-7", "annotations": {"round": format!("{round}")}}});
    patched(bencher, &path, "application/apply-patch+yaml", body);
}

#[divan::bench]
fn list_all(bencher: Bencher<'_, '_>) {
    let api = Api::start();
    bencher.bench_local(|| api.ask(Method::GET, PODS, "", &Value::Null));
}

#[divan::bench]
fn list_one_percent_by_label(bencher: Bencher<'_, '_>) {
    let api = Api::start();
    let path = format!("{PODS}?labelSelector=tier%3Drare");
    bencher.bench_local(|| api.ask(Method::GET, &path, "", &Value::Null));
}

/// Of a list nothing of which changed.
#[divan::bench]
fn list_all_gzip_again(bencher: Bencher<'_, '_>) {
    let api = Api::start();
    let list = || api.ask_encoded(Method::GET, PODS, "", &Value::Null, "gzip");
    list();
    bencher.bench_local(list);
}

/// Of a list of which one object changed.
#[divan::bench]
fn list_all_gzip_after_a_change(bencher: Bencher<'_, '_>) {
    let api = Api::start();
    bencher
        .with_inputs(|| api.create())
        .bench_local_values(|_| api.ask_encoded(Method::GET, PODS, "", &Value::Null, "gzip"));
}

#[divan::bench]
fn delete(bencher: Bencher<'_, '_>) {
    let api = Api::start();
    bencher
        .with_inputs(|| api.create())
        .bench_local_values(|path| api.ask(Method::DELETE, &path, "", &Value::Null));
}

/// Of a hundred Pods.
#[divan::bench]
fn delete_collection(bencher: Bencher<'_, '_>) {
    let api = Api::start();
    let delete = || api.ask(Method::DELETE, PODS, "", &Value::Null);
    delete();
    bencher.with_inputs(|| (0..100).for_each(|_| drop(api.create()))).bench_local_values(|()| delete());
}
