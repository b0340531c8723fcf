//! What clients see while the server is killed again and again is linearizable, and watchers see every event once, in order.
//!
//! `e2e/clients/install target/clients` makes the clients and the judge (porcupine, which wants Go); where they are not
//! there the test says so and was not run. `HOPYARD_HISTORY_SECONDS=120` is the long run.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use e2e::{Instance, wait_for};

/// How long it takes unless it is told otherwise.
const SECONDS: u64 = 8;
/// How long the server lives, at least, before it is killed.
const LIFE: Duration = Duration::from_millis(900);

#[test]
fn clients_see_one_order_of_things_whatever_happens_to_the_server() {
    let judge = e2e::root().join("target/clients/history");
    if !judge.exists() {
        eprintln!("no history: not run; e2e/clients/install target/clients makes it");
        return;
    }
    let seconds = std::env::var("HOPYARD_HISTORY_SECONDS").ok().and_then(|text| text.parse().ok());
    let seconds = seconds.unwrap_or(SECONDS);
    let mut instance = Instance::up(&["--nodes", "1"]);
    let mut clients = Command::new(judge)
        .arg(instance.dir())
        .args([&seconds.to_string(), "12"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the clients start");
    let began = Instant::now();
    let mut kills = 0;
    while began.elapsed() + 2 * LIFE < Duration::from_secs(seconds) {
        let born = Instant::now();
        wait_for("the clients to work for a while", || born.elapsed() > LIFE);
        let dir = instance.kill();
        kills += 1;
        instance = Instance::up_in(dir, &["--nodes", "1"]);
    }
    let mut said = String::new();
    std::io::Read::read_to_string(&mut clients.stdout.take().expect("it was asked for"), &mut said)
        .expect("text");
    let ended = clients.wait().expect("the clients end");
    println!("{kills} kills; {said}");
    assert!(ended.success() && said.starts_with("linearizable"), "{said}");
    assert!(kills >= 2, "{kills} kills");
}
