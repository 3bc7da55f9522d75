//! The figures as a table, or as JSON.

use privet_domain::memory::evaluation::{Difference, Interval, Summary};
use serde_json::{Value, json};

use super::{Evaluated, GROUPS};
use crate::cli::{Common, Exit, print_json};

pub(super) fn tell(common: &Common, evaluated: &[Evaluated], k: usize, words_alone: Option<&str>) -> Result<(), Exit> {
    if common.json {
        let settings: Vec<Value> = evaluated.iter().map(setting).collect();
        return print_json(&json!({"k": k, "settings": settings, "words_alone": words_alone}));
    }
    if let Some(reason) = words_alone {
        eprintln!("The words alone were searched: {reason}.");
    }
    let Some(first) = evaluated.first() else { return Ok(()) };
    println!("{} questions, in brackets the interval of 95 %", first.report.all.cases);
    if first.report.unjudged > 0 {
        println!("{} lines expect nothing and are not judged", first.report.unjudged);
    }
    println!();
    head(k);
    for one in evaluated {
        println!("{:<14} {}", one.setting.name(), figures(&one.report.all));
    }
    for (group, summary) in &first.report.groups {
        println!("\n{} ({} questions)", group.1, summary.cases);
        for one in evaluated {
            if let Some(summary) = one.report.groups.get(group) {
                println!("{:<14} {}", one.setting.name(), figures(summary));
            }
        }
    }
    if evaluated.len() > 1 {
        println!("\nagainst {}: gain in recall@{k}, nDCG@{k}", first.setting.name());
    }
    for one in evaluated {
        if let Some(comparison) = &one.against_first {
            let (recall, ndcg) = (difference(&comparison.recall), difference(&comparison.ndcg));
            println!("{:<14} {recall}   {ndcg}", one.setting.name());
        }
    }
    Ok(())
}

fn head(k: usize) {
    println!("{:<14} {:<20} {:<20} {:<20}", "", format!("recall@{k}"), format!("nDCG@{k}"), "MRR");
}

fn figures(summary: &Summary) -> String {
    let cell = |interval: &Interval| format!("{:.3} [{:.3} {:.3}]", interval.mean, interval.low, interval.high);
    format!("{:<20} {:<20} {:<20}", cell(&summary.recall), cell(&summary.ndcg), cell(&summary.mrr))
        .trim_end()
        .to_owned()
}

fn difference(of: &Difference) -> String {
    let gain = of.gain;
    format!(
        "{:+.3} [{:+.3} {:+.3}] p={:.4}, {} better, {} worse",
        gain.mean, gain.low, gain.high, of.p_value, of.better, of.worse
    )
}

fn setting(one: &Evaluated) -> Value {
    let of_group = |name: &str| -> serde_json::Map<String, Value> {
        let own = one.report.groups.iter().filter(|((group, _), _)| group == name);
        own.map(|((_, value), summary)| (value.clone(), shown(summary))).collect()
    };
    let [languages, groups] = GROUPS.map(of_group);
    let against = one.against_first.as_ref().map(|comparison| {
        json!({"recall": gained(&comparison.recall), "ndcg": gained(&comparison.ndcg), "mrr": gained(&comparison.mrr)})
    });
    json!({"name": one.setting.name(), "all": shown(&one.report.all), "languages": languages, "groups": groups, "against_first": against})
}

fn shown(summary: &Summary) -> Value {
    let interval = |of: &Interval| json!({"mean": of.mean, "low": of.low, "high": of.high});
    json!({"cases": summary.cases, "recall": interval(&summary.recall), "ndcg": interval(&summary.ndcg), "mrr": interval(&summary.mrr)})
}

fn gained(of: &Difference) -> Value {
    let Interval { mean, low, high } = of.gain;
    json!({"mean": mean, "low": low, "high": high, "p_value": of.p_value, "better": of.better, "worse": of.worse})
}
