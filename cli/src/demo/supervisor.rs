//! Starts the workers, watches them, and ends them. Whatever happens, no worker and no queue stay behind.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use slipring::{Queue, Stats};

use super::Plan;
use super::fleet::{Event, Fleet};
use super::progress::Progress;
use super::protocol::{Job, Report, Role, START, STOP};
use super::report::Total;
use super::temporary::TemporaryQueue;
use crate::exit::Code;
use crate::output::{Output, Stopped};
use crate::signals;
use crate::units;

/// How long nothing may move before the run is given up.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Beyond this, slots take more cache than the arena's extra line costs.
const SLOT_MAX: u64 = 4096;
/// How often it looks at the queue.
const TICK: Duration = Duration::from_millis(10);

/// Where the run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Workers attach.
    Starting,
    /// Producers publish.
    Running,
    /// All is published; consumers take the rest.
    Draining,
    /// Consumers report and leave.
    Ending,
}

struct Run<'a> {
    plan: &'a Plan,
    queue: &'a Queue,
    fleet: Fleet,
    total: Total,
    phase: Phase,
    /// Workers that have done what the phase asks for.
    done: u32,
    progress: Progress,
    /// What the queue counted when something last moved, and when that was.
    moved: (u64, Instant),
}

/// Runs the demo.
pub fn run(plan: &Plan, json: bool) -> anyhow::Result<Code> {
    signals::install()?;
    let slot = (plan.size + 32).next_multiple_of(64).min(SLOT_MAX);
    let options = Queue::options()
        .capacity(plan.capacity)
        .slot_size(slot)
        .max_message(plan.size);
    let temporary = TemporaryQueue::create(options)?;
    let mut progress = Progress::new(json)?;
    progress.say(&format!(
        "{} producers and {} consumers, each a process; {} messages of {}; queue {}",
        plan.producers,
        plan.consumers,
        units::count(plan.messages),
        units::size(plan.size),
        temporary.path.display()
    ))?;
    let mut run = Run {
        plan,
        queue: &temporary.queue,
        fleet: start_workers(plan, &temporary.path)?,
        total: Total::new(plan)?,
        phase: Phase::Starting,
        done: 0,
        progress,
        moved: (0, Instant::now()),
    };
    while !run.step()? {}
    run.fleet.wait(PATIENCE)?;
    let outcome = run.total.outcome(plan);
    let mut output = Output::stdout()?;
    if json {
        outcome.print_json(&mut output)?;
    } else {
        outcome.print(&mut output)?;
    }
    output.flush()?;
    Ok(if outcome.is_good(plan) {
        Code::Success
    } else {
        Code::Failure
    })
}

fn start_workers(plan: &Plan, path: &std::path::Path) -> anyhow::Result<Fleet> {
    let mut fleet = Fleet::default();
    let job = |role| -> anyhow::Result<Job> {
        Ok(Job {
            queue: path.to_owned(),
            role,
            size: usize::try_from(plan.size).context("--size")?,
            batch: usize::try_from(plan.batch).context("--batch")?,
        })
    };
    let shares: Vec<_> = (0..plan.producers).map(|id| plan.share(id)).collect();
    for id in 0..plan.consumers {
        let shares = shares.clone();
        fleet.start(
            &format!("consumer {id}"),
            &job(Role::Consumer { id, shares })?,
        )?;
    }
    for (id, &share) in (0..).zip(&shares) {
        let numbers = (0, share);
        fleet.start(
            &format!("producer {id}"),
            &job(Role::Producer { id, numbers })?,
        )?;
    }
    Ok(fleet)
}

impl Run<'_> {
    /// One turn; true when all is over.
    fn step(&mut self) -> anyhow::Result<bool> {
        if signals::caught().is_some() {
            return Err(Stopped.into());
        }
        if let Some((worker, event)) = self.fleet.next_event(TICK)? {
            self.handle(worker, event)?;
        }
        let stats = self.queue.stats();
        self.watch(&stats)?;
        if matches!(self.phase, Phase::Running | Phase::Draining) {
            self.progress.tick(&stats, "")?;
        }
        self.advance(&stats)
    }

    fn handle(&mut self, worker: usize, event: Event) -> anyhow::Result<()> {
        let name = self.fleet.name(worker);
        match event {
            Event::Said(Report::Ready) => self.done += 1,
            Event::Said(Report::Produced(produced)) => {
                self.done += 1;
                self.total.add_produced(&produced);
            }
            Event::Said(Report::Consumed(consumed)) => {
                self.done += 1;
                self.total.add_consumed(&consumed);
            }
            Event::Said(Report::Failed(why)) => bail!("demo {name} failed: {why}"),
            Event::Said(other) => bail!("demo {name} said out of turn: {other:?}"),
            Event::Babbled(line) => bail!("demo {name} said something strange: {line}"),
            Event::Left if self.fleet.has_reported(worker) => {}
            Event::Left => bail!("demo {name} died before it was done"),
        }
        Ok(())
    }

    /// Goes on to the next phase when this one is over.
    fn advance(&mut self, stats: &Stats) -> anyhow::Result<bool> {
        let lag: u64 = stats.groups.iter().map(|group| group.lag).sum();
        let (over, next) = match self.phase {
            Phase::Starting => {
                let all = self.plan.producers + self.plan.consumers;
                (self.done == all, Phase::Running)
            }
            Phase::Running => (self.done == self.plan.producers, Phase::Draining),
            Phase::Draining => (lag == 0, Phase::Ending),
            Phase::Ending => return Ok(self.done == self.plan.consumers),
        };
        if !over {
            return Ok(false);
        }
        match next {
            Phase::Running => self.fleet.tell_all(START)?,
            Phase::Ending => {
                self.progress.end()?;
                self.fleet.tell_all(STOP)?;
            }
            Phase::Starting | Phase::Draining => {}
        }
        self.phase = next;
        self.done = 0;
        self.moved.1 = Instant::now();
        Ok(false)
    }

    fn watch(&mut self, stats: &Stats) -> anyhow::Result<()> {
        let settled: u64 = stats.groups.iter().map(|group| group.floor).sum();
        let moved = stats.published + settled + u64::from(self.done);
        if moved != self.moved.0 {
            self.moved = (moved, Instant::now());
        }
        if self.moved.1.elapsed() > PATIENCE {
            let seconds = PATIENCE.as_secs();
            bail!(
                "demo: nothing moved for {seconds} s while {:?}: {stats:?}",
                self.phase
            );
        }
        Ok(())
    }
}
