//! Adds up what the workers report, judges it, and says it: to people, or as one JSON object.

use std::time::Duration;

use anyhow::Context;
use hdrhistogram::Histogram;
use serde::Serialize;

use super::Plan;
use super::numbers::Numbers;
use super::protocol::{Consumed, Produced};
use crate::output::Output;
use crate::units;

/// Counts latencies in ns, to three digits, from 1 ns to 10 minutes; whatever is longer counts as that.
pub fn new_histogram() -> anyhow::Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, 600_000_000_000, 3).context("making a histogram")
}

/// The sum of all reports.
pub struct Total {
    published: u64,
    started_ns: Option<u64>,
    consumed: Consumed,
    /// Which numbers of each producer anybody got.
    numbers: Vec<Numbers>,
    latencies: Histogram<u64>,
}

impl Total {
    /// Nothing yet.
    pub fn new(plan: &Plan) -> anyhow::Result<Self> {
        let shares = (0..plan.producers).map(|producer| plan.share(producer));
        Ok(Self {
            published: 0,
            started_ns: None,
            consumed: Consumed::default(),
            numbers: shares.map(Numbers::below).collect(),
            latencies: new_histogram()?,
        })
    }

    /// Adds a producer's report.
    pub fn add_produced(&mut self, produced: &Produced) {
        self.published += produced.published;
        let before = self.started_ns.unwrap_or(u64::MAX);
        self.started_ns = Some(before.min(produced.started_ns));
    }

    /// Adds a consumer's report.
    pub fn add_consumed(&mut self, consumed: &Consumed) {
        let sum = &mut self.consumed;
        sum.delivered += consumed.delivered;
        sum.acked += consumed.acked;
        sum.redelivered += consumed.redelivered;
        sum.corrupted += consumed.corrupted;
        sum.out_of_order += consumed.out_of_order;
        sum.stale += consumed.stale;
        sum.ended_ns = sum.ended_ns.max(consumed.ended_ns);
        for (numbers, ranges) in self.numbers.iter_mut().zip(&consumed.numbers) {
            numbers.extend(ranges);
        }
        for &(value, count) in &consumed.latencies {
            self.latencies.saturating_record_n(value, count);
        }
    }

    /// What it all comes to.
    pub fn outcome(&self, plan: &Plan) -> Outcome {
        let unique: u64 = self.numbers.iter().map(Numbers::count).sum();
        let sound = self.consumed.delivered - self.consumed.corrupted;
        let started = self.started_ns.unwrap_or_default();
        let elapsed = Duration::from_nanos(self.consumed.ended_ns.saturating_sub(started));
        let seconds = elapsed.as_secs_f64();
        let quantile = |quantile| self.latencies.value_at_quantile(quantile);
        Outcome {
            published: self.published,
            delivered: self.consumed.delivered,
            acked: self.consumed.acked,
            redelivered: self.consumed.redelivered,
            duplicates: sound.saturating_sub(unique),
            lost: self.published.saturating_sub(unique),
            corrupted: self.consumed.corrupted,
            out_of_order: self.consumed.out_of_order,
            stale_acks: self.consumed.stale,
            producers: plan.producers,
            consumers: plan.consumers,
            size: plan.size,
            seconds,
            msgs_per_s: if seconds > 0.0 {
                unique as f64 / seconds
            } else {
                0.0
            },
            latency_ns: Latency {
                p50: quantile(0.5),
                p90: quantile(0.9),
                p99: quantile(0.99),
                p999: quantile(0.999),
                max: self.latencies.max(),
            },
        }
    }
}

/// The result of a run; `--json` prints it as it is.
#[derive(Debug, Serialize)]
pub struct Outcome {
    published: u64,
    delivered: u64,
    acked: u64,
    redelivered: u64,
    duplicates: u64,
    lost: u64,
    corrupted: u64,
    out_of_order: u64,
    stale_acks: u64,
    producers: u32,
    consumers: u32,
    size: u64,
    seconds: f64,
    msgs_per_s: f64,
    latency_ns: Latency,
}

/// From just before a message is published to just after it is received.
#[derive(Debug, Serialize)]
struct Latency {
    p50: u64,
    p90: u64,
    p99: u64,
    p999: u64,
    max: u64,
}

impl Outcome {
    /// True if every message arrived, whole and in order.
    pub fn is_good(&self, plan: &Plan) -> bool {
        self.published == plan.messages
            && self.lost == 0
            && self.corrupted == 0
            && self.out_of_order == 0
    }

    /// For people.
    pub fn print(&self, output: &mut Output) -> anyhow::Result<()> {
        let rows = [
            ("published", self.published, ""),
            ("delivered", self.delivered, "every byte of each checked"),
            ("acked", self.acked, ""),
            ("redelivered", self.redelivered, ""),
            ("duplicates", self.duplicates, ""),
            ("lost", self.lost, ""),
            ("corrupted", self.corrupted, ""),
            (
                "out of order",
                self.out_of_order,
                "within one producer, for one consumer",
            ),
        ];
        for (label, number, remark) in rows {
            let line = format!("{label:<12}  {:>14}  {remark}", units::count(number));
            output.line(line.trim_end())?;
        }
        let bytes = self.msgs_per_s * self.size as f64 / f64::from(1 << 20);
        output.line(format_args!("{:<12}  {:>14.3} s", "time", self.seconds))?;
        output.line(format_args!(
            "{:<12}  {:>14.2} million messages per second, {bytes:.0} MiB/s",
            "throughput",
            self.msgs_per_s / 1e6
        ))?;
        output.line("latency, publish to receive, under full load:")?;
        let latency = &self.latency_ns;
        for (label, value) in [
            ("p50", latency.p50),
            ("p90", latency.p90),
            ("p99", latency.p99),
            ("p99.9", latency.p999),
            ("max", latency.max),
        ] {
            let value = units::duration(Duration::from_nanos(value));
            output.line(format_args!("  {label:<10}  {value:>14}"))?;
        }
        Ok(())
    }

    /// For programs.
    pub fn print_json(&self, output: &mut Output) -> anyhow::Result<()> {
        output.json(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan = Plan {
        messages: 4,
        producers: 2,
        consumers: 2,
        size: 64,
        batch: 1,
        capacity: 2,
    };

    fn consumed(numbers: [&[u64]; 2]) -> Consumed {
        let ranges = numbers.map(|numbers| {
            let mut set = Numbers::below(2);
            for &number in numbers {
                set.insert(number);
            }
            set.ranges()
        });
        let delivered = numbers.iter().map(|numbers| numbers.len() as u64).sum();
        Consumed {
            delivered,
            acked: delivered,
            ended_ns: 2_000_000_000,
            numbers: ranges.to_vec(),
            latencies: vec![(1000, delivered)],
            ..Consumed::default()
        }
    }

    fn outcome(reports: [Consumed; 2]) -> Outcome {
        let mut total = Total::new(&PLAN).unwrap();
        for started_ns in [1_000_000_000, 1_500_000_000] {
            let published = 2;
            total.add_produced(&Produced {
                published,
                started_ns,
            });
        }
        reports.iter().for_each(|report| total.add_consumed(report));
        total.outcome(&PLAN)
    }

    #[test]
    fn all_there_is_good() {
        let outcome = outcome([consumed([&[0], &[0, 1]]), consumed([&[1], &[]])]);
        assert!(outcome.is_good(&PLAN));
        assert_eq!((outcome.lost, outcome.duplicates), (0, 0));
        assert_eq!(outcome.msgs_per_s, 4.0);
        assert_eq!(outcome.latency_ns.max, outcome.latency_ns.p50);
    }

    #[test]
    fn a_missing_number_is_lost_and_a_second_one_a_duplicate() {
        let outcome = outcome([consumed([&[0], &[0]]), consumed([&[0], &[1]])]);
        assert!(!outcome.is_good(&PLAN));
        assert_eq!((outcome.lost, outcome.duplicates), (1, 1));
    }

    #[test]
    fn damage_and_disorder_are_not_good() {
        let whole = || consumed([&[0, 1], &[0, 1]]);
        for spoil in [
            |report: &mut Consumed| report.corrupted = 1,
            |report: &mut Consumed| report.out_of_order = 1,
        ] {
            let mut report = whole();
            spoil(&mut report);
            let outcome = outcome([report, Consumed::default()]);
            assert!(!outcome.is_good(&PLAN));
        }
    }
}
