//! The benchmark harness: workloads between processes of their own, the machine's limits beside each of them, rounds
//! interleaved, results as a table, as JSON and as a report with plots.
//!
//! `catalog` chooses what is measured; `measure`, `durable`, `scale` and `foreign` measure it once, `limits` the machine; `crew`
//! holds the processes, `worker` is what ours run (`roles`, `single`, `bare`), `job` what the two say to each other;
//! `entry` puts rounds together, `text`, `compare` and `report` show them. How and why is in docs/benchmarking.md.

mod bare;
mod catalog;
mod clock;
mod compare;
mod crew;
mod durable;
mod entry;
mod foreign;
mod job;
mod limits;
mod machine;
mod measure;
mod message;
mod plot;
mod progress;
mod report;
mod roles;
mod scale;
#[expect(unsafe_code, reason = "memory shared with another process")]
mod shared;
mod single;
mod site;
mod spec;
mod text;
mod worker;

use std::path::PathBuf;

use anyhow::Context;
use serde::Serialize;

pub use catalog::Wishes;
pub use job::Wait;
pub use machine::allowed as allowed_cpus;
pub use message::{Check, MIN_SIZE};
pub use spec::{GroupKind, ProducerKind, Workload};
pub use worker::main as worker_main;

use entry::Entry;
use foreign::Foreign;
use limits::Own;
use machine::Machine;
use measure::Sample;
use progress::Progress;
use scale::Scale;
use site::Site;
use spec::Spec;

use crate::exit::Code;
use crate::output::{Output, Stopped};
use crate::signals;

/// How results are shown.
#[derive(Clone, Debug)]
pub struct Show {
    pub json: bool,
    pub report: Option<PathBuf>,
}

/// What to measure in each round.
#[derive(Debug)]
enum Work {
    Limit(Own, Spec),
    Slipring(Spec),
    Scale(Scale),
    Foreign(Foreign),
}

impl Work {
    fn obstacle(&self, site: &Site) -> anyhow::Result<Option<String>> {
        match self {
            Self::Limit(..) => Ok(None),
            Self::Slipring(spec) => durable::obstacle(spec, site),
            Self::Scale(scale) => scale.obstacle(site),
            Self::Foreign(foreign) => match foreign.rival.facts.obstacle(&foreign.spec) {
                None => durable::obstacle(&foreign.spec, site),
                obstacle => Ok(obstacle),
            },
        }
    }

    fn measure(&self, site: &Site) -> anyhow::Result<Sample> {
        match self {
            Self::Limit(own, spec) => own.measure(site, spec),
            Self::Slipring(spec) => measure::measure(site, spec),
            Self::Scale(scale) => scale.measure(site),
            Self::Foreign(foreign) => foreign.measure(site),
        }
    }
}

/// One line of the result.
#[derive(Debug)]
struct Task {
    work: Work,
    entry: Entry,
    samples: Vec<Sample>,
}

/// A result with where it comes from.
#[derive(Serialize)]
struct Line<'l> {
    #[serde(flatten)]
    entry: &'l Entry,
    machine: &'l Machine,
}

/// Measures what is wished, and shows it.
pub fn run(wishes: &Wishes, show: &Show) -> anyhow::Result<Code> {
    signals::install()?;
    let site = wishes.site()?;
    let machine = Machine::new(&site.cpus);
    let rivals = compare::Rivals::find(wishes)?;
    let mut tasks = catalog::tasks(wishes, &rivals)?;
    if let Some(folder) = &show.report {
        // Not after an hour of measuring.
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    let mut output = Output::stdout()?;
    if !show.json {
        output.line(machine.line())?;
        output.flush()?;
    }
    measure_all(&site, wishes.rounds, &mut tasks)?;
    let mut entries = Vec::new();
    for mut task in tasks {
        task.entry.fill(&task.samples)?;
        entries.push(task.entry);
    }
    let json = json_lines(&entries, &machine)?;
    let text = results(wishes, &rivals, &entries);
    if show.json {
        output.buffer().extend_from_slice(json.as_bytes());
    } else {
        output.line(format!("\n{text}"))?;
    }
    if let Some(folder) = &show.report {
        report::write(folder, &machine, &entries, &text, &json)?;
    }
    output.flush()?;
    let failed = entries.iter().any(|entry| entry.failed.is_some());
    let failed = failed || !rivals.broken.is_empty();
    Ok(if failed { Code::Failure } else { Code::Success })
}

fn json_lines(entries: &[Entry], machine: &Machine) -> anyhow::Result<String> {
    let mut lines = String::new();
    for entry in entries {
        lines.push_str(&serde_json::to_string(&Line { entry, machine })?);
        lines.push('\n');
    }
    Ok(lines)
}

fn results(wishes: &Wishes, rivals: &compare::Rivals, entries: &[Entry]) -> String {
    let of = |wanted: fn(&str) -> bool| {
        let found = entries.iter().filter(|entry| wanted(&entry.workload));
        found.cloned().collect::<Vec<_>>()
    };
    let limits = of(|workload| workload == "limit");
    let compared = of(|workload| workload == "compare");
    let own = of(|workload| workload != "limit" && workload != "compare");
    let rounds = wishes.rounds;
    let method = format!(
        "median of {rounds} interleaved rounds (lowest to highest); ratios are taken within a round"
    );
    let mut parts = vec![method, text::table(&limits)];
    if !own.is_empty() {
        parts.push(text::table(&own));
    }
    if !compared.is_empty() {
        parts.push(compare::text(rivals, &compared));
    }
    parts.join("\n\n")
}

fn measure_all(site: &Site, rounds: usize, tasks: &mut [Task]) -> anyhow::Result<()> {
    let mut progress = Progress::of(rounds * tasks.len());
    for round in 1..=rounds {
        for task in tasks.iter_mut() {
            let entry = &mut task.entry;
            let what = format!("{}: {}", entry.workload, entry.label());
            progress.next(&format!("round {round} of {rounds}: {what}"));
            if signals::caught().is_some() {
                return Err(Stopped.into());
            }
            if entry.skipped.is_some() || entry.failed.is_some() {
                continue;
            }
            if let Some(reason) = task.work.obstacle(site)? {
                entry.skipped = Some(reason);
                continue;
            }
            match task.work.measure(site).context(what) {
                Ok(sample) => task.samples.push(sample),
                Err(error) if error.is::<Stopped>() => return Err(error),
                // Another queue's failure is a result, and not the end of everybody else's.
                Err(error) if matches!(task.work, Work::Foreign(_)) => {
                    entry.failed = Some(format!("{:#}", error.root_cause()));
                    task.samples.clear();
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}
