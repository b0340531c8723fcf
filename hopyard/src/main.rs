//! The binary: reads the command line and runs one command. Everything else is a module's.

mod apiserver;
mod apply;
mod cli;
mod commands;
mod controller_manager;
mod demo;
mod detach;
mod duration;
mod envtest;
mod error;
mod etcd;
mod health_ports;
mod instance;
mod logging;
mod machines;
mod nodes;
mod pki;
mod plane;
mod probes;
mod snapshot;
mod up;
mod world;

use std::process::ExitCode;

use clap::Parser;

/// Objects are trees of many small pieces: the C library's allocator is slow at that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if let Some(name) = envtest::personality() {
        return exit(name, envtest::run(name));
    }
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let usage = error.use_stderr();
            // Printing help to a closed pipe is nobody's problem.
            drop(error.print());
            return if usage { ExitCode::from(error::USAGE) } else { ExitCode::SUCCESS };
        }
    };
    exit("hopyard", cli::run(cli))
}

fn exit(name: &str, outcome: Result<(), error::Error>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let text = error.to_string();
            if !text.is_empty() {
                eprintln!("{name}: {text}");
            }
            ExitCode::from(error.code())
        }
    }
}
