//! One suite for every index of memory: the one inside SQLite, and the one on a Qdrant server beside PostgreSQL. The server's part
//! runs where `PRIVET_TEST_QDRANT_URL` names a server, or the stand-in that `cargo xtask test` starts; elsewhere it says that it did
//! not run.
#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test may end in a panic, and reports")]

mod drift;
mod embedded;
mod server;
mod suite;
