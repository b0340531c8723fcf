//! A disk that is full, torn or read-only, below the whole server. Each test mounts its disk in a mount namespace of
//! its own, so that nothing is left behind; where nobody may do that it says so.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use e2e::{Instance, binary, stderr, wait_for};
use serde_json::{Value, json};

/// Inside of the namespace: the directory to mount on.
const INSIDE: &str = "HOPYARD_E2E_MOUNTS";
/// How soon a write must be refused, with room for a busy machine.
const SOON: Duration = Duration::from_secs(2);
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Runs the test of this name again, where it may mount.
fn with_mounts(name: &str, test: impl FnOnce(&Path)) {
    if let Some(dir) = std::env::var_os(INSIDE) {
        return test(Path::new(&dir));
    }
    let dir = std::env::temp_dir().join(format!("hopyard-e2e-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a temporary directory");
    let can = |flags: &str| {
        let line = "mount -t tmpfs none /mnt";
        let output = Command::new("unshare").args([flags, "sh", "-c", line]).output();
        output.is_ok_and(|output| output.status.success())
    };
    let flags = ["-m", "-rm"].into_iter().find(|flags| can(flags));
    let Some(flags) = flags else {
        eprintln!("SKIPPED {name}: neither root nor a user namespace may mount here");
        return std::fs::remove_dir(&dir).expect("it is empty");
    };
    let status = Command::new("unshare")
        .arg(flags)
        .arg(std::env::current_exe().expect("a test knows its own path"))
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, &dir)
        .status()
        .expect("unshare runs");
    std::fs::remove_dir(&dir).expect("what was mounted on it is gone");
    assert!(status.success(), "it failed in its namespace");
}

fn mount(arguments: &[&str], at: &Path) {
    let output = Command::new("mount").args(arguments).arg(at).output().expect("mount runs");
    assert!(output.status.success(), "mount {arguments:?}: {}", stderr(&output));
}

/// An empty disk of 40 MB.
fn mount_disk(dir: &Path) {
    mount(&["-t", "tmpfs", "-o", "size=40m", "none"], dir);
}

/// Creates a ConfigMap of so many bytes; the HTTP status, the answer, and how long it took.
fn create(instance: &Instance, name: &str, bytes: usize) -> (u16, Value, Duration) {
    let body = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "x".repeat(bytes)},
    });
    // Not on the disk that is full.
    let path = std::env::temp_dir().join(format!("hopyard-e2e-body-{}", std::process::id()));
    std::fs::write(&path, body.to_string()).expect("a body");
    let began = Instant::now();
    let data = format!("@{}", path.display());
    let (body, status) =
        instance.api(CONFIG_MAPS, &["-H", "Content-Type: application/json", "--data-binary", &data]);
    let took = began.elapsed();
    drop(std::fs::remove_file(path));
    (status, serde_json::from_str(&body).unwrap_or_default(), took)
}

fn names(instance: &Instance) -> Vec<String> {
    let (body, status) = instance.api(
        CONFIG_MAPS,
        &["-H", "Accept: application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"],
    );
    assert_eq!(status, 200, "{body}");
    let list: Value = serde_json::from_str(&body).expect("a list");
    let items = list["items"].as_array().expect("items");
    let names = items.iter().filter_map(|item| item["metadata"]["name"].as_str());
    names.filter(|name| name.starts_with("big-")).map(str::to_owned).collect()
}

/// Writes until one is refused; the names that were acknowledged.
fn fill(instance: &Instance, from: usize, bytes: usize) -> (Vec<String>, Value) {
    let mut acknowledged = Vec::new();
    for i in from..from + 400 {
        let name = format!("big-{i:03}");
        let (status, body, took) = create(instance, &name, bytes);
        assert!(took < SOON, "{name}: answered after {took:?}");
        if status != 201 {
            return (acknowledged, body);
        }
        acknowledged.push(name);
    }
    panic!("the disk is never full");
}

#[test]
fn a_full_disk_refuses_writes_answers_reads_and_heals() {
    with_mounts("a_full_disk_refuses_writes_answers_reads_and_heals", |dir| {
        mount_disk(dir);
        let ballast = dir.join("ballast");
        std::fs::write(&ballast, vec![1; 8 << 20]).expect("room for ballast");
        let instance = Instance::up_in(dir.to_owned(), &[]);
        let events = watch(&instance);
        let (mut acknowledged, refusal) = fill(&instance, 0, 700_000);
        assert!(acknowledged.len() > 20, "{} fit", acknowledged.len());
        let message = refusal["message"].as_str().unwrap_or_default();
        assert_eq!((&refusal["code"], &refusal["reason"]), (&json!(500), &json!("InternalError")));
        assert!(message.contains("No space left on device"), "{message}");

        // Full to the last byte, as it were: smaller and smaller ones are refused, and all is read as before.
        let (smaller, _) = fill(&instance, 400, 20_000);
        acknowledged.extend(smaller);
        assert_eq!(names(&instance), acknowledged);
        assert_eq!(create(&instance, "big-999", 700_000).0, 500);

        // Room from elsewhere.
        std::fs::remove_file(ballast).expect("the ballast");
        let (status, body, _) = create(&instance, "big-800", 700_000);
        assert_eq!(status, 201, "{body}");
        acknowledged.push("big-800".to_owned());

        // Room by deletion.
        let (more, _) = fill(&instance, 801, 700_000);
        acknowledged.extend(more);
        for name in acknowledged.drain(..8) {
            let (body, status) = instance.api(&format!("{CONFIG_MAPS}/{name}"), &["-X", "DELETE"]);
            assert_eq!(status, 200, "{body}");
        }
        let (status, body, took) = create(&instance, "big-998", 700_000);
        assert_eq!(status, 201, "{body}");
        assert!(took < SOON, "answered after {took:?}");
        acknowledged.push("big-998".to_owned());
        let last = std::iter::from_fn(|| events.recv_timeout(e2e::PATIENCE).ok())
            .find(|line| line.contains("big-998"));
        assert!(last.is_some(), "the watch goes on");

        let dir = instance.kill();
        let instance = Instance::up_in(dir, &[]);
        assert_eq!(names(&instance), acknowledged, "after a kill everything acknowledged is there");
    });
}

/// Lines of a watch of ConfigMaps.
fn watch(instance: &Instance) -> mpsc::Receiver<String> {
    let mut child = Command::new("kubectl")
        .arg("--kubeconfig")
        .arg(instance.dir().join("kubeconfig"))
        .args(["get", "configmaps", "--watch", "-o", "name"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("kubectl runs");
    let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
        drop(child.kill());
        drop(child.wait());
    });
    receiver
}

#[test]
fn a_torn_tail_costs_at_most_the_last_write() {
    let instance = Instance::up(&[]);
    for i in 0..10 {
        assert_eq!(create(&instance, &format!("big-{i:03}"), 5_000).0, 201);
    }
    let expected = names(&instance);
    let dir = instance.kill();
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(dir.join("store")).expect("a store").flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "log"));
    files.sort();
    let newest =
        std::fs::File::options().write(true).open(files.last().expect("a segment")).expect("it is ours");
    let length = newest.metadata().expect("it is there").len();
    newest.set_len(length - 3).expect("it is ours");
    let instance = Instance::up_in(dir, &[]);
    let found = names(&instance);
    assert!(found.len() >= expected.len() - 1 && expected.starts_with(&found), "{found:?}");
}

/// How `hopyard apiserver` on this directory ends, and what it says.
fn refused(dir: &Path, arguments: &[&str]) -> String {
    let output = Command::new(binary())
        .args(["apiserver", "--secure-port", "0", "--data-dir"])
        .arg(dir)
        .args(arguments)
        .output()
        .expect("hopyard runs");
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

#[test]
fn a_read_only_directory_is_told_in_one_line() {
    with_mounts("a_read_only_directory_is_told_in_one_line", |dir| {
        for made_before in [false, true] {
            mount_disk(dir);
            if made_before {
                let dir = Instance::up_in(dir.to_owned(), &["--nodes", "1"]).kill();
                wait_for("its files to be closed", || {
                    std::fs::File::open(dir.join("store/lock")).is_ok_and(|file| file.try_lock().is_ok())
                });
            }
            mount(&["-o", "remount,ro"], dir);
            let text = refused(dir, &[]);
            assert!(
                text.contains("Read-only file system") && text.contains(&*dir.to_string_lossy()),
                "{text}"
            );
        }
    });
}

#[test]
fn a_store_of_another_engine_is_told_and_left_alone() {
    for (made, opened) in [("sled", "log"), ("log", "sled")] {
        let instance = Instance::up(&["--store", made]);
        assert_eq!(create(&instance, "big-000", 10).0, 201);
        let dir = instance.kill();
        let text = refused(&dir, &["--store", opened]);
        assert!(text.contains(&format!("was made with --store {made}")), "{text}");
        let instance = Instance::up_in(dir, &["--store", made]);
        assert_eq!(names(&instance), ["big-000"]);
    }
}

#[test]
fn sled_refuses_honestly_where_it_cannot_heal() {
    with_mounts("sled_refuses_honestly_where_it_cannot_heal", |dir| {
        mount_disk(dir);
        let instance = Instance::up_in(dir.to_owned(), &["--store", "sled"]);
        let (acknowledged, refusal) = fill(&instance, 0, 700_000);
        let message = refusal["message"].as_str().unwrap_or_default();
        assert!(message.contains("No space left on device"), "{message}");
        let (status, body, took) = create(&instance, "big-999", 10);
        let message = body["message"].as_str().unwrap_or_default();
        assert!(status == 500 && message.contains("--store log") && took < SOON, "{message}");
        assert_eq!(names(&instance), acknowledged);
    });
}
