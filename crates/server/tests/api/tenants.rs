//! Two projects on one server: neither ever sees what is the other's.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use crate::stand::{Answer, Stand};

const OPERATIONS: usize = 10_000;

/// Numbers that look random, the same for the same seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let number = mixed ^ (mixed >> 31);
        usize::try_from(number % u64::try_from(sides).unwrap()).unwrap()
    }

    fn pick<T: Clone>(&mut self, items: Vec<T>) -> Option<T> {
        (!items.is_empty()).then(|| items[self.roll(items.len())].clone())
    }
}

/// A project as it should be: the texts of the messages of each conversation.
#[derive(Default)]
struct Tenant {
    name: &'static str,
    key: String,
    conversations: BTreeMap<String, BTreeMap<String, String>>,
}

impl Tenant {
    fn conversation(&self, dice: &mut Dice) -> Option<String> {
        dice.pick(self.conversations.keys().cloned().collect())
    }

    fn message(&self, dice: &mut Dice) -> Option<(String, String)> {
        let all = self.conversations.iter();
        dice.pick(all.flat_map(|(id, messages)| messages.keys().map(|uuid| (id.clone(), uuid.clone()))).collect())
    }

    async fn ask(&self, stand: &Stand, method: Method, path: &str, body: Value) -> Answer {
        let request = stand.client.request(method, format!("{}{path}", stand.server.url())).bearer_auth(&self.key);
        Answer::of(if body.is_null() { request } else { request.body(body.to_string()) }).await
    }

    async fn read(&self, stand: &Stand, id: &str) -> BTreeMap<String, String> {
        let answer = self.ask(stand, Method::GET, &format!("/api/conversations/{id}"), Value::Null).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        texts(&answer.json())
    }

    async fn chat(&self, stand: &Stand, conversation: Option<&str>, text: &str) -> Answer {
        let mut body = json!({"messages": [{"role": "user", "content": text}]});
        if let Some(id) = conversation {
            body["conversation_id"] = json!(id);
        }
        self.ask(stand, Method::POST, "/api/chat", body).await
    }

    /// Everything that the project shows is what it should be, and all of it.
    async fn check(&self, stand: &Stand) {
        let export = self.ask(stand, Method::GET, "/api/conversations/export", Value::Null).await;
        let lines = export.text().lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let seen: BTreeMap<_, _> = lines.map(|line| (line["id"].as_str().unwrap().to_owned(), texts(&line))).collect();
        assert_eq!(seen, self.conversations, "{}", self.name);
        let mut listed = Vec::new();
        let mut path = "/api/conversations?limit=50".to_owned();
        loop {
            let page = self.ask(stand, Method::GET, &path, Value::Null).await.json();
            listed.extend(page["data"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()));
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            path = format!("/api/conversations?limit=50&cursor={cursor}");
        }
        listed.sort();
        assert!(listed.iter().eq(self.conversations.keys()), "{}", self.name);
    }
}

fn texts(transcript: &Value) -> BTreeMap<String, String> {
    let messages = transcript["messages"].as_array().unwrap().iter();
    let field = |message: &Value, name: &str| message[name].as_str().unwrap().to_owned();
    messages.map(|message| (field(message, "uuid"), field(message, "content"))).collect()
}

/// One operation on what is the project's own; the project's record follows.
async fn own_operation(stand: &Stand, tenant: &mut Tenant, dice: &mut Dice, text: &str) {
    match dice.roll(6) {
        0 | 1 => {
            let continued = if dice.roll(2) == 0 { tenant.conversation(dice) } else { None };
            let answer = tenant.chat(stand, continued.as_deref(), text).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            let id = answer.json()["conversation_id"].as_str().unwrap().to_owned();
            assert!(continued.is_none_or(|continued| continued == id));
            let messages = tenant.read(stand, &id).await;
            assert!(messages.values().any(|content| content == text));
            tenant.conversations.insert(id, messages);
        }
        2 => {
            let made = tenant.ask(stand, Method::POST, "/api/conversations", Value::Null).await;
            assert_eq!(made.status, 201);
            tenant.conversations.insert(made.json()["id"].as_str().unwrap().to_owned(), BTreeMap::new());
        }
        3 => {
            let Some((id, uuid)) = tenant.message(dice) else { return };
            let path = format!("/api/messages/{uuid}");
            assert_eq!(tenant.ask(stand, Method::PATCH, &path, json!({"content": text})).await.status, 200);
            tenant.conversations.get_mut(&id).unwrap().insert(uuid, text.to_owned());
        }
        4 => {
            let Some((id, uuid)) = tenant.message(dice) else { return };
            let path = format!("/api/messages/{uuid}");
            assert_eq!(tenant.ask(stand, Method::DELETE, &path, Value::Null).await.status, 204);
            tenant.conversations.get_mut(&id).unwrap().remove(&uuid);
        }
        _ => {
            let Some(id) = tenant.conversation(dice) else { return };
            if dice.roll(3) > 0 {
                assert_eq!(tenant.read(stand, &id).await, tenant.conversations[&id]);
                return;
            }
            let path = format!("/api/conversations/{id}");
            assert_eq!(tenant.ask(stand, Method::DELETE, &path, Value::Null).await.status, 204);
            tenant.conversations.remove(&id);
        }
    }
}

/// One operation on what is another's. It is refused as if there were nothing, and so it says nothing either.
async fn foreign_operation(stand: &Stand, tenant: &Tenant, other: &Tenant, dice: &mut Dice, text: &str) {
    let (Some(id), Some((_, uuid))) = (other.conversation(dice), other.message(dice)) else { return };
    let conversation = format!("/api/conversations/{id}");
    let message = format!("/api/messages/{uuid}");
    let (expected, answer) = match dice.roll(7) {
        0 => (404, tenant.ask(stand, Method::GET, &conversation, Value::Null).await),
        1 => (404, tenant.ask(stand, Method::DELETE, &conversation, Value::Null).await),
        2 => (404, tenant.ask(stand, Method::GET, &message, Value::Null).await),
        3 => (404, tenant.ask(stand, Method::PATCH, &message, json!({"content": text})).await),
        4 => (404, tenant.ask(stand, Method::DELETE, &message, Value::Null).await),
        5 => (404, tenant.chat(stand, Some(&id), text).await),
        _ => (409, tenant.ask(stand, Method::POST, "/api/conversations", json!({"id": id})).await),
    };
    assert_eq!(answer.status, expected, "{answer:?}");
    for content in other.conversations[&id].values() {
        assert!(!answer.text().contains(content.as_str()), "{answer:?}");
    }
}

#[tokio::test]
async fn fault_30_two_tenants_in_random_operations_never_meet_a_foreign_id() {
    let seed = std::env::var("PRIVET_TEST_SEED").map_or(20_261_125, |seed| seed.parse().unwrap());
    eprintln!("PRIVET_TEST_SEED={seed} repeats this run");
    let stand = Stand::with_config("durability = \"process\"\n").await;
    let mut tenants = [("north", stand.key_of_project("north").await), ("south", stand.key_of_project("south").await)]
        .map(|(name, key)| Tenant { name, key, ..Tenant::default() });
    let mut dice = Dice(seed);
    for n in 0..OPERATIONS {
        let turn = dice.roll(2);
        let [north, south] = &mut tenants;
        let (tenant, other) = if turn == 0 { (north, south) } else { (south, north) };
        let text = format!("said-by-{}-{n}", tenant.name);
        if dice.roll(5) < 2 {
            foreign_operation(&stand, tenant, other, &mut dice, &text).await;
        } else {
            own_operation(&stand, tenant, &mut dice, &text).await;
        }
        if n % 250 == 249 {
            for tenant in &tenants {
                tenant.check(&stand).await;
            }
        }
    }
    // Nor did a provider ever get what is another's.
    for request in stand.mock.requests() {
        let body = request.body.to_string();
        assert!(!(body.contains("said-by-north") && body.contains("said-by-south")), "{body}");
    }
}
