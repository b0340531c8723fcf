//! The figures the project promises, measured on a release build: `cargo bench -p e2e --bench figures`.
//!
//! Each line of the table is a metric, what is required and what was measured; a missed one makes the exit code 1.
//! With `-- --build` a clean release build is timed as well. No test depends on any of it.

mod effect;

use std::time::{Duration, Instant};

use e2e::daemon::{self, Daemon};
use e2e::figure::{self, Figure};

fn milliseconds(elapsed: Duration) -> f64 {
    elapsed.as_secs_f64() * 1000.0
}

/// From the start of the process to the first `/readyz` that says ok, on an empty directory each time.
fn ready() -> Vec<f64> {
    let mut measured = Vec::new();
    for _ in 0..5 {
        let (began, daemon) = (Instant::now(), Daemon::start(&["up", "--listen", "127.0.0.1:0"]));
        daemon.wait_until_ready();
        measured.push(milliseconds(began.elapsed()));
    }
    measured
}

/// From the start of the process to the last line of the trace on its output.
fn demo() -> Vec<f64> {
    (0..5)
        .map(|_| {
            let (began, mut daemon) = (Instant::now(), Daemon::start(&["demo", "--once"]));
            daemon.wait_for_output("✓ answered by Pod");
            milliseconds(began.elapsed())
        })
        .collect()
}

/// Resident memory in MiB and CPU in percent after the demo, over ten seconds.
fn idle() -> (f64, f64) {
    let mut daemon = Daemon::start(&["demo"]);
    daemon.wait_for_output("✓ answered by Pod");
    // What the demo woke comes to rest.
    std::thread::sleep(Duration::from_secs(2));
    let (before, began) = (daemon.cpu_seconds(), Instant::now());
    std::thread::sleep(Duration::from_secs(10));
    let cpu = (daemon.cpu_seconds() - before) / began.elapsed().as_secs_f64() * 100.0;
    (daemon.resident_mib(), cpu)
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    daemon::build_release();
    let mut figures = vec![
        Figure::new("fresh `up` to /readyz ok", 150.0, "ms", ready()),
        Figure::new("`demo` from exec to the printed trace", 2000.0, "ms", demo()),
    ];
    let effects = effect::measure(20);
    let again = effects.again;
    figures.push(Figure::new("Ready Pod healthy in every target group", 20.0, "ms", effects.in_groups));
    figures.push(Figure::new("Ready Pod in every node's rule program", 20.0, "ms", effects.in_rules));
    figures.push(Figure::new("deleted Pod out of every target group", 20.0, "ms", effects.out_of_groups));
    figures.push(Figure::new(
        "deleted Pod out of every node's rule program",
        20.0,
        "ms",
        effects.out_of_rules,
    ));
    let (memory, cpu) = idle();
    figures.push(Figure::new("idle after the demo: resident memory", 80.0, "MiB", vec![memory]));
    figures.push(Figure::new("idle after the demo: CPU over 10 s", 1.0, "%", vec![cpu]));
    if arguments.iter().any(|argument| argument == "--build") {
        let minutes = daemon::clean_build().as_secs_f64() / 60.0;
        figures.push(Figure::new("clean release build", 8.0, "min", vec![minutes]));
    }
    figure::print(&figures);
    if again > 0 {
        println!("{again} rounds were measured again: the hypervisor took the CPU away in them");
    }
    if !figures.iter().all(Figure::kept) {
        std::process::exit(1);
    }
}
