//! A scriptable upstream that speaks the dialects of OpenAI (chat completions and responses), Anthropic and Gemini and keeps its own bill.
//!
//! OpenAI clients use `{base_url}/v1`, Anthropic's and Gemini's `{base_url}`. Any key and any model name is accepted.
//! It imitates wire formats and faults, not models; it checks nothing about a request but that it is JSON.

mod answer;
mod anthropic;
mod audio;
mod behaviour;
mod body;
mod call;
mod control;
mod embedding;
mod event;
mod failure;
mod gemini;
mod ledger;
mod media;
mod openai;
mod request;
mod rerank;
mod response;
mod responses;
mod sample;
mod schedule;
mod server;
mod state;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinHandle, JoinSet};

pub use answer::DEFAULT_CONTENT;
pub use behaviour::{
    Behaviour, BillOnCancel, ErrorInside, ErrorShape, Framing, Malformed, StaleHeaders, ToolCall, ToolIndex, Usage,
};
pub use ledger::{DEFAULT_PRICE, ModelStats, Price, Stats, price_table};
pub use state::RecordedRequest;
use state::Shared;

/// How long [`MockUpstream::wait_for`] waits.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// A running mock. Dropping it closes the listener and all connections.
pub struct MockUpstream {
    shared: Arc<Shared>,
    address: SocketAddr,
    accepting: AbortHandle,
    task: JoinHandle<()>,
}

impl MockUpstream {
    /// Starts a mock on a free port of 127.0.0.1.
    #[expect(clippy::expect_used, reason = "a test without its upstream cannot go on")]
    pub async fn start() -> Self {
        Self::listen(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("127.0.0.1 has a free port")
    }

    /// Starts a mock on this address.
    pub async fn listen(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::new());
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { shared, address, accepting: task.abort_handle(), task })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers all calls like this from now on, where no narrower script holds.
    pub fn script(&self, behaviour: Behaviour) {
        self.add_script(None, false, behaviour);
    }

    /// Answers the next call like this. Several make a queue.
    pub fn script_once(&self, behaviour: Behaviour) {
        self.add_script(None, true, behaviour);
    }

    /// Answers all calls of a model like this from now on.
    pub fn script_model(&self, model: impl Into<String>, behaviour: Behaviour) {
        self.add_script(Some(model.into()), false, behaviour);
    }

    /// Answers the next call of a model like this. Several make a queue.
    pub fn script_model_once(&self, model: impl Into<String>, behaviour: Behaviour) {
        self.add_script(Some(model.into()), true, behaviour);
    }

    /// Sets what a model costs.
    pub fn price_model(&self, model: impl Into<String>, price: Price) {
        self.shared.lock().ledger.set_price(model.into(), price);
    }

    /// The counters and the bill.
    pub fn stats(&self) -> Stats {
        self.shared.lock().ledger.stats()
    }

    /// Waits until the counters satisfy the condition, and answers them.
    ///
    /// # Panics
    /// When they do not within 10 s.
    #[expect(clippy::panic, reason = "a test that waits in vain has failed")]
    pub async fn wait_for(&self, condition: impl Fn(&Stats) -> bool) -> Stats {
        let waiting = async {
            loop {
                let changed = self.shared.changed.notified();
                tokio::pin!(changed);
                // Registered before looking, so that no change falls between the look and the wait.
                changed.as_mut().enable();
                let stats = self.stats();
                if condition(&stats) {
                    return stats;
                }
                changed.await;
            }
        };
        match tokio::time::timeout(WAIT_MAX, waiting).await {
            Ok(stats) => stats,
            Err(_) => panic!("the mock upstream's counters never came to what was waited for: {:?}", self.stats()),
        }
    }

    /// The last 256 requests, the oldest first; the control routes' are not among them.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.shared.lock().requests()
    }

    /// Forgets scripts, requests and the bill. Set prices stay.
    pub fn reset(&self) {
        self.shared.lock().reset();
    }

    /// Closes the listener and all connections, and waits until that is done.
    pub async fn stop(mut self) {
        self.accepting.abort();
        // The only outcome is the cancellation just asked for.
        let _cancelled = (&mut self.task).await;
    }

    /// Serves until the task is cancelled.
    pub async fn serve_forever(mut self) {
        let _ended = (&mut self.task).await;
    }

    #[expect(clippy::panic, reason = "a wrong script must not pass for a wrong gateway")]
    fn add_script(&self, model: Option<String>, once: bool, behaviour: Behaviour) {
        if let Err(problem) = behaviour.check() {
            panic!("the script cannot be answered: {problem}");
        }
        self.shared.lock().script(model, once, behaviour);
    }
}

impl Drop for MockUpstream {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Accepts for ever. The connections are in its own set, so cancelling it closes them.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(&shared)));
                }
                // Out of file descriptors: give the others a moment to end.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    // Without it small events wait for the acknowledgement of earlier ones.
    let _best_effort = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(server::serve(shared, request).await) }
    });
    // Its errors are clients that left and streams cut as scripted: both are on the bill already.
    let _ended = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}
