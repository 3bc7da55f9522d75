//! The export of traces through the real binary: everything arrives, whatever the collector and the server go through.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Read as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use privet_dialects::otlp::decode_protobuf;
use privet_testkit::upstream::MockUpstream;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::stand::{Answer, Stand, ask, builder, client};

const PATIENCE: Duration = Duration::from_secs(60);

/// What the collector does with the next exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Takes,
    Busy,
    /// It has taken it and does not say so.
    Silent,
    Refuses,
}

/// A collector: how often each observation came, by its id, and the name of its trace.
struct Collector {
    url: String,
    mood: Arc<Mutex<Mood>>,
    came: watch::Sender<BTreeMap<String, usize>>,
    requests: watch::Sender<usize>,
}

impl Collector {
    async fn start(mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let collector = Self {
            url,
            mood: Arc::new(Mutex::new(mood)),
            came: watch::Sender::default(),
            requests: watch::Sender::default(),
        };
        let (mood, came, requests) = (collector.mood.clone(), collector.came.clone(), collector.requests.clone());
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (mood, came, requests) = (mood.clone(), came.clone(), requests.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    answer(request, mood.clone(), came.clone(), requests.clone())
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        collector
    }

    fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    /// Waits until it has so many observations.
    async fn until(&self, observations: usize) -> BTreeMap<String, usize> {
        let mut came = self.came.subscribe();
        let there = tokio::time::timeout(PATIENCE, came.wait_for(|came| came.len() >= observations)).await;
        let there = there.map(|came| came.unwrap().clone());
        there.unwrap_or_else(|_| panic!("{} of {observations} came", self.came.borrow().len()))
    }

    async fn until_asked(&self, times: usize) {
        let mut requests = self.requests.subscribe();
        tokio::time::timeout(PATIENCE, requests.wait_for(|asked| *asked >= times)).await.unwrap().unwrap();
    }
}

async fn answer(
    request: Request<Incoming>,
    mood: Arc<Mutex<Mood>>,
    came: watch::Sender<BTreeMap<String, usize>>,
    requests: watch::Sender<usize>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let header = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap());
    assert_eq!((parts.uri.path(), header("content-type")), ("/v1/traces", Some("application/x-protobuf")));
    assert_eq!((header("content-encoding"), header("x-token")), (Some("gzip"), Some("secret")));
    let body = body.collect().await.unwrap().to_bytes();
    let mood = *mood.lock().unwrap();
    if matches!(mood, Mood::Takes | Mood::Silent) {
        let mut protobuf = Vec::new();
        flate2::read::GzDecoder::new(&*body).read_to_end(&mut protobuf).unwrap();
        let export = decode_protobuf(&protobuf).unwrap();
        assert!(export.rejected == 0 && export.accepted <= 512, "{export:?}");
        came.send_modify(|came| {
            for one in &export.batch.observations {
                *came.entry(one.id.to_string()).or_default() += 1;
            }
        });
    }
    requests.send_modify(|asked| *asked += 1);
    let status = match mood {
        Mood::Takes => 200,
        Mood::Busy => 503,
        Mood::Refuses => 400,
        Mood::Silent => {
            std::future::pending::<()>().await;
            0
        }
    };
    Ok(Response::builder().status(status).body(Empty::new()).unwrap())
}

async fn stand(collector: &Collector) -> Stand {
    let mock = MockUpstream::start().await;
    let builder = builder(&mock)
        .env("PRIVET_TRACES_EXPORT_URL", &collector.url)
        .env("PRIVET_TRACES_EXPORT_HEADERS", "x-token=secret");
    Stand { mock, server: builder.start().await, client: client() }
}

fn id(number: usize) -> String {
    format!("{:016x}", number + 1)
}

/// Sends spans with these numbers.
async fn send(stand: &Stand, numbers: std::ops::Range<usize>) {
    let spans: Vec<_> = numbers
        .map(|number| {
            json!({"traceId": format!("{:032x}", number / 10 + 1), "spanId": id(number), "name": "step",
                   "startTimeUnixNano": "1790000000000000000", "endTimeUnixNano": "1790000000000000001"})
        })
        .collect();
    let export = json!({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]});
    let answer = Answer::of(stand.post("/v1/traces", export.to_string())).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn nothing_is_missing_after_a_busy_collector_a_kill_and_a_restart_in_the_middle() {
    let collector = Collector::start(Mood::Busy).await;
    let mut stand = stand(&collector).await;
    send(&stand, 0..600).await;
    collector.until_asked(2).await;
    // Requests go on as if nothing was.
    assert_eq!(stand.chat(ask("openai/gpt-4o", "hi")).await.status, 200);
    collector.set(Mood::Silent);
    collector.until(500).await;
    stand.server.kill_dash_9().await.unwrap();
    collector.set(Mood::Takes);
    stand.server.restart().await;
    send(&stand, 600..1_300).await;
    let came = collector.until(1_301).await;
    for number in 0..1_300 {
        assert!(came.contains_key(&id(number)), "{number}");
    }
    assert!(came.values().any(|times| *times > 1), "what the silent collector had comes again, under the same id");
    let empty = async {
        while !stand.get("/metrics").await.text().contains("privet_trace_export_queue 0") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, empty).await.unwrap();
    stand.server.terminate().await.unwrap();
    stand.server.restart().await;
    send(&stand, 1_300..1_301).await;
    let came = collector.until(1_302).await;
    assert_eq!(came.len(), 1_302);
    assert_eq!(came[&id(1_299)], 1, "what the collector has does not come again");
}

#[tokio::test]
async fn what_a_collector_will_never_take_holds_nothing_up() {
    let collector = Collector::start(Mood::Refuses).await;
    let stand = stand(&collector).await;
    send(&stand, 0..3).await;
    let dropped = async {
        while !stand.get("/metrics").await.text().contains("privet_trace_export_dropped_total{reason=\"rejected\"} 3") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, dropped).await.unwrap();
    collector.set(Mood::Takes);
    send(&stand, 3..5).await;
    assert_eq!(collector.until(2).await.len(), 2);
    assert!(stand.server.logs().contains("is not exported") && !stand.server.logs().contains("secret"));
}
