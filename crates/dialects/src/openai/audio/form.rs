//! A form with files, written anew for the provider (<https://www.rfc-editor.org/rfc/rfc7578>): each part with its own bytes and
//! headers, behind a boundary of our own, so that nobody reads other parts in it than were read here.

use bytes::Bytes;

/// A part of a form.
#[derive(Clone, Debug)]
pub struct FormPart {
    /// Its name.
    pub name: String,
    /// The name of its file, if it is one.
    pub file_name: Option<String>,
    /// Its headers, but for `content-disposition`, which is written from its names.
    pub headers: Vec<(String, Bytes)>,
    /// What it holds.
    pub bytes: Bytes,
}

/// A body with its content type.
#[derive(Debug)]
pub struct WrittenForm {
    /// The body.
    pub body: Bytes,
    /// Its content type, with the boundary.
    pub content_type: String,
}

const MODEL: &str = "model";
/// Around a part: the boundary, line ends, the names of headers.
const BYTES_AROUND_PART: usize = 256;

/// Writes the parts in their order, the model as the provider names it.
pub(super) fn write(parts: &[FormPart], model: &str, boundary: &str) -> WrittenForm {
    let bytes: usize = parts.iter().map(|part| part.bytes.len() + part.name.len() + BYTES_AROUND_PART).sum();
    let mut body = Vec::with_capacity(bytes);
    for part in parts {
        body.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
        let mut disposition = format!("content-disposition: form-data; name=\"{}\"", quoted(&part.name));
        if let Some(file_name) = &part.file_name {
            disposition.push_str(&format!("; filename=\"{}\"", quoted(file_name)));
        }
        body.extend_from_slice(disposition.as_bytes());
        for (name, value) in &part.headers {
            body.extend_from_slice(format!("\r\n{name}: ").as_bytes());
            body.extend_from_slice(value);
        }
        body.extend_from_slice(b"\r\n\r\n");
        body.extend_from_slice(if part.name == MODEL { model.as_bytes() } else { &part.bytes });
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    WrittenForm { body: body.into(), content_type: format!("multipart/form-data; boundary={boundary}") }
}

/// A name between quotes, as browsers write it
/// (<https://html.spec.whatwg.org/multipage/form-control-infrastructure.html#multipart-form-data>); readers differ in what a backslash
/// means.
fn quoted(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A").replace('\\', "%5C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_keep_their_order_bytes_and_headers_and_the_model_is_the_providers() {
        let part = |name: &str, bytes: &'static [u8]| FormPart {
            name: name.to_owned(),
            file_name: None,
            headers: Vec::new(),
            bytes: Bytes::from_static(bytes),
        };
        let file = FormPart {
            file_name: Some("a\"b\\.wav".to_owned()),
            headers: vec![("content-type".to_owned(), Bytes::from_static(b"audio/wav"))],
            ..part("file", b"\x00\r\n--x\xff")
        };
        let parts =
            [part("include[]", b"logprobs"), part("model", b"openai/whisper-1"), file, part("include[]", b"more")];
        let written = write(&parts, "whisper-1", "b-1");
        let boundary = "b-1";
        assert_eq!(written.content_type, "multipart/form-data; boundary=b-1");
        let expected = [
            format!("--{boundary}\r\ncontent-disposition: form-data; name=\"include[]\"\r\n\r\nlogprobs\r\n")
                .into_bytes(),
            format!("--{boundary}\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n").into_bytes(),
            format!("--{boundary}\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a%22b%5C.wav\"\r\n")
                .into_bytes(),
            b"content-type: audio/wav\r\n\r\n\x00\r\n--x\xff\r\n".to_vec(),
            format!("--{boundary}\r\ncontent-disposition: form-data; name=\"include[]\"\r\n\r\nmore\r\n").into_bytes(),
            format!("--{boundary}--\r\n").into_bytes(),
        ];
        assert_eq!(written.body, expected.concat());
    }
}
