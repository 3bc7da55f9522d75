//! What can go wrong with a prompt.

use privet_domain::prompt::reference::{DEPTH_MAX, PromptReference};
use privet_domain::prompt::{
    BodyError, CompileError, LATEST, LabelError, Missing, NameError, PROMPT_BYTES_MAX, PromptKind, Selector,
    SelectorError,
};
use privet_domain::trace::PromptLink;
use privet_store::{PromptUse, StoreError};

/// Why something was not done with a prompt.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// A field is wrong: which, and why.
    #[error("`{field}`: {reason}")]
    Wrong {
        /// The field of the request.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no such prompt, version or label.
    #[error("Prompt not found: '{name}' with {selector}")]
    NotFound {
        /// The prompt.
        name: String,
        /// Which version was asked for.
        selector: Selector,
    },
    /// There is no such prompt.
    #[error("Prompt not found: '{0}'")]
    NoPrompt(String),
    /// The prompt has not this label.
    #[error("Prompt not found: no version of '{name}' has the label '{label}'")]
    NotLabelled {
        /// The prompt.
        name: String,
        /// The label.
        label: String,
    },
    /// All versions of a prompt are of one kind.
    #[error("the prompt `{name}` is a {is} prompt, and all its versions are; take another name for this one")]
    OtherKind {
        /// The prompt.
        name: String,
        /// What it is.
        is: &'static str,
    },
    /// Somebody made a version meanwhile.
    #[error("the prompt `{name}` has version {highest} now; look at it before you make another")]
    Moved {
        /// The prompt.
        name: String,
        /// Its highest version, 0 if there is none.
        highest: u32,
    },
    /// Only administrators move this label.
    #[error(
        "the label `{0}` is protected: only a key with the scope `admin` moves it or deletes a version that has it"
    )]
    Protected(String),
    /// Others refer to what was to be removed.
    #[error("other prompts need it: {}; change or delete them first", named(.0))]
    Needed(Vec<PromptUse>),
    /// A new version refers to something that cannot stand in it.
    #[error("{0}")]
    BadReference(ReferenceFault),
    /// Something that stands in a version cannot any more.
    #[error("the prompt `{}` version {} cannot be put together: {fault}", prompt.name, prompt.version)]
    Broken {
        /// The version.
        prompt: PromptLink,
        /// What is wrong.
        fault: ReferenceFault,
    },
    /// There is nothing for some of its holes.
    #[error("the prompt `{}` version {} needs {missing}, which the request does not give", prompt.name, prompt.version)]
    Unfilled {
        /// The version.
        prompt: PromptLink,
        /// What it needs.
        missing: Missing,
    },
    /// What was given does not fit its holes.
    #[error("the prompt `{}` version {}: {reason}", prompt.name, prompt.version)]
    Misfilled {
        /// The version.
        prompt: PromptLink,
        /// Why not.
        reason: CompileError,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is wrong with a reference to another prompt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceFault {
    /// It is not there.
    #[error("it refers to `{}` with {}, which is not there", .0.name, .0.selector)]
    Missing(PromptReference),
    /// Only texts stand in others.
    #[error("it refers to `{0}`, which is a chat prompt; only text prompts can stand in others")]
    NotText(String),
    /// A prompt stands in itself.
    #[error("it stands in itself: {}", .0.join(" → "))]
    Cycle(Vec<String>),
    /// Too many inside one another.
    #[error("more than {DEPTH_MAX} prompts stand inside one another: {}", .0.join(" → "))]
    TooDeep(Vec<String>),
    /// Too many in all.
    #[error("more than {0} different prompts stand in it")]
    TooMany(usize),
    /// It becomes too large.
    #[error("with all that stands in it, it has more than {PROMPT_BYTES_MAX} bytes")]
    TooLarge,
}

impl PromptError {
    pub(super) fn wrong(field: &'static str, reason: impl ToString) -> Self {
        Self::Wrong { field, reason: reason.to_string() }
    }

    pub(super) fn other_kind(name: &str, is: PromptKind) -> Self {
        Self::OtherKind { name: name.to_owned(), is: is.as_str() }
    }

    /// The refusal of whoever would move what moves by itself.
    pub(super) fn latest() -> Self {
        Self::wrong("label", format!("`{LATEST}` moves by itself to the highest version; take another label"))
    }
}

impl From<NameError> for PromptError {
    fn from(error: NameError) -> Self {
        Self::wrong("name", error)
    }
}

impl From<LabelError> for PromptError {
    fn from(error: LabelError) -> Self {
        Self::wrong("label", error)
    }
}

impl From<SelectorError> for PromptError {
    fn from(error: SelectorError) -> Self {
        Self::wrong("label", error)
    }
}

impl From<BodyError> for PromptError {
    fn from(error: BodyError) -> Self {
        Self::wrong("prompt", error)
    }
}

fn named(uses: &[PromptUse]) -> String {
    let names = uses.iter().map(|user| format!("`{}` version {}", user.name, user.version));
    names.collect::<Vec<_>>().join(", ")
}
