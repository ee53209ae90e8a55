//! Finding out, for the price of one load, that this process is a forked child of the one that attached.

use std::io;

use crate::sync::{AtomicU64, Ordering};

/// Remembers the process it was made in, by a number on a page that the kernel wipes in forked children.
#[derive(Clone, Copy, Debug)]
pub struct ForkGuard {
    page: &'static AtomicU64,
    process: u64,
}

impl ForkGuard {
    /// For this process.
    ///
    /// # Errors
    /// What the kernel says to an anonymous page wiped on fork.
    pub fn get() -> io::Result<Self> {
        let page = super::wiped_on_fork()?;
        // A child that attaches for itself needs a number of its own, or its parent's handles would look valid in it.
        let fresh = (super::wall_ns() << 16 ^ u64::from(std::process::id())).max(1);
        // ORDERING: Relaxed; the number carries nothing, and the first one stays.
        let _first = page.compare_exchange(0, fresh, Ordering::Relaxed, Ordering::Relaxed);
        // ORDERING: Relaxed; as above.
        Ok(Self {
            page,
            process: page.load(Ordering::Relaxed),
        })
    }

    /// True in a forked child.
    #[inline]
    pub fn is_child(&self) -> bool {
        // ORDERING: Relaxed; the kernel wipes the page before the child runs its first instruction.
        self.page.load(Ordering::Relaxed) != self.process
    }
}
