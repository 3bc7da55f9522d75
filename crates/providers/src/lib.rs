//! Calling language-model providers: over HTTP in three dialects, the built-in offline one, or a model of embeddings in this process.
//!
//! Bytes of the provider's dialect go out and come in; what they mean is decided in `privet_dialects`, whether to call at all
//! in `privet_engine`.

mod address_guard;
mod body;
mod collector;
pub mod embedder;
mod error;
mod failure;
mod http_provider;
mod keys;
mod linked_media;
mod local;
#[cfg(feature = "local-embedder")]
pub mod local_embedder;
mod model_list;
pub mod offline;
mod provider;
mod settings;
mod webhook;

pub use address_guard::{AddressPolicy, AddressRefused, AllowedAddress, PlainHttp};
pub use body::{ByteStream, UpstreamAnswer, UpstreamBody};
pub use collector::{Collector, CollectorError};
pub use error::{ProviderError, TimeoutStage};
pub use failure::{FailureKind, retry_after};
pub use http_provider::{HttpClients, HttpProvider, SetupError};
pub use keys::KeyChoice;
pub use linked_media::{MediaError, MediaFetcher, MediaSettings};
pub use local::{LocalProvider, LocalSetupError};
pub use provider::{
    AudioCall, ChatCall, CountCall, Counted, Deadline, EmbeddingsCall, PassedCall, PassedHead, Provider,
};
pub use settings::{
    ImagesByUrl, ModelTimeouts, OnDisconnect, OpenAiApi, ProviderKind, ProviderSettings, StructuredOutput, Timeouts,
};
pub use webhook::{Webhook, WebhookError, WebhookMessage, WebhookSecret};
