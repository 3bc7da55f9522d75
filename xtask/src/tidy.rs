//! `cargo xtask tidy`: the rules of the house that neither the compiler nor clippy checks.
//!
//! Each rule is a function over plain data that returns what is wrong; this file gathers the data.

mod files;
mod layers;
mod migrations;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::process;
use crate::workspace::Workspace;

/// Checks everything and prints every problem before it fails.
pub(crate) fn tidy(workspace: &Workspace) -> Result<()> {
    let mut problems = layers::check(&workspace.packages);
    problems.extend(check_files(&workspace.root)?);
    problems.extend(check_migrations(&workspace.root.join("crates/store/migrations"))?);
    for problem in &problems {
        println!("{problem}");
    }
    if !problems.is_empty() {
        bail!("{} rule(s) of the house broken; see above", problems.len());
    }
    Ok(())
}

fn check_files(root: &Path) -> Result<Vec<String>> {
    let committed = list_files(root, &["--cached"])?;
    let mut problems: Vec<String> = committed.iter().filter_map(|path| files::check_committed(path)).collect();
    for path in list_files(root, &["--cached", "--others", "--exclude-standard"])? {
        // A file may be deleted and not yet committed as such.
        if files::is_source(&path) && root.join(&path).is_file() {
            let text = fs::read_to_string(root.join(&path)).with_context(|| format!("{path} cannot be read"))?;
            problems.extend(files::check(&path, &text));
        }
    }
    Ok(problems)
}

fn list_files(root: &Path, which: &[&str]) -> Result<Vec<String>> {
    let output = process::output(Command::new("git").current_dir(root).args(["ls-files", "-z"]).args(which))?;
    Ok(output.split_terminator('\0').map(str::to_owned).collect())
}

fn check_migrations(folder: &Path) -> Result<Vec<String>> {
    Ok(migrations::check(&names_in(&folder.join("sqlite"))?, &names_in(&folder.join("postgres"))?))
}

fn names_in(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))?;
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}
