//! One call of the server: never longer than its time, and what failed told as the index tells it.

use std::future::Future;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use privet_domain::memory::IndexError;
use qdrant_client::QdrantError;

use crate::QdrantIndex;

/// A search that takes longer is given up: an answer waits for it.
pub(crate) const SEARCH_TIMEOUT: Duration = Duration::from_secs(3);
/// Reading what is there, to compare or to carry over.
pub(crate) const READ_TIMEOUT: Duration = Duration::from_secs(15);
/// Writing, until it is applied.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Making the collection, its indexes and vectors, and deleting vectors.
pub(crate) const CHANGE_TIMEOUT: Duration = Duration::from_secs(60);

/// The codes of gRPC that are told apart, by their numbers: the client's own type of them is not passed on by it.
mod code {
    pub(super) const INVALID_ARGUMENT: i32 = 3;
    pub(super) const NOT_FOUND: i32 = 5;
    pub(super) const ALREADY_EXISTS: i32 = 6;
    pub(super) const PERMISSION_DENIED: i32 = 7;
    pub(super) const FAILED_PRECONDITION: i32 = 9;
    pub(super) const OUT_OF_RANGE: i32 = 11;
    pub(super) const UNIMPLEMENTED: i32 = 12;
    pub(super) const UNAUTHENTICATED: i32 = 16;
}

/// What failed.
pub(crate) enum Failure {
    /// What was named is not there.
    Missing(String),
    /// What was to be made is there already.
    Exists(String),
    /// Any other.
    Other(IndexError),
}

impl From<Failure> for IndexError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Missing(why) | Failure::Exists(why) => Self::Refused(why),
            Failure::Other(error) => error,
        }
    }
}

impl QdrantIndex {
    /// Calls the server. When the collection is gone, it is made again the next time.
    pub(crate) fn call<T>(
        &self,
        timeout: Duration,
        call: impl Future<Output = Result<T, QdrantError>> + Send,
    ) -> impl Future<Output = Result<T, Failure>> + Send {
        // The client's futures are large.
        let call = Box::pin(call);
        async move {
            let failure = match tokio::time::timeout(timeout, call).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => failure(&error),
                Err(_) => {
                    Failure::Other(IndexError::Unavailable(format!("Qdrant took longer than {} s", timeout.as_secs())))
                }
            };
            if matches!(failure, Failure::Missing(_)) {
                self.forget_collection();
            }
            Err(failure)
        }
    }

    /// What is known of the collection is asked anew.
    pub(crate) fn forget_collection(&self) {
        self.state.is_made.store(false, Ordering::Release);
        self.state.dimensions.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn failure(error: &QdrantError) -> Failure {
    let (QdrantError::ResponseError { status } | QdrantError::ResourceExhaustedError { status, .. }) = error else {
        return Failure::Other(IndexError::Unavailable(error.to_string()));
    };
    let why = format!("Qdrant: {}", status.message());
    match status.code() as i32 {
        code::NOT_FOUND => Failure::Missing(why),
        code::ALREADY_EXISTS => Failure::Exists(why),
        // The server says so of an unknown collection, too, in older versions.
        code::INVALID_ARGUMENT if why.contains("already exists") => Failure::Exists(why),
        code::INVALID_ARGUMENT | code::FAILED_PRECONDITION | code::OUT_OF_RANGE => {
            Failure::Other(IndexError::Refused(why))
        }
        code::PERMISSION_DENIED | code::UNAUTHENTICATED => {
            Failure::Other(IndexError::Refused(format!("{why}; see memory.qdrant_api_key")))
        }
        code::UNIMPLEMENTED => {
            Failure::Other(IndexError::Refused(format!("{why}; Privet needs Qdrant 1.18 or newer, on its gRPC port")))
        }
        _ => Failure::Other(IndexError::Unavailable(why)),
    }
}
