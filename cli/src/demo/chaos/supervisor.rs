//! Starts the workers, kills them, starts others, and lets the last ones end in peace.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use slipring::{Queue, Stats};

use super::dice::Dice;
use super::judge::Judge;
use super::report::{Outcome, Tally};
use super::{Chaos, LARGEST, SLOT};
use crate::demo::Plan;
use crate::demo::fleet::{Event, Fleet};
use crate::demo::progress::Progress;
use crate::demo::protocol::{Job, Report, Role, START, STOP, Side};
use crate::demo::supervisor::PATIENCE;
use crate::demo::temporary::TemporaryQueue;
use crate::exit::Code;
use crate::output::{Output, Stopped};
use crate::signals;
use crate::units;

/// How often it looks at the queue.
const TICK: Duration = Duration::from_millis(20);
/// The longest that a post stays empty: so long that often the living have to clear up, not the one who comes.
const VACANCY_MS: u64 = 200;

/// The place of a worker. Each has one at a time, or none for a moment.
#[derive(Debug)]
struct Post {
    side: Side,
    worker: usize,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Attaching,
    AtWork,
    /// Killed; the next one starts then.
    Vacant(Instant),
    Done,
}

/// Where the run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The first workers attach.
    Starting,
    /// They publish and receive, and are killed, until then.
    Killing(Instant),
    /// Every post is filled again.
    Restoring,
    /// Producers come to an end.
    Finishing,
    /// Consumers take the rest.
    Draining,
    /// Consumers leave.
    Ending,
}

struct Run<'a> {
    plan: &'a Plan,
    chaos: &'a Chaos,
    queue: &'a Queue,
    path: PathBuf,
    fleet: Fleet,
    posts: Vec<Post>,
    phase: Phase,
    dice: Dice,
    next_kill: Instant,
    next_tick: Instant,
    started: Instant,
    judge: Judge,
    tally: Tally,
    /// Workers of which everything has been read.
    left: usize,
    progress: Progress,
    /// What the queue counted when something last moved, and when that was.
    moved: (u64, Instant),
}

/// Runs it.
pub fn run(plan: &Plan, chaos: &Chaos, json: bool) -> anyhow::Result<Code> {
    signals::install()?;
    let options = Queue::options()
        .capacity(plan.capacity)
        .slot_size(SLOT)
        .max_message(LARGEST.max(plan.size));
    let temporary = TemporaryQueue::create(options)?;
    let mut progress = Progress::new(json)?;
    let Plan {
        producers,
        consumers,
        size,
        ..
    } = plan;
    let (smallest, largest) = (units::size(*size), units::size(LARGEST.max(*size)));
    progress.say(&format!(
        "{producers} producers and {consumers} consumers, each a process; messages of {smallest} to {largest}; \
         about {} kills per second for {} s; seed {}; queue {}",
        chaos.kills_per_second,
        chaos.lasts.as_secs(),
        chaos.seed,
        temporary.path.display()
    ))?;
    let now = Instant::now();
    let mut run = Run {
        plan,
        chaos,
        queue: &temporary.queue,
        path: temporary.path.clone(),
        fleet: Fleet::default(),
        posts: Vec::new(),
        phase: Phase::Starting,
        dice: Dice::new(chaos.seed, u64::MAX),
        next_kill: now,
        next_tick: now,
        started: now,
        judge: Judge::default(),
        tally: Tally::default(),
        left: 0,
        progress,
        moved: (0, now),
    };
    run.fill_posts()?;
    while !run.step()? {}
    let took = run.started.elapsed();
    run.fleet.wait(PATIENCE)?;
    let (verdict, stats) = (run.judge.verdict(), temporary.queue.stats());
    let outcome = Outcome::new(plan, chaos, verdict, &run.tally, &stats, took);
    let mut output = Output::stdout()?;
    if json {
        outcome.print_json(&mut output)?;
    } else {
        outcome.print(&mut output)?;
    }
    output.flush()?;
    Ok(if outcome.is_good() {
        Code::Success
    } else {
        Code::Failure
    })
}

impl Run<'_> {
    fn fill_posts(&mut self) -> anyhow::Result<()> {
        let sides = [
            (Side::Consumer, self.plan.consumers),
            (Side::Producer, self.plan.producers),
        ];
        for (side, count) in sides {
            for _ in 0..count {
                let worker = self.start(side)?;
                self.posts.push(Post {
                    side,
                    worker,
                    state: State::Attaching,
                });
            }
        }
        Ok(())
    }

    fn start(&mut self, side: Side) -> anyhow::Result<usize> {
        let worker = self.fleet.started();
        let id = u32::try_from(worker).context("too many workers")?;
        let job = Job {
            queue: self.path.clone(),
            role: Role::Mortal {
                side,
                id,
                seed: self.chaos.seed,
            },
            size: usize::try_from(self.plan.size).context("--size")?,
            batch: usize::try_from(self.plan.batch).context("--batch")?,
        };
        self.fleet.start(&format!("{} {id}", side.name()), &job)?;
        Ok(worker)
    }

    /// One turn; true when all is over.
    fn step(&mut self) -> anyhow::Result<bool> {
        if signals::caught().is_some() {
            return Err(Stopped.into());
        }
        let killing = matches!(self.phase, Phase::Killing(_));
        let due = if killing {
            self.next_tick.min(self.next_kill)
        } else {
            self.next_tick
        };
        let timeout = due.saturating_duration_since(Instant::now());
        if let Some((worker, event)) = self.fleet.next_event(timeout)? {
            self.handle(worker, event)?;
        }
        let now = Instant::now();
        if killing && now >= self.next_kill {
            self.kill_one(now)?;
        }
        if now < self.next_tick {
            return Ok(false);
        }
        self.next_tick = now + TICK;
        self.restart(now)?;
        let stats = self.queue.stats();
        self.watch(&stats)?;
        self.advance(now, &stats)
    }

    fn handle(&mut self, worker: usize, event: Event) -> anyhow::Result<()> {
        let id = u32::try_from(worker).context("too many workers")?;
        let name = self.fleet.name(worker);
        match event {
            Event::Said(Report::Ready) => self.welcome(worker)?,
            Event::Said(Report::Publishing(said)) => {
                self.tally.publish_ns = self.tally.publish_ns.max(said.stall_ns);
                self.judge.publishing(id, &said);
            }
            Event::Said(Report::Received(said)) => {
                self.tally.receive_ns = self.tally.receive_ns.max(said.stall_ns);
                self.judge.received(id, said);
            }
            Event::Said(Report::Acking) => self.judge.acking(id),
            Event::Said(Report::Acked) => self.judge.acked(id),
            Event::Said(Report::Done) => {
                self.posts
                    .iter_mut()
                    .filter(|post| post.worker == worker)
                    .for_each(|post| post.state = State::Done);
            }
            Event::Said(Report::Failed(why)) => bail!("demo {name} failed: {why}"),
            Event::Said(other) => bail!("demo {name} said out of turn: {other:?}"),
            Event::Babbled(line) => bail!("demo {name} said something strange: {line}"),
            Event::Left => {
                let killed = self.fleet.was_killed(worker);
                if !killed && !self.fleet.has_reported(worker) {
                    bail!("demo {name} died, and not by our hand");
                }
                self.judge.left(id, killed);
                self.left += 1;
            }
        }
        Ok(())
    }

    /// One has attached. What a worker said before it was killed may come later than that.
    fn welcome(&mut self, worker: usize) -> anyhow::Result<()> {
        let mut posts = self.posts.iter_mut();
        let waits = |post: &&mut Post| post.worker == worker && post.state == State::Attaching;
        if let Some(post) = posts.find(waits) {
            post.state = State::AtWork;
            // The first ones start together.
            if self.phase != Phase::Starting {
                self.fleet.tell(worker, START)?;
            }
        }
        Ok(())
    }

    /// Kills whom the dice name, or, if that one cannot be spared, the next.
    fn kill_one(&mut self, now: Instant) -> anyhow::Result<()> {
        let count = self.posts.len();
        let named = usize::try_from(self.dice.below(count as u64)).unwrap_or_default();
        let vacancy = Duration::from_millis(self.dice.below(VACANCY_MS + 1));
        let pause = self.pause();
        self.next_kill += pause;
        let mut turn = (0..count).map(|step| (named + step) % count);
        let victim = turn.find(|&post| self.can_be_spared(post));
        if let Some(post) = victim.and_then(|victim| self.posts.get_mut(victim))
            && self.fleet.kill(post.worker)?
        {
            post.state = State::Vacant(now + vacancy);
            self.tally.kill(post.side);
        }
        Ok(())
    }

    fn pause(&mut self) -> Duration {
        let seconds = self.dice.seconds_to_next(self.chaos.kills_per_second);
        Duration::from_secs_f64(seconds)
    }

    /// Attached or not, it may be killed while another one works on its side: with none, everybody would wait for us.
    fn can_be_spared(&self, candidate: usize) -> bool {
        let Some(post) = self.posts.get(candidate) else {
            return false;
        };
        let mut others = self.posts.iter().enumerate();
        let relieves = |(at, other): (usize, &Post)| {
            at != candidate && other.side == post.side && other.state == State::AtWork
        };
        matches!(post.state, State::Attaching | State::AtWork) && others.any(relieves)
    }

    /// Fills the posts that have been vacant long enough.
    fn restart(&mut self, now: Instant) -> anyhow::Result<()> {
        for post in 0..self.posts.len() {
            let Some(&Post { side, state, .. }) = self.posts.get(post) else {
                continue;
            };
            let State::Vacant(until) = state else {
                continue;
            };
            if now < until && self.phase != Phase::Restoring {
                continue;
            }
            let worker = self.start(side)?;
            if let Some(post) = self.posts.get_mut(post) {
                (post.worker, post.state) = (worker, State::Attaching);
            }
            self.tally.restarts += 1;
        }
        Ok(())
    }

    /// True if all of a side, or of both, are in this state.
    fn all(&self, side: Option<Side>, state: State) -> bool {
        let mut posts = self.posts.iter();
        posts.all(|post| side.is_some_and(|side| side != post.side) || post.state == state)
    }

    fn stop(&mut self, side: Side) -> anyhow::Result<()> {
        let posts = self.posts.iter().filter(|post| post.side == side);
        let mut workers = posts.map(|post| post.worker);
        workers.try_for_each(|worker| self.fleet.tell(worker, STOP))
    }

    /// Goes on to the next phase when this one is over; true when the last one is.
    fn advance(&mut self, now: Instant, stats: &Stats) -> anyhow::Result<bool> {
        let next = match self.phase {
            Phase::Starting if self.all(None, State::AtWork) => {
                self.fleet.tell_all(START)?;
                self.started = now;
                self.next_kill = now + self.pause();
                Phase::Killing(now + self.chaos.lasts)
            }
            Phase::Killing(until) if now < until => {
                let killed = format!("  killed {:>4}", self.tally.kills());
                self.progress.tick(stats, &killed)?;
                return Ok(false);
            }
            Phase::Killing(_) => {
                self.progress.end()?;
                Phase::Restoring
            }
            Phase::Restoring if self.all(None, State::AtWork) => {
                self.stop(Side::Producer)?;
                Phase::Finishing
            }
            Phase::Finishing if self.all(Some(Side::Producer), State::Done) => Phase::Draining,
            Phase::Draining if stats.groups.iter().all(|group| group.lag == 0) => {
                self.stop(Side::Consumer)?;
                Phase::Ending
            }
            // What the killed said last is read, too.
            Phase::Ending => return Ok(self.left == self.fleet.started()),
            unchanged => unchanged,
        };
        if next != self.phase {
            self.phase = next;
            self.moved.1 = now;
        }
        Ok(false)
    }

    fn watch(&mut self, stats: &Stats) -> anyhow::Result<()> {
        let settled: u64 = stats.groups.iter().map(|group| group.floor).sum();
        let moved = stats.published + settled + self.left as u64;
        if moved != self.moved.0 {
            self.moved = (moved, Instant::now());
        }
        if self.moved.1.elapsed() > PATIENCE {
            let (seconds, phase) = (PATIENCE.as_secs(), self.phase);
            bail!("demo: nothing moved for {seconds} s while {phase:?}: {stats:?}");
        }
        Ok(())
    }
}
