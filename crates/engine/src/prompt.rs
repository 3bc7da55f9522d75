//! Prompts: fetched from memory, with everything that stands in them; made, labelled and deleted.
//!
//! What is fetched is kept until any prompt changes. A change made in this process holds at once; one made by another is seen
//! within [`POLL_INTERVAL`].

mod cache;
mod change;
mod fault;
mod list;
mod resolve;
mod starter;

use std::collections::HashSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use privet_domain::id::ProjectId;
use privet_domain::prompt::{CompileError, Compiled, PromptBody, Selector, Unfilled, Values, compile};
use privet_domain::trace::PromptLink;
use privet_store::{PromptHead, PromptUse, Starter, Store, StoreError, StoredPrompt};
use serde_json::Value;

use crate::keyring::{POLL_INTERVAL, tell_once};
use cache::{Cache, Key};

pub use change::{Editor, NewPrompt};
pub use fault::{PromptError, ReferenceFault};
pub use list::{Condition, ListFilter, PromptPage, PromptSummary, WrongCondition};
pub use starter::{ANSWER, DESCRIBE};

/// A version of a prompt.
#[derive(Debug)]
pub struct Prompt {
    /// Its name, number, labels and whatever else is known of it.
    pub head: PromptHead,
    /// What it says: with the prompts that stand in it, unless it was fetched raw.
    pub body: PromptBody,
    /// What goes along with it.
    pub config: Value,
    /// Which prompts stand in it, directly or inside others, as pairs of parent and child. Empty if it was fetched raw.
    pub parts: Vec<(PromptLink, PromptLink)>,
}

impl Prompt {
    /// Which version of which prompt it is.
    #[must_use]
    pub fn link(&self) -> PromptLink {
        PromptLink { name: self.head.name.clone(), version: self.head.version }
    }

    /// Fills its holes.
    ///
    /// # Errors
    /// When there is nothing for a hole and that is not allowed, or it becomes too large.
    pub fn compile(&self, values: Values<'_>, unfilled: Unfilled) -> Result<Compiled, PromptError> {
        compile(&self.body, values, unfilled).map_err(|error| match error {
            CompileError::Missing(missing) => PromptError::Unfilled { prompt: self.link(), missing },
            reason => PromptError::Misfilled { prompt: self.link(), reason },
        })
    }
}

/// Whether the prompts that stand in a prompt are put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Form {
    /// They are.
    #[default]
    Resolved,
    /// The references stay as they are written.
    Raw,
}

/// The prompts of all projects.
pub struct Prompts {
    store: Arc<Store>,
    cache: Mutex<Cache>,
    revision: AtomicI64,
    /// The projects that got their prompts to begin with.
    begun: Mutex<HashSet<(ProjectId, Starter)>>,
}

impl Prompts {
    /// With nothing in memory yet.
    #[must_use]
    pub fn new(store: Arc<Store>) -> Self {
        Self { store, cache: Mutex::default(), revision: AtomicI64::new(-1), begun: Mutex::default() }
    }

    /// A version of a prompt, with everything that stands in it.
    ///
    /// # Errors
    /// [`PromptError::NotFound`] when there is no such prompt, version or label; when something that stands in it is missing.
    pub async fn fetch(&self, project: ProjectId, name: &str, selector: &Selector) -> Result<Arc<Prompt>, PromptError> {
        self.fetch_as(project, name, selector, Form::Resolved).await
    }

    /// The same, in either form.
    ///
    /// # Errors
    /// As [`Prompts::fetch`].
    pub async fn fetch_as(
        &self,
        project: ProjectId,
        name: &str,
        selector: &Selector,
        form: Form,
    ) -> Result<Arc<Prompt>, PromptError> {
        let found = self.find(project, name, selector, form).await?;
        found.ok_or_else(|| PromptError::NotFound { name: name.to_owned(), selector: selector.clone() })
    }

    /// The same; `None` if there is no such prompt, version or label.
    ///
    /// # Errors
    /// When something that stands in it is missing, or the database fails.
    pub async fn find(
        &self,
        project: ProjectId,
        name: &str,
        selector: &Selector,
        form: Form,
    ) -> Result<Option<Arc<Prompt>>, PromptError> {
        let key = Key { project, name: name.to_owned(), selector: selector.clone(), form };
        let generation = match cache::locked(&self.cache).get(&key) {
            Ok(found) => return Ok(found),
            Err(generation) => generation,
        };
        let found = match self.store.prompt_version(project, name, selector).await? {
            None => None,
            Some(stored) => {
                let prompt = read(stored)?;
                let prompt = match form {
                    Form::Raw => prompt,
                    Form::Resolved => resolve::resolved(&self.store, project, prompt).await?,
                };
                Some(Arc::new(prompt))
            }
        };
        cache::locked(&self.cache).put(key, found.clone(), generation);
        Ok(found)
    }

    /// All versions of a prompt, the highest first, without their texts.
    ///
    /// # Errors
    /// [`PromptError::NoPrompt`] when there is none.
    pub async fn versions(&self, project: ProjectId, name: &str) -> Result<Vec<PromptHead>, PromptError> {
        let heads = self.store.prompt_heads(project, Some(name)).await?;
        if heads.is_empty() { Err(PromptError::NoPrompt(name.to_owned())) } else { Ok(heads) }
    }

    /// The versions of other prompts in which a prompt stands.
    ///
    /// # Errors
    /// [`PromptError::NoPrompt`] when there is none.
    pub async fn uses(&self, project: ProjectId, name: &str) -> Result<Vec<PromptUse>, PromptError> {
        self.versions(project, name).await?;
        Ok(self.store.prompt_uses(project, name).await?)
    }

    /// Forgets what is in memory if a prompt changed since, in any process.
    ///
    /// # Errors
    /// When the database fails; what is in memory stays.
    pub async fn reload(&self) -> Result<(), StoreError> {
        let revision = self.store.prompts_revision().await?;
        if self.revision.swap(revision, Ordering::SeqCst) != revision {
            self.forget();
        }
        Ok(())
    }

    /// Follows changes by other processes, for ever.
    pub async fn follow(&self) {
        let mut fails = false;
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            let read = self.reload().await;
            tell_once(&mut fails, read, "the prompts are not followed; those in memory stay");
        }
    }

    fn forget(&self) {
        cache::locked(&self.cache).clear();
    }
}

/// A version as it is kept.
fn read(StoredPrompt { head, body, config }: StoredPrompt) -> Result<Prompt, StoreError> {
    let damaged = |what: &str, error: serde_json::Error| {
        StoreError::Damaged(format!("the {what} of the prompt {} version {}: {error}", head.name, head.version))
    };
    let body = serde_json::from_str(&body).map_err(|error| damaged("text", error))?;
    let config = serde_json::from_str(&config).map_err(|error| damaged("configuration", error))?;
    Ok(Prompt { head, body, config, parts: Vec::new() })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use privet_domain::time::Timestamp;
    use privet_store::{Durability, Location};
    use serde_json::{Map, json};

    use super::*;

    struct Bed {
        prompts: Prompts,
        project: ProjectId,
        _folder: tempfile::TempDir,
    }

    const fn at(second: i64) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000 + second * 1_000_000)
    }

    async fn bed() -> Bed {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::Folder(folder.path().to_owned());
        let store = Arc::new(Store::open(&location, Durability::Process).await.unwrap());
        let project = store.ensure_project("home", at(0)).await.unwrap().id;
        Bed { prompts: Prompts::new(store), project, _folder: folder }
    }

    fn new(name: &str, body: Value) -> NewPrompt {
        NewPrompt {
            labels: vec!["production".to_owned()],
            ..NewPrompt::new(name, serde_json::from_value(body).unwrap())
        }
    }

    impl Bed {
        fn editor(&self) -> Editor {
            Editor { project_id: self.project, author: "laptop (ada)".to_owned(), is_admin: false }
        }

        async fn make(&self, name: &str, body: Value) -> Result<Arc<Prompt>, PromptError> {
            self.prompts.create(&self.editor(), new(name, body), at(1)).await
        }

        async fn text(&self, name: &str) -> Result<String, PromptError> {
            let prompt = self.prompts.fetch(self.project, name, &Selector::production()).await?;
            Ok(prompt.body.texts().collect())
        }
    }

    #[tokio::test]
    async fn a_fetch_is_answered_from_memory_until_something_changes() {
        let bed = bed().await;
        bed.make("x", json!("one")).await.unwrap();
        let first = bed.prompts.fetch(bed.project, "x", &Selector::production()).await.unwrap();
        let again = bed.prompts.fetch(bed.project, "x", &Selector::production()).await.unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        bed.make("x", json!("two")).await.unwrap();
        assert_eq!(bed.text("x").await.unwrap(), "two", "a change here holds at once");
        bed.prompts.label(&bed.editor(), "x", 1, &["production".to_owned()], at(2)).await.unwrap();
        assert_eq!(bed.text("x").await.unwrap(), "one");
        bed.prompts.delete(&bed.editor(), "x", None, at(3)).await.unwrap();
        assert!(matches!(bed.text("x").await, Err(PromptError::NotFound { .. })));
    }

    #[tokio::test]
    async fn a_change_by_another_server_is_seen_within_a_second() {
        let bed = bed().await;
        bed.make("x", json!("one")).await.unwrap();
        let other = Prompts::new(bed.prompts.store.clone());
        let text = async || other.fetch(bed.project, "x", &Selector::production()).await.unwrap();
        assert_eq!(text().await.body, PromptBody::Text("one".to_owned()));
        bed.make("x", json!("two")).await.unwrap();
        let seen = async {
            while text().await.body != PromptBody::Text("two".to_owned()) {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = other.follow() => {}
            seen = tokio::time::timeout(Duration::from_secs(1), seen) => seen.unwrap(),
        }
    }

    #[tokio::test]
    async fn prompts_stand_in_prompts_and_follow_their_labels() {
        let bed = bed().await;
        bed.make("tone", json!("Be {{how}}.")).await.unwrap();
        bed.make("rules", json!("@@@langfusePrompt:name=tone|label=production@@@ Be brief.")).await.unwrap();
        let whole = json!([
            {"role": "system", "content": "@@@langfusePrompt:name=rules|version=1@@@ @@@langfusePrompt:name=tone|version=1@@@"},
            {"role": "user", "content": "{{q}}"},
        ]);
        bed.make("whole", whole).await.unwrap();
        assert_eq!(bed.text("whole").await.unwrap(), "Be {{how}}. Be brief. Be {{how}}.{{q}}");
        bed.make("tone", json!("Be kind.")).await.unwrap();
        let prompt = bed.prompts.fetch(bed.project, "whole", &Selector::production()).await.unwrap();
        assert_eq!(prompt.body.texts().next(), Some("Be kind. Be brief. Be {{how}}."));
        let parts: Vec<_> =
            prompt.parts.iter().map(|(parent, part)| (&*parent.name, &*part.name, part.version)).collect();
        assert_eq!(parts, [("rules", "tone", 2), ("whole", "rules", 1), ("whole", "tone", 1)]);
        let raw = bed.prompts.fetch_as(bed.project, "whole", &Selector::production(), Form::Raw).await.unwrap();
        assert!(raw.parts.is_empty() && raw.body.texts().next().unwrap().starts_with("@@@"));
        let values = json!({"how": "x", "q": "y"});
        let values = Values { variables: values.as_object().unwrap(), placeholders: &Map::new() };
        let compiled = prompt.compile(values, Unfilled::Refuse).unwrap().into_json();
        assert_eq!(compiled[1], json!({"role": "user", "content": "y"}));
    }

    #[tokio::test]
    async fn what_cannot_stand_in_a_prompt_is_refused_by_name() {
        let bed = bed().await;
        let refer = |name: &str| json!(format!("@@@langfusePrompt:name={name}|label=production@@@"));
        bed.make("chat", json!([{"role": "system", "content": "x"}])).await.unwrap();
        bed.make("d0", json!("x")).await.unwrap();
        for depth in 1..=5 {
            bed.make(&format!("d{depth}"), refer(&format!("d{}", depth - 1))).await.unwrap();
        }
        for (name, body, words) in [
            ("a", refer("nothing"), "`nothing` with label 'production'"),
            ("a", refer("chat"), "`chat`, which is a chat prompt"),
            ("a", refer("a"), "a → a"),
            ("d0", refer("d5"), "d0 → d5 → d4 → d3 → d2 → d1 → d0"),
            ("d6", refer("d5"), "more than 5"),
        ] {
            let error = bed.make(name, body).await.unwrap_err();
            assert!(matches!(error, PromptError::BadReference(_)) && error.to_string().contains(words), "{error}");
        }
        // A label that moves can close a circle that no version had when it was made.
        bed.prompts.create(&bed.editor(), NewPrompt { labels: vec![], ..new("e", json!("x")) }, at(1)).await.unwrap();
        bed.make("e", json!("plain")).await.unwrap();
        bed.make("f", refer("e")).await.unwrap();
        assert_eq!(bed.text("f").await.unwrap(), "plain");
    }

    #[tokio::test]
    async fn a_small_prompt_of_many_parts_does_not_become_a_huge_one() {
        let bed = bed().await;
        bed.make("big", json!("x".repeat(100_000))).await.unwrap();
        let error = bed.make("many", json!("@@@langfusePrompt:name=big|version=1@@@".repeat(11))).await.unwrap_err();
        assert!(error.to_string().contains("1048576 bytes"), "{error}");
        bed.make("some", json!("@@@langfusePrompt:name=big|version=1@@@".repeat(10))).await.unwrap();
    }

    #[tokio::test]
    async fn protected_labels_are_moved_by_administrators_alone() {
        let bed = bed().await;
        let admin = Editor { is_admin: true, ..bed.editor() };
        bed.make("x", json!("one")).await.unwrap();
        bed.prompts.protect(bed.project, "production").await.unwrap();
        let production = ["production".to_owned()];
        assert!(matches!(bed.make("x", json!("two")).await, Err(PromptError::Protected(_))));
        let plain = NewPrompt { labels: vec![], ..new("x", json!("two")) };
        bed.prompts.create(&bed.editor(), plain, at(2)).await.unwrap();
        let refused = [
            bed.prompts.label(&bed.editor(), "x", 2, &production, at(3)).await.map(drop),
            bed.prompts.unlabel(&bed.editor(), "x", "production", at(3)).await,
            bed.prompts.delete(&bed.editor(), "x", None, at(3)).await.map(drop),
            bed.prompts.delete(&bed.editor(), "x", Some(&Selector::production()), at(3)).await.map(drop),
        ];
        assert!(refused.iter().all(|outcome| matches!(outcome, Err(PromptError::Protected(_)))), "{refused:?}");
        assert_eq!(bed.text("x").await.unwrap(), "one");
        bed.prompts.label(&bed.editor(), "x", 1, &production, at(4)).await.unwrap();
        bed.prompts.label(&admin, "x", 2, &production, at(4)).await.unwrap();
        assert_eq!(bed.text("x").await.unwrap(), "two");
        bed.prompts.delete(&bed.editor(), "x", Some(&Selector::Version(1)), at(5)).await.unwrap();
        bed.prompts.unprotect(bed.project, "production").await.unwrap();
        bed.prompts.unlabel(&bed.editor(), "x", "production", at(6)).await.unwrap();
    }

    #[tokio::test]
    async fn a_project_begins_with_its_prompts_and_keeps_what_its_owner_made_of_them() {
        let bed = bed().await;
        for (starter, name, beginning, end) in [
            (Starter::Chat, ANSWER, "As Alice, you're speaking to", "{{context}}"),
            (Starter::Describing, DESCRIBE, "You describe a text", "</next>"),
        ] {
            bed.prompts.ensure_begun(bed.project, starter, at(1)).await.unwrap();
            let text = bed.text(name).await.unwrap();
            assert!(text.starts_with(beginning) && text.ends_with(end), "{text}");
            bed.prompts.delete(&bed.editor(), name, None, at(2)).await.unwrap();
            for prompts in [&bed.prompts, &Prompts::new(bed.prompts.store.clone())] {
                prompts.ensure_begun(bed.project, starter, at(3)).await.unwrap();
            }
            assert!(matches!(bed.text(name).await, Err(PromptError::NotFound { .. })), "deleted is deleted");
        }
    }

    #[tokio::test]
    async fn lists_are_filtered_before_they_are_cut_into_pages() {
        let bed = bed().await;
        let tagged = |name: &str, tag: &str, config: Value| NewPrompt {
            tags: Some(vec![tag.to_owned()]),
            config,
            ..new(name, json!("Hello"))
        };
        for (name, tag) in [("a/one", "x"), ("a/two", "y"), ("ab", "x"), ("b/three", "x")] {
            for n in 1..=2 {
                bed.prompts.create(&bed.editor(), tagged(name, tag, json!({"n": n})), at(n)).await.unwrap();
            }
        }
        let list = async |filter: ListFilter, page, limit| {
            let page = bed.prompts.list(bed.project, &filter, page, limit).await.unwrap();
            (page.prompts.iter().map(|prompt| prompt.name.clone()).collect::<Vec<_>>(), page.total, page.prompts)
        };
        let (names, total, prompts) = list(ListFilter::default(), 1, 3).await;
        assert_eq!((names, total), (vec!["a/one".to_owned(), "a/two".to_owned(), "ab".to_owned()], 4));
        assert_eq!((&*prompts[0].versions, &prompts[0].config), (&[1, 2][..], &json!({"n": 2})));
        assert_eq!(prompts[0].labels, ["production", "latest"]);
        assert_eq!(list(ListFilter::default(), 2, 3).await.0, ["b/three"]);
        assert!(list(ListFilter::default(), usize::MAX, 3).await.0.is_empty());
        let folder = ListFilter { folder: Some("a".to_owned()), ..ListFilter::default() };
        assert_eq!(list(folder, 1, 9).await.0, ["a/one", "a/two"]);
        let tag = ListFilter { tag: Some("x".to_owned()), label: Some("latest".to_owned()), ..ListFilter::default() };
        let (names, _, prompts) = list(tag, 1, 9).await;
        assert_eq!((names.len(), &*prompts[0].versions), (3, &[2][..]));
        let text = ListFilter { text: Some("THREE".to_owned()), ..ListFilter::default() };
        assert_eq!(list(text, 1, 9).await.0, ["b/three"]);
        let text = ListFilter { text: Some("hello".to_owned()), ..ListFilter::default() };
        assert_eq!(list(text, 1, 9).await.1, 4);
        let config = json!([{"type": "stringObject", "column": "config", "key": "n", "operator": "=", "value": "1"}]);
        let conditions = Condition::read_all(&config.to_string()).unwrap();
        let (_, total, prompts) = list(ListFilter { conditions, ..ListFilter::default() }, 1, 9).await;
        assert_eq!((total, &*prompts[0].versions, &prompts[0].config), (4, &[1][..], &json!({"n": 1})));
    }
}
