//! API keys and projects.

use privet_domain::api_key::{KeyHash, PublicId};
use privet_domain::id::{ApiKeyId, ProjectId};
use privet_store::{ApiKey, KeyUpdate, NewKeyRow, ShownProject, Store, StoreError, Successor};

use crate::bed::{Bed, at, on_both_databases, project};

on_both_databases!(
    a_key_is_listed_with_its_hash_and_project,
    a_key_imported_twice_is_there_once,
    a_key_of_an_unknown_project_is_not_found,
    a_key_is_revoked_once_and_for_all,
    an_unknown_key_is_neither_revoked_nor_replaced,
    a_replaced_key_lives_on_for_the_overlap_and_no_longer_than_it_had,
    a_successor_inherits_all_but_its_text,
    a_key_is_changed_where_it_is_told_to,
    limits_that_somebody_else_changed_meanwhile_are_not_overwritten,
    the_last_use_is_noted_once_and_never_goes_back,
    a_successor_that_exists_already_leaves_the_old_key_alone,
    the_revision_grows_with_each_change,
    a_project_is_made_once,
    a_key_has_the_public_key_that_was_chosen_or_one_that_follows,
    a_project_is_shown_as_it_was_called_and_no_two_alike,
    keys_that_may_chat_get_the_right_to_write_traces_and_others_do_not,
);

struct Material {
    public_id: PublicId,
    hash: KeyHash,
}

fn material(text: &str) -> Material {
    let mut hash = [0; 32];
    hash.iter_mut().zip(text.bytes()).for_each(|(byte, letter)| *byte = letter);
    Material { public_id: PublicId::from(text.to_owned()), hash: KeyHash::from_slice(&hash).unwrap() }
}

impl Material {
    fn row(&self, project_id: ProjectId) -> NewKeyRow<'_> {
        NewKeyRow {
            project_id,
            public_id: &self.public_id,
            public_key: None,
            hash: &self.hash,
            name: "laptop",
            user_id: "adam",
            scopes: "chat",
            limits: "{}",
            expires_at: None,
        }
    }

    fn successor(&self) -> Successor<'_> {
        Successor { public_id: &self.public_id, hash: &self.hash }
    }
}

async fn inserted(store: &Store, project_id: ProjectId, text: &str) -> ApiKeyId {
    store.insert_key(&material(text).row(project_id), at(1)).await.unwrap().unwrap()
}

async fn a_key_is_listed_with_its_hash_and_project(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let first = inserted(&store, home, "first").await;
    let second = material("second");
    let row = NewKeyRow { expires_at: Some(at(99)), ..second.row(home) };
    let second_id = store.insert_key(&row, at(2)).await.unwrap().unwrap();
    store.close().await;

    let keys = bed.open().await.keys().await.unwrap();
    assert_eq!(keys.iter().map(|secret| secret.key.id).collect::<Vec<_>>(), [first, second_id], "oldest first");
    let listed = &keys[1].key;
    assert_eq!((listed.project_id, listed.project.as_str(), listed.public_id.as_str()), (home, "home", "second"));
    assert_eq!((listed.name.as_str(), listed.user_id.as_str()), ("laptop", "adam"));
    assert_eq!((listed.created_at, listed.expires_at, listed.revoked_at), (at(2), Some(at(99)), None));
    assert_eq!((listed.family_id, listed.scopes.as_str(), listed.limits.as_str()), (second_id, "chat", "{}"));
    assert_eq!(listed.last_used_at, None);
    assert!(keys[1].hash.matches(&second.hash) && !keys[0].hash.matches(&second.hash));
}

async fn a_key_imported_twice_is_there_once(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let personal = material("personal");
    let id = store.insert_key(&personal.row(home), at(1)).await.unwrap();
    assert!(id.is_some());
    assert_eq!(store.insert_key(&personal.row(home), at(2)).await.unwrap(), None);
    let keys = store.keys().await.unwrap();
    assert_eq!(keys.iter().map(|secret| Some(secret.key.id)).collect::<Vec<_>>(), [id]);
    assert_eq!(keys[0].key.created_at, at(1));
}

async fn a_key_of_an_unknown_project_is_not_found(bed: &Bed) {
    let store = bed.open().await;
    let outcome = store.insert_key(&material("stray").row(ProjectId::new()), at(1)).await;
    assert!(matches!(outcome, Err(StoreError::NotFound)), "{outcome:?}");
    assert!(store.keys().await.unwrap().is_empty());
}

async fn a_key_is_revoked_once_and_for_all(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let (id, other) = (inserted(&store, home, "lost").await, inserted(&store, home, "kept").await);
    store.revoke_key(id, at(5)).await.unwrap();
    store.revoke_key(id, at(6)).await.unwrap();
    // An import of the same text, as at each start, does not bring it back.
    assert_eq!(store.insert_key(&material("lost").row(home), at(7)).await.unwrap(), None);
    let keys = store.keys().await.unwrap();
    let revoked: Vec<_> = keys.iter().map(|secret| (secret.key.id, secret.key.revoked_at)).collect();
    assert_eq!(revoked, [(id, Some(at(5))), (other, None)]);
}

async fn an_unknown_key_is_neither_revoked_nor_replaced(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let revoked = inserted(&store, home, "revoked").await;
    store.revoke_key(revoked, at(2)).await.unwrap();
    let outcome = store.revoke_key(ApiKeyId::new(), at(3)).await;
    assert!(matches!(outcome, Err(StoreError::NotFound)), "{outcome:?}");
    for old in [ApiKeyId::new(), revoked] {
        let outcome = store.replace_key(old, &material("successor").successor(), at(9), at(3)).await;
        assert!(matches!(outcome, Err(StoreError::NotFound)), "{outcome:?}");
    }
    assert_eq!(store.keys().await.unwrap().len(), 1, "no successor without a predecessor");
}

async fn a_replaced_key_lives_on_for_the_overlap_and_no_longer_than_it_had(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let unlimited = inserted(&store, home, "unlimited").await;
    let short = material("short");
    let short = NewKeyRow { expires_at: Some(at(10)), ..short.row(home) };
    let short = store.insert_key(&short, at(1)).await.unwrap().unwrap();
    let mut ends = Vec::new();
    for (old, successor) in [(unlimited, "unlimited 2"), (short, "short 2")] {
        let new = store.replace_key(old, &material(successor).successor(), at(20), at(2)).await.unwrap();
        let keys = store.keys().await.unwrap();
        let end = |id: ApiKeyId| keys.iter().find(|secret| secret.key.id == id).unwrap().key.expires_at;
        ends.push((end(old), end(new)));
    }
    assert_eq!(ends, [(Some(at(20)), None), (Some(at(10)), Some(at(10)))]);
}

async fn key(store: &Store, id: ApiKeyId) -> ApiKey {
    store.keys().await.unwrap().into_iter().find(|secret| secret.key.id == id).unwrap().key
}

async fn a_successor_inherits_all_but_its_text(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let first = material("first");
    let row = NewKeyRow { scopes: "read", limits: r#"{"concurrency":3}"#, ..first.row(home) };
    let first = store.insert_key(&row, at(1)).await.unwrap().unwrap();
    let second = store.replace_key(first, &material("second").successor(), at(20), at(2)).await.unwrap();
    let third = store.replace_key(second, &material("third").successor(), at(20), at(3)).await.unwrap();
    for (id, made) in [(second, at(2)), (third, at(3))] {
        let key = key(&store, id).await;
        assert_eq!((key.family_id, key.project_id, key.created_at), (first, home, made));
        assert_eq!((key.name.as_str(), key.user_id.as_str()), ("laptop", "adam"));
        assert_eq!((key.scopes.as_str(), key.limits.as_str()), ("read", r#"{"concurrency":3}"#));
    }
}

async fn a_key_is_changed_where_it_is_told_to(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let (id, other) = (inserted(&store, home, "changed").await, inserted(&store, home, "other").await);
    let fields = |key: ApiKey| (key.name, key.scopes, key.limits, key.expires_at);
    let before = fields(key(&store, other).await);
    let revision = store.keys_revision().await.unwrap();
    store.update_key(id, &KeyUpdate { scopes: Some("chat read"), ..KeyUpdate::default() }).await.unwrap();
    assert!(store.keys_revision().await.unwrap() > revision);
    let expected = |scopes: &str, end| ("laptop".to_owned(), scopes.to_owned(), "{}".to_owned(), end);
    assert_eq!(fields(key(&store, id).await), expected("chat read", None));
    store.update_key(id, &KeyUpdate { expires_at: Some(Some(at(50))), ..KeyUpdate::default() }).await.unwrap();
    assert_eq!(fields(key(&store, id).await), expected("chat read", Some(at(50))));
    let all = KeyUpdate {
        name: Some("desk"),
        public_key: None,
        scopes: Some("admin"),
        limits: Some(("{}", r#"{"concurrency":3}"#)),
        expires_at: Some(None),
    };
    store.update_key(id, &all).await.unwrap();
    let changed = ("desk".to_owned(), "admin".to_owned(), r#"{"concurrency":3}"#.to_owned(), None);
    assert_eq!(fields(key(&store, id).await), changed);
    assert_eq!(fields(key(&store, other).await), before);

    store.revoke_key(id, at(9)).await.unwrap();
    for nobody in [id, ApiKeyId::new()] {
        let outcome = store.update_key(nobody, &KeyUpdate { name: Some("x"), ..KeyUpdate::default() }).await;
        assert!(matches!(outcome, Err(StoreError::NotFound)), "{outcome:?}");
    }
}

async fn limits_that_somebody_else_changed_meanwhile_are_not_overwritten(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let id = inserted(&store, home, "contended").await;
    let change = |read, wanted| KeyUpdate { limits: Some((read, wanted)), ..KeyUpdate::default() };
    store.update_key(id, &change("{}", r#"{"concurrency":1}"#)).await.unwrap();
    let late = store.update_key(id, &change("{}", r#"{"concurrency":2}"#)).await;
    assert!(matches!(late, Err(StoreError::NotFound)), "{late:?}");
    assert_eq!(key(&store, id).await.limits, r#"{"concurrency":1}"#);
}

async fn the_last_use_is_noted_once_and_never_goes_back(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let (one, other) = (inserted(&store, home, "one").await, inserted(&store, home, "other").await);
    let unused = inserted(&store, home, "unused").await;
    let revision = store.keys_revision().await.unwrap();
    store.touch_keys(&[]).await.unwrap();
    store.touch_keys(&[(other, at(7)), (one, at(5)), (ApiKeyId::new(), at(5))]).await.unwrap();
    store.touch_keys(&[(one, at(4)), (other, at(8))]).await.unwrap();
    let mut uses = Vec::new();
    for id in [one, other, unused] {
        uses.push(key(&store, id).await.last_used_at);
    }
    assert_eq!(uses, [Some(at(5)), Some(at(8)), None]);
    assert_eq!(store.keys_revision().await.unwrap(), revision, "nobody reads the keys again for it");
}

async fn a_successor_that_exists_already_leaves_the_old_key_alone(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let (old, _) = (inserted(&store, home, "old").await, inserted(&store, home, "taken").await);
    let outcome = store.replace_key(old, &material("taken").successor(), at(20), at(2)).await;
    assert!(matches!(outcome, Err(StoreError::Exists(_))), "{outcome:?}");
    assert!(store.keys().await.unwrap().iter().all(|secret| secret.key.expires_at.is_none()));
}

async fn the_revision_grows_with_each_change(bed: &Bed) {
    let (store, observer) = (bed.open().await, bed.open().await);
    let home = project(&store, "home").await;
    let mut revisions = vec![observer.keys_revision().await.unwrap()];
    let id = inserted(&store, home, "first").await;
    revisions.push(observer.keys_revision().await.unwrap());
    let next = store.replace_key(id, &material("next").successor(), at(9), at(2)).await.unwrap();
    revisions.push(observer.keys_revision().await.unwrap());
    store.revoke_key(next, at(3)).await.unwrap();
    revisions.push(observer.keys_revision().await.unwrap());
    assert!(revisions.is_sorted_by(|one, later| one < later), "{revisions:?}");
    store.revoke_key(ApiKeyId::new(), at(4)).await.unwrap_err();
    assert_eq!(observer.keys_revision().await.unwrap(), revisions[3], "nothing changed");
}

async fn a_project_is_made_once(bed: &Bed) {
    let store = bed.open().await;
    assert_eq!(store.find_project("home").await.unwrap(), None);
    let made = store.ensure_project("home", at(1)).await.unwrap();
    assert_eq!(store.ensure_project("home", at(2)).await.unwrap(), made);
    assert_eq!(store.find_project("home").await.unwrap(), Some(made.clone()));
    assert_ne!(store.ensure_project("Home", at(2)).await.unwrap().id, made.id);
}

async fn a_key_has_the_public_key_that_was_chosen_or_one_that_follows(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    inserted(&store, home, "one").await;
    let chosen = material("two");
    let id =
        store.insert_key(&NewKeyRow { public_key: Some("mine"), ..chosen.row(home) }, at(1)).await.unwrap().unwrap();
    let public_keys =
        async || store.keys().await.unwrap().into_iter().map(|key| key.key.public_key).collect::<Vec<_>>();
    assert_eq!(public_keys().await, ["pk-lf-one", "mine"]);
    let (revision, update) =
        (store.keys_revision().await.unwrap(), KeyUpdate { public_key: Some("yours"), ..KeyUpdate::default() });
    store.update_key(id, &update).await.unwrap();
    assert_eq!(public_keys().await, ["pk-lf-one", "yours"]);
    assert!(store.keys_revision().await.unwrap() > revision);
    let successor = material("three");
    store.replace_key(id, &successor.successor(), at(9), at(2)).await.unwrap();
    assert_eq!(public_keys().await[2], "pk-lf-three", "a successor is another pair");
}

async fn a_project_is_shown_as_it_was_called_and_no_two_alike(bed: &Bed) {
    let store = bed.open().await;
    let (home, shop) = (project(&store, "home").await, project(&store, "shop").await);
    inserted(&store, home, "one").await;
    let shown = async || store.keys().await.unwrap().remove(0).key.project_shown;
    assert_eq!(shown().await, ShownProject { id: home.to_string(), name: "home".to_owned() });
    let revision = store.keys_revision().await.unwrap();
    store.name_project(home, Some("my-project"), None).await.unwrap();
    store.name_project(home, None, Some("My Project")).await.unwrap();
    assert_eq!(shown().await, ShownProject { id: "my-project".to_owned(), name: "My Project".to_owned() });
    assert!(store.keys_revision().await.unwrap() > revision, "servers read it again");
    let taken = store.name_project(shop, Some("my-project"), None).await;
    assert!(matches!(taken, Err(StoreError::Exists(_))), "{taken:?}");
    store.name_project(home, Some("my-project"), None).await.unwrap();
}

/// The migration runs again over keys of the version before it.
async fn keys_that_may_chat_get_the_right_to_write_traces_and_others_do_not(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    for (text, scopes) in
        [("a", "chat embeddings read"), ("b", "read"), ("c", "chat"), ("d", "chat traces"), ("e", "admin")]
    {
        store.insert_key(&NewKeyRow { scopes, ..material(text).row(home) }, at(1)).await.unwrap();
    }
    store.close().await;
    bed.execute(
        "ALTER TABLE api_keys DROP COLUMN public_key; ALTER TABLE projects DROP COLUMN given_id; \
         ALTER TABLE projects DROP COLUMN given_name; DELETE FROM _sqlx_migrations WHERE version = 4",
    )
    .await;
    let keys = bed.open().await.keys().await.unwrap();
    let scopes: Vec<String> = keys.into_iter().map(|key| key.key.scopes).collect();
    assert_eq!(scopes, ["chat embeddings read traces", "read", "chat traces", "chat traces", "admin"]);
}
