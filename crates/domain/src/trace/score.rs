//! Scores: judgements of traces, observations, sessions and runs of data sets.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{ObservationId, ScoreId, TraceId, UnknownName, names};
use crate::time::NanoTimestamp;

names! {
    /// What a score's value is.
    ScoreType {
        /// A number.
        Numeric = "NUMERIC",
        /// 0 or 1.
        Boolean = "BOOLEAN",
        /// One of some words.
        Categorical = "CATEGORICAL",
        /// A text of 1 to 500 characters.
        Text = "TEXT",
        /// What the output should have been.
        Correction = "CORRECTION",
    }
}

names! {
    /// Who judged.
    ScoreSource {
        /// A client of the API; also an end user's feedback.
        Api = "API",
        /// An evaluator.
        Eval = "EVAL",
        /// A person in the console.
        Annotation = "ANNOTATION",
    }
}

/// What is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScoreTarget {
    /// A trace, or one observation of it.
    Trace(TraceId, Option<ObservationId>),
    /// A session.
    Session(String),
    /// A run of a data set.
    DatasetRun(String),
}

/// A judgement.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// Its id; a score with an id that is there already takes its place.
    pub id: ScoreId,
    /// What is judged.
    pub target: ScoreTarget,
    /// What is measured.
    pub name: String,
    /// What the value is.
    pub score_type: ScoreType,
    /// The number; of a categorical one its place in the configuration, or 0.
    pub value: f64,
    /// The word or text, where it is one.
    pub text: Option<String>,
    /// Why.
    pub comment: Option<String>,
    /// Who judged.
    pub source: ScoreSource,
    /// Who wrote it down, where a person did.
    pub author_user_id: Option<String>,
    /// The configuration it follows.
    pub config_id: Option<String>,
    /// The environment.
    pub environment: String,
    /// Whatever else is to be said.
    pub metadata: Map<String, Value>,
    /// When it was judged.
    pub timestamp: NanoTimestamp,
}
