//! `privet chat`: a conversation in the terminal with a running server.
//!
//! Without a key at hand it makes one in the data folder that it may write, and revokes it at the end.

use std::io::Write as _;
use std::time::Duration;

use clap::Args;
use privet_dialects::sse::SseDecoder;
use privet_domain::scope::{Scope, Scopes};
use privet_domain::time::{Clock as _, SystemClock};
use privet_engine::api_key::{self, KeyRequest};
use privet_engine::keyring;
use privet_providers::HttpProvider;
use reqwest::StatusCode;
use reqwest::header::RETRY_AFTER;
use rustyline::error::ReadlineError;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::{Common, Exit, FAILURE, TRY_AGAIN, UNAVAILABLE, load, open_store};
use crate::config::Config;
use crate::first_run::CHAT_KEY_NAME;
use crate::http::CONVERSATION_HEADER;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest pause that is made for a server that asks for one, and how often.
const PAUSE_MAX: Duration = Duration::from_secs(30);
const PAUSES_MAX: u32 = 3;
/// A key of one chat ends by itself if the process is killed.
const KEY_LIFE: Duration = Duration::from_secs(24 * 3600);

#[derive(Args)]
pub(super) struct ChatArgs {
    #[command(flatten)]
    common: Common,
    /// The server [default: the configured listen address]
    #[arg(long)]
    url: Option<String>,
    /// The key [default: PERSONAL_API_KEY, or one made for this chat]
    #[arg(long, env = "PRIVET_API_KEY", hide_env_values = true)]
    key: Option<String>,
    /// `provider/model` or an alias [default: the server's]
    #[arg(long)]
    model: Option<String>,
    /// Continue this conversation
    #[arg(long, value_name = "ID")]
    conversation: Option<String>,
    /// Ask this and leave
    message: Option<String>,
}

/// A chat under way.
struct Session {
    client: reqwest::Client,
    url: String,
    key: SecretString,
    model: Option<String>,
    conversation: Option<String>,
}

pub(super) async fn run(args: ChatArgs) -> Result<(), Exit> {
    let config = load(&args.common, None)?;
    let client = HttpProvider::client(CONNECT_TIMEOUT).map_err(|error| Exit::new(FAILURE, error.to_string()))?;
    let url = args.url.clone().unwrap_or_else(|| format!("http://{}", config.listen));
    // Before a key is made for it, the server should be there.
    let answers = client.get(format!("{url}/healthz")).send().await;
    if let Err(error) = answers {
        return Err(unreachable(&url, &error));
    }
    let (key, temporary) = key(args.key.as_ref(), &config, Scope::Chat).await?;
    let mut session = Session { client, url, key, model: args.model, conversation: args.conversation };
    let outcome = match &args.message {
        Some(message) => session.ask(message).await,
        None => session.talk().await,
    };
    revoke(&config, temporary).await?;
    if let (Ok(()), Some(id)) = (&outcome, &session.conversation) {
        eprintln!("Continue with: privet chat --conversation {id}");
    }
    outcome
}

/// The key that was given or is configured; else one of this scope, which [`revoke`] ends.
pub(super) async fn key(
    given: Option<&String>,
    config: &Config,
    scope: Scope,
) -> Result<(SecretString, Option<String>), Exit> {
    if let Some(key) = given {
        return Ok((SecretString::from(key.clone()), None));
    }
    if let Some(key) = &config.personal_api_key {
        return Ok((key.clone(), None));
    }
    made_key(config, scope).await
}

/// A key that is made for this and that [`revoke`] ends.
pub(super) async fn made_key(config: &Config, scope: Scope) -> Result<(SecretString, Option<String>), Exit> {
    let now = SystemClock.now();
    let request = KeyRequest {
        scopes: Scopes::of(&[scope]),
        expires_at: Some(now.after(KEY_LIFE)),
        ..KeyRequest::named(CHAT_KEY_NAME)
    };
    let created = api_key::create(&open_store(config).await?, &request, now).await?;
    tokio::time::sleep(keyring::POLL_INTERVAL + Duration::from_millis(50)).await;
    Ok((created.token, Some(created.key.id.to_string())))
}

/// Ends a key that was made for a while.
pub(super) async fn revoke(config: &Config, temporary: Option<String>) -> Result<(), Exit> {
    if let Some(id) = temporary {
        let store = open_store(config).await?;
        api_key::revoke(&store, &id, SystemClock.now()).await?;
    }
    Ok(())
}

impl Session {
    /// Reads lines until the end of input.
    async fn talk(&mut self) -> Result<(), Exit> {
        let mut editor = rustyline::DefaultEditor::new().map_err(|error| Exit::new(FAILURE, error.to_string()))?;
        eprintln!("Chatting with {}. Ctrl-C stops an answer, Ctrl-D leaves.", self.url);
        loop {
            let read = tokio::task::spawn_blocking(move || {
                let line = editor.readline("you> ");
                (editor, line)
            });
            let (returned, line) = read.await.map_err(|error| Exit::new(FAILURE, error.to_string()))?;
            editor = returned;
            let line = match line {
                Ok(line) => line,
                Err(ReadlineError::Interrupted) => continue,
                Err(ReadlineError::Eof) => return Ok(()),
                Err(error) => return Err(Exit::new(FAILURE, error.to_string())),
            };
            if line.trim().is_empty() {
                continue;
            }
            // The history of a session helps; an entry that is refused does not matter.
            let _ = editor.add_history_entry(&line);
            tokio::select! {
                outcome = self.ask(&line) => if let Err(exit) = outcome {
                    if exit.code == UNAVAILABLE {
                        return Err(exit);
                    }
                    eprintln!("privet: {}", exit.message);
                },
                // Dropping the request cancels the answer at the provider.
                _ = tokio::signal::ctrl_c() => eprintln!("\n(stopped)"),
            }
        }
    }

    /// Asks and prints the answer as it comes.
    async fn ask(&mut self, message: &str) -> Result<(), Exit> {
        let body = json!({
            "messages": [{"role": "user", "content": message}],
            "conversation_id": self.conversation, "model": self.model, "stream": true,
        });
        let mut response = self.send(body.to_string()).await?;
        if !response.status().is_success() {
            return Err(refusal(response).await);
        }
        if let Some(id) = response.headers().get(CONVERSATION_HEADER).and_then(|id| id.to_str().ok()) {
            self.conversation = Some(id.to_owned());
        }
        let mut decoder = SseDecoder::default();
        while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(&self.url, &error))? {
            decoder.push(&chunk);
            while let Some(event) = decoder.next_event() {
                let event = event.map_err(|error| Exit::new(FAILURE, error.to_string()))?;
                print_event(&event.data)?;
            }
        }
        println!();
        Ok(())
    }

    /// Sends a question; where the server asks for a short pause, makes it.
    async fn send(&self, body: String) -> Result<reqwest::Response, Exit> {
        let mut pauses = 0;
        loop {
            let request = self
                .client
                .post(format!("{}/api/chat", self.url))
                .bearer_auth(self.key.expose_secret())
                .header("content-type", "application/json")
                .body(body.clone());
            let response = request.send().await.map_err(|error| unreachable(&self.url, &error))?;
            let Some(pause) = pause(&response).filter(|_| pauses < PAUSES_MAX) else { return Ok(response) };
            eprintln!("(the server takes the next question in {} s)", pause.as_secs());
            tokio::time::sleep(pause).await;
            pauses += 1;
        }
    }
}

/// How long the server asks to wait, if that is a time for which a person would.
fn pause(response: &reqwest::Response) -> Option<Duration> {
    let asked = response.headers().get(RETRY_AFTER).filter(|_| response.status() == StatusCode::TOO_MANY_REQUESTS)?;
    let pause = Duration::from_secs(asked.to_str().ok()?.parse().ok()?);
    (pause <= PAUSE_MAX).then_some(pause)
}

pub(super) fn unreachable(url: &str, error: &reqwest::Error) -> Exit {
    if error.is_connect() {
        let message = format!("no server answers at {url}; start one with `privet serve`, or name another with --url");
        return Exit::new(UNAVAILABLE, message);
    }
    Exit::new(FAILURE, "the connection broke in the middle of the answer")
}

pub(super) async fn refusal(response: reqwest::Response) -> Exit {
    let status = response.status();
    let body = response.bytes().await.unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let message = body.get("error").and_then(Value::as_str).unwrap_or("no reason given");
    let code = match status.as_u16() {
        429 | 503 => TRY_AGAIN,
        500..=599 => UNAVAILABLE,
        _ => FAILURE,
    };
    Exit::new(code, format!("the server answered {status}: {message}"))
}

/// Prints the text of an event at once; an error event ends the answer.
fn print_event(data: &[u8]) -> Result<(), Exit> {
    let Ok(event) = serde_json::from_slice::<Value>(data) else { return Ok(()) };
    if let Some(message) = event.pointer("/error/message").and_then(Value::as_str) {
        println!();
        return Err(Exit::new(FAILURE, message));
    }
    if let Some(text) = event.pointer("/choices/0/delta/content").and_then(Value::as_str) {
        let mut out = std::io::stdout().lock();
        let printed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        printed.map_err(|error| Exit::new(FAILURE, format!("the answer cannot be printed: {error}")))?;
    }
    Ok(())
}
