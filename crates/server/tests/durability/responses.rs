//! Responses are there after a kill: the last event of a stream says so. One that was cut by it is not, and its thread goes on.

use privet_testkit::privet_process::PrivetProcess;
use privet_testkit::upstream::{Behaviour, MockUpstream};
use serde_json::{Value, json};

use crate::client::{Api, builder};

const ROUNDS: usize = 12;

/// A server, and the provider behind it.
struct Stand {
    mock: MockUpstream,
    server: PrivetProcess,
}

impl Stand {
    async fn start() -> Self {
        let mock = MockUpstream::start().await;
        let builder = builder().env("OPENAI_API_KEY", "sk-canary");
        let server = builder.env("OPENAI_BASE_URL", format!("{}/v1", mock.base_url())).start().await;
        Self { mock, server }
    }

    fn api(&self) -> Api {
        Api::new(self.server.url(), self.server.key())
    }

    /// Asks for a stream, on from a response.
    async fn ask(&self, text: &str, previous: Option<&str>) -> reqwest::Response {
        let api = self.api();
        let body = json!({"model": "gpt-4o", "input": text, "stream": true, "previous_response_id": previous});
        let request = api.http.post(format!("{}/v1/responses", api.url)).bearer_auth(&api.key);
        request.header("content-type", "application/json").body(body.to_string()).send().await.unwrap()
    }

    /// The texts of the user's messages that the provider was told last.
    fn told(&self) -> Vec<String> {
        let body = self.mock.requests().pop().unwrap().body;
        let messages = body["messages"].as_array().unwrap().iter();
        messages
            .filter(|message| message["role"] == "user")
            .map(|message| message["content"].as_str().unwrap().to_owned())
            .collect()
    }

    async fn kill_and_restart(&mut self) {
        self.server.kill_dash_9().await.unwrap();
        self.server.restart().await;
    }
}

/// The response of the last event of a stream.
fn last(stream: &str) -> Value {
    let data = stream.trim_end().rsplit("data: ").next().unwrap();
    serde_json::from_str::<Value>(data).unwrap()["response"].clone()
}

#[tokio::test]
async fn wire_29_killed_after_the_last_event_a_response_is_read_and_gone_on_from() {
    let mut stand = Stand::start().await;
    let (mut said, mut previous) = (Vec::new(), None::<String>);
    for round in 0..ROUNDS {
        said.push(format!("turn {round}"));
        let stream = stand.ask(&said[round], previous.as_deref()).await.text().await.unwrap();
        let response = last(&stream);
        assert_eq!(response["status"], "completed", "{stream}");
        assert_eq!(stand.told(), said, "all that was said before the kills");
        stand.kill_and_restart().await;
        let id = response["id"].as_str().unwrap().to_owned();
        assert_eq!(stand.api().get(&format!("/v1/responses/{id}")).await, (200, response));
        previous = Some(id);
    }
}

#[tokio::test]
async fn wire_31_killed_in_a_stream_its_response_is_not_and_what_it_went_on_from_is() {
    let mut stand = Stand::start().await;
    let root = last(&stand.ask("root", None).await.text().await.unwrap());
    let root = root["id"].as_str().unwrap();
    stand.mock.script_once(Behaviour::text("one two three").hang_after_chunks(2));
    let mut response = stand.ask("killed", Some(root)).await;
    let mut read = String::new();
    while !read.contains("two") {
        read += &String::from_utf8_lossy(&response.chunk().await.unwrap().unwrap());
    }
    stand.kill_and_restart().await;
    let cut = &read[read.find("resp_").unwrap()..][..37];
    assert_ne!(cut, root);
    assert_eq!(stand.api().get(&format!("/v1/responses/{cut}")).await.0, 404);
    let on = last(&stand.ask("on", Some(root)).await.text().await.unwrap());
    assert_eq!((on["status"].as_str(), stand.told()), (Some("completed"), vec!["root".to_owned(), "on".to_owned()]));
}
