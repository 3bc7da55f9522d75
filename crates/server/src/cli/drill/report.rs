//! What an attack came to: the figures, the table of them, and which promises were broken.

use std::collections::BTreeSet;
use std::time::Duration;

use privet_domain::money::Nanos;
use serde::{Deserialize, Serialize};

use super::flood::Tally;
use super::legitimate_user::Visits;
use super::memory::Memory;

const BYTES_PER_MIB: f64 = 1_048_576.0;
/// What a cell says where there is nothing to say.
const NOTHING: &str = "-";

/// The whole drill.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    pub(super) requests: u64,
    pub(super) connections: u32,
    pub(super) budget_nanos: Nanos,
    /// What the upstream charges for one call of an attacker.
    pub(super) call_price_nanos: Nanos,
    pub(super) without_a_key: Phase,
    pub(super) with_a_stolen_key: Phase,
}

/// One flood.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Phase {
    #[serde(flatten)]
    pub(super) flood: Tally,
    /// What the upstream charged for the attackers' calls.
    pub(super) bill_nanos: Nanos,
    /// The server's own books of the stolen key.
    pub(super) ledger: Option<Ledger>,
    /// The refused requests at the price of a served one.
    pub(super) lost_without_gates_nanos: Nanos,
    pub(super) legitimate: Visits,
    pub(super) server_memory: Memory,
    pub(super) elapsed_ms: u64,
}

/// A key's money, as `GET /api/usage` tells it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Ledger {
    pub(super) settled_nanos: Nanos,
    pub(super) held_nanos: Nanos,
}

/// A line of the table: what it is, and its cell for each phase.
struct Row {
    label: String,
    cells: [String; 2],
}

impl Report {
    fn phases(&self) -> [&Phase; 2] {
        [&self.without_a_key, &self.with_a_stolen_key]
    }

    /// A sentence for each promise that the server broke; none when all held.
    pub(super) fn broken_promises(&self) -> Option<String> {
        let mut broken = Vec::new();
        let (stranger, thief) = (&self.without_a_key, &self.with_a_stolen_key);
        if stranger.bill_nanos != Nanos::ZERO {
            broken.push(format!("requests without a key cost {}, and should cost nothing", stranger.bill_nanos));
        }
        if thief.bill_nanos > self.budget_nanos {
            broken.push(format!("the stolen key cost {}, its budget is {}", thief.bill_nanos, self.budget_nanos));
        }
        if let Some(ledger) = thief.ledger
            && ledger.settled_nanos.saturating_add(ledger.held_nanos) < thief.bill_nanos
        {
            broken.push(format!(
                "the ledger has {} settled and {} held for the stolen key, the upstream's bill is {}",
                ledger.settled_nanos, ledger.held_nanos, thief.bill_nanos
            ));
        }
        for (phase, name) in self.phases().into_iter().zip(["without a key", "with a stolen key"]) {
            let visits = &phase.legitimate;
            if visits.served < visits.calls {
                let (missed, calls) = (visits.calls - visits.served, visits.calls);
                let first = visits.first_refusal.as_deref().unwrap_or("no reason is known");
                broken.push(format!(
                    "{missed} of {calls} legitimate calls were not served during the flood {name}; the first: {first}"
                ));
            }
        }
        (!broken.is_empty()).then(|| format!("a promise was broken: {}", broken.join("; ")))
    }

    /// The figures for people.
    pub(super) fn table(&self) -> String {
        let head = Row { label: String::new(), cells: ["without a key".to_owned(), "with a stolen key".to_owned()] };
        let mut rows = vec![head];
        rows.extend(self.answers());
        rows.extend(self.money());
        rows.extend(self.surroundings());
        let breakdowns = self.phases().map(|phase| phase.flood.first_breakdown.as_deref());
        let mut table = aligned(&rows);
        for breakdown in breakdowns.into_iter().flatten() {
            table += &format!("\n\nThe first request without an answer: {breakdown}");
        }
        table
    }

    fn answers(&self) -> Vec<Row> {
        let mut rows = vec![
            self.row("requests", |phase| grouped(phase.flood.requests)),
            self.row("served", |phase| grouped(phase.flood.served)),
        ];
        let gates: BTreeSet<&String> = self.phases().into_iter().flat_map(|phase| phase.flood.gates.keys()).collect();
        for gate in gates {
            rows.push(self.row(&format!("refused by the gate `{gate}`"), |phase| count(phase.flood.gates.get(gate))));
        }
        let statuses: BTreeSet<&u16> =
            self.phases().into_iter().flat_map(|phase| phase.flood.statuses.keys()).collect();
        for status in statuses {
            rows.push(self.row(&format!("answered {status}"), |phase| count(phase.flood.statuses.get(status))));
        }
        rows.push(self.row("without an answer", |phase| grouped(phase.flood.unanswered)));
        rows
    }

    fn money(&self) -> Vec<Row> {
        let ledger = |part: fn(&Ledger) -> Nanos| {
            move |phase: &Phase| {
                phase.ledger.as_ref().map_or_else(|| NOTHING.to_owned(), |ledger| part(ledger).to_string())
            }
        };
        vec![
            Row { label: "budget".to_owned(), cells: [NOTHING.to_owned(), self.budget_nanos.to_string()] },
            self.row("the upstream's bill", |phase| phase.bill_nanos.to_string()),
            self.row("the ledger: settled", ledger(|ledger| ledger.settled_nanos)),
            self.row("the ledger: held", ledger(|ledger| ledger.held_nanos)),
            self.row("lost without the gates", |phase| phase.lost_without_gates_nanos.to_string()),
        ]
    }

    fn surroundings(&self) -> Vec<Row> {
        vec![
            self.row("legitimate calls served", |phase| {
                format!("{} of {}", phase.legitimate.served, phase.legitimate.calls)
            }),
            self.row("their p99", |phase| in_ms(phase.legitimate.p99_micros)),
            self.row("the slowest", |phase| in_ms(phase.legitimate.max_micros)),
            self.row("the server's memory, peak", |phase| in_mib(phase.server_memory.peak_bytes)),
            self.row("the server's memory, after", |phase| in_mib(phase.server_memory.after_bytes)),
            self.row("time", |phase| format!("{:.1} s", Duration::from_millis(phase.elapsed_ms).as_secs_f64())),
        ]
    }

    fn row(&self, label: &str, cell: impl Fn(&Phase) -> String) -> Row {
        Row { label: label.to_owned(), cells: self.phases().map(cell) }
    }
}

/// The labels to the left, the cells to the right.
fn aligned(rows: &[Row]) -> String {
    let widest = |width: fn(&Row) -> usize| rows.iter().map(width).max().unwrap_or_default();
    let label = widest(|row| row.label.len());
    let first = widest(|row| row.cells[0].len());
    let second = widest(|row| row.cells[1].len());
    let line = |row: &Row| format!("{:label$}   {:>first$}   {:>second$}", row.label, row.cells[0], row.cells[1]);
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn count(counted: Option<&u64>) -> String {
    grouped(counted.copied().unwrap_or_default())
}

/// `500,000`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn in_ms(micros: u64) -> String {
    format!("{:.1} ms", Duration::from_micros(micros).as_secs_f64() * 1000.0)
}

fn in_mib(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "unknown".to_owned(), |bytes| format!("{:.1} MiB", bytes as f64 / BYTES_PER_MIB))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn phase(served: u64, gate: &str, bill: i64) -> Phase {
        let refused = 500_000 - served;
        Phase {
            flood: Tally {
                requests: 500_000,
                served,
                refused,
                unanswered: 0,
                statuses: BTreeMap::from([(200, served), (429, refused)]),
                gates: BTreeMap::from([(gate.to_owned(), refused)]),
                first_breakdown: None,
            },
            bill_nanos: Nanos::new(bill),
            ledger: None,
            lost_without_gates_nanos: Nanos::new(49_000_000_000),
            legitimate: Visits { calls: 600, served: 600, p99_micros: 4_321, max_micros: 12_000, first_refusal: None },
            server_memory: Memory { peak_bytes: Some(48 * 1024 * 1024), after_bytes: None },
            elapsed_ms: 61_234,
        }
    }

    fn report() -> Report {
        let ledger = Ledger { settled_nanos: Nanos::new(999_900_000), held_nanos: Nanos::ZERO };
        Report {
            requests: 500_000,
            connections: 200,
            budget_nanos: Nanos::new(1_000_000_000),
            call_price_nanos: Nanos::new(105_000),
            without_a_key: phase(0, "address", 0),
            with_a_stolen_key: Phase { ledger: Some(ledger), ..phase(9_500, "budget", 999_900_000) },
        }
    }

    #[test]
    fn the_table_tells_every_figure_for_each_flood() {
        insta::assert_snapshot!(report().table(), @r"
                                        without a key   with a stolen key
        requests                              500,000             500,000
        served                                      0               9,500
        refused by the gate `address`         500,000                   0
        refused by the gate `budget`                0             490,500
        answered 200                                0               9,500
        answered 429                          500,000             490,500
        without an answer                           0                   0
        budget                                      -               $1.00
        the upstream's bill                     $0.00             $0.9999
        the ledger: settled                         -             $0.9999
        the ledger: held                            -               $0.00
        lost without the gates                 $49.00              $49.00
        legitimate calls served            600 of 600          600 of 600
        their p99                              4.3 ms              4.3 ms
        the slowest                           12.0 ms             12.0 ms
        the server's memory, peak            48.0 MiB            48.0 MiB
        the server's memory, after            unknown             unknown
        time                                   61.2 s              61.2 s
        ");
    }

    #[test]
    fn a_kept_promise_is_no_failure() {
        assert_eq!(report().broken_promises(), None);
    }

    #[test]
    fn each_broken_promise_has_its_sentence() {
        let broken = |change: fn(&mut Report)| {
            let mut report = report();
            change(&mut report);
            report.broken_promises().unwrap()
        };
        let sentence = broken(|report| report.without_a_key.bill_nanos = Nanos::new(1));
        assert!(sentence.ends_with("requests without a key cost $0.000000001, and should cost nothing"), "{sentence}");
        let sentence = broken(|report| report.budget_nanos = Nanos::new(999_899_999));
        assert!(sentence.ends_with("the stolen key cost $0.9999, its budget is $0.999899999"), "{sentence}");
        let sentence = broken(|report| report.with_a_stolen_key.bill_nanos = Nanos::new(999_900_001));
        assert!(sentence.contains("the ledger has $0.9999 settled and $0.00 held"), "{sentence}");
        let sentence = broken(|report| report.with_a_stolen_key.legitimate.served = 599);
        assert!(sentence.contains("1 of 600 legitimate calls were not served during the flood with"), "{sentence}");
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345_678, "12,345,678")] {
            assert_eq!(grouped(number), text);
        }
    }
}
