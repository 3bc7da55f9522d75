//! Running other programs: a failure always names the command and how it ended.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// Runs a command with this tool's input and output.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = line_of(command);
    let status = command.status().with_context(|| format!("`{line}` could not be started"))?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}

/// Runs a command and returns what it printed; its errors go to this tool's.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let line = line_of(command);
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("`{line}` could not be started"))?;
    if !output.status.success() {
        bail!("`{line}` failed ({})", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{line}` printed what is not UTF-8"))
}

/// Finds a program in `PATH`.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Fails unless every program is in `PATH`, naming all that are missing and how to get them.
pub(crate) fn require(programs: &[(&str, &str)]) -> Result<()> {
    let mut missing = String::new();
    for (program, remedy) in programs.iter().filter(|(program, _)| find(program).is_none()) {
        write!(missing, "\n  `{program}`: {remedy}")?;
    }
    if !missing.is_empty() {
        bail!("missing on this machine:{missing}");
    }
    Ok(())
}

fn line_of(command: &Command) -> String {
    let mut line = PathBuf::from(command.get_program()).file_name().map_or_else(
        || command.get_program().to_string_lossy().into_owned(),
        |name| name.to_string_lossy().into_owned(),
    );
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_and_its_status() {
        let error = run(Command::new("sh").args(["-c", "exit 3"])).unwrap_err();
        assert_eq!(error.to_string(), "`sh -c exit 3` failed (exit status: 3)");
    }

    #[test]
    fn every_missing_program_is_named_with_its_remedy() {
        let error = require(&[("sh", "install sh"), ("no-such-program", "install it")]).unwrap_err();
        assert_eq!(error.to_string(), "missing on this machine:\n  `no-such-program`: install it");
    }
}
