//! Documents are read in a process of their own, which may die of them.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use privet_engine::memory::document::apart::{ReadError, Reader};
use privet_engine::memory::document::{DocumentError, DocumentKind, DocumentLimits};
use serde_json::json;

use crate::stand::{Answer, PRIVET, Stand};

fn reader() -> Reader {
    Reader {
        program: PathBuf::from(PRIVET),
        limits: DocumentLimits::default(),
        time_max: Duration::from_secs(60),
        memory_bytes_max: 512 * 1024 * 1024,
    }
}

fn why(error: ReadError) -> DocumentError {
    match error {
        ReadError::Document(error) => error,
        ReadError::Process(error) => panic!("{error}"),
    }
}

/// A PDF of one page with this content, which is compressed so many times.
fn pdf(content: &[u8], filters: usize) -> Vec<u8> {
    let mut file = b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\n\
        2 0 obj\n<< /Type /Pages /Kids [3 0 R] /Count 1 >>\nendobj\n\
        3 0 obj\n<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>\n\
        endobj\n5 0 obj\n<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>\nendobj\n"
        .to_vec();
    let filters = "/FlateDecode ".repeat(filters);
    let stream = file.len();
    write!(file, "4 0 obj\n<< /Length {} /Filter [{filters}] >>\nstream\n", content.len()).unwrap();
    file.extend_from_slice(content);
    file.extend_from_slice(b"\nendstream\nendobj\n");
    let at = |object: &str| file.windows(object.len()).position(|window| window == object.as_bytes()).unwrap();
    let offsets = [at("1 0 obj"), at("2 0 obj"), at("3 0 obj"), stream, at("5 0 obj")];
    let xref = file.len();
    file.extend_from_slice(b"xref\n0 6\n0000000000 65535 f \n");
    for offset in offsets {
        writeln!(file, "{offset:010} 00000 n ").unwrap();
    }
    write!(file, "trailer\n<< /Size 6 /Root 1 0 R >>\nstartxref\n{xref}\n%%EOF\n").unwrap();
    file
}

fn compressed(content: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn documents_come_back_from_their_process() {
    let page = compressed(b"BT /F1 12 Tf 72 720 Td (My cat is called Mruczek.) Tj ET");
    let document = reader().read(DocumentKind::Pdf, &pdf(&page, 1)).await.unwrap();
    assert_eq!(document.sections[0].text, "My cat is called Mruczek.");
    let document = reader().read(DocumentKind::Markdown, "# Kot\n\nMruczek śpi.".as_bytes()).await.unwrap();
    assert_eq!((document.title.as_deref(), document.sections[0].text.as_str()), (Some("Kot"), "Mruczek śpi."));
    let damaged = reader().read(DocumentKind::Pdf, b"%PDF-1.4 and no more").await.unwrap_err();
    assert!(matches!(why(damaged), DocumentError::Malformed { .. }));
}

#[tokio::test]
async fn a_pdf_that_unpacks_to_gigabytes_costs_its_process_and_nothing_else() {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    let zeros = vec![b' '; 1024 * 1024];
    for _ in 0..1024 {
        encoder.write_all(&zeros).unwrap();
    }
    let bomb = pdf(&compressed(&encoder.finish().unwrap()), 2);
    assert!(bomb.len() < 1024 * 1024, "{}", bomb.len());
    let error = why(reader().read(DocumentKind::Pdf, &bomb).await.unwrap_err());
    // The library may notice that there is no memory and go on without the page, or die of it.
    assert!(matches!(&error, DocumentError::TooCostly(_) | DocumentError::NoText), "{error}");
    let small = pdf(&compressed(&compressed(b"BT /F1 12 Tf 72 720 Td (Twice.) Tj ET")), 2);
    assert_eq!(reader().read(DocumentKind::Pdf, &small).await.unwrap().sections[0].text, "Twice.");
}

#[tokio::test]
async fn a_document_that_takes_too_long_is_given_up() {
    let impatient = Reader { time_max: Duration::from_secs(1), ..reader() };
    // The work grows with the square of the depth.
    let deep = "<div>".repeat(400_000);
    let error = why(impatient.read(DocumentKind::Html, deep.as_bytes()).await.unwrap_err());
    assert_eq!(error, DocumentError::TooCostly("1 s".to_owned()));
}

#[tokio::test]
async fn a_program_that_answers_something_else_is_not_believed() {
    let other = Reader { program: PathBuf::from("/bin/echo"), ..reader() };
    assert!(matches!(why(other.read(DocumentKind::Text, b"x").await.unwrap_err()), DocumentError::Malformed { .. }));
    let missing = Reader { program: PathBuf::from("/nowhere/privet"), ..reader() };
    assert!(matches!(missing.read(DocumentKind::Text, b"x").await, Err(ReadError::Process(_))));
}

/// How many processes a server has that read documents.
#[cfg(target_os = "linux")]
fn readers_of(server: u32) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let is_reader = |process: &std::fs::DirEntry| {
        let read = |file: &str| std::fs::read_to_string(process.path().join(file)).unwrap_or_default();
        let parent = read("stat").rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok());
        parent == Some(server) && read("cmdline").contains("read-document")
    };
    processes.filter(is_reader).count()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn two_documents_are_read_at_once_and_the_others_wait_their_turn() {
    let stand = Stand::start().await;
    let (server, paragraph) = (stand.server.id().unwrap(), "<p>The cat is called Mruczek and sleeps all day.</p>\n");
    let body = json!({"type": "html", "content": paragraph.repeat(12_000)}).to_string();
    let add = || Answer::of(stand.post("/api/documents", body.clone()));
    let all = futures_util::future::join_all((0..8).map(|_| add()));
    let mut most = 0;
    let watch = async {
        loop {
            most = readers_of(server).max(most);
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    };
    let answers = tokio::select! {
        answers = all => answers,
        () = watch => unreachable!(),
    };
    assert_eq!(most, 2, "readers at once");
    for answer in &answers {
        assert_eq!(answer.status, 201, "{answer:?}");
        let (id, memories) = (answer.json()["id"].as_str().unwrap().to_owned(), answer.json()["memories"].clone());
        let document = stand.get(&format!("/api/documents/{id}")).await.json();
        assert_eq!(document["pieces"].as_u64(), Some(memories.as_array().unwrap().len() as u64), "whole: {document}");
    }
}
