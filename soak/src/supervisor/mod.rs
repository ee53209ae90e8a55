//! The supervisor: makes the queue, follows the plan, and judges what the workers tell.

mod crew;
mod epoch;
mod report;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use slipring::{DEAD_LETTER_OVERHEAD, Inspector, Queue, Timestamps};

use crate::check::{Tally, Violation};
use crate::group::{DEAD_QUEUE, PERMANENT};
use crate::plan::{Epoch, Shape};
use crate::worker;

/// How long the workers of one epoch run, in milliseconds.
const EPOCH: u64 = 10_000;

/// What a run is asked to do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Of everything that is drawn.
    pub seed: u64,
    /// How long workers run; checking comes on top.
    pub duration: Duration,
    /// Where the queue's own directory is made.
    pub directory: PathBuf,
}

impl Settings {
    /// The lengths of the epochs, in milliseconds.
    pub fn epochs(&self) -> impl Iterator<Item = u64> {
        let total = u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX);
        let whole = total / EPOCH;
        let rest = total % EPOCH;
        let lengths = (0..whole).map(|_| EPOCH);
        lengths.chain((rest > 0).then_some(rest))
    }
}

/// What was done and seen, over all epochs.
#[derive(Clone, Debug, Default)]
struct Totals {
    epochs: u64,
    tally: Tally,
    workers: u64,
    kills: u64,
    pauses: u64,
    own_deaths: u64,
    forks: u64,
    execs: u64,
    groups: u64,
    records: u64,
    /// The longest time, in ns, in which a running worker said nothing, and which.
    longest_silence: (u64, String),
    /// The longest turn of the supervisor, which has little to do: how long the machine gave it no time.
    longest_tick: Duration,
}

/// The queue of a run, and the queue of its dead.
#[derive(Clone, Copy, Debug)]
struct Queues<'r> {
    path: &'r Path,
    inspector: &'r Inspector,
    letters: &'r Inspector,
}

/// What came of an epoch.
#[derive(Debug, Default)]
struct Outcome {
    violations: Vec<Violation>,
    journals: Vec<crate::check::Journal>,
}

/// Runs to the end, or to the first epoch that breaks a promise; then the queue and the journals are kept.
///
/// # Errors
/// What keeps the run itself from going on.
pub fn run(settings: &Settings) -> Result<ExitCode> {
    let Settings { seed, .. } = *settings;
    let shape = Shape::new(seed);
    crew::adopt_orphans()?;
    let directory = settings
        .directory
        .join(format!("slipring-soak-{}", std::process::id()));
    std::fs::create_dir(&directory).with_context(|| directory.display().to_string())?;
    println!("seed {seed}, capacity {}", shape.capacity);
    println!("first sequence {}", shape.first_sequence);
    let path = directory.join("queue");
    let letters = directory.join(DEAD_QUEUE);
    make_letters(&letters)?;
    make_queue(&path, shape)?;
    let inspector = Inspector::open(&path)?;
    let letters = Inspector::open(&letters)?;
    let mut totals = Totals::default();
    for (number, length) in (0..).zip(settings.epochs()) {
        let plan = Epoch::new(seed, number, length);
        let queues = Queues {
            path: &path,
            inspector: &inspector,
            letters: &letters,
        };
        let outcome = epoch::run(queues, seed, &plan, length, &mut totals)?;
        if outcome.violations.is_empty() {
            continue;
        }
        report::keep(&directory, settings, number, &outcome, &inspector)?;
        return Ok(ExitCode::FAILURE);
    }
    report::summary(&totals);
    std::fs::remove_dir_all(&directory)?;
    Ok(ExitCode::SUCCESS)
}

/// Small, so that it has no room at times.
fn make_letters(path: &Path) -> Result<()> {
    let _queue = Queue::options()
        .capacity(32)
        .max_message(worker::LONGEST + DEAD_LETTER_OVERHEAD)
        .arena_size(worker::SEGMENTS * (worker::LONGEST + DEAD_LETTER_OVERHEAD))
        .max_participants(64)
        .timestamps(Timestamps::Off)
        .create(path)?;
    Ok(())
}

fn make_queue(path: &Path, shape: Shape) -> Result<()> {
    let queue = Queue::options()
        .capacity(shape.capacity)
        .first_sequence(shape.first_sequence)
        .max_message(worker::LONGEST)
        .arena_size(worker::SEGMENTS * worker::LONGEST)
        .max_groups(worker::GROUPS)
        .max_participants(64)
        .timestamps(Timestamps::Off)
        .create(path)?;
    for (group, name) in PERMANENT {
        if name != slipring::DEFAULT_GROUP {
            queue.create_group(name, group.options())?;
        }
    }
    Ok(())
}
