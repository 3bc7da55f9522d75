//! Where the workspace is: tests run in the folder of their own crate.

use std::path::{Path, PathBuf};

/// The workspace's root folder, found from the folder of the crate under test.
pub(crate) fn root() -> PathBuf {
    let from = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    let is_root = |folder: &&Path| {
        std::fs::read_to_string(folder.join("Cargo.toml")).is_ok_and(|manifest| manifest.contains("[workspace]"))
    };
    from.ancestors().find(is_root).unwrap_or(&from).to_owned()
}
