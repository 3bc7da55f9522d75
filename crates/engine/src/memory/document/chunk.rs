//! Chunks: sections cut where their structure allows it, each within a budget.

use serde::{Deserialize, Serialize};
use text_splitter::{ChunkConfig, ChunkSizer, MarkdownSplitter, TextSplitter};

use super::{Document, DocumentError};

/// How many bytes of text a token has about.
const TOKEN_BYTES: usize = 4;

/// How large chunks are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkLimits {
    /// A chunk is filled up to so many estimated tokens, where the structure allows it.
    pub tokens: usize,
    /// No chunk has more.
    pub tokens_max: usize,
    /// Chunks of a document.
    pub chunks_max: usize,
}

impl Default for ChunkLimits {
    fn default() -> Self {
        Self { tokens: 300, tokens_max: 450, chunks_max: 20_000 }
    }
}

/// A piece of a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Its place in the document, from 0.
    pub position: u32,
    /// The headings above it, the outermost first.
    pub headings: Vec<String>,
    /// Its page, from 1, where the document has pages.
    pub page: Option<u32>,
    /// Its text.
    pub text: String,
}

impl Chunk {
    /// Where the chunk stands, such as `Handbook > Holidays`, or `Handbook > page 3`; empty when the document says nothing.
    #[must_use]
    pub fn path(&self, document_title: Option<&str>) -> String {
        let page = self.page.map(|page| format!("page {page}"));
        let mut path: Vec<&str> = document_title.into_iter().collect();
        // The first heading often is the document's title.
        let repeats = document_title.is_some() && self.headings.first().map(String::as_str) == document_title;
        path.extend(self.headings.iter().skip(usize::from(repeats)).map(String::as_str));
        path.extend(page.as_deref());
        path.join(" > ")
    }
}

/// Cuts a document into chunks. Text is neither lost nor repeated, except for white space between chunks.
///
/// # Errors
/// When there are more than a document may have.
pub fn chunk(document: &Document, limits: &ChunkLimits) -> Result<Vec<Chunk>, DocumentError> {
    let most = limits.tokens_max.max(1).saturating_mul(TOKEN_BYTES);
    let desired = limits.tokens.max(1).saturating_mul(TOKEN_BYTES).min(most);
    let config = || ChunkConfig::new(desired..=most).with_sizer(Bytes);
    let (text, markdown) = (TextSplitter::new(config()), MarkdownSplitter::new(config()));
    let mut chunks = Vec::new();
    for section in &document.sections {
        let mut add = |piece: &str| {
            let position = u32::try_from(chunks.len()).ok().filter(|_| chunks.len() < limits.chunks_max);
            let position = position.ok_or(DocumentError::TooManySections { sections_max: limits.chunks_max })?;
            let (headings, page) = (section.headings.clone(), section.page);
            chunks.push(Chunk { position, headings, page, text: piece.to_owned() });
            Ok(())
        };
        if section.is_markdown {
            markdown.chunks(&section.text).try_for_each(&mut add)?;
        } else {
            text.chunks(&section.text).try_for_each(&mut add)?;
        }
    }
    Ok(chunks)
}

struct Bytes;

impl ChunkSizer for Bytes {
    fn size(&self, chunk: &str) -> usize {
        chunk.len()
    }
}
