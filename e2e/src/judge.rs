//! Clients that record what they did and saw, and a judge of that (porcupine): `e2e/clients/history`.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{root, stdout, wait_for};

const CLIENTS: &str = "12";

/// Clients at work; they end with it.
pub struct Judge {
    clients: Option<Child>,
    began: Instant,
    lasts: Duration,
    kills: u32,
}

impl Judge {
    /// Has clients work with the instances in these directories, separated by commas, for so many seconds or as
    /// `HOPYARD_HISTORY_SECONDS` says. `None`, and a line that says so, where `e2e/clients/install` could not make it.
    pub fn start(dirs: &str, seconds: u64) -> Option<Self> {
        let judge = Self::binary()?;
        let asked = std::env::var("HOPYARD_HISTORY_SECONDS").ok().and_then(|text| text.parse().ok());
        let seconds = asked.unwrap_or(seconds);
        let clients = Command::new(judge)
            .args([dirs, &seconds.to_string(), CLIENTS])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the clients start");
        Some(Self {
            clients: Some(clients),
            began: Instant::now(),
            lasts: Duration::from_secs(seconds),
            kills: 0,
        })
    }

    /// Where it is, if it is there.
    pub fn binary() -> Option<std::path::PathBuf> {
        let judge = root().join("target/clients/history");
        if !judge.exists() {
            eprintln!("no history: not run; e2e/clients/install target/clients makes it");
            return None;
        }
        Some(judge)
    }

    /// Calls `kill` again and again, as long as the clients work; what it kills has lived so long, at least.
    pub fn disturb(&mut self, life: Duration, mut kill: impl FnMut()) {
        while self.began.elapsed() + 2 * life < self.lasts {
            let born = Instant::now();
            wait_for("the clients to work for a while", || born.elapsed() > life);
            kill();
            self.kills += 1;
        }
    }

    /// Holds that what was recorded is linearizable, and that it was disturbed so often.
    pub fn conclude(mut self, kills_min: u32) {
        let clients = self.clients.take().expect("it concludes once");
        let output = clients.wait_with_output().expect("the clients end");
        let said = stdout(&output);
        println!("{} kills; {said}", self.kills);
        assert!(output.status.success() && said.starts_with("linearizable"), "{said}");
        assert!(self.kills >= kills_min, "{} kills", self.kills);
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        if let Some(mut clients) = self.clients.take() {
            drop(clients.kill());
            drop(clients.wait());
        }
    }
}
