//! What a request to `generateContent` means, for a provider of another dialect. What only Gemini can do is refused by its name.
//!
//! Hints are left out: they change where, how fast or under what label Google works, never what the answer may say. Of the
//! `safetySettings` those are left out that ask for no more than other providers do: none has filters that could be loosened.

use serde_json::{Map, Value};

use super::content::{only_gemini, resolve};
use super::fields::{Fields, wrong};
use super::incoming::IncomingGenerate;
use super::schema::{closed, json_schema};
use crate::canonical::{ChatRequest, Message, Reasoning, ResponseFormat, Role, Tool, ToolChoice};
use crate::translate::RequestError;
use crate::{BadRequest, Unsupported};

/// Top-level members that are read.
const READ: [&str; 7] =
    ["model", "contents", "systemInstruction", "generationConfig", "tools", "toolConfig", "safetySettings"];

/// Hints, and what is Privet's own.
const HINTS: [&str; 4] = ["labels", "serviceTier", "store", "metadata"];

/// Members of `generationConfig` that are read.
const CONFIG: [&str; 18] = [
    "temperature",
    "topP",
    "topK",
    "maxOutputTokens",
    "stopSequences",
    "candidateCount",
    "seed",
    "presencePenalty",
    "frequencyPenalty",
    "responseLogprobs",
    "logprobs",
    "responseMimeType",
    "responseSchema",
    "responseJsonSchema",
    "_responseJsonSchema",
    "responseModalities",
    "thinkingConfig",
    "enableEnhancedCivicAnswers",
];

/// Members of a function's declaration that are read.
const DECLARATION: [&str; 7] =
    ["name", "description", "parameters", "parametersJsonSchema", "response", "responseJsonSchema", "behavior"];

/// Thresholds that block no more than a provider without such filters does.
const LOOSE: [&str; 3] = ["BLOCK_NONE", "OFF", "HARM_BLOCK_THRESHOLD_UNSPECIFIED"];

impl IncomingGenerate {
    /// The whole request in the canonical form, earlier messages put behind its leading instructions.
    ///
    /// # Errors
    /// With the field that is of a wrong type, or that no other dialect can express.
    pub fn to_canonical(&self, model: &str, history: &[Message]) -> Result<ChatRequest, RequestError> {
        self.refuse_what_is_geminis()?;
        let (instructions, said) = self.split();
        let mut messages = [&self.lead, instructions, history, said].concat();
        resolve(&mut messages);
        let config = self.fields.child("generationConfig")?.map_or_else(empty, Ok)?;
        refuse_unread(&config, &CONFIG)?;
        refuse_modalities(&config)?;
        let choice = self.tool_choice()?;
        let logprobs = config.take::<bool>("responseLogprobs")?.unwrap_or(false);
        Ok(ChatRequest {
            model: model.to_owned(),
            messages,
            tools: self.tools(choice.is_strict)?,
            tool_choice: choice.choice,
            max_output_tokens: config.take("maxOutputTokens")?,
            temperature: config.take("temperature")?,
            top_p: config.take("topP")?,
            top_k: top_k(&config)?,
            frequency_penalty: config.take("frequencyPenalty")?,
            presence_penalty: config.take("presencePenalty")?,
            seed: config.take("seed")?,
            stop: config.take("stopSequences")?.unwrap_or_default(),
            choices: config.take("candidateCount")?,
            logprobs: if logprobs { Some(config.take("logprobs")?.unwrap_or(0)) } else { None },
            response_format: response_format(&config)?,
            reasoning: reasoning(&config)?,
            user: self.user(),
            stream: self.stream,
            ..ChatRequest::default()
        })
    }

    fn refuse_what_is_geminis(&self) -> Result<(), RequestError> {
        let unknown = self.fields.names().find(|name| !READ.contains(&&**name) && !HINTS.contains(&&**name));
        if let Some(name) = unknown {
            return Err(only_gemini(&name, "this field").into());
        }
        if let Some(refusal) = &self.only_gemini {
            return Err(refusal.clone().into());
        }
        for setting in self.fields.children("safetySettings")? {
            let threshold: String = setting.take("threshold")?.unwrap_or_default();
            if !threshold.is_empty() && !LOOSE.contains(&threshold.as_str()) {
                return Err(only_gemini(&setting.at("threshold"), "a filter that blocks").into());
            }
        }
        if self.messages.last().is_some_and(|message| message.role == Role::Assistant) {
            let message = "The last of the `contents` is the model's, for it to go on with: models of other providers do not. \
                           End with a content of the user's.";
            return Err(Unsupported::new("contents", message).into());
        }
        Ok(())
    }

    fn tools(&self, is_strict: bool) -> Result<Vec<Tool>, RequestError> {
        let mut tools = Vec::new();
        for tool in self.fields.children("tools")? {
            if let Some(name) = tool.names().find(|name| name != "functionDeclarations") {
                return Err(only_gemini(&tool.at(&name), "this tool").into());
            }
            for declaration in tool.children("functionDeclarations")? {
                tools.push(read_tool(&declaration, is_strict)?);
            }
        }
        Ok(tools)
    }

    fn tool_choice(&self) -> Result<Calling, RequestError> {
        let Some(config) = self.fields.child("toolConfig")? else { return Ok(Calling::default()) };
        refuse_unread(&config, &["functionCallingConfig"])?;
        let Some(calling) = config.child("functionCallingConfig")? else { return Ok(Calling::default()) };
        refuse_unread(&calling, &["mode", "allowedFunctionNames"])?;
        let allowed: Vec<String> = calling.take("allowedFunctionNames")?.unwrap_or_default();
        let choice = match (calling.word("mode")?.as_deref(), allowed.as_slice()) {
            (None, []) => return Ok(Calling::default()),
            (Some("AUTO"), []) => ToolChoice::Auto,
            (Some("NONE"), _) => ToolChoice::None,
            (Some("VALIDATED"), []) => return Ok(Calling { choice: Some(ToolChoice::Auto), is_strict: true }),
            (Some("ANY"), []) => ToolChoice::Required,
            (Some("ANY"), [name]) => ToolChoice::Named(name.clone()),
            (Some("ANY"), names) if self.tools(false)?.iter().all(|tool| names.contains(&tool.name)) => {
                ToolChoice::Required
            }
            (Some("AUTO" | "ANY" | "VALIDATED") | None, _) => {
                return Err(only_gemini(&calling.at("allowedFunctionNames"), "a choice of several functions").into());
            }
            _ => return Err(wrong(&calling.at("mode"), "`AUTO`, `ANY`, `NONE` or `VALIDATED`").into()),
        };
        Ok(Calling { choice: Some(choice), is_strict: false })
    }
}

/// Whether and how functions are to be called.
#[derive(Default)]
struct Calling {
    choice: Option<ToolChoice>,
    is_strict: bool,
}

fn empty() -> Result<Fields, BadRequest> {
    Fields::read(bytes::Bytes::from_static(b"{}"), "generationConfig")
}

fn refuse_unread(fields: &Fields, read: &[&str]) -> Result<(), Unsupported> {
    match fields.names().find(|name| !read.contains(&&**name)) {
        Some(name) => Err(only_gemini(&fields.at(&name), "this field")),
        None => Ok(()),
    }
}

fn refuse_modalities(config: &Fields) -> Result<(), RequestError> {
    let modalities: Vec<String> = config.take("responseModalities")?.unwrap_or_default();
    if modalities.iter().any(|modality| !modality.eq_ignore_ascii_case("text") && !modality.ends_with("UNSPECIFIED")) {
        return Err(only_gemini(&config.at("responseModalities"), "an answer that is not text").into());
    }
    if config.take::<bool>("enableEnhancedCivicAnswers")?.unwrap_or(false) {
        return Err(only_gemini(&config.at("enableEnhancedCivicAnswers"), "this field").into());
    }
    Ok(())
}

/// Google writes it as a number that may have a fraction.
fn top_k(config: &Fields) -> Result<Option<u64>, BadRequest> {
    let Some(top_k) = config.take::<f64>("topK")? else { return Ok(None) };
    if top_k.fract() != 0.0 || !(0.0..=1e9).contains(&top_k) {
        return Err(wrong(&config.at("topK"), "a whole number"));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is whole, and in these bounds")]
    Ok(Some(top_k as u64))
}

/// The shape of the answer.
pub(super) fn response_format(config: &Fields) -> Result<Option<ResponseFormat>, RequestError> {
    let media_type: String = config.take("responseMimeType")?.unwrap_or_default();
    let of_schema = config.take::<Value>("responseSchema")?.map(|schema| json_schema(&schema));
    let of_json_schema = config.take::<Value>("responseJsonSchema")?.or(config.take("_responseJsonSchema")?);
    let schema = of_schema.or(of_json_schema).map(closed);
    match (media_type.as_str(), schema) {
        ("" | "text/plain", None) => Ok(None),
        ("application/json", None) => Ok(Some(ResponseFormat::JsonObject)),
        ("application/json", Some(schema)) => {
            Ok(Some(ResponseFormat::JsonSchema { name: "answer".to_owned(), description: None, schema, strict: None }))
        }
        ("" | "text/plain", Some(_)) => {
            Err(wrong(&config.at("responseMimeType"), "`application/json` where a schema is given").into())
        }
        (other, _) => Err(only_gemini(&config.at("responseMimeType"), &format!("the type `{other}`")).into()),
    }
}

/// How much the model thinks.
pub(super) fn reasoning(config: &Fields) -> Result<Option<Reasoning>, RequestError> {
    let Some(thinking) = config.child("thinkingConfig")? else { return Ok(None) };
    refuse_unread(&thinking, &["includeThoughts", "thinkingBudget", "thinkingLevel"])?;
    let level =
        thinking.word("thinkingLevel")?.map(|level| level.trim_start_matches("THINKING_LEVEL_").to_ascii_lowercase());
    let is_shown = thinking.take::<bool>("includeThoughts")?.unwrap_or(false);
    Ok(match (thinking.take::<i64>("thinkingBudget")?, level) {
        (Some(_), Some(_)) => {
            let message = "`thinkingBudget` and `thinkingLevel` cannot both be given; leave one of them out.";
            return Err(BadRequest::at(thinking.at("thinkingLevel"), message).into());
        }
        (Some(0), None) => Some(Reasoning::Off),
        // As much as the model sees fit.
        (Some(-1), None) => Some(Reasoning::Adaptive),
        (Some(budget), None) => match u64::try_from(budget) {
            Ok(budget) => Some(Reasoning::Budget(budget)),
            Err(_) => return Err(wrong(&thinking.at("thinkingBudget"), "-1, or a whole number of tokens").into()),
        },
        (None, Some(level)) => Some(Reasoning::Effort(level)),
        (None, None) => is_shown.then_some(Reasoning::Adaptive),
    })
}

fn read_tool(declaration: &Fields, is_strict: bool) -> Result<Tool, RequestError> {
    let is_blocking = declaration.word("behavior")?.is_none_or(|behavior| behavior == "BLOCKING");
    refuse_unread(declaration, &DECLARATION)?;
    if !is_blocking {
        return Err(only_gemini(&declaration.at("behavior"), "a function that does not block").into());
    }
    let Some(name) = declaration.take::<String>("name")?.filter(|name| !name.is_empty()) else {
        return Err(wrong(&declaration.at("name"), "the name of a function").into());
    };
    let of_schema = declaration.take::<Value>("parameters")?.map(|schema| json_schema(&schema));
    let parameters = of_schema.or(declaration.take("parametersJsonSchema")?);
    Ok(Tool {
        name,
        description: described(declaration)?,
        parameters: parameters.filter(|schema| *schema != Value::Object(Map::new())),
        strict: is_strict.then_some(true),
    })
}

/// What a function does, and what it answers with: other dialects have no place of their own for that.
fn described(declaration: &Fields) -> Result<Option<String>, BadRequest> {
    let description: Option<String> = declaration.take("description")?;
    let of_schema = declaration.take::<Value>("response")?.map(|schema| json_schema(&schema));
    let Some(response) = of_schema.or(declaration.take("responseJsonSchema")?) else { return Ok(description) };
    let answers = format!("It answers with JSON of this schema: {response}");
    Ok(Some(description.map_or(answers.clone(), |description| format!("{description}\n\n{answers}"))))
}
