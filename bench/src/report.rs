//! The report as Markdown: the goals with what was found, the figures of all subjects, and how they came about.

mod memory;
mod retrieval;

use std::fmt::Write as _;
use std::time::Duration;

use crate::machine::{Build, Machine};
use crate::measure::{CONNECTIONS, Figures, Measured, RATE_PER_SECOND, Turn};
use crate::subject::Subject;
use crate::traces::TraceFigures;

/// Processor time of a request, as a multiple of the bare proxy's.
const CPU_RATIO_MAX: f64 = 2.0;
const CPU_RATIO_WITH_HISTORY_MAX: f64 = 3.0;
/// Processor time of a request with limits and budgets, as a multiple of the same without.
const CPU_RATIO_OF_LIMITS_MAX: f64 = 1.5;
const TRANSLATION_RATIO_MAX: f64 = 3.0;
/// Processor time of a request that leaves a trace, as a multiple of the same without.
const CPU_RATIO_OF_TRACES_MAX: f64 = 1.3;
const OBSERVATIONS_PER_SECOND_MIN: f64 = 5_000.0;
const INGESTION_RSS_MIB_MAX: f64 = 150.0;
const READ_MS_MAX: f64 = 20.0;
const TURN_BYTES_MAX: f64 = 1_024.0;
const RSS_IDLE_MIB_MAX: f64 = 30.0;
/// Of a chat that is remembered, as a multiple of one that is not.
const MEMORY_RATIO_MAX: f64 = 1.1;
const MIB: f64 = 1024.0 * 1024.0;

/// The whole report.
pub(crate) fn markdown(machine: &Machine, build: &Build, measured: &Measured) -> String {
    let mut text = String::from(
        "# Benchmark results\n\nWritten by `cargo xtask bench`; do not edit. Figures of one machine and one run: compare the rows with \
         each other, not with another machine's.\n\n",
    );
    let summaries: Vec<Summary<'_>> = measured.subjects.iter().map(|figures| Summary::of(figures, measured)).collect();
    for part in [
        machine_table(machine, build, measured),
        goals_table(&summaries, measured),
        figures_table(&summaries),
        history_table(&summaries),
        measured.traces.as_ref().map(trace_table).unwrap_or_default(),
        memory::table(&measured.memory),
        retrieval::tables(&measured.retrieval),
        method(measured),
    ] {
        text.push_str(&part);
    }
    text
}

/// Medians over the turns.
struct Summary<'a> {
    figures: &'a Figures,
    requests_per_second: f64,
    cpu_us_per_request: Option<f64>,
    added_p50_us: Option<f64>,
    added_p99_us: Option<f64>,
    first_byte_ms: f64,
    cpu_us_per_event: Option<f64>,
}

impl<'a> Summary<'a> {
    fn of(figures: &'a Figures, measured: &Measured) -> Self {
        let turns = &figures.turns;
        let direct = measured.subjects.iter().find(|other| other.subject == Subject::Direct);
        // Each turn against the direct one of the same round: they share what disturbed the machine.
        let added = |of: fn(&Turn) -> Duration| {
            let direct = direct.filter(|_| figures.subject != Subject::Direct)?;
            median(turns.iter().zip(&direct.turns).map(|(own, direct)| micros(of(own)) - micros(of(direct))).collect())
        };
        Self {
            figures,
            requests_per_second: median(turns.iter().map(|turn| turn.requests_per_second).collect())
                .unwrap_or_default(),
            cpu_us_per_request: median(turns.iter().filter_map(|turn| turn.cpu_us_per_request).collect()),
            added_p50_us: added(|turn| turn.p50),
            added_p99_us: added(|turn| turn.p99),
            first_byte_ms: median(turns.iter().map(|turn| micros(turn.first_byte_p50)).collect()).unwrap_or_default()
                / 1e3,
            cpu_us_per_event: median(turns.iter().filter_map(|turn| turn.cpu_us_per_event).collect()),
        }
    }
}

fn machine_table(machine: &Machine, build: &Build, measured: &Measured) -> String {
    let mut rows = vec![
        ("Date", machine.date.clone()),
        ("Commit", machine.commit.clone()),
        ("Toolchain", machine.toolchain.clone()),
        ("Processor", format!("{}, {} cores", machine.cpu, machine.cores)),
        ("Memory", format!("{:.0} GiB", machine.memory_gib)),
        ("Kernel", machine.kernel.clone()),
    ];
    if let Some(fsync) = measured.fsync {
        rows.push(("A synchronous 4 KiB append", format!("{:.0} µs", micros(fsync))));
    }
    if let Some(bytes) = build.binary_bytes {
        rows.push(("Privet's stripped binary", format!("{:.1} MiB", bytes as f64 / MIB)));
    }
    if let Some(cold) = build.cold {
        rows.push(("Cold release build", format!("{:.0} s", cold.as_secs_f64())));
    }
    let mut text = String::from("| | |\n|---|---|\n");
    for (name, value) in rows {
        line(&mut text, &[name.to_owned(), value]);
    }
    text
}

fn goals_table(summaries: &[Summary<'_>], measured: &Measured) -> String {
    let find = |subject: Subject| summaries.iter().find(|summary| summary.figures.subject == subject);
    let mut text = String::from("\n## Goals\n\n| Goal | Found | |\n|---|---|---|\n");
    let bare = find(Subject::BareProxy).and_then(|summary| summary.cpu_us_per_request);
    for (subject, goal) in [
        (Subject::Privet, CPU_RATIO_MAX),
        (Subject::PrivetFull, CPU_RATIO_WITH_HISTORY_MAX),
        (Subject::PrivetProcess, CPU_RATIO_WITH_HISTORY_MAX),
    ] {
        let ratio =
            find(subject).and_then(|summary| summary.cpu_us_per_request).zip(bare).map(|(own, bare)| own / bare);
        let name = format!("{subject}: CPU per request at most {goal:.0}× the bare proxy's");
        goal_line(&mut text, name, ratio.map(|ratio| format!("{ratio:.2}×")), ratio.map(|ratio| ratio <= goal));
    }
    for (limited, plain) in
        [(Subject::PrivetLimited, Subject::Privet), (Subject::PrivetFullLimited, Subject::PrivetFull)]
    {
        let cpu = |subject| find(subject).and_then(|summary| summary.cpu_us_per_request);
        let ratio = cpu(limited).zip(cpu(plain)).map(|(limited, plain)| limited / plain);
        let name = format!("{limited}: CPU per request at most {CPU_RATIO_OF_LIMITS_MAX:.1}× that without");
        let met = ratio.map(|ratio| ratio <= CPU_RATIO_OF_LIMITS_MAX);
        goal_line(&mut text, name, ratio.map(|ratio| format!("{ratio:.2}×")), met);
    }
    let event = |subject| find(subject).and_then(|summary| summary.cpu_us_per_event);
    let ratio = event(Subject::PrivetTranslated).zip(event(Subject::Privet)).map(|(own, plain)| own / plain);
    let name = format!(
        "Translation (OpenAI in, Anthropic out): CPU per streamed event at most {TRANSLATION_RATIO_MAX:.0}× that of passing through"
    );
    goal_line(
        &mut text,
        name,
        ratio.map(|ratio| format!("{ratio:.2}×")),
        ratio.map(|ratio| ratio <= TRANSLATION_RATIO_MAX),
    );
    let cpu = |subject| find(subject).and_then(|summary| summary.cpu_us_per_request);
    let ratio = cpu(Subject::PrivetTraced).zip(cpu(Subject::PrivetFullLimited)).map(|(traced, plain)| traced / plain);
    let name = format!("Traces: CPU per request at most {CPU_RATIO_OF_TRACES_MAX:.1}× that without");
    let met = ratio.map(|ratio| ratio <= CPU_RATIO_OF_TRACES_MAX);
    goal_line(&mut text, name, ratio.map(|ratio| format!("{ratio:.2}×")), met);
    trace_goals(&mut text, measured.traces.as_ref());
    remembering_goals(&mut text, summaries);
    memory::goals(&mut text, &measured.memory);
    retrieval::goals(&mut text, &measured.retrieval);
    let rss = find(Subject::Privet).and_then(|summary| summary.figures.rss_idle_bytes).map(|bytes| bytes as f64 / MIB);
    let name = format!("Idle memory at most {RSS_IDLE_MIB_MAX:.0} MiB");
    goal_line(&mut text, name, rss.map(|rss| format!("{rss:.1} MiB")), rss.map(|rss| rss <= RSS_IDLE_MIB_MAX));
    let mut lost = (summaries.iter().any(|summary| summary.figures.subject.keeps_history())).then_some(0);
    for figures in summaries.iter().map(|summary| summary.figures).filter(|figures| figures.subject.keeps_history()) {
        // One that could not be counted leaves the sum unknown.
        lost = lost.zip(figures.kept.as_ref()).map(|(sum, kept)| sum + kept.lost_messages);
    }
    goal_line(&mut text, "No lost message".to_owned(), lost.map(|lost| lost.to_string()), lost.map(|lost| lost == 0));
    text
}

/// What remembering adds to a chat: processor time, and the time until a paced request is answered.
fn remembering_goals(text: &mut String, summaries: &[Summary<'_>]) {
    let find = |subject: Subject| summaries.iter().find(|summary| summary.figures.subject == subject);
    let pair = find(Subject::PrivetFull).zip(find(Subject::PrivetForgetful));
    let p50 = |summary: &Summary<'_>| median(summary.figures.turns.iter().map(|turn| micros(turn.p50)).collect());
    let cpu = pair.and_then(|(own, without)| Some(own.cpu_us_per_request? / without.cpu_us_per_request?));
    let latency = pair.and_then(|(own, without)| Some(p50(own)? / p50(without)?));
    for (name, ratio) in [("CPU per request", cpu), ("p50 of a chat", latency)] {
        let name = format!("Memory: {name} at most {MEMORY_RATIO_MAX:.1}× that without");
        let met = ratio.map(|ratio| ratio <= MEMORY_RATIO_MAX);
        goal_line(text, name, ratio.map(|ratio| format!("{ratio:.2}×")), met);
    }
}

fn trace_goals(text: &mut String, traces: Option<&TraceFigures>) {
    let Some(traces) = traces else { return };
    let millis = |duration: Duration| duration.as_secs_f64() * 1e3;
    let rss = traces.rss_bytes as f64 / MIB;
    let reading = format!("with {} observations stored: p99 at most {READ_MS_MAX:.0} ms", traces.observations);
    let (list, open) = (millis(traces.list.1), millis(traces.open.1));
    for (goal, found, met) in [
        (
            format!("Observations taken in a second by OTLP: at least {OBSERVATIONS_PER_SECOND_MIN:.0}"),
            format!("{:.0}", traces.per_second),
            traces.per_second >= OBSERVATIONS_PER_SECOND_MIN,
        ),
        (
            format!("Memory meanwhile at most {INGESTION_RSS_MIB_MAX:.0} MiB"),
            format!("{rss:.1} MiB"),
            rss <= INGESTION_RSS_MIB_MAX,
        ),
        (format!("Listing the newest 50 traces, {reading}"), format!("{list:.1} ms"), list <= READ_MS_MAX),
        (format!("Opening a trace of 200 observations, {reading}"), format!("{open:.1} ms"), open <= READ_MS_MAX),
        (
            format!("A further turn of a long thread takes at most {TURN_BYTES_MAX:.0} bytes besides its text"),
            format!("{:.0} bytes", traces.turn_bytes),
            traces.turn_bytes <= TURN_BYTES_MAX,
        ),
    ] {
        goal_line(text, goal, Some(found), Some(met));
    }
}

fn goal_line(text: &mut String, goal: String, found: Option<String>, met: Option<bool>) {
    let verdict = match met {
        Some(true) => "met",
        Some(false) => "**not met**",
        None => "not measured",
    };
    line(text, &[goal, found.unwrap_or_else(dash), verdict.to_owned()]);
}

fn figures_table(summaries: &[Summary<'_>]) -> String {
    let mut text = String::from("\n## Figures\n\nIn brackets: as a multiple of the bare proxy's.\n\n");
    text.push_str(
        "| | Requests/s | CPU µs/request | Added p50 µs | Added p99 µs | Stream: first byte p50 ms | Stream: CPU µs/event \
         | RSS idle MiB | RSS loaded MiB | Errors |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    let bare = summaries.iter().find(|summary| summary.figures.subject == Subject::BareProxy);
    for summary in summaries {
        let figures = summary.figures;
        let cell = |of: fn(&Summary<'_>) -> Option<f64>, digits: usize| {
            with_ratio(of(summary), bare.filter(|bare| bare.figures.subject != figures.subject).and_then(of), digits)
        };
        line(
            &mut text,
            &[
                figures.subject.to_string(),
                cell(|summary| Some(summary.requests_per_second), 0),
                cell(|summary| summary.cpu_us_per_request, 1),
                cell(|summary| summary.added_p50_us, 0),
                cell(|summary| summary.added_p99_us, 0),
                cell(|summary| Some(summary.first_byte_ms), 2),
                cell(|summary| summary.cpu_us_per_event, 1),
                cell(|summary| Some(summary.figures.rss_idle_bytes? as f64 / MIB), 1),
                cell(|summary| Some(summary.figures.rss_loaded_bytes? as f64 / MIB), 1),
                figures.errors.to_string(),
            ],
        );
    }
    for (subject, error) in summaries.iter().filter_map(|s| Some((s.figures.subject, s.figures.first_error.as_ref()?)))
    {
        let shown: String = error.chars().take(300).collect();
        let _ = writeln!(text, "\nFirst error of {subject}: `{}`", shown.replace(['`', '\n'], " "));
    }
    text
}

fn history_table(summaries: &[Summary<'_>]) -> String {
    if summaries.iter().all(|summary| summary.figures.kept.is_none()) {
        return String::new();
    }
    let mut text = String::from(
        "\n## History\n\nAfter the load, every conversation is read back.\n\n\
         | | Acknowledged messages | Stored messages | Lost |\n|---|--:|--:|--:|\n",
    );
    for summary in summaries {
        if let Some(kept) = &summary.figures.kept {
            let numbers = [kept.acknowledged_messages, kept.stored_messages, kept.lost_messages];
            let mut cells = vec![summary.figures.subject.to_string()];
            cells.extend(numbers.iter().map(u64::to_string));
            line(&mut text, &cells);
        }
    }
    text
}

fn trace_table(traces: &TraceFigures) -> String {
    let millis = |duration: Duration| format!("{:.2}", duration.as_secs_f64() * 1e3);
    let mut text = String::from(
        "\n## Traces\n\nSpans come by OTLP in exports of 500, ten to a trace, from four senders that wait for each acknowledgement; then they are \
         read one after the other. A further turn is measured from the hundredth to the two-hundredth turn of 20 threads that a client \
         sends whole each time, as the growth of the stopped server's database file.\n\n| | |\n|---|--:|\n",
    );
    for (name, value) in [
        ("Observations stored", traces.observations.to_string()),
        ("Observations/s", format!("{:.0}", traces.per_second)),
        ("CPU µs/observation", format!("{:.1}", traces.cpu_us_per_observation)),
        ("RSS meanwhile MiB", format!("{:.1}", traces.rss_bytes as f64 / MIB)),
        ("Bytes on the disk/observation", format!("{:.0}", traces.stored_bytes_per_observation)),
        ("Newest 50 traces, p50 ms", millis(traces.list.0)),
        ("Newest 50 traces, p99 ms", millis(traces.list.1)),
        ("A trace of 200 observations, p50 ms", millis(traces.open.0)),
        ("A trace of 200 observations, p99 ms", millis(traces.open.1)),
        ("A further turn's text, bytes", format!("{:.0}", traces.turn_text_bytes)),
        ("On the disk besides, bytes", format!("{:.0}", traces.turn_bytes)),
    ] {
        line(&mut text, &[name.to_owned(), value]);
    }
    text
}

fn method(measured: &Measured) -> String {
    format!(
        "\n## Method\n\n\
         The load, the subject and the upstream share the machine's cores, so requests per second are those of all three \
         together; processor time is the subject's alone (user and kernel, from `/proc`). The upstream answers the same at once; \
         its streams have 20 events, 5 ms apart. A request is a new thread of about 1 KiB in two messages. In the row with translation the client speaks OpenAI's dialect and the provider Anthropic's; in the others both speak OpenAI's. In the row without memory nothing is remembered; in the others every message is, and found by its words. In the rows with limits and budgets every gate is on and never closes, the model has its price, and each call is charged to three budgets; in the others the model costs nothing and no limit is on. Every subject takes \
         its turn in each of {rounds} rounds, {seconds} s for each of three loads: {CONNECTIONS} connections asking as fast as they are \
         answered; {RATE_PER_SECOND} requests per second, for the latency added to that of the upstream asked directly; and \
         {CONNECTIONS} connections streaming. Figures are medians of the rounds. Memory is resident memory, for nginx summed over its \
         processes; the loaded figure is the largest seen after a load.\n",
        rounds = measured.rounds,
        seconds = measured.seconds,
    )
}

fn with_ratio(own: Option<f64>, bare: Option<f64>, digits: usize) -> String {
    match (own, bare) {
        (None, _) => dash(),
        // A ratio to nothing, or to less than nothing, says nothing.
        (Some(own), Some(bare)) if bare > 0.0 && own > 0.0 => format!("{own:.digits$} ({:.2}×)", own / bare),
        (Some(own), _) => format!("{own:.digits$}"),
    }
}

fn line(text: &mut String, cells: &[String]) {
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    let lower = if values.len().is_multiple_of(2) { *values.get(middle.checked_sub(1)?)? } else { upper };
    Some(f64::midpoint(lower, upper))
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

fn dash() -> String {
    "—".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Kept;

    fn figures(subject: Subject, cpu: f64, p50_us: u64) -> Figures {
        let turn = |factor: f64| Turn {
            requests_per_second: 1000.0 * factor,
            cpu_us_per_request: Some(cpu * factor),
            p50: Duration::from_micros(p50_us),
            p99: Duration::from_micros(p50_us * 2),
            first_byte_p50: Duration::from_millis(1),
            cpu_us_per_event: Some(cpu / 2.0),
        };
        Figures {
            subject,
            turns: vec![turn(1.0), turn(0.5), turn(8.0)],
            answered: 10,
            errors: 0,
            first_error: None,
            rss_idle_bytes: Some(20 * 1024 * 1024),
            rss_loaded_bytes: Some(40 * 1024 * 1024),
            kept: subject.keeps_history().then_some(Kept {
                acknowledged_messages: 50,
                stored_messages: 49,
                lost_messages: 1,
            }),
        }
    }

    fn report() -> String {
        let subjects = vec![
            figures(Subject::Direct, 1.0, 100),
            figures(Subject::BareProxy, 20.0, 150),
            figures(Subject::Privet, 30.0, 180),
            figures(Subject::PrivetFull, 70.0, 900),
        ];
        let machine = Machine {
            cpu: "A processor".into(),
            cores: 2,
            memory_gib: 24.0,
            kernel: "6.1".into(),
            toolchain: "rustc 1.95.0".into(),
            commit: "abc".into(),
            date: "2026-01-01".into(),
        };
        let build = Build { binary_bytes: Some(10 * 1024 * 1024), cold: None };
        markdown(
            &machine,
            &build,
            &Measured {
                rounds: 3,
                seconds: 1.0,
                fsync: None,
                subjects,
                traces: None,
                memory: Vec::new(),
                retrieval: Vec::new(),
            },
        )
    }

    #[test]
    fn goals_are_called_met_only_when_they_are() {
        let report = report();
        assert!(
            report.contains("Privet, no history: CPU per request at most 2× the bare proxy's | 1.50× | met |"),
            "{report}"
        );
        assert!(report.contains("CPU per request at most 3× the bare proxy's | 3.50× | **not met** |"), "{report}");
        assert!(
            report.contains("`process`: CPU per request at most 3× the bare proxy's | — | not measured |"),
            "{report}"
        );
        assert!(report.contains("| Idle memory at most 30 MiB | 20.0 MiB | met |"), "{report}");
        assert!(report.contains("| No lost message | 1 | **not met** |"), "{report}");
    }

    #[test]
    fn rows_have_medians_with_ratios_to_the_bare_proxy() {
        let report = report();
        let row = report.lines().find(|line| line.starts_with("| Privet, no history | ")).unwrap();
        assert!(
            row.starts_with("| Privet, no history | 1000 (1.00×) | 30.0 (1.50×) | 80 (1.60×) | 160 (1.60×) |"),
            "{row}"
        );
    }

    #[test]
    fn medians_are_of_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(vec![]), None);
    }
}
