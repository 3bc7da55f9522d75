//! What the providers offer, asked for and remembered a while.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::Mutex;

use crate::router::Router;

const FRESH_FOR: Duration = Duration::from_secs(300);
const PATIENCE: Duration = Duration::from_secs(5);

/// A model that can be asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OfferedModel {
    /// `provider/model`, or an alias.
    pub id: String,
    /// The provider, or `privet` for an alias.
    pub owned_by: String,
}

/// The list of models, remembered for five minutes.
#[derive(Default)]
pub struct ModelCatalogue {
    known: Mutex<Option<(Instant, Vec<OfferedModel>)>>,
}

impl ModelCatalogue {
    /// All models: the aliases, then those of each provider that answers within five seconds.
    pub async fn list(&self, router: &Router) -> Vec<OfferedModel> {
        let mut known = self.known.lock().await;
        if let Some((asked_at, models)) = &*known
            && asked_at.elapsed() < FRESH_FOR
        {
            return models.clone();
        }
        let (models, complete) = ask(router).await;
        if complete {
            *known = Some((Instant::now(), models.clone()));
        }
        models
    }
}

async fn ask(router: &Router) -> (Vec<OfferedModel>, bool) {
    let aliases = router.aliases().map(|alias| OfferedModel { id: alias.to_owned(), owned_by: "privet".to_owned() });
    let mut models: Vec<OfferedModel> = aliases.collect();
    let mut complete = true;
    let lists = join_all(
        router
            .providers()
            .map(|provider| async move { (provider.name(), tokio::time::timeout(PATIENCE, provider.models()).await) }),
    )
    .await;
    for (provider, list) in lists {
        match list {
            Ok(Ok(list)) => models.extend(
                list.into_iter()
                    .map(|model| OfferedModel { id: format!("{provider}/{model}"), owned_by: provider.to_owned() }),
            ),
            Ok(Err(error)) => {
                complete = false;
                tracing::warn!(provider, %error, "the provider's models are not known");
            }
            Err(_) => {
                complete = false;
                tracing::warn!(provider, "the provider did not list its models in time");
            }
        }
    }
    (models, complete)
}
