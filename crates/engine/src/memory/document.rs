//! Documents: text, Markdown, HTML and PDF become sections with headings, and sections become chunks within a budget.
//!
//! Reading is done by libraries that meet bytes from anywhere. [`read`] bounds what it can; a file may still keep a library busy
//! without end, fill the memory, or make it panic. So a server reads in a process of its own ([`apart`]), which has little
//! memory, little time and no secrets. Nothing is stored here.

pub mod apart;
mod chunk;
mod html;
mod markdown;
mod pdf;
mod plain;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use chunk::{Chunk, ChunkLimits, chunk};

/// What a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DocumentKind {
    /// Text without marks.
    Text,
    /// Markdown.
    Markdown,
    /// HTML.
    Html,
    /// PDF.
    Pdf,
}

impl DocumentKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Text, Self::Markdown, Self::Html, Self::Pdf];

    /// Its name in the API and the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Markdown => "markdown",
            Self::Html => "html",
            Self::Pdf => "pdf",
        }
    }

    /// The kind that a media type names, such as `text/html; charset=utf-8`.
    #[must_use]
    pub fn of_media_type(media_type: &str) -> Option<Self> {
        let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "text/plain" => Some(Self::Text),
            "text/markdown" | "text/x-markdown" => Some(Self::Markdown),
            "text/html" | "application/xhtml+xml" => Some(Self::Html),
            "application/pdf" => Some(Self::Pdf),
            _ => None,
        }
    }

    /// The kind that a file's name ends in.
    #[must_use]
    pub fn of_file_name(name: &str) -> Option<Self> {
        let (_, extension) = name.rsplit_once('.')?;
        match extension.to_ascii_lowercase().as_str() {
            "txt" | "text" | "log" => Some(Self::Text),
            "md" | "markdown" => Some(Self::Markdown),
            "html" | "htm" | "xhtml" => Some(Self::Html),
            "pdf" => Some(Self::Pdf),
            _ => None,
        }
    }
}

impl fmt::Display for DocumentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for DocumentKind {
    type Err = DocumentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| DocumentError::UnknownKind(text.to_owned()))
    }
}

/// A part of a document under one heading, or one page.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// The headings above the text, the outermost first.
    pub headings: Vec<String>,
    /// The page, from 1, where the document has pages.
    pub page: Option<u32>,
    /// Whether the text is Markdown.
    pub is_markdown: bool,
    /// The text. It is not empty.
    pub text: String,
}

/// A document as text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// The title that it gives itself.
    pub title: Option<String>,
    /// Its sections in order, at least one.
    pub sections: Vec<Section>,
    /// Pages that could not be read.
    pub pages_lost: u32,
}

/// What a document may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentLimits {
    /// Bytes of the file.
    pub file_bytes_max: usize,
    /// Bytes of its text.
    pub text_bytes_max: usize,
    /// Sections, or pages.
    pub sections_max: usize,
}

impl Default for DocumentLimits {
    /// A book: a thousand pages have about 3 MB of text.
    fn default() -> Self {
        Self { file_bytes_max: 20 * 1024 * 1024, text_bytes_max: 10 * 1024 * 1024, sections_max: 20_000 }
    }
}

/// Why a document is not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DocumentError {
    /// There is no such kind.
    #[error("there are no documents of the kind `{0}`: it is `text`, `markdown`, `html` or `pdf`")]
    UnknownKind(String),
    /// The file is too large.
    #[error("the file has {bytes} bytes, and {bytes_max} are the most; send it in parts")]
    FileTooLarge {
        /// What it has.
        bytes: usize,
        /// What it may have.
        bytes_max: usize,
    },
    /// Its text is too large.
    #[error("the document holds more than {bytes_max} bytes of text; send it in parts")]
    TextTooLarge {
        /// What it may have.
        bytes_max: usize,
    },
    /// It has too many sections or pages.
    #[error("the document has more than {sections_max} sections or pages; send it in parts")]
    TooManySections {
        /// What it may have.
        sections_max: usize,
    },
    /// It is not in an encoding that is read.
    #[error("the text is not UTF-8; save it as UTF-8 and send it again")]
    NotUtf8,
    /// It is not of its kind, or damaged.
    #[error("this is no readable {kind} document: {reason}")]
    Malformed {
        /// What it should be.
        kind: DocumentKind,
        /// What is wrong.
        reason: String,
    },
    /// It wants a password.
    #[error("the document wants a password; remove it and send the document again")]
    Encrypted,
    /// It has no text.
    #[error("the document holds no text that can be read; of scanned pages make text first (OCR)")]
    NoText,
    /// It took more time or memory than a document may.
    #[error("reading the document took more than the {0} that a document may; send it in parts, or as text")]
    TooCostly(String),
}

/// Reads a document. It may panic and may take long: see the module.
///
/// # Errors
/// When it is too large, damaged or empty.
pub fn read(kind: DocumentKind, file: &[u8], limits: &DocumentLimits) -> Result<Document, DocumentError> {
    if file.len() > limits.file_bytes_max {
        return Err(DocumentError::FileTooLarge { bytes: file.len(), bytes_max: limits.file_bytes_max });
    }
    let mut document = match kind {
        DocumentKind::Text => plain::read(file, limits)?,
        DocumentKind::Markdown => markdown::read(&plain::decode(file)?, limits)?,
        DocumentKind::Html => html::read(&plain::decode(file)?, limits)?,
        DocumentKind::Pdf => pdf::read(file, limits)?,
    };
    document.sections.retain(|section| !section.text.trim().is_empty());
    document.title = document.title.as_deref().and_then(plain::one_line);
    if document.sections.is_empty() {
        return Err(DocumentError::NoText);
    }
    if document.sections.len() > limits.sections_max {
        return Err(DocumentError::TooManySections { sections_max: limits.sections_max });
    }
    Ok(document)
}

#[cfg(test)]
mod tests;
