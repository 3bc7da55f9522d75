//! The server is killed while memories are described: while the model is asked, between its answer and the storing of what it said, and
//! again and again. After the restart every memory is described, and none twice.

use std::time::Duration;

use privet_testkit::upstream::Behaviour;

use crate::memory::{PATIENCE, POLL, Stand, number};

const DESCRIBER: &str = "gpt-4.1-mini";
const MEMORY: &str = "describer = \"openai/gpt-4.1-mini\"\ndescribe_bytes_min = \"20\"\ndescribe_pace = \"1000/1s\"\n";
const SAID: &str = r#"{"title": "t", "summary": "s", "facts": ["f1", "f2"], "questions": ["q"]}"#;
/// Of each memory that is described.
const REPRESENTATIONS: i64 = 4;
const WAITING: &str = "SELECT COUNT(*) FROM memory_descriptions WHERE state = 'waiting'";
const MADE: &str = "SELECT COUNT(*) FROM memory_descriptions WHERE state = 'made'";
const DESCRIBED: &str = "SELECT COUNT(*) FROM memory_representations WHERE kind IN ('summary', 'facts', 'questions')";

impl Stand {
    fn times_asked(&self) -> usize {
        self.mock.requests().iter().filter(|request| request.body["model"] == DESCRIBER).count()
    }

    async fn until_asked(&self) {
        let asked = async {
            while self.times_asked() == 0 {
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| panic!("{}", self.server.logs()));
    }

    /// What is said after a kill and a restart: everything is there, every memory that is worth it is described once.
    async fn describes_everything(&mut self) {
        self.mock.script_model(DESCRIBER, Behaviour::text(SAID));
        self.holds_everything().await;
        let mut database = self.database().await;
        let described = async {
            while number(&mut database, WAITING).await > 0 || number(&mut database, DESCRIBED).await == 0 {
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::time::timeout(PATIENCE, described).await.unwrap_or_else(|_| panic!("{}", self.server.logs()));
        let worth = number(&mut database, "SELECT COUNT(*) FROM memories WHERE octet_length(text) >= 20").await;
        assert_eq!((number(&mut database, MADE).await, worth > 0), (worth, true));
        assert_eq!(number(&mut database, DESCRIBED).await, worth * REPRESENTATIONS);
        // Descriptions are embedded as everything else is.
        self.holds_everything().await;
    }
}

#[tokio::test]
async fn killed_while_the_model_is_asked_it_asks_again_after_the_restart() {
    let mut stand = Stand::start_with(MEMORY).await;
    stand.mock.script_model(DESCRIBER, Behaviour::new().hang());
    stand.say().await;
    stand.until_asked().await;
    stand.server.kill_dash_9().await.unwrap();
    stand.mock.reset();
    stand.describes_everything().await;
}

#[tokio::test]
async fn killed_between_the_answer_and_the_storing_it_describes_once_more_and_not_twice() {
    let mut stand = Stand::start_with(MEMORY).await;
    stand.mock.script_model(DESCRIBER, Behaviour::text(SAID).first_byte_delay_ms(1_000));
    stand.say().await;
    stand.until_asked().await;
    // While the model answers, somebody else begins to write; then the description waits.
    let mut database = stand.database().await;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut database).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(number(&mut database, DESCRIBED).await, 0, "nothing can be written meanwhile");
    stand.server.kill_dash_9().await.unwrap();
    sqlx::query("ROLLBACK").execute(&mut database).await.unwrap();
    let before = stand.times_asked();
    stand.describes_everything().await;
    assert!(stand.times_asked() > before, "what was answered was lost with the process, and is bought once more");
}

#[tokio::test]
async fn killed_again_and_again_while_it_describes_it_describes_everything_once() {
    let mut stand = Stand::start_with(MEMORY).await;
    stand.mock.script_model(DESCRIBER, Behaviour::text(SAID));
    for round in 0..8 {
        for _ in 0..4 {
            stand.say().await;
        }
        tokio::time::sleep(Duration::from_millis(53 * round)).await;
        stand.server.kill_dash_9().await.unwrap();
        stand.server.restart().await;
    }
    stand.server.kill_dash_9().await.unwrap();
    stand.describes_everything().await;
}
