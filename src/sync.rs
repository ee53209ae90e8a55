//! The only door to atomics: core's in a normal build, loom's in a model-checking one.
//!
//! Relies on nothing of ours. `mem` builds its words from these types; nothing else names them.

#[cfg(not(slipring_loom))]
pub use core::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Ordering, fence};
#[cfg(slipring_loom)]
pub use loom::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Ordering};

#[cfg(not(slipring_loom))]
pub use core::hint::spin_loop;
#[cfg(slipring_loom)]
pub use loom::thread::yield_now as spin_loop;
#[cfg(slipring_loom)]
pub use loom::thread_local;

#[cfg(slipring_loom)]
mod weaken;
#[cfg(slipring_loom)]
pub use weaken::{fence, order};

/// The ordering as given.
#[cfg(not(slipring_loom))]
#[inline(always)]
#[must_use]
pub fn order(ordering: Ordering) -> Ordering {
    ordering
}

/// Keeps the compiler from moving a later load before an earlier store. The CPU does so if whoever relies on it makes
/// this process fence, from outside (`sys::fence_everybody`).
#[cfg(not(slipring_loom))]
#[inline(always)]
pub fn light_fence() {
    core::sync::atomic::compiler_fence(Ordering::SeqCst);
}

#[cfg(slipring_loom)]
mod light;
#[cfg(slipring_loom)]
pub use light::{heavy_fence, light_fence};
