//! One measurement of slipring: makes the queue, starts the processes, ends them, and puts together what they found.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use hdrhistogram::Histogram;
use slipring::{GroupOptions, Options, Queue};

use super::crew::{Crew, Id};
use super::durable;
use super::job::{Job, Load, Outcome, Pace, Role};
use super::limits::{self, Beside, Limit, merge};
use super::message::{self, END};
use super::roles::{BACK, QUEUE, group_name};
use super::site::Site;
use super::spec::{GroupKind, ProducerKind, Spec, Victim, Workload};

/// What one measurement found.
#[derive(Debug, Default)]
pub struct Sample {
    pub messages: u64,
    /// Of a single publish, and of a receive with its ack.
    pub operation_ns: Option<(f64, f64)>,
    /// Memory that the measuring process has in use, in bytes.
    pub memory: Option<u64>,
    pub msgs_per_s: Option<f64>,
    pub latencies: Option<Histogram<u64>>,
    /// Messages of the slowest consumer by those of the fastest.
    pub fairness: Option<f64>,
    /// CPU time per time of a consumer that has nothing to do.
    pub idle_cpu: Option<f64>,
    pub limit: Option<Limit>,
    /// The result by the limit; above 1 is better for rates, below for times.
    pub ratio: Option<f64>,
    pub ratio_p99: Option<f64>,
}

/// Measures the limit, then the workload.
pub fn measure(site: &Site, spec: &Spec) -> anyhow::Result<Sample> {
    if spec.timed {
        return durable::measure(site, spec);
    }
    let beside = limits::beside(site, spec)?;
    let (by_hop, by_ring) = (hop_limit(&beside), ring_limit(&beside, spec));
    let unit = by_ring.unit;
    let sample = match spec.workload {
        Workload::RoundTrip => by_time(round_trip(site, spec)?, by_hop),
        Workload::OneWay => by_time(one_way(site, spec)?, by_hop),
        Workload::WakeUp => {
            let wake = Limit {
                name: "bare futex",
                value: limits::waking(site, spec)?.value_at_quantile(0.5) as f64,
                unit: "ns",
            };
            by_time(one_way(site, spec)?, wake)
        }
        Workload::Large => {
            let copying = limits::copying(site, spec)?;
            let copy = Limit {
                name: "copy between cores",
                value: copying.across / spec.size as f64,
                unit,
            };
            by_rate(one_way(site, spec)?, copy)
        }
        Workload::Recovery => recovery(site, spec)?,
        Workload::Contention => {
            let pair = Limit {
                name: "1:1 in the same round",
                value: one_way(site, &spec.as_pair())?.msgs_per_s.unwrap_or(0.0),
                unit,
            };
            by_rate(one_way(site, spec)?, pair)
        }
        _ => by_rate(one_way(site, spec)?, by_ring),
    };
    Ok(sample)
}

/// The bare hop, in the middle.
pub fn hop_limit(beside: &Beside) -> Limit {
    Limit {
        name: "bare hop",
        value: beside.hop.value_at_quantile(0.5) as f64,
        unit: "ns",
    }
}

/// The bare ring, as the workload uses the queue.
pub fn ring_limit(beside: &Beside, spec: &Spec) -> Limit {
    let (name, value) = if spec.batch > 1 {
        ("bare ring, batched", beside.ring_batched)
    } else {
        ("bare ring", beside.ring)
    };
    let unit = "messages/s";
    Limit { name, value, unit }
}

/// Holds the middle of the latencies against a time.
pub fn by_time(mut sample: Sample, limit: Limit) -> Sample {
    sample.limit = Some(limit);
    if let Some(latencies) = &sample.latencies {
        let ratio = |quantile| latencies.value_at_quantile(quantile) as f64 / limit.value;
        sample.ratio = Some(ratio(0.5));
        sample.ratio_p99 = Some(ratio(0.99));
    }
    sample
}

/// Holds the rate against another.
pub fn by_rate(mut sample: Sample, limit: Limit) -> Sample {
    sample.limit = Some(limit);
    sample.ratio = sample.msgs_per_s.map(|rate| rate / limit.value);
    sample
}

/// Makes a queue with the groups of a measurement.
pub fn make(dir: &Path, name: &str, spec: &Spec, options: Options) -> anyhow::Result<Queue> {
    let queue = options.create(dir.join(name))?;
    for group in 0..usize::try_from(spec.groups)? {
        let options = match spec.group_kind {
            GroupKind::Shared => GroupOptions::shared(),
            GroupKind::Exclusive => GroupOptions::exclusive(),
        };
        queue.create_group(&group_name(group), options)?;
    }
    Ok(queue)
}

/// The longest that a measurement may take.
fn patience(load: &Load) -> Duration {
    limits::PATIENCE + Duration::from_secs_f64(load.seconds)
}

fn round_trip(site: &Site, spec: &Spec) -> anyhow::Result<Sample> {
    let directory = site.directory(spec.place)?;
    let _there = make(directory.path(), QUEUE, spec, spec.options())?;
    let _back = make(directory.path(), BACK, spec, spec.options())?;
    let load = spec.load()?;
    let sole = spec.producer_kind == ProducerKind::Sole;
    let mut crew = Crew::default();
    let mut start = |process, name: &str, role| {
        let job = Job {
            dir: directory.path().to_owned(),
            cpu: site.cpu(process),
            role,
            load: load.clone(),
        };
        let id = crew.start_worker(name, &job)?;
        crew.await_ready(id, patience(&load))?;
        Ok::<_, anyhow::Error>(id)
    };
    let pong = start(0, "pong", Role::Pong { sole })?;
    let ping = start(1, "ping", Role::Ping { sole })?;
    crew.go(ping)?;
    let outcome = crew.outcome(ping, patience(&load))?;
    crew.outcome(pong, patience(&load))?;
    Ok(Sample {
        messages: outcome.messages,
        latencies: Some(merge(&[outcome])?),
        ..Sample::default()
    })
}

/// The processes of a measurement in one direction.
struct Party {
    crew: Crew,
    consumers: Vec<Id>,
    producers: Vec<Id>,
    load: Load,
    queue: Queue,
}

impl Party {
    /// Starts everybody, consumers first.
    fn gather(site: &Site, spec: &Spec, dir: &Path) -> anyhow::Result<Self> {
        let mut party = Self {
            crew: Crew::default(),
            consumers: Vec::new(),
            producers: Vec::new(),
            load: spec.load()?,
            queue: make(dir, QUEUE, spec, spec.options())?,
        };
        let alone = spec.producers == 1 && spec.consumers == 1;
        let groups = 0..usize::try_from(spec.groups)?;
        for group in groups.flat_map(|group| (0..spec.consumers).map(move |_| group)) {
            let id = party.start(site, dir, "a consumer", Role::Consumer { group, alone })?;
            party.consumers.push(id);
        }
        for index in 0..spec.producers {
            let sole = spec.producer_kind == ProducerKind::Sole;
            let id = party.start(site, dir, "a producer", Role::Producer { index, sole })?;
            party.producers.push(id);
        }
        for id in party.consumers.iter().chain(&party.producers) {
            party.crew.await_ready(*id, patience(&party.load))?;
        }
        Ok(party)
    }

    fn start(&mut self, site: &Site, dir: &Path, name: &str, role: Role) -> anyhow::Result<Id> {
        let process = self.consumers.len() + self.producers.len();
        let job = Job {
            dir: dir.to_owned(),
            cpu: site.cpu(process),
            role,
            load: self.load.clone(),
        };
        self.crew.start_worker(name, &job)
    }

    fn go(&mut self) -> anyhow::Result<()> {
        for id in &self.producers {
            self.crew.go(*id)?;
        }
        Ok(())
    }

    /// Waits for the producers, ends the consumers, and says what both found.
    fn finish(&mut self, ends: u64) -> anyhow::Result<(Vec<Outcome>, Vec<Outcome>)> {
        let patience = patience(&self.load);
        let mut sent = Vec::new();
        for id in &self.producers {
            sent.push(self.crew.outcome(*id, patience)?);
        }
        let mut producer = self.queue.producer()?;
        let mut end = vec![0; self.load.size];
        message::compose(&mut end, END, self.load.check);
        for _ in 0..ends {
            let sent = producer.publish_timeout(&end, patience);
            sent.context("telling a consumer to end")?;
        }
        let mut found = Vec::new();
        for id in &self.consumers {
            found.push(self.crew.outcome(*id, patience)?);
        }
        Ok((sent, found))
    }
}

pub fn one_way(site: &Site, spec: &Spec) -> anyhow::Result<Sample> {
    let directory = site.directory(spec.place)?;
    let mut party = Party::gather(site, spec, directory.path())?;
    party.go()?;
    let (producers, found) = party.finish(spec.consumers)?;
    let sent: u64 = producers.iter().map(|outcome| outcome.messages).sum();
    let received: u64 = found.iter().map(|outcome| outcome.received).sum();
    let groups = spec.groups;
    ensure!(
        received == sent * groups,
        "{sent} messages were sent to {groups} groups, and {received} received"
    );
    if spec.timed {
        return published(sent, &producers);
    }
    summarize(spec, sent, &found)
}

/// What producers say that time their publishes.
fn published(sent: u64, producers: &[Outcome]) -> anyhow::Result<Sample> {
    let first = producers.iter().map(|outcome| outcome.first_ns).min();
    let last = producers.iter().map(|outcome| outcome.last_ns).max();
    let span = last.unwrap_or(0).saturating_sub(first.unwrap_or(0)).max(1);
    Ok(Sample {
        messages: sent,
        msgs_per_s: Some(sent as f64 * 1e9 / span as f64),
        latencies: Some(merge(producers)?),
        ..Sample::default()
    })
}

fn summarize(spec: &Spec, sent: u64, found: &[Outcome]) -> anyhow::Result<Sample> {
    let received: u64 = found.iter().map(|outcome| outcome.messages).sum();
    let latencies = merge(found)?;
    let fairness = (spec.consumers > 1).then(|| {
        let counts = || found.iter().map(|outcome| outcome.messages);
        counts().min().unwrap_or(0) as f64 / counts().max().unwrap_or(0).max(1) as f64
    });
    let rate = match spec.pace {
        Pace::Flat => Some(overall_rate(found, received) / spec.groups as f64),
        Pace::Burst { .. } => burst_rate(found),
        Pace::Rate(_) | Pace::Rare { .. } => None,
    };
    let rare = matches!(spec.pace, Pace::Rare { .. });
    let idle_cpu = found.first().and_then(|outcome| outcome.idle_cpu);
    Ok(Sample {
        messages: sent,
        msgs_per_s: rate,
        latencies: (!latencies.is_empty()).then_some(latencies),
        fairness,
        idle_cpu: idle_cpu.filter(|_| rare),
        ..Sample::default()
    })
}

/// From the first message anybody got to the last; the first one was there when the time began.
fn overall_rate(found: &[Outcome], received: u64) -> f64 {
    let busy = || found.iter().filter(|outcome| outcome.messages > 0);
    let first = busy().map(|outcome| outcome.first_ns).min();
    let last = busy().map(|outcome| outcome.last_ns).max();
    let span = last.unwrap_or(0).saturating_sub(first.unwrap_or(0)).max(1);
    received.saturating_sub(1) as f64 * 1e9 / span as f64
}

/// Within bursts: from when each was due until its last message was there.
fn burst_rate(found: &[Outcome]) -> Option<f64> {
    let figures = |at: usize| {
        let figures = found.iter().filter_map(|outcome| outcome.figures.get(at));
        figures.sum::<f64>()
    };
    let (ns, messages) = (figures(0), figures(1));
    (ns > 0.0).then(|| messages * 1e9 / ns)
}

/// The longest time that a survivor was without a message, beside the same without a death.
fn recovery(site: &Site, spec: &Spec) -> anyhow::Result<Sample> {
    let quiet = longest_gap(site, spec, false)?;
    let (sent, stall) = longest_gap(site, spec, true)?;
    let mut latencies = super::job::new_histogram()?;
    latencies.saturating_record(stall.max(1));
    let limit = Limit {
        name: "the same, nobody killed",
        value: quiet.1.max(1) as f64,
        unit: "ns",
    };
    let sample = Sample {
        messages: sent,
        latencies: Some(latencies),
        ..Sample::default()
    };
    Ok(by_time(sample, limit))
}

fn longest_gap(site: &Site, spec: &Spec, kill: bool) -> anyhow::Result<(u64, u64)> {
    let directory = site.directory(spec.place)?;
    let mut party = Party::gather(site, spec, directory.path())?;
    party.go()?;
    let mut ends = spec.consumers;
    std::thread::sleep(Duration::from_secs_f64(spec.seconds / 2.0));
    if kill {
        let victims = match spec.victim {
            Some(Victim::Consumer) => {
                ends -= 1;
                &mut party.consumers
            }
            _ => &mut party.producers,
        };
        let victim = victims.pop().context("nobody to kill")?;
        party.crew.kill(victim)?;
    }
    let (producers, found) = party.finish(ends)?;
    let sent = producers.iter().map(|outcome| outcome.messages).sum();
    let gap = found.iter().map(|outcome| outcome.gap_ns).max();
    Ok((sent, gap.unwrap_or(0)))
}
