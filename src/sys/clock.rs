//! Clocks. Message times are wall clock; nothing ever decides by them.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::mem::fault;

/// Wall clock, ns since 1970, exact; 20 to 50 ns to read.
pub fn wall_ns() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Wall clock at the kernel's last tick, ns since 1970; about 5 ns to read.
#[cfg(target_os = "linux")]
pub fn coarse_wall_ns() -> u64 {
    read(libc::CLOCK_REALTIME_COARSE)
}

/// Wall clock, ns since 1970.
#[cfg(not(target_os = "linux"))]
pub fn coarse_wall_ns() -> u64 {
    wall_ns()
}

/// Milliseconds of a clock that all processes of this boot share and nobody sets.
pub fn monotonic_ms() -> u64 {
    #[cfg(target_os = "linux")]
    const CLOCK: libc::clockid_t = libc::CLOCK_MONOTONIC_COARSE;
    #[cfg(not(target_os = "linux"))]
    const CLOCK: libc::clockid_t = libc::CLOCK_MONOTONIC;
    fault::now_ms().unwrap_or_else(|| read(CLOCK) / 1_000_000)
}

/// Nanoseconds of such a clock.
pub fn monotonic_ns() -> u64 {
    read(libc::CLOCK_MONOTONIC)
}

fn read(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid timespec to write to; an unknown clock leaves it zero.
    unsafe { libc::clock_gettime(clock, &mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}
