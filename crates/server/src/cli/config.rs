//! `privet config show`.

use clap::Subcommand;

use super::{Common, Exit, load, print_json};

#[derive(Subcommand)]
pub(super) enum ConfigCommand {
    /// Show every value, secrets redacted
    Show {
        /// Say where each value came from
        #[arg(long)]
        origin: bool,
    },
}

pub(super) fn run(common: &Common, command: &ConfigCommand) -> Result<(), Exit> {
    let ConfigCommand::Show { origin } = command;
    let config = load(common, None)?;
    if common.json {
        return print_json(&config.shown);
    }
    let width = config.shown.iter().map(|shown| shown.key.len()).max().unwrap_or(0);
    for shown in &config.shown {
        let value = if shown.value.is_empty() { "(not set)" } else { &shown.value };
        if *origin {
            println!("{:width$}  {value}  # {}", shown.key, shown.origin);
        } else {
            println!("{:width$}  {value}", shown.key);
        }
    }
    Ok(())
}
