//! `cargo xtask`: what a developer and the build machine do with the repository.
//!
//! One file per command. Nothing here is part of the product, and no other crate depends on it.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool speaks through its output")]

mod bench;
mod deny;
mod fuzz;
mod install;
mod postgres;
mod process;
mod run;
mod server;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

#[derive(Parser)]
#[command(bin_name = "cargo xtask", about = "Developer commands of Privet")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build Privet as it is released and serve it; what follows `--` goes to `privet serve`
    Run(run::Args),
    /// Install what the tests need, then run every check and test
    Test(test::Args),
    /// Start the PostgreSQL server of the tests, or find it running, and print its URL
    Postgres(postgres::Args),
    /// Check the rules of the house: layers, sizes, names, migrations
    Tidy,
    /// Measure Privet beside nginx and a bare proxy; what follows `--` goes to `privet-bench`
    Bench(bench::Args),
    /// Look for inputs that break what must hold of the dialects, guided by coverage
    Fuzz(fuzz::Args),
    /// Check licences, sources and banned crates with cargo-deny, installing it if needed
    Deny,
}

fn main() -> ExitCode {
    match execute(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(cli: &Cli) -> Result<()> {
    let workspace = Workspace::find()?;
    match &cli.command {
        Command::Run(args) => run::run(&workspace, args),
        Command::Test(args) => test::test(&workspace, args),
        Command::Postgres(args) => postgres::postgres(&workspace, args),
        Command::Tidy => tidy::tidy(&workspace),
        Command::Bench(args) => bench::bench(&workspace, args),
        Command::Fuzz(args) => fuzz::fuzz(&workspace, args),
        Command::Deny => deny::deny(&workspace),
    }
}
