//! Cases of one's own messages: some words of a memory, and the memory as what is expected. They say whether what was said is found by a
//! part of its words, which favours the search by words; paraphrases must be written by somebody.

use std::collections::HashMap;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use privet_domain::id::ProjectId;
use privet_domain::memory::{Memory, MemoryId};
use privet_store::{MemoryList, Store};

use super::browse::open;
use super::eval::CaseLine;
use super::exchange::new_file;
use crate::cli::{Common, Exit, FAILURE};

const PAGE: u32 = 500;
/// So many of the newest are chosen from.
const READ_MAX: usize = 50_000;
/// Shorter ones say too little to be asked for.
const WORDS_MIN: usize = 6;
/// So many words a question has at most: those that are left of a text when the others are blanked.
const WORDS_MAX: usize = 8;

pub(super) async fn run(
    common: &Common,
    file: &Path,
    project: &str,
    user: &str,
    count: usize,
    seed: u64,
) -> Result<(), Exit> {
    let (store, project) = open(common, project).await?;
    let list = MemoryList { user: Some(user.to_owned()), limit: PAGE, ..MemoryList::default() };
    let memories = newest(&store, project, list).await?;
    let cases = cases(&memories, user, count, seed);
    if cases.is_empty() {
        let message = format!("the user `{user}` has no memory of {WORDS_MIN} words or more; name another with --user");
        return Err(Exit::new(FAILURE, message));
    }
    let broken = |error: std::io::Error| Exit::new(FAILURE, format!("cannot write {}: {error}", file.display()));
    let mut out = BufWriter::new(new_file(file)?);
    for case in &cases {
        let json = serde_json::to_string(case).map_err(|error| Exit::new(FAILURE, error.to_string()))?;
        writeln!(out, "{json}").map_err(broken)?;
    }
    out.flush().map_err(broken)?;
    eprintln!("{} cases written to {}.", cases.len(), file.display());
    Ok(())
}

async fn newest(store: &Store, project: ProjectId, mut list: MemoryList) -> Result<Vec<Memory>, Exit> {
    let mut memories = Vec::new();
    loop {
        let page = store.memories(project, &list).await?;
        memories.extend(page.memories);
        list.after = page.next;
        if list.after.is_none() || memories.len() >= READ_MAX {
            return Ok(memories);
        }
    }
}

/// The same for the same memories and seed.
fn cases(memories: &[Memory], user: &str, count: usize, seed: u64) -> Vec<CaseLine> {
    let mut same: HashMap<&str, Vec<MemoryId>> = HashMap::new();
    for memory in memories {
        same.entry(memory.text.as_str()).or_default().push(memory.id);
    }
    let mut chosen: Vec<(u64, &Memory)> = memories
        .iter()
        .filter(|memory| words(&memory.text).len() >= WORDS_MIN)
        // Of equal texts one is asked for.
        .filter(|memory| same.get(memory.text.as_str()).is_some_and(|ids| ids.first() == Some(&memory.id)))
        .map(|memory| (mixed(seed, memory.id, 0), memory))
        .collect();
    chosen.sort_unstable_by_key(|(order, memory)| (*order, memory.id));
    let case = |memory: &Memory| CaseLine {
        query: blanked(memory, seed),
        expected: same.get(memory.text.as_str()).cloned().unwrap_or_default(),
        language: None,
        group: None,
        user: Some(user.to_owned()),
    };
    chosen.into_iter().take(count).map(|(_, memory)| case(memory)).collect()
}

/// Half of the words at most, in their order.
fn blanked(memory: &Memory, seed: u64) -> String {
    let words = words(&memory.text);
    let mut order: Vec<(u64, usize)> = (0..words.len()).map(|at| (mixed(seed, memory.id, at + 1), at)).collect();
    order.sort_unstable();
    let mut kept: Vec<usize> = order.into_iter().take((words.len() / 2).min(WORDS_MAX)).map(|(_, at)| at).collect();
    kept.sort_unstable();
    kept.into_iter().filter_map(|at| words.get(at).copied()).collect::<Vec<_>>().join(" ")
}

fn words(text: &str) -> Vec<&str> {
    text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()).collect()
}

/// A number that is in no order, the same each time.
fn mixed(seed: u64, id: MemoryId, at: usize) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes()).update(id.as_uuid().as_bytes()).update(&(at as u64).to_le_bytes());
    let mut first = [0; 8];
    hasher.finalize_xof().fill(&mut first);
    u64::from_le_bytes(first)
}

#[cfg(test)]
mod tests {
    use privet_domain::memory::{MemoryKind, MemoryScope};
    use privet_domain::time::Timestamp;

    use super::*;

    fn memory(text: &str) -> Memory {
        Memory {
            id: MemoryId::new(),
            scope: MemoryScope::new(ProjectId::new(), "ada"),
            conversation: None,
            message: None,
            document: None,
            kind: MemoryKind::Note,
            role: None,
            name: None,
            seq: 1,
            text: text.to_owned(),
            title: None,
            source: None,
            metadata: None,
            created_at: Timestamp::from_micros(1),
            updated_at: Timestamp::from_micros(1),
            expires_at: None,
            version: 1,
        }
    }

    #[test]
    fn cases_are_parts_of_texts_and_the_same_for_the_same_seed() {
        let mut memories: Vec<Memory> =
            (0..20).map(|number| memory(&format!("Żółw number{number} walks slowly to the old red house"))).collect();
        memories.push(memory(&memories[3].text));
        memories.push(memory("too short"));
        let told = |seed| -> Vec<String> {
            cases(&memories, "ada", 100, seed).iter().map(|case| serde_json::to_string(case).unwrap()).collect()
        };
        assert_eq!(told(1), told(1));
        assert_ne!(told(1), told(2));
        let cases = cases(&memories, "ada", 100, 1);
        assert_eq!(cases.len(), 20);
        assert!(cases.iter().all(|case| case.query.split(' ').count() == 4), "half of nine words");
        assert!(
            cases.iter().any(|case| case.expected == [memories[3].id, memories[20].id]),
            "equal texts are both right"
        );
    }
}
