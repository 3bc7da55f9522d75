//! Markdown: cut at its headings, which become the path above each section.

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use super::plain::{check_bytes, clean, one_line};
use super::{Document, DocumentError, DocumentLimits, Section};

pub(super) fn read(text: &str, limits: &DocumentLimits) -> Result<Document, DocumentError> {
    let text = clean(text);
    check_bytes(text.len(), limits)?;
    let mut reader = Reader { text: &text, document: Document::default(), path: Vec::new(), from: 0 };
    let options = Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES | Options::ENABLE_YAML_STYLE_METADATA_BLOCKS;
    // How many blocks the parser is inside of: a heading in a quotation or a list divides nothing.
    let mut depth = 0_usize;
    let mut heading: Option<(HeadingLevel, String)> = None;
    let mut is_metadata = false;
    for (event, range) in Parser::new_ext(&text, options).into_offset_iter() {
        match event {
            Event::Start(Tag::Heading { level, .. }) if depth == 0 => {
                reader.end_section(range.start);
                heading = Some((level, String::new()));
                depth += 1;
            }
            Event::End(TagEnd::Heading(_)) if depth == 1 && heading.is_some() => {
                depth = 0;
                if let Some((level, title)) = heading.take() {
                    reader.begin_section(level, &title, range.end);
                }
            }
            Event::Start(Tag::MetadataBlock(_)) => {
                is_metadata = true;
                depth += 1;
            }
            Event::End(TagEnd::MetadataBlock(_)) => {
                is_metadata = false;
                depth = depth.saturating_sub(1);
                reader.from = range.end;
            }
            Event::Text(metadata) if is_metadata => reader.document.title = title_of(&metadata),
            Event::Text(text) | Event::Code(text) => push(&mut heading, &text),
            Event::SoftBreak | Event::HardBreak => push(&mut heading, " "),
            Event::Start(_) => depth += 1,
            Event::End(_) => depth = depth.saturating_sub(1),
            _ => {}
        }
        if reader.document.sections.len() > limits.sections_max {
            return Err(DocumentError::TooManySections { sections_max: limits.sections_max });
        }
    }
    reader.end_section(text.len());
    Ok(reader.document)
}

fn push(heading: &mut Option<(HeadingLevel, String)>, text: &str) {
    if let Some((_, title)) = heading {
        title.push_str(text);
    }
}

/// `title: …` of the front matter.
fn title_of(metadata: &str) -> Option<String> {
    let title = metadata.lines().find_map(|line| line.strip_prefix("title:"))?.trim();
    one_line(title.trim_matches(|c| c == '"' || c == '\''))
}

struct Reader<'a> {
    text: &'a str,
    document: Document,
    /// The headings above, the outermost first.
    path: Vec<(HeadingLevel, String)>,
    /// Where the section's text begins.
    from: usize,
}

impl Reader<'_> {
    fn begin_section(&mut self, level: HeadingLevel, title: &str, from: usize) {
        self.path.retain(|(above, _)| *above < level);
        if let Some(title) = one_line(title) {
            if level == HeadingLevel::H1 && self.document.title.is_none() {
                self.document.title = Some(title.clone());
            }
            self.path.push((level, title));
        }
        self.from = from;
    }

    fn end_section(&mut self, until: usize) {
        let text = self.text.get(self.from..until).unwrap_or_default();
        if !text.trim().is_empty() {
            let headings = self.path.iter().map(|(_, title)| title.clone()).collect();
            // The indentation of the first line may be meant.
            let text = text.trim_matches('\n').trim_end().to_owned();
            self.document.sections.push(Section { headings, page: None, is_markdown: true, text });
        }
        self.from = until;
    }
}
