//! Numbered crash points: every access to the mapping, and every lock and unlock of a byte of its file, passes here.
//!
//! Compiled to nothing without the feature `crash-points`; under loom, `death.rs` stands in. With it, a test installs a
//! hook on its thread and is called with 0, 1, 2, ... before each access. The hook may do what others do meanwhile (be
//! paused there), or call `die` and unwind (die there). What is dropped while unwinding runs code that no dead process
//! runs; so a dead thread is cut off: its words are words of its own that read zero, its copies go nowhere and come from
//! nowhere, its locks go when its file is closed, until `revive`.
//!
//! A test that runs many participants on one thread of the system, switching between them, installs a governor instead:
//! it is called before each access, may switch there, and says whether the access is to be made. It may also stop the
//! clock, so that a run depends on nothing but its seed.

#[cfg(all(feature = "crash-points", not(slipring_loom)))]
pub use hook::{
    die, event, fail_syncs, govern, install, now_ms, remove, revive, set_now_ms, sync_error,
    touches, word,
};
#[cfg(not(any(feature = "crash-points", slipring_loom)))]
pub use nothing::{event, now_ms, sync_error, touches, word};

#[cfg(slipring_loom)]
pub use super::death::{dies, event, touches, word};

#[cfg(not(any(feature = "crash-points", slipring_loom)))]
mod nothing {
    use crate::sync::{AtomicU32, AtomicU64};

    /// The word itself.
    #[inline(always)]
    pub fn word(real: &AtomicU64) -> &AtomicU64 {
        real
    }

    /// The event itself.
    #[inline(always)]
    pub fn event(real: &AtomicU32) -> &AtomicU32 {
        real
    }

    /// True.
    #[inline(always)]
    pub fn touches() -> bool {
        true
    }

    /// Syncs do what they do.
    #[inline(always)]
    pub fn sync_error() -> Option<i32> {
        None
    }

    /// The clock runs.
    #[inline(always)]
    pub fn now_ms() -> Option<u64> {
        None
    }
}

#[cfg(all(feature = "crash-points", not(slipring_loom)))]
mod hook {
    use std::cell::{Cell, RefCell};

    use crate::sync::{AtomicU32, AtomicU64, Ordering};

    type Hook = Box<dyn FnMut(u64)>;

    /// More accesses than any destructor makes; a loop that makes them would not end.
    const MOST_WHEN_DEAD: u64 = 100_000;

    /// What a dead thread has instead of the mapping.
    #[derive(Default)]
    struct Nowhere {
        word: AtomicU64,
        event: AtomicU32,
    }

    thread_local! {
        static HOOK: RefCell<Option<(u64, Hook)>> = const { RefCell::new(None) };
        /// How many accesses this thread has made since it died.
        static DEAD: Cell<Option<u64>> = const { Cell::new(None) };
        /// Leaked, so that words of any lifetime can stand for it; a few bytes for each thread that dies.
        static NOWHERE: &'static Nowhere = Box::leak(Box::default());
        static GOVERNOR: Cell<Option<fn() -> bool>> = const { Cell::new(None) };
        static NOW_MS: Cell<Option<u64>> = const { Cell::new(None) };
        static SYNC_ERROR: Cell<Option<i32>> = const { Cell::new(None) };
    }

    /// Calls `governor` before each access from now on, or no longer; hooks and deaths of this thread then count for
    /// nothing. The access is made if it returns true.
    pub fn govern(governor: Option<fn() -> bool>) {
        GOVERNOR.set(governor);
    }

    /// Stops the clock by which leases end and the dead are looked for, or lets it run again.
    pub fn set_now_ms(now: Option<u64>) {
        NOW_MS.set(now);
    }

    /// Lets the syncs of this thread fail with this error from now on, or no longer.
    pub fn fail_syncs(number: Option<i32>) {
        SYNC_ERROR.set(number);
    }

    /// What a sync fails with.
    pub fn sync_error() -> Option<i32> {
        SYNC_ERROR.get()
    }

    /// Where the clock was stopped.
    pub fn now_ms() -> Option<u64> {
        NOW_MS.get()
    }

    /// Calls `hook` with the number of each access this thread makes from now on.
    pub fn install(hook: impl FnMut(u64) + 'static) {
        HOOK.with_borrow_mut(|slot| *slot = Some((0, Box::new(hook))));
    }

    /// Ends it; returns how many accesses there were.
    pub fn remove() -> u64 {
        HOOK.with_borrow_mut(Option::take)
            .map_or(0, |(count, _)| count)
    }

    /// From now on this thread touches nothing.
    pub fn die() {
        DEAD.set(Some(0));
    }

    /// It does again.
    pub fn revive() {
        DEAD.set(None);
    }

    /// One access: true if it is to be made.
    #[expect(
        clippy::panic,
        reason = "in a test only: what would not end in a dead thread has to be heard of"
    )]
    pub fn touches() -> bool {
        if let Some(governor) = GOVERNOR.get() {
            return governor();
        }
        // The hook is taken out while it runs: it may unwind, and then it is gone, as a dead process' should be.
        let taken = HOOK.with_borrow_mut(Option::take);
        if let Some((count, mut hook)) = taken {
            hook(count);
            HOOK.with_borrow_mut(|slot| *slot = Some((count + 1, hook)));
        }
        let Some(made) = DEAD.get() else {
            return true;
        };
        if made == MOST_WHEN_DEAD {
            panic!("slipring: {made} accesses of a dead thread: a loop that does not end");
        }
        DEAD.set(Some(made + 1));
        false
    }

    /// The word to access: the real one, or the dead one's.
    pub fn word(real: &AtomicU64) -> &AtomicU64 {
        if touches() {
            return real;
        }
        let word = &NOWHERE.with(|nowhere| *nowhere).word;
        word.store(0, Ordering::Relaxed);
        word
    }

    /// The same for an event.
    pub fn event(real: &AtomicU32) -> &AtomicU32 {
        if touches() {
            return real;
        }
        let event = &NOWHERE.with(|nowhere| *nowhere).event;
        event.store(0, Ordering::Relaxed);
        event
    }
}
