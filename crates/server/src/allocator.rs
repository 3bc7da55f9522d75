//! The allocator gives memory back soon after it is free. Otherwise a server keeps what its start and each burst of requests needed
//! for as long as it is quiet: about 9 MiB when it has started.
//!
//! mimalloc reads its settings from the environment, and before `main`. So the program begins once more, in the same process, with
//! the setting that it wants.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long free memory is kept (milliseconds); 1,000 by default (<https://microsoft.github.io/mimalloc/environment.html>).
const SETTING: (&str, &str) = ("MIMALLOC_PURGE_DELAY", "10");

/// Begins the program once more if the allocator is not set up yet. Where that cannot be done, it goes on as it is.
pub(crate) fn set_up() {
    let (name, value) = SETTING;
    if std::env::var_os(name).is_some() {
        return;
    }
    let mut arguments = std::env::args_os();
    let (called, Ok(file)) = (arguments.next(), std::env::current_exe()) else { return };
    let mut command = Command::new(file);
    if let Some(called) = called {
        command.arg0(called);
    }
    // It comes back only if it fails; then free memory is kept longer, and nothing else is different.
    let _ = command.args(arguments).env(name, value).exec();
}
