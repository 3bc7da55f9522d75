//! Budget alerts through the real binary: noticed, signed, delivered once, and not lost over failures and restarts.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use privet_testkit::upstream::{Behaviour, Usage};
use serde_json::Value;
use sha2::Sha256;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::money::Key;
use crate::stand::{Stand, ask};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const PATIENCE: Duration = Duration::from_secs(60);
/// What ten and a half calls of 20 tokens in and 50 out cost with gpt-4o, so that ten fit and reach 95 percent.
const BUDGET: &str = "0.005775/total";
const BUDGET_NANOS: i64 = 5_775_000;

/// A message as it arrived.
#[derive(Clone)]
struct Delivery {
    headers: HeaderMap,
    body: Bytes,
    is_taken: bool,
}

/// A webhook: refuses so many messages, takes the others.
struct Receiver {
    url: String,
    to_refuse: Arc<Mutex<usize>>,
    deliveries: watch::Sender<Vec<Delivery>>,
}

impl Receiver {
    async fn start(to_refuse: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/alerts", listener.local_addr().unwrap());
        let receiver = Self { url, to_refuse: Arc::new(Mutex::new(to_refuse)), deliveries: watch::Sender::default() };
        let (to_refuse, deliveries) = (receiver.to_refuse.clone(), receiver.deliveries.clone());
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (to_refuse, deliveries) = (to_refuse.clone(), deliveries.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let (to_refuse, deliveries) = (to_refuse.clone(), deliveries.clone());
                    async move {
                        let (parts, body) = request.into_parts();
                        let body = body.collect().await.unwrap().to_bytes();
                        let is_taken = {
                            let mut left = to_refuse.lock().unwrap();
                            let is_taken = *left == 0;
                            *left = left.saturating_sub(1);
                            is_taken
                        };
                        deliveries.send_modify(|all| all.push(Delivery { headers: parts.headers, body, is_taken }));
                        let status = if is_taken { 204 } else { 503 };
                        Ok::<_, Infallible>(Response::builder().status(status).body(Empty::<Bytes>::new()).unwrap())
                    }
                });
                let connection = hyper::server::conn::http1::Builder::new();
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
            }
        });
        receiver
    }

    fn refuse(&self, count: usize) {
        *self.to_refuse.lock().unwrap() = count;
    }

    /// Waits until what arrived is as wanted.
    async fn wait_for(&self, wanted: impl Fn(&[Delivery]) -> bool) -> Vec<Delivery> {
        let mut arrived = self.deliveries.subscribe();
        let waited = tokio::time::timeout(PATIENCE, arrived.wait_for(|all| wanted(all))).await;
        waited.unwrap_or_else(|_| panic!("no more alerts came")).unwrap().clone()
    }

    fn config(&self) -> String {
        format!("[alerts]\nwebhook = \"{}\"\nsecret = \"{SECRET}\"\nat = [50, 80, 95]\n", self.url)
    }
}

impl Delivery {
    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn percent(&self) -> i64 {
        self.json()["data"]["percent"].as_i64().unwrap()
    }

    fn budget(&self) -> String {
        self.json()["data"]["budget"].as_str().unwrap().to_owned()
    }

    fn is_signed(&self) -> bool {
        let key = BASE64_STANDARD.decode(SECRET.strip_prefix("whsec_").unwrap()).unwrap();
        let mut hmac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        hmac.update(format!("{}.{}.", self.header("webhook-id"), self.header("webhook-timestamp")).as_bytes());
        hmac.update(&self.body);
        let signature = BASE64_STANDARD.encode(hmac.finalize().into_bytes());
        self.header("webhook-signature") == format!("v1,{signature}")
    }
}

fn taken(deliveries: &[Delivery]) -> Vec<&Delivery> {
    deliveries.iter().filter(|delivery| delivery.is_taken).collect()
}

/// The ids by percentage; each percentage must have one.
fn ids(deliveries: &[Delivery]) -> BTreeMap<i64, BTreeSet<String>> {
    let mut ids: BTreeMap<i64, BTreeSet<String>> = BTreeMap::new();
    for delivery in deliveries {
        ids.entry(delivery.percent()).or_default().insert(delivery.header("webhook-id").to_owned());
    }
    assert!(ids.values().all(|ids| ids.len() == 1), "an alert changed its id: {ids:?}");
    ids
}

impl Stand {
    async fn budgeted_key(&self) -> Key {
        self.mock.script(Behaviour::text("ok").usage(Usage {
            input_tokens: 20,
            output_tokens: 50,
            ..Usage::default()
        }));
        self.create_key(&["--budget", BUDGET]).await
    }

    async fn spend(&self, key: &Key, calls: usize) {
        let mut body = ask("openai/gpt-4o", "hey");
        body["max_tokens"] = 50.into();
        for _ in 0..calls {
            // A key made by the command line is known to the server in a moment.
            while self.chat_as(key, body.clone()).await.status == 401 {}
        }
    }
}

#[tokio::test]
async fn each_threshold_is_told_once_signed_although_the_webhook_fails_at_first() {
    let receiver = Receiver::start(2).await;
    let mut stand = Stand::with_config(&receiver.config()).await;
    let key = stand.budgeted_key().await;
    stand.spend(&key, 10).await;
    let deliveries = receiver.wait_for(|all| taken(all).len() == 3).await;
    assert_eq!(ids(&deliveries).into_keys().collect::<Vec<_>>(), [50, 80, 95]);
    assert_eq!(deliveries.len(), 5, "two were refused and came again");
    for delivery in &deliveries {
        assert!(delivery.is_signed());
        assert_eq!(delivery.header("content-type"), "application/json");
        let (body, percent) = (delivery.json(), delivery.percent());
        assert_eq!(body["type"], "budget.threshold");
        let data = &body["data"];
        assert_eq!(data["budget"], format!("key/{}/total", key.id));
        assert_eq!(data["limit_nanos"], BUDGET_NANOS);
        assert!(data["settled_nanos"].as_i64().unwrap() * 100 >= BUDGET_NANOS * percent, "{body}");
        assert!(data["resets_at"].is_null() && data["window_start"].is_string(), "{body}");
    }

    // After a restart all budgets are looked at again: only the new one's alerts come.
    stand.server.restart().await;
    let other = stand.budgeted_key().await;
    stand.spend(&other, 10).await;
    let deliveries = receiver.wait_for(|all| taken(all).len() >= 6).await;
    let of_first = taken(&deliveries).into_iter().filter(|delivery| delivery.budget().contains(&key.id)).count();
    assert_eq!((of_first, taken(&deliveries).len()), (3, 6));
    assert!(!stand.server.logs().contains("MfKQ"), "{}", stand.server.logs());
}

#[tokio::test]
async fn alerts_survive_kills_before_they_are_noticed_and_between_attempts() {
    let receiver = Receiver::start(usize::MAX).await;
    let mut stand = Stand::with_config(&receiver.config()).await;
    let key = stand.budgeted_key().await;
    stand.spend(&key, 10).await;
    stand.server.kill_dash_9().await.unwrap();
    stand.server.restart().await;
    // A fourth attempt says that the outcome of an earlier one was written.
    let before = receiver.wait_for(|all| all.len() >= 4).await;
    stand.server.kill_dash_9().await.unwrap();
    receiver.refuse(0);
    stand.server.restart().await;
    let deliveries = receiver.wait_for(|all| taken(all).len() == 3).await;
    assert_eq!(ids(&deliveries).into_keys().collect::<Vec<_>>(), [50, 80, 95]);
    assert!(taken(&before).is_empty());
}
