//! PDF: the text of each page. Pictures of text are not read.

use std::fmt::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use pdf_extract::{ConvertToFmt, Document as File, PlainTextOutput, output_doc_page};

use super::plain::{clean, one_line};
use super::{Document, DocumentError, DocumentKind, DocumentLimits, Section};

pub(super) fn read(bytes: &[u8], limits: &DocumentLimits) -> Result<Document, DocumentError> {
    let file = unwinding(|| open(bytes)).unwrap_or_else(|| Err(malformed("the library that reads it gave up")))?;
    let pages: Vec<u32> = unwinding(|| file.get_pages().into_keys().collect()).unwrap_or_default();
    if pages.len() > limits.sections_max {
        return Err(DocumentError::TooManySections { sections_max: limits.sections_max });
    }
    let mut document = Document { title: unwinding(|| title(&file)).flatten(), ..Document::default() };
    let mut left = limits.text_bytes_max;
    for page in pages {
        let mut text = Bounded { text: String::new(), left, overflowed: false };
        let done = unwinding(|| output_doc_page(&file, &mut PlainTextOutput::new(&mut text), page).is_ok());
        if text.overflowed {
            return Err(DocumentError::TextTooLarge { bytes_max: limits.text_bytes_max });
        }
        left = text.left;
        if done != Some(true) {
            document.pages_lost += 1;
        }
        let text = paragraphs(&clean(&text.text));
        document.sections.push(Section { headings: Vec::new(), page: Some(page), is_markdown: false, text });
    }
    if document.pages_lost > 0 && document.sections.iter().all(|section| section.text.is_empty()) {
        return Err(malformed("none of its pages could be read"));
    }
    Ok(document)
}

/// The library panics on some damaged files. The page or the file is lost, and nothing else: no state outlives the call.
fn unwinding<T>(reading: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(reading)).ok()
}

fn open(bytes: &[u8]) -> Result<File, DocumentError> {
    let mut file = File::load_mem(bytes).map_err(|error| malformed(&error.to_string()))?;
    // Many files are encrypted with an empty password, to forbid printing.
    if file.is_encrypted() && file.decrypt("").is_err() {
        return Err(DocumentError::Encrypted);
    }
    Ok(file)
}

fn title(file: &File) -> Option<String> {
    let (_, information) = file.dereference(file.trailer.get(b"Info").ok()?).ok()?;
    let (_, title) = file.dereference(information.as_dict().ok()?.get(b"Title").ok()?).ok()?;
    one_line(&pdf_extract::decode_text_string(title).ok()?)
}

fn malformed(reason: &str) -> DocumentError {
    DocumentError::Malformed { kind: DocumentKind::Pdf, reason: reason.to_owned() }
}

/// A page is lines; those of a paragraph become one, so that it can be cut between its sentences. A word that was divided at the end
/// of a line is joined.
fn paragraphs(text: &str) -> String {
    let mut joined = String::with_capacity(text.len());
    for line in text.lines().map(str::trim) {
        if line.is_empty() {
            if !joined.is_empty() && !joined.ends_with("\n\n") {
                joined.push_str("\n\n");
            }
            continue;
        }
        let is_divided = joined.strip_suffix('-').is_some_and(|before| before.ends_with(char::is_alphabetic))
            && line.starts_with(char::is_lowercase);
        if is_divided {
            joined.pop();
        } else if !joined.is_empty() && !joined.ends_with('\n') {
            joined.push(' ');
        }
        joined.push_str(line);
    }
    joined.trim_end().to_owned()
}

/// Text that ends at a limit.
struct Bounded {
    text: String,
    left: usize,
    overflowed: bool,
}

impl Write for &mut Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let Some(left) = self.left.checked_sub(text.len()) else {
            self.overflowed = true;
            return Err(fmt::Error);
        };
        self.left = left;
        self.text.push_str(text);
        Ok(())
    }
}

impl ConvertToFmt for &mut Bounded {
    type Writer = Self;

    fn convert(self) -> Self {
        self
    }
}
