//! Comparing a folder of prompts with the server: what a push would do, and what a pull would.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use privet_domain::id::ProjectId;
use privet_domain::prompt::{LATEST, Selector};
use privet_engine::prompt::{Form, NewPrompt, Prompt, Prompts};

use super::super::{Exit, FAILURE};
use super::file::{PromptFile, path_of};

/// So many bytes of a file are read at most: more is no prompt.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// A file and what it says.
pub(super) struct Local {
    pub(super) path: PathBuf,
    pub(super) text: String,
    pub(super) file: PromptFile,
}

/// What a push does with a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Push {
    /// The prompt is new.
    Create,
    /// A version behind this one.
    Change(u32),
    /// The same as this version, which gets these labels.
    Label(u32, Vec<String>),
    /// The same as this version.
    Keep(u32),
    /// It cannot be pushed, for this reason.
    Conflict(String),
}

impl Push {
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Change(_) => "change",
            Self::Label(..) => "label",
            Self::Keep(_) => "unchanged",
            Self::Conflict(_) => "conflict",
        }
    }

    /// What a person reads behind the name.
    pub(super) fn detail(&self, file: &PromptFile) -> String {
        let labels = |labels: &[String]| match labels {
            [] => String::new(),
            labels => format!(", moves {}", labels.join(", ")),
        };
        match self {
            Self::Create => format!("version 1{}", labels(&file.labels)),
            Self::Change(from) => format!("behind version {from}{}", labels(&file.labels)),
            Self::Label(version, moved) => format!("version {version}{}", labels(moved)),
            Self::Keep(version) => format!("version {version}"),
            Self::Conflict(reason) => reason.clone(),
        }
    }
}

/// What a pull does with a prompt.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pull {
    /// Its file is not there yet.
    Create,
    /// Its file is older.
    Update,
    /// Its file says the same.
    Keep,
    /// Its file was changed here, for this reason it stays.
    Conflict(String),
}

/// All prompts in a folder and the folders in it, by path.
pub(super) fn read_folder(folder: &Path) -> Result<Vec<Local>, Exit> {
    let mut paths = Vec::new();
    collect(folder, &mut paths)?;
    paths.sort();
    let mut by_name: HashMap<String, PathBuf> = HashMap::new();
    let mut locals = Vec::with_capacity(paths.len());
    for path in paths {
        let (text, file) = read_file(&path)?;
        if let Some(other) = by_name.insert(file.name.clone(), path.clone()) {
            let (one, two) = (other.display(), path.display());
            return Err(Exit::new(FAILURE, format!("{one} and {two} are both the prompt `{}`; keep one", file.name)));
        }
        locals.push(Local { path, text, file });
    }
    Ok(locals)
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) -> Result<(), Exit> {
    let unreadable = |error: std::io::Error| Exit::new(FAILURE, format!("cannot read {}: {error}", folder.display()));
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(unreadable)?);
        let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
        // A link could lead out of the folder, or round in circles.
        if kind.is_dir() && !is_hidden {
            collect(&path, paths)?;
        } else if kind.is_file() && !is_hidden && is_prompt(&path) {
            paths.push(path);
        }
    }
    Ok(())
}

/// Markdown, except for what explains the folder.
fn is_prompt(path: &Path) -> bool {
    let is_markdown = path.extension().is_some_and(|extension| extension == "md");
    let is_readme = path.file_stem().is_some_and(|stem| stem.eq_ignore_ascii_case("readme"));
    // A prompt may be called README; its file begins as one of a prompt.
    is_markdown && (!is_readme || std::fs::read(path).is_ok_and(|text| text.starts_with(b"---")))
}

pub(super) fn read_file(path: &Path) -> Result<(String, PromptFile), Exit> {
    let told = |reason: String| Exit::new(FAILURE, format!("{}: {reason}", path.display()));
    let length = std::fs::metadata(path).map_err(|error| told(error.to_string()))?.len();
    if length > FILE_BYTES_MAX {
        return Err(told(format!("it has {length} bytes; a prompt has at most {FILE_BYTES_MAX}")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| told(error.to_string()))?;
    let file = PromptFile::parse(&text).map_err(|error| told(error.to_string()))?;
    Ok((text, file))
}

/// What a push may do beyond what it does by itself.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Permits {
    /// Move labels that point to another version on the server, though the file is not changed.
    pub(super) labels: bool,
    /// Make prompts that the server does not have, though the file was pulled from one that had them.
    pub(super) new: bool,
}

/// What a push would do with a file.
pub(super) async fn push(
    prompts: &Prompts,
    project: ProjectId,
    file: &PromptFile,
    permits: Permits,
) -> Result<Push, Exit> {
    if let Err(error) = as_new(file).check() {
        return Ok(Push::Conflict(format!("it cannot be pushed: {error}")));
    }
    let Some(latest) = find(prompts, project, &file.name, None).await? else {
        return Ok(match file.version {
            Some(_) if !permits.new => Push::Conflict(
                "the server has no such prompt: it was deleted there, or never was; push with --new to make it"
                    .to_owned(),
            ),
            _ => Push::Create,
        });
    };
    let highest = latest.head.version;
    if file.says_the_same(&latest) {
        let missing: Vec<String> = file
            .labels
            .iter()
            .filter(|label| *label != LATEST && !latest.head.labels.contains(label))
            .cloned()
            .collect();
        let versions = prompts.versions(project, &file.name).await?;
        let elsewhere = missing.iter().find_map(|label| {
            let version = versions.iter().find(|head| head.labels.contains(label))?.version;
            Some((label, version))
        });
        return Ok(match elsewhere {
            Some((label, version)) if !permits.labels => Push::Conflict(format!(
                "`{label}` points to version {version} on the server, and the file says the same as version {highest}; pull, or \
                 push with --labels to move it"
            )),
            _ if missing.is_empty() => Push::Keep(highest),
            _ => Push::Label(highest, missing),
        });
    }
    Ok(match file.version {
        Some(version) if version == highest => Push::Change(highest),
        Some(version) => Push::Conflict(format!(
            "the server has version {highest}, the file was pulled at version {version}; see `privet prompts diff {}`, put \
             both together and write `version: {highest}` into the file",
            file.name
        )),
        None => Push::Conflict(format!(
            "the server has such a prompt, version {highest}; pull it into another folder, put both together and write \
             `version: {highest}` into the file"
        )),
    })
}

/// The file as a prompt to make.
pub(super) fn as_new(file: &PromptFile) -> NewPrompt {
    NewPrompt {
        name: file.name.clone(),
        body: file.body.clone(),
        config: file.config.clone(),
        labels: file.labels.clone(),
        tags: file.tags.clone(),
        commit_message: file.commit_message.clone(),
        base: None,
    }
}

/// Where a pull writes a prompt, and what it does there.
pub(super) async fn pull(
    prompts: &Prompts,
    project: ProjectId,
    latest: &Prompt,
    folder: &Path,
    known: &HashMap<String, PathBuf>,
) -> Result<(PathBuf, Pull), Exit> {
    let name = &latest.head.name;
    let path = known.get(name).cloned().unwrap_or_else(|| path_of(folder, name));
    if !path.exists() {
        return Ok((path, Pull::Create));
    }
    let (text, file) = match read_file(&path) {
        Ok(read) => read,
        Err(exit) => return Ok((path, Pull::Conflict(exit.message))),
    };
    if text == PromptFile::of(latest).render() {
        return Ok((path, Pull::Keep));
    }
    if file.name != *name {
        let reason = format!("the file is the prompt `{}`; move it away", file.name);
        return Ok((path, Pull::Conflict(reason)));
    }
    if file.says_the_same(latest) {
        return Ok((path, Pull::Update));
    }
    let pulled = match file.version {
        Some(version) => find(prompts, project, name, Some(version)).await?,
        None => None,
    };
    // Tags are shared by all versions: those of the pulled version are known no more.
    let is_untouched = pulled.is_some_and(|pulled| PromptFile { tags: None, ..file }.says_the_same(&pulled));
    Ok(match is_untouched {
        true => (path, Pull::Update),
        false => {
            (path, Pull::Conflict("the file was changed here; push it first, or pull with --overwrite".to_owned()))
        }
    })
}

/// A version of a prompt as it is written, the highest if none is named.
pub(super) async fn find(
    prompts: &Prompts,
    project: ProjectId,
    name: &str,
    version: Option<u32>,
) -> Result<Option<std::sync::Arc<Prompt>>, Exit> {
    let selector = match version {
        Some(version) => Selector::Version(version),
        None => Selector::latest(),
    };
    Ok(prompts.find(project, name, &selector, Form::Raw).await?)
}
