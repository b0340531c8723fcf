//! Streams with an unmodified kubectl, over SPDY and over WebSockets: port-forward, exec and attach.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use e2e::{Instance, PATIENCE, wait_for};

/// What makes kubectl take plain SPDY instead of a WebSocket.
const TRANSPORTS: [&[(&str, &str)]; 2] =
    [&[], &[("KUBECTL_PORT_FORWARD_WEBSOCKETS", "false"), ("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false")]];

const WEB: &str = r#"
{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
  "selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}},
    "spec": {"containers": [{"name": "nginx", "image": "nginx", "ports": [{"containerPort": 80, "name": "http"}]}]}}}}
{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
  "spec": {"selector": {"app": "web"}, "ports": [{"port": 8080, "targetPort": "http"}]}}
"#;

fn apply(instance: &Instance, manifest: &str) {
    let path = instance.dir().join("manifest.json");
    std::fs::write(&path, manifest).expect("a manifest");
    instance.kubectl_ok(&["apply", "-f", &path.to_string_lossy()]);
}

/// A running `kubectl port-forward`.
struct Forward {
    child: Child,
    port: u16,
    errors: mpsc::Receiver<String>,
}

impl Forward {
    /// Forwards a free local port and waits until it is open.
    fn to(instance: &Instance, transport: &[(&str, &str)], target: &str, port: u16) -> Self {
        let mut child = Command::new("kubectl")
            .arg("--kubeconfig")
            .arg(instance.dir().join("kubeconfig"))
            .args(["port-forward", "--address", "127.0.0.1", target, &format!(":{port}")])
            .envs(transport.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl runs");
        let errors = lines(child.stderr.take().expect("a pipe"));
        let said = lines(child.stdout.take().expect("a pipe"));
        let first = said.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            panic!("kubectl forwards nothing: {:?}", errors.try_iter().collect::<Vec<_>>())
        });
        let port = first.strip_prefix("Forwarding from 127.0.0.1:").and_then(|rest| rest.split(' ').next());
        let port = port.and_then(|port| port.parse().ok()).unwrap_or_else(|| panic!("no port in {first:?}"));
        Self { child, port, errors }
    }

    fn connect(&self) -> TcpStream {
        connect(self.port)
    }

    fn get(&self) -> String {
        get(self.port)
    }

    /// Ends it as Ctrl-C does.
    fn interrupt(mut self) {
        let sent = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
        self.child.wait().expect("it ends");
    }

    /// Waits until kubectl gives up, and gives what it said.
    fn given_up(mut self) -> (Option<i32>, String) {
        let mut status = None;
        wait_for("kubectl to give up", || {
            status = self.child.try_wait().expect("a child");
            status.is_some()
        });
        let mut said = String::new();
        while let Ok(line) = self.errors.recv_timeout(Duration::from_secs(5)) {
            said.push_str(&line);
            said.push('\n');
        }
        (status.and_then(|status| status.code()), said)
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("kubectl listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// The answer to a request on a connection of its own.
fn get(port: u16) -> String {
    let mut stream = connect(port);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n").expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// The lines of a pipe, read to its end by a thread.
fn lines(pipe: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (send, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            // Nobody may be listening any more.
            drop(send.send(line));
        }
    });
    lines
}

/// Sockets and pipes of the instance.
fn open_files(instance: &Instance) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", instance.pid())).expect("a process").count()
}

#[test]
fn port_forward_reaches_pods_services_and_deployments() {
    let instance = Instance::up(&[]);
    apply(&instance, WEB);
    instance.kubectl_ok(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    let pod = instance.kubectl_ok(&["get", "pods", "-l", "app=web", "-o", "name"]).trim().to_owned();
    for transport in TRANSPORTS {
        for (target, port) in [(pod.as_str(), 80), ("svc/web", 8080), ("deploy/web", 80)] {
            let forward = Forward::to(&instance, transport, target, port);
            for _ in 0..3 {
                let answer = forward.get();
                assert!(
                    answer.starts_with("HTTP/1.1 200 OK") && answer.contains("Welcome to nginx!"),
                    "{answer}"
                );
            }
        }
    }
    // The Pod sees its own localhost, as in a cluster.
    assert!(instance.kubectl_ok(&["logs", &pod]).contains("127.0.0.1 - - \"GET / HTTP/1.1\" 200"));
}

#[test]
fn many_connections_at_a_time_and_ctrl_c_leaves_nothing_behind() {
    let instance = Instance::up(&[]);
    apply(&instance, WEB);
    instance.kubectl_ok(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    for transport in TRANSPORTS {
        let before = open_files(&instance);
        let forward = Forward::to(&instance, transport, "deploy/web", 80);
        std::thread::scope(|scope| {
            let port = forward.port;
            let clients: Vec<_> = (0..40).map(|_| scope.spawn(move || get(port))).collect();
            for client in clients {
                assert!(client.join().expect("a client ends").starts_with("HTTP/1.1 200 OK"));
            }
        });
        // Connections that are open when the session ends.
        let held: Vec<TcpStream> = (0..10)
            .map(|_| {
                let mut stream = forward.connect();
                stream.write_all(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n").expect("a request");
                let mut byte = [0];
                stream.read_exact(&mut byte).expect("an answer");
                stream
            })
            .collect();
        assert!(open_files(&instance) >= before + 20, "both ends of ten connections are open");
        forward.interrupt();
        wait_for("everything to be closed", || open_files(&instance) <= before);
        drop(held);
    }
}

#[test]
fn large_bodies_pass_both_ways_and_half_closed_connections_finish() {
    const LENGTH: usize = 10 << 20;
    let echo = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = echo.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in echo.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut reader = stream.try_clone().expect("a socket");
                let mut writer = stream;
                drop(std::io::copy(&mut reader, &mut writer));
                drop(writer.shutdown(Shutdown::Write));
            });
        }
    });
    let instance = Instance::up(&[]);
    apply(
        &instance,
        &format!(
            r#"{{"apiVersion": "v1", "kind": "Pod", "metadata": {{"name": "echo", "annotations": {{"hopyard.dev/upstream": "{address}"}}}},
              "spec": {{"containers": [{{"name": "echo", "image": "my/echo", "ports": [{{"containerPort": 7}}]}}]}}}}"#
        ),
    );
    instance.kubectl_ok(&["wait", "--for=condition=Ready", "pod/echo", "--timeout=60s"]);
    let sent: Vec<u8> = (0..LENGTH).map(|i| (i / 7 % 251) as u8).collect();
    for transport in TRANSPORTS {
        let forward = Forward::to(&instance, transport, "pod/echo", 7);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                let mut reader = forward.connect();
                let mut writer = reader.try_clone().expect("a socket");
                let sent = &sent;
                scope.spawn(move || {
                    writer.write_all(sent).expect("all is taken");
                    writer.shutdown(Shutdown::Write).expect("half closed");
                });
                scope.spawn(move || {
                    let mut heard = Vec::with_capacity(LENGTH);
                    reader.read_to_end(&mut heard).expect("all comes back");
                    assert!(heard == *sent, "{} of {LENGTH} bytes came back", heard.len());
                });
            }
        });
    }
}

#[test]
fn what_cannot_be_forwarded_is_said_in_upstreams_words() {
    let instance = Instance::up(&[]);
    apply(&instance, WEB);
    instance.kubectl_ok(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    for transport in TRANSPORTS {
        // Nothing listens there: the session ends with the first connection.
        let forward = Forward::to(&instance, transport, "deploy/web", 81);
        let mut stream = forward.connect();
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
        let (code, said) = forward.given_up();
        assert!(said.contains("an error occurred forwarding"), "{said}");
        assert!(said.contains("failed to connect to localhost:81 inside namespace"), "{said}");
        assert!(said.contains("dial tcp4 127.0.0.1:81: connect: connection refused"), "{said}");
        assert!(said.ends_with("error: lost connection to pod\n"), "{said}");
        assert_eq!(code, Some(1));
        // A Pod that goes while it is forwarded to.
        let forward = Forward::to(&instance, transport, "deploy/web", 80);
        assert!(forward.get().starts_with("HTTP/1.1 200 OK"));
        let pod = instance.kubectl_ok(&["get", "pods", "-l", "app=web", "-o", "name"]).trim().to_owned();
        instance.kubectl_ok(&["delete", &pod, "--grace-period=0", "--force"]);
        let mut answer = "first".to_owned();
        wait_for("the Pod's end to show", || {
            if !answer.is_empty()
                && let Ok(mut stream) = TcpStream::connect(("127.0.0.1", forward.port))
            {
                answer.clear();
                stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
                drop(stream.write_all(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n"));
                drop(stream.read_to_string(&mut answer));
            }
            answer.is_empty()
        });
        let (code, said) = forward.given_up();
        assert!(said.ends_with("error: lost connection to pod\n"), "{said}");
        assert_eq!(code, Some(1));
        instance.kubectl_ok(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    }
    let missing = instance.kubectl(&["port-forward", "pod/none", ":80"]);
    let said = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert_eq!(said, "Error from server (NotFound): pods \"none\" not found\n");
}
