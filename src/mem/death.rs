//! Death for the model checker: a thread that stops for good before one of its accesses.
//!
//! What `ring` keeps on a thread's stack has no destructor that touches the queue, so unwinding leaves the words as a
//! kill there would. The unwinding is silent, and ends in `dies`.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::sync::{AtomicU32, AtomicU64};

/// What a death unwinds with.
struct Death;

crate::sync::thread_local! {
    /// Accesses that this thread still makes.
    static LEFT: Cell<Option<u64>> = Cell::new(None);
}

/// Runs `operation`, which dies before its access `at`, counted from 0, or just after the last. `None`: it died there.
pub fn dies<T>(at: u64, operation: impl FnOnce() -> T) -> Option<T> {
    LEFT.with(|left| left.set(Some(at)));
    let end = catch_unwind(AssertUnwindSafe(|| {
        let value = operation();
        touches();
        value
    }));
    LEFT.with(|left| left.set(None));
    match end {
        Ok(value) => Some(value),
        Err(payload) if payload.is::<Death>() => None,
        Err(failure) => resume_unwind(failure),
    }
}

/// One access: true if there is one after it.
pub fn touches() -> bool {
    let left = LEFT.with(Cell::get);
    match left {
        None => {}
        Some(0) => resume_unwind(Box::new(Death)),
        Some(left) => LEFT.with(|cell| cell.set(Some(left - 1))),
    }
    true
}

/// The word itself, if its thread lives.
pub fn word(real: &AtomicU64) -> &AtomicU64 {
    touches();
    real
}

/// The event itself, if its thread lives.
pub fn event(real: &AtomicU32) -> &AtomicU32 {
    touches();
    real
}
