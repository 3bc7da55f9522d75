//! A key as it is shown, by the command line and by the API alike: never with its secret or its hash.

use std::fmt::Display;

use privet_domain::id::ApiKeyId;
use privet_engine::api_key::{self, CreatedKey};
use privet_store::{ApiKey, StoreError};
use secrecy::ExposeSecret as _;
use serde::Serialize;
use utoipa::ToSchema;

/// A key, without its secret.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeyView {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    pub(crate) id: ApiKeyId,
    /// The public part of its text.
    pub(crate) public_id: String,
    /// The public key for Langfuse's SDKs; their secret key is the whole text.
    pub(crate) public_key: String,
    /// The first key of its line of rotations: budgets go on under this id.
    #[schema(value_type = uuid::Uuid)]
    family_id: ApiKeyId,
    /// What its owner calls it.
    pub(crate) name: String,
    /// The user it belongs to.
    user_id: String,
    /// The project whose data it sees.
    project: String,
    /// What it may do: `chat`, `embeddings`, `read`, `prompts`, `traces`, `admin`.
    scopes: Vec<&'static str>,
    /// The models that it may use; all if there are none.
    models: Vec<String>,
    /// How much money it and its successors may spend, such as `1.00/day`.
    budgets: Vec<String>,
    /// How many requests it may make, such as `60/1m`.
    rates: Vec<String>,
    /// How many tokens it may use, such as `100000/1m`.
    token_rates: Vec<String>,
    /// How many calls it may have under way.
    concurrency: Option<u32>,
    /// How many requests may come from one address, in place of the configured rate.
    address_rate: Option<String>,
    /// For how long its answers are kept for the same question.
    cache: Option<String>,
    /// When it was made, RFC 3339.
    created_at: String,
    /// When it ends, RFC 3339.
    expires_at: Option<String>,
    /// When it was revoked, RFC 3339.
    revoked_at: Option<String>,
    /// When it was last used, to within seconds, RFC 3339.
    last_used_at: Option<String>,
}

/// A key that was just made. Its text is shown this once.
#[derive(Serialize, ToSchema)]
pub(crate) struct CreatedKeyView {
    /// The whole key, which is the secret key for Langfuse's SDKs too.
    key: String,
    #[serde(flatten)]
    view: KeyView,
}

impl KeyView {
    /// Reads it from its row.
    pub(crate) fn read(key: &ApiKey) -> Result<Self, StoreError> {
        let (scopes, limits) = api_key::rights(key)?;
        Ok(Self {
            id: key.id,
            public_id: key.public_id.clone(),
            public_key: key.public_key.clone(),
            family_id: key.family_id,
            name: key.name.clone(),
            user_id: key.user_id.clone(),
            project: key.project.clone(),
            scopes: scopes.names().collect(),
            models: texts(&limits.models),
            budgets: texts(&limits.budgets),
            rates: texts(&limits.requests),
            token_rates: texts(&limits.tokens),
            concurrency: limits.concurrency,
            address_rate: limits.address.map(|rate| rate.to_string()),
            cache: limits.cache.map(|time| time.to_string()),
            created_at: key.created_at.to_string(),
            expires_at: key.expires_at.map(|at| at.to_string()),
            revoked_at: key.revoked_at.map(|at| at.to_string()),
            last_used_at: key.last_used_at.map(|at| at.to_string()),
        })
    }

    /// Its rights in a line, for people.
    pub(crate) fn rights(&self) -> String {
        let mut line = format!("scopes {}", self.scopes.join(","));
        let lists = [
            ("models", &self.models),
            ("budgets", &self.budgets),
            ("rates", &self.rates),
            ("token rates", &self.token_rates),
        ];
        for (name, values) in lists {
            if !values.is_empty() {
                line.push_str(&format!("  {name} {}", values.join(", ")));
            }
        }
        if let Some(concurrency) = self.concurrency {
            line.push_str(&format!("  concurrency {concurrency}"));
        }
        if let Some(rate) = &self.address_rate {
            line.push_str(&format!("  address rate {rate}"));
        }
        if let Some(time) = &self.cache {
            line.push_str(&format!("  cache {time}"));
        }
        match &self.last_used_at {
            Some(at) => line.push_str(&format!("  last used {at}")),
            None => line.push_str("  never used"),
        }
        line
    }
}

impl CreatedKeyView {
    /// Shows the key's text.
    pub(crate) fn reveal(created: &CreatedKey) -> Result<Self, StoreError> {
        Ok(Self { key: created.token.expose_secret().to_owned(), view: KeyView::read(&created.key)? })
    }
}

fn texts<T: Display>(values: &[T]) -> Vec<String> {
    values.iter().map(T::to_string).collect()
}
