//! The only door to the bytes of a queue: "the atomic word at this offset" and "copy bytes in or out".
//!
//! Relies on `sync` and `layout`, and `mapped.rs` on `sys`, to know a forked child. `ring` runs its protocol on a [`Mem`]
//! and cannot tell a mapped file from heap memory or from the model checker's. Every access passes [`fault`], so
//! a test can die or pause at each.
//!
//! The rules, upheld by `ring` (invariants in `ring/mod.rs`):
//! * no reference to plain bytes is ever made but for a payload pinned by a claim (I3) or a loan (I2);
//! * an offset comes from a checked [`crate::layout::Geometry`]; a wild one stops the program instead of touching
//!   foreign memory.

#[cfg(slipring_loom)]
mod death;
pub mod fault;
#[cfg(not(slipring_loom))]
mod heap;
#[cfg(not(slipring_loom))]
mod mapped;
#[cfg(slipring_loom)]
mod model;
#[cfg(not(slipring_loom))]
mod raw;

#[cfg(not(slipring_loom))]
pub use mapped::Access;
#[cfg(slipring_loom)]
pub use model::Mem;
#[cfg(not(slipring_loom))]
pub use raw::{Loan, Mem};

use crate::sync::{AtomicU32, AtomicU64, Ordering, order};

/// An atomic 64-bit word of the queue.
#[derive(Clone, Copy, Debug)]
pub struct Word<'a> {
    word: &'a AtomicU64,
    /// Loom 0.7 looks for orders worth trying only against the *last* access of an atomic: a thread's own load hides
    /// another thread's access before it, and the order of that access and a CAS that follows is never turned round. A
    /// store of a second atomic beside each access brings those orders back, and hands nothing over.
    #[cfg(slipring_loom)]
    order: &'a AtomicU32,
}

impl Word<'_> {
    #[inline(always)]
    fn touch(mut self) -> Self {
        self.word = fault::word(self.word);
        #[cfg(slipring_loom)]
        self.order.store(0, Ordering::Relaxed);
        self
    }

    /// Reads it.
    #[inline(always)]
    #[cfg_attr(slipring_loom, track_caller)]
    pub fn load(self, ordering: Ordering) -> u64 {
        self.touch().word.load(order(ordering))
    }

    /// Writes it.
    #[inline(always)]
    #[cfg_attr(slipring_loom, track_caller)]
    pub fn store(self, value: u64, ordering: Ordering) {
        self.touch().word.store(value, order(ordering));
    }

    /// Writes it, returning what was there.
    #[inline]
    #[cfg_attr(slipring_loom, track_caller)]
    pub fn swap(self, value: u64, ordering: Ordering) -> u64 {
        self.touch().word.swap(value, order(ordering))
    }

    /// Replaces `current` by `new`; true if it did.
    #[inline(always)]
    #[cfg_attr(slipring_loom, track_caller)]
    #[must_use = "a lost race has to be dealt with"]
    pub fn replace(self, current: u64, new: u64, success: Ordering) -> bool {
        self.touch()
            .word
            .compare_exchange(current, new, order(success), Ordering::Relaxed)
            .is_ok()
    }

    /// Replaces `current` by `new`; what was there instead, if it did not.
    #[inline]
    #[cfg_attr(slipring_loom, track_caller)]
    pub fn exchange(self, current: u64, new: u64, success: Ordering) -> Result<u64, u64> {
        self.touch()
            .word
            .compare_exchange(current, new, order(success), Ordering::Acquire)
    }

    /// Raises it to at least `value`. A loop of CASes rather than `fetch_max`: what is high enough already is not written,
    /// and ThreadSanitizer does not know `fetch_max`.
    #[inline]
    #[cfg_attr(slipring_loom, track_caller)]
    pub fn raise(self, value: u64, ordering: Ordering) {
        let mut found = self.load(Ordering::Relaxed);
        // Bound: each failure is another's raise.
        while found < value {
            match self.touch().word.compare_exchange(
                found,
                value,
                order(ordering),
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => found = now,
            }
        }
    }

    /// Adds to it; returns what was there.
    #[inline]
    #[cfg_attr(slipring_loom, track_caller)]
    pub fn add(self, value: u64, ordering: Ordering) -> u64 {
        self.touch().word.fetch_add(value, order(ordering))
    }

    /// Sets bits; returns what was there.
    #[inline]
    #[cfg_attr(slipring_loom, track_caller)]
    pub fn set(self, bits: u64, ordering: Ordering) -> u64 {
        self.touch().word.fetch_or(bits, order(ordering))
    }

    /// Clears bits; returns what was there.
    #[inline]
    #[cfg_attr(slipring_loom, track_caller)]
    pub fn clear(self, bits: u64, ordering: Ordering) -> u64 {
        self.touch().word.fetch_and(!bits, order(ordering))
    }
}

/// A 32-bit word that processes sleep on.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a>(&'a AtomicU32);

impl<'a> Event<'a> {
    /// Reads it.
    #[inline(always)]
    #[cfg_attr(slipring_loom, track_caller)]
    #[must_use]
    pub fn load(self, ordering: Ordering) -> u32 {
        fault::event(self.0).load(order(ordering))
    }

    /// Adds one, so that nobody who read it before falls asleep.
    #[inline]
    #[cfg_attr(slipring_loom, track_caller)]
    pub fn bump(self, ordering: Ordering) {
        fault::event(self.0).fetch_add(1, order(ordering));
    }

    /// The word itself, for the kernel.
    #[must_use]
    pub fn atomic(self) -> &'a AtomicU32 {
        self.0
    }
}
