//! `privet prompts push` and `pull`.

use std::collections::HashMap;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use privet_domain::prompt::{LATEST, Selector};
use privet_domain::time::{Clock as _, SystemClock};
use privet_engine::prompt::{Form, ListFilter, NewPrompt, PromptError, ReferenceFault};
use serde_json::{Value, json};

use super::super::{Common, Exit, FAILURE, USAGE, print_json};
use super::file::{PromptFile, with_version};
use super::plan::{self, Local, Permits, Pull, Push, read_folder};
use super::{Desk, Folder, Place};

#[derive(Args)]
pub(in super::super) struct PushArgs {
    #[command(flatten)]
    folder: Folder,
    #[command(flatten)]
    place: Place,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Only show the plan
    #[arg(long)]
    dry_run: bool,
    /// Also move labels that point to another version on the server by now
    #[arg(long)]
    labels: bool,
    /// Also make prompts that the server does not have, from files that were pulled elsewhere
    #[arg(long)]
    new: bool,
    /// Why the versions are made, in place of the files' own `commit_message`
    #[arg(long, value_name = "TEXT")]
    message: Option<String>,
}

#[derive(Args)]
pub(in super::super) struct PullArgs {
    #[command(flatten)]
    folder: Folder,
    #[command(flatten)]
    place: Place,
    /// Also over files that were changed here
    #[arg(long)]
    overwrite: bool,
}

pub(super) async fn push(common: &Common, args: PushArgs) -> Result<(), Exit> {
    let locals = read_folder(&args.folder.folder)?;
    let desk = Desk::open(common, &args.place).await?;
    let mut steps = Vec::with_capacity(locals.len());
    for local in locals {
        let permits = Permits { labels: args.labels, new: args.new };
        let step = plan::push(&desk.prompts, desk.project, &local.file, permits).await?;
        steps.push((local, step));
    }
    show_push(common, &steps)?;
    let conflicts = steps.iter().filter(|(_, step)| matches!(step, Push::Conflict(_))).count();
    if conflicts > 0 {
        desk.close(false).await;
        return Err(Exit::new(FAILURE, format!("{conflicts} of the prompts cannot be pushed so; nothing was pushed")));
    }
    let is_work = |step: &Push| !matches!(step, Push::Keep(_) | Push::Conflict(_));
    let count = steps.iter().filter(|(_, step)| is_work(step)).count();
    if !args.dry_run && count > 0 {
        if !args.yes {
            confirm(count)?;
        }
        for (local, step) in &steps {
            if let Push::Keep(version) = step {
                note_version(local, *version)?;
            }
        }
        let work = steps.into_iter().filter(|(_, step)| is_work(step)).collect();
        push_all(&desk, work, args.message.as_deref()).await?;
    }
    let changed = !args.dry_run && count > 0;
    desk.close(changed).await;
    if !common.json {
        match (count, args.dry_run) {
            (0, _) => println!("Nothing to push."),
            (_, true) => println!("{count} to push; nothing was pushed."),
            (_, false) => println!("{count} pushed."),
        }
    }
    Ok(())
}

fn show_push(common: &Common, steps: &[(Local, Push)]) -> Result<(), Exit> {
    if common.json {
        let rows: Vec<Value> = steps
            .iter()
            .map(|(local, step)| {
                json!({"name": local.file.name, "file": local.path, "action": step.word(),
                       "detail": step.detail(&local.file)})
            })
            .collect();
        return print_json(&rows);
    }
    for (local, step) in steps {
        println!("{:<10} {}  {}", step.word(), local.file.name, step.detail(&local.file));
    }
    Ok(())
}

/// Asks a person; a program must say `--yes`.
fn confirm(count: usize) -> Result<(), Exit> {
    if !std::io::stdin().is_terminal() {
        return Err(Exit::new(
            USAGE,
            "nobody can be asked whether to push; say --yes, or --dry-run to see the plan alone",
        ));
    }
    eprint!("Push {count}? [y/N] ");
    // Whoever sees no question answers no.
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    match (read, answer.trim()) {
        (Ok(_), "y" | "Y" | "yes") => Ok(()),
        _ => Err(Exit::new(FAILURE, "nothing was pushed")),
    }
}

/// Pushes in an order in which prompts that stand in others come first.
async fn push_all(desk: &Desk, mut work: Vec<(Local, Push)>, message: Option<&str>) -> Result<(), Exit> {
    while !work.is_empty() {
        let (before, mut later, mut missing) = (work.len(), Vec::new(), None);
        for (local, step) in work {
            match push_one(desk, &local.file, &step, message).await {
                Ok(version) => note_version(&local, version)?,
                Err(PromptError::BadReference(fault @ ReferenceFault::Missing(_))) => {
                    missing = Some((local.file.name.clone(), fault));
                    later.push((local, step));
                }
                Err(error) => return Err(told(&local, error)),
            }
        }
        if let Some((name, fault)) = missing.filter(|_| later.len() == before) {
            return Err(Exit::new(FAILURE, format!("`{name}` cannot be pushed: {fault}")));
        }
        work = later;
    }
    Ok(())
}

fn told(local: &Local, error: PromptError) -> Exit {
    let exit = Exit::from(error);
    Exit::new(exit.code, format!("{}: {}", local.path.display(), exit.message))
}

async fn push_one(desk: &Desk, file: &PromptFile, step: &Push, message: Option<&str>) -> Result<u32, PromptError> {
    let now = SystemClock.now();
    let base = match step {
        Push::Keep(version) => return Ok(*version),
        Push::Label(version, labels) => {
            desk.prompts.label(&desk.editor, &file.name, *version, labels, now).await?;
            return Ok(*version);
        }
        Push::Change(version) => *version,
        Push::Create | Push::Conflict(_) => 0,
    };
    // The message that was pulled tells of the version before.
    let pulled = match base {
        0 => None,
        version => {
            let selector = Selector::Version(version);
            desk.prompts.find(desk.project, &file.name, &selector, Form::Raw).await?
        }
    };
    let old_message = pulled.as_ref().and_then(|pulled| pulled.head.commit_message.as_deref());
    let own_message = file.commit_message.as_deref().filter(|own| Some(*own) != old_message);
    let new = NewPrompt {
        commit_message: message.or(own_message).map(str::to_owned),
        base: Some(base),
        ..plan::as_new(file)
    };
    Ok(desk.prompts.create(&desk.editor, new, now).await?.head.version)
}

/// Writes the version into the file, so that the next push knows what it was made from.
fn note_version(local: &Local, version: u32) -> Result<(), Exit> {
    if local.file.version == Some(version) {
        return Ok(());
    }
    write(&local.path, &with_version(&local.text, version))
}

pub(super) async fn pull(common: &Common, args: PullArgs) -> Result<(), Exit> {
    let folder = args.folder.folder;
    let desk = Desk::open(common, &args.place).await?;
    let known: HashMap<String, PathBuf> = match folder.exists() {
        // A file that cannot be read is in the way of its own prompt alone.
        true => {
            read_folder(&folder).unwrap_or_default().into_iter().map(|local| (local.file.name, local.path)).collect()
        }
        false => HashMap::new(),
    };
    let filter = ListFilter { label: Some(LATEST.to_owned()), ..ListFilter::default() };
    let found = desk.prompts.list(desk.project, &filter, 1, usize::MAX).await?;
    let (mut rows, mut conflicts) = (Vec::new(), 0);
    for summary in &found.prompts {
        let Some(latest) = plan::find(&desk.prompts, desk.project, &summary.name, None).await? else { continue };
        let (path, step) = plan::pull(&desk.prompts, desk.project, &latest, &folder, &known).await?;
        let (word, detail) = match &step {
            Pull::Create => ("create", String::new()),
            Pull::Update => ("update", String::new()),
            Pull::Keep => ("unchanged", String::new()),
            Pull::Conflict(_) if args.overwrite => ("overwrite", String::new()),
            Pull::Conflict(reason) => ("conflict", reason.clone()),
        };
        match word {
            "unchanged" => {}
            "conflict" => conflicts += 1,
            _ => write(&path, &PromptFile::of(&latest).render())?,
        }
        if !common.json {
            println!(
                "{word:<10} {}  {}{}{detail}",
                summary.name,
                path.display(),
                if detail.is_empty() { "" } else { ": " }
            );
        }
        rows.push(json!({"name": summary.name, "file": path, "action": word, "detail": detail,
                         "version": latest.head.version}));
    }
    desk.close(false).await;
    if common.json {
        print_json(&rows)?;
    }
    match conflicts {
        0 => Ok(()),
        _ => Err(Exit::new(FAILURE, format!("{conflicts} files were changed here and stay as they are"))),
    }
}

/// Writes a whole file or nothing.
fn write(path: &Path, text: &str) -> Result<(), Exit> {
    let failed = |error: std::io::Error| Exit::new(FAILURE, format!("cannot write {}: {error}", path.display()));
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(failed)?;
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}
