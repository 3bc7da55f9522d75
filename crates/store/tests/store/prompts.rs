//! Prompts: versions, labels, tags, what needs what, and projects apart.

use privet_domain::id::ProjectId;
use privet_domain::prompt::reference::references;
use privet_domain::prompt::{PromptKind, Selector};
use privet_store::{NewPromptVersion, PromptCreation, PromptRemoval, Starter, Store, StoreError, StoredPrompt};

use crate::bed::{Bed, at, on_both_databases, project};

on_both_databases!(
    versions_count_up_and_labels_move,
    a_number_is_not_given_twice_and_latest_is_the_highest_left,
    all_versions_are_of_one_kind_and_share_their_tags,
    a_version_is_not_made_over_one_that_was_not_seen,
    versions_made_at_once_have_numbers_of_their_own,
    what_another_prompt_needs_is_not_removed,
    what_is_another_projects_is_not_there,
    texts_are_found_and_configurations_read,
    labels_are_protected_and_open_again,
    each_change_is_told_by_the_revision,
);

/// A version to make, with this text.
fn text<'a>(name: &'a str, body: &'a str) -> NewPromptVersion<'a> {
    NewPromptVersion {
        name,
        kind: PromptKind::Text,
        body,
        config: "{}",
        commit_message: None,
        author: "laptop (ada)",
        labels: &[],
        tags: None,
        references: &[],
        base: None,
    }
}

async fn make(store: &Store, project: ProjectId, new: NewPromptVersion<'_>) -> u32 {
    match store.create_prompt_version(project, &new, at(1)).await.unwrap() {
        PromptCreation::Created(version) => version,
        other => panic!("{other:?}"),
    }
}

fn label(label: &str) -> Selector {
    Selector::Label(label.parse().unwrap())
}

async fn get(store: &Store, project: ProjectId, name: &str, selector: Selector) -> Option<StoredPrompt> {
    store.prompt_version(project, name, &selector).await.unwrap()
}

async fn versions_count_up_and_labels_move(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let production = ["production".to_owned()];
    let both = ["production".to_owned(), "a".to_owned()];
    let first = NewPromptVersion { labels: &production, commit_message: Some("first"), ..text("x/y", "\"1\"") };
    assert_eq!(make(&store, home, first).await, 1);
    assert_eq!(make(&store, home, NewPromptVersion { config: "{\"a\":1}", ..text("x/y", "\"2\"") }).await, 2);
    let one = get(&store, home, "x/y", label("production")).await.unwrap();
    assert_eq!((one.head.version, one.body.as_str(), one.config.as_str()), (1, "\"1\"", "{}"));
    assert_eq!((one.head.commit_message.as_deref(), one.head.author.as_str()), (Some("first"), "laptop (ada)"));
    let two = get(&store, home, "x/y", label("latest")).await.unwrap();
    assert_eq!((two.head.version, two.config.as_str(), two.head.labels), (2, "{\"a\":1}", vec!["latest".to_owned()]));
    store.label_prompt(home, "x/y", 2, &both, at(9)).await.unwrap();
    let two = get(&store, home, "x/y", label("production")).await.unwrap();
    assert_eq!(two.head.labels, ["a", "production", "latest"]);
    let one = get(&store, home, "x/y", Selector::Version(1)).await.unwrap();
    assert_eq!((one.head.labels.len(), one.head.created_at, one.head.updated_at), (0, at(1), at(9)));
    store.unlabel_prompt(home, "x/y", "a", at(10)).await.unwrap();
    assert_eq!(get(&store, home, "x/y", label("a")).await, None);
    for (name, version) in [("x/y", 3), ("nothing", 1)] {
        let outcome = store.label_prompt(home, name, version, &both, at(11)).await;
        assert!(matches!(outcome, Err(StoreError::NotFound)), "{outcome:?}");
    }
    assert!(matches!(store.unlabel_prompt(home, "x/y", "a", at(12)).await, Err(StoreError::NotFound)));
    assert_eq!(get(&store, home, "x/y", label("production")).await.unwrap().head.version, 2);
}

async fn a_number_is_not_given_twice_and_latest_is_the_highest_left(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    for _ in 0..3 {
        make(&store, home, text("x", "\"\"")).await;
    }
    let removed = store.delete_prompt_versions(home, "x", Some(&Selector::Version(3)), at(2)).await.unwrap();
    assert_eq!(removed, PromptRemoval::Removed(1));
    assert_eq!(get(&store, home, "x", label("latest")).await.unwrap().head.version, 2);
    assert_eq!(make(&store, home, text("x", "\"\"")).await, 4);
    store.delete_prompt_versions(home, "x", Some(&label("latest")), at(3)).await.unwrap();
    assert_eq!(get(&store, home, "x", label("latest")).await.unwrap().head.version, 2);
    assert_eq!(store.delete_prompt_versions(home, "x", None, at(4)).await.unwrap(), PromptRemoval::Removed(2));
    let again = store.delete_prompt_versions(home, "x", None, at(5)).await;
    assert!(matches!(again, Err(StoreError::NotFound)), "{again:?}");
    assert_eq!(make(&store, home, text("x", "\"\"")).await, 1, "a prompt of its own");
}

async fn all_versions_are_of_one_kind_and_share_their_tags(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let tags = ["b".to_owned(), "a \"quoted\" one".to_owned()];
    make(&store, home, NewPromptVersion { tags: Some(&tags), ..text("x", "\"\"") }).await;
    let chat = NewPromptVersion { kind: PromptKind::Chat, tags: Some(&[]), ..text("x", "[]") };
    let other = store.create_prompt_version(home, &chat, at(2)).await.unwrap();
    assert_eq!(other, PromptCreation::OtherKind(PromptKind::Text));
    make(&store, home, text("x", "\"\"")).await;
    assert_eq!(get(&store, home, "x", Selector::Version(1)).await.unwrap().head.tags, tags, "left as they were");
    make(&store, home, NewPromptVersion { tags: Some(&[]), ..text("x", "\"\"") }).await;
    for version in 1..=3 {
        assert!(get(&store, home, "x", Selector::Version(version)).await.unwrap().head.tags.is_empty());
    }
}

async fn a_version_is_not_made_over_one_that_was_not_seen(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let over = async |base| {
        let new = NewPromptVersion { base: Some(base), ..text("x", "\"\"") };
        store.create_prompt_version(home, &new, at(2)).await.unwrap()
    };
    assert_eq!(over(1).await, PromptCreation::Moved(0));
    assert_eq!(store.prompt_heads(home, None).await.unwrap().len(), 0, "nothing was made");
    assert_eq!(over(0).await, PromptCreation::Created(1));
    assert_eq!(over(0).await, PromptCreation::Moved(1));
    assert_eq!(over(1).await, PromptCreation::Created(2));
}

async fn versions_made_at_once_have_numbers_of_their_own(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let (one, two) = (["one".to_owned()], ["one".to_owned()]);
    let new = |labels| NewPromptVersion { labels, ..text("x", "\"\"") };
    let (a, b, c, d) = tokio::join!(
        make(&store, home, new(&one)),
        make(&store, home, new(&two)),
        make(&store, home, new(&one)),
        make(&store, home, new(&two)),
    );
    let mut versions = [a, b, c, d];
    versions.sort_unstable();
    assert_eq!(versions, [1, 2, 3, 4]);
    let heads = store.prompt_heads(home, Some("x")).await.unwrap();
    assert_eq!(heads.iter().filter(|head| head.labels.contains(&"one".to_owned())).count(), 1);
}

async fn what_another_prompt_needs_is_not_removed(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let staging = ["staging".to_owned()];
    make(&store, home, NewPromptVersion { labels: &staging, ..text("part", "\"\"") }).await;
    make(&store, home, text("part", "\"\"")).await;
    let body = "@@@langfusePrompt:name=part|label=staging@@@ @@@langfusePrompt:name=part|version=2@@@";
    let parts: Vec<_> = references(body).collect();
    make(&store, home, NewPromptVersion { references: &parts, ..text("whole", "\"\"") }).await;

    let uses = store.prompt_uses(home, "part").await.unwrap();
    let told: Vec<_> = uses.iter().map(|user| (&*user.name, user.child_version, user.child_label.as_deref())).collect();
    assert_eq!(told.len(), 2);
    assert!(told.contains(&("whole", Some(2), None)) && told.contains(&("whole", None, Some("staging"))), "{told:?}");
    for which in [None, Some(Selector::Version(2)), Some(Selector::Version(1)), Some(label("staging"))] {
        let outcome = store.delete_prompt_versions(home, "part", which.as_ref(), at(2)).await.unwrap();
        let PromptRemoval::Needed(uses) = outcome else { panic!("{which:?}: {outcome:?}") };
        assert!(uses.iter().all(|user| user.name == "whole" && user.version == 1), "{uses:?}");
    }
    let outcome = store.unlabel_prompt(home, "part", "staging", at(3)).await.unwrap();
    assert!(matches!(outcome, PromptRemoval::Needed(_)), "{outcome:?}");
    assert_eq!(store.prompt_heads(home, Some("part")).await.unwrap().len(), 2);
    store.label_prompt(home, "part", 2, &staging, at(4)).await.unwrap();
    let outcome = store.delete_prompt_versions(home, "part", Some(&Selector::Version(1)), at(5)).await.unwrap();
    assert_eq!(outcome, PromptRemoval::Removed(1), "the label is elsewhere now");
    store.delete_prompt_versions(home, "whole", None, at(6)).await.unwrap();
    store.delete_prompt_versions(home, "part", None, at(7)).await.unwrap();
    let left =
        bed.number("SELECT (SELECT count(*) FROM prompt_references) + (SELECT count(*) FROM prompt_labels)").await;
    assert_eq!(left, 0);
}

async fn what_is_another_projects_is_not_there(bed: &Bed) {
    let store = bed.open().await;
    let (home, other) = (project(&store, "home").await, project(&store, "other").await);
    let labels = ["production".to_owned()];
    make(&store, home, NewPromptVersion { labels: &labels, ..text("x", "\"secret\"") }).await;
    assert_eq!(get(&store, other, "x", Selector::Version(1)).await, None);
    assert!(store.prompt_heads(other, None).await.unwrap().is_empty());
    assert!(store.prompt_configs(other, &[("x", 1)]).await.unwrap().is_empty());
    assert!(store.prompts_saying(other, "secret").await.unwrap().is_empty());
    let outcomes = [
        store.label_prompt(other, "x", 1, &labels, at(2)).await,
        store.unlabel_prompt(other, "x", "production", at(2)).await.map(drop),
        store.delete_prompt_versions(other, "x", None, at(2)).await.map(drop),
    ];
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Err(StoreError::NotFound))), "{outcomes:?}");
    assert_eq!(make(&store, other, text("x", "\"\"")).await, 1, "names are each project's own");
    let parts: Vec<_> = references("@@@langfusePrompt:name=x|version=1@@@").collect();
    make(&store, other, NewPromptVersion { references: &parts, ..text("y", "\"\"") }).await;
    assert!(store.prompt_uses(home, "x").await.unwrap().is_empty());
    let outcome = store.delete_prompt_versions(home, "x", None, at(3)).await.unwrap();
    assert_eq!(outcome, PromptRemoval::Removed(1));
}

async fn texts_are_found_and_configurations_read(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let body = serde_json::to_string("Say \"Hello\"\n100%_sure").unwrap();
    make(&store, home, NewPromptVersion { config: "{\"a\":1}", ..text("x", &body) }).await;
    make(&store, home, text("y", "\"old words\"")).await;
    make(&store, home, text("y", "\"new words\"")).await;
    for (sought, found) in [
        ("\"hello\"\n100%", vec!["x"]),
        ("0_s", vec![]),
        ("%_sure", vec!["x"]),
        ("words", vec!["y"]),
        ("old", vec![]),
        ("!", vec![]),
    ] {
        assert_eq!(store.prompts_saying(home, sought).await.unwrap(), found, "{sought}");
    }
    let mut configs = store.prompt_configs(home, &[("x", 1), ("y", 2), ("z", 1)]).await.unwrap();
    configs.sort_unstable();
    assert_eq!(configs, [("x".to_owned(), 1, "{\"a\":1}".to_owned()), ("y".to_owned(), 2, "{}".to_owned())]);
    let heads = store.prompt_heads(home, None).await.unwrap();
    let told: Vec<_> = heads.iter().map(|head| (&*head.name, head.version)).collect();
    assert_eq!(told, [("x", 1), ("y", 2), ("y", 1)]);
}

async fn labels_are_protected_and_open_again(bed: &Bed) {
    let store = bed.open().await;
    let (home, other) = (project(&store, "home").await, project(&store, "other").await);
    for label in ["production", "a", "production"] {
        store.protect_label(home, label).await.unwrap();
    }
    assert_eq!(store.protected_labels(home).await.unwrap(), ["a", "production"]);
    assert!(store.protected_labels(other).await.unwrap().is_empty());
    store.unprotect_label(home, "a").await.unwrap();
    assert!(matches!(store.unprotect_label(home, "a").await, Err(StoreError::NotFound)));
    assert_eq!(store.protected_labels(home).await.unwrap(), ["production"]);
}

async fn each_change_is_told_by_the_revision(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let labels = ["a".to_owned()];
    let mut revision = store.prompts_revision().await.unwrap();
    let mut grew = async || {
        let now = store.prompts_revision().await.unwrap();
        std::mem::replace(&mut revision, now) < now
    };
    make(&store, home, text("x", "\"\"")).await;
    assert!(grew().await);
    store.label_prompt(home, "x", 1, &labels, at(2)).await.unwrap();
    assert!(grew().await);
    store.unlabel_prompt(home, "x", "a", at(3)).await.unwrap();
    assert!(grew().await);
    store.delete_prompt_versions(home, "x", None, at(4)).await.unwrap();
    assert!(grew().await);
    for starter in [Starter::Chat, Starter::Describing] {
        assert!(!store.has_begun_prompts(home, starter).await.unwrap());
        store.note_begun_prompts(home, starter, at(5)).await.unwrap();
        assert!(store.has_begun_prompts(home, starter).await.unwrap());
    }
}
