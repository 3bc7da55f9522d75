//! `privet drill`: what an enemy or bad luck would do, played against a server of its own, with a mock as the provider.
//!
//! All traffic stays on 127.0.0.1, the data is in a temporary folder, and nobody's configuration is read.

mod addresses;
mod attack;
mod connection;
mod flood;
mod legitimate_user;
mod memory;
mod report;
mod site;

use clap::Subcommand;

use super::Exit;

#[derive(Subcommand)]
pub(super) enum DrillCommand {
    /// Flood a server of its own, without a key and with a stolen one, and show the bill
    Attack(attack::AttackArgs),
}

pub(super) async fn run(command: DrillCommand) -> Result<(), Exit> {
    match command {
        DrillCommand::Attack(args) => attack::run(args).await,
    }
}
