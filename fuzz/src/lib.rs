//! What must hold for any input whatever: a target for each reader of foreign bytes and for each pair of dialects.
//!
//! A target panics where it does not hold. The inputs in `corpus/` are tried by the ordinary tests; `cargo xtask fuzz` looks for more.
//! How an input becomes another is libFuzzer's.

mod answers;
mod requests;
mod sse;
mod streams;
mod traces;

use privet_dialects::{Dialect, Inbound};

/// What must hold for an input.
pub type Check = Box<dyn Fn(&[u8]) + Send + Sync>;

/// A target.
pub struct Target {
    /// Its name, as `cargo xtask fuzz` takes it.
    pub name: String,
    /// The folder of its inputs in `corpus/`. Pairs that read the same share it: what one found is tried with the others.
    pub corpus: String,
    /// What must hold.
    pub check: Check,
}

impl Target {
    fn new(name: impl Into<String>, corpus: impl Into<String>, check: impl Fn(&[u8]) + Send + Sync + 'static) -> Self {
        Self { name: name.into(), corpus: corpus.into(), check: Box::new(check) }
    }
}

/// All targets.
#[must_use]
pub fn targets() -> Vec<Target> {
    let mut targets = vec![
        Target::new("sse", "sse", sse::check),
        Target::new("otlp_protobuf", "otlp_protobuf", traces::otlp_protobuf),
        Target::new("otlp_json", "otlp_json", traces::otlp_json),
        Target::new("langfuse", "langfuse", traces::langfuse),
    ];
    for inbound in Inbound::ALL {
        for outbound in Dialect::ALL {
            let (client, provider) = (inbound.dialect().name(), outbound.name());
            targets.push(Target::new(
                format!("request_{client}_to_{provider}"),
                format!("requests_{client}"),
                move |input| requests::check(inbound, outbound, input),
            ));
            targets.push(Target::new(
                format!("answer_{provider}_to_{client}"),
                format!("answers_{provider}"),
                move |input| answers::check(inbound, outbound, input),
            ));
            targets.push(Target::new(
                format!("stream_{provider}_to_{client}"),
                format!("streams_{provider}"),
                move |input| streams::check(inbound, outbound, input),
            ));
        }
    }
    targets
}
