//! Types and rules that every part of Privet shares: ids, time, money, budgets, prices, prompts, API keys, model names, traces, memory. No
//! I/O.

pub mod ability;
pub mod api_key;
pub mod budget;
pub mod id;
pub mod key_limits;
pub mod memory;
pub mod model;
pub mod money;
pub mod pricing;
pub mod prompt;
pub mod rate;
pub mod scope;
pub mod time;
pub mod trace;
pub mod usage;
