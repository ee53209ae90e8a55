//! A result as it is printed: all rounds of one measurement, put together.

use hdrhistogram::Histogram;
use serde::Serialize;

use super::job::new_histogram;
use super::limits::Limit;
use super::measure::Sample;

/// What rounds agreed and differed on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

impl Spread {
    /// Of all that there are.
    pub fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        // Of an even number, between the two in the middle.
        let upper = values.get(values.len() / 2)?;
        let lower = values.get(values.len().saturating_sub(1) / 2)?;
        Some(Self {
            median: f64::midpoint(*lower, *upper),
            low: *values.first()?,
            high: *values.last()?,
        })
    }
}

/// What was measured, before anything is known about it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Entry {
    pub workload: String,
    /// The same, but for `compare` and `foreign`, where it is what was measured.
    pub measured: String,
    /// `slipring`, or the name a foreign queue gave itself.
    pub queue: String,
    pub size: u64,
    pub producers: u64,
    pub consumers: u64,
    pub groups: u64,
    pub participants: u64,
    pub group_kind: &'static str,
    pub producer_kind: &'static str,
    pub batch: u64,
    pub wait: &'static str,
    pub place: &'static str,
    pub durability: &'static str,
    /// Somebody else wrote to the disk.
    pub disturbed: bool,
    pub capacity: u64,
    /// Who was killed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub killed: Option<&'static str>,
    pub rounds: usize,
    pub messages: u64,
    pub msgs_per_s: Option<f64>,
    pub msgs_per_s_low: Option<f64>,
    pub msgs_per_s_high: Option<f64>,
    pub bytes_per_s: Option<f64>,
    pub p50_ns: Option<f64>,
    pub p50_ns_low: Option<f64>,
    pub p50_ns_high: Option<f64>,
    pub p90_ns: Option<f64>,
    pub p99_ns: Option<f64>,
    pub p999_ns: Option<f64>,
    pub max_ns: Option<f64>,
    pub publish_ns: Option<f64>,
    pub receive_ns: Option<f64>,
    pub fairness: Option<f64>,
    pub idle_cpu: Option<f64>,
    pub memory_bytes: Option<u64>,
    pub limit: Option<&'static str>,
    pub limit_value: Option<f64>,
    pub limit_unit: Option<&'static str>,
    pub ratio: Option<f64>,
    pub ratio_low: Option<f64>,
    pub ratio_high: Option<f64>,
    pub ratio_p99: Option<f64>,
    /// Why it was not measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
    /// Why it is no result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// Of all rounds together, for the report's curves.
    #[serde(skip)]
    pub latencies: Option<Histogram<u64>>,
}

impl Entry {
    /// Fills in what the rounds found.
    pub fn fill(&mut self, samples: &[Sample]) -> anyhow::Result<()> {
        self.rounds = samples.len();
        self.messages = samples.iter().map(|sample| sample.messages).sum();
        let spread =
            |field: fn(&Sample) -> Option<f64>| Spread::of(samples.iter().filter_map(field));
        if let Some(rate) = spread(|sample| sample.msgs_per_s) {
            self.msgs_per_s = Some(rate.median);
            self.msgs_per_s_low = Some(rate.low);
            self.msgs_per_s_high = Some(rate.high);
            self.bytes_per_s = Some(rate.median * self.size as f64);
        }
        let median = |field| spread(field).map(|spread| spread.median);
        self.publish_ns = median(|sample| Some(sample.operation_ns?.0));
        self.receive_ns = median(|sample| Some(sample.operation_ns?.1));
        self.fairness = median(|sample| sample.fairness);
        self.idle_cpu = median(|sample| sample.idle_cpu);
        self.memory_bytes = samples.iter().filter_map(|sample| sample.memory).max();
        if let Some(ratio) = spread(|sample| sample.ratio) {
            self.ratio = Some(ratio.median);
            self.ratio_low = Some(ratio.low);
            self.ratio_high = Some(ratio.high);
        }
        self.ratio_p99 = median(|sample| sample.ratio_p99).filter(|_| self.killed.is_none());
        let limits = || samples.iter().filter_map(|sample| sample.limit);
        if let Some(Limit { name, unit, .. }) = limits().next() {
            self.limit = Some(name);
            self.limit_unit = Some(unit);
            let values = limits().map(|limit| limit.value);
            self.limit_value = Spread::of(values).map(|spread| spread.median);
        }
        self.fill_latencies(samples)
    }

    fn fill_latencies(&mut self, samples: &[Sample]) -> anyhow::Result<()> {
        let histograms = || {
            samples
                .iter()
                .filter_map(|sample| sample.latencies.as_ref())
        };
        let at = |quantile: f64| {
            let values = histograms().map(|found| found.value_at_quantile(quantile) as f64);
            Spread::of(values)
        };
        let Some(p50) = at(0.5) else {
            return Ok(());
        };
        // A death is one value a round, which has no percentiles.
        let single = self.killed.is_some();
        let median = |quantile| at(quantile).filter(|_| !single).map(|spread| spread.median);
        self.p50_ns = Some(p50.median);
        self.p50_ns_low = Some(p50.low);
        self.p50_ns_high = Some(p50.high);
        self.p90_ns = median(0.9);
        self.p99_ns = median(0.99);
        self.p999_ns = median(0.999);
        self.max_ns = at(1.0).map(|spread| spread.high);
        let mut all = new_histogram()?;
        for found in histograms() {
            all.add(found)?;
        }
        self.latencies = Some(all);
        Ok(())
    }

    /// What tells it from others of its workload.
    pub fn label(&self) -> String {
        if self.workload == "limit" {
            return self.measured.clone();
        }
        let mut parts = Vec::new();
        if self.queue != "slipring" {
            parts.push(self.queue.clone());
        }
        if self.measured != self.workload {
            parts.push(self.measured.clone());
        }
        parts.push(self.shape());
        if self.batch > 1 {
            parts.push(format!("batch {}", self.batch));
        }
        if matches!(&*self.workload, "durable" | "stall") {
            parts.push(self.durability.to_owned());
        }
        if self.disturbed {
            parts.push("others write and sync".to_owned());
        }
        if let Some(victim) = self.killed {
            parts.push(format!("{victim} killed"));
        }
        parts.join(", ")
    }

    fn shape(&self) -> String {
        let sole = if self.producer_kind == "sole" {
            "sole "
        } else {
            ""
        };
        let to = if self.groups > 1 {
            format!("{} groups", self.groups)
        } else {
            self.consumers.to_string()
        };
        let shape = format!("{sole}{} to {to} {}", self.producers, self.group_kind);
        shape.trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_lies_in_the_middle() {
        let of = |values: &[f64]| Spread::of(values.iter().copied());
        let spread = of(&[9.0, 1.0, 2.0]).unwrap();
        assert_eq!((spread.low, spread.median, spread.high), (1.0, 2.0, 9.0));
        assert_eq!(of(&[4.0, 2.0]).unwrap().median, 3.0);
        assert_eq!(of(&[f64::NAN, 5.0]).unwrap().median, 5.0);
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn rounds_are_put_together_without_mixing_them() {
        let sample = |rate, ratio, latency| {
            let mut latencies = new_histogram().unwrap();
            latencies.record_n(latency, 100).unwrap();
            Sample {
                messages: 10,
                msgs_per_s: Some(rate),
                ratio: Some(ratio),
                latencies: Some(latencies),
                ..Sample::default()
            }
        };
        let mut entry = Entry {
            size: 64,
            ..Entry::default()
        };
        let rounds = [
            sample(5.0, 0.5, 100),
            sample(1.0, 0.9, 10),
            sample(3.0, 0.1, 1000),
        ];
        entry.fill(&rounds).unwrap();
        assert_eq!((entry.rounds, entry.messages), (3, 30));
        assert_eq!(entry.msgs_per_s, Some(3.0));
        assert_eq!(entry.bytes_per_s, Some(192.0));
        assert_eq!(
            (entry.msgs_per_s_low, entry.msgs_per_s_high),
            (Some(1.0), Some(5.0))
        );
        assert_eq!(
            (entry.ratio_low, entry.ratio, entry.ratio_high),
            (Some(0.1), Some(0.5), Some(0.9))
        );
        assert_eq!((entry.p50_ns, entry.p99_ns), (Some(100.0), Some(100.0)));
        assert_eq!(entry.max_ns, Some(1000.0));
    }
}
