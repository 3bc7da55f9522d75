//! The keys of a provider: which of them the next call takes, and which are put aside for a while.
//!
//! They take turns. One that has made its requests is put aside for its model until the provider lets it go on; one that is
//! refused is put aside for all. Where all are aside, the one is taken that comes back first. Time is an argument.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;

use crate::failure::FailureKind;

/// A key that has made its requests comes back so soon, where the provider does not say when.
const LIMITED_FOR: Duration = Duration::from_secs(1);
/// A key that is refused is tried again so late: somebody may have mended it.
const REFUSED_FOR: Duration = Duration::from_secs(60);
/// Of so many models limits are remembered; clients choose names.
const MODELS_MAX: usize = 1_000;

/// Which key of its provider a call takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyChoice(usize);

/// The keys of a provider; a provider without any has one that is none.
#[derive(Debug)]
pub(crate) struct ProviderKeys {
    keys: Vec<Option<Key>>,
    shelf: Mutex<Shelf>,
}

#[derive(Debug)]
struct Key {
    secret: SecretString,
    header: HeaderValue,
}

/// Until when which keys are put aside.
#[derive(Debug, Default)]
struct Shelf {
    /// Whose turn it is.
    next: usize,
    refused: HashMap<usize, Instant>,
    limited: HashMap<String, HashMap<usize, Instant>>,
}

impl ProviderKeys {
    /// With these secrets, each written into a header.
    ///
    /// # Errors
    /// When one cannot stand in a header.
    pub(crate) fn new(
        secrets: &[SecretString],
        write: impl Fn(&str) -> String,
    ) -> Result<Self, http::header::InvalidHeaderValue> {
        let key = |secret: &SecretString| {
            let mut header = HeaderValue::try_from(write(secret.expose_secret()))?;
            header.set_sensitive(true);
            Ok(Some(Key { secret: secret.clone(), header }))
        };
        let mut keys = secrets.iter().map(key).collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            keys.push(None);
        }
        Ok(Self { keys, shelf: Mutex::default() })
    }

    /// The header of a key; `None` where the provider wants none.
    pub(crate) fn header(&self, KeyChoice(index): KeyChoice) -> Option<&HeaderValue> {
        self.keys.get(index)?.as_ref().map(|key| &key.header)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.keys.len()
    }

    /// The key for the next call of a model.
    pub(crate) fn choose(&self, model: &str, now: Instant) -> KeyChoice {
        if self.keys.len() == 1 {
            return KeyChoice(0);
        }
        let mut shelf = self.lock();
        let begin = shelf.next;
        let in_turn = (0..self.keys.len()).map(|step| begin.wrapping_add(step) % self.keys.len());
        // The first of those that come back first: with several that are free, the one whose turn it is.
        let chosen = in_turn.min_by_key(|index| shelf.back_at(*index, model).filter(|at| *at > now)).unwrap_or(0);
        shelf.next = chosen + 1;
        KeyChoice(chosen)
    }

    /// How many of them a model may be called with now.
    pub(crate) fn free(&self, model: &str, now: Instant) -> usize {
        let shelf = self.lock();
        (0..self.keys.len()).filter(|index| shelf.back_at(*index, model).is_none_or(|at| at <= now)).count()
    }

    /// How many of them are put aside, for any model.
    pub(crate) fn aside(&self, now: Instant) -> usize {
        let shelf = self.lock();
        let is_aside = |index: &usize| {
            let limited = shelf.limited.values().filter_map(|keys| keys.get(index));
            limited.chain(shelf.refused.get(index)).any(|at| *at > now)
        };
        (0..self.keys.len()).filter(is_aside).count()
    }

    /// Puts a key aside, if the failure of a call with it says so. `wait` is how long the provider asks to wait.
    pub(crate) fn set_aside(
        &self,
        KeyChoice(index): KeyChoice,
        model: &str,
        failure: FailureKind,
        wait: Option<Duration>,
        now: Instant,
    ) {
        match failure {
            FailureKind::Limited => {
                let mut shelf = self.lock();
                if shelf.limited.len() >= MODELS_MAX {
                    shelf.limited.retain(|_, keys| keys.values().any(|at| *at > now));
                }
                if shelf.limited.len() < MODELS_MAX || shelf.limited.contains_key(model) {
                    let until = now + wait.unwrap_or(LIMITED_FOR);
                    shelf.limited.entry(model.to_owned()).or_default().insert(index, until);
                }
            }
            FailureKind::KeyRefused => {
                self.lock().refused.insert(index, now + wait.unwrap_or(REFUSED_FOR).max(REFUSED_FOR));
            }
            _ => {}
        }
    }

    /// A call with the key was answered: whatever was said of it before does not hold any more.
    pub(crate) fn take_back(&self, KeyChoice(index): KeyChoice, model: &str) {
        let mut shelf = self.lock();
        shelf.refused.remove(&index);
        if let Some(keys) = shelf.limited.get_mut(model) {
            keys.remove(&index);
            if keys.is_empty() {
                shelf.limited.remove(model);
            }
        }
    }

    /// A text without any of the keys: some providers repeat the one that they refuse.
    pub(crate) fn without_keys(&self, text: String) -> String {
        let secrets = self.keys.iter().flatten().map(|key| key.secret.expose_secret());
        secrets.filter(|secret| !secret.is_empty()).fold(text, |text, secret| match text.contains(secret) {
            true => text.replace(secret, "(the provider's key)"),
            false => text,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    /// When a key comes back; `None` if it was never put aside.
    fn back_at(&self, index: usize, model: &str) -> Option<Instant> {
        let limited = self.limited.get(model).and_then(|keys| keys.get(&index));
        self.refused.get(&index).max(limited).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(count: usize) -> ProviderKeys {
        let secrets: Vec<SecretString> = (0..count).map(|n| format!("sk-canary-{n}").into()).collect();
        ProviderKeys::new(&secrets, str::to_owned).unwrap()
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn chosen(keys: &ProviderKeys, model: &str, now: Instant, times: usize) -> Vec<usize> {
        (0..times).map(|_| keys.choose(model, now).0).collect()
    }

    #[test]
    fn keys_take_turns() {
        let (keys, now) = (keys(3), Instant::now());
        assert_eq!(chosen(&keys, "m", now, 6), [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn a_limited_key_is_passed_over_for_its_model_until_it_comes_back() {
        let (keys, now) = (keys(3), Instant::now());
        keys.set_aside(KeyChoice(1), "m", FailureKind::Limited, Some(seconds(7)), now);
        assert_eq!(chosen(&keys, "m", now, 4), [0, 2, 0, 2]);
        assert_eq!((keys.free("m", now), keys.free("other", now), keys.aside(now)), (2, 3, 1));
        let later = now + seconds(7);
        assert_eq!((keys.free("m", later), keys.aside(later)), (3, 0));
        assert!(chosen(&keys, "m", later, 3).contains(&1));
    }

    #[test]
    fn a_refused_key_is_passed_over_for_every_model() {
        let (keys, now) = (keys(2), Instant::now());
        keys.set_aside(KeyChoice(0), "m", FailureKind::KeyRefused, Some(seconds(1)), now);
        assert_eq!(chosen(&keys, "other", now + seconds(2), 3), [1, 1, 1]);
        assert_eq!(keys.free("other", now + REFUSED_FOR), 2);
    }

    #[test]
    fn where_all_are_aside_the_first_to_come_back_is_taken() {
        let (keys, now) = (keys(3), Instant::now());
        for (index, wait) in [(0, 9), (1, 3), (2, 5)] {
            keys.set_aside(KeyChoice(index), "m", FailureKind::Limited, Some(seconds(wait)), now);
        }
        assert_eq!((keys.free("m", now), keys.choose("m", now)), (0, KeyChoice(1)));
    }

    #[test]
    fn an_answer_takes_a_key_back() {
        let (keys, now) = (keys(2), Instant::now());
        keys.set_aside(KeyChoice(0), "m", FailureKind::Limited, Some(seconds(60)), now);
        keys.set_aside(KeyChoice(0), "m", FailureKind::KeyRefused, None, now);
        keys.take_back(KeyChoice(0), "m");
        assert_eq!((keys.free("m", now), keys.aside(now)), (2, 0));
    }

    #[test]
    fn other_failures_put_no_key_aside() {
        let (keys, now) = (keys(2), Instant::now());
        for failure in [FailureKind::Server, FailureKind::Request, FailureKind::Cut] {
            keys.set_aside(KeyChoice(0), "m", failure, Some(seconds(60)), now);
        }
        assert_eq!(keys.free("m", now), 2);
    }

    #[test]
    fn names_that_clients_invent_fill_no_memory() {
        let (keys, now) = (keys(1), Instant::now());
        for n in 0..3 * MODELS_MAX {
            keys.set_aside(KeyChoice(0), &format!("m{n}"), FailureKind::Limited, Some(seconds(60)), now);
        }
        assert_eq!(keys.lock().limited.len(), MODELS_MAX);
        keys.set_aside(KeyChoice(0), "late", FailureKind::Limited, None, now + seconds(60));
        assert_eq!(keys.lock().limited.len(), 1);
    }

    #[test]
    fn no_text_holds_any_of_the_keys() {
        let text = keys(2).without_keys("you sent sk-canary-1, not sk-canary-0".to_owned());
        assert_eq!(text, "you sent (the provider's key), not (the provider's key)");
        assert!(!format!("{:?}", keys(2)).contains("canary"));
    }

    #[test]
    fn a_provider_without_keys_is_called_without_one() {
        let keys = keys(0);
        assert_eq!(keys.header(keys.choose("m", Instant::now())), None);
        assert_eq!(keys.count(), 1);
    }
}
