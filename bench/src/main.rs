//! `privet-bench`: what Privet costs, measured in one run beside nginx and a proxy that does nothing but forward.
//!
//! All traffic stays on this machine's loopback. The machine's other work disturbs the figures; the run cannot know of it.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool speaks through its output")]

mod bare_proxy;
mod history;
mod load;
mod machine;
mod measure;
mod memory;
mod nginx;
mod proc_stat;
mod report;
mod retrieval;
mod subject;
mod traces;
mod upstream;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use tokio::net::TcpListener;

use crate::subject::Subject;

#[derive(Parser)]
#[command(about = "Measures Privet beside nginx and a bare proxy")]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    plan: Plan,
}

#[derive(Subcommand)]
enum Command {
    /// A proxy that forwards requests and streams, and nothing else
    BareProxy {
        /// Where to listen
        #[arg(long)]
        listen: SocketAddr,
        /// Where to forward to
        #[arg(long)]
        upstream: SocketAddr,
    },
    /// A provider that always gives the same answer, as cheaply as possible
    Upstream {
        /// Where to listen
        #[arg(long)]
        listen: SocketAddr,
    },
    /// A model in a folder as a provider of embeddings
    Embedder {
        /// Where to listen
        #[arg(long)]
        listen: SocketAddr,
        /// The model's folder, as sentence-transformers writes it
        #[arg(long)]
        model: PathBuf,
    },
    /// Fill a data folder with memories; a process of its own, so that its memory is nobody else's
    #[command(hide = true)]
    MemoryFill(memory::PartArgs),
    /// Search them
    #[command(hide = true)]
    MemorySearch(memory::PartArgs),
}

/// What is measured, and for how long.
#[derive(clap::Args)]
struct Plan {
    /// The released binary of Privet [default: beside this one]
    #[arg(long)]
    privet: Option<PathBuf>,
    /// What to measure
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Subject::ALL)]
    subjects: Vec<Subject>,
    /// How often each subject takes its turn
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=20))]
    rounds: u16,
    /// How long each of the three loads of a turn lasts
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Also time a release build from nothing (minutes)
    #[arg(long)]
    cold: bool,
    /// How many observations are stored before traces are read; 0 leaves traces out
    #[arg(long, default_value_t = 1_000_000)]
    observations: u64,
    /// How many memories are searched; 0 leaves memory out
    #[arg(long, default_value_t = 100_000)]
    memories: u64,
    /// Measure retrieval with this embedding model (`config.json`, `tokenizer.json`, `model.safetensors`); needs the feature `local-embedder`
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Further conversations to measure retrieval in: a folder with `conversations.jsonl` as `privet memory export` writes it, and
    /// `questions.jsonl` as `privet memory eval` reads it
    #[arg(long, value_name = "DIR", requires = "model")]
    conversations: Vec<PathBuf>,
    /// Where the report is written
    #[arg(long, default_value = "bench/RESULTS.md")]
    out: PathBuf,
}

fn main() -> ExitCode {
    match execute(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(cli: Cli) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("the runtime could not be started")?;
    match cli.command {
        Some(Command::BareProxy { listen, upstream }) => {
            runtime.block_on(async { bare_proxy::serve(bind(listen).await?, upstream).await })
        }
        Some(Command::Upstream { listen }) => runtime.block_on(async { upstream::serve(bind(listen).await?).await }),
        Some(Command::Embedder { listen, model }) => {
            runtime.block_on(async { retrieval::serve(bind(listen).await?, &model).await })
        }
        Some(Command::MemoryFill(args)) => tell(runtime.block_on(memory::fill_part(&args))),
        Some(Command::MemorySearch(args)) => tell(runtime.block_on(memory::search_part(&args))),
        None => run(&runtime, cli.plan),
    }
}

fn tell(figures: Result<String>) -> Result<()> {
    println!("{}", figures?);
    Ok(())
}

async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}

fn run(runtime: &tokio::runtime::Runtime, plan: Plan) -> Result<()> {
    let bench = std::env::current_exe().context("this program cannot find itself")?;
    let privet = plan.privet.unwrap_or_else(|| bench.with_file_name("privet"));
    let measured = measure::measure(
        runtime,
        &measure::Plan {
            privet: privet.clone(),
            bench,
            subjects: plan.subjects,
            rounds: plan.rounds,
            // A bounded load, whatever was typed.
            seconds: plan.seconds.clamp(0.2, 30.0),
            observations: plan.observations.min(5_000_000),
            memories: plan.memories.min(1_000_000),
            model: plan.model,
            conversations: plan.conversations,
        },
    )?;
    let build = machine::Build {
        binary_bytes: std::fs::metadata(&privet).ok().map(|metadata| metadata.len()),
        cold: plan.cold.then(machine::time_cold_build).transpose()?,
    };
    let text = report::markdown(&machine::Machine::read(), &build, &measured);
    println!("\n{text}");
    std::fs::write(&plan.out, text).with_context(|| format!("{} cannot be written", plan.out.display()))
}
