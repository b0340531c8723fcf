//! The binary: reads the command line and runs one command. Everything else is a module's.

mod apiserver;
mod cli;
mod error;
mod logging;
mod pki;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let usage = error.use_stderr();
            // Printing help to a closed pipe is nobody's problem.
            drop(error.print());
            return if usage { ExitCode::from(error::USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match cli::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hopyard: {error}");
            ExitCode::from(error.code())
        }
    }
}
