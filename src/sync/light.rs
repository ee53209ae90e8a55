//! Asymmetric fences for the model checker, which knows none: a light one and a heavy one order as two SeqCst fences
//! would; two light ones order nothing.
//!
//! A fence from outside falls somewhere between two instructions of a thread: what the thread did before is seen by
//! whoever asked for it, and what it does after sees what was there before it was asked for. Read-modify-writes of one
//! atomic per thread, by the thread between its store and its load, and by whoever makes all fence, say the same: the
//! later one has what went before the earlier one. Not a SeqCst fence in `light_fence`: it would also order against plain
//! fences, and a waiter that forgets the others would pass.

use std::sync::atomic::AtomicUsize;

use loom::sync::atomic::{AtomicU32, Ordering};

/// No model has more threads.
const THREADS: usize = 4;

loom::lazy_static! {
    static ref CELLS: [AtomicU32; THREADS] = std::array::from_fn(|_| AtomicU32::new(0));
    static ref NEXT: AtomicUsize = AtomicUsize::new(0);
}

loom::thread_local! {
    static MINE: usize = NEXT.fetch_add(1, Ordering::Relaxed);
}

/// Between a store and a load of this thread.
pub fn light_fence() {
    if let Some(cell) = CELLS.get(MINE.with(|mine| *mine)) {
        cell.fetch_add(1, Ordering::AcqRel);
    }
}

/// Every thread fences before this returns.
pub fn heavy_fence() {
    for cell in CELLS.iter() {
        cell.fetch_add(1, Ordering::AcqRel);
    }
}
