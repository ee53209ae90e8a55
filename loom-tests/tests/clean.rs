//! The mark of a clean end: who leaves last and who comes next see each other, and nobody changes a queue whose disk says
//! that it was left in order. The locks here are as weak as can be, but for the recovery lock, which is a mutex; the disk
//! is a cell that a sync copies to, after it has read what the queue holds.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block,
    missing_docs,
    reason = "a test may fail loudly"
)]
#![cfg(slipring_loom)]

mod common;

use std::sync::LazyLock;

use common::death::bounded;
use common::{Model, Outcomes, SMALL, durable};
use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, Ordering::Relaxed};
use loom::sync::{Arc, Mutex};
use loom::thread;
use slipring::layout::geometry::control;
use slipring::ring::Disk;

const MARKED: u64 = 1;

struct World {
    m: Arc<Model>,
    recovery: Mutex<()>,
    /// The lock of the participant that comes.
    lock: AtomicBool,
    /// Not atomic: a sync that reads them while somebody changes the queue races, and loom says so.
    words: UnsafeCell<u64>,
    /// `CLEAN` and those words, as the last sync left them.
    stable: UnsafeCell<(u64, u64)>,
}

unsafe impl Sync for World {}
unsafe impl Send for World {}

impl Disk for World {
    fn sync(&self) -> Result<(), u64> {
        let words = self.words.with(|words| unsafe { *words });
        let stored = (self.clean(), words);
        self.stable.with_mut(|stable| unsafe { *stable = stored });
        Ok(())
    }
}

impl World {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            m: durable(SMALL),
            recovery: Mutex::new(()),
            lock: AtomicBool::new(false),
            words: UnsafeCell::new(0),
            stable: UnsafeCell::new((0, 0)),
        })
    }

    fn clean(&self) -> u64 {
        let word = self.m.ring.mem().word(control::CLEAN);
        word.load(Relaxed)
    }

    /// Looks at the mark, as who holds its participant's lock. Whether there was one.
    fn attach(&self) -> bool {
        let in_use = self.m.ring.is_in_use();
        if !in_use {
            let _alone = self.recovery.lock().unwrap();
            self.m.ring.begin_use(self).unwrap();
        }
        let (clean, _) = self.stable.with(|stable| unsafe { *stable });
        assert_ne!(clean, MARKED, "the disk says that nobody has changed it");
        !in_use
    }
}

/// the_last_to_leave_and_the_next: either the leaver sees who comes, and sets no mark, or who comes waits and takes it back.
#[test]
fn the_last_to_leave_and_the_next() {
    static SEEN: LazyLock<Outcomes<(bool, bool)>> = LazyLock::new(Outcomes::default);
    bounded(3, || {
        let w = World::new();
        let held = w.m.enter(0);
        let coming = Arc::clone(&w);
        let other = thread::spawn(move || {
            coming.lock.store(true, Relaxed);
            let had_mark = coming.attach();
            coming.words.with_mut(|words| unsafe { *words += 1 });
            had_mark
        });
        let mut p = w.m.publisher(0);
        let marked = {
            let _alone = w.recovery.lock().unwrap();
            let others = || w.lock.load(Relaxed);
            w.m.ring.leave_marked(&mut p, held, &*w, others)
        };
        let had_mark = other.join().unwrap();
        assert_eq!(w.clean(), 0);
        SEEN.add((marked, had_mark));
    });
    SEEN.are(&[
        ((true, true), "it had left"),
        ((false, true), "both saw each other"),
        ((false, false), "the next one was quicker"),
    ]);
}

/// two_attach: of two who come to a marked queue one takes the mark back, and the other does nothing before that is over.
#[test]
fn two_attach() {
    static SEEN: LazyLock<Outcomes<(bool, bool)>> = LazyLock::new(Outcomes::default);
    bounded(3, || {
        let w = World::new();
        w.m.ring.mark_new();
        w.sync().unwrap();
        let coming = Arc::clone(&w);
        let other = thread::spawn(move || coming.attach());
        let mine = w.attach();
        SEEN.add((mine, other.join().unwrap()));
    });
    SEEN.are(&[
        ((true, true), "together"),
        ((true, false), "the other was late"),
        ((false, true), "we were"),
    ]);
}
