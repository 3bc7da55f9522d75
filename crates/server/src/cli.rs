//! The command line: `privet serve`, `chat`, `keys`, `conversations`, `prompts`, `traces`, `memory`, `providers`, `selftest`,
//! `config`, `migrate`, `seed`, `erase`, `drill`, `version`.
//!
//! Data goes to stdout (`--json` for programs), talk to stderr. Exit codes follow sysexits(3):
//! 0 ok, 1 failure, 2 usage, 69 provider or server down, 75 try again, 78 configuration.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line talks")]

mod chat;
mod config;
mod conversations;
mod drill;
mod erase;
mod keys;
mod kill;
mod memory;
mod migrate;
mod models;
mod prompts;
mod providers;
mod seed;
mod selftest;
mod server_process;
mod traces;
mod usage;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use privet_engine::api_key::ApiKeyError;
use privet_engine::keyring;
use privet_engine::memory::document::apart;
use privet_store::{Store, StoreError};

use crate::config::{Config, ConfigError, Flags, Surroundings};
use crate::{serve, telemetry};

const FAILURE: u8 = 1;
const USAGE: u8 = 2;
const UNAVAILABLE: u8 = 69;
const TRY_AGAIN: u8 = 75;
const CONFIGURATION: u8 = 78;

/// Your private LLM API, production-ready in one binary.
#[derive(Parser)]
#[command(name = "privet", version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Flags that every subcommand takes.
#[derive(Args, Clone)]
struct Common {
    /// The data folder [default: privet-data]
    #[arg(long, value_name = "DIR", global = true)]
    data: Option<PathBuf>,
    /// The configuration file [default: privet.toml, if it exists]
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Print data as JSON on stdout
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the API
    Serve {
        #[command(flatten)]
        common: Common,
        /// Where to listen [default: 127.0.0.1:3000]
        #[arg(long, value_name = "ADDR")]
        listen: Option<String>,
    },
    /// Chat in the terminal with a running server; Ctrl-C stops the answer, Ctrl-D leaves
    Chat(chat::ChatArgs),
    /// Make, list, change, revoke and rotate API keys
    Keys {
        #[command(flatten)]
        common: Common,
        #[command(subcommand)]
        command: keys::KeysCommand,
    },
    /// List, show, delete, export and import conversations
    Conversations {
        #[command(flatten)]
        common: Common,
        #[command(subcommand)]
        command: conversations::ConversationsCommand,
    },
    /// List, show, push, pull, compare, label and delete prompts
    // `--version` is a prompt's there.
    #[command(disable_version_flag = true)]
    Prompts {
        #[command(flatten)]
        common: Common,
        #[command(subcommand)]
        command: prompts::PromptsCommand,
    },
    /// Show the configuration
    Config {
        #[command(flatten)]
        common: Common,
        #[command(subcommand)]
        command: config::ConfigCommand,
    },
    /// Bring the database's schema up to date (serving does it too)
    Migrate {
        #[command(flatten)]
        common: Common,
        /// Only show what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// List the models that the price book knows: what they can do, what they cost, and until when they are served
    Models(models::ModelsArgs),
    /// Show what was spent: by key, user, model and day, and where the budgets stand
    Usage(usage::UsageArgs),
    /// List traces, show one as a tree, or follow them as they come
    Traces {
        #[command(flatten)]
        common: Common,
        #[command(subcommand)]
        command: traces::TracesCommand,
    },
    /// Say why a request cost what it cost, or why it was refused
    Explain(usage::ExplainArgs),
    /// List or settle the calls whose process died, which hold money still
    Reconcile(usage::ReconcileArgs),
    /// Switch everything, a key or a provider off at once; without a flag, list what is off
    Kill(kill::KillArgs),
    /// Switch it on again
    Resume(kill::ResumeArgs),
    /// Show how the providers of a running server do: breakers, errors, latencies, keys
    Providers(providers::ProvidersArgs),
    /// Try what a provider and its model can do through Privet, and show it as a table
    Selftest(selftest::SelftestArgs),
    /// Fill a fresh database with sample conversations, the same for the same seed
    Seed(seed::SeedArgs),
    /// Erase everything of a user, and print a receipt; or list the receipts
    Erase(erase::EraseArgs),
    /// Search, list, carry and evaluate what is remembered, and check its index
    Memory(memory::MemoryArgs),
    /// Attack a server of its own on this machine, and show what holds
    Drill {
        #[command(subcommand)]
        command: drill::DrillCommand,
    },
    /// Read a document in this process, for a server that started it; not for people
    #[command(name = apart::COMMAND, hide = true)]
    ReadDocument {
        /// What to read and within which limits, as JSON
        job: String,
    },
    /// Print the version
    Version {
        #[command(flatten)]
        common: Common,
    },
}

/// A command that ended badly, and how the process says so.
struct Exit {
    code: u8,
    message: String,
}

impl Exit {
    fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl From<anyhow::Error> for Exit {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<StoreError>() {
            Ok(error) => error.into(),
            Err(error) => Self::new(FAILURE, format!("{error:#}")),
        }
    }
}

impl From<ConfigError> for Exit {
    fn from(error: ConfigError) -> Self {
        Self::new(CONFIGURATION, error.to_string())
    }
}

impl From<StoreError> for Exit {
    fn from(error: StoreError) -> Self {
        let code = match error {
            StoreError::Newer { .. } | StoreError::Altered { .. } => CONFIGURATION,
            StoreError::Open { .. } | StoreError::Closed | StoreError::Unavailable(_) => UNAVAILABLE,
            StoreError::DiskFull => TRY_AGAIN,
            _ => FAILURE,
        };
        Self::new(code, error.to_string())
    }
}

impl From<ApiKeyError> for Exit {
    fn from(error: ApiKeyError) -> Self {
        match error {
            ApiKeyError::Store(error) => error.into(),
            ApiKeyError::Wrong(error) => error.into(),
            error => Self::new(FAILURE, error.to_string()),
        }
    }
}

/// Reads the arguments and does what they say.
pub(crate) fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { USAGE } else { 0 };
            // Nothing can be done about a closed terminal.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    if matches!(cli.command, Command::Serve { .. }) {
        crate::allocator::set_up();
    }
    // `privet … | head` ends quietly when the reader has enough. A server outlives whoever reads its log.
    if !matches!(cli.command, Command::Serve { .. }) {
        sigpipe::reset();
    }
    // Before there are threads: the process is to have little memory.
    if let Command::ReadDocument { job } = &cli.command {
        let done = apart::run(job, std::io::stdin().lock(), std::io::stdout().lock());
        return if done.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(FAILURE) };
    }
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Exit::new(FAILURE, format!("the runtime cannot start: {error}")))
        .and_then(|runtime| runtime.block_on(Box::pin(dispatch(cli.command))));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(exit) => {
            eprintln!("privet: {}", exit.message);
            ExitCode::from(exit.code)
        }
    }
}

async fn dispatch(command: Command) -> Result<(), Exit> {
    match command {
        Command::Serve { common, listen } => {
            let config = load(&common, listen)?;
            telemetry::start(&config.log).map_err(|error| Exit::new(CONFIGURATION, error.to_string()))?;
            Ok(serve::serve(config).await?)
        }
        Command::Chat(args) => chat::run(args).await,
        Command::Keys { common, command } => keys::run(&common, command).await,
        Command::Conversations { common, command } => conversations::run(&common, command).await,
        Command::Prompts { common, command } => prompts::run(&common, command).await,
        Command::Config { common, command } => config::run(&common, &command),
        Command::Migrate { common, dry_run } => migrate::run(&common, dry_run).await,
        Command::Models(args) => models::run(&args),
        Command::Usage(args) => usage::run(args).await,
        Command::Traces { common, command } => traces::run(&common, command).await,
        Command::Explain(args) => usage::explain(args).await,
        Command::Reconcile(args) => usage::reconcile(args).await,
        Command::Kill(args) => kill::kill(args).await,
        Command::Resume(args) => kill::resume(args).await,
        Command::Providers(args) => providers::run(args).await,
        Command::Selftest(args) => selftest::run(args).await,
        Command::Seed(args) => seed::run(args).await,
        Command::Erase(args) => erase::run(args).await,
        Command::Memory(args) => memory::run(args).await,
        Command::Drill { command } => drill::run(command).await,
        Command::ReadDocument { .. } => Err(Exit::new(USAGE, "documents are read before anything else")),
        Command::Version { common } => {
            let version = env!("CARGO_PKG_VERSION");
            if common.json {
                println!("{}", serde_json::json!({"version": version}))
            } else {
                println!("privet {version}")
            }
            Ok(())
        }
    }
}

fn load(common: &Common, listen: Option<String>) -> Result<Config, Exit> {
    let flags = Flags { data: common.data.clone(), config: common.config.clone(), listen };
    let surroundings = Surroundings::of_process()
        .map_err(|error| Exit::new(FAILURE, format!("the working folder cannot be read: {error}")))?;
    Ok(Config::load(&flags, &surroundings)?)
}

/// Opens the store of the configuration, made if missing.
async fn open_store(config: &Config) -> Result<Store, Exit> {
    serve::make_private_folder(&config.data).map_err(|error| {
        Exit::new(FAILURE, format!("cannot make the data folder {}: {error}", config.data.display()))
    })?;
    Ok(Store::open(&config.database, config.durability).await?)
}

/// Opens the store of the configuration, which a server or `keys create` has made: a mistyped folder is not a new one.
async fn open_known_store(config: &Config) -> Result<Store, Exit> {
    if let Some(file) = config.database.sqlite_file().filter(|file| !file.exists()) {
        let message = format!(
            "there is no database {}: name the server's data folder with --data DIR or PRIVET_DATA. `privet serve` and \
             `privet keys create` make a new one",
            file.display()
        );
        return Err(Exit::new(CONFIGURATION, message));
    }
    open_store(config).await
}

/// When a command that changed something ends, a running server knows of the change.
async fn until_servers_know() {
    tokio::time::sleep(keyring::POLL_INTERVAL + Duration::from_millis(50)).await;
}

fn print_json(value: &impl serde::Serialize) -> Result<(), Exit> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Exit::new(FAILURE, error.to_string()))?;
    println!("{text}");
    Ok(())
}
