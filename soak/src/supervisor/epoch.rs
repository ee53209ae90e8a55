//! One epoch: chaos as planned, then quiet, then the check.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use slipring::Inspector;

use super::crew::{self, Gone, Running};
use super::{Outcome, Queues, Totals};
use crate::check::{self, History, Rule, Sample, Violation};
use crate::clock;
use crate::group::Group;
use crate::plan::{Act, CREW, Epoch, Role, Step};
use crate::record::Event;
use crate::worker::Orders;

/// How long a worker that runs may say nothing, and how long each stage of ending an epoch may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at the crew, and at the queue.
const TICK: Duration = Duration::from_millis(1);
const SAMPLE_EVERY: Duration = Duration::from_millis(20);
/// Workers that consume what is left.
const DRAINS: usize = 2;

/// Something that falls due.
#[derive(Clone, Copy, Debug)]
enum Due {
    Start { place: usize },
    Resume { place: usize, worker: u64 },
}

struct Stage<'r> {
    queues: Queues<'r>,
    seed: u64,
    sole: bool,
    totals: &'r mut Totals,
    crew: Vec<Option<Running>>,
    gone: Vec<Gone>,
    due: Vec<(u64, Due)>,
    samples: Vec<Sample>,
    sampled: Instant,
    ticked: Instant,
    trouble: Vec<String>,
}

/// Runs an epoch and judges it.
pub fn run(
    queues: Queues<'_>,
    seed: u64,
    plan: &Epoch,
    length: u64,
    totals: &mut Totals,
) -> Result<Outcome> {
    let first = queues.inspector.tail();
    let mut stage = Stage {
        queues,
        seed,
        sole: plan.sole,
        totals,
        crew: CREW.iter().map(|_| None).collect(),
        gone: Vec::new(),
        due: Vec::new(),
        samples: Vec::new(),
        sampled: Instant::now(),
        ticked: Instant::now(),
        trouble: Vec::new(),
    };
    for (place, role) in CREW.into_iter().enumerate() {
        stage.start(place, role)?;
    }
    stage.chaos(&plan.steps, length)?;
    stage.quiet()?;
    stage.judge(first)
}

impl Stage<'_> {
    fn start(&mut self, place: usize, role: Role) -> Result<()> {
        self.totals.workers += 1;
        let orders = Orders {
            id: self.totals.workers << 8,
            role,
            seed: self.seed,
            sole: self.sole,
            path: self.queues.path.to_owned(),
        };
        let running = Running::start(orders)?;
        if let Some(here) = self.crew.get_mut(place) {
            *here = Some(running);
        } else {
            self.crew.push(Some(running));
        }
        Ok(())
    }

    fn chaos(&mut self, steps: &[Step], length: u64) -> Result<()> {
        let began = Instant::now();
        self.ticked = began;
        let mut steps = steps.iter().peekable();
        loop {
            let now = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            if now >= length || !self.trouble.is_empty() {
                return Ok(());
            }
            while let Some(step) = steps.next_if(|step| step.at <= now) {
                self.act(*step, now)?;
            }
            self.fall_due(now)?;
            for place in self.reap()? {
                self.due.push((now, Due::Start { place }));
            }
            self.look();
            self.tick();
        }
    }

    fn tick(&mut self) {
        std::thread::sleep(TICK);
        self.totals.longest_tick = self.totals.longest_tick.max(self.ticked.elapsed());
        self.ticked = Instant::now();
    }

    fn act(&mut self, step: Step, now: u64) -> Result<()> {
        let Step { place, act, .. } = step;
        match act {
            Act::Kill { restart } => self.kill(place, now + restart)?,
            Act::KillAll => {
                for place in 0..self.crew.len() {
                    self.kill(place, now)?;
                }
            }
            Act::Pause { resume } => {
                if let Some(Some(running)) = self.crew.get_mut(place) {
                    running.pause()?;
                    self.totals.pauses += 1;
                    let worker = running.orders.id;
                    self.due.push((now + resume, Due::Resume { place, worker }));
                }
            }
        }
        Ok(())
    }

    fn kill(&mut self, place: usize, restart: u64) -> Result<()> {
        if let Some(running) = self.crew.get_mut(place).and_then(Option::take) {
            self.gone.push(running.kill()?);
            self.totals.kills += 1;
            self.due.push((restart, Due::Start { place }));
        }
        Ok(())
    }

    fn fall_due(&mut self, now: u64) -> Result<()> {
        let (fallen, later) = self.due.iter().partition(|(at, _)| *at <= now);
        self.due = later;
        let fallen: Vec<(u64, Due)> = fallen;
        for (_, due) in fallen {
            match due {
                Due::Start { place } => {
                    if let Some(role) = CREW.get(place) {
                        self.start(place, *role)?;
                    }
                }
                Due::Resume { place, worker } => {
                    if let Some(Some(running)) = self.crew.get_mut(place)
                        && running.orders.id == worker
                    {
                        running.resume()?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes note of who has ended by itself: their places.
    fn reap(&mut self) -> Result<Vec<usize>> {
        let mut left = Vec::new();
        for (place, here) in self.crew.iter_mut().enumerate() {
            let Some(running) = here.take() else {
                continue;
            };
            match running.reap()? {
                Err(running) => *here = Some(running),
                Ok(gone) => {
                    self.totals.own_deaths += u64::from(gone.died());
                    if let Some(fault) = &gone.fault {
                        self.trouble.push(format!("{}: {fault}", gone.orders.role));
                    }
                    self.gone.push(gone);
                    left.push(place);
                }
            }
        }
        Ok(left)
    }

    /// Samples the queue, and looks whether everybody gets on.
    fn look(&mut self) {
        if self.sampled.elapsed() < SAMPLE_EVERY {
            return;
        }
        self.sampled = Instant::now();
        let stats = self.queues.inspector.stats();
        let floors = stats.groups.iter().filter_map(|group| {
            let permanent = Group::named(&group.name).filter(|group| group.is_permanent());
            permanent.map(|permanent| (permanent, group.floor))
        });
        self.samples.push(Sample {
            at: clock::now(),
            tail: stats.tail,
            floors: floors.collect(),
        });
        let limit = u64::try_from(PATIENCE.as_nanos()).unwrap_or(u64::MAX);
        for running in self.crew.iter().flatten() {
            if running.silent_for() > limit {
                self.trouble.push(format!(
                    "{} {} has said nothing for {PATIENCE:?} since: {}",
                    running.orders.role,
                    running.orders.id,
                    running.last_words()
                ));
            }
        }
    }

    /// Everybody leaves, and everything is consumed.
    fn quiet(&mut self) -> Result<()> {
        for running in self.crew.iter_mut().flatten() {
            running.resume()?;
        }
        self.due.clear();
        for number in 0..DRAINS {
            self.start(CREW.len() + number, Role::Drain)?;
        }
        for running in self.crew.iter_mut().take(CREW.len()).flatten() {
            running.dismiss();
        }
        self.wait("workers have not left", |stage| {
            stage.crew.iter().take(CREW.len()).all(Option::is_none)
        })?;
        self.wait("the queue is not empty", |stage| {
            let stats = stage.queues.inspector.stats();
            let groups = &stats.groups;
            let permanent = |name: &str| Group::named(name).is_some_and(Group::is_permanent);
            let empty = groups.iter().all(|g| g.lag == 0 && permanent(&g.name));
            // Read later: nobody dies any more.
            let letters = stage.queues.letters.stats();
            let read = letters.groups.iter().all(|group| group.lag == 0);
            empty && read && stats.participants.len() == DRAINS
        })?;
        for running in self.crew.iter_mut().flatten() {
            running.dismiss();
        }
        self.wait("drains have not left", |stage| {
            stage.crew.iter().all(Option::is_none)
        })?;
        self.start(CREW.len(), Role::Audit)?;
        self.wait("not everything can be used again", |stage| {
            stage.crew.iter().all(Option::is_none)
        })?;
        self.wait("entries or bytes are still taken", |stage| {
            let Queues {
                inspector, letters, ..
            } = stage.queues;
            let mut queues = [inspector, letters].into_iter().map(Inspector::stats);
            queues.all(|queue| queue.participants.is_empty() && queue.bytes_in_use == 0)
        })?;
        self.wait("pipes are still open", |stage| {
            stage.gone.iter().all(Gone::is_told)
        })
    }

    fn wait(&mut self, what: &str, done: impl Fn(&Self) -> bool) -> Result<()> {
        let began = Instant::now();
        self.ticked = began;
        loop {
            self.reap()?;
            if !self.trouble.is_empty() || done(self) {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                self.trouble.push(format!("after {PATIENCE:?} {what}"));
                for running in self.crew.iter().flatten() {
                    let (role, id) = (running.orders.role, running.orders.id);
                    self.trouble
                        .push(format!("{role} {id} is at: {}", running.last_words()));
                }
                return Ok(());
            }
            self.look();
            self.tick();
        }
    }

    fn judge(mut self, first: u64) -> Result<Outcome> {
        // After trouble, somebody may still be there.
        for running in self.crew.iter_mut().filter_map(Option::take) {
            self.gone.push(running.kill()?);
        }
        crew::bury_orphans();
        for gone in &self.gone {
            let silence = gone.longest_silence();
            if silence.0 > self.totals.longest_silence.0 {
                self.totals.longest_silence = silence;
            }
        }
        let journals: Vec<_> = self.gone.into_iter().flat_map(Gone::journals).collect();
        for record in journals.iter().flat_map(|journal| &journal.records) {
            self.totals.records += 1;
            match record.event {
                Event::Forked => self.totals.forks += 1,
                Event::Executing => self.totals.execs += 1,
                Event::MadeGroup { .. } => self.totals.groups += 1,
                _ => {}
            }
        }
        let history = History {
            journals,
            samples: self.samples,
            sequences: (first, self.queues.inspector.tail()),
        };
        let (mut violations, tally) = if self.trouble.is_empty() {
            check::check(&history)
        } else {
            // What is unfinished breaks promises that speak of the end; faults still count.
            let (found, tally) = check::check(&history);
            let ends = [Rule::Delivered, Rule::Accounted, Rule::Holes];
            let kept = found.into_iter().filter(|v| !ends.contains(&v.rule));
            (kept.collect(), tally)
        };
        for text in self.trouble {
            let rule = Rule::Progress;
            violations.push(Violation { rule, text });
        }
        self.totals.add(tally);
        if self.totals.records == 0 {
            bail!("no worker said anything");
        }
        Ok(Outcome {
            violations,
            journals: history.journals,
        })
    }
}
