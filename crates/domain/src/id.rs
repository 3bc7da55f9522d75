//! The ids of Privet: one newtype for each thing, so that one cannot be passed for another.
//!
//! All are UUIDs; those that Privet makes are version 7, which sort by the time they were made.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id, greater than those made before it in this process.
            #[must_use]
            #[expect(clippy::new_without_default, reason = "a default that differs each time would surprise")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }

            /// The UUID inside, for the database and the wire.
            #[must_use]
            pub const fn as_uuid(self) -> Uuid {
                self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0.as_hyphenated())
            }
        }
    };
}

id!(
    /// A project: the boundary of data. Keys, conversations and everything recorded belong to one.
    ProjectId
);
id!(
    /// An API key (not its secret).
    ApiKeyId
);
id!(
    /// A conversation.
    ConversationId
);
id!(
    /// A message of a conversation.
    MessageId
);
id!(
    /// A score configuration.
    ScoreConfigId
);
id!(
    /// One call of the API, as told in `x-request-id` and in the logs.
    RequestId
);

id!(
    /// A prompt: all its versions together.
    PromptId
);
id!(
    /// An alert: that so much of a budget is spent.
    AlertId
);
id!(
    /// A server process that spends from budgets, from its start or its last loss of the lease on.
    ReplicaId
);
id!(
    /// A memory: version 7, or version 5 where it is made of something that has an id, so that making it twice is harmless.
    MemoryId
);
id!(
    /// A document that became memories.
    DocumentId
);
id!(
    /// An embedder: a model with its dimensions, as vectors of it are kept.
    EmbedderId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_made_later_sort_later() {
        let ids: Vec<MessageId> = (0..1000).map(|_| MessageId::new()).collect();
        assert!(ids.is_sorted());
    }

    #[test]
    fn an_id_reads_back_from_its_text() {
        let id = ConversationId::new();
        assert_eq!(id.to_string().parse::<ConversationId>().unwrap(), id);
    }
}
