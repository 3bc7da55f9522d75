//! When which bytes are sent: delays, pings, cuts, bad lines, errors in the middle.
//! The events themselves come from the dialect files.

use std::collections::VecDeque;
use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::behaviour::{Behaviour, Malformed, StaleHeaders};
use super::event::{Event, comment};
use super::request::Dialect;
use super::{anthropic, failure};

const HUGE_LINE_BYTES: usize = 10 * 1024 * 1024;

/// One thing a body does next.
#[derive(Debug)]
pub(super) enum Step {
    Wait(Duration),
    Send {
        bytes: Bytes,
        /// Output tokens sent once this is out; none leaves the bill as it is.
        produced: Option<u64>,
    },
    /// Lets the connection write out what it has.
    Flush,
    /// From here on the call counts as failed, not as completed.
    Fail,
    Hang,
    Cut,
}

/// A body's steps, and its length where it is known beforehand.
#[derive(Debug)]
pub(super) struct Schedule {
    pub(super) steps: VecDeque<Step>,
    pub(super) length: Option<u64>,
}

/// A body that is sent as a whole.
pub(super) fn plain(body: Vec<u8>, behaviour: &Behaviour) -> Schedule {
    let body = match behaviour.malformed {
        Some(malformed) => spoil(body, malformed),
        None => body,
    };
    let body = match behaviour.stale_headers {
        Some(StaleHeaders::Gzip) => gzip(&body),
        Some(StaleHeaders::FalseGzip) | None => body,
    };
    let length = Some(body.len() as u64);
    let mut body = Bytes::from(body);
    let last = match (behaviour.cut_after_chunks, behaviour.hang_after_chunks) {
        (Some(_), _) => Some(Step::Cut),
        (None, Some(_)) => Some(Step::Hang),
        (None, None) => None,
    };
    if last.is_some() {
        body.truncate(body.len() / 2);
    }
    let sent = Step::Send { bytes: body, produced: None };
    let steps = match last {
        Some(last) => VecDeque::from([sent, Step::Flush, last]),
        None => VecDeque::from([sent]),
    };
    Schedule { steps, length }
}

/// A stream of events. `output_tokens` are spread over the events that carry content.
pub(super) fn stream(dialect: Dialect, events: &[Event], behaviour: &Behaviour, output_tokens: u64) -> Schedule {
    let content_chunks = events.iter().filter(|event| event.content).count() as u64;
    let mut line = Line::new(behaviour);
    let mut sent = 0;
    let mut stopped = false;
    for event in events {
        stopped = line.stop(dialect, sent);
        if stopped {
            break;
        }
        if event.content {
            if sent == 0 {
                line.pings(dialect);
            }
            line.wait(behaviour.chunk_delay_ms);
            sent += 1;
        }
        let produced = output_tokens * u64::from(sent) / content_chunks.max(1);
        line.send(&event.encode(behaviour.framing), Some(produced));
        if event.content && sent == 1 {
            line.bad_line();
        }
    }
    if !stopped && !line.stop(dialect, sent) {
        line.finish();
    }
    Schedule { steps: line.steps, length: None }
}

/// The steps under construction.
struct Line<'a> {
    behaviour: &'a Behaviour,
    steps: VecDeque<Step>,
    gzip: Option<GzEncoder<Vec<u8>>>,
    /// Bytes that wait for the next piece, when the stream is written in pieces.
    carry: Vec<u8>,
}

impl<'a> Line<'a> {
    fn new(behaviour: &'a Behaviour) -> Self {
        let zipped = behaviour.stale_headers == Some(StaleHeaders::Gzip);
        let gzip = zipped.then(|| GzEncoder::new(Vec::new(), Compression::fast()));
        Self { behaviour, steps: VecDeque::new(), gzip, carry: Vec::new() }
    }

    fn wait(&mut self, delay_ms: u64) {
        if delay_ms > 0 {
            self.steps.push_back(Step::Wait(Duration::from_millis(delay_ms)));
        }
    }

    fn send(&mut self, bytes: &[u8], produced: Option<u64>) {
        let bytes = match &mut self.gzip {
            Some(encoder) => flushed(encoder, bytes),
            None => bytes.to_vec(),
        };
        let Some(piece_bytes) = self.behaviour.framing.split_bytes.map(|bytes| bytes.max(1)) else {
            self.steps.push_back(Step::Send { bytes: Bytes::from(bytes), produced });
            return;
        };
        self.carry.extend_from_slice(&bytes);
        while self.carry.len() >= piece_bytes {
            let rest = self.carry.split_off(piece_bytes);
            let piece = std::mem::replace(&mut self.carry, rest);
            self.steps.push_back(Step::Send { bytes: Bytes::from(piece), produced });
            self.steps.push_back(Step::Flush);
        }
    }

    fn pings(&mut self, dialect: Dialect) {
        for _ in 0..self.behaviour.pings {
            self.wait(self.behaviour.ping_interval_ms);
            let framing = self.behaviour.framing;
            let ping = match dialect {
                Dialect::Anthropic => anthropic::ping().encode(framing),
                Dialect::OpenAi | Dialect::Gemini | Dialect::Responses => comment("ping", framing),
            };
            self.send(&ping, None);
        }
    }

    /// Ends the stream early where that is scripted for this number of content chunks.
    fn stop(&mut self, dialect: Dialect, sent: u32) -> bool {
        let behaviour = self.behaviour;
        if let Some(error) = behaviour.error_inside_200.as_ref().filter(|error| error.after_chunks == sent) {
            self.steps.push_back(Step::Fail);
            for event in failure::inside_events(dialect, error) {
                self.send(&event.encode(behaviour.framing), None);
            }
            self.finish();
            return true;
        }
        let last = match (behaviour.cut_after_chunks, behaviour.hang_after_chunks) {
            (Some(chunks), _) if chunks == sent => Step::Cut,
            (_, Some(chunks)) if chunks == sent => Step::Hang,
            _ => return false,
        };
        self.rest();
        self.steps.extend([Step::Flush, last]);
        true
    }

    fn bad_line(&mut self) {
        let bytes = match self.behaviour.malformed {
            None => return,
            Some(Malformed::BadJson) => b"data: {\"choices\": [{\"delta\": {\"content\": \"\n\n".to_vec(),
            Some(Malformed::BadUtf8) => b"data: {\"choices\": \"\xff\xfe\xc3\x28\"}\n\n".to_vec(),
            Some(Malformed::GarbageLine) => b"<html>\0 502 Bad Gateway\n\n".to_vec(),
            Some(Malformed::HugeLine) => {
                let mut line = b"data: ".to_vec();
                line.resize(HUGE_LINE_BYTES, b'a');
                line.extend_from_slice(b"\n\n");
                line
            }
        };
        self.send(&bytes, None);
    }

    fn finish(&mut self) {
        let trailer = self.gzip.take().and_then(|encoder| encoder.finish().ok());
        self.carry.extend(trailer.unwrap_or_default());
        self.rest();
    }

    fn rest(&mut self) {
        if !self.carry.is_empty() {
            let bytes = Bytes::from(std::mem::take(&mut self.carry));
            self.steps.push_back(Step::Send { bytes, produced: None });
        }
    }
}

fn spoil(body: Vec<u8>, malformed: Malformed) -> Vec<u8> {
    let half = body.len() / 2;
    let (front, back) = body.split_at(half);
    match malformed {
        Malformed::BadJson => front.to_vec(),
        Malformed::BadUtf8 => [front, b"\xff\xfe\xc3\x28", back].concat(),
        Malformed::GarbageLine => b"<html><body>502 Bad Gateway</body></html>".to_vec(),
        Malformed::HugeLine => vec![b'a'; HUGE_LINE_BYTES],
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing to a vector cannot fail.
    encoder.write_all(bytes).and_then(|()| encoder.finish()).unwrap_or_default()
}

/// Compresses and takes everything out, so that each event can be decoded as soon as it arrives.
fn flushed(encoder: &mut GzEncoder<Vec<u8>>, bytes: &[u8]) -> Vec<u8> {
    match encoder.write_all(bytes).and_then(|()| encoder.flush()) {
        Ok(()) => std::mem::take(encoder.get_mut()),
        Err(_) => Vec::new(),
    }
}
