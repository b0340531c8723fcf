//! The command line.

use clap::{CommandFactory, Parser, Subcommand};

use std::path::PathBuf;

use crate::error::Error;
use crate::{apiserver, commands, controller_manager, demo, detach, envtest, logging, snapshot, up};

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
    /// Apply the journey, send a real request, and trace it there and back
    Demo(demo::Options),
    /// Run everything: API server, loops, cloud, nodes, data plane
    Up(up::Options),
    /// Stop a running instance
    Down {
        #[command(flatten)]
        place: Place,
    },
    /// Show what runs and where it listens
    Status {
        #[command(flatten)]
        place: Place,
        /// `json` for scripts
        #[arg(short, long, value_enum, default_value_t)]
        output: StatusOutput,
    },
    /// Print export lines for a shell: eval "$(hopyard env)"
    Env {
        #[command(flatten)]
        place: Place,
    },
    /// Explain where a request goes, hop by hop, there and back
    Trace {
        /// What is requested, such as https://packet-journey.com/
        url: String,
        /// internet, pod/NAMESPACE/NAME or node/NAME
        #[arg(long, default_value = "internet")]
        from: String,
        /// Method of the request
        #[arg(short = 'X', long, default_value = "GET")]
        method: String,
        /// Header of the request, as "Name: value"; may be repeated
        #[arg(short = 'H', long = "header")]
        headers: Vec<String>,
        #[arg(short, long, value_enum, default_value_t)]
        output: commands::Output,
        #[command(flatten)]
        place: Place,
    },
    /// Print the rule program of a node
    Rules {
        /// Node, such as node-1
        node: String,
        #[arg(long, value_enum, default_value_t)]
        format: commands::RulesFormat,
        #[command(flatten)]
        place: Place,
    },
    /// Run curl through the uplink, or from inside the cluster
    Curl {
        /// internet, pod/NAMESPACE/NAME or node/NAME
        #[arg(long, default_value = "internet")]
        from: String,
        #[command(flatten)]
        place: Place,
        /// Arguments of curl
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        arguments: Vec<String>,
    },
    /// Save all objects of a store in a file, or make a store of such a file
    #[command(subcommand)]
    Snapshot(Snapshot),
    /// Run the API server alone
    Apiserver(Box<apiserver::Options>),
    /// Run the loops that need no nodes, against any API server; of several such processes, one leads
    ControllerManager(controller_manager::Options),
    /// Lay out `kube-apiserver` and `etcd` for controller-runtime's envtest, and print how to use them
    EnvtestAssets {
        /// Directory, made where it is missing
        dir: PathBuf,
    },
    /// Print a completion script for a shell
    Completions { shell: clap_complete::Shell },
}

/// Which instance is meant.
#[derive(Clone, Debug, clap::Args)]
struct Place {
    /// Directory of the instance (default: ~/.hopyard)
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl Place {
    fn dir(&self) -> PathBuf {
        apiserver::place(self.data_dir.as_deref())
    }
}

/// What is done with a snapshot.
#[derive(Debug, Subcommand)]
enum Snapshot {
    /// Write all objects to a file
    Save(snapshot::Options),
    /// Fill an empty store with the objects of a file
    Restore(snapshot::Options),
}

/// How a status is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum StatusOutput {
    #[default]
    Text,
    Json,
}

/// Runs the command.
pub(crate) fn run(cli: Cli) -> Result<(), Error> {
    match cli.command {
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "hopyard", &mut std::io::stdout());
            Ok(())
        }
        Command::EnvtestAssets { dir } => {
            println!("{}", envtest::lay_out(&dir)?);
            Ok(())
        }
        Command::Demo(options) => {
            logging::start(cli.log);
            runtime()?.block_on(demo::run(&options))
        }
        Command::Up(options) if options.detach => detach::detach(&options.data_dir()),
        Command::Up(options) => {
            logging::start(cli.log);
            runtime()?.block_on(up::run(&options, cli.log))
        }
        Command::Down { place } => commands::down(&place.dir()),
        Command::Status { place, output } => {
            runtime()?.block_on(commands::status(&place.dir(), output == StatusOutput::Json))
        }
        Command::Env { place } => commands::env(&place.dir()),
        Command::Trace { url, from, method, headers, output, place } => {
            let request = commands::request(&url, &from, &method, &headers)?;
            runtime()?.block_on(commands::trace(&place.dir(), &request, output))
        }
        Command::Rules { node, format, place } => {
            runtime()?.block_on(commands::rules(&place.dir(), &node, format))
        }
        Command::Curl { from, place, arguments } => {
            runtime()?.block_on(commands::curl(&place.dir(), &from, &arguments))
        }
        Command::Snapshot(action) => {
            logging::start(cli.log);
            runtime()?.block_on(async {
                match action {
                    Snapshot::Save(options) => snapshot::save(&options).await,
                    Snapshot::Restore(options) => snapshot::restore(&options).await,
                }
            })
        }
        Command::Apiserver(options) => {
            logging::start(cli.log);
            runtime()?.block_on(apiserver::run(&options))
        }
        Command::ControllerManager(options) => {
            logging::start(cli.log);
            runtime()?.block_on(controller_manager::run(&options))
        }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::Failed(format!("no runtime: {error}")))
}
