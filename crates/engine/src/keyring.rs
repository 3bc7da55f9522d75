//! Who may call: the keys in memory, in step with the store.
//!
//! Checking a key touches no database. A change made in this process holds at once; one made by another process (the command
//! line, another replica) is seen within [`POLL_INTERVAL`]. When keys were last used is noted in memory and written now and then.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use privet_domain::api_key::{KeyHash, PresentedKey, PublicId, is_public_key};
use privet_domain::id::{ApiKeyId, ProjectId};
use privet_domain::key_limits::KeyLimits;
use privet_domain::scope::Scopes;
use privet_domain::time::Timestamp;
use privet_store::{KeySecret, ShownProject, Store, StoreError};
use tokio::sync::watch;

use crate::api_key;

/// How often the store is asked whether keys changed.
pub const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// How often the last uses are written.
const USES_INTERVAL: Duration = Duration::from_secs(2);
/// A use so soon after the one that was noted is not noted: processors need not hand the number to each other.
const USE_MICROS: i64 = 100_000;

/// Who calls: what a valid key stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The key.
    pub key_id: ApiKeyId,
    /// The first key of its line of rotations: budgets and limits go on under this id.
    pub family_id: ApiKeyId,
    /// What its owner calls it.
    pub key_name: Arc<str>,
    /// The project whose data it sees.
    pub project_id: ProjectId,
    /// That project's name.
    pub project: Arc<str>,
    /// What the Langfuse surface shows of that project: ids of projects in its answers are this one.
    pub project_shown: Arc<ShownProject>,
    /// The user it belongs to.
    pub user_id: Arc<str>,
    /// What it may do.
    pub scopes: Scopes,
    /// What bounds it.
    pub limits: Arc<KeyLimits>,
}

struct Entry {
    caller: Caller,
    public_key: Arc<str>,
    hash: KeyHash,
    expires_at: Option<Timestamp>,
    last_use: Arc<LastUse>,
}

impl Entry {
    /// The caller, if what was presented is right and the key has not ended.
    fn admit(&self, is_right: bool, now: Timestamp) -> Option<Caller> {
        let valid = is_right && self.expires_at.is_none_or(|end| now < end);
        valid.then(|| {
            self.last_use.note(now);
            self.caller.clone()
        })
    }
}

/// When a key was last used, in microseconds: as noted, and as written. 0 is never.
#[derive(Default)]
struct LastUse {
    noted: AtomicI64,
    written: AtomicI64,
}

impl LastUse {
    fn note(&self, now: Timestamp) {
        let now = now.as_micros();
        if now.saturating_sub(self.noted.load(Ordering::Relaxed)) >= USE_MICROS {
            self.noted.fetch_max(now, Ordering::Relaxed);
        }
    }

    fn unwritten(&self) -> Option<i64> {
        let noted = self.noted.load(Ordering::Relaxed);
        (noted > self.written.load(Ordering::Relaxed)).then_some(noted)
    }
}

/// The keys that were not revoked.
#[derive(Default)]
struct Keys {
    entries: HashMap<PublicId, Entry>,
    by_public_key: HashMap<Arc<str>, PublicId>,
    ends: HashMap<ApiKeyId, Option<Timestamp>>,
}

/// The keys that are valid.
pub struct Keyring {
    store: Arc<Store>,
    keys: ArcSwap<Keys>,
    /// Of the valid keys, and of revoked ones until their last use is written. Not locked by requests.
    uses: Mutex<HashMap<ApiKeyId, Arc<LastUse>>>,
    revision: watch::Sender<i64>,
    /// One reads at a time, so that what was read first is not put over what was read later.
    reloading: tokio::sync::Mutex<()>,
}

impl Keyring {
    /// Loads the keys.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn load(store: Arc<Store>) -> Result<Self, StoreError> {
        let keyring = Self {
            store,
            keys: ArcSwap::default(),
            uses: Mutex::default(),
            revision: watch::Sender::new(-1),
            reloading: tokio::sync::Mutex::default(),
        };
        keyring.reload().await?;
        Ok(keyring)
    }

    /// Who presents this token; `None` if nobody may.
    #[must_use]
    pub fn authenticate(&self, token: &str, now: Timestamp) -> Option<Caller> {
        let presented = PresentedKey::read(token)?;
        let keys = self.keys.load();
        let entry = keys.entries.get(&presented.public_id)?;
        entry.admit(entry.hash.matches(&presented.hash), now)
    }

    /// Who presents this pair of a public key and a whole key; `None` if nobody may, or they are not of one pair.
    #[must_use]
    pub fn authenticate_pair(&self, public_key: &str, secret: &str, now: Timestamp) -> Option<Caller> {
        let presented = PresentedKey::read(secret)?;
        let keys = self.keys.load();
        let entry = keys.entries.get(&presented.public_id)?;
        // Both are looked at, whatever the first says.
        let is_pair = entry.hash.matches(&presented.hash) & is_public_key(&entry.public_key, public_key);
        entry.admit(is_pair, now)
    }

    /// Whose public key this is, while the key is valid. It is no secret: what it opens is for the caller to bound.
    #[must_use]
    pub fn find_public(&self, public_key: &str, now: Timestamp) -> Option<Caller> {
        let keys = self.keys.load();
        let entry = keys.entries.get(keys.by_public_key.get(public_key)?)?;
        entry.admit(true, now)
    }

    /// Whether a key is valid still: a call that it began may go on.
    #[must_use]
    pub fn is_valid(&self, id: ApiKeyId, now: Timestamp) -> bool {
        self.keys.load().ends.get(&id).is_some_and(|end| end.is_none_or(|end| now < end))
    }

    /// Those who may call, and those whose key has expired.
    #[must_use]
    pub fn callers(&self) -> Vec<Caller> {
        self.keys.load().entries.values().map(|entry| entry.caller.clone()).collect()
    }

    /// Tells when keys changed; ask [`Keyring::is_valid`] then.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<i64> {
        self.revision.subscribe()
    }

    /// Reads the keys again if they changed since.
    ///
    /// # Errors
    /// When the database fails; the keys in memory stay.
    pub async fn reload(&self) -> Result<(), StoreError> {
        let _alone = self.reloading.lock().await;
        // The revision is read first: a change in between is read twice rather than never.
        let revision = self.store.keys_revision().await?;
        if *self.revision.borrow() == revision {
            return Ok(());
        }
        let secrets = self.store.keys().await?;
        self.keys.store(Arc::new(self.keys_of(secrets)));
        self.revision.send_replace(revision);
        Ok(())
    }

    fn keys_of(&self, secrets: Vec<KeySecret>) -> Keys {
        let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        let mut keys = Keys::default();
        for KeySecret { key, hash } in secrets {
            if key.revoked_at.is_some() {
                continue;
            }
            let (scopes, limits) = match api_key::rights(&key) {
                Ok(rights) => rights,
                Err(error) => {
                    // A key without its limits would be one without limits.
                    tracing::error!(%error, "an API key is refused; revoke it and make another");
                    continue;
                }
            };
            let caller = Caller {
                key_id: key.id,
                family_id: key.family_id,
                key_name: Arc::from(key.name),
                project_id: key.project_id,
                project: Arc::from(key.project),
                project_shown: Arc::new(key.project_shown),
                user_id: Arc::from(key.user_id),
                scopes,
                limits: Arc::new(limits),
            };
            let last_use = uses.entry(key.id).or_default().clone();
            keys.ends.insert(key.id, key.expires_at);
            let (public_id, public_key) = (PublicId::from(key.public_id), Arc::<str>::from(key.public_key));
            // A public key that somebody chose takes nobody else's: the one that follows from its key wins.
            let follows = *public_key == *public_id.public_key();
            if follows || !keys.by_public_key.contains_key(&public_key) {
                keys.by_public_key.insert(public_key.clone(), public_id.clone());
            }
            let entry = Entry { caller, public_key, hash, expires_at: key.expires_at, last_use };
            keys.entries.insert(public_id, entry);
        }
        uses.retain(|id, last_use| keys.ends.contains_key(id) || last_use.unwritten().is_some());
        keys
    }

    /// Writes when the keys were last used, where that is not written yet.
    ///
    /// # Errors
    /// When the database fails; then it is written the next time.
    pub async fn write_uses(&self) -> Result<(), StoreError> {
        let unwritten: Vec<(ApiKeyId, i64, Arc<LastUse>)> = {
            let uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
            uses.iter().filter_map(|(id, last)| Some((*id, last.unwritten()?, last.clone()))).collect()
        };
        if unwritten.is_empty() {
            return Ok(());
        }
        let rows: Vec<_> = unwritten.iter().map(|(id, at, _)| (*id, Timestamp::from_micros(*at))).collect();
        self.store.touch_keys(&rows).await?;
        for (_, at, last_use) in unwritten {
            last_use.written.fetch_max(at, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Follows changes by other processes and writes the last uses, for ever.
    pub async fn follow(&self) {
        let (mut reading_fails, mut writing_fails) = (false, false);
        let mut written_at = Instant::now();
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            let read = self.reload().await;
            tell_once(&mut reading_fails, read, "the API keys are not read; the known ones stay valid");
            if written_at.elapsed() >= USES_INTERVAL {
                written_at = Instant::now();
                let written = self.write_uses().await;
                tell_once(&mut writing_fails, written, "the last use of API keys is not written; it will be later");
            }
        }
    }
}

/// Logs the first failure of several.
pub(crate) fn tell_once(failing: &mut bool, outcome: Result<(), StoreError>, what: &str) {
    match outcome {
        Ok(()) => *failing = false,
        Err(error) if !*failing => {
            *failing = true;
            tracing::error!(%error, "{what}");
        }
        Err(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use privet_domain::api_key::NewApiKey;
    use privet_store::{Durability, Location};
    use secrecy::ExposeSecret as _;

    use crate::api_key::{CreatedKey, KeyChange, KeyRequest};
    use crate::key_settings::KeySettings;

    struct Bed {
        store: Arc<Store>,
        keyring: Keyring,
        _folder: tempfile::TempDir,
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000 + second * 1_000_000)
    }

    async fn bed() -> Bed {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::Folder(folder.path().to_owned());
        let store = Arc::new(Store::open(&location, Durability::Process).await.unwrap());
        Bed { keyring: Keyring::load(store.clone()).await.unwrap(), store, _folder: folder }
    }

    impl Bed {
        async fn make(&self, request: &KeyRequest) -> CreatedKey {
            let created = api_key::create(&self.store, request, at(0)).await.unwrap();
            self.keyring.reload().await.unwrap();
            created
        }

        fn caller(&self, key: &CreatedKey, second: i64) -> Option<Caller> {
            self.keyring.authenticate(key.token.expose_secret(), at(second))
        }

        async fn last_use(&self, key: &CreatedKey) -> Option<Timestamp> {
            api_key::find(&self.store, &key.key.public_id).await.unwrap().last_used_at
        }
    }

    #[tokio::test]
    async fn a_caller_is_all_that_its_key_stands_for() {
        let bed = bed().await;
        let request = KeyRequest {
            user_id: "ada".to_owned(),
            project: "home".to_owned(),
            scopes: "read".parse().unwrap(),
            limits: KeyLimits { concurrency: Some(2), ..KeyLimits::default() },
            expires_at: Some(at(10)),
            ..KeyRequest::named("laptop")
        };
        let key = bed.make(&request).await;
        let caller = bed.caller(&key, 9).unwrap();
        assert_eq!((caller.key_id, caller.family_id), (key.key.id, key.key.id));
        assert_eq!((&*caller.key_name, &*caller.project, &*caller.user_id), ("laptop", "home", "ada"));
        assert_eq!((caller.scopes, &*caller.limits), (request.scopes, &request.limits));
        assert_eq!(bed.caller(&key, 10), None, "it has expired");
        assert!(bed.keyring.is_valid(key.key.id, at(9)) && !bed.keyring.is_valid(key.key.id, at(10)));
        let another = NewApiKey::generate().unwrap();
        assert_eq!(bed.keyring.authenticate(another.token.expose_secret(), at(1)), None);
    }

    #[tokio::test]
    async fn a_pair_is_both_halves_of_one_valid_key_and_a_public_key_finds_its_own() {
        let bed = bed().await;
        let request = KeyRequest { expires_at: Some(at(10)), ..KeyRequest::named("laptop") };
        let (one, other) = (bed.make(&request).await, bed.make(&KeyRequest::named("other")).await);
        let pair = |public: &CreatedKey, secret: &CreatedKey, second| {
            let secret = secret.token.expose_secret();
            bed.keyring.authenticate_pair(&public.key.public_key, secret, at(second)).map(|caller| caller.key_id)
        };
        assert_eq!(pair(&one, &one, 9), Some(one.key.id));
        assert_eq!((pair(&one, &other, 9), pair(&other, &one, 9), pair(&one, &one, 10)), (None, None, None));
        let found =
            |public_key: &str, second| bed.keyring.find_public(public_key, at(second)).map(|caller| caller.key_id);
        assert_eq!((found(&one.key.public_key, 9), found(&one.key.public_key, 10)), (Some(one.key.id), None));
        assert_eq!(found(&one.key.public_id, 9), None);

        // Whoever chooses the public key of another takes nothing from it.
        let secret = secrecy::SecretString::from("a secret that somebody chose");
        let request = KeyRequest::named("chosen");
        let chosen = api_key::import_pair(&bed.store, &request, &other.key.public_key, &secret, at(0)).await.unwrap();
        bed.keyring.reload().await.unwrap();
        let theirs = bed.keyring.authenticate_pair(&other.key.public_key, secret.expose_secret(), at(1)).unwrap();
        assert_eq!(theirs.key_id, chosen.id);
        assert_eq!(
            (pair(&other, &other, 1), found(&other.key.public_key, 1)),
            (Some(other.key.id), Some(other.key.id))
        );
    }

    #[tokio::test]
    async fn a_change_is_told_to_those_who_wait_and_holds_after_the_reload() {
        let bed = bed().await;
        let key = bed.make(&KeyRequest::named("laptop")).await;
        let mut changes = bed.keyring.changes();
        bed.keyring.reload().await.unwrap();
        assert!(!changes.has_changed().unwrap(), "nothing changed");
        let settings = KeySettings { scopes: Some(vec!["chat".to_owned()]), ..KeySettings::default() };
        let change = KeyChange { settings, ..KeyChange::default() };
        api_key::update(&bed.store, &key.key.public_id, &change).await.unwrap();
        bed.keyring.reload().await.unwrap();
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        assert_eq!(bed.caller(&key, 1).unwrap().scopes.to_string(), "chat");
        api_key::revoke(&bed.store, &key.key.public_id, at(2)).await.unwrap();
        bed.keyring.reload().await.unwrap();
        assert!(changes.has_changed().unwrap() && !bed.keyring.is_valid(key.key.id, at(3)));
        assert_eq!(bed.caller(&key, 3), None);
    }

    #[tokio::test]
    async fn the_last_use_is_written_later_and_survives_reloads_and_the_revocation() {
        let bed = bed().await;
        let (used, unused) = (bed.make(&KeyRequest::named("used")).await, bed.make(&KeyRequest::named("unused")).await);
        assert!(bed.caller(&used, 5).is_some());
        bed.make(&KeyRequest::named("another")).await;
        assert_eq!(bed.last_use(&used).await, None);
        bed.keyring.write_uses().await.unwrap();
        assert_eq!((bed.last_use(&used).await, bed.last_use(&unused).await), (Some(at(5)), None));
        assert!(bed.caller(&used, 7).is_some() && bed.caller(&used, 6).is_some());
        api_key::revoke(&bed.store, &used.key.public_id, at(8)).await.unwrap();
        bed.keyring.reload().await.unwrap();
        bed.keyring.write_uses().await.unwrap();
        assert_eq!(bed.last_use(&used).await, Some(at(7)), "the latest use, written after the end");
    }

    #[tokio::test]
    async fn a_key_whose_limits_cannot_be_read_is_refused_and_the_others_are_not() {
        let bed = bed().await;
        let (sound, damaged) = (bed.make(&KeyRequest::named("sound")).await, bed.make(&KeyRequest::named("x")).await);
        for limits in [r#"{"budgts":[]}"#, "", r#"{"budgets":["1/day","2/day"]}"#] {
            let read = api_key::find(&bed.store, &damaged.key.public_id).await.unwrap().limits;
            let update =
                privet_store::KeyUpdate { limits: Some((&read, limits)), ..privet_store::KeyUpdate::default() };
            bed.store.update_key(damaged.key.id, &update).await.unwrap();
            bed.keyring.reload().await.unwrap();
            assert_eq!(bed.caller(&damaged, 1), None, "{limits}");
            assert!(bed.caller(&sound, 1).is_some());
        }
    }
}
