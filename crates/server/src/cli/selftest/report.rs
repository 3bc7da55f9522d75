//! What is shown of a selftest: a table for people, JSON for programs.

use std::time::Duration;

use privet_domain::money::Nanos;
use serde_json::json;

use super::gateway::{Finding, Outcome, Subject};
use crate::cli::{Exit, print_json};

/// One check and what it found out.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) finding: Finding,
    pub(super) took: Duration,
}

/// What the ledger says of the key.
pub(super) struct Spent {
    pub(super) settled: Nanos,
    pub(super) calls: i64,
    pub(super) input_tokens: i64,
    pub(super) output_tokens: i64,
}

/// All of it.
pub(super) struct Report {
    /// `provider/model`.
    pub(super) model: String,
    pub(super) rows: Vec<Row>,
    /// What it could cost; `None` where no price is known.
    pub(super) most: Option<Nanos>,
    pub(super) spent: Spent,
    /// Why nothing else was tried.
    pub(super) hopeless: Option<String>,
}

/// Says beforehand what is asked, where, and for how much money at most.
pub(super) fn announce(subject: &Subject, url: &str, most: Option<Nanos>) {
    let name = subject.name();
    match most {
        Some(most) => eprintln!("Testing {name} through {url}. It costs {most} at most; its key can spend no more."),
        None => eprintln!(
            "Testing {name} through {url}. No price is known of it, so nothing bounds what it costs but the answers' limit of {} tokens.",
            subject.output_tokens()
        ),
    }
}

impl Report {
    /// The worst outcome.
    pub(super) fn verdict(&self) -> Outcome {
        self.rows.iter().map(|row| row.finding.outcome).max().unwrap_or(Outcome::Skipped)
    }

    /// Whether the provider could not be used at all.
    pub(super) const fn is_hopeless(&self) -> bool {
        self.hopeless.is_some()
    }

    pub(super) fn why_hopeless(&self) -> String {
        format!("`{}` cannot be used: {}", self.model, self.hopeless.as_deref().unwrap_or_default())
    }

    fn count(&self, outcome: Outcome) -> usize {
        self.rows.iter().filter(|row| row.finding.outcome == outcome).count()
    }

    pub(super) fn print(&self, as_json: bool) -> Result<(), Exit> {
        if as_json {
            return self.print_json();
        }
        let width = self.rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
        for Row { name, finding, took } in &self.rows {
            let took = match finding.outcome {
                Outcome::Skipped => String::new(),
                _ => format!("{} ms", took.as_millis()),
            };
            let line = format!("{name:width$}  {:8}  {took:>8}  {}", finding.outcome.as_str(), finding.note);
            println!("{}", line.trim_end());
        }
        println!(
            "\n{} work, {} degraded, {} fail, {} skipped",
            self.count(Outcome::Works),
            self.count(Outcome::Degraded),
            self.count(Outcome::Fails),
            self.count(Outcome::Skipped),
        );
        let Spent { settled, calls, input_tokens, output_tokens } = &self.spent;
        println!(
            "It cost {settled}: {calls} calls, {input_tokens} tokens in, {output_tokens} out (the ledger has them)."
        );
        Ok(())
    }

    fn print_json(&self) -> Result<(), Exit> {
        let rows = self.rows.iter().map(|Row { name, finding, took }| {
            json!({"check": name, "outcome": finding.outcome.as_str(), "note": finding.note, "ms": took.as_millis()})
        });
        print_json(&json!({
            "model": self.model,
            "checks": rows.collect::<Vec<_>>(),
            "works": self.count(Outcome::Works),
            "degraded": self.count(Outcome::Degraded),
            "fails": self.count(Outcome::Fails),
            "skipped": self.count(Outcome::Skipped),
            "usable": !self.is_hopeless(),
            "cost_max_nanos": self.most.map(Nanos::as_i64),
            "cost_nanos": self.spent.settled.as_i64(),
            "calls": self.spent.calls,
        }))
    }
}
