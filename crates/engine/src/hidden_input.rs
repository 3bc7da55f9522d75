//! Input that a provider counts and a request does not show: a server's own system prompt, a template around the thread.
//!
//! What a request can be counted as is bounded by its bytes (`dialects/request_size.rs`). A provider that once counted
//! more than that bound adds something of its own: from then on as much is held on top, for its model.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use privet_domain::usage::Usage;

/// What is known to be added, by `provider/model`, in tokens.
#[derive(Default)]
pub(crate) struct HiddenInput(RwLock<HashMap<String, u64>>);

impl HiddenInput {
    /// The most that a model's provider was seen to add.
    pub(crate) fn of(&self, model: &str) -> u64 {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(model).copied().unwrap_or(0)
    }

    /// Notes what a provider counted for a request of at most so many tokens.
    pub(crate) fn learn(&self, model: &str, bound: u64, counted: &Usage) {
        let added = counted.input.saturating_sub(bound);
        if added == 0 || added <= self.of(model) {
            return;
        }
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let most = known.entry(model.to_owned()).or_default();
        *most = added.max(*most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_that_was_ever_added_is_remembered_for_its_model() {
        let hidden = HiddenInput::default();
        let counted = |input| Usage { input, ..Usage::default() };
        hidden.learn("local/model", 100, &counted(90));
        assert_eq!(hidden.of("local/model"), 0);
        hidden.learn("local/model", 100, &counted(350));
        hidden.learn("local/model", 500, &counted(600));
        assert_eq!(hidden.of("local/model"), 250);
        assert_eq!(hidden.of("local/other"), 0);
    }
}
