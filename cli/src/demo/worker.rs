//! What the demo's processes run: one producer, or one consumer.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::bail;
use hdrhistogram::Histogram;
use nix::time::{ClockId, clock_gettime};
use slipring::{AckError, ClaimError, Consumer, Message, Queue};

use super::chaos::worker as mortal;
use super::numbers::Numbers;
use super::payload::{self, Stamp};
use super::protocol::{Consumed, Job, Produced, Report, Role, START, STOP};
use super::report::new_histogram;
use crate::exit::Code;

/// The first argument of a worker process. No subcommand: it is nobody's business but the supervisor's.
pub const COMMAND: &str = "demo-worker";

/// How long a consumer waits before it looks whether it is to stop.
pub const LOOK_EVERY: Duration = Duration::from_millis(20);

static STOPPED: AtomicBool = AtomicBool::new(false);

/// Runs the worker, if this process is to be one.
pub fn main() -> Option<Code> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next()? != COMMAND {
        return None;
    }
    let job = arguments.next().unwrap_or_default();
    let Ok(job) = serde_json::from_str::<Job>(&job) else {
        return Some(Code::Failure);
    };
    let Err(error) = work(&job) else {
        return Some(Code::Success);
    };
    // The supervisor tells the user; if it is gone, that may be all that is wrong.
    if say(&Report::Failed(format!("{error:#}"))).is_err() {
        clear_up(&job.queue);
    }
    Some(Code::Failure)
}

/// An orphan. Nobody else will remove the queue, and a producer may be waiting for room that nobody makes.
fn clear_up(queue: &Path) {
    let _gone_already = Queue::unlink(queue);
}

fn work(job: &Job) -> anyhow::Result<()> {
    let name = match job.role {
        Role::Producer { id, .. } => format!("demo producer {id}"),
        Role::Consumer { id, .. } => format!("demo consumer {id}"),
        Role::Mortal { side, id, .. } => format!("demo {} {id}", side.name()),
    };
    let queue = Queue::options().name(name).open(&job.queue)?;
    match &job.role {
        Role::Producer { id, numbers } => produce(job, &queue, *id, *numbers),
        Role::Consumer { shares, .. } => consume(job, &queue, shares),
        Role::Mortal { side, id, seed } => mortal::work(job, &queue, *side, *id, *seed),
    }
}

/// Says that it is ready, waits for the start, and from then on listens for the stop.
pub fn await_start(job: &Job) -> anyhow::Result<()> {
    say(&Report::Ready)?;
    if hear()? != START {
        bail!("not started");
    }
    let queue = job.queue.clone();
    std::thread::spawn(move || {
        if hear().is_ok_and(|line| line == STOP) {
            STOPPED.store(true, Ordering::Relaxed);
            return;
        }
        clear_up(&queue);
        std::process::exit(1);
    });
    Ok(())
}

/// Whether it has been told to stop.
pub fn is_stopped() -> bool {
    STOPPED.load(Ordering::Relaxed)
}

fn hear() -> anyhow::Result<String> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

pub fn say(report: &Report) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(report)?;
    line.push(b'\n');
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&line)?;
    stdout.flush()?;
    Ok(())
}

pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

fn produce(job: &Job, queue: &Queue, id: u32, numbers: (u64, u64)) -> anyhow::Result<()> {
    let mut producer = queue.producer()?;
    let mut buffers = vec![0; job.size * job.batch];
    await_start(job)?;
    let started_ns = now_ns();
    let (mut next, end) = numbers;
    while next < end {
        let batch = (next..end).zip(buffers.chunks_exact_mut(job.size));
        // Composed one by one as the batch is published: a message's time is its own, not that of its batch.
        let messages = batch.map(|(number, buffer)| {
            let stamp = Stamp {
                producer: id,
                number,
                time_ns: now_ns(),
            };
            payload::compose(stamp, buffer);
            Message::new(buffer)
        });
        next += producer.publish_batch(messages)?.published;
    }
    drop(producer);
    say(&Report::Produced(Produced {
        published: next - numbers.0,
        started_ns,
    }))
}

fn consume(job: &Job, queue: &Queue, shares: &[u64]) -> anyhow::Result<()> {
    let consumer = queue.consumer()?;
    let mut ledger = Ledger::new(shares)?;
    await_start(job)?;
    while !is_stopped() {
        receive(job, &consumer, &mut ledger)?;
    }
    drop(consumer);
    say(&Report::Consumed(ledger.report()))
}

fn receive(job: &Job, consumer: &Consumer, ledger: &mut Ledger) -> anyhow::Result<()> {
    let claims = match consumer.recv_batch_timeout(job.batch, LOOK_EVERY) {
        Err(ClaimError::TimedOut) => return Ok(()),
        other => other?,
    };
    for delivery in claims {
        let delivery = delivery?;
        ledger.enter(delivery.payload(), delivery.delivery_count(), job.size);
        match delivery.ack() {
            Ok(()) => ledger.consumed.acked += 1,
            Err(AckError::Stale { .. }) => ledger.consumed.stale += 1,
            Err(error) => return Err(error.into()),
        }
    }
    ledger.consumed.ended_ns = now_ns();
    Ok(())
}

/// What a consumer knows about the messages it got.
struct Ledger {
    consumed: Consumed,
    producers: Vec<Seen>,
    latencies: Histogram<u64>,
}

/// What it got from one producer.
struct Seen {
    numbers: Numbers,
    /// The least number its next new message may have.
    next: u64,
}

impl Ledger {
    fn new(shares: &[u64]) -> anyhow::Result<Self> {
        let seen = |&share: &u64| Seen {
            numbers: Numbers::below(share),
            next: 0,
        };
        Ok(Self {
            consumed: Consumed::default(),
            producers: shares.iter().map(seen).collect(),
            latencies: new_histogram()?,
        })
    }

    fn enter(&mut self, message: &[u8], delivery_count: u8, length: usize) {
        let consumed = &mut self.consumed;
        consumed.delivered += 1;
        consumed.redelivered += u64::from(delivery_count > 1);
        let Some(stamp) = payload::verify(message, length) else {
            consumed.corrupted += 1;
            return;
        };
        let producer = usize::try_from(stamp.producer).unwrap_or(usize::MAX);
        let Some(seen) = self.producers.get_mut(producer) else {
            consumed.corrupted += 1;
            return;
        };
        if !seen.numbers.insert(stamp.number) {
            // Whole, but nobody was to send it.
            consumed.corrupted += 1;
            return;
        }
        if delivery_count == 1 {
            consumed.out_of_order += u64::from(stamp.number < seen.next);
            seen.next = stamp.number + 1;
        }
        self.latencies
            .saturating_record(now_ns().saturating_sub(stamp.time_ns));
    }

    fn report(self) -> Consumed {
        let latencies = self.latencies.iter_recorded();
        Consumed {
            numbers: self
                .producers
                .iter()
                .map(|seen| seen.numbers.ranges())
                .collect(),
            latencies: latencies
                .map(|found| (found.value_iterated_to(), found.count_at_value()))
                .collect(),
            ..self.consumed
        }
    }
}
