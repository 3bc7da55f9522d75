//! The columns by which traces, observations and scores can be looked for: `t`, `o` and `s` are the tables in a query.

use super::condition::{Column, Kind};

macro_rules! columns {
    ($(#[$doc:meta])* $name:ident { $($(#[$column_doc:meta])* $column:ident = $kind:ident $sql:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$column_doc])* $column,)*
        }

        impl Column for $name {
            fn kind(self) -> Kind {
                match self {
                    $(Self::$column => Kind::$kind,)*
                }
            }

            fn sql(self) -> &'static str {
                match self {
                    $(Self::$column => $sql,)*
                }
            }
        }
    };
}

columns! {
    /// What is known of a trace.
    TraceColumn {
        /// Its id.
        Id = Id "t.id",
        /// When it began.
        Timestamp = Time "t.started_at",
        /// What it is called.
        Name = Text "t.name",
        /// For whom it ran.
        User = Text "t.user_id",
        /// The session it belongs to.
        Session = Text "t.session_id",
        /// The environment.
        Environment = Text "t.environment",
        /// The release of the application.
        Release = Text "t.release",
        /// The version of this kind of trace.
        Version = Text "t.version",
        /// Whether anybody with its link may see it.
        Public = Flag "t.public",
        /// Its tags.
        Tags = Tags "t.tags",
        /// Its metadata.
        Metadata = Object "t.metadata",
        /// From its beginning to the end of its last observation.
        Latency = Seconds "(t.ended_at - t.started_at)",
        /// What its observations cost.
        Cost = Dollars "t.cost_nanos",
        /// Tokens that went into models.
        InputTokens = Integer "t.input_tokens",
        /// Tokens that came out.
        OutputTokens = Integer "t.output_tokens",
        /// All tokens.
        TotalTokens = Integer "t.total_tokens",
        /// How many observations it has.
        Observations = Integer "t.observations",
        /// How many of them failed.
        Errors = Integer "t.errors",
        /// The levels of its observations.
        Level = Levels "t.errors",
    }
}

columns! {
    /// What is known of an observation.
    OwnColumn {
        /// Its id.
        Id = Id "o.id",
        /// The trace it belongs to.
        Trace = Id "o.trace_id",
        /// The observation that it is part of.
        Parent = Id "o.parent_id",
        /// Whether it is part of no other.
        IsRoot = Flag "(CASE WHEN o.parent_id IS NULL THEN 1 ELSE 0 END)",
        /// What kind of step it is.
        Type = Text "o.type",
        /// What it is called.
        Name = Text "o.name",
        /// When it began.
        Start = Time "o.started_at",
        /// When it ended.
        End = Time "o.ended_at",
        /// How serious it is.
        Level = Text "o.level",
        /// What is to be said of it.
        StatusMessage = Text "o.status_message",
        /// The version of this kind of step.
        Version = Text "o.version",
        /// The environment.
        Environment = Text "o.environment",
        /// Its metadata.
        Metadata = Object "o.metadata",
        /// The model.
        Model = Text "o.model",
        /// The prompt it was made with.
        PromptName = Text "o.prompt_name",
        /// That prompt's version.
        PromptVersion = Integer "o.prompt_version",
        /// How long it took.
        Latency = Seconds "(o.ended_at - o.started_at)",
        /// Until the first token came.
        FirstToken = Seconds "(o.first_token_at - o.started_at)",
        /// Tokens that came out in a second.
        TokensPerSecond = Number "(CASE WHEN o.ended_at > o.started_at THEN o.output_tokens * 1000000000.0 / (o.ended_at - o.started_at) END)",
        /// What it cost.
        Cost = Dollars "o.cost_nanos",
        /// What it cost by kind, in nano-dollars.
        Costs = Object "o.cost",
        /// From the first token to its end.
        Streaming = Seconds "(o.ended_at - o.first_token_at)",
        /// Tokens that went in.
        InputTokens = Integer "o.input_tokens",
        /// Tokens that came out.
        OutputTokens = Integer "o.output_tokens",
        /// All tokens.
        TotalTokens = Integer "o.total_tokens",
    }
}

columns! {
    /// What is known of a score.
    JudgedColumn {
        /// Its id.
        Id = Id "s.id",
        /// The trace that is judged.
        Trace = Id "s.trace_id",
        /// The observation that is judged.
        Observation = Id "s.observation_id",
        /// The session that is judged.
        Session = Text "s.session_id",
        /// The run of a data set that is judged.
        DatasetRun = Text "s.dataset_run_id",
        /// What is measured.
        Name = Text "s.name",
        /// What the value is.
        Type = Text "s.type",
        /// The number.
        Value = Number "s.value",
        /// The word or text.
        Text = Text "s.text",
        /// Why.
        Comment = Text "s.comment",
        /// Who judged.
        Source = Text "s.source",
        /// Who wrote it down.
        Author = Text "s.author_user_id",
        /// The configuration it follows.
        Config = Text "s.config_id",
        /// The environment.
        Environment = Text "s.environment",
        /// Whatever else is to be said.
        Metadata = Object "s.metadata",
        /// When it was judged.
        Timestamp = Time "s.scored_at",
    }
}

/// What is known of an observation and of its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObservationColumn {
    /// The observation's own.
    Own(OwnColumn),
    /// Its trace's.
    OfTrace(TraceColumn),
}

impl Column for ObservationColumn {
    fn kind(self) -> Kind {
        match self {
            Self::Own(column) => column.kind(),
            Self::OfTrace(column) => column.kind(),
        }
    }

    fn sql(self) -> &'static str {
        match self {
            Self::Own(column) => column.sql(),
            Self::OfTrace(column) => column.sql(),
        }
    }
}

/// What is known of a score, and of what it judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScoreColumn {
    /// The score's own.
    Own(JudgedColumn),
    /// Of the trace that is judged.
    OfTrace(TraceColumn),
    /// Of the observation that is judged.
    OfObservation(OwnColumn),
}

impl Column for ScoreColumn {
    fn kind(self) -> Kind {
        match self {
            Self::Own(column) => column.kind(),
            Self::OfTrace(column) => column.kind(),
            Self::OfObservation(column) => column.kind(),
        }
    }

    fn sql(self) -> &'static str {
        match self {
            Self::Own(column) => column.sql(),
            Self::OfTrace(column) => column.sql(),
            Self::OfObservation(column) => column.sql(),
        }
    }
}

impl From<OwnColumn> for ObservationColumn {
    fn from(column: OwnColumn) -> Self {
        Self::Own(column)
    }
}

impl From<TraceColumn> for ObservationColumn {
    fn from(column: TraceColumn) -> Self {
        Self::OfTrace(column)
    }
}

impl From<JudgedColumn> for ScoreColumn {
    fn from(column: JudgedColumn) -> Self {
        Self::Own(column)
    }
}
