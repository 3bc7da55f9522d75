//! Documents by example, and files made to do harm.

use std::time::{Duration, Instant};

use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

use super::*;

const LIMITS: DocumentLimits = DocumentLimits { file_bytes_max: 1 << 21, text_bytes_max: 1 << 20, sections_max: 5_000 };

fn read_text(kind: DocumentKind, text: &str) -> Result<Document, DocumentError> {
    read(kind, text.as_bytes(), &LIMITS)
}

fn sections(document: &Document) -> Vec<(String, String)> {
    document.sections.iter().map(|section| (section.headings.join(" > "), section.text.clone())).collect()
}

fn pair(headings: &str, text: &str) -> (String, String) {
    (headings.to_owned(), text.to_owned())
}

/// A PDF with a line of text for each line of each page.
pub(super) fn pdf(title: &str, pages: &[&str]) -> Vec<u8> {
    let kids: Vec<String> = (0..pages.len()).map(|n| format!("{} 0 R", 5 + 2 * n)).collect();
    let mut objects = vec![
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        format!("<< /Type /Pages /Kids [{}] /Count {} >>", kids.join(" "), pages.len()),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>".to_owned(),
        format!("<< /Title ({title}) >>"),
    ];
    for (n, page) in pages.iter().enumerate() {
        let mut content = "BT /F1 12 Tf 72 720 Td".to_owned();
        for line in page.lines() {
            let escaped = line.replace('\\', "\\\\").replace('(', "\\(").replace(')', "\\)");
            content.push_str(&format!(" ({escaped}) Tj 0 -14 Td"));
        }
        content.push_str(" ET");
        objects.push(format!(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {} 0 R /Resources << /Font << /F1 3 0 R >> >> >>",
            6 + 2 * n
        ));
        objects.push(format!("<< /Length {} >>\nstream\n{content}\nendstream", content.len()));
    }
    assemble(&objects)
}

fn assemble(objects: &[String]) -> Vec<u8> {
    let mut file = b"%PDF-1.4\n".to_vec();
    let mut offsets = Vec::new();
    for (n, object) in objects.iter().enumerate() {
        offsets.push(file.len());
        file.extend_from_slice(format!("{} 0 obj\n{object}\nendobj\n", n + 1).as_bytes());
    }
    let xref = file.len();
    let mut tail = format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1);
    for offset in &offsets {
        tail.push_str(&format!("{offset:010} 00000 n \n"));
    }
    tail.push_str(&format!(
        "trailer\n<< /Size {} /Root 1 0 R /Info 4 0 R >>\nstartxref\n{xref}\n%%EOF\n",
        objects.len() + 1
    ));
    file.extend_from_slice(tail.as_bytes());
    file
}

#[test]
fn markdown_is_cut_at_its_headings() {
    let text = "---\ntitle: \"The handbook\"\n---\nBefore.\n\n# Work\r\n\r\nNine to *five*.\n\n## Holidays `2026`\n\n26 days.\n\
                \n> # Not a heading\n\n```\n# nor this\n```\n\n### Sick\n\nStay home.\n\n# Money\n\n- paid\n- monthly\n";
    let document = read_text(DocumentKind::Markdown, text).unwrap();
    assert_eq!(document.title.as_deref(), Some("The handbook"));
    let expected = [
        pair("", "Before."),
        pair("Work", "Nine to *five*."),
        pair("Work > Holidays 2026", "26 days.\n\n> # Not a heading\n\n```\n# nor this\n```"),
        pair("Work > Holidays 2026 > Sick", "Stay home."),
        pair("Money", "- paid\n- monthly"),
    ];
    assert_eq!(sections(&document), expected);
}

#[test]
fn html_becomes_what_a_reader_sees() {
    let html = "<!doctype html><html><head><title> The  handbook </title><style>p{}</style></head><body>\
                <nav>Home | About</nav><h1>Work</h1><p>Nine to <b>five</b>, see <a href='https://example.com/x'>the rules</a>.</p>\
                <script>alert('x')</script><h2>Holidays</h2><table><tr><th>Year</th><th>Days</th></tr>\
                <tr><td>2026</td><td>26</td></tr></table><ul><li>paid<li>monthly</ul>\
                <img src='data:image/png;base64,AAAA' alt='a calendar'><p hidden>obey</p><p style='display: none'>obey</p>\
                <div aria-hidden=true>obey</div><!-- obey --><noscript>obey</noscript></body></html>";
    let document = read_text(DocumentKind::Html, html).unwrap();
    assert_eq!(document.title.as_deref(), Some("The handbook"));
    let [(work, nine), (holidays, days)] = &sections(&document)[..] else { panic!("{document:?}") };
    assert_eq!((work.as_str(), nine.as_str()), ("Work", "Nine to **five**, see the rules."));
    assert_eq!(holidays, "Work > Holidays");
    for part in ["| 2026", "26", "* paid\n* monthly", "a calendar"] {
        assert!(days.contains(part), "{days}");
    }
    let all = format!("{document:?}");
    for part in ["obey", "alert", "base64", "Home", "example.com"] {
        assert!(!all.contains(part), "{all}");
    }
}

#[test]
fn pdf_becomes_paragraphs_of_pages() {
    let file = pdf("The handbook", &["Holi-\ndays are 26 days (a year).\nThey are paid.", "Second page."]);
    let document = read(DocumentKind::Pdf, &file, &LIMITS).unwrap();
    assert_eq!(document.title.as_deref(), Some("The handbook"));
    assert_eq!(document.pages_lost, 0);
    let pages: Vec<_> = document.sections.iter().map(|section| (section.page, section.text.as_str())).collect();
    let first = "Holidays are 26 days (a year). They are paid.";
    assert_eq!(pages, [(Some(1), first), (Some(2), "Second page.")]);
}

#[test]
fn text_is_read_in_the_encodings_that_say_so() {
    let utf16: Vec<u8> = [0xff, 0xfe].into_iter().chain("Żółw\r\n".encode_utf16().flat_map(u16::to_le_bytes)).collect();
    for file in ["Żółw\n".as_bytes(), "\u{feff}Żółw\n".as_bytes(), &utf16] {
        let document = read(DocumentKind::Text, file, &LIMITS).unwrap();
        assert_eq!(document.sections[0].text, "Żółw\n");
    }
    // windows-1250
    assert_eq!(read(DocumentKind::Text, b"\xaf\xf3\xb3w", &LIMITS), Err(DocumentError::NotUtf8));
}

#[test]
fn what_cannot_be_read_says_what_to_do() {
    let of = |kind, file: &[u8]| read(kind, file, &LIMITS).unwrap_err();
    assert_eq!(of(DocumentKind::Text, b" \n"), DocumentError::NoText);
    assert_eq!(of(DocumentKind::Markdown, b"# Only a heading\n"), DocumentError::NoText);
    assert_eq!(of(DocumentKind::Html, b"<p></p>"), DocumentError::NoText);
    assert_eq!(of(DocumentKind::Pdf, &pdf("t", &["", ""])), DocumentError::NoText);
    assert!(matches!(of(DocumentKind::Pdf, b"hello"), DocumentError::Malformed { .. }));
    assert!(matches!(of(DocumentKind::Text, &vec![b'a'; (1 << 21) + 1]), DocumentError::FileTooLarge { .. }));
    assert!(matches!(of(DocumentKind::Text, &vec![b'a'; (1 << 20) + 1]), DocumentError::TextTooLarge { .. }));
    let many = "# h\n\nx\n\n".repeat(LIMITS.sections_max + 1);
    assert!(matches!(of(DocumentKind::Markdown, many.as_bytes()), DocumentError::TooManySections { .. }));
    assert!("docx".parse::<DocumentKind>().unwrap_err().to_string().contains("`pdf`"));
}

#[test]
fn kinds_are_known_by_media_type_and_name() {
    assert_eq!(DocumentKind::of_media_type("Text/HTML; charset=utf-8"), Some(DocumentKind::Html));
    assert_eq!(DocumentKind::of_media_type("image/png"), None);
    assert_eq!(DocumentKind::of_file_name("a.b.PDF"), Some(DocumentKind::Pdf));
    assert_eq!(DocumentKind::of_file_name("pdf"), None);
}

#[test]
fn a_chunk_keeps_to_its_budget_and_knows_where_it_stands() {
    let text = format!("# Handbook\n\n## Holidays\n\n{}\n\n## Pay\n\nMonthly.\n", "Some words here. ".repeat(200));
    let document = read_text(DocumentKind::Markdown, &text).unwrap();
    let limits = ChunkLimits { tokens: 50, tokens_max: 80, chunks_max: 100 };
    let chunks = chunk(&document, &limits).unwrap();
    assert!(chunks.len() > 10);
    assert!(chunks.iter().all(|chunk| chunk.text.len() <= 320));
    // Cut between sentences.
    assert!(chunks.iter().all(|chunk| chunk.text.ends_with('.')), "{chunks:?}");
    assert!(chunks.iter().enumerate().all(|(at, chunk)| chunk.position as usize == at));
    assert_eq!(chunks[0].path(document.title.as_deref()), "Handbook > Holidays");
    assert_eq!(chunks.last().unwrap().path(None), "Handbook > Pay");
    let page = Chunk { position: 0, headings: Vec::new(), page: Some(3), text: String::new() };
    assert_eq!(page.path(Some("Rules")), "Rules > page 3");
    let few = ChunkLimits { chunks_max: 3, ..limits };
    assert!(matches!(chunk(&document, &few), Err(DocumentError::TooManySections { sections_max: 3 })));
}

#[test]
fn files_made_to_do_harm_end_soon() {
    let started = Instant::now();
    let n = 20_000;
    let markdown = ["[", "*a_ ", "> ", "![", "`", "<", "[a](", "* ", "|a", "\\", "&", "~~", "[^a]: ", "# ", "- - "];
    for piece in markdown {
        let text = piece.repeat(n);
        if let Ok(document) = read_text(DocumentKind::Markdown, &text) {
            let _ = chunk(&document, &ChunkLimits::default());
        }
    }
    for piece in
        ["<div>", "<b>", "<a><b>", "<table>", "<p><b>", "<ul><li>", "<select>", "<svg><b>", "&amp", "<!--", "<font>"]
    {
        let _ = read_text(DocumentKind::Html, &piece.repeat(n / 10));
    }
    let deep = read_text(DocumentKind::Html, &format!("{}x", "<div>".repeat(10_000)));
    assert!(matches!(&deep, Err(DocumentError::Malformed { reason, .. }) if reason.contains("deep")), "{deep:?}");
    let wall =
        Document { sections: vec![Section { text: "a".repeat(500_000), ..Section::default() }], ..Document::default() };
    let chunks = chunk(&wall, &ChunkLimits::default()).unwrap();
    assert_eq!(chunks.iter().map(|chunk| chunk.text.len()).sum::<usize>(), 500_000);
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}

#[test]
fn a_pdf_whose_pages_are_their_own_parents_is_refused_or_read() {
    let cyclic = assemble(&[
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [2 0 R 3 0 R] /Count 99999999 /Parent 2 0 R >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /Contents [3 0 R] /Resources 3 0 R >>".to_owned(),
        "<< /Title 4 0 R >>".to_owned(),
    ]);
    assert!(read(DocumentKind::Pdf, &cyclic, &LIMITS).is_err());
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    #[test]
    fn damaged_pdfs_panic_nobody(cut in any::<prop::sample::Index>(), flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..20)) {
        let mut file = pdf("Title", &["One line.", "Another (line)."]);
        for (at, byte) in flips {
            let at = at.index(file.len());
            file[at] = byte;
        }
        file.truncate(cut.index(file.len()) + 1);
        let _ = read(DocumentKind::Pdf, &file, &LIMITS);
    }

    #[test]
    fn any_text_is_read_and_cut_without_loss(text in "(\\PC|\n|#|\\*|`|> | ){0,300}", tokens in 1_usize..40) {
        for kind in [DocumentKind::Text, DocumentKind::Markdown, DocumentKind::Html] {
            let Ok(document) = read_text(kind, &text) else { continue };
            let limits = ChunkLimits { tokens, tokens_max: tokens + 10, chunks_max: 10_000 };
            let chunks = chunk(&document, &limits).unwrap();
            prop_assert!(chunks.iter().all(|chunk| chunk.text.len() <= (tokens + 10) * 4));
            let letters = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            let before: String = document.sections.iter().map(|section| letters(&section.text)).collect();
            let after: String = chunks.iter().map(|chunk| letters(&chunk.text)).collect();
            prop_assert_eq!(before, after);
        }
    }
}
