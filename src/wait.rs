//! Waiting: spin, park, time out; and while waiting, look after the dead.

use std::time::{Duration, Instant};

use crate::layout::OwnerId;
use crate::participant::Attachment;
use crate::ring::Channel;
use crate::sync::{AtomicU64, Ordering, spin_loop};
use crate::sys;

/// How a producer or consumer waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WaitStrategy {
    /// Never sleep: the lowest latency, for the price of a core.
    BusySpin,
    /// Look for some tens of microseconds, then sleep. Where the process may use one CPU only, as `Park`: whom it waits for
    /// may be bound to the same.
    #[default]
    SpinThenPark,
    /// Sleep at once: the least CPU.
    Park,
}

/// Looks before a spinner parks. One costs a few ns and a pause of the CPU, 10 to 40 ns.
const SPINS: u32 = 1000;
/// Looks of a busy spinner between two glances at the clock: about 100 us of them.
const SPINS_PER_CLOCK: u32 = 1 << 12;
/// The same of one that waits for room, whose looks stand apart.
const SPINS_PER_CLOCK_FOR_SPACE: u32 = 1 << 7;
/// Pauses between two looks for room, at most.
const PAUSES_MAX: u32 = 64;
/// The shortest and longest sleep: everybody looks again by itself, at different times, since whoever was to wake it may
/// have died.
const SLEEP_MS: (u64, u64) = (25, 50);

/// The longest sleep of who may have been missed.
const UNSURE_SLEEP: Duration = Duration::from_millis(1);

/// When to give up.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// Never.
    pub const NEVER: Self = Self(None);

    /// In so long; never, if that is further than clocks go.
    pub fn after(timeout: Duration) -> Self {
        Self(Instant::now().checked_add(timeout))
    }

    /// True if there is no time left.
    pub fn is_over(self) -> bool {
        self.remaining().is_zero()
    }

    fn remaining(self) -> Duration {
        self.0.map_or(Duration::MAX, |at| {
            at.saturating_duration_since(Instant::now())
        })
    }
}

/// Why an attempt is made: `Again` after a wait in vain, when hints are not to be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// As always.
    Fresh,
    /// The last look before a sleep.
    BeforeSleep,
    /// After a sleep that nobody ended.
    Again,
}

/// Something that can be waited for.
pub trait Waitable {
    /// What comes of it.
    type Output;
    /// What can go wrong.
    type Error;

    /// Tries; `None`: not yet.
    fn attempt(&mut self, attempt: Attempt) -> Result<Option<Self::Output>, Self::Error>;

    /// What to sleep on.
    fn channel(&self) -> Channel;

    /// Who seems to be in the way, so that the kernel can be asked whether it lives.
    fn suspect(&self) -> Option<OwnerId>;
}

/// Tries until it succeeds, fails or the time is over (`None`). The flag says whether it slept.
pub fn wait<W: Waitable>(
    attachment: &Attachment,
    strategy: WaitStrategy,
    deadline: Deadline,
    waitable: &mut W,
) -> Result<Option<(W::Output, bool)>, W::Error> {
    let capacity = attachment.ring().geometry().capacity();
    let apart = u32::try_from(capacity / 16).map_or(PAUSES_MAX, |apart| apart.clamp(1, PAUSES_MAX));
    let for_space = waitable.channel() == Channel::Space;
    let spins = match strategy {
        WaitStrategy::BusySpin if for_space => SPINS_PER_CLOCK_FOR_SPACE,
        WaitStrategy::BusySpin => SPINS_PER_CLOCK,
        // Looks that stand apart take as long all together.
        WaitStrategy::SpinThenPark if cpus() > 1 && for_space => SPINS / apart,
        WaitStrategy::SpinThenPark if cpus() > 1 => SPINS,
        WaitStrategy::SpinThenPark | WaitStrategy::Park => 1,
    };
    let mut attempt = Attempt::Fresh;
    let mut slept = false;
    // Bound: the deadline; each turn takes a clock's glance or a sleep.
    loop {
        for _ in 0..spins {
            if let Some(output) = waitable.attempt(attempt)? {
                return Ok(Some((output, slept)));
            }
            attempt = Attempt::Fresh;
            for _ in 0..pauses(strategy, waitable.channel(), apart) {
                spin_loop();
            }
        }
        let remaining = deadline.remaining();
        if remaining.is_zero() {
            return Ok(None);
        }
        // Everybody else is asked about every 50 ms; who is in the way, now.
        if let Some(suspect) = waitable.suspect() {
            attachment.probe(suspect);
        }
        if strategy == WaitStrategy::BusySpin {
            attachment.tick();
            attempt = Attempt::Again;
            continue;
        }
        let channel = waitable.channel();
        let ring = attachment.ring();
        let ticket = ring.prepare(channel);
        let sure = !ring.has_light_fences(channel) || sys::fence_everybody();
        if let Some(output) = waitable.attempt(Attempt::BeforeSleep)? {
            return Ok(Some((output, slept)));
        }
        if waitable.channel() != channel {
            // A stand-by that has become active waits for something else now.
            continue;
        }
        // Where others cannot be made to fence, one of them may not have seen that we sleep.
        let sleep = if sure { jittered_sleep() } else { UNSURE_SLEEP };
        let sleep = sleep.min(remaining);
        slept = true;
        if !sys::futex_wait(ring.event(channel).atomic(), ticket, sleep) {
            attempt = Attempt::Again;
        }
        attachment.tick();
    }
}

/// Pauses between two looks. A look for room reads the lines that consumers settle on, and takes them away from them each
/// time, so those looks are rare: a consumer settles a sixteenth of the ring meanwhile. A look for a message reads one line
/// that is written once.
fn pauses(strategy: WaitStrategy, channel: Channel, apart: u32) -> u32 {
    match (channel, strategy) {
        (Channel::Space, _) => apart,
        (_, WaitStrategy::BusySpin) => 0,
        _ => 1,
    }
}

fn jittered_sleep() -> Duration {
    let (shortest, longest) = SLEEP_MS;
    Duration::from_millis(shortest + (sys::wall_ns() >> 10) % (longest - shortest))
}

/// No lock and no `Once`: a child forked while another thread is in here would wait for ever.
fn cpus() -> u64 {
    static CPUS: AtomicU64 = AtomicU64::new(0);
    // ORDERING: Relaxed; the number carries nothing, and whoever asks first finds it for all.
    let known = CPUS.load(Ordering::Relaxed);
    if known > 0 {
        return known;
    }
    let found = std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u64);
    // ORDERING: Relaxed; as above.
    CPUS.store(found, Ordering::Relaxed);
    found
}
