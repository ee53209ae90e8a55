//! The machine's limits, measured by pairs of bare processes on the CPUs that the workloads use.

use std::time::Duration;

use anyhow::Context;
use hdrhistogram::Histogram;

use super::bare;
use super::clock::{cost_ns, whole};
use super::crew::Crew;
use super::job::{Bare, Job, Load, Outcome, Role, new_histogram};
use super::measure::Sample;
use super::site::Site;
use super::spec::{Place, Spec};

/// A limit that a result is held against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    pub name: &'static str,
    pub value: f64,
    pub unit: &'static str,
}

/// What is measured right before each workload.
#[derive(Debug)]
pub struct Beside {
    pub hop: Histogram<u64>,
    /// Messages a second of the bare ring, one by one and in batches.
    pub ring: f64,
    pub ring_batched: f64,
}

/// Bytes per second of copying, by one core alone and out of the other's cache.
#[derive(Clone, Copy, Debug)]
pub struct Copying {
    pub own: f64,
    pub across: f64,
}

/// A histogram out of what workers said.
pub fn merge(outcomes: &[Outcome]) -> anyhow::Result<Histogram<u64>> {
    let mut merged = new_histogram()?;
    for (value, count) in outcomes.iter().flat_map(|outcome| &outcome.latencies) {
        merged.saturating_record_n(*value, *count);
    }
    Ok(merged)
}

fn pair(site: &Site, load: &Load, what: Bare) -> anyhow::Result<Outcome> {
    let directory = site.directory(Place::Memory)?;
    let mut crew = Crew::default();
    let mut ids = Vec::new();
    for (process, leads) in [true, false].into_iter().enumerate() {
        let job = Job {
            dir: directory.path().to_owned(),
            cpu: site.cpu(process),
            role: Role::Bare { what, leads },
            load: load.clone(),
        };
        ids.push(crew.start_worker("a bare measurement", &job)?);
    }
    for id in &ids {
        crew.await_ready(*id, bare::PATIENCE)?;
    }
    // The sleeper needs no start.
    for id in ids.iter().skip(usize::from(what == Bare::Wake)) {
        crew.go(*id)?;
    }
    let leader = ids.first().context("nobody leads")?;
    crew.outcome(*leader, bare::PATIENCE)
}

/// The hop, and the bare ring with messages as the workload's.
pub fn beside(site: &Site, spec: &Spec) -> anyhow::Result<Beside> {
    let mut load = spec.load()?;
    load.capacity = bare::ring_capacity(load.size, load.capacity);
    let outcome = pair(site, &load, Bare::HopAndRing)?;
    let per_second = |at: usize| {
        let ns = outcome
            .figures
            .get(at)
            .context("a bare ring without a figure")?;
        Ok::<_, anyhow::Error>(1e9 / ns)
    };
    Ok(Beside {
        ring: per_second(0)?,
        ring_batched: per_second(1)?,
        hop: merge(std::slice::from_ref(&outcome))?,
    })
}

/// Copying messages of this size.
pub fn copying(site: &Site, spec: &Spec) -> anyhow::Result<Copying> {
    let load = spec.load()?;
    let outcome = pair(site, &load, Bare::Copy)?;
    let rate = |at: usize| {
        let ns = outcome.figures.get(at).context("a copy without a figure")?;
        Ok::<_, anyhow::Error>(spec.size as f64 * 1e9 / ns)
    };
    Ok(Copying {
        across: rate(0)?,
        own: rate(1)?,
    })
}

/// Waking a sleeper.
pub fn waking(site: &Site, spec: &Spec) -> anyhow::Result<Histogram<u64>> {
    let outcome = pair(site, &spec.load()?, Bare::Wake)?;
    merge(&[outcome])
}

/// One of the limits, measured for its own sake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    Hop,
    Ring,
    Copy,
    CopyAcross,
    Wake,
    Clock,
}

impl Own {
    /// As results call it.
    pub fn name(self, batched: bool) -> &'static str {
        match self {
            Self::Hop => "bare hop",
            Self::Ring if batched => "bare ring, batched",
            Self::Ring => "bare ring",
            Self::Copy => "copy in a core",
            Self::CopyAcross => "copy between cores",
            Self::Wake => "bare futex",
            Self::Clock => "clock read",
        }
    }

    /// Measures it, with messages as the workload's.
    pub fn measure(self, site: &Site, spec: &Spec) -> anyhow::Result<Sample> {
        let mut sample = Sample::default();
        match self {
            Self::Hop => sample.latencies = Some(beside(site, spec)?.hop),
            Self::Wake => sample.latencies = Some(waking(site, spec)?),
            Self::Ring => {
                let found = beside(site, spec)?;
                let batched = spec.batch > 1;
                sample.msgs_per_s = Some(if batched {
                    found.ring_batched
                } else {
                    found.ring
                });
            }
            Self::Copy | Self::CopyAcross => {
                let found = copying(site, spec)?;
                let bytes = if self == Self::Copy {
                    found.own
                } else {
                    found.across
                };
                sample.msgs_per_s = Some(bytes / spec.size as f64);
            }
            Self::Clock => {
                let mut latencies = new_histogram()?;
                latencies.saturating_record(whole(cost_ns()).max(1));
                sample.latencies = Some(latencies);
            }
        }
        Ok(sample)
    }
}

/// How long a measurement may take beyond its own time before it counts as stuck.
pub const PATIENCE: Duration = Duration::from_secs(60);
