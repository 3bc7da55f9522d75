//! What is told of the calls that a request made: to the client in a header, to whoever reads the trace in its steps.

use std::fmt::Write as _;
use std::time::Duration;

use privet_providers::{FailureKind, ProviderError};

use crate::router::Target;

/// A header is no longer than this, in bytes.
const HEADER_BYTES_MAX: usize = 4_000;

/// Which targets were called and which were passed over.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes(Vec<Note>);

#[derive(Clone, Debug)]
struct Note {
    target: String,
    event: Event,
}

/// What happened with a target.
#[derive(Clone, Debug)]
enum Event {
    /// It was called and answered.
    Answered { after: Duration },
    /// It was called and failed; what was done then.
    Failed { kind: FailureKind, status: Option<u16>, after: Duration, then: &'static str },
    /// Another call was faster.
    Overtaken { after: Duration },
    /// It was not called.
    Skipped(&'static str),
}

impl Notes {
    pub(crate) fn answered(&mut self, target: &Target, after: Duration) {
        self.push(target, Event::Answered { after });
    }

    pub(crate) fn failed(&mut self, target: &Target, error: &ProviderError, after: Duration, then: &'static str) {
        self.push(target, Event::Failed { kind: error.failure(), status: error.status(), after, then });
    }

    /// The answer that was noted last turns out to be none.
    pub(crate) fn take_answer_back(&mut self) {
        self.0.pop_if(|note| matches!(note.event, Event::Answered { .. }));
    }

    pub(crate) fn overtaken(&mut self, target: &Target, after: Duration) {
        self.push(target, Event::Overtaken { after });
    }

    pub(crate) fn skipped(&mut self, target: &Target, why: &'static str) {
        self.push(target, Event::Skipped(why));
    }

    fn push(&mut self, target: &Target, event: Event) {
        self.0.push(Note { target: target.name(), event });
    }

    /// Whether there is more to tell than one call.
    pub(crate) fn is_worth_telling(&self) -> bool {
        self.0.len() > 1 || matches!(self.0.first(), Some(Note { event: Event::Skipped(_), .. }))
    }

    /// As a list of structured fields (RFC 9651): `openai/gpt-5;status=503;ms=12;then=again, anthropic/claude;status=200;ms=340`.
    pub(crate) fn header(&self) -> String {
        let mut text = String::new();
        for Note { target, event } in &self.0 {
            let begins = text.len();
            if begins > 0 {
                text.push_str(", ");
            }
            text.extend(target.chars().map(in_header));
            // Writing into a text does not fail.
            let _ = match event {
                Event::Answered { after } => write!(text, ";status=200;ms={}", after.as_millis()),
                Event::Failed { kind, status, after, then } => {
                    let status = status.map(|status| format!(";status={status}")).unwrap_or_default();
                    write!(text, "{status};error={kind};ms={};then={then}", after.as_millis())
                }
                Event::Overtaken { after } => write!(text, ";overtaken;ms={}", after.as_millis()),
                Event::Skipped(why) => write!(text, ";skipped={why}"),
            };
            if text.len() > HEADER_BYTES_MAX {
                text.truncate(begins);
                break;
            }
        }
        text
    }
}

/// A character of a name as a token of a header can hold it.
pub(crate) fn in_header(letter: char) -> char {
    if letter.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~:/".contains(letter) { letter } else { '_' }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use privet_providers::{Provider, TimeoutStage};

    use super::*;

    fn target(model: &str) -> Target {
        Target { provider: Arc::new(Provider::Offline), model: model.to_owned() }
    }

    #[test]
    fn each_call_is_told_with_what_came_of_it() {
        let mut notes = Notes::default();
        let (provider, after) = ("offline".to_owned(), Duration::from_secs(1));
        let slow = ProviderError::Timeout { provider: provider.clone(), stage: TimeoutStage::FirstByte, after };
        let busy = ProviderError::Status { provider, status: 503, error: Box::default(), headers: Box::default() };
        notes.failed(&target("a"), &busy, Duration::from_millis(12), "again");
        notes.failed(&target("a"), &slow, after, "next-target");
        notes.skipped(&target("b, c"), "model-not-allowed");
        notes.overtaken(&target("d"), after);
        notes.answered(&target("e"), Duration::from_millis(340));
        assert_eq!(
            notes.header(),
            "offline/a;status=503;error=server;ms=12;then=again, offline/a;error=timeout;ms=1000;then=next-target, \
             offline/b__c;skipped=model-not-allowed, offline/d;overtaken;ms=1000, offline/e;status=200;ms=340"
        );
    }

    #[test]
    fn one_call_that_answered_is_nothing_to_tell() {
        let mut notes = Notes::default();
        notes.answered(&target("a"), Duration::ZERO);
        assert!(!notes.is_worth_telling());
        notes.skipped(&target("b"), "unpriced");
        assert!(notes.is_worth_telling());
    }

    #[test]
    fn no_header_is_endless() {
        let mut notes = Notes::default();
        (0..1_000).for_each(|_| notes.skipped(&target(&"x".repeat(300)), "unpriced"));
        assert!(notes.header().len() <= HEADER_BYTES_MAX && notes.header().ends_with("skipped=unpriced"));
    }
}
