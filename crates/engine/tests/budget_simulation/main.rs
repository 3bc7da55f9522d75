//! The ceiling is hard: budgets are driven through crashes, fencing and clock steps by seeded schedules, and by many tasks at
//! once; after each step the ledger is read by SQL of its own and held against what must be true.
//!
//! `PRIVET_SIMULATION_SEED=N cargo nextest run -p privet-engine schedules_on_sqlite` replays one schedule.
#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test may end in a panic, and reports")]

mod bed;
mod chance;
mod ending;
mod fencing;
mod invariants;
mod ledger;
mod schedules;
mod step;
mod together;
mod windows;
mod world;
