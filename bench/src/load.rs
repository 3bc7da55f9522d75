//! The load: kept HTTP/1.1 connections that ask as fast as they are answered, or at a fixed rate.
//!
//! Every request is a thread of its own, so that a server with history has as many conversations to keep as there are requests.

mod connection;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::load::connection::Answer;
pub(crate) use crate::load::connection::Connection;
use crate::upstream::EVENTS;

/// What came of a load.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// Requests with a whole and correct answer.
    pub(crate) answered: u64,
    /// Requests without one.
    pub(crate) errors: u64,
    /// What the first of them was.
    pub(crate) first_error: Option<String>,
    /// Time to the first byte of the answer's body, sorted.
    pub(crate) first_bytes: Vec<Duration>,
    /// Time to the end of the answer, sorted.
    pub(crate) latencies: Vec<Duration>,
    /// From the first request to the last answer.
    pub(crate) elapsed: Duration,
}

impl Outcome {
    fn add(&mut self, result: Result<Answer, String>) {
        match result {
            Ok(answer) => {
                self.answered += 1;
                self.first_bytes.push(answer.first_byte);
                self.latencies.push(answer.whole);
            }
            Err(error) => {
                self.errors += 1;
                self.first_error.get_or_insert(error);
            }
        }
    }

    fn merge(&mut self, other: Self) {
        self.answered += other.answered;
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
        self.first_bytes.extend(other.first_bytes);
        self.latencies.extend(other.latencies);
    }
}

/// Whether answers come whole or as events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Whole,
    Streamed,
}

/// Each connection asks again as soon as it is answered, until the time is over.
pub(crate) async fn closed(address: SocketAddr, connections: u32, duration: Duration, form: Form) -> Outcome {
    let start = Instant::now();
    let mut workers = JoinSet::new();
    for _ in 0..connections {
        workers.spawn(async move {
            let (mut outcome, mut connection) = (Outcome::default(), Connection::new(address));
            while start.elapsed() < duration {
                let result = ask(&mut connection, form, Instant::now()).await;
                let failed = result.is_err();
                outcome.add(result);
                if failed {
                    // A server that refuses at once must not turn the load into a busy loop.
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
            outcome
        });
    }
    gather(workers, start).await
}

/// Requests leave at fixed times, whether or not earlier ones are answered, spread over the connections in turn.
///
/// A request that had to wait for its connection counts from when it should have left: otherwise a server that stalls
/// would be asked less while it does, and look better than it is.
pub(crate) async fn paced(address: SocketAddr, connections: u32, per_second: u32, duration: Duration) -> Outcome {
    let start = Instant::now();
    let interval = Duration::from_secs(1) / per_second.max(1);
    let mut workers = JoinSet::new();
    for worker in 0..connections {
        workers.spawn(async move {
            let (mut outcome, mut connection) = (Outcome::default(), Connection::new(address));
            let mut due = start + interval * worker;
            while due < start + duration {
                let early = Instant::now() < due;
                tokio::time::sleep_until(due.into()).await;
                // The timer wakes up to a millisecond late, which is its own doing and not the server's.
                let since = if early { Instant::now() } else { due };
                outcome.add(ask(&mut connection, Form::Whole, since).await);
                due += interval * connections;
            }
            outcome
        });
    }
    gather(workers, start).await
}

async fn gather(mut workers: JoinSet<Outcome>, start: Instant) -> Outcome {
    let mut total = Outcome::default();
    while let Some(joined) = workers.join_next().await {
        match joined {
            Ok(outcome) => total.merge(outcome),
            Err(error) => total.add(Err(format!("a connection of the load failed: {error}"))),
        }
    }
    total.elapsed = start.elapsed();
    total.first_bytes.sort_unstable();
    total.latencies.sort_unstable();
    total
}

async fn ask(connection: &mut Connection, form: Form, since: Instant) -> Result<Answer, String> {
    let answer =
        connection.post("/v1/chat/completions", thread(form), since).await.map_err(|error| format!("{error:#}"))?;
    check(form, &answer.body)?;
    Ok(answer)
}

fn check(form: Form, body: &[u8]) -> Result<(), String> {
    let count = |what: &str| memchr::memmem::find_iter(body, what.as_bytes()).count();
    let right = match form {
        Form::Whole => count("Warsaw is the capital") == 1,
        // The first and the last event of the stream have no word.
        Form::Streamed => count("\" word\"") == EVENTS as usize - 2 && count("data: [DONE]") == 1,
    };
    right.then_some(()).ok_or_else(|| format!("not the provider's answer: {}", String::from_utf8_lossy(body)))
}

/// About 1 KiB: instructions, a question, an answer, and another question.
fn thread(form: Form) -> Bytes {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let stream = if form == Form::Streamed { "\"stream\":true," } else { "" };
    Bytes::from(format!(
        r#"{{"model":"openai/gpt-4o-mini",{stream}"temperature":0.2,"max_tokens":512,"messages":[{{"role":"system","content":"You are a patient guide to the cities of Europe. Answer in the language of the question, in whole sentences, with no more than one hundred words, and say so when you are not sure. Never invent a street, a date or a number. If a question is not about a city, say what you can help with."}},{{"role":"user","content":"Traveller {number:016} asks: I have one free day in Krakow in the middle of November and I walk slowly. Which two places would you see first, and how far apart are they on foot? I have been to the castle already. A friend told me: see the main square with the Cloth Hall first, while the morning light is on St Mary's towers, and then walk along the Royal Road to Kazimierz, which takes about twenty-five minutes at a slow pace. Stop for a coffee halfway, the street is lined with small places. Is that right? And what is the capital of Poland?"}}]}}"#
    ))
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;
    use crate::{bare_proxy, upstream};

    /// An upstream and a bare proxy before it, both in this process.
    async fn servers() -> (JoinSet<()>, SocketAddr, SocketAddr) {
        let mut servers = JoinSet::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let direct = listener.local_addr().unwrap();
        servers.spawn(async move { upstream::serve(listener).await.unwrap() });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxied = listener.local_addr().unwrap();
        servers.spawn(async move { bare_proxy::serve(listener, direct).await.unwrap() });
        (servers, direct, proxied)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_closed_load_counts_whole_answers_direct_and_through_the_proxy() {
        let (_servers, direct, proxied) = servers().await;
        for address in [direct, proxied] {
            let outcome = closed(address, 4, Duration::from_millis(100), Form::Whole).await;
            assert_eq!((outcome.errors, &outcome.first_error), (0, &None));
            assert!(outcome.answered >= 4, "{}", outcome.answered);
            assert_eq!(outcome.latencies.len() as u64, outcome.answered);
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn streams_pass_the_proxy_event_by_event() {
        let (_servers, _, proxied) = servers().await;
        let outcome = closed(proxied, 2, Duration::from_millis(50), Form::Streamed).await;
        assert_eq!((outcome.errors, &outcome.first_error), (0, &None));
        // The events take 95 ms; from a proxy that gathers them, the first would come with the last.
        let between = outcome.latencies[0] - outcome.first_bytes[0];
        assert!(between > Duration::from_millis(40), "{between:?}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_paced_load_sends_its_rate_and_no_more() {
        let (_servers, direct, _) = servers().await;
        let outcome = paced(direct, 4, 100, Duration::from_millis(200)).await;
        assert_eq!((outcome.answered, outcome.errors), (20, 0));
    }

    #[tokio::test]
    async fn a_dead_server_is_counted_as_errors() {
        // Bound and not listening, so that no other program can be there.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let outcome = closed(socket.local_addr().unwrap(), 1, Duration::from_millis(30), Form::Whole).await;
        assert_eq!(outcome.answered, 0);
        assert!(outcome.errors > 0);
        assert!(outcome.first_error.is_some());
    }

    #[test]
    fn threads_are_about_a_kilobyte_of_json_and_never_the_same() {
        let (one, other) = (thread(Form::Whole), thread(Form::Streamed));
        assert!((900..1400).contains(&one.len()), "{}", one.len());
        let json: serde_json::Value = serde_json::from_slice(&other).unwrap();
        assert_eq!(json["stream"], true);
        assert_ne!(serde_json::from_slice::<serde_json::Value>(&one).unwrap()["messages"], json["messages"]);
    }

    #[test]
    fn a_wrong_answer_is_an_error() {
        assert!(check(Form::Whole, b"{}").is_err());
        assert!(check(Form::Streamed, b"data: [DONE]\n\n").is_err());
    }
}
