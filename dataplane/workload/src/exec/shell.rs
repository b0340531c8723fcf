//! `sh`: a script, or lines as they are typed. Only simple commands; the rest is refused with a sentence.

use super::parse::{Part, When, expand, parse};
use super::{Process, commands};

/// Bytes of a line; more is nonsense.
const LINE_MAX: usize = 64 << 10;

/// Commands of the shell itself.
pub(super) const BUILT_IN: [&str; 6] = [":", "exit", "export", "unset", "cd", "exec"];

/// State of a shell.
#[derive(Default)]
struct Shell {
    name: String,
    last: i32,
    /// Ends at the first failure.
    strict: bool,
    exited: bool,
}

/// Runs a shell with these arguments.
pub(super) async fn run(process: &mut Process<'_>, name: &str, arguments: &[String]) -> i32 {
    let name = name.rsplit('/').next().unwrap_or(name).to_owned();
    let mut shell = Shell { name, ..Shell::default() };
    let (mut script, mut rest) = (false, arguments);
    while let [first, others @ ..] = rest
        && let Some(letters) = first.strip_prefix('-')
        && !letters.is_empty()
    {
        script |= letters.contains('c') && !letters.starts_with('-');
        shell.strict |= letters.contains('e') && !letters.starts_with('-');
        rest = others;
    }
    match (script, rest.first()) {
        (true, Some(text)) => shell.script(process, text).await,
        (true, None) => {
            process.err(format!("{}: -c requires an argument\n", shell.name)).await;
            shell.last = 2;
        }
        (false, Some(file)) => {
            process.err(format!("{}: can't open '{file}': No such file or directory\n", shell.name)).await;
            shell.last = 2;
        }
        (false, None) if process.output.tty => shell.terminal(process).await,
        (false, None) => shell.lines(process).await,
    }
    shell.last
}

impl Shell {
    async fn script(&mut self, process: &mut Process<'_>, text: &str) {
        let commands = match parse(text) {
            Ok(commands) => commands,
            Err(why) => {
                process.err(format!("{}: {why}\n", self.name)).await;
                self.last = 2;
                return;
            }
        };
        let last = commands.len();
        for (i, command) in commands.iter().enumerate() {
            let due = match command.when {
                When::Always => true,
                When::And => self.last == 0,
                When::Or => self.last != 0,
            };
            if !due {
                continue;
            }
            // Assignments before a command are its own; alone they stay.
            let assigned = command.words.iter().take_while(|word| is_assignment(word)).count();
            let value = |process: &Process<'_>, name: &str| match name {
                "?" => Some(self.last.to_string()),
                name => process.view.env.get(name).cloned(),
            };
            let before = process.view.env.clone();
            for word in &command.words[..assigned] {
                let text = expand(std::slice::from_ref(word), |name| value(process, name)).join(" ");
                if let Some((name, text)) = text.split_once('=') {
                    process.view.env.insert(name.to_owned(), text.to_owned());
                }
            }
            let words = expand(&command.words[assigned..], |name| value(process, name));
            if words.is_empty() {
                self.last = 0;
                continue;
            }
            self.command(process, &words).await;
            if assigned > 0 {
                process.view.env = before;
            }
            let tested = i + 1 < last && commands[i + 1].when != When::Always;
            if self.exited || (self.strict && self.last != 0 && !tested) {
                self.exited = true;
                return;
            }
        }
    }

    async fn command(&mut self, process: &mut Process<'_>, words: &[String]) {
        let (name, arguments) = (words[0].as_str(), &words[1..]);
        self.last = match name {
            ":" => 0,
            "exit" => {
                self.exited = true;
                arguments.first().map_or(self.last, |code| code.parse::<i32>().map_or(2, |code| code & 0xff))
            }
            "export" => {
                for (name, value) in arguments.iter().filter_map(|word| word.split_once('=')) {
                    process.view.env.insert(name.to_owned(), value.to_owned());
                }
                0
            }
            "unset" => {
                arguments.iter().for_each(|name| drop(process.view.env.remove(name)));
                0
            }
            "cd" => self.cd(process, arguments).await,
            // `exec` replaces the shell, which then has nothing more to say.
            "exec" if !arguments.is_empty() => {
                self.exited = true;
                self.tool(process, arguments).await
            }
            _ => self.tool(process, words).await,
        };
    }

    async fn tool(&self, process: &mut Process<'_>, words: &[String]) -> i32 {
        match Box::pin(commands::run(process, words)).await {
            Some(code) => code,
            None => {
                process.err(format!("{}: {}: not found\n", self.name, words[0])).await;
                127
            }
        }
    }

    async fn cd(&self, process: &mut Process<'_>, arguments: &[String]) -> i32 {
        let home = process.view.env.get("HOME").cloned().unwrap_or_else(|| "/".to_owned());
        let wanted = arguments.first().cloned().unwrap_or(home);
        let path = if wanted.starts_with('/') {
            wanted.clone()
        } else {
            format!("{}/{wanted}", process.view.directory)
        };
        let mut parts: Vec<&str> = Vec::new();
        for part in path.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    parts.pop();
                }
                part => parts.push(part),
            }
        }
        let path = format!("/{}", parts.join("/"));
        let within = format!("{}/", path.trim_end_matches('/'));
        let known = process.view.files.keys().any(|file| file.starts_with(&within));
        if !known && !matches!(path.as_str(), "/" | "/root" | "/tmp" | "/bin" | "/usr" | "/usr/bin") {
            process
                .err(format!("{}: cd: can't cd to {wanted}: No such file or directory\n", self.name))
                .await;
            return 2;
        }
        process.view.directory = path;
        0
    }

    /// Lines of a pipe, each run when it is complete.
    async fn lines(&mut self, process: &mut Process<'_>) {
        let Some(mut input) = process.input.take() else { return };
        let mut kept = Vec::new();
        while let Some(bytes) = input.recv().await {
            kept.extend_from_slice(&bytes);
            while let Some(end) = kept.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = kept.drain(..=end).collect();
                self.script(process, &String::from_utf8_lossy(&line)).await;
                if self.exited {
                    return;
                }
            }
            if kept.len() > LINE_MAX {
                self.last = 2;
                return;
            }
        }
        self.script(process, &String::from_utf8_lossy(&kept)).await;
    }

    /// Lines that somebody types: shown, editable, and interrupted with Ctrl-C.
    async fn terminal(&mut self, process: &mut Process<'_>) {
        let Some(mut input) = process.input.take() else { return };
        let mut typed = Vec::new();
        loop {
            process.out(format!("{} # ", process.view.directory)).await;
            let line = match read_line(process, &mut input, &mut typed).await {
                Typed::Line(line) => line,
                Typed::Interrupt => {
                    self.last = 130;
                    continue;
                }
                Typed::End => return,
            };
            let interrupted = tokio::select! {
                () = self.script(process, &line) => false,
                () = interrupt(&mut input, &mut typed) => true,
            };
            if interrupted {
                process.out("^C\n").await;
                self.last = 130;
            }
            if self.exited {
                return;
            }
            // One command that failed does not end a conversation.
            self.strict = false;
        }
    }
}

fn is_assignment(word: &[Part]) -> bool {
    let Some(Part::Text(text)) = word.first() else { return false };
    text.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

enum Typed {
    Line(String),
    Interrupt,
    End,
}

/// A line, edited as it is typed. `typed` holds what was typed ahead.
async fn read_line(process: &Process<'_>, input: &mut super::Input, typed: &mut Vec<u8>) -> Typed {
    let mut line: Vec<u8> = Vec::new();
    let mut escape = false;
    loop {
        if typed.is_empty() {
            match input.recv().await {
                Some(bytes) => typed.extend_from_slice(&bytes),
                None => return Typed::End,
            }
        }
        let mut seen = Vec::new();
        let mut done = None;
        let mut read = 0;
        for byte in typed.iter().copied() {
            read += 1;
            match byte {
                // Arrows and the like move nothing here.
                _ if escape => {
                    escape = byte == b'[' || byte == b'O' || !byte.is_ascii_alphabetic() && byte != b'~'
                }
                0x1b => escape = true,
                b'\r' | b'\n' => {
                    seen.push(b'\n');
                    done = Some(Typed::Line(String::from_utf8_lossy(&line).into_owned()));
                }
                0x03 => {
                    seen.extend_from_slice(b"^C\n");
                    done = Some(Typed::Interrupt);
                }
                0x04 if line.is_empty() => {
                    seen.push(b'\n');
                    done = Some(Typed::End);
                }
                0x08 | 0x7f => {
                    if let Some(last) = String::from_utf8_lossy(&line).chars().last() {
                        line.truncate(line.len().saturating_sub(last.len_utf8()));
                        seen.extend_from_slice(b"\x08 \x08");
                    }
                }
                byte if byte >= 0x20 && line.len() < LINE_MAX => {
                    line.push(byte);
                    seen.push(byte);
                }
                _ => {}
            }
            if done.is_some() {
                break;
            }
        }
        typed.drain(..read);
        process.out(seen).await;
        if let Some(done) = done {
            return done;
        }
    }
}

/// Until Ctrl-C; what else is typed waits for the next prompt.
async fn interrupt(input: &mut super::Input, typed: &mut Vec<u8>) {
    loop {
        let Some(bytes) = input.recv().await else {
            return std::future::pending().await;
        };
        if let Some(at) = bytes.iter().position(|byte| *byte == 0x03) {
            typed.clear();
            typed.extend_from_slice(&bytes[at + 1..]);
            return;
        }
        if typed.len() + bytes.len() <= LINE_MAX {
            typed.extend_from_slice(&bytes);
        }
    }
}
