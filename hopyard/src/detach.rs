//! `hopyard up --detach`: the same command in the background, its log in the data directory.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::instance::Instance;

/// How long a start may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Starts the command again without `--detach` and waits until it runs.
pub(crate) fn detach(dir: &Path) -> Result<(), Error> {
    crate::instance::make_private(dir).map_err(|error| Error::path(dir, error))?;
    if Instance::read(dir).is_ok() {
        return Err(Error::DirInUse { dir: dir.to_owned() });
    }
    Instance::remove(dir);
    let log_path = dir.join("hopyard.log");
    let (log, start) = open_log(&log_path).map_err(|error| Error::path(&log_path, error))?;
    let program = std::env::current_exe()
        .map_err(|error| Error::Failed(format!("this program's path is unknown: {error}")))?;
    let arguments = std::env::args_os().skip(1).filter(|argument| argument != "--detach");
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;
        // A group of its own: Ctrl-C in this terminal is not for it.
        command.process_group(0);
    }
    let mut child = command
        .spawn()
        .map_err(|error| Error::Failed(format!("the background process did not start: {error}")))?;
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if let Ok(instance) = Instance::read(dir) {
            let text = since(&log_path, start);
            // What was started and when; what the loops made of it is for the log.
            let started = text.lines().take_while(|line| !line.is_empty());
            started.filter(|line| !line.contains("reconciled")).for_each(|line| eprintln!("{line}"));
            eprint!("{}", crate::up::welcome(&instance));
            return Ok(());
        }
        if let Ok(Some(_)) = child.try_wait() {
            let text = since(&log_path, start);
            let last = text.lines().last().unwrap_or("it ended without a word");
            return Err(Error::Failed(last.trim_start_matches("hopyard: ").to_owned()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(Error::Failed(format!(
        "it did not start within {} s; see {}",
        PATIENCE.as_secs(),
        log_path.display()
    )))
}

/// A log longer than this begins anew; what was there is kept beside it.
const LOG_MAX: u64 = 16 << 20;

/// The log, to be written on: what came before an end without a word is what somebody will want to read. With it the
/// place where this start's lines begin.
fn open_log(path: &Path) -> std::io::Result<(std::fs::File, usize)> {
    let length = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
    if length(path) > LOG_MAX {
        std::fs::rename(path, path.with_extension("log.1"))?;
    }
    let log = std::fs::File::options().create(true).append(true).open(path)?;
    Ok((log, usize::try_from(length(path)).unwrap_or(0)))
}

fn since(path: &Path, start: usize) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(text.get(start..).unwrap_or_default()).into_owned()
}
