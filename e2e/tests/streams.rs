//! Streams with an unmodified kubectl, over SPDY and over WebSockets: port-forward, exec and attach.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
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
    let log = instance.kubectl_ok(&["logs", &pod]);
    assert!(
        log.lines()
            .any(|line| line.starts_with("127.0.0.1 - - [") && line.contains("\"GET / HTTP/1.1\" 200"))
    );
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

/// kubectl with input, over a transport.
fn kubectl(instance: &Instance, transport: &[(&str, &str)], arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new("kubectl")
        .arg("--kubeconfig")
        .arg(instance.dir().join("kubeconfig"))
        .args(arguments)
        .envs(transport.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kubectl runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_vec();
    // A command that reads nothing closes the pipe.
    let typing = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("kubectl ends");
    typing.join().expect("a writer ends");
    output
}

/// Exit code, output and errors.
fn outcome(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

const TOOLS: &str = r#"
{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "tools", "labels": {"app": "tools"}}, "spec": {"containers": [
  {"name": "nginx", "image": "nginx", "env": [{"name": "COLOUR", "value": "green"},
    {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}]},
  {"name": "bare", "image": "traefik/whoami", "args": ["--port=81"]}]}}
{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "waiting"}, "spec": {"containers": [{"name": "c", "image": "no/such:image"}]}}
{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "tools"},
  "spec": {"selector": {"app": "tools"}, "ports": [{"port": 80}]}}
"#;

#[test]
fn who_attaches_types_into_the_process_and_sees_what_it_says() {
    let instance = Instance::up(&[]);
    // kubectl adds ephemeral containers by another path than they came to have: they are added as it does it now.
    instance.kubectl_ok(&["run", "web", "--image=nginx:1.29"]);
    instance.kubectl_ok(&["wait", "--for=condition=Ready", "pod/web", "--timeout=60s"]);
    let added = |name: &str, image: &str, rest: &str| {
        let patch =
            format!(r#"{{"spec":{{"ephemeralContainers":[{{"name":"{name}","image":"{image}"{rest}}}]}}}}"#);
        let header = "Content-Type: application/strategic-merge-patch+json";
        let path = "/api/v1/namespaces/default/pods/web/ephemeralcontainers";
        let (answer, code) = instance.api(path, &["-X", "PATCH", "-H", header, "-d", &patch]);
        assert_eq!(code, 200, "{answer}");
    };
    let state = |name: &str, of: &str| {
        let path = format!("jsonpath={{.status.ephemeralContainerStatuses[?(@.name=='{name}')].state.{of}}}");
        instance.kubectl_ok(&["get", "pod", "web", "-o", &path])
    };
    added("ends", "busybox", r#","command":["sh","-c","echo bye; exit 3"]"#);
    wait_for("its end", || state("ends", "terminated.exitCode") == "3");
    assert_eq!(instance.kubectl_ok(&["logs", "web", "-c", "ends"]), "bye\n");
    added("unknown", "no/such:1", "");
    wait_for("the reason", || state("unknown", "waiting.reason") == "ErrImagePull");

    for (i, transport) in TRANSPORTS.iter().enumerate() {
        let name = format!("shell-{i}");
        added(&name, "busybox", r#","command":["sh"],"stdin":true,"stdinOnce":true"#);
        wait_for("the shell", || !state(&name, "running").is_empty());
        let typed = b"echo one\nhostname\nexit 4\n";
        let seen = kubectl(&instance, transport, &["attach", "-i", "-c", &name, "web"], typed);
        assert!(outcome(&seen).1.ends_with("one\nweb\n"), "{transport:?} {seen:?}");
        wait_for("its end", || state(&name, "terminated.exitCode") == "4");
    }

    // A Pod that is run to be typed into.
    let run = ["run", "-i", "--rm", "--restart=Never", "--image=busybox", "tmp"];
    let seen = kubectl(&instance, TRANSPORTS[0], &run, b"echo two\n");
    assert!(outcome(&seen).1.contains("two\n"), "{seen:?}");
}

#[test]
fn exec_runs_tools_and_tells_how_they_ended() {
    let instance = Instance::up(&[]);
    apply(&instance, TOOLS);
    instance.kubectl_ok(&["wait", "--for=condition=Ready", "pod/tools", "--timeout=60s"]);
    let node = instance.kubectl_ok(&["get", "pod", "tools", "-o", "jsonpath={.spec.nodeName}"]);
    let large: Vec<u8> = (0..3 << 20).map(|i| (i / 7 % 251) as u8).collect();
    for transport in TRANSPORTS {
        let exec = |arguments: &[&str], input: &[u8]| {
            let all: Vec<&str> =
                ["exec", "-c", "nginx", "tools"].into_iter().chain(arguments.iter().copied()).collect();
            kubectl(&instance, transport, &all, input)
        };
        let table: [(&[&str], i32, &str, &str); 6] = [
            (&["--", "printenv", "COLOUR"], 0, "green\n", ""),
            (&["--", "printenv", "NODE"], 0, &format!("{node}\n"), ""),
            (&["--", "sh", "-c", "echo out; exit 3"], 3, "out\n", "command terminated with exit code 3\n"),
            (
                &["--", "sh", "-c", "nonsense"],
                127,
                "",
                "sh: nonsense: not found\ncommand terminated with exit code 127\n",
            ),
            (&["-i", "--", "cat"], 0, "typed\n", ""),
            (&["--", "curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "http://tools/"], 0, "200", ""),
        ];
        for (arguments, code, out, err) in table {
            let found = outcome(&exec(arguments, b"typed\n"));
            assert_eq!(found, (Some(code), out.to_owned(), err.to_owned()), "{arguments:?}");
        }
        let echoed = exec(&["-i", "--", "cat"], &large);
        assert!(echoed.stdout == large, "{} of {} bytes came back", echoed.stdout.len(), large.len());
        // A binary that is not there, and an image without any.
        let (code, _, err) = outcome(&exec(&["--", "nonsense"], b""));
        assert!(err.contains("OCI runtime exec failed: exec failed: unable to start container process: exec: \"nonsense\": executable file not found in $PATH"), "{err}");
        assert_eq!(code, Some(1));
        let bare = kubectl(&instance, transport, &["exec", "-c", "bare", "tools", "--", "sh"], b"");
        assert!(outcome(&bare).2.contains("exec: \"sh\": executable file not found in $PATH"));
        // Containers that are not there, or do not run.
        let none = kubectl(&instance, transport, &["exec", "-c", "none", "tools", "--", "env"], b"");
        assert_eq!(
            outcome(&none).2,
            "Error from server (BadRequest): container none is not valid for pod tools\n"
        );
        let waiting = kubectl(&instance, transport, &["exec", "waiting", "--", "env"], b"");
        let (code, _, err) = outcome(&waiting);
        assert!(err.ends_with("unable to upgrade connection: container not found (\"c\")\n"), "{err}");
        assert_eq!(code, Some(1));
    }
}

#[test]
fn attach_follows_what_a_container_says_until_it_ends() {
    let instance = Instance::up(&[]);
    apply(&instance, WEB);
    instance.kubectl_ok(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    for transport in TRANSPORTS {
        let pod = instance.kubectl_ok(&["get", "pods", "-l", "app=web", "-o", "name"]).trim().to_owned();
        let mut attached = Command::new("kubectl")
            .arg("--kubeconfig")
            .arg(instance.dir().join("kubeconfig"))
            .args(["attach", &pod])
            .envs(transport.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("kubectl runs");
        let said = lines(attached.stdout.take().expect("a pipe"));
        let forward = Forward::to(&instance, transport, &pod, 80);
        let mut seen = None;
        wait_for("a line of the log", || {
            forward.get();
            seen = said.recv_timeout(Duration::from_millis(50)).ok();
            seen.is_some()
        });
        assert!(seen.expect("a line").contains("\"GET / HTTP/1.1\" 200"), "only what is said from now on");
        instance.kubectl_ok(&["delete", &pod, "--wait=false"]);
        assert!(attached.wait().expect("it ends with its container").success());
        instance.kubectl_ok(&["rollout", "status", "deployment/web", "--timeout=60s"]);
        wait_for("the old Pod to go", || {
            instance.kubectl_ok(&["get", "pods", "-l", "app=web", "-o", "name"]).lines().count() == 1
        });
    }
}

#[test]
fn streams_need_create_whatever_their_method() {
    let instance = Instance::up(&[]);
    apply(&instance, TOOLS);
    instance.kubectl_ok(&["wait", "--for=condition=Ready", "pod/tools", "--timeout=60s"]);
    instance.kubectl_ok(&["create", "role", "reader", "--verb=get", "--resource=pods,pods/exec"]);
    instance.kubectl_ok(&["create", "rolebinding", "reader", "--role=reader", "--user=bob"]);
    let exec = |transport| {
        outcome(&kubectl(
            &instance,
            transport,
            &["exec", "--as=bob", "-c", "nginx", "tools", "--", "hostname"],
            b"",
        ))
    };
    for transport in TRANSPORTS {
        let (code, _, err) = exec(transport);
        assert!(err.starts_with("Error from server (Forbidden): pods \"tools\" is forbidden"), "{err}");
        assert_eq!(code, Some(1));
    }
    instance.kubectl_ok(&["create", "role", "runner", "--verb=create", "--resource=pods/exec"]);
    instance.kubectl_ok(&["create", "rolebinding", "runner", "--role=runner", "--user=bob"]);
    for transport in TRANSPORTS {
        assert_eq!(exec(transport), (Some(0), "tools\n".to_owned(), String::new()));
    }
}
