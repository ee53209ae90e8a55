//! The clock of all measurements: monotonic, the same for all processes. Its own cost is measured, and taken off a
//! latency that spans two reads.

use std::hint::black_box;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of the monotonic clock.
pub fn now_ns() -> u64 {
    read(ClockId::CLOCK_MONOTONIC)
}

/// CPU time that this process has used.
pub fn cpu_ns() -> u64 {
    read(ClockId::CLOCK_PROCESS_CPUTIME_ID)
}

fn read(clock: ClockId) -> u64 {
    let now = clock_gettime(clock).map_or(Duration::ZERO, Duration::from);
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// What one read costs: the best of a few tries, since whatever disturbs makes it longer.
pub fn cost_ns() -> f64 {
    const READS: u32 = 1000;
    let attempt = |_| {
        let start = now_ns();
        for _ in 0..READS {
            black_box(now_ns());
        }
        (now_ns() - start) as f64 / f64::from(READS)
    };
    (0..20).map(attempt).fold(f64::INFINITY, f64::min)
}

/// A number of something, from a calculation; 0 if it makes no sense.
pub fn whole(value: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates, and takes what is no number for 0"
    )]
    let whole = value.round() as u64;
    whole
}
