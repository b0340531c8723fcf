//! Commands in a running Pod: what they print, how they end, and what a terminal shows.

use super::*;
use dataplane_network::Fabric;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use std::time::Duration;

struct World;

impl Surroundings for World {
    fn resolve(&self, _: &str, _: &str, name: &str) -> Vec<Ipv4Addr> {
        if name == "web" { vec![Ipv4Addr::new(10, 0, 16, 20)] } else { Vec::new() }
    }
    fn service_variables(&self, _: &str) -> Vec<(String, String)> {
        Vec::new()
    }
}

async fn running(image: &str) -> Workloads {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "web-1", "namespace": "default", "uid": "u1"},
        "spec": {"nodeName": "node-1", "containers": [
            {"name": "c", "image": image, "env": [{"name": "A", "value": "one two"}]}]},
        "status": {"podIP": "10.0.16.20"},
    }))
    .expect("a Pod");
    let workloads = Workloads::new(Fabric::new());
    workloads.start(&std::sync::Arc::new(pod)).await.expect("it starts");
    workloads
}

struct Said {
    code: Result<i32, ExecError>,
    out: String,
    err: String,
}

async fn exec(workloads: &Workloads, command: &[&str], input: Option<&'static str>, tty: bool) -> Said {
    let (stdout, mut out) = mpsc::channel(1000);
    let (stderr, mut err) = mpsc::channel(1000);
    let stdin = input.map(|text| {
        let (typing, typed) = mpsc::channel(1000);
        for piece in text.as_bytes().chunks(3) {
            typing.try_send(Bytes::from_static(piece)).expect("room");
        }
        typed
    });
    let streams = Streams { stdin, stdout: Some(stdout), stderr: Some(stderr), tty };
    let command: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
    let code = workloads.exec(("u1", "c"), &command, streams, &World).await;
    let mut said = Said { code, out: String::new(), err: String::new() };
    while let Some(bytes) = out.recv().await {
        said.out.push_str(&String::from_utf8_lossy(&bytes));
    }
    while let Some(bytes) = err.recv().await {
        said.err.push_str(&String::from_utf8_lossy(&bytes));
    }
    said
}

#[tokio::test]
async fn tools_answer_from_what_the_pod_is() {
    let workloads = running("nginx").await;
    let table: [(&[&str], i32, &str, &str); 26] = [
        (&["echo", "a", "b"], 0, "a b\n", ""),
        (&["/bin/echo", "-n", "a"], 0, "a", ""),
        (&["hostname"], 0, "web-1\n", ""),
        (&["hostname", "-i"], 0, "10.0.16.20\n", ""),
        (&["printenv", "A"], 0, "one two\n", ""),
        (&["printenv", "NONE"], 1, "", ""),
        (&["env", "A=b", "printenv", "A"], 0, "b\n", ""),
        (&["env", "nonsense"], 127, "", "env: can't execute 'nonsense': No such file or directory\n"),
        (&["cat", "/etc/hostname"], 0, "web-1\n", ""),
        (&["cat", "/nothing"], 1, "", "cat: /nothing: No such file or directory\n"),
        (&["true"], 0, "", ""),
        (&["false"], 1, "", ""),
        (&["pwd"], 0, "/\n", ""),
        (&["sleep", "x"], 1, "", "sleep: invalid time interval 'x'\n"),
        (&["getent", "hosts", "web"], 0, "10.0.16.20      web\n", ""),
        (&["getent", "hosts", "nowhere"], 2, "", ""),
        (&["sh", "-c", "echo $HOSTNAME; exit 3"], 3, "web-1\n", ""),
        (&["sh", "-c", "nonsense -x"], 127, "", "sh: nonsense: not found\n"),
        (
            &["sh", "-c", "false || echo $? && B=c; echo \"$B\"; B=d printenv B; echo $B"],
            0,
            "1\nc\nd\nc\n",
            "",
        ),
        (&["sh", "-ec", "false; echo no"], 1, "", ""),
        (
            &["sh", "-c", "cd /etc && cat hostname && cd /nowhere"],
            2,
            "web-1\n",
            "sh: cd: can't cd to /nowhere: No such file or directory\n",
        ),
        (&["sh", "-c", "echo a | cat"], 2, "", "sh: \"|\" is not supported in a simulated container\n"),
        (&["sh", "script"], 2, "", "sh: can't open 'script': No such file or directory\n"),
        (&["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}\\n", "http://localhost/no"], 0, "404\n", ""),
        (&["curl", "-sS", "nowhere"], 6, "", "curl: (6) Could not resolve host: nowhere\n"),
        (
            &["wget", "-qO-", "web:81"],
            1,
            "",
            "wget: can't connect to remote host (10.0.16.20): Connection refused\n",
        ),
    ];
    for (command, code, out, err) in table {
        let said = exec(&workloads, command, None, false).await;
        assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (Ok(code), out, err), "{command:?}");
    }
    let page = exec(&workloads, &["curl", "web"], None, false).await;
    assert!(page.out.contains("Welcome to nginx!"), "{}", page.out);
    let log = workloads.logs("u1", None).expect("a log").since(0);
    let last = &log.last().expect("a line").text;
    assert!(last.starts_with("10.0.16.20 - - [") && last.contains("] \"GET / HTTP/1.1\" 200 "), "{last}");
}

#[tokio::test]
async fn what_is_not_there_is_not_run() {
    let workloads = running("nginx").await;
    for (command, error) in [
        ("nonsense", ExecError::NotFound("nonsense".to_owned())),
        ("/bin/nonsense", ExecError::NoFile("/bin/nonsense".to_owned())),
    ] {
        assert_eq!(exec(&workloads, &[command], None, false).await.code, Err(error));
    }
    assert_eq!(exec(&workloads, &[], None, false).await.code, Err(ExecError::Empty));
    // An image from scratch has no shell.
    let bare = running("traefik/whoami").await;
    assert_eq!(exec(&bare, &["sh"], None, false).await.code, Err(ExecError::NotFound("sh".to_owned())));
    bare.stop("u1", Duration::ZERO).await;
    assert_eq!(exec(&bare, &["echo"], None, false).await.code, Err(ExecError::NotRunning));
}

#[tokio::test]
async fn input_is_read() {
    let workloads = running("nginx").await;
    let said = exec(&workloads, &["cat"], Some("some\nlines"), false).await;
    assert_eq!((said.code, said.out.as_str()), (Ok(0), "some\nlines"));
    let said = exec(&workloads, &["sh"], Some("echo a\nfalse\necho $?\nexit 4\necho no\n"), false).await;
    assert_eq!((said.code, said.out.as_str()), (Ok(4), "a\n1\n"));
}

#[tokio::test]
async fn a_terminal_shows_what_is_typed() {
    let workloads = running("nginx").await;
    let table = [
        ("echo hi\r", Ok(0), "/ # echo hi\r\nhi\r\n/ # "),
        ("echx\x7fo hi\rexit 2\r", Ok(2), "/ # echx\x08 \x08o hi\r\nhi\r\n/ # exit 2\r\n"),
        ("ab\x03false\r\x04", Ok(1), "/ # ab^C\r\n/ # false\r\n/ # \r\n"),
        ("\x1b[A\x1bOBecho\r", Ok(0), "/ # echo\r\n\r\n/ # "),
        ("nonsense\r\x04", Ok(127), "/ # nonsense\r\nsh: nonsense: not found\r\n/ # \r\n"),
    ];
    for (typed, code, shown) in table {
        let said = exec(&workloads, &["sh"], Some(typed), true).await;
        assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (code, shown, ""), "{typed:?}");
    }
}

#[tokio::test]
async fn ctrl_c_ends_a_command() {
    let workloads = running("nginx").await;
    let (stdout, mut out) = mpsc::channel(100);
    let (typing, typed) = mpsc::channel::<Bytes>(10);
    let streams = Streams { stdin: Some(typed), stdout: Some(stdout), stderr: None, tty: true };
    let other = workloads.clone();
    let shell =
        tokio::spawn(async move { other.exec(("u1", "c"), &["sh".to_owned()], streams, &World).await });
    let mut shown = String::new();
    for (text, until) in [("sleep infinity\r", "infinity\r\n"), ("\x03", "^C\r\n/ # "), ("\x04", "# \r\n")] {
        typing.send(Bytes::from_static(text.as_bytes())).await.expect("a shell reads");
        while !shown.ends_with(until) {
            let bytes = tokio::time::timeout(Duration::from_secs(10), out.recv()).await.expect("it answers");
            shown.push_str(&String::from_utf8_lossy(&bytes.expect("it goes on")));
        }
    }
    assert_eq!(shell.await.expect("a task"), Ok(130));
}
