//! Nothing is lost while Pods come and go: a steady load over scaling, deleting and a rolling update.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use e2e::{Instance, stdout, wait_for};

#[test]
fn scaling_deleting_and_rolling_lose_no_request() {
    let instance =
        Arc::new(Instance::up(&["--apply", concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/journey")]));
    let code = |instance: &Instance| {
        stdout(&instance.curl(&["-o", "/dev/null", "-w", "%{http_code}", "https://packet-journey.com/"]))
    };
    wait_for("an answer", || code(&instance) == "200");

    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let clients: Vec<_> = (0..2)
        .map(|_| {
            let (instance, stop, sent) = (instance.clone(), stop.clone(), sent.clone());
            std::thread::spawn(move || {
                let mut lost = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let answer = code(&instance);
                    sent.fetch_add(1, Ordering::Relaxed);
                    if answer != "200" {
                        lost.push(answer);
                    }
                }
                lost
            })
        })
        .collect();
    let rolled = |arguments: &[&str]| {
        instance.kubectl_ok(arguments);
        instance.kubectl_ok(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    };
    rolled(&["scale", "deployment/web", "--replicas=6"]);
    rolled(&["scale", "deployment/web", "--replicas=2"]);
    rolled(&["set", "image", "deployment/web", "nginx=nginx:1.30"]);
    let pod = instance.kubectl_ok(&["get", "pods", "-l", "app=web", "-o", "name"]);
    let pod = pod.lines().next().expect("a Pod").to_owned();
    rolled(&["delete", &pod]);
    let so_far = sent.load(Ordering::Relaxed);
    wait_for("some more answers", || sent.load(Ordering::Relaxed) > so_far + 10);
    stop.store(true, Ordering::Relaxed);
    let lost: Vec<String> =
        clients.into_iter().flat_map(|client| client.join().expect("a client ends")).collect();
    assert!(
        lost.is_empty(),
        "{} of {} requests were lost: {lost:?}",
        lost.len(),
        sent.load(Ordering::Relaxed)
    );
}
