//! What the operating system is asked for: sleep and wake, who is alive, file blocks, clocks, random bytes.
//!
//! Relies on nix and libc. `queue`, `participant` and `wait` rely on it, and `mem` to know a forked child; `ring` must
//! not. One file per platform behind the same functions: Linux has them all; elsewhere the fallback attaches to nothing
//! and says so.

#[cfg(all(target_os = "linux", not(slipring_fallback)))]
mod linux;
#[cfg(all(target_os = "linux", not(slipring_fallback)))]
mod own_file;
#[cfg(all(target_os = "linux", not(slipring_fallback)))]
pub use linux::{
    allocate, boot_id, byte_is_locked, fence_everybody, filesystem_without_locks, futex_wait,
    futex_wake, let_others_fence, link_unnamed, lock_byte, open_again, open_unnamed, sync_data,
    unlock_byte, volatile_filesystem, wiped_on_fork,
};
#[cfg(all(target_os = "linux", not(slipring_fallback)))]
pub use own_file::OwnFile;

#[cfg(any(not(target_os = "linux"), slipring_fallback))]
mod fallback;
#[cfg(any(not(target_os = "linux"), slipring_fallback))]
pub use fallback::{
    OwnFile, allocate, boot_id, byte_is_locked, fence_everybody, filesystem_without_locks,
    futex_wait, futex_wake, let_others_fence, link_unnamed, lock_byte, open_again, open_unnamed,
    sync_data, unlock_byte, volatile_filesystem, wiped_on_fork,
};

mod clock;
mod fork;
pub use clock::{coarse_wall_ns, monotonic_ms, monotonic_ns, wall_ns};
pub use fork::ForkGuard;

use std::fs::File;
use std::io::{self, Read};

/// 16 bytes nobody can guess.
pub fn random_id() -> io::Result<[u8; 16]> {
    let mut id = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut id)?;
    Ok(id)
}
