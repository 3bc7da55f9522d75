//! Believable sample data, the same for the same seed.

use privet_domain::id::{ConversationId, MessageId, ProjectId};
use privet_domain::time::Timestamp;
use privet_store::{MessageStatus, NewMessage, Store, StoreError, TurnFinish, TurnStart};
use serde::Serialize;
use uuid::Builder;

/// Sample conversations end before this instant, so that the same seed gives the same data on any day: 2026-01-05T09:00:00Z.
const EPOCH_MICROS: i64 = 1_767_603_600_000_000;
const DAY_MICROS: i64 = 86_400_000_000;
const SECOND_MICROS: i64 = 1_000_000;

const USERS: [&str; 5] = ["ada", "grace", "jan", "maria", "tomasz"];

/// Sample turns: what a user asks, and the answer. A conversation is some of one theme, in order.
const THEMES: [&[(&str, &str)]; 6] = [
    &[
        (
            "Can you name three dishes for a rainy evening?",
            "Tomato soup with rice, baked pierogi, and a mushroom risotto.",
        ),
        ("I have no rice at home.", "Then take the pierogi: flour, potatoes, curd cheese and an onion are enough."),
        ("How long do they bake?", "About 25 minutes at 200 °C, until the edges are golden."),
    ],
    &[
        (
            "Our build takes 14 minutes. Where would you look first?",
            "At what is compiled twice: compare the feature sets of the test and release profiles.",
        ),
        (
            "It was the cache key. It held the date.",
            "Use the hash of the lock file and the compiler's version instead; a date makes each day a cold build.",
        ),
        ("Down to 4 minutes. Thanks!", "Good. Write the reason next to the key, so that nobody adds the date back."),
    ],
    &[
        ("Przypomnij mi, jak nazywa się mój kot.", "Nie powiedziano mi tego jeszcze. Jak się nazywa?"),
        ("Filemon.", "Zapamiętam: Twój kot nazywa się Filemon."),
        ("Co lubi jeść?", "Tego jeszcze nie wiem. Opowiesz mi?"),
    ],
    &[
        (
            "Write one sentence that announces our move to a new office.",
            "From 1 March you find us at 12 Garden Street, one stop further and with twice the daylight.",
        ),
        ("Less cheerful, please.", "From 1 March our office is at 12 Garden Street."),
    ],
    &[
        (
            "What is the difference between a hold and a settlement?",
            "A hold reserves the most that a call can cost; the settlement replaces it with what it did cost.",
        ),
        (
            "And if the process dies in between?",
            "The hold stays charged until it is reconciled: too careful for a moment, but never too generous.",
        ),
    ],
    &[
        (
            "Zaplanuj mi weekend w Krakowie.",
            "Sobota: Wawel i spacer Plantami; niedziela: Kazimierz i kawa przy placu Nowym.",
        ),
        ("Będzie padać.", "W takim razie w sobotę podziemia Rynku, w niedzielę MOCAK."),
        ("A co z obiadem?", "W deszcz najlepszy jest żurek w chlebie: bary mleczne podają go od południa."),
    ],
];

/// What was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SeedReport {
    /// Conversations.
    pub conversations: usize,
    /// Messages.
    pub messages: usize,
}

/// Fills a project with `count` conversations.
///
/// # Errors
/// When the store fails, for one because the same seed was used before.
pub async fn fill(store: &Store, project: ProjectId, seed: u64, count: usize) -> Result<SeedReport, StoreError> {
    let mut random = Random::new(seed);
    let mut messages = 0;
    for index in 0..count {
        let days_ago = i64::try_from(count - index).unwrap_or(0);
        let begins = EPOCH_MICROS - days_ago * DAY_MICROS + random.below(DAY_MICROS.unsigned_abs());
        messages += converse(store, project, &mut random, Timestamp::from_micros(begins)).await?;
    }
    Ok(SeedReport { conversations: count, messages })
}

async fn converse(
    store: &Store,
    project: ProjectId,
    random: &mut Random,
    begins: Timestamp,
) -> Result<usize, StoreError> {
    let conversation_id = ConversationId::from(random.uuid_at(begins));
    let user = *random.pick(&USERS);
    let theme = *random.pick(&THEMES);
    let turns = 1 + usize::try_from(random.below(theme.len() as u64)).unwrap_or(0);
    let mut now = begins;
    for (index, (question, answer)) in theme.iter().take(turns).enumerate() {
        let asked = message(random, now, "user", question);
        store
            .start_turn(TurnStart {
                project_id: project,
                conversation_id,
                new_for_user: (index == 0).then(|| user.to_owned()),
                messages: vec![asked],
                memories: Vec::new(),
                at: now,
            })
            .await?;
        now = Timestamp::from_micros(now.as_micros() + (2 + random.below(7)) * SECOND_MICROS);
        let answered = message(random, now, "assistant", answer);
        store
            .finish_turn(TurnFinish {
                project_id: project,
                conversation_id,
                messages: vec![answered],
                memories: Vec::new(),
                response: None,
                at: now,
            })
            .await?;
        now = Timestamp::from_micros(now.as_micros() + (20 + random.below(300)) * SECOND_MICROS);
    }
    Ok(2 * turns)
}

fn message(random: &mut Random, at: Timestamp, role: &'static str, content: &str) -> NewMessage {
    NewMessage {
        id: MessageId::from(random.uuid_at(at)),
        seq: at.as_micros(),
        role,
        name: None,
        content: content.to_owned(),
        payload: None,
        status: MessageStatus::Complete,
    }
}

/// A stream of random bytes that a number decides: BLAKE3 in its extendable form.
struct Random(blake3::OutputReader);

impl Random {
    fn new(seed: u64) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("privet seed v1");
        hasher.update(&seed.to_le_bytes());
        Self(hasher.finalize_xof())
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill(&mut bytes);
        bytes
    }

    /// A number below the bound, which is positive.
    fn below(&mut self, bound: u64) -> i64 {
        i64::try_from(u64::from_le_bytes(self.bytes()) % bound.max(1)).unwrap_or(0)
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        let index = usize::try_from(self.below(items.len() as u64)).unwrap_or(0);
        #[expect(clippy::indexing_slicing, reason = "the index is below the length, and no list here is empty")]
        &items[index]
    }

    fn uuid_at(&mut self, at: Timestamp) -> uuid::Uuid {
        let millis = u64::try_from(at.as_micros() / 1000).unwrap_or(0);
        Builder::from_unix_timestamp_millis(millis, &self.bytes()).into_uuid()
    }
}
