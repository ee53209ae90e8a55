//! Other queues, as external commands: what they say about themselves, and one measurement of one of them. The contract
//! is in docs/benchmarking.md.

use std::cell::Cell;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

use super::clock::whole;
use super::crew::{Crew, Id};
use super::job::new_histogram;
use super::limits::PATIENCE;
use super::measure::{Sample, by_rate, by_time};
use super::site::Site;
use super::spec::{Spec, Workload};
use super::{durable, limits, measure};

/// The exit code of a command whose queue is not installed: EX_UNAVAILABLE of sysexits.
const UNAVAILABLE: i32 = 69;
/// Messages of the first run, which only finds out how many are enough.
const FIRST_COUNT: u64 = 200;
const LARGEST_COUNT: u64 = 200_000_000;

/// What a queue says about itself.
#[derive(Clone, Debug, Deserialize)]
pub struct Facts {
    pub name: String,
    #[serde(default)]
    pub version: String,
    pub kind: Kind,
    #[serde(default)]
    pub acked: bool,
    #[serde(default)]
    pub survives_kill: bool,
    #[serde(default)]
    pub mpmc: bool,
    #[serde(default)]
    pub durable: bool,
    #[serde(default)]
    pub blocking: bool,
    #[serde(default)]
    pub roles: Vec<String>,
    #[serde(default)]
    pub max_size: Option<u64>,
    #[serde(default)]
    pub notes: String,
}

/// Between what it works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Processes,
    Threads,
}

/// A command, and what it said.
#[derive(Clone, Debug)]
pub struct Rival {
    words: Vec<String>,
    pub facts: Facts,
}

/// What came of asking a command to describe itself.
#[derive(Debug)]
pub enum Described {
    Rival(Box<Rival>),
    /// Why it cannot be used here.
    NotInstalled(String),
}

/// Asks a command, words parted by blanks, what it is.
pub fn describe(command: &str) -> anyhow::Result<Described> {
    let words: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
    let mut asked = start_of(&words)?;
    asked.arg("describe").stdin(Stdio::null());
    let done = asked
        .output()
        .with_context(|| format!("running {command:?}"))?;
    let complaint = String::from_utf8_lossy(&done.stderr);
    let complaint = complaint.trim().replace('\n', " ");
    if done.status.code() == Some(UNAVAILABLE) {
        return Ok(Described::NotInstalled(complaint));
    }
    if !done.status.success() {
        bail!(
            "{command:?} describe ended with {}: {complaint}",
            done.status
        );
    }
    let facts = serde_json::from_slice(&done.stdout);
    let facts = facts.with_context(|| format!("what {command:?} says about itself"))?;
    Ok(Described::Rival(Box::new(Rival { words, facts })))
}

fn start_of(words: &[String]) -> anyhow::Result<Command> {
    let (program, rest) = words.split_first().context("an empty command")?;
    let mut command = Command::new(program);
    command.args(rest);
    Ok(command)
}

impl Facts {
    /// Why it cannot do this, if it cannot.
    pub fn obstacle(&self, spec: &Spec) -> Option<String> {
        let role = match spec.workload {
            Workload::RoundTrip => "round-trip",
            _ if spec.batch > 1 => "throughput-batch",
            _ => "throughput",
        };
        if !self.roles.iter().any(|known| known == role) {
            return Some(format!("has no {role}"));
        }
        if spec.timed && !self.durable {
            return Some("is not durable".to_owned());
        }
        if self.max_size.is_some_and(|max| spec.size > max) {
            let max = crate::units::size(self.max_size.unwrap_or(0));
            return Some(format!("takes {max} at most"));
        }
        let several = spec.producers > 1 || spec.consumers > 1;
        if several && self.kind == Kind::Threads {
            return Some("works between threads only".to_owned());
        }
        (several && !self.mpmc).then(|| "is not for many".to_owned())
    }
}

/// What a foreign process found.
#[derive(Debug, Default, Deserialize)]
struct Found {
    messages: u64,
    ns: f64,
    /// Of threads: what the sender took.
    #[serde(default)]
    published_ns: Option<f64>,
    #[serde(default)]
    first_ns: Option<u64>,
    #[serde(default)]
    last_ns: Option<u64>,
    #[serde(default)]
    p50_ns: Option<f64>,
    #[serde(default)]
    p90_ns: Option<f64>,
    #[serde(default)]
    p99_ns: Option<f64>,
    #[serde(default)]
    p999_ns: Option<f64>,
    #[serde(default)]
    max_ns: Option<f64>,
}

/// A measurement of a foreign queue.
#[derive(Debug)]
pub struct Foreign {
    pub rival: Rival,
    pub spec: Spec,
    /// Messages of each producer, once it is known how many take long enough.
    pub count: Cell<Option<u64>>,
}

impl Foreign {
    /// Measures the limit, then the queue.
    pub fn measure(&self, site: &Site) -> anyhow::Result<Sample> {
        let count = match self.count.get().or(self.spec.messages) {
            Some(count) => count,
            None => self.calibrate(site)?,
        };
        self.count.set(Some(count));
        if self.spec.timed {
            let alone = durable::rate_alone(site, &self.spec)?;
            return Ok(by_rate(self.run(site, count)?, alone));
        }
        let beside = limits::beside(site, &self.spec)?;
        let sample = self.run(site, count)?;
        Ok(if self.spec.workload == Workload::RoundTrip {
            by_time(sample, measure::hop_limit(&beside))
        } else {
            by_rate(sample, measure::ring_limit(&beside, &self.spec))
        })
    }

    /// How many messages take about as long as wanted.
    fn calibrate(&self, site: &Site) -> anyhow::Result<u64> {
        let mut count = FIRST_COUNT;
        // Bound: a start-up that weighs less with each turn.
        for _ in 0..5 {
            let sample = self.run(site, count)?;
            let per_message = match sample.msgs_per_s {
                Some(rate) => 1e9 * self.spec.producers as f64 / rate,
                None => 2.0 * sample.latencies.map_or(1.0, |found| found.mean()),
            };
            let wanted = whole(self.spec.seconds * 1e9 / per_message.max(0.1));
            let enough = wanted <= count.saturating_mul(3);
            count = wanted.clamp(FIRST_COUNT, count.saturating_mul(50));
            if enough {
                break;
            }
        }
        Ok(count.min(LARGEST_COUNT))
    }

    fn run(&self, site: &Site, count: u64) -> anyhow::Result<Sample> {
        let count = count.next_multiple_of(self.spec.batch);
        let directory = site.directory(self.spec.place)?;
        let run = Run {
            foreign: self,
            site,
            path: directory.path(),
            patience: PATIENCE + Duration::from_secs_f64(self.spec.seconds),
        };
        let round_trip = self.spec.workload == Workload::RoundTrip;
        match (self.rival.facts.kind, round_trip) {
            (Kind::Threads, _) => run.threads(count, round_trip),
            (Kind::Processes, true) => run.round_trip(count),
            (Kind::Processes, false) => run.one_way(count),
        }
    }
}

/// One run of a foreign queue.
struct Run<'r> {
    foreign: &'r Foreign,
    site: &'r Site,
    path: &'r Path,
    patience: Duration,
}

impl Run<'_> {
    fn command(&self, role: &str, count: u64, core: &str) -> anyhow::Result<Command> {
        let spec = &self.foreign.spec;
        let mut command = start_of(&self.foreign.rival.words)?;
        command
            .arg(role)
            .arg(self.path)
            .args([spec.size, count].map(|number| number.to_string()))
            .arg(core)
            .arg(spec.batch.to_string());
        Ok(command)
    }

    /// The CPU for a process of the contract.
    fn core(&self, process: usize) -> String {
        let cpu = self.site.cpu(process);
        cpu.map_or_else(|| "-".to_owned(), |cpu| cpu.to_string())
    }

    fn start(
        &self,
        crew: &mut Crew,
        role: &str,
        count: u64,
        process: usize,
        producer: (u64, u64),
    ) -> anyhow::Result<Id> {
        let mut command = self.command(role, count, &self.core(process))?;
        command
            .env("SLIPRING_BENCH_PRODUCER", producer.0.to_string())
            .env("SLIPRING_BENCH_ENDS", producer.1.to_string());
        let name = format!("{} {role}", self.foreign.rival.facts.name);
        let id = crew.start(&name, command)?;
        crew.await_ready(id, self.patience)?;
        Ok(id)
    }

    fn found(&self, crew: &mut Crew, id: Id) -> anyhow::Result<Found> {
        let line = crew.finish(id, self.patience)?;
        let name = &self.foreign.rival.facts.name;
        serde_json::from_str(&line).with_context(|| format!("what {name} said: {line}"))
    }

    fn threads(&self, count: u64, round_trip: bool) -> anyhow::Result<Sample> {
        let cores = [self.core(0), self.core(1)];
        let (role, core) = if round_trip {
            ("threads-round-trip", cores.join(","))
        } else {
            ("threads-throughput", cores.join(","))
        };
        let mut crew = Crew::default();
        let command = self.command(role, count, &core)?;
        let id = crew.start(
            &format!("{} {role}", self.foreign.rival.facts.name),
            command,
        )?;
        // Whether it waits for its start, the contract leaves open.
        let _has_begun = crew.go(id);
        let found = self.found(&mut crew, id)?;
        if round_trip {
            latencies(&found)
        } else {
            ensure!(
                found.messages == count,
                "{} of {count} messages came",
                found.messages
            );
            let mut sample = throughput(std::slice::from_ref(&found));
            if self.foreign.spec.timed {
                let published = found.published_ns.context("threads without published_ns")?;
                sample.msgs_per_s = Some(count as f64 * 1e9 / published.max(1.0));
            }
            Ok(sample)
        }
    }

    fn round_trip(&self, count: u64) -> anyhow::Result<Sample> {
        let mut crew = Crew::default();
        let pong = self.start(&mut crew, "pong", count, 0, (0, 0))?;
        let ping = self.start(&mut crew, "ping", count, 1, (0, 0))?;
        crew.go(ping)?;
        let found = self.found(&mut crew, ping)?;
        crew.finish(pong, self.patience)?;
        latencies(&found)
    }

    fn one_way(&self, count: u64) -> anyhow::Result<Sample> {
        let spec = &self.foreign.spec;
        let mut crew = Crew::default();
        let alone = spec.producers == 1 && spec.consumers == 1;
        let (mut consumers, mut producers) = (Vec::new(), Vec::new());
        for process in 0..usize::try_from(spec.consumers)? {
            let count = if alone { count } else { 0 };
            consumers.push(self.start(&mut crew, "consume", count, process, (0, 0))?);
        }
        for index in 0..spec.producers {
            let process = consumers.len() + producers.len();
            producers.push(self.start(&mut crew, "produce", count, process, (index, 0))?);
        }
        // One more has nothing to send but the ends, once all the others are done.
        let last = if alone {
            None
        } else {
            let process = consumers.len() + producers.len();
            let ends = (spec.producers, spec.consumers);
            Some(self.start(&mut crew, "produce", 0, process, ends)?)
        };
        for id in &producers {
            crew.go(*id)?;
        }
        let published = producers.iter().map(|id| self.found(&mut crew, *id));
        let published = published.collect::<anyhow::Result<Vec<_>>>()?;
        if let Some(last) = last {
            crew.go(last)?;
            crew.finish(last, self.patience)?;
        }
        let found = consumers.iter().map(|id| self.found(&mut crew, *id));
        let found = found.collect::<anyhow::Result<Vec<_>>>()?;
        let received: u64 = found.iter().map(|found| found.messages).sum();
        let sent = count * spec.producers;
        ensure!(
            received == sent,
            "{sent} messages were sent, and {received} received"
        );
        let mut sample = throughput(&found);
        if spec.timed {
            // What counts is when it was confirmed, and not when it was consumed.
            let longest = published.iter().map(|found| found.ns).fold(1.0, f64::max);
            sample.msgs_per_s = Some(sent as f64 * 1e9 / longest);
        }
        Ok(sample)
    }
}

/// From the first message that anybody got to the last; or, of one consumer, the time it says.
fn throughput(found: &[Found]) -> Sample {
    let messages: u64 = found.iter().map(|found| found.messages).sum();
    let busy = || found.iter().filter(|found| found.messages > 0);
    let first = busy().filter_map(|found| found.first_ns).min();
    let last = busy().filter_map(|found| found.last_ns).max();
    let longest = busy().map(|found| found.ns).fold(0.0, f64::max);
    let span = match (found, first.zip(last)) {
        ([_, _, ..], Some((first, last))) => last.saturating_sub(first) as f64,
        _ => longest,
    };
    let fairness = (found.len() > 1).then(|| {
        let counts = || found.iter().map(|found| found.messages);
        counts().min().unwrap_or(0) as f64 / counts().max().unwrap_or(0).max(1) as f64
    });
    Sample {
        messages,
        msgs_per_s: Some(messages.saturating_sub(1) as f64 * 1e9 / span.max(1.0)),
        fairness,
        ..Sample::default()
    }
}

/// A histogram that has the percentiles of the foreign one; between them it knows nothing.
fn latencies(found: &Found) -> anyhow::Result<Sample> {
    let mut histogram = new_histogram()?;
    let p50 = found.p50_ns.context("a ping without p50_ns")?;
    let p90 = found.p90_ns.unwrap_or(p50);
    let p99 = found.p99_ns.unwrap_or(p90);
    let p999 = found.p999_ns.unwrap_or(p99);
    let max = found.max_ns.unwrap_or(p999);
    // Of 10,000: how many lie at each of them, so that each quantile falls on its own.
    for (value, count) in [(p50, 5000), (p90, 4000), (p99, 900), (p999, 90), (max, 10)] {
        histogram.saturating_record_n(whole(value).max(1), count);
    }
    Ok(Sample {
        messages: found.messages,
        latencies: Some(histogram),
        ..Sample::default()
    })
}
