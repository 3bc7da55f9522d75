//! Traces: how fast spans are taken in and in how much memory, how fast they are read among many, and how much a further turn of a
//! long thread takes on the disk.

mod spans;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::load::Connection;
use crate::measure::percentile;
use crate::proc_stat;
use crate::subject::{Programs, Running};
use spans::SPANS_PER_TRACE;

/// SDKs send up to 512 spans at once.
const TRACES_PER_EXPORT: u64 = 50;
const SENDERS: u64 = 4;
const READS: usize = 300;
const LONG_TRACE_OBSERVATIONS: u64 = 200;
const THREADS: usize = 20;
const TURNS: usize = 100;

/// What was measured of traces.
pub(crate) struct TraceFigures {
    /// Observations stored.
    pub(crate) observations: u64,
    /// Taken in each second.
    pub(crate) per_second: f64,
    /// Processor time for each.
    pub(crate) cpu_us_per_observation: f64,
    /// The largest memory seen meanwhile.
    pub(crate) rss_bytes: u64,
    /// On the disk for each, indexes and all.
    pub(crate) stored_bytes_per_observation: f64,
    /// Listing the newest 50 traces, then opening one of 200 observations: the 50th and the 99th of a hundred.
    pub(crate) list: (Duration, Duration),
    pub(crate) open: (Duration, Duration),
    /// A further turn on the disk, besides its new text.
    pub(crate) turn_bytes: f64,
    /// The new text of a turn.
    pub(crate) turn_text_bytes: f64,
}

/// Measures all of it.
pub(crate) fn measure(
    runtime: &Runtime,
    programs: &Programs<'_>,
    upstream: SocketAddr,
    observations: u64,
) -> Result<TraceFigures> {
    println!("traces: a further turn of long threads");
    let (turn_bytes, turn_text_bytes) = further_turn(runtime, programs, upstream)?;
    println!("traces: taking in {observations} observations");
    let folder = tempfile::tempdir_in(programs.scratch).context("no temporary folder")?;
    let server = Running::traces(programs, folder.path(), upstream)?;
    let pid = server.pid().context("the server has no process")?;
    let exports = observations.div_ceil(TRACES_PER_EXPORT * SPANS_PER_TRACE).max(1);
    let (cpu_before, begun) = (proc_stat::cpu_time(pid), Instant::now());
    let rss_bytes = runtime.block_on(take_in(server.address, pid, exports))?;
    let elapsed = begun.elapsed();
    let cpu = proc_stat::cpu_time(pid).saturating_sub(cpu_before);
    let stored = exports * TRACES_PER_EXPORT * SPANS_PER_TRACE;
    println!("traces: reading among {stored} observations");
    let (list, open) = runtime.block_on(read(server.address))?;
    drop(server);
    Ok(TraceFigures {
        observations: stored,
        per_second: stored as f64 / elapsed.as_secs_f64(),
        cpu_us_per_observation: cpu.as_secs_f64() * 1e6 / stored as f64,
        rss_bytes,
        stored_bytes_per_observation: size(folder.path())? as f64 / stored as f64,
        list,
        open,
        turn_bytes,
        turn_text_bytes,
    })
}

/// Sends exports as fast as they are acknowledged. Gives the largest memory seen.
async fn take_in(address: SocketAddr, pid: u32, exports: u64) -> Result<u64> {
    let (next, now) = (Arc::new(AtomicU64::new(0)), now_ns());
    let mut senders = JoinSet::new();
    for _ in 0..SENDERS {
        let next = next.clone();
        senders.spawn(async move {
            let mut connection = Connection::new(address);
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= exports {
                    return anyhow::Ok(());
                }
                let body = spans::export(number * TRACES_PER_EXPORT, TRACES_PER_EXPORT, now);
                connection.post_spans(body).await?;
            }
        });
    }
    let mut rss = 0;
    let mut tick = tokio::time::interval(Duration::from_millis(250));
    loop {
        tokio::select! {
            _ = tick.tick() => rss = rss.max(proc_stat::resident_bytes(pid)),
            joined = senders.join_next() => match joined {
                Some(joined) => joined.context("a sender failed")??,
                None => return Ok(rss),
            },
        }
    }
}

/// The 50th and the 99th of a hundred times: of listing, and of opening a long trace.
async fn read(address: SocketAddr) -> Result<((Duration, Duration), (Duration, Duration))> {
    let mut connection = Connection::new(address);
    let id = [7; 16];
    connection.post_spans(spans::long_trace(id, LONG_TRACE_OBSERVATIONS, now_ns())).await?;
    let opened = format!("/api/public/traces/{}", "07".repeat(id.len()));
    let found = connection.get(&opened).await?;
    let observations = memchr::memmem::find_iter(&found, br#""parentObservationId""#).count() as u64;
    ensure!(
        observations == LONG_TRACE_OBSERVATIONS,
        "{observations} of {LONG_TRACE_OBSERVATIONS} observations were read"
    );
    let list = times(&mut connection, "/api/public/traces?limit=50").await?;
    let open = times(&mut connection, &opened).await?;
    Ok((list, open))
}

async fn times(connection: &mut Connection, path: &str) -> Result<(Duration, Duration)> {
    let mut times = Vec::with_capacity(READS);
    for _ in 0..READS {
        let begun = Instant::now();
        connection.get(path).await?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    Ok((percentile(&times, 50), percentile(&times, 99)))
}

/// What a further turn takes on the disk besides its text, and how long that is: from the hundredth turn of threads to the
/// two-hundredth. The server stops in between, so that everything is in the database's file.
fn further_turn(runtime: &Runtime, programs: &Programs<'_>, upstream: SocketAddr) -> Result<(f64, f64)> {
    let folder = tempfile::tempdir_in(programs.scratch).context("no temporary folder")?;
    let mut threads = vec![Thread::default(); THREADS];
    let mut sizes = Vec::new();
    let mut texts = Vec::new();
    for _ in 0..2 {
        let server = Running::traces(programs, folder.path(), upstream)?;
        runtime.block_on(talk(server.address, &mut threads))?;
        drop(server);
        sizes.push(size(folder.path())? as f64);
        texts.push(threads.iter().map(|thread| thread.text_bytes).sum::<usize>() as f64);
    }
    let [before, after] = sizes.as_slice() else { anyhow::bail!("two sizes") };
    let [text_before, text_after] = texts.as_slice() else { anyhow::bail!("two lengths") };
    let turns = (THREADS * TURNS) as f64;
    let text = (text_after - text_before) / turns;
    Ok(((after - before) / turns - text, text))
}

/// A thread as an agent sends it: whole, each time.
#[derive(Clone, Default)]
struct Thread {
    messages: Vec<String>,
    text_bytes: usize,
}

async fn talk(address: SocketAddr, threads: &mut [Thread]) -> Result<()> {
    let mut connection = Connection::new(address);
    for turn in 0..TURNS {
        for (number, thread) in threads.iter_mut().enumerate() {
            let place = thread.messages.len();
            let question = format!(
                "Thread {number}, message {place}, turn {turn}: what is the next step, given all that was found so far, and which tool \
                 would you take for it? Answer with one sentence."
            );
            thread.messages.push(format!(r#"{{"role":"user","content":"{question}"}}"#));
            let body = format!(
                r#"{{"model":"openai/gpt-4o-mini","temperature":0.2,"messages":[{}]}}"#,
                thread.messages.join(",")
            );
            let answer = connection.post("/v1/chat/completions", Bytes::from(body), Instant::now()).await?;
            let answer: serde_json::Value = serde_json::from_slice(&answer.body).context("the answer is not JSON")?;
            let message = answer.pointer("/choices/0/message/content").context("the answer has no message")?;
            thread.text_bytes += question.len() + message.as_str().map_or(0, str::len);
            thread.messages.push(format!(r#"{{"role":"assistant","content":{message}}}"#));
        }
    }
    Ok(())
}

/// The bytes of the traces' database.
fn size(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder.join("data")).context("the data folder cannot be read")? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("traces.db") {
            bytes += entry.metadata()?.len();
        }
    }
    Ok(bytes)
}

fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}
