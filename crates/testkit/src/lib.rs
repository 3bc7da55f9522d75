//! Test parts for Privet: a scriptable mock upstream with its own bill, databases of one's own, and the server under
//! test as a process. Development only; it depends on no other crate of the workspace, so that it can judge them.

pub mod postgres;
pub mod privet_process;
pub mod upstream;
mod workspace;
