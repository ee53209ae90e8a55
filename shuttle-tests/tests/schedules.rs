//! Goal: six participants on a small queue keep the promises in whatever order their accesses to the file fall, whoever of
//! them dies in between: what was published is delivered to each group, what was acked never again, each producer's
//! messages in order, nothing torn, and each to one consumer at a time.
//! Method: the library as it is compiled, on a mapped file, with its numbered accesses; shuttle runs the participants as
//! coroutines and switches them before an access when our scheduler says so. Order, deaths, sizes and what each does are
//! drawn from one seed per execution, and the clock counts accesses: the same seed is the same execution.
//!
//! `SLIPRING_SHUTTLE_SECONDS` (default 2) is for how long, on every CPU; `SLIPRING_SHUTTLE_SEED` the first seed, or, with
//! `SLIPRING_SHUTTLE_EXECUTIONS=1`, the only one.

#![cfg(feature = "crash-points")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "a test may fail loudly"
)]

mod common;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::actors::{Actor, BRIEF, one};
use common::ledger::{self, End, Tally, ledger};
use common::schedule::{Draw, Seeded, seed};
use common::{lives, words::Words};
use shuttle::{Config, FailurePersistence, Runner};
use slipring::{FullPolicy, GroupOptions, Inspector, Options, Queue, Swept, Timestamps};

const SHARED: &str = "shared";
const LOG: &str = "log";
/// Participants, without whoever checks at the end.
const ACTORS: u16 = 6;
/// Bytes of a message in the arena, and of a segment.
const LARGE: usize = 2000;
const SEGMENT: usize = 4096;

/// What an execution is, drawn from its seed.
#[derive(Clone, Copy, Debug)]
struct Plan {
    capacity: u64,
    wrapping: bool,
    leased: bool,
    /// Messages of each producer.
    count: u64,
    /// Who dies, before which of its accesses.
    deaths: [Option<(u16, u64)>; 2],
}

impl Plan {
    fn draw(draw: &mut Draw) -> Self {
        let capacity = 2 << draw.below(2);
        let mut deaths = [None; 2];
        for death in deaths.iter_mut().take(draw.below(3) as usize) {
            *death = Some((draw.below(ACTORS.into()) as u16, draw.below(600)));
        }
        Self {
            capacity,
            wrapping: draw.one_in(4),
            leased: draw.one_in(4),
            count: capacity + draw.below(2 * capacity),
            deaths,
        }
    }

    fn create(&self, path: &Path) {
        let laps = (1 << slipring::layout::word::CLAIM_LAP_BITS) - 2;
        let queue = Queue::options()
            .capacity(self.capacity)
            .max_participants(u32::from(ACTORS) + 2)
            .max_groups(3)
            .max_message(SEGMENT as u64)
            .arena_size(2 * SEGMENT as u64)
            .timestamps(Timestamps::Off)
            .when_full(FullPolicy::Reject)
            .default_group(false)
            .first_sequence(if self.wrapping {
                self.capacity * laps
            } else {
                0
            })
            .create(path)
            .unwrap();
        let mut shared = GroupOptions::shared();
        if self.leased {
            shared = shared.ack_timeout(Duration::from_millis(20));
        }
        queue.create_group(SHARED, shared).unwrap();
        queue.create_group(LOG, GroupOptions::exclusive()).unwrap();
    }

    fn end_of(&self, by: u16) -> Option<u64> {
        let mut deaths = self.deaths.iter().flatten();
        deaths.find(|(who, _)| *who == by).map(|(_, end)| *end)
    }
}

/// One execution, in the file at `path`.
fn execute(path: &Path, total: &Total) {
    let mut draw = Draw(seed() ^ 0x5eed);
    let plan = Plan::draw(&mut draw);
    ledger::say(|| format!("{plan:?}"));
    // There is one of the execution before.
    let _old = std::fs::remove_file(path);
    plan.create(path);
    ledger(|ledger| ledger.begin(&[(SHARED, plan.leased), (LOG, false)]));
    lives::begin();
    let threads: Vec<_> = (0..ACTORS)
        .map(|by| {
            let (path, draw) = (path.to_owned(), Draw(draw.next()));
            shuttle::thread::spawn(move || {
                let died = lives::live(plan.end_of(by), || act(by, &path, draw, plan));
                if died {
                    ledger::died(by);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let accesses = lives::end();
    check(path, plan);
    total.add(ledger(|ledger| ledger.tally), accesses);
}

fn act(by: u16, path: &Path, draw: Draw, plan: Plan) {
    let actor = Actor {
        by,
        path,
        draw,
        large: LARGE,
    };
    match by {
        0 | 1 => actor.produce(plan.count),
        2 | 3 => actor.consume(SHARED, 4 * plan.count),
        4 => actor.consume(LOG, 4 * plan.count),
        // And in the end it stands by, and takes over if the other one is dead.
        _ => {
            let (path, draw) = (actor.path, actor.draw.clone());
            actor.look_after(4);
            let actor = Actor {
                by,
                path,
                draw,
                large: LARGE,
            };
            actor.consume(LOG, 4 * plan.count);
        }
    }
}

/// All are gone, or dead. A newcomer sweeps, takes all there is, and goes on for some laps.
fn check(path: &Path, plan: Plan) {
    let geometry = *Inspector::open(path).unwrap().geometry();
    let file = File::open(path).unwrap();
    let queue = Options::default().name("newcomer").open(path).unwrap();
    queue.sweep();
    assert_eq!(queue.sweep(), Swept::default(), "a second sweep");
    // Its maker may have died before it deleted it.
    let _there = queue.delete_group(BRIEF);
    Words::read(&file, &geometry).check();
    let mut producer = queue.producer().unwrap();
    let consumers =
        [SHARED, LOG].map(|group| (group, queue.group(group).unwrap().consumer().unwrap()));
    let by = ACTORS;
    for turn in 0..=2 * plan.capacity {
        for (group, consumer) in &consumers {
            while let Some(held) = ledger::deliver(by, group, false, || one(consumer.try_recv())) {
                held.end(End::Ack);
            }
        }
        if turn < 2 * plan.capacity {
            let (id, payload) = ledger::attempt(by, if turn == 0 { LARGE } else { 16 });
            let message = slipring::Message::new(&payload).kind(by).key(id as u32);
            ledger::published(id, producer.try_publish(message).unwrap());
        }
    }
    ledger(|ledger| ledger.check_complete());
    Words::read(&file, &geometry).check();
    drop((producer, consumers, queue));
    assert_eq!(Words::read(&file, &geometry).living(), [], "participants");
}

#[derive(Default)]
struct Total {
    executions: AtomicU64,
    accesses: AtomicU64,
    published: AtomicU64,
    delivered: AtomicU64,
    again: AtomicU64,
    stale: AtomicU64,
    deaths: AtomicU64,
}

impl Total {
    fn add(&self, tally: Tally, accesses: u64) {
        for (total, more) in [
            (&self.executions, 1),
            (&self.accesses, accesses),
            (&self.published, tally.published),
            (&self.delivered, tally.delivered),
            (&self.again, tally.again),
            (&self.stale, tally.stale),
            (&self.deaths, tally.deaths),
        ] {
            total.fetch_add(more, Ordering::Relaxed);
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

fn directory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let base = if memory.is_dir() {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    };
    tempfile::Builder::new()
        .prefix("slipring-shuttle-")
        .tempdir_in(base)
        .unwrap()
}

/// Executions from this seed on, in a thread of the system; true if all kept the promises.
fn run(first: u64, most: u64, time: Duration, total: &'static Total) -> bool {
    let dir = directory();
    let path: PathBuf = dir.path().join("queue");
    let mut config = Config::new();
    config.stack_size = 1 << 19;
    // Seeds are shorter than schedules.
    config.failure_persistence = FailurePersistence::None;
    let runner = Runner::new(Seeded::new(first, most, time), config);
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        runner.run(move || execute(&path, total))
    }));
    lives::end();
    if ended.is_err() {
        eprintln!("again: ci/shuttle.sh seed {}", seed());
    }
    ended.is_ok()
}

#[test]
fn promises_hold_in_random_schedules_with_deaths() {
    let seconds = number("SLIPRING_SHUTTLE_SECONDS").unwrap_or(2);
    let most = number("SLIPRING_SHUTTLE_EXECUTIONS").unwrap_or(u64::MAX);
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let first = number("SLIPRING_SHUTTLE_SEED").unwrap_or(clock.as_nanos() as u64 >> 20);
    let cpus = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let total: &'static Total = Box::leak(Box::default());
    println!("seeds from {first} on");
    let threads: Vec<_> = (0..cpus.min(most))
        .map(|cpu| {
            // Far apart; the first one's are as asked for.
            let first = first.wrapping_add(cpu << 40);
            std::thread::spawn(move || run(first, most, Duration::from_secs(seconds), total))
        })
        .collect();
    let kept: Vec<bool> = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect();
    let of = |total: &AtomicU64| total.load(Ordering::Relaxed);
    println!(
        "{} executions, {} accesses, {} deaths, {} published, {} delivered, {} of them again, {} stale",
        of(&total.executions),
        of(&total.accesses),
        of(&total.deaths),
        of(&total.published),
        of(&total.delivered),
        of(&total.again),
        of(&total.stale)
    );
    assert_eq!(kept, vec![true; kept.len()], "a promise was broken");
}
