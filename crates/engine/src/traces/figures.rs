//! Figures over many records: grouped by texts and by time, summed up in one pass. Pure.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use privet_domain::time::NanoTimestamp;

/// How long a stretch of time is, by which figures are grouped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granularity {
    /// A minute.
    Minute,
    /// An hour.
    Hour,
    /// A day (UTC).
    Day,
    /// A week, from Monday on.
    Week,
    /// A month.
    Month,
}

const NANOS_PER_MINUTE: i64 = 60_000_000_000;
const NANOS_PER_HOUR: i64 = 60 * NANOS_PER_MINUTE;
const NANOS_PER_DAY: i64 = 24 * NANOS_PER_HOUR;
/// 1970 began on a Thursday.
const DAYS_FROM_MONDAY: i64 = 3;

impl Granularity {
    /// The one that makes about fifty stretches of a range.
    #[must_use]
    pub const fn for_range(from: NanoTimestamp, until: NanoTimestamp) -> Self {
        let nanos = until.as_nanos().saturating_sub(from.as_nanos());
        match nanos {
            ..=7_200_000_000_000 => Self::Minute,
            7_200_000_000_001..=259_200_000_000_000 => Self::Hour,
            259_200_000_000_001..=7_776_000_000_000_000 => Self::Day,
            7_776_000_000_000_001..=31_622_400_000_000_000 => Self::Week,
            31_622_400_000_000_001.. => Self::Month,
        }
    }

    /// Whether stretches are made of whole days.
    #[must_use]
    pub const fn is_of_days(self) -> bool {
        matches!(self, Self::Day | Self::Week | Self::Month)
    }

    /// The first instant of the stretch that an instant lies in.
    #[must_use]
    pub fn begin_of(self, at: NanoTimestamp) -> NanoTimestamp {
        let nanos = at.as_nanos();
        let floor = |step: i64| NanoTimestamp::from_nanos(nanos.div_euclid(step).saturating_mul(step));
        match self {
            Self::Minute => floor(NANOS_PER_MINUTE),
            Self::Hour => floor(NANOS_PER_HOUR),
            Self::Day => floor(NANOS_PER_DAY),
            Self::Week => {
                let monday = at.day() - (at.day() + DAYS_FROM_MONDAY).rem_euclid(7);
                NanoTimestamp::from_nanos(monday.saturating_mul(NANOS_PER_DAY))
            }
            Self::Month => first_of_month(at).unwrap_or_else(|| floor(NANOS_PER_DAY)),
        }
    }
}

fn first_of_month(at: NanoTimestamp) -> Option<NanoTimestamp> {
    let instant = jiff::Timestamp::from_nanosecond(i128::from(at.as_nanos())).ok()?;
    let date: Date = instant.to_zoned_datetime(TimeZone::UTC).date().first_of_month();
    let begin = TimeZone::UTC.to_timestamp(date.to_datetime(jiff::civil::Time::midnight())).ok()?;
    i64::try_from(begin.as_nanosecond()).ok().map(NanoTimestamp::from_nanos)
}

/// What becomes of many numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Aggregation {
    /// Their sum.
    Sum,
    /// Their mean.
    Average,
    /// How many there are.
    Count,
    /// The smallest.
    Min,
    /// The greatest.
    Max,
    /// The one below which so large a share of them lies, from 0 to 1.
    Percentile(f64),
    /// How many lie in each of so many equal parts of their range.
    Histogram(usize),
}

impl Aggregation {
    const fn needs_all(self) -> bool {
        matches!(self, Self::Percentile(_) | Self::Histogram(_))
    }
}

/// A figure.
#[derive(Clone, Debug, PartialEq)]
pub enum Figure {
    /// Nothing to count.
    None,
    /// A number.
    Number(f64),
    /// Lower end, upper end and how many.
    Parts(Vec<(f64, f64, u64)>),
}

/// What a group has in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupKey {
    /// The beginning of its stretch of time, in nanoseconds.
    pub time: Option<i64>,
    /// Its texts.
    pub texts: Vec<Option<String>>,
}

/// The numbers of one measure in one group.
#[derive(Clone, Debug, Default)]
struct Numbers {
    count: u64,
    sum: f64,
    min: Option<f64>,
    max: Option<f64>,
    all: Vec<f64>,
}

/// Figures in the making.
#[derive(Debug)]
pub struct Figures {
    granularity: Option<Granularity>,
    /// Of each measure, whether all of its numbers are kept.
    keeps: Vec<bool>,
    /// Which measure, and what becomes of it.
    metrics: Vec<(usize, Aggregation)>,
    groups: BTreeMap<GroupKey, Vec<Numbers>>,
}

impl Figures {
    /// Figures of so many measures; `metrics` names each by its place.
    #[must_use]
    pub fn new(granularity: Option<Granularity>, measures: usize, metrics: Vec<(usize, Aggregation)>) -> Self {
        let keeps = (0..measures)
            .map(|measure| metrics.iter().any(|(of, aggregation)| *of == measure && aggregation.needs_all()));
        Self { granularity, keeps: keeps.collect(), metrics, groups: BTreeMap::new() }
    }

    /// Adds a record.
    pub fn add(&mut self, at: NanoTimestamp, texts: Vec<Option<String>>, numbers: &[Option<f64>]) {
        let keeps = self.keeps.clone();
        let group = self.group(at, texts);
        for ((numbers, number), keeps) in group.iter_mut().zip(numbers).zip(keeps) {
            let Some(number) = number else { continue };
            numbers.count += 1;
            numbers.sum += number;
            numbers.min = Some(numbers.min.map_or(*number, |min| min.min(*number)));
            numbers.max = Some(numbers.max.map_or(*number, |max| max.max(*number)));
            if keeps {
                numbers.all.push(*number);
            }
        }
    }

    /// Adds sums: of each measure how many numbers, and what they add up to. Good for sums, counts and means alone.
    pub fn add_sums(&mut self, at: NanoTimestamp, texts: Vec<Option<String>>, sums: &[(u64, f64)]) {
        for (numbers, (count, sum)) in self.group(at, texts).iter_mut().zip(sums) {
            numbers.count += count;
            numbers.sum += sum;
        }
    }

    fn group(&mut self, at: NanoTimestamp, texts: Vec<Option<String>>) -> &mut Vec<Numbers> {
        let time = self.granularity.map(|granularity| granularity.begin_of(at).as_nanos());
        let measures = self.keeps.len();
        self.groups.entry(GroupKey { time, texts }).or_insert_with(|| vec![Numbers::default(); measures])
    }

    /// The figures of each group, in the order of time and of the texts.
    #[must_use]
    pub fn finish(self) -> Vec<(GroupKey, Vec<Figure>)> {
        let metrics = self.metrics;
        let finished = |mut numbers: Vec<Numbers>| {
            for numbers in &mut numbers {
                numbers.all.sort_by(f64::total_cmp);
            }
            metrics
                .iter()
                .map(|(of, aggregation)| numbers.get(*of).map_or(Figure::None, |numbers| numbers.figure(*aggregation)))
                .collect()
        };
        self.groups.into_iter().map(|(key, numbers)| (key, finished(numbers))).collect()
    }
}

impl Numbers {
    /// `all` is sorted.
    fn figure(&self, aggregation: Aggregation) -> Figure {
        let number = |number: Option<f64>| number.map_or(Figure::None, Figure::Number);
        match aggregation {
            Aggregation::Sum => Figure::Number(self.sum),
            Aggregation::Count => Figure::Number(self.count as f64),
            Aggregation::Average => number((self.count > 0).then(|| self.sum / self.count as f64)),
            Aggregation::Min => number(self.min),
            Aggregation::Max => number(self.max),
            Aggregation::Percentile(share) => number(self.percentile(share)),
            Aggregation::Histogram(parts) => Figure::Parts(self.parts(parts)),
        }
    }

    /// Between two of the numbers by their distance.
    fn percentile(&self, share: f64) -> Option<f64> {
        let place = share.clamp(0.0, 1.0) * self.all.len().checked_sub(1)? as f64;
        let (below, above) = (self.all.get(place.floor() as usize)?, self.all.get(place.ceil() as usize)?);
        Some(below + (above - below) * place.fract())
    }

    fn parts(&self, parts: usize) -> Vec<(f64, f64, u64)> {
        let (Some(min), Some(max)) = (self.all.first().copied(), self.all.last().copied()) else { return Vec::new() };
        let width = (max - min) / parts.max(1) as f64;
        if width <= 0.0 {
            return vec![(min, max, self.count)];
        }
        let mut counted: Vec<(f64, f64, u64)> =
            (0..parts).map(|part| (min + width * part as f64, min + width * (part + 1) as f64, 0)).collect();
        for number in &self.all {
            let part = (((number - min) / width) as usize).min(parts.saturating_sub(1));
            if let Some((_, _, count)) = counted.get_mut(part) {
                *count += 1;
            }
        }
        counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> NanoTimestamp {
        NanoTimestamp::parse(text).unwrap()
    }

    #[test]
    fn stretches_of_time_begin_where_the_calendar_says() {
        let instant = at("2026-11-25T10:20:30.5Z");
        for (granularity, begin) in [
            (Granularity::Minute, "2026-11-25T10:20:00Z"),
            (Granularity::Hour, "2026-11-25T10:00:00Z"),
            (Granularity::Day, "2026-11-25T00:00:00Z"),
            (Granularity::Week, "2026-11-23T00:00:00Z"),
            (Granularity::Month, "2026-11-01T00:00:00Z"),
        ] {
            assert_eq!(granularity.begin_of(instant), at(begin), "{granularity:?}");
            assert_eq!(granularity.begin_of(at(begin)), at(begin), "{granularity:?}");
        }
        assert_eq!(Granularity::Week.begin_of(at("1969-12-31T23:00:00Z")), at("1969-12-29T00:00:00Z"));
    }

    #[test]
    fn a_range_that_is_cut_by_itself_has_about_fifty_parts() {
        let from = at("2026-01-01T00:00:00Z");
        for (until, granularity) in [
            ("2026-01-01T01:00:00Z", Granularity::Minute),
            ("2026-01-02T00:00:00Z", Granularity::Hour),
            ("2026-02-01T00:00:00Z", Granularity::Day),
            ("2026-12-31T00:00:00Z", Granularity::Week),
            ("2029-01-01T00:00:00Z", Granularity::Month),
        ] {
            assert_eq!(Granularity::for_range(from, at(until)), granularity, "{until}");
        }
    }

    #[test]
    fn numbers_are_summed_up_by_group_and_what_is_missing_is_not_counted() {
        let all = [Aggregation::Sum, Aggregation::Average, Aggregation::Count, Aggregation::Min, Aggregation::Max];
        let mut figures = Figures::new(None, 1, all.map(|aggregation| (0, aggregation)).to_vec());
        let when = at("2026-11-25T10:20:30Z");
        for (name, number) in [("a", Some(1.0)), ("a", Some(4.0)), ("a", None), ("b", None)] {
            figures.add(when, vec![Some(name.to_owned())], &[number]);
        }
        let finished = figures.finish();
        let numbers = |figures: &[Figure]| figures.to_vec();
        let [(_, a), (_, b)] = finished.as_slice() else { panic!("{finished:?}") };
        assert_eq!(numbers(a), [5.0, 2.5, 2.0, 1.0, 4.0].map(Figure::Number));
        let zero = Figure::Number(0.0);
        assert_eq!(numbers(b), [zero.clone(), Figure::None, zero, Figure::None, Figure::None]);
    }

    #[test]
    fn percentiles_lie_between_numbers_and_histograms_count_each_once() {
        let metrics =
            vec![(0, Aggregation::Percentile(0.5)), (0, Aggregation::Percentile(0.95)), (0, Aggregation::Histogram(2))];
        let mut figures = Figures::new(None, 1, metrics);
        for number in [4.0, 1.0, 3.0, 2.0, 5.0] {
            figures.add(at("2026-11-25T10:20:30Z"), vec![], &[Some(number)]);
        }
        let finished = figures.finish();
        let parts = Figure::Parts(vec![(1.0, 3.0, 2), (3.0, 5.0, 3)]);
        assert_eq!(finished[0].1, [Figure::Number(3.0), Figure::Number(4.8), parts]);
    }

    #[test]
    fn sums_of_days_join_into_weeks() {
        let mut figures = Figures::new(Some(Granularity::Week), 1, vec![(0, Aggregation::Average)]);
        for (day, sum) in [("2026-11-23T00:00:00Z", (2, 10.0)), ("2026-11-24T00:00:00Z", (3, 15.0))] {
            figures.add_sums(at(day), vec![], &[sum]);
        }
        assert_eq!(figures.finish()[0].1, [Figure::Number(5.0)]);
    }
}
