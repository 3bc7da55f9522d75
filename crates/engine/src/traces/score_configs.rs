//! Scores that name a configuration are held to it before they are kept.

use std::collections::HashMap;

use privet_domain::id::{ProjectId, ScoreConfigId};
use privet_domain::trace::{Score, ScoreConfig};
use privet_store::StoreError;

use crate::Engine;

/// Scores after they were held to the configurations that they name.
#[derive(Debug)]
pub struct HeldScores<K> {
    /// Those that may be kept.
    pub kept: Vec<(K, Score)>,
    /// The others, and what is wrong with each.
    pub refused: Vec<(K, String)>,
}

impl Engine {
    /// Holds each score to the configuration that it names, if it names one. Each score goes with whatever its sender knows it by.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn hold_to_configs<K>(
        &self,
        project: ProjectId,
        scores: Vec<(K, Score)>,
    ) -> Result<HeldScores<K>, StoreError> {
        let mut configs: HashMap<String, Option<ScoreConfig>> = HashMap::new();
        let mut held = HeldScores { kept: Vec::with_capacity(scores.len()), refused: Vec::new() };
        for (key, mut score) in scores {
            let Some(name) = score.config_id.clone() else {
                held.kept.push((key, score));
                continue;
            };
            if !configs.contains_key(&name) {
                configs.insert(name.clone(), self.score_config(project, &name).await?);
            }
            let outcome = match configs.get(&name).and_then(Option::as_ref) {
                Some(config) => config.hold(&mut score).map_err(|fault| fault.to_string()),
                None => Err(format!("`configId`: there is no score configuration `{name}` in this project")),
            };
            match outcome {
                Ok(()) => held.kept.push((key, score)),
                Err(fault) => held.refused.push((key, fault)),
            }
        }
        Ok(held)
    }

    async fn score_config(&self, project: ProjectId, id: &str) -> Result<Option<ScoreConfig>, StoreError> {
        let Ok(id) = id.parse::<ScoreConfigId>() else { return Ok(None) };
        match self.store.score_config(project, id).await {
            Ok(config) => Ok(Some(config)),
            Err(StoreError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
