//! The command line.

use clap::{CommandFactory, Parser, Subcommand};

use crate::apiserver;
use crate::error::Error;
use crate::logging;

/// A Kubernetes control plane in one process that explains every hop of a request.
#[derive(Debug, Parser)]
#[command(name = "hopyard", version, about, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
    /// How log lines are written
    #[arg(long, value_enum, default_value_t, global = true)]
    log: logging::Format,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the API server alone
    Apiserver(Box<apiserver::Options>),
    /// Print a completion script for a shell
    Completions { shell: clap_complete::Shell },
}

/// Runs the command.
pub(crate) fn run(cli: Cli) -> Result<(), Error> {
    match cli.command {
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "hopyard", &mut std::io::stdout());
            Ok(())
        }
        Command::Apiserver(options) => {
            logging::start(cli.log);
            runtime()?.block_on(apiserver::run(&options))
        }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| Error::Failed(format!("no runtime: {error}")))
}
