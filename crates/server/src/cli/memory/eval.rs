//! `privet memory eval`: how well recall finds what it should, by several settings side by side on the same questions.

mod table;

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use privet_domain::memory::evaluation::{Bootstrap, Case, Comparison, Pair, Report, compare, evaluate};
use privet_domain::memory::fusion::{Leg, LegWeight, Method, Weights, fuse, rank_by_age};
use privet_domain::memory::{MemoryFilter, MemoryId, MemoryScope, Representation};
use privet_domain::time::{Clock as _, SystemClock, Timestamp};
use privet_engine::api_key::{DEFAULT_PROJECT, DEFAULT_USER};
use privet_engine::memory::{Found, MemorySettings};
use serde::{Deserialize, Serialize};

use super::asking::{Asking, all_legs};
use super::browse::find_project;
use super::make;
use crate::cli::{Common, Exit, FAILURE, USAGE};

/// Questions are judged together by these.
const GROUPS: [&str; 2] = ["language", "group"];

#[derive(Args)]
pub(super) struct EvalArgs {
    /// Lines of `{"query", "expected": [ids], "language"?, "group"?, "user"?}`
    file: PathBuf,
    #[arg(long, default_value = DEFAULT_PROJECT)]
    project: String,
    /// Whose memories, where a line does not say
    #[arg(long, default_value = DEFAULT_USER)]
    user: String,
    /// How many of the first are looked at
    #[arg(short, default_value_t = 10)]
    k: usize,
    /// What is searched, side by side; the first is what the others are compared with
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Setting::DEFAULT)]
    legs: Vec<Setting>,
    /// Write this many cases into FILE instead: words of memories, with the memory as what is expected
    #[arg(long, value_name = "N")]
    make: Option<usize>,
    /// Where the choice of the cases begins
    #[arg(long, default_value_t = 1, requires = "make")]
    seed: u64,
}

/// What is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Setting {
    /// The vectors of texts alone
    Dense,
    /// The vectors of texts between their neighbours alone
    DenseWindow,
    /// The words of texts alone
    Sparse,
    /// The words of texts between their neighbours alone
    SparseWindow,
    /// Words and vectors of texts
    Text,
    /// As recall does it
    Configured,
    /// The same without summaries, facts and questions
    Undescribed,
    /// Every leg by the measured weights, whatever the age
    All,
}

impl Setting {
    const DEFAULT: [Self; 4] = [Self::Dense, Self::Sparse, Self::Text, Self::Configured];

    const fn name(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::DenseWindow => "dense-window",
            Self::Sparse => "sparse",
            Self::SparseWindow => "sparse-window",
            Self::Text => "text",
            Self::Configured => "configured",
            Self::Undescribed => "undescribed",
            Self::All => "all",
        }
    }

    /// Whether it finds nothing without vectors.
    const fn is_meaning_alone(self) -> bool {
        matches!(self, Self::Dense | Self::DenseWindow)
    }

    fn weights(self, settings: &MemorySettings) -> Weights<Representation> {
        let alone = |method, representation| of_legs(&[(method, representation)]);
        match self {
            Self::Dense => alone(Method::Dense, Representation::Text),
            Self::DenseWindow => alone(Method::Dense, Representation::Window),
            Self::Sparse => alone(Method::Sparse, Representation::Text),
            Self::SparseWindow => alone(Method::Sparse, Representation::Window),
            Self::Text => of_legs(&[(Method::Dense, Representation::Text), (Method::Sparse, Representation::Text)]),
            Self::Configured => settings.weights.clone(),
            Self::Undescribed => of_legs(&[
                (Method::Dense, Representation::Text),
                (Method::Dense, Representation::Window),
                (Method::Sparse, Representation::Text),
                (Method::Sparse, Representation::Window),
            ]),
            Self::All => all_legs(),
        }
    }
}

/// The measured weights of these legs, and none of the others.
fn of_legs(wanted: &[(Method, Representation)]) -> Weights<Representation> {
    let is_wanted = |leg: &Leg<Representation>| wanted.contains(&(leg.method, leg.representation));
    let every = all_legs();
    let legs: Vec<LegWeight<Representation>> =
        every.legs().iter().filter(|weight| is_wanted(&weight.leg)).cloned().collect();
    // There is no leg without a weight among all of them.
    Weights::new(legs).unwrap_or(every)
}

/// A question of the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CaseLine {
    pub(super) query: String,
    pub(super) expected: Vec<MemoryId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) language: Option<String>,
    /// Any word by which questions are to be judged together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) group: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<String>,
}

/// What one setting gave.
struct Evaluated {
    setting: Setting,
    report: Report,
    /// Against the first setting.
    against_first: Option<Comparison>,
}

pub(super) async fn run(common: &Common, args: EvalArgs) -> Result<(), Exit> {
    if let Some(count) = args.make {
        return make::run(common, &args.file, &args.project, &args.user, count, args.seed).await;
    }
    if args.k == 0 {
        return Err(Exit::new(USAGE, "-k must be at least 1"));
    }
    let cases = read(&args.file)?;
    let needs_vectors = args.legs.iter().any(|setting| !matches!(setting, Setting::Sparse | Setting::SparseWindow));
    let asking = Asking::begin(common, needs_vectors).await?;
    let mut settings = args.legs.clone();
    if asking.words_alone().is_some() {
        settings.retain(|setting| !setting.is_meaning_alone());
    }
    let project = find_project(&asking.store, &args.project).await?;
    let questions: Vec<&str> = cases.iter().map(|case| case.query.as_str()).collect();
    let mut vectors = asking.vectors(project, &questions).await?.into_iter();
    let mut by_setting: Vec<Vec<Case<MemoryId>>> = settings.iter().map(|_| Vec::with_capacity(cases.len())).collect();
    let mut unknown = 0;
    for case in &cases {
        let scope = MemoryScope::new(project, case.user.as_deref().unwrap_or(&args.user));
        let expected: BTreeSet<MemoryId> = case.expected.iter().copied().collect();
        let there = asking.store.memories_of(&scope, &case.expected, SystemClock.now()).await?;
        unknown += expected.len() - there.len().min(expected.len());
        let vector = vectors.next().flatten();
        let found = asking.legs(&case.query, vector, &scope, &MemoryFilter::default()).await?;
        let groups = GROUPS.iter().zip([&case.language, &case.group]);
        let groups = groups.filter_map(|(group, value)| Some(((*group).to_owned(), value.clone()?)));
        let groups: Vec<(String, String)> = groups.collect();
        let known = times(&asking, &scope, &found).await?;
        for (setting, judged) in settings.iter().zip(&mut by_setting) {
            let found = ranked(*setting, &asking.settings, &found, &known);
            judged.push(Case { expected: expected.clone(), found, groups: groups.clone() });
        }
    }
    let evaluated = judge(&settings, &by_setting, args.k);
    if unknown > 0 {
        eprintln!("{unknown} of the expected are no memories of their user: they count as not found.");
    }
    table::tell(common, &evaluated, args.k, asking.words_alone())
}

fn judge(settings: &[Setting], by_setting: &[Vec<Case<MemoryId>>], k: usize) -> Vec<Evaluated> {
    let first = by_setting.first();
    let evaluated = settings.iter().zip(by_setting).enumerate().map(|(at, (setting, cases))| {
        let pairs = first.into_iter().flatten().zip(cases).map(|(one, other)| Pair {
            expected: &other.expected,
            first: &one.found,
            second: &other.found,
        });
        let pairs: Vec<Pair<'_, MemoryId>> = pairs.collect();
        Evaluated {
            setting: *setting,
            report: evaluate(cases, k, Bootstrap::default()),
            against_first: (at > 0).then(|| compare(&pairs, k, Bootstrap::default())),
        }
    });
    evaluated.collect()
}

fn read(path: &Path) -> Result<Vec<CaseLine>, Exit> {
    let wrong = |what: String| Exit::new(FAILURE, format!("{}: {what}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let cases: Vec<CaseLine> = lines
        .map(|(number, line)| {
            serde_json::from_str(line).map_err(|error| wrong(format!("line {}: {error}", number + 1)))
        })
        .collect::<Result<_, _>>()?;
    if cases.iter().all(|case| case.expected.is_empty()) {
        return Err(wrong("no line says what is expected".to_owned()));
    }
    Ok(cases)
}

/// When those that were found were said; not of those that have expired.
async fn times(asking: &Asking, scope: &MemoryScope, found: &Found) -> Result<HashMap<MemoryId, Timestamp>, Exit> {
    let ids: BTreeSet<MemoryId> = found.iter().flat_map(|leg| &leg.hits).map(|hit| hit.id).collect();
    let ids: Vec<MemoryId> = ids.into_iter().collect();
    let memories = asking.store.memories_of(scope, &ids, SystemClock.now()).await?;
    Ok(memories.into_iter().map(|memory| (memory.id, memory.created_at)).collect())
}

/// What a setting makes of what the legs found.
fn ranked(
    setting: Setting,
    settings: &MemorySettings,
    found: &Found,
    known: &HashMap<MemoryId, Timestamp>,
) -> Vec<MemoryId> {
    let mut candidates = fuse(found, &setting.weights(settings));
    candidates.retain(|candidate| known.contains_key(&candidate.id));
    if let Some(recency) =
        settings.recency.as_ref().filter(|_| matches!(setting, Setting::Configured | Setting::Undescribed))
    {
        rank_by_age(&mut candidates, recency, SystemClock.now(), |id| known.get(id).copied());
    }
    candidates.into_iter().map(|candidate| candidate.id).collect()
}
