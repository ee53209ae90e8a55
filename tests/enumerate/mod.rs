//! Every point of every operation: what the tests of deaths and of pauses share.
//!
//! A *trial* is one queue file, some participants attached to it, and one operation in which one of them dies, or is
//! paused, before its n-th access to the file. All of it happens on one thread: each participant has an open file of its
//! own, so its lock goes when that is closed, as it does at a death; and a dead one's destructors touch nothing
//! (`mem::fault`).
#![allow(dead_code, unused_imports, reason = "each test file uses some of it")]

mod check;
pub mod ledger;
pub mod operations;
mod slow;
mod stage;
mod words;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use slipring::mem::fault;
use slipring::{FullPolicy, Geometry, GroupOptions, Inspector, Options, Queue, Timestamps};
use tempfile::TempDir;

use crate::common::{Backing, directory};
use operations::{OPERATIONS, Operation};
pub use stage::{At, Stage};
use words::Words;

const CAPACITY: u64 = 4;
const PARTICIPANTS: u32 = 5;
const GROUPS: u32 = 3;
/// Bytes of a message in its slot, of one in the arena, and of one that fills a segment.
const INLINE: usize = 60;
const LARGE: usize = 2000;
const LARGEST: usize = 4096;
const SEGMENTS: usize = 2;

/// The groups there are.
const DEFAULT: &str = "default";
const LOG: &str = "log";
/// And in an operation or two.
const BRIEF: &str = "brief";

/// Who publishes: the kind of its messages.
const VICTIM: u16 = 1;
const OTHER: u16 = 2;
const NEWCOMER: u16 = 3;
const DEAD: u16 = 4;
const SLOW: u16 = 5;

/// Which queue an operation needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No group: what is published is overwritten a lap later.
    Nobody,
    /// The group `default`.
    Shared,
    /// And the exclusive group `log`.
    Both,
    /// The group `default`; drops the oldest when it is full.
    Lossy,
}

/// A file in which trials happen one after the other.
pub struct Place {
    _dir: TempDir,
    path: PathBuf,
    file: File,
    pristine: Vec<u8>,
    geometry: Geometry,
    kind: Kind,
}

impl Place {
    /// `wrapping`: the laps in its words start over in the middle of a trial.
    pub fn new(kind: Kind, wrapping: bool) -> Self {
        let dir = directory(Backing::Tmpfs);
        let path = dir.path().join("queue");
        let policy = match kind {
            Kind::Lossy => FullPolicy::DropOldest,
            Kind::Nobody | Kind::Shared | Kind::Both => FullPolicy::Reject,
        };
        let laps = (1 << slipring::layout::word::CLAIM_LAP_BITS) - 2;
        let queue = Queue::options()
            .capacity(CAPACITY)
            .max_participants(PARTICIPANTS)
            .max_groups(GROUPS)
            .max_message(LARGEST as u64)
            .arena_size((SEGMENTS * LARGEST) as u64)
            .timestamps(Timestamps::Off)
            .when_full(policy)
            .default_group(kind != Kind::Nobody)
            .first_sequence(if wrapping { CAPACITY * laps } else { 0 })
            .create(&path)
            .unwrap();
        if kind == Kind::Both {
            queue.create_group(LOG, GroupOptions::exclusive()).unwrap();
        }
        drop(queue);
        let geometry = *Inspector::open(&path).unwrap().geometry();
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).open(&path).unwrap();
        let pristine = std::fs::read(&path).unwrap();
        Self {
            _dir: dir,
            path,
            file,
            pristine,
            geometry,
            kind,
        }
    }

    /// Makes it what it was. Nobody is attached.
    fn reset(&self) {
        self.file.write_all_at(&self.pristine, 0).unwrap();
    }

    pub fn words(&self) -> Words<'_> {
        Words::read(&self.file, &self.geometry)
    }

    /// Attaches one more participant.
    pub fn open(&self, name: &str) -> Queue {
        Options::default().name(name).open(&self.path).unwrap()
    }
}

/// What unwinds when a participant dies.
struct Died;

/// Runs a life, which may end early; then all that it owned is gone, and its destructors have touched nothing.
pub fn dies(life: impl FnOnce()) -> bool {
    let ended = catch_unwind(AssertUnwindSafe(life));
    fault::remove();
    fault::revive();
    match ended {
        Ok(()) => false,
        Err(cause) if cause.is::<Died>() => true,
        Err(cause) => resume_unwind(cause),
    }
}

/// Ends the life that is running.
fn die() -> ! {
    fault::die();
    resume_unwind(Box::new(Died))
}

/// Ends it before its access number `point` from now.
pub fn die_at(point: u64) {
    fault::install(move |number| {
        if number == point {
            die();
        }
    });
}

/// Runs `enumerate` for all operations, on all CPUs; prints how much it covered, and what it says, in order. With the
/// variable `OPERATION` set, for that one only.
pub fn for_every_operation(
    what: &str,
    enumerate: impl Fn(&'static Operation) -> (u64, String) + Sync,
) {
    let only = std::env::var("OPERATION").ok();
    let chosen: Vec<_> = OPERATIONS
        .iter()
        .filter(|operation| only.as_ref().is_none_or(|only| only == operation.name))
        .collect();
    assert!(!chosen.is_empty(), "no operation {only:?}");
    let start = std::time::Instant::now();
    let next = AtomicUsize::new(0);
    let results = Mutex::new(vec![(0, String::new()); chosen.len()]);
    let work = || {
        // Bound: the operations.
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(operation) = chosen.get(at) else {
                return;
            };
            let result = enumerate(operation);
            results.lock().unwrap()[at] = result;
        }
    };
    std::thread::scope(|scope| {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        for _ in 1..cpus.min(chosen.len()) {
            scope.spawn(work);
        }
        work();
    });
    let results = results.into_inner().unwrap();
    for (operation, (_, line)) in chosen.iter().zip(&results) {
        println!("  {:<40} {line}", operation.name);
    }
    let all: u64 = results.iter().map(|(count, _)| count).sum();
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{all} {what} of {} operations in {seconds:.1} s",
        chosen.len()
    );
}
