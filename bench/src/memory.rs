//! Memory: how long a search among many takes, how much of what is nearest it finds, how much memory it needs, and how fast memories
//! are written. Each data set is filled in one process and searched in another, so that neither is charged for the other's memory.

mod corpus;
mod fill;
mod search;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use privet_domain::memory::Representation;
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use crate::load::Connection;
use crate::measure::percentile;
use crate::proc_stat;
use crate::subject::{Programs, Running};
pub(crate) use corpus::Random;
use corpus::{DIMENSIONS, Lie, Vectors};
pub(crate) use fill::{MODEL, PROVIDER};

/// Searches by HTTP.
const ASKED: u64 = 300;

/// A data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Data {
    /// Notes of one user, vectors in clusters
    OneUser,
    /// Notes of a thousand users, vectors in clusters
    ManyUsers,
    /// Notes of one user, a hundred vectors each nearly the same
    Duplicates,
    /// Messages of one user: twice as many vectors, since each message has a window
    Talk,
}

impl Data {
    const ALL: [Self; 4] = [Self::OneUser, Self::ManyUsers, Self::Duplicates, Self::Talk];

    /// Its name in the report.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::OneUser => "one user",
            Self::ManyUsers => "1,000 users",
            Self::Duplicates => "one user, near-duplicates",
            Self::Talk => "one user, messages with windows",
        }
    }

    const fn users(self) -> u64 {
        match self {
            Self::ManyUsers => 1_000,
            Self::OneUser | Self::Duplicates | Self::Talk => 1,
        }
    }

    const fn lie(self) -> Lie {
        match self {
            Self::Duplicates => Lie::Duplicates,
            Self::OneUser | Self::ManyUsers | Self::Talk => Lie::Clusters,
        }
    }

    const fn is_talk(self) -> bool {
        matches!(self, Self::Talk)
    }

    const fn representations(self) -> &'static [Representation] {
        match self {
            Self::Talk => &[Representation::Text, Representation::Window],
            Self::OneUser | Self::ManyUsers | Self::Duplicates => &[Representation::Text],
        }
    }
}

/// The 50th and the 99th of a hundred times.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// How a memory was filled.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Filled {
    pub(crate) vectors: u64,
    /// Memories written with their words.
    pub(crate) written_per_second: f64,
    /// Memories whose windows and vectors were written after that, without the time to make the vectors.
    pub(crate) indexed_per_second: f64,
}

/// What searching it gave.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Searched {
    /// By meaning, in the texts.
    pub(crate) dense: Spread,
    /// By words, in the texts.
    pub(crate) sparse: Spread,
    /// All legs as configured, joined, and the memories read.
    pub(crate) together: Spread,
    /// Until the codes were read.
    pub(crate) loaded_ms: f64,
    /// recall@10 of the scan by codes against an exact one.
    pub(crate) recall: f64,
    /// Of this process, which holds the vectors of nothing else.
    pub(crate) rss_bytes: u64,
}

/// What a server on it gave.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Served {
    /// A search by HTTP, the call of the embedder included.
    pub(crate) search: Spread,
    /// After the searches.
    pub(crate) rss_bytes: u64,
}

/// The figures of one data set.
pub(crate) struct MemoryFigures {
    pub(crate) data: Data,
    pub(crate) memories: u64,
    pub(crate) filled: Filled,
    pub(crate) searched: Searched,
    pub(crate) served: Served,
}

/// What a process of its own does.
#[derive(clap::Args)]
pub(crate) struct PartArgs {
    /// The data folder
    folder: PathBuf,
    #[arg(long, value_enum)]
    data: Data,
    #[arg(long)]
    memories: u64,
}

/// Measures all data sets.
pub(crate) fn measure(
    runtime: &Runtime,
    programs: &Programs<'_>,
    upstream: std::net::SocketAddr,
    memories: u64,
) -> Result<Vec<MemoryFigures>> {
    let mut figures = Vec::new();
    for data in Data::ALL {
        let folder = tempfile::tempdir_in(programs.scratch).context("no temporary folder")?;
        println!("memory: writing {memories} memories of {}", data.name());
        let filled = part(programs, "memory-fill", folder.path(), data, memories)?;
        println!("memory: searching them");
        let searched = part(programs, "memory-search", folder.path(), data, memories)?;
        let served = serve(runtime, programs, folder.path(), data, upstream)?;
        figures.push(MemoryFigures { data, memories, filled, searched, served });
    }
    Ok(figures)
}

fn part<T: serde::de::DeserializeOwned>(
    programs: &Programs<'_>,
    command: &str,
    folder: &Path,
    data: Data,
    memories: u64,
) -> Result<T> {
    let name = clap::ValueEnum::to_possible_value(&data).context("a data set has a name")?;
    let output = Command::new(programs.bench)
        .arg(command)
        .arg(folder.join("data"))
        .args(["--data", name.get_name(), "--memories", &memories.to_string()])
        .output()
        .with_context(|| format!("{command} could not be started"))?;
    ensure!(output.status.success(), "{command} failed: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).with_context(|| format!("{command} gave no figures"))
}

/// Fills, in a process of its own.
pub(crate) async fn fill_part(args: &PartArgs) -> Result<String> {
    Ok(serde_json::to_string(&fill::fill(&args.folder, args.data, args.memories).await?)?)
}

/// Searches, in a process of its own.
pub(crate) async fn search_part(args: &PartArgs) -> Result<String> {
    Ok(serde_json::to_string(&search::search(&args.folder, args.data, args.memories).await?)?)
}

/// The answer of a provider of embeddings: the same for the same texts.
pub(crate) fn embeddings_answer(request: &[u8]) -> Result<String> {
    let request: serde_json::Value = serde_json::from_slice(request)?;
    let input = request.get("input").context("there is no input")?;
    let texts = input.as_array().map_or(1, Vec::len);
    let seed = input.to_string().bytes().fold(0_u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let vectors = Vectors::new(Lie::Clusters, 1);
    let mut data = Vec::with_capacity(texts);
    for index in 0..texts {
        let vector = vectors.of_question(seed.wrapping_add(index as u64))?;
        data.push(serde_json::json!({"object": "embedding", "index": index, "embedding": vector.values()}));
    }
    let usage = serde_json::json!({"prompt_tokens": 8 * texts, "total_tokens": 8 * texts});
    Ok(serde_json::json!({"object": "list", "model": MODEL, "data": data, "usage": usage}).to_string())
}

/// Searches through a server.
fn serve(
    runtime: &Runtime,
    programs: &Programs<'_>,
    folder: &Path,
    data: Data,
    upstream: std::net::SocketAddr,
) -> Result<Served> {
    let server = Running::memory(programs, folder, upstream, DIMENSIONS)?;
    let pid = server.pid().context("the server has no process")?;
    let search = runtime.block_on(async {
        let mut connection = Connection::new(server.address);
        let mut times = Vec::new();
        for number in 0..ASKED {
            let user = fill::user_name(number % data.users());
            let asked = serde_json::json!({"query": corpus::question(number), "user": user, "limit": 10}).to_string();
            let begun = Instant::now();
            let answer = connection.post("/api/memories/search", Bytes::from(asked), begun).await?;
            let found: serde_json::Value = serde_json::from_slice(&answer.body)?;
            ensure!(found.pointer("/degraded").is_none_or(serde_json::Value::is_null), "{found}");
            // The first waits until the codes are read.
            if number > 0 {
                times.push(answer.whole);
            }
        }
        times.sort_unstable();
        let millis = |percent| percentile(&times, percent).as_secs_f64() * 1e3;
        Ok(Spread { p50_ms: millis(50), p99_ms: millis(99) })
    })?;
    Ok(Served { search, rss_bytes: proc_stat::resident_bytes(pid) })
}
