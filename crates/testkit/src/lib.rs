//! Test parts for Privet: databases of one's own, the server under test as a process, and the mock upstream passed on.
//! Development only; it depends on no crate of the workspace that it could be asked to judge.

pub mod file_server;
pub mod postgres;
pub mod privet_process;
mod workspace;

pub use privet_upstream as upstream;
