//! The clock, the CPU to run on, and what to do while there is nothing to do.

use std::time::Duration;

use anyhow::Context;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

/// CLOCK_MONOTONIC, the same for every process.
pub fn now_ns() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |now| {
        u64::try_from(Duration::from(now).as_nanos()).unwrap_or(u64::MAX)
    })
}

/// Pins the calling thread.
pub fn pin(core: Option<&usize>) -> anyhow::Result<()> {
    let Some(&core) = core else {
        return Ok(());
    };
    let mut set = CpuSet::new();
    set.set(core)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set))
        .with_context(|| format!("pinning to CPU {core}"))
}

/// Lets threads that a queue starts for itself run on any CPU.
#[cfg(feature = "aeron")]
pub fn unpinned<T>(start: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let pinned = nix::sched::sched_getaffinity(Pid::from_raw(0)).context("asking for our CPU")?;
    sched_setaffinity(Pid::from_raw(0), &anywhere()?).context("leaving our CPU")?;
    let started = start();
    sched_setaffinity(Pid::from_raw(0), &pinned).context("returning to our CPU")?;
    started
}

/// Every CPU that the system lets us use.
#[cfg(any(
    feature = "aeron",
    feature = "redis",
    feature = "beanstalkd",
    feature = "nats"
))]
pub fn anywhere() -> anyhow::Result<CpuSet> {
    let mut set = CpuSet::new();
    (0..CpuSet::count()).try_for_each(|cpu| set.set(cpu))?;
    Ok(set)
}

/// Polls in vain, since the last that was not.
#[derive(Debug, Default)]
pub struct Idle {
    polls: u32,
}

/// Longer than any answer that is under way takes to arrive.
const POLLS_BEFORE_YIELD: u32 = 1000;
/// Where processes outnumber CPUs, whoever has the CPU may not be the one that is waited for.
const POLLS_BETWEEN_YIELDS: u32 = 50;

impl Idle {
    #[inline]
    pub fn poll(&mut self) {
        self.polls += 1;
        if self.polls > POLLS_BEFORE_YIELD {
            self.polls -= POLLS_BETWEEN_YIELDS;
            std::thread::yield_now();
        }
    }

    /// Nothing was polled in vain yet.
    #[inline]
    pub fn begins(&self) -> bool {
        self.polls == 0
    }

    #[inline]
    pub fn done(&mut self) {
        self.polls = 0;
    }
}
