//! A prompt as a Markdown file with front matter: YAML between two lines of `---`.
//!
//! A text prompt stands behind the front matter; the messages of a chat prompt stand in it, because headings or rules between
//! them could be part of what they say. What is written reads back the same, whatever the texts hold.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use privet_domain::prompt::{ChatEntry, ChatMessage, LATEST, PromptBody};
use privet_engine::prompt::Prompt;
use serde::Deserialize;
use serde_json::{Map, Value};

/// What a file says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PromptFile {
    pub(super) name: String,
    /// The version that was pulled; `None` for a prompt that was never pushed.
    pub(super) version: Option<u32>,
    pub(super) labels: Vec<String>,
    /// `None` leaves the tags on the server.
    pub(super) tags: Option<Vec<String>>,
    pub(super) config: Value,
    pub(super) commit_message: Option<String>,
    pub(super) body: PromptBody,
}

/// Why a file is no prompt.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("it does not begin with front matter: a line `---`, then `name: …`, then a line `---`")]
    NoFrontMatter,
    #[error("its front matter has no end: a line `---`")]
    NoEnd,
    #[error("its front matter is wrong: {0}")]
    Yaml(String),
    #[error("it has `messages` in its front matter and text behind it; a prompt has one of them")]
    Both,
    #[error("its messages are wrong: {0}")]
    Messages(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FrontMatter {
    name: String,
    version: Option<u32>,
    #[serde(default)]
    labels: Vec<String>,
    tags: Option<Vec<String>>,
    config: Option<Value>,
    commit_message: Option<String>,
    messages: Option<Vec<Map<String, Value>>>,
}

const RULE: &str = "---";
const PLACEHOLDER: &str = "placeholder";

impl PromptFile {
    /// What the server has.
    pub(super) fn of(prompt: &Prompt) -> Self {
        let head = &prompt.head;
        Self {
            name: head.name.clone(),
            version: Some(head.version),
            labels: head.labels.iter().filter(|label| *label != LATEST).cloned().collect(),
            tags: Some(head.tags.clone()),
            config: prompt.config.clone(),
            commit_message: head.commit_message.clone(),
            body: prompt.body.clone(),
        }
    }

    /// Reads a file.
    pub(super) fn parse(text: &str) -> Result<Self, FileError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        // A checkout on Windows changes the ends of lines, of all of them.
        let text = if text.starts_with("---\r\n") { text.replace("\r\n", "\n") } else { text.to_owned() };
        let rest = text.strip_prefix("---\n").ok_or(FileError::NoFrontMatter)?;
        let (matter, behind) = split_at_rule(rest).ok_or(FileError::NoEnd)?;
        let matter: FrontMatter =
            serde_saphyr::from_str(matter).map_err(|error| FileError::Yaml(first_line(&error.to_string())))?;
        let body = match matter.messages {
            Some(_) if !behind.trim().is_empty() => return Err(FileError::Both),
            Some(messages) => PromptBody::Chat(read_entries(messages).map_err(FileError::Messages)?),
            None => PromptBody::Text(behind.strip_suffix('\n').unwrap_or(behind).to_owned()),
        };
        Ok(Self {
            name: matter.name,
            version: matter.version,
            labels: matter.labels,
            tags: matter.tags,
            config: matter.config.filter(|config| !config.is_null()).unwrap_or_else(|| Value::Object(Map::new())),
            commit_message: matter.commit_message,
            body,
        })
    }

    /// Writes the file.
    pub(super) fn render(&self) -> String {
        let mut out = format!("{RULE}\nname: {}\n", scalar(&self.name));
        // Writing to a string cannot fail.
        if let Some(version) = self.version {
            let _ = writeln!(out, "version: {version}");
        }
        if !self.labels.is_empty() {
            let _ = writeln!(out, "labels: {}", list(&self.labels));
        }
        if let Some(tags) = &self.tags {
            let _ = writeln!(out, "tags: {}", list(tags));
        }
        if let Some(message) = &self.commit_message {
            let _ = writeln!(out, "commit_message: {}", scalar(message));
        }
        match &self.config {
            Value::Object(members) if members.is_empty() => {}
            Value::Object(members) => {
                out.push_str("config:\n");
                for (key, value) in members {
                    let _ = writeln!(out, "  {}: {}", scalar(key), flow(value));
                }
            }
            other => {
                let _ = writeln!(out, "config: {}", flow(other));
            }
        }
        match &self.body {
            PromptBody::Text(text) => {
                let _ = write!(out, "{RULE}\n{text}\n");
            }
            PromptBody::Chat(entries) => {
                out.push_str("messages:\n");
                for entry in entries {
                    write_entry(&mut out, entry);
                }
                let _ = writeln!(out, "{RULE}");
            }
        }
        out
    }

    /// Whether a version of the server says the same: text and configuration, and the tags where the file names them.
    pub(super) fn says_the_same(&self, prompt: &Prompt) -> bool {
        let tags = |tags: &[String]| {
            let mut tags = tags.to_vec();
            tags.sort_unstable();
            tags.dedup();
            tags
        };
        self.body == prompt.body
            && self.config == prompt.config
            && self.tags.as_ref().is_none_or(|own| tags(own) == tags(&prompt.head.tags))
    }
}

/// The text of a file with another version in its front matter, and all else as it was.
pub(super) fn with_version(text: &str, version: u32) -> String {
    let end = if text.contains("---\r\n") { "\r\n" } else { "\n" };
    let (mut out, mut rules, mut is_done) = (String::with_capacity(text.len() + 16), 0, false);
    for line in text.split_inclusive('\n') {
        let bare = line.trim_end_matches(['\r', '\n']);
        rules += usize::from(bare.trim_start_matches('\u{feff}') == RULE);
        if rules == 1 && !is_done && bare.starts_with("version:") {
            let _ = write!(out, "version: {version}{end}");
            is_done = true;
            continue;
        }
        if rules == 2 && !is_done {
            let _ = write!(out, "version: {version}{end}");
            is_done = true;
        }
        out.push_str(line);
    }
    out
}

/// Where a prompt's file lies: its folders are folders. Names that a file system could not hold, or that would lead elsewhere,
/// are escaped; the name itself stands in the file.
pub(super) fn path_of(folder: &Path, name: &str) -> PathBuf {
    let mut path = folder.to_owned();
    let mut segments = name.split('/').peekable();
    while let Some(segment) = segments.next() {
        let mut segment = escaped(segment);
        if segments.peek().is_none() {
            segment.push_str(".md");
        }
        path.push(segment);
    }
    path
}

fn escaped(segment: &str) -> String {
    const BYTES_MAX: usize = 150;
    let is_safe = |char: char| char.is_alphanumeric() || matches!(char, '-' | '_' | ' ' | '.' | '(' | ')' | ',' | '+');
    let mut out = String::with_capacity(segment.len());
    for (index, char) in segment.char_indices() {
        let is_hidden = index == 0 && matches!(char, '.' | ' ' | '-');
        let ends_oddly = index + char.len_utf8() == segment.len() && matches!(char, '.' | ' ');
        if is_safe(char) && !is_hidden && !ends_oddly {
            out.push(char);
        } else {
            for byte in char.to_string().bytes() {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    if out.len() <= BYTES_MAX {
        return out;
    }
    let hash = blake3::hash(segment.as_bytes()).to_hex();
    let end = (0..=BYTES_MAX).rev().find(|end| out.is_char_boundary(*end)).unwrap_or(0);
    format!("{}~{}", out.get(..end).unwrap_or_default(), hash.get(..16).unwrap_or_default())
}

/// What stands before a line that is a rule, and behind it.
fn split_at_rule(text: &str) -> Option<(&str, &str)> {
    let mut begin = 0;
    for line in text.split_inclusive('\n') {
        if line.trim_end_matches('\n') == RULE {
            return Some((text.get(..begin)?, text.get(begin + line.len()..)?));
        }
        begin += line.len();
    }
    None
}

fn read_entries(messages: Vec<Map<String, Value>>) -> Result<Vec<ChatEntry>, String> {
    let read = |mut members: Map<String, Value>| {
        if let (Some(Value::String(name)), 1) = (members.get(PLACEHOLDER), members.len()) {
            return Ok(ChatEntry::Placeholder(name.clone()));
        }
        let mut text = |name: &str| match members.shift_remove(name) {
            Some(Value::String(text)) => Ok(text),
            _ => Err(format!("a message has `role` and `content`, both texts, or `{PLACEHOLDER}` alone")),
        };
        Ok(ChatEntry::Message(ChatMessage { role: text("role")?, content: text("content")?, more: members }))
    };
    messages.into_iter().map(read).collect()
}

fn write_entry(out: &mut String, entry: &ChatEntry) {
    match entry {
        ChatEntry::Placeholder(name) => {
            let _ = writeln!(out, "  - {PLACEHOLDER}: {}", scalar(name));
        }
        ChatEntry::Message(message) => {
            let _ = writeln!(out, "  - role: {}", scalar(&message.role));
            out.push_str("    content: ");
            write_block(out, &message.content, "      ");
            for (key, value) in &message.more {
                let _ = writeln!(out, "    {}: {}", scalar(key), flow(value));
            }
        }
    }
}

/// A text line by line where that is sure to read back the same, or else in quotes.
fn write_block(out: &mut String, text: &str, indent: &str) {
    let plain = text.strip_suffix('\n').unwrap_or(text);
    let is_sure = !plain.is_empty()
        && !plain.ends_with('\n')
        && !plain.starts_with([' ', '\t', '\n'])
        && plain.chars().all(|char| char == '\n' || char == '\t' || is_printable(char))
        && plain.lines().all(|line| line.is_empty() || !line.trim().is_empty());
    if !is_sure {
        let _ = writeln!(out, "{}", quoted(text));
        return;
    }
    out.push_str(if text.ends_with('\n') { "|\n" } else { "|-\n" });
    for line in plain.split('\n') {
        if !line.is_empty() {
            out.push_str(indent);
            out.push_str(line);
        }
        out.push('\n');
    }
}

/// A word as it is, anything that YAML could take for something else in quotes.
fn scalar(text: &str) -> String {
    let is_word = text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.chars().all(|char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-' | '/' | '.'));
    let is_meant_otherwise =
        ["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&text.to_lowercase().as_str());
    if is_word && !is_meant_otherwise { text.to_owned() } else { quoted(text) }
}

fn list(texts: &[String]) -> String {
    format!("[{}]", texts.iter().map(|text| scalar(text)).collect::<Vec<_>>().join(", "))
}

/// JSON on one line, which is YAML as well.
fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Array(values) => format!("[{}]", values.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::Object(members) => {
            let member = |(key, value): (&String, &Value)| format!("{}: {}", quoted(key), flow(value));
            format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            char if is_printable(char) => out.push(char),
            char => {
                let _ = write!(out, "\\U{:08X}", u32::from(char));
            }
        }
    }
    out.push('"');
    out
}

/// Whether YAML takes a character as it is.
fn is_printable(char: char) -> bool {
    !char.is_control() && !matches!(char, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
    use proptest::{collection, option};
    use serde_json::json;

    use super::*;

    /// Texts that a careless format would change.
    fn text() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            any::<String>(),
            "[a-z {}#:\\-\n]{0,20}",
            Just("---\n".to_owned()),
            Just("\n---\n".to_owned()),
            Just("\r\n".to_owned()),
            Just("  - role: user\n".to_owned()),
            Just("\u{85}\u{2028}\u{feff}\t".to_owned()),
            Just("# heading\n\n| a | b |\n".to_owned()),
            Just("yes".to_owned()),
            Just("\"'\\".to_owned()),
            Just("${HOME} &anchor *alias !tag %x @y `z`".to_owned()),
        ];
        collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat())
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_filter("JSON has no others", |number| number.is_finite()).prop_map(Value::from),
            text().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                collection::btree_map(text(), inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    fn object() -> impl Strategy<Value = Map<String, Value>> {
        collection::btree_map(text(), value(), 0..4).prop_map(|members| members.into_iter().collect())
    }

    fn entry() -> impl Strategy<Value = ChatEntry> {
        let message = (text(), text(), object()).prop_map(|(role, content, mut more)| {
            for own in ["role", "content", "type"] {
                more.remove(own);
            }
            ChatEntry::Message(ChatMessage { role, content, more })
        });
        prop_oneof![3 => message, 1 => "[a-zA-Z][a-zA-Z0-9_]{0,8}".prop_map(ChatEntry::Placeholder)]
    }

    fn file() -> impl Strategy<Value = PromptFile> {
        let body =
            prop_oneof![text().prop_map(PromptBody::Text), collection::vec(entry(), 1..5).prop_map(PromptBody::Chat),];
        let texts = || collection::vec(text(), 0..3);
        (text(), option::of(any::<u32>()), texts(), option::of(texts()), object(), option::of(text()), body).prop_map(
            |(name, version, labels, tags, config, commit_message, body)| PromptFile {
                name,
                version,
                labels,
                tags,
                config: Value::Object(config),
                commit_message,
                body,
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_the_same(file in file()) {
            let written = file.render();
            let read = PromptFile::parse(&written).unwrap_or_else(|error| panic!("{error}\n{written}"));
            assert_eq!(read, file, "{written}");
        }

        #[test]
        fn a_new_version_changes_one_line(file in file(), version in any::<u32>()) {
            let written = with_version(&file.render(), version);
            let read = PromptFile::parse(&written).unwrap();
            assert_eq!(read, PromptFile { version: Some(version), ..file });
        }

        #[test]
        fn no_name_leads_out_of_the_folder(name in "[a-zA-Z0-9./ \\\\:~żó-]{1,40}") {
            let path = path_of(Path::new("prompts"), &name);
            assert!(path.starts_with("prompts"));
            assert!(path.components().all(|part| matches!(part, std::path::Component::Normal(_))), "{path:?}");
        }
    }

    #[test]
    fn files_are_readable() {
        let file = PromptFile {
            name: "support/first reply".to_owned(),
            version: Some(3),
            labels: vec!["production".to_owned()],
            tags: Some(vec!["help desk".to_owned()]),
            config: json!({"model": "openai/gpt-4o", "stop": ["END"], "temperature": 0.5}),
            commit_message: Some("Be kinder".to_owned()),
            body: PromptBody::from_json(json!([
                {"role": "system", "content": "You help {{name}}.\n\n# Rules\n- be brief\n"},
                {"type": "placeholder", "name": "history"},
                {"role": "user", "content": "{{question}}"},
            ]))
            .unwrap(),
        };
        let head = "---\nname: \"support/first reply\"\nversion: 3\nlabels: [production]\ntags: [\"help desk\"]\n\
                    commit_message: \"Be kinder\"\nconfig:\n  model: \"openai/gpt-4o\"\n  stop: [\"END\"]\n  temperature: 0.5\n";
        let messages = "messages:\n  - role: system\n    content: |\n      You help {{name}}.\n\n      # Rules\n      - be brief\n\
                        \x20 - placeholder: history\n  - role: user\n    content: |-\n      {{question}}\n---\n";
        assert_eq!(file.render(), format!("{head}{messages}"));
        let text = PromptFile { body: PromptBody::Text("Say hello.\n\n---\n".to_owned()), ..file };
        assert_eq!(text.render(), format!("{head}---\nSay hello.\n\n---\n\n"));
    }

    #[test]
    fn files_that_people_wrote_are_read() {
        let by_hand = "---\r\nname: a\r\n# a comment\r\nlabels:\r\n  - production\r\n---\r\nHello\r\nyou\r\n";
        let file = PromptFile::parse(by_hand).unwrap();
        assert_eq!((file.body, file.labels.len()), (PromptBody::Text("Hello\nyou".to_owned()), 1));
        assert_eq!(
            with_version("---\nname: a\n---\nversion: x\n---\n", 2),
            "---\nname: a\nversion: 2\n---\nversion: x\n---\n"
        );
        for (wrong, words) in [
            ("Hello", "does not begin"),
            ("---\nname: a\n", "no end"),
            ("---\nname: a\nlable: x\n---\n", "front matter is wrong"),
            ("---\nversion: 1\n---\n", "name"),
            ("---\nname: a\nmessages:\n  - role: user\n---\n", "`content`"),
            ("---\nname: a\nmessages:\n  - role: user\n    content: x\n---\ntext", "one of them"),
        ] {
            let error = PromptFile::parse(wrong).unwrap_err().to_string();
            assert!(error.contains(words), "{wrong}: {error}");
        }
    }

    #[test]
    fn long_and_odd_names_have_files_of_their_own() {
        let path = |name: &str| path_of(Path::new("p"), name).display().to_string();
        assert_eq!(path("support/first reply"), "p/support/first reply.md");
        assert_eq!(path("../.ssh/x:y"), "p/%2E%2E/%2Essh/x%3Ay.md");
        let long = |end: &str| path(&format!("{}{end}", "ż".repeat(200)));
        assert!(long("a").len() < 200 && long("a") != long("b"));
    }
}
