//! `privet memory export` and `import`: a memory for each line of JSON.

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use privet_domain::memory::NewMemory;
use privet_domain::time::{Clock as _, SystemClock};
use privet_engine::api_key::DEFAULT_PROJECT;
use privet_store::{MemoryList, Store};
use serde_json::json;

use super::browse::open;
use super::line::{MemoryLine, whole};
use crate::cli::{Common, Exit, FAILURE, load, open_store, print_json};

const PAGE: u32 = 200;

#[derive(Args)]
pub(super) struct ExportArgs {
    /// The file to write, which must not exist [default: stdout]
    file: Option<PathBuf>,
    #[arg(long, default_value = DEFAULT_PROJECT)]
    project: String,
    /// Only of this user
    #[arg(long)]
    user: Option<String>,
}

#[derive(Args)]
pub(super) struct ImportArgs {
    /// What `export` wrote; `-` is stdin
    file: PathBuf,
    /// Made if missing
    #[arg(long, default_value = DEFAULT_PROJECT)]
    project: String,
}

/// A new file that its owner alone can read.
pub(super) fn new_file(path: &Path) -> Result<std::fs::File, Exit> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    made.map_err(|error| Exit::new(FAILURE, format!("cannot write {}: {error}", path.display())))
}

pub(super) async fn export(common: &Common, args: ExportArgs) -> Result<(), Exit> {
    let (store, project) = open(common, &args.project).await?;
    let out: Box<dyn Write + Send> = match &args.file {
        Some(path) => Box::new(new_file(path)?),
        None => Box::new(std::io::stdout()),
    };
    let mut out = BufWriter::new(out);
    let broken = |error: std::io::Error| Exit::new(FAILURE, format!("the export broke off: {error}"));
    let mut list = MemoryList { user: args.user, limit: PAGE, ..MemoryList::default() };
    let mut count = 0_u64;
    loop {
        let page = store.memories(project, &list).await?;
        for line in whole(&store, page.memories).await? {
            let json = serde_json::to_string(&line).map_err(|error| Exit::new(FAILURE, error.to_string()))?;
            writeln!(out, "{json}").map_err(broken)?;
            count += 1;
        }
        list.after = page.next;
        if list.after.is_none() {
            break;
        }
    }
    out.flush().map_err(broken)?;
    eprintln!("{count} memories written.");
    Ok(())
}

pub(super) async fn import(common: &Common, args: ImportArgs) -> Result<(), Exit> {
    let reader: Box<dyn std::io::Read + Send> = if args.file == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        let opened = std::fs::File::open(&args.file);
        Box::new(opened.map_err(|error| Exit::new(FAILURE, format!("cannot read {}: {error}", args.file.display())))?)
    };
    // What is imported may be the first.
    let store = open_store(&load(common, None)?).await?;
    let project = store.ensure_project(&args.project, SystemClock.now()).await?.id;
    let (mut added, mut present) = (0, 0);
    let mut step: Vec<NewMemory> = Vec::new();
    for (number, line) in BufReader::new(reader).lines().enumerate() {
        let wrong = |what: String| {
            let undone = if added + present > 0 { "; what stands before it was read" } else { "" };
            Exit::new(FAILURE, format!("line {}: {what}{undone}", number + 1))
        };
        let line = line.map_err(|error| wrong(error.to_string()))?;
        if line.trim().is_empty() {
            continue;
        }
        let line: MemoryLine = serde_json::from_str(&line).map_err(|error| wrong(error.to_string()))?;
        step.push(line.into_new(project).map_err(wrong)?);
        if step.len() >= PAGE as usize {
            keep(&store, &mut step, &mut added, &mut present).await?;
        }
    }
    keep(&store, &mut step, &mut added, &mut present).await?;
    if common.json {
        return print_json(&json!({"added": added, "present": present}));
    }
    println!("{added} memories added; {present} were there already. A running server makes their vectors.");
    Ok(())
}

async fn keep(store: &Store, step: &mut Vec<NewMemory>, added: &mut usize, present: &mut usize) -> Result<(), Exit> {
    let new = store.add_memories(step, SystemClock.now()).await?;
    *added += new;
    *present += step.len() - new;
    step.clear();
    Ok(())
}
