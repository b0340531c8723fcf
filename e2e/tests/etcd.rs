//! Several API servers over one etcd, of every version that is here: one and three members, some of which are killed or cut
//! off. Whatever happens, what any server answered all of them show, and watches tell every change once, in order.

#[path = "../../apiserver/storage/tests/support/etcd_server.rs"]
#[expect(dead_code, reason = "other tests use the rest of it")]
mod etcd_server;

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use e2e::{Instance, Judge, wait_for};
use etcd_server::{EtcdCluster, binaries_for, fresh_address};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use serde_json::{Value, json};

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn server_over(cluster: &EtcdCluster) -> Instance {
    Instance::apiserver(&["--etcd-servers", &cluster.servers().join(",")])
}

/// A request with a body; the answer and its HTTP status.
fn send(server: &Instance, method: &str, path: &str, body: &Value) -> (Value, u16) {
    let text = body.to_string();
    let arguments = ["-X", method, "-H", "Content-Type: application/json", "--data", &text];
    let (answer, status) = server.api(path, &arguments);
    (serde_json::from_str(&answer).unwrap_or_default(), status)
}

fn get(server: &Instance, path: &str) -> (Value, u16) {
    let (answer, status) = server.api(path, &[]);
    (serde_json::from_str(&answer).unwrap_or_default(), status)
}

fn config_map(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"v": value}})
}

fn version(object: &Value) -> String {
    object["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned()
}

/// A watch of the ConfigMaps, whose events go to a file.
struct Watch {
    curl: Child,
    file: std::path::PathBuf,
}

impl Watch {
    fn start(server: &Instance, name: &str, from: &str) -> Self {
        let file = server.dir().join(name);
        let out = std::fs::File::create(&file).expect("a file for the events");
        let pki = server.dir().join("pki");
        let curl = Command::new("curl")
            .args(["-sSN", "--max-time", "120", "--cacert"])
            .arg(pki.join("ca.crt"))
            .arg("--cert")
            .arg(pki.join("admin.crt"))
            .arg("--key")
            .arg(pki.join("admin.key"))
            .arg(format!("https://{}{CONFIG_MAPS}?watch=1&resourceVersion={from}", server.address("api")))
            .stdin(Stdio::null())
            .stdout(out)
            .spawn()
            .expect("curl starts");
        Self { curl, file }
    }

    /// Type, name and version of every event so far.
    fn events(&self) -> Vec<(String, String, u64)> {
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let events = whole.lines().map(|line| serde_json::from_str::<Value>(line).expect("an event"));
        events
            .map(|event| {
                let object = &event["object"];
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let number = version(object).parse().unwrap_or(0);
                (text(&event["type"]), text(&object["metadata"]["name"]), number)
            })
            .collect()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.curl.kill());
        drop(self.curl.wait());
    }
}

#[test]
fn what_one_server_answered_the_other_shows() {
    for binary in binaries_for("what_one_server_answered_the_other_shows") {
        let cluster = EtcdCluster::start(&binary, 1);
        let servers = [server_over(&cluster), server_over(&cluster)];
        let start = version(&get(&servers[0], CONFIG_MAPS).0);
        let watches =
            [Watch::start(&servers[0], "events", &start), Watch::start(&servers[1], "events", &start)];
        let mut told = Vec::new();
        for i in 0..20 {
            let (one, other) = (&servers[i % 2], &servers[(i + 1) % 2]);
            let name = format!("c{i}");
            let path = format!("{CONFIG_MAPS}/{name}");
            let (created, status) = send(one, "POST", CONFIG_MAPS, &config_map(&name, "1"));
            assert_eq!(status, 201, "{created}");
            let (found, status) = get(other, &path);
            assert_eq!((status, version(&found)), (200, version(&created)), "{}", binary.display());
            let listed = get(other, CONFIG_MAPS).0["items"].as_array().map_or(0, Vec::len);
            assert_eq!(listed, get(one, CONFIG_MAPS).0["items"].as_array().map_or(1, Vec::len));
            // An update of what the other server just answered is no conflict, one of what was before is.
            let mut next = config_map(&name, "2");
            next["metadata"]["resourceVersion"] = version(&found).into();
            let (updated, status) = send(other, "PUT", &path, &next);
            assert_eq!(status, 200, "{updated}");
            assert_eq!(send(one, "PUT", &path, &next).1, 409);
            let (again, status) = send(one, "POST", CONFIG_MAPS, &config_map(&name, "3"));
            assert_eq!(status, 409, "{again}");
            assert_eq!(get(one, &path).0["data"]["v"], "2");
            let number = |object: &Value| version(object).parse::<u64>().expect("a number");
            told.push(("ADDED".to_owned(), name.clone(), number(&created)));
            told.push(("MODIFIED".to_owned(), name.clone(), number(&updated)));
            if i % 3 == 0 {
                assert_eq!(send(one, "DELETE", &path, &json!({})).1, 200);
                assert_eq!(get(other, &path).1, 404);
                told.push(("DELETED".to_owned(), name, 0));
            }
        }
        for watch in &watches {
            wait_for("every change to be told", || watch.events().len() >= told.len());
            let mut events = watch.events();
            assert!(events.is_sorted_by(|a, b| a.2 < b.2), "{events:?}");
            events.iter_mut().filter(|event| event.0 == "DELETED").for_each(|event| event.2 = 0);
            assert_eq!(events, told);
        }
        many_patches_of_one_object(&servers[0]);
        namespaces_definitions_and_addresses(&servers);
    }
}

/// Many who change one object at the same time, and do not insist on a version, all succeed.
fn many_patches_of_one_object(server: &Instance) {
    const PATCHES: usize = 100;
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    let account = json!({"metadata": {"name": "busy"}, "secrets": [{"name": "s"}]});
    let (made, status) = send(server, "POST", accounts, &account);
    assert_eq!(status, 201, "{made}");
    let path = format!("{accounts}/busy");
    let patch = r#"[{"op": "add", "path": "/secrets/-", "value": {"name": "s"}}]"#;
    let url = format!("https://{}{path}", server.address("api"));
    let mut arguments = vec!["-Z", "--parallel-immediate", "--parallel-max", "100", "--max-time", "60"];
    arguments.extend(["-X", "PATCH", "-H", "Content-Type: application/json-patch+json", "--data", patch]);
    // One more is asked for by the caller's own address.
    arguments.extend(std::iter::repeat_n(url.as_str(), PATCHES - 1));
    server.api(&path, &arguments);
    let found = get(server, &path).0;
    assert_eq!(found["secrets"].as_array().map(Vec::len), Some(1 + PATCHES), "some were told of a conflict");
}

/// What one server needs to know to serve what was made through the other.
fn namespaces_definitions_and_addresses([one, other]: &[Instance; 2]) {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "new"}});
    assert_eq!(send(one, "POST", "/api/v1/namespaces", &namespace).1, 201);
    let inside = "/api/v1/namespaces/new/configmaps";
    assert_eq!(send(other, "POST", inside, &config_map("a", "1")).1, 201);

    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "boats.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "boats", "kind": "Boat"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
        },
    });
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    assert_eq!(send(one, "POST", definitions, &definition).1, 201);
    let boats = "/apis/example.com/v1/namespaces/new/boats";
    wait_for("the other server to serve the new kind", || get(other, boats).1 == 200);
    let boat =
        json!({"apiVersion": "example.com/v1", "kind": "Boat", "metadata": {"name": "b"}, "length": 7});
    assert_eq!(send(other, "POST", boats, &boat).1, 201);
    assert_eq!(get(one, &format!("{boats}/b")).0["length"], 7);

    // An address is given once.
    let service = |name: &str, ip: Option<&str>| {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"type": "NodePort", "clusterIP": ip, "ports": [{"port": 80, "nodePort": ip.map(|_| 30123)}]},
        })
    };
    let services = "/api/v1/namespaces/default/services";
    assert_eq!(send(one, "POST", services, &service("a", Some("10.96.7.7"))).1, 201);
    let (refused, status) = send(other, "POST", services, &service("b", Some("10.96.7.7")));
    assert_eq!(status, 422, "{refused}");
    assert_eq!(send(other, "DELETE", &format!("{services}/a"), &json!({})).1, 200);
    let (taken, status) = send(one, "POST", services, &service("b", Some("10.96.7.7")));
    assert_eq!(status, 201, "{taken}");
    let given = send(other, "POST", services, &service("c", None));
    assert_eq!(given.1, 201, "{}", given.0);

    // Quotas hold over both, and two that are charged at once are told one after the other.
    let quotas = "/api/v1/namespaces/new/resourcequotas";
    for name in ["q1", "q2"] {
        let hard = json!({"count/secrets": "3"});
        let mut quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": {"hard": hard}});
        assert_eq!(send(one, "POST", quotas, &quota).1, 201);
        quota["status"] = json!({"hard": hard, "used": {"count/secrets": "0"}});
        assert_eq!(send(other, "PUT", &format!("{quotas}/{name}/status"), &quota).1, 200);
    }
    let secret =
        |i: usize| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": format!("s{i}")}});
    let secrets = "/api/v1/namespaces/new/secrets";
    let statuses: Vec<u16> =
        (0..5).map(|i| send([one, other][i % 2], "POST", secrets, &secret(i)).1).collect();
    assert_eq!(statuses, [201, 201, 201, 403, 403]);
    let charged = get(one, quotas).0;
    let charged = charged["items"].as_array().expect("a list");
    assert!(charged.iter().all(|quota| quota["status"]["used"]["count/secrets"] == "3"), "{charged:?}");
    assert_ne!(version(&charged[0]), version(&charged[1]));
}

/// Writes through the servers in turn until `done`; the versions of what was acknowledged.
struct Writer {
    next: usize,
    acknowledged: Vec<(String, u64)>,
    /// Writes that were not acknowledged and may have happened.
    unknown: Vec<String>,
}

impl Writer {
    fn write(&mut self, server: &Instance) -> bool {
        let name = format!("w{}", self.next);
        self.next += 1;
        let (answer, status) = send(server, "POST", CONFIG_MAPS, &config_map(&name, "1"));
        match status {
            201 => self.acknowledged.push((name, version(&answer).parse().expect("a number"))),
            // curl gave up, or the server says that etcd does not answer.
            0 | 500 | 503 | 504 => self.unknown.push(name),
            other => panic!("{other}: {answer}"),
        }
        status == 201
    }

    /// Every server shows what was acknowledged, and the watch told it once, in order.
    fn judge(&self, servers: &[Instance], watch: &Watch) {
        let last = self.acknowledged.last().expect("something was").0.clone();
        wait_for("the last write to be told", || watch.events().iter().any(|event| event.1 == last));
        let events = watch.events();
        assert!(events.is_sorted_by(|a, b| a.2 < b.2), "{events:?}");
        let known = events.iter().filter(|event| !self.unknown.contains(&event.1));
        let told: Vec<(String, u64)> = known.map(|event| (event.1.clone(), event.2)).collect();
        assert_eq!(told, self.acknowledged);
        for server in servers {
            let listed = get(server, CONFIG_MAPS).0;
            let names: Vec<&str> = listed["items"]
                .as_array()
                .expect("a list")
                .iter()
                .filter_map(|item| item["metadata"]["name"].as_str())
                .collect();
            assert!(self.acknowledged.iter().all(|(name, _)| names.contains(&name.as_str())), "{names:?}");
        }
    }
}

fn three_members(binary: &Path) {
    let mut cluster = EtcdCluster::start(binary, 3);
    let servers = [server_over(&cluster), server_over(&cluster)];
    let start = version(&get(&servers[0], CONFIG_MAPS).0);
    let watch = Watch::start(&servers[1], "events", &start);
    let mut writer = Writer { next: 0, acknowledged: Vec::new(), unknown: Vec::new() };
    let ready = |server: &Instance| server.api("/readyz", &[]) == ("ok".to_owned(), 200);
    let mut go_on = |what: &str| {
        let before = writer.acknowledged.len();
        wait_for(what, || {
            let number = writer.next;
            writer.write(&servers[number % 2]);
            writer.acknowledged.len() >= before + 10
        });
        for server in &servers {
            wait_for("readiness", || ready(server));
        }
    };
    go_on("writes in peace");
    let leader = cluster.leader();
    cluster.kill(leader);
    go_on("writes after the leader was killed");
    cluster.restart(leader);
    let leader = cluster.leader();
    cluster.stop(leader);
    go_on("writes after the leader was cut off");
    cluster.resume(leader);
    go_on("writes with everybody back");

    // Nobody is left to ask: what is known is not told as what is true, and no write is acknowledged.
    (0..3).for_each(|member| cluster.stop(member));
    for server in &servers {
        let (said, status) = server.api("/readyz?verbose", &[]);
        assert_eq!(status, 500, "{said}");
        assert!(said.contains("[-]etcd failed: reason withheld"), "{said}");
    }
    let (old, status) = get(&servers[0], &format!("{CONFIG_MAPS}?resourceVersion=0"));
    assert_eq!(status, 200, "what may be old is answered: {old}");
    let (refused, status) = get(&servers[0], CONFIG_MAPS);
    assert!(matches!(status, 0 | 500 | 504), "{refused}");
    (0..3).for_each(|member| cluster.resume(member));
    go_on("writes after an outage");
    writer.judge(&servers, &watch);
}

/// An authority and what it vouches for, as files.
struct Certificates {
    dir: std::path::PathBuf,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Certificates {
    fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("hopyard-e2e-certificates-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a temporary directory");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority =
            CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
        std::fs::write(dir.join("ca.crt"), authority.pem()).expect("a file");
        Self { dir, authority }
    }

    fn file(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// Makes `<name>.crt` and `<name>.key`, of one who serves at an address and is called so as a client.
    fn issue(&self, name: &str, address: Ipv4Addr) {
        let mut params = CertificateParams::new(vec![address.to_string()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        let leaf = params.signed_by(&key, &self.authority).expect("a certificate");
        std::fs::write(self.dir.join(format!("{name}.crt")), leaf.pem()).expect("a file");
        std::fs::write(self.dir.join(format!("{name}.key")), key.serialize_pem()).expect("a file");
    }

    fn flags(&self, cluster: &EtcdCluster, name: &str) -> Vec<String> {
        [
            ("--etcd-servers", cluster.servers().join(",")),
            ("--etcd-cafile", self.file("ca.crt")),
            ("--etcd-certfile", self.file(&format!("{name}.crt"))),
            ("--etcd-keyfile", self.file(&format!("{name}.key"))),
            ("--etcd-prefix", "/clusters/one".to_owned()),
        ]
        .into_iter()
        .flat_map(|(flag, value)| [flag.to_owned(), value])
        .collect()
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.dir));
    }
}

/// Gives the user `hopyard` the keys of its cluster, and nobody else any.
fn enable_users(certificates: &Certificates, cluster: &EtcdCluster) {
    let range = |kind: &str, from: &[u8], to: &[u8]| json!({"permType": kind, "key": STANDARD.encode(from), "range_end": STANDARD.encode(to)});
    for (path, body) in [
        ("user/add", json!({"name": "root", "password": "x"})),
        ("role/add", json!({"name": "root"})),
        ("user/grant", json!({"user": "root", "role": "root"})),
        ("user/add", json!({"name": "hopyard", "options": {"no_password": true}})),
        ("user/add", json!({"name": "second", "password": "secret"})),
        ("role/add", json!({"name": "cluster"})),
        (
            "role/grant",
            json!({"name": "cluster", "perm": range("READWRITE", b"/clusters/one/", b"/clusters/one0")}),
        ),
        // Members whose watches do not tell their progress are watched as a whole.
        ("role/grant", json!({"name": "cluster", "perm": range("READ", b"\0", b"\0")})),
        ("user/grant", json!({"user": "hopyard", "role": "cluster"})),
        ("user/grant", json!({"user": "second", "role": "cluster"})),
        ("auth/enable", json!({})),
    ] {
        let path = if path == "auth/enable" { path.to_owned() } else { format!("auth/{path}") };
        let output = Command::new("curl")
            .args(["-sSf", "--max-time", "10", "--cacert", &certificates.file("ca.crt")])
            .args(["--cert", &certificates.file("root.crt"), "--key", &certificates.file("root.key")])
            .args(["--data", &body.to_string()])
            .arg(format!("{}/v3/{path}", cluster.servers()[0]))
            .output()
            .expect("curl runs");
        assert!(output.status.success(), "{path}: {}", e2e::stderr(&output));
    }
}

#[test]
fn etcd_knows_the_server_by_its_certificate_or_password() {
    for binary in binaries_for("etcd_knows_the_server_by_its_certificate_or_password") {
        let certificates = Certificates::new();
        let address = fresh_address();
        ["etcd", "root", "hopyard", "stranger"].iter().for_each(|name| certificates.issue(name, address));
        let flags = [
            ("--cert-file", certificates.file("etcd.crt")),
            ("--key-file", certificates.file("etcd.key")),
            ("--trusted-ca-file", certificates.file("ca.crt")),
        ];
        let flags = flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]);
        let flags: Vec<String> = flags.chain(["--client-cert-auth".to_owned()]).collect();
        let cluster = EtcdCluster::start_tls(&binary, address, &flags);
        enable_users(&certificates, &cluster);
        let flags = certificates.flags(&cluster, "hopyard");
        let server = Instance::apiserver(&flags.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(send(&server, "POST", CONFIG_MAPS, &config_map("a", "1")).1, 201);
        assert_eq!(get(&server, &format!("{CONFIG_MAPS}/a")).0["data"]["v"], "1");

        // Another is known by a password.
        let mut flags = certificates.flags(&cluster, "stranger");
        std::fs::write(certificates.dir.join("password"), "secret\n").expect("a file");
        flags.extend(["--etcd-username", "second", "--etcd-password-file"].map(str::to_owned));
        flags.push(certificates.file("password"));
        let other = Instance::apiserver(&flags.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(get(&other, &format!("{CONFIG_MAPS}/a")).0["data"]["v"], "1");
        assert_eq!(send(&other, "DELETE", &format!("{CONFIG_MAPS}/a"), &json!({})).1, 200);
        assert_eq!(get(&server, &format!("{CONFIG_MAPS}/a")).1, 404);

        let refused = Command::new(e2e::binary())
            .args(["apiserver", "--secure-port", "0", "--data-dir"])
            .arg(certificates.dir.join("data"))
            .args(certificates.flags(&cluster, "stranger"))
            .output()
            .expect("hopyard runs");
        let said = e2e::stderr(&refused);
        assert!(!refused.status.success() && said.contains("etcd cannot be used: etcdserver: "), "{said}");
    }
}

/// Runs `hopyard snapshot`; what it printed.
fn snapshot(arguments: &[&str]) -> String {
    let output = Command::new(e2e::binary()).arg("snapshot").args(arguments).output().expect("hopyard runs");
    assert!(output.status.success(), "{arguments:?}: {}", e2e::stderr(&output));
    e2e::stdout(&output)
}

#[test]
fn a_snapshot_goes_from_etcd_into_a_directory_and_back() {
    for binary in binaries_for("a_snapshot_goes_from_etcd_into_a_directory_and_back") {
        let cluster = EtcdCluster::start(&binary, 1);
        let servers = cluster.servers().join(",");
        let server = server_over(&cluster);
        assert_eq!(send(&server, "POST", CONFIG_MAPS, &config_map("a", "1")).1, 201);
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
            "spec": {"clusterIP": "10.96.7.7", "ports": [{"port": 80}]},
        });
        let services = "/api/v1/namespaces/default/services";
        assert_eq!(send(&server, "POST", services, &service).1, 201);
        let dir = server.dir().to_owned();
        let file = |name: &str| dir.join(name).display().to_string();
        let (first, second, data) = (file("first"), file("second"), file("data"));
        let saved = snapshot(&["save", &first, "--etcd-servers", &servers]);
        let number = saved.split(' ').nth(1).expect("a number").to_owned();
        assert_eq!(
            snapshot(&["restore", &first, "--data-dir", &data]),
            format!("restored {number} objects\n")
        );
        let again =
            Command::new(e2e::binary()).args(["snapshot", "restore", &first, "--data-dir", &data]).output();
        let again = e2e::stderr(&again.expect("hopyard runs"));
        assert!(again.contains("the store has objects"), "{again}");
        assert!(snapshot(&["save", &second, "--data-dir", &data]).starts_with(&format!("saved {number} ")));
        snapshot(&["restore", &second, "--etcd-servers", &servers, "--etcd-prefix", "/two"]);
        let two = Instance::apiserver(&["--etcd-servers", &servers, "--etcd-prefix", "/two"]);
        let bare = |server: &Instance, path: &str| {
            let mut object = get(server, path).0;
            object["metadata"]["resourceVersion"] = Value::Null;
            object
        };
        for path in [&format!("{CONFIG_MAPS}/a"), &format!("{services}/s"), "/api/v1/namespaces/default"] {
            assert_eq!(bare(&two, path), bare(&server, path), "{path}");
        }
        // What a Service holds is held in the new store, too.
        let mut other = service.clone();
        other["metadata"]["name"] = "t".into();
        assert_eq!(send(&two, "POST", services, &other).1, 422);
    }
}

/// How long clients of each etcd are judged, in seconds.
const JUDGED: u64 = 8;
/// How long a member leads before it is killed.
const LIFE: Duration = Duration::from_millis(1500);

#[test]
fn clients_of_two_servers_see_one_order_of_things() {
    if Judge::binary().is_none() {
        return;
    }
    for binary in binaries_for("clients_of_two_servers_see_one_order_of_things") {
        let mut cluster = EtcdCluster::start(&binary, 3);
        let servers = [server_over(&cluster), server_over(&cluster)];
        let dirs = format!("{},{}", servers[0].dir().display(), servers[1].dir().display());
        let Some(mut judge) = Judge::start(&dirs, JUDGED) else { return };
        judge.disturb(LIFE, || {
            let leader = cluster.leader();
            cluster.kill(leader);
            cluster.leader();
            cluster.restart(leader);
        });
        judge.conclude(1);
    }
}

#[test]
fn servers_survive_what_happens_to_etcd() {
    for binary in binaries_for("servers_survive_what_happens_to_etcd") {
        three_members(&binary);
    }
}
