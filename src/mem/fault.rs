//! Numbered crash points: every access to the mapping passes [`point`].
//!
//! Compiled to nothing without the feature `crash-points`. With it, a test installs a hook on its thread and is called
//! with 0, 1, 2, ... at each access; the hook may unwind (die there) or block (be paused there).

#[cfg(not(feature = "crash-points"))]
/// Does nothing in this build.
#[inline(always)]
pub fn point() {}

#[cfg(feature = "crash-points")]
pub use hook::{install, point, remove};

#[cfg(feature = "crash-points")]
mod hook {
    use std::cell::RefCell;

    type Hook = Box<dyn FnMut(u64)>;

    thread_local! {
        static HOOK: RefCell<Option<(u64, Hook)>> = const { RefCell::new(None) };
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

    /// One access.
    pub fn point() {
        // The hook is taken out while it runs: it may unwind, and then it is gone, as a dead process' should be.
        let taken = HOOK.with_borrow_mut(Option::take);
        if let Some((count, mut hook)) = taken {
            hook(count);
            HOOK.with_borrow_mut(|slot| *slot = Some((count + 1, hook)));
        }
    }
}
