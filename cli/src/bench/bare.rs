//! The machine's own limits, from inside the two processes that measure them. Each is the least that any queue has to do.

use std::hint::black_box;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::clock::{cost_ns, now_ns, whole};
use super::job::{Bare, Job, Outcome, new_histogram, pairs};
use super::message::{compose, verify};
use super::shared::{NAP, Ring, Shared, Word};
use super::worker::{await_go, say};
use super::{job, message};

/// Round trips of a cache line.
const TRIPS: u64 = 20_000;
/// Before them, uncounted.
const WARM_UP: u64 = 2_000;
/// How long the bare ring runs, each way.
const RING_BYTES: u64 = 64 << 20;
const RING_MESSAGES: (u64, u64) = (64, 500_000);
/// Of the batched ring.
pub const BATCH: u64 = 32;
/// Bytes that are copied in all.
const COPY_BYTES: u64 = 128 << 20;
const COPIES: (u64, u64) = (8, 20_000);
const WAKES: u64 = 60;

/// One end of a measurement.
pub fn run(job: &Job, what: Bare, leads: bool) -> anyhow::Result<Outcome> {
    match what {
        Bare::HopAndRing => hop_and_ring(job, leads),
        Bare::Copy => copy(job, leads),
        Bare::Wake => wake(job, leads),
    }
}

/// Messages of the bare ring for a size; a multiple of the batch.
fn ring_messages(job: &Job) -> u64 {
    let (least, most) = RING_MESSAGES;
    let wanted = (RING_BYTES / job.load.size as u64).clamp(least, most);
    let wanted = job.load.messages.map_or(wanted, |few| few.min(wanted));
    wanted.next_multiple_of(BATCH)
}

/// Trips, or fewer where the user wants few of everything.
fn at_most(job: &Job, count: u64) -> u64 {
    job.load.messages.map_or(count, |few| few.min(count))
}

/// Figures: nanoseconds a message of the ring, one by one and batched.
fn hop_and_ring(job: &Job, leads: bool) -> anyhow::Result<Outcome> {
    let hop = job.dir.join("hop");
    std::fs::create_dir_all(&hop)?;
    let shared = Shared::open(&hop, 0)?;
    let mut rings = Vec::new();
    for (name, batch) in [("ring", 1), ("ring-batched", BATCH)] {
        let dir = job.dir.join(name);
        std::fs::create_dir_all(&dir)?;
        let ring = Ring::open(&dir, job.load.size, job.load.capacity.max(2 * batch))?;
        rings.push((ring, batch));
    }
    let cost = cost_ns();
    await_go()?;
    let trips = at_most(job, TRIPS);
    let mut outcome = Outcome::default();
    if leads {
        outcome.latencies = lead_hops(&shared, trips, cost)?;
    } else {
        follow_hops(&shared, trips);
    }
    for (ring, batch) in &mut rings {
        let per_message = if leads {
            drain(job, ring)?
        } else {
            fill(job, ring, *batch);
            0.0
        };
        outcome.figures.push(per_message);
    }
    outcome.messages = trips;
    Ok(outcome)
}

/// Half round trips of a line.
fn lead_hops(shared: &Shared, trips: u64, cost: f64) -> anyhow::Result<Vec<(u64, u64)>> {
    let warm_up = WARM_UP.min(trips);
    let mut latencies = new_histogram()?;
    let mut start = now_ns();
    for trip in 1..=warm_up + trips {
        shared.word(Word::There).store(trip, Ordering::Release);
        shared.wait_for(Word::Back, trip);
        let end = now_ns();
        if trip > warm_up {
            let half = ((end - start) as f64 - cost) / 2.0;
            latencies.saturating_record(whole(half).max(1));
        }
        start = end;
    }
    Ok(pairs(&latencies))
}

fn follow_hops(shared: &Shared, trips: u64) {
    for trip in 1..=WARM_UP.min(trips) + trips {
        shared.wait_for(Word::There, trip);
        shared.word(Word::Back).store(trip, Ordering::Release);
    }
}

fn fill(job: &Job, ring: &mut Ring, batch: u64) {
    let mut buffer = vec![0; job.load.size];
    let mut next = 0;
    while next < ring_messages(job) {
        ring.push(batch, &mut buffer, |message| {
            compose(message, next, job.load.check);
            next += 1;
        });
    }
}

/// Nanoseconds a message, once the first tenth has come.
fn drain(job: &Job, ring: &mut Ring) -> anyhow::Result<f64> {
    let messages = ring_messages(job);
    let warm_up = messages / 10;
    let (mut next, mut right) = (0, true);
    let (mut start, mut started_at) = (now_ns(), 0);
    while next < messages {
        ring.pop(|message| {
            let number = verify(message, job.load.size, job.load.check, false);
            right &= number == Some(next);
            next += 1;
        });
        if started_at == 0 && next >= warm_up {
            (start, started_at) = (now_ns(), next);
        }
    }
    anyhow::ensure!(right, "the bare ring garbled a message");
    let counted = messages.saturating_sub(started_at).max(1);
    Ok((now_ns() - start) as f64 / counted as f64)
}

/// Figures: nanoseconds to copy a message's bytes out of the other core's cache, and within this core's.
fn copy(job: &Job, leads: bool) -> anyhow::Result<Outcome> {
    let size = job.load.size;
    let shared = Shared::open(&job.dir, size)?;
    let (least, most) = COPIES;
    let copies = at_most(job, (COPY_BYTES / size as u64).clamp(least, most)).max(2);
    let cost = cost_ns();
    await_go()?;
    let mut outcome = Outcome::default();
    if !leads {
        for turn in 1..=copies {
            shared.fill(u8::try_from(turn % 251)?);
            shared.word(Word::There).store(turn, Ordering::Release);
            shared.wait_for(Word::Back, turn);
        }
        return Ok(outcome);
    }
    let mut target = vec![0; size];
    let mut times = new_histogram()?;
    for turn in 1..=copies {
        shared.wait_for(Word::There, turn);
        let start = now_ns();
        shared.copy_to(black_box(&mut target));
        let taken = (now_ns() - start) as f64 - cost;
        let expected = u8::try_from(turn % 251)?;
        let ends = target.first().zip(target.last());
        anyhow::ensure!(ends == Some((&expected, &expected)), "a copy went wrong");
        // The first ones fault pages in.
        if turn > copies / 10 {
            times.saturating_record(whole(taken).max(1));
        }
        shared.word(Word::Back).store(turn, Ordering::Release);
    }
    outcome.messages = copies;
    outcome.figures = vec![
        times.value_at_quantile(0.5) as f64,
        own_copy(&target, copies),
    ];
    Ok(outcome)
}

fn own_copy(source: &[u8], copies: u64) -> f64 {
    let mut target = vec![1; source.len()];
    target.copy_from_slice(source);
    let start = now_ns();
    for _ in 0..copies {
        target.copy_from_slice(black_box(source));
        black_box(&mut target);
    }
    (now_ns() - start) as f64 / copies as f64
}

/// Latencies: from just before the wake-up until the sleeper runs.
fn wake(job: &Job, leads: bool) -> anyhow::Result<Outcome> {
    let shared = Shared::open(&job.dir, 0)?;
    let wakes = u32::try_from(at_most(job, WAKES))?;
    let mut outcome = Outcome::default();
    if !leads {
        await_go()?;
        for turn in 1..=wakes {
            std::thread::sleep(NAP);
            shared.word(Word::Back).store(now_ns(), Ordering::Release);
            shared.futex_wake(turn);
            // Not before the sleeper has seen this one.
            shared.wait_for(Word::Consumed, turn.into());
        }
        return Ok(outcome);
    }
    say(job::READY)?;
    let mut latencies = new_histogram()?;
    for turn in 1..=wakes {
        shared.futex_wait(turn - 1);
        let taken = now_ns().saturating_sub(shared.word(Word::Back).load(Ordering::Acquire));
        latencies.saturating_record(taken.max(1));
        shared
            .word(Word::Consumed)
            .store(turn.into(), Ordering::Release);
    }
    outcome.messages = wakes.into();
    outcome.latencies = pairs(&latencies);
    Ok(outcome)
}

/// The smallest message that the bare ring takes, for those who measure the hop alone.
pub const SMALL: usize = 64;
const _: () = assert!(SMALL as u64 >= message::MIN_STAMPED);

/// How many slots of this size the bare ring has at most: as many as fit a second-level cache, where it is fastest.
pub fn ring_capacity(size: usize, capacity: u64) -> u64 {
    const CACHE: u64 = 1 << 20;
    capacity.min(CACHE / size as u64).max(4)
}

/// Longer than any pair needs.
pub const PATIENCE: Duration = Duration::from_secs(30);
