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
    /// A response of the Responses API: that of the request that made it.
    ResponseId
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

impl ResponseId {
    /// That of no response.
    pub const NONE: Self = Self(Uuid::nil());
}

/// So many calls of providers a request can make: each has an id of its own.
pub const CALLS_MAX: u8 = 32;

impl RequestId {
    /// The id of a call that the request makes. The first has the request's own; all lie side by side, so that they are found
    /// together. Of [`CALLS_MAX`] and beyond there are none of their own.
    #[must_use]
    pub const fn of_call(self, number: u8) -> Self {
        let (bits, side) = (self.0.as_u128(), CALLS_MAX as u128);
        Self(Uuid::from_u128(bits - bits % side + (bits % side + number as u128) % side))
    }

    /// The first and the last of the ids that calls of the request can have.
    #[must_use]
    pub const fn of_calls(self) -> (Self, Self) {
        let (bits, side) = (self.0.as_u128(), CALLS_MAX as u128);
        let first = bits - bits % side;
        (Self(Uuid::from_u128(first)), Self(Uuid::from_u128(first + side - 1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calls_of_a_request_have_ids_of_their_own_side_by_side() {
        let request = RequestId::new();
        let calls: std::collections::BTreeSet<_> = (0..CALLS_MAX).map(|number| request.of_call(number)).collect();
        assert_eq!((request.of_call(0), calls.len()), (request, usize::from(CALLS_MAX)));
        let (first, last) = request.of_calls();
        assert_eq!((calls.first(), calls.last()), (Some(&first), Some(&last)));
        let others = RequestId::new().of_calls();
        assert!(others.0 > last || others.1 < first);
        assert_eq!(request.of_call(7).as_uuid().get_version_num(), 7);
    }

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
