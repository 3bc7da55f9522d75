//! Gathers a streamed answer into messages, so that it can be recorded whole or as far as it came.

use serde_json::{Map, Value};

use crate::canonical::{ChatEvent, FinishReason, Message, Part, Role, Usage, WIRE_OUTPUT};
use crate::translate::Answer;

/// What has been streamed so far.
#[derive(Clone, Debug, Default)]
pub struct Collector {
    id: String,
    model: String,
    choices: Vec<Gathered>,
    usage: Option<Usage>,
    /// Whether the last usage came when all answers that had begun were at their end.
    is_counted: bool,
    tier: Option<String>,
}

#[derive(Clone, Debug, Default)]
struct Gathered {
    parts: Vec<Part>,
    finish: Option<FinishReason>,
    extra: Map<String, Value>,
}

impl Collector {
    /// Takes in an event.
    pub fn event(&mut self, event: &ChatEvent) {
        match event {
            ChatEvent::Start { id, model } => self.start(id, model),
            ChatEvent::Text { choice, delta } => self.text(*choice, delta),
            ChatEvent::Refusal { choice, delta } => self.refusal(*choice, delta),
            ChatEvent::Thinking { choice, delta } => self.thinking(*choice, delta),
            ChatEvent::ThinkingSignature { choice, signature } => self.signature(*choice, signature),
            ChatEvent::RedactedThinking { choice, data } => {
                self.parts(*choice).push(Part::RedactedThinking { data: data.clone() });
            }
            ChatEvent::Other { choice, dialect, value } => {
                self.parts(*choice).push(Part::Other { dialect: *dialect, value: value.clone() });
            }
            ChatEvent::ToolCall { choice, id, name, signature, .. } => {
                self.tool_call(*choice, id, name, signature.as_deref());
            }
            ChatEvent::ToolArguments { choice, index, delta } => self.tool_arguments(*choice, *index, delta),
            ChatEvent::Finish { choice, reason } => self.finish(*choice, reason.clone()),
            ChatEvent::Usage(usage) => self.usage(*usage),
            ChatEvent::Tier(tier) => self.tier(tier),
            ChatEvent::Ping => {}
        }
    }

    /// Takes in the answer's id and model.
    pub fn start(&mut self, id: &str, model: &str) {
        if self.id.is_empty() {
            id.clone_into(&mut self.id);
            model.clone_into(&mut self.model);
        }
    }

    /// Takes in text.
    pub fn text(&mut self, choice: u32, delta: &str) {
        match self.parts(choice).last_mut() {
            Some(Part::Text { text }) => text.push_str(delta),
            _ if delta.is_empty() => {}
            _ => self.parts(choice).push(Part::Text { text: delta.to_owned() }),
        }
    }

    /// Takes in words of a refusal.
    pub fn refusal(&mut self, choice: u32, delta: &str) {
        match self.parts(choice).last_mut() {
            Some(Part::Refusal { text }) => text.push_str(delta),
            _ => self.parts(choice).push(Part::Refusal { text: delta.to_owned() }),
        }
    }

    /// Takes in shown reasoning. A block that has its signature is closed.
    pub fn thinking(&mut self, choice: u32, delta: &str) {
        match self.parts(choice).last_mut() {
            Some(Part::Thinking { text, signature: None }) => text.push_str(delta),
            _ => self.parts(choice).push(Part::Thinking { text: delta.to_owned(), signature: None }),
        }
    }

    fn signature(&mut self, choice: u32, more: &str) {
        match self.parts(choice).last_mut() {
            Some(Part::Thinking { signature, .. }) => signature.get_or_insert_default().push_str(more),
            _ => self.parts(choice).push(Part::Thinking { text: String::new(), signature: Some(more.to_owned()) }),
        }
    }

    /// Takes in the head of a tool call.
    pub fn tool_call(&mut self, choice: u32, id: &str, name: &str, signature: Option<&str>) {
        self.parts(choice).push(Part::ToolCall {
            id: id.to_owned(),
            name: name.to_owned(),
            arguments: String::new(),
            signature: signature.map(str::to_owned),
        });
    }

    /// Takes in arguments of the call with that index.
    pub fn tool_arguments(&mut self, choice: u32, index: u32, delta: &str) {
        let calls = self.parts(choice).iter_mut().filter_map(|part| match part {
            Part::ToolCall { arguments, .. } => Some(arguments),
            _ => None,
        });
        if let Some(arguments) = calls.into_iter().nth(index as usize) {
            arguments.push_str(delta);
        }
    }

    /// Takes in why an answer ended.
    pub fn finish(&mut self, choice: u32, reason: FinishReason) {
        self.gathered(choice).finish = Some(reason);
    }

    /// Takes in the tokens. Of an event that also ends an answer, the end is taken in first.
    pub fn usage(&mut self, usage: Usage) {
        self.usage = Some(usage);
        self.is_counted = !self.choices.is_empty() && self.choices.iter().all(|choice| choice.finish.is_some());
    }

    /// Takes in the service tier.
    pub fn tier(&mut self, tier: &str) {
        if self.tier.as_deref() != Some(tier) {
            self.tier = Some(tier.to_owned());
        }
    }

    /// Takes in the items of an answer as their provider wrote them ([`WIRE_OUTPUT`]).
    pub fn wire_output(&mut self, choice: u32, items: Vec<Value>) {
        self.gathered(choice).extra.insert(WIRE_OUTPUT.to_owned(), Value::Array(items));
    }

    /// Whether so many answers have ended.
    #[must_use]
    pub fn has_finished(&self, choices: u32) -> bool {
        self.choices.iter().filter(|choice| choice.finish.is_some()).count() >= choices as usize
    }

    /// Whether anything of an answer is there that a client can use, or its end.
    #[must_use]
    pub fn has_output(&self) -> bool {
        self.choices.iter().any(|choice| !choice.parts.is_empty() || choice.finish.is_some())
    }

    /// What has been gathered.
    #[must_use]
    pub fn answer(&self) -> Answer {
        let message = |gathered: &Gathered| Message {
            role: Role::Assistant,
            name: None,
            parts: gathered.parts.clone(),
            extra: gathered.extra.clone(),
        };
        Answer {
            id: self.id.clone(),
            model: self.model.clone(),
            messages: self.choices.iter().map(message).collect(),
            finishes: self.choices.iter().map(|choice| choice.finish.clone()).collect(),
            usage: self.usage,
            is_counted: self.is_counted,
            tier: self.tier.clone(),
        }
    }

    fn parts(&mut self, choice: u32) -> &mut Vec<Part> {
        &mut self.gathered(choice).parts
    }

    fn gathered(&mut self, choice: u32) -> &mut Gathered {
        // A provider that invents choices must not make us allocate without bound.
        let index = (choice as usize).min(CHOICES_MAX - 1);
        if self.choices.len() <= index {
            self.choices.resize(index + 1, Gathered::default());
        }
        #[expect(clippy::indexing_slicing, reason = "the list was just made long enough")]
        &mut self.choices[index]
    }
}

/// OpenAI takes `n` up to 128.
const CHOICES_MAX: usize = 128;
