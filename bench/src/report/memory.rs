//! What the report says of memory.

use super::{MIB, goal_line, line};
use crate::memory::{Data, MemoryFigures, Spread};

const SEARCH_MS_MAX: f64 = 20.0;
const RSS_MIB_MAX: f64 = 200.0;
const SCAN_RECALL_MIN: f64 = 0.99;

pub(super) fn goals(text: &mut String, memory: &[MemoryFigures]) {
    for figures in memory {
        let what = format!("{} memories, {}", figures.memories, figures.data.name());
        let (p99, recall) = (figures.searched.together.p99_ms, figures.searched.recall);
        let name = format!("{what}: recall without the embedding, p99 at most {SEARCH_MS_MAX:.0} ms");
        goal_line(text, name, Some(format!("{p99:.1} ms")), Some(p99 <= SEARCH_MS_MAX));
        let rss = figures.served.rss_bytes as f64 / MIB;
        let name = format!("{what}: memory of the server at most {RSS_MIB_MAX:.0} MiB");
        goal_line(text, name, Some(format!("{rss:.1} MiB")), Some(rss <= RSS_MIB_MAX));
        let name = format!("{what}: recall@10 of the scan by codes at least {SCAN_RECALL_MIN} of an exact one");
        goal_line(text, name, Some(format!("{recall:.4}")), Some(recall >= SCAN_RECALL_MIN));
    }
    let p99 = |data: Data| Some(memory.iter().find(|figures| figures.data == data)?.searched.together.p99_ms);
    if let (Some(many), Some(one)) = (p99(Data::ManyUsers), p99(Data::OneUser)) {
        let name =
            "Memory: a filter by one of 1,000 users costs nothing extra (p99 at most that of one user)".to_owned();
        goal_line(text, name, Some(format!("{many:.1} ms, {one:.1} ms")), Some(many <= one));
    }
}

pub(super) fn table(memory: &[MemoryFigures]) -> String {
    let Some(first) = memory.first() else { return String::new() };
    let mut text = format!(
        "\n## Memory\n\n{} memories each, texts of 12 to 35 invented words as often as Zipf says, vectors of 1,024 dimensions: in clusters of \
         a hundred around centres that lie to one side, or a hundred that are nearly the same. Questions have 4 to 11 words and a vector near a \
         centre. A thousand searches one after the other in a process that does nothing else; each leg gives 50. All legs are those of a \
         recall (words and vectors, of texts and of windows), joined, and the memories read. Then Privet's server searches them by HTTP, \
         the embedder's call on loopback included; its memory is looked at after that.\n\n",
        first.memories
    );
    let cells = |name: &str, cell: &dyn Fn(&MemoryFigures) -> String| {
        std::iter::once(name.to_owned()).chain(memory.iter().map(cell)).collect::<Vec<_>>()
    };
    line(&mut text, &cells("", &|figures| figures.data.name().to_owned()));
    line(&mut text, &cells("---", &|_| "--:".to_owned()));
    let spread = |spread: Spread| format!("{:.2} / {:.2}", spread.p50_ms, spread.p99_ms);
    for row in [
        cells("Vectors", &|figures| figures.filled.vectors.to_string()),
        cells("Vectors of texts, p50 / p99 ms", &|figures| spread(figures.searched.dense)),
        cells("Words of texts, p50 / p99 ms", &|figures| spread(figures.searched.sparse)),
        cells("All legs of a recall, p50 / p99 ms", &|figures| spread(figures.searched.together)),
        cells("Search by HTTP, p50 / p99 ms", &|figures| spread(figures.served.search)),
        cells("recall@10 of the scan by codes", &|figures| format!("{:.4}", figures.searched.recall)),
        cells("Reading the codes at first, ms", &|figures| format!("{:.0}", figures.searched.loaded_ms)),
        cells("RSS of the searching process MiB", &|figures| mib(figures.searched.rss_bytes)),
        cells("RSS of the server MiB", &|figures| mib(figures.served.rss_bytes)),
        cells("Memories written with their words/s", &|figures| format!("{:.0}", figures.filled.written_per_second)),
        cells("Memories given windows and vectors/s", &|figures| format!("{:.0}", figures.filled.indexed_per_second)),
    ] {
        line(&mut text, &row);
    }
    text
}

fn mib(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / MIB)
}
