//! What the processes of a chaos run do until they are killed: publish and receive in every way there is, and say so.

use std::time::{Duration, Instant};

use slipring::{ClaimError, Consumer, Delivery, Message, Producer, Queue};

use super::dice::Dice;
use super::{LARGEST, SLOT};
use crate::demo::payload::{self, Stamp};
use crate::demo::protocol::{Job, Publishing, Received, Report, Run, Side};
use crate::demo::worker::{LOOK_EVERY, await_start, is_stopped, now_ns, say};

/// Bytes of the longest message that fits a slot, beside its header.
const COMMON: u64 = SLOT - 32;
/// Now and then a consumer takes its time over what it was handed, so that many a one dies with messages in its hands.
const WORK: Duration = Duration::from_millis(1);
const WORK_EVERY: u64 = 64;

/// Runs it.
pub fn work(job: &Job, queue: &Queue, side: Side, id: u32, seed: u64) -> anyhow::Result<()> {
    let dice = Dice::new(seed, id.into());
    match side {
        Side::Producer => Sender::new(job, queue, id, dice)?.run()?,
        Side::Consumer => Receiver::new(job, queue, dice)?.run()?,
    }
    say(&Report::Done)
}

/// The longest of many waits.
#[derive(Debug, Default)]
struct Longest(Duration);

impl Longest {
    /// One ends now, which is when the next one may start.
    fn since(&mut self, started: Instant) -> Instant {
        let now = Instant::now();
        self.0 = self.0.max(now.saturating_duration_since(started));
        now
    }

    fn ns(&self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }
}

struct Sender<'a> {
    job: &'a Job,
    id: u32,
    dice: Dice,
    producer: Producer,
    next: u64,
    longest: Longest,
}

impl<'a> Sender<'a> {
    fn new(job: &'a Job, queue: &Queue, id: u32, dice: Dice) -> anyhow::Result<Self> {
        Ok(Self {
            job,
            id,
            dice,
            producer: queue.producer()?,
            next: 0,
            longest: Longest::default(),
        })
    }

    fn run(mut self) -> anyhow::Result<()> {
        await_start(self.job)?;
        while !is_stopped() {
            match self.dice.below(16) {
                0..12 => self.batch()?,
                12 | 13 => self.single(COMMON)?,
                14 => self.single(LARGEST)?,
                _ => self.loan()?,
            }
        }
        self.intend(0)
    }

    /// All up to the next number has returned; these many are next.
    fn intend(&self, count: u64) -> anyhow::Result<()> {
        say(&Report::Publishing(Publishing {
            returned: self.next,
            intended: self.next + count,
            stall_ns: self.longest.ns(),
        }))
    }

    fn stamp(&self, number: u64) -> Stamp {
        Stamp {
            producer: self.id,
            number,
            time_ns: now_ns(),
        }
    }

    /// Bytes of a message: from what was asked for to this.
    fn length(&mut self, most: u64) -> usize {
        let least = self.job.size;
        let more = most.saturating_sub(least as u64);
        least + usize::try_from(self.dice.below(more + 1)).unwrap_or_default()
    }

    /// Composed before, so that as much as can be of the time goes into publishing: that is where death is to strike.
    fn batch(&mut self) -> anyhow::Result<()> {
        let count = 1 + self.dice.below(self.job.batch as u64);
        let mut messages = Vec::new();
        for number in self.next..self.next + count {
            let mut message = vec![0; self.length(COMMON)];
            payload::compose(self.stamp(number), &mut message);
            messages.push(message);
        }
        self.intend(count)?;
        let mut since = Instant::now();
        let messages = messages.iter().map(|message| {
            // Asked for the next one, the last one is published.
            since = self.longest.since(since);
            Message::new(message)
        });
        self.next += self.producer.publish_batch(messages)?.published;
        self.longest.since(since);
        Ok(())
    }

    fn single(&mut self, most: u64) -> anyhow::Result<()> {
        let mut message = vec![0; self.length(most)];
        payload::compose(self.stamp(self.next), &mut message);
        self.intend(1)?;
        let since = Instant::now();
        self.producer.publish(&message)?;
        self.longest.since(since);
        self.next += 1;
        Ok(())
    }

    /// Composed in the arena itself.
    fn loan(&mut self) -> anyhow::Result<()> {
        let (length, stamp) = (self.length(LARGEST), self.stamp(self.next));
        self.intend(1)?;
        let since = Instant::now();
        let mut reservation = self.producer.loan(length)?;
        payload::compose(stamp, &mut reservation);
        reservation.commit()?;
        self.longest.since(since);
        self.next += 1;
        Ok(())
    }
}

struct Receiver<'a> {
    job: &'a Job,
    dice: Dice,
    consumer: Consumer,
    longest: Longest,
}

impl<'a> Receiver<'a> {
    fn new(job: &'a Job, queue: &Queue, dice: Dice) -> anyhow::Result<Self> {
        Ok(Self {
            job,
            dice,
            consumer: queue.consumer()?,
            longest: Longest::default(),
        })
    }

    fn run(mut self) -> anyhow::Result<()> {
        await_start(self.job)?;
        let mut since = Instant::now();
        while !is_stopped() {
            match self.receive(since) {
                Ok(()) => since = Instant::now(),
                Err(error) if error.downcast_ref() == Some(&ClaimError::TimedOut) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn receive(&mut self, since: Instant) -> anyhow::Result<()> {
        let work = if self.dice.below(WORK_EVERY) == 0 {
            WORK
        } else {
            Duration::ZERO
        };
        if self.dice.below(8) == 0 {
            let delivery = self.consumer.recv_timeout(LOOK_EVERY)?;
            self.longest.since(since);
            return settle(vec![delivery], &self.longest, work);
        }
        let most = 1 + self.dice.below(self.job.batch as u64);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let claims = self.consumer.recv_batch_timeout(most, LOOK_EVERY)?;
        self.longest.since(since);
        if self.dice.below(8) != 0 {
            return settle(claims.collect::<Result<_, _>>()?, &self.longest, work);
        }
        // Killed meanwhile, it holds messages that it never looked at.
        for (at, delivery) in claims.enumerate() {
            let work = if at == 0 { work } else { Duration::ZERO };
            settle(vec![delivery?], &self.longest, work)?;
        }
        Ok(())
    }
}

/// Says what it was handed, works on it, acks it, and says that.
fn settle(deliveries: Vec<Delivery<'_>>, longest: &Longest, work: Duration) -> anyhow::Result<()> {
    let mut received = Received {
        stall_ns: longest.ns(),
        acking: work.is_zero(),
        ..Received::default()
    };
    for delivery in &deliveries {
        match payload::verify(delivery, delivery.len()) {
            Some(stamp) => note(&mut received.runs, stamp, delivery.delivery_count()),
            None => received.torn += 1,
        }
    }
    say(&Report::Received(received))?;
    if !work.is_zero() {
        std::thread::sleep(work);
        say(&Report::Acking)?;
    }
    deliveries.into_iter().try_for_each(Delivery::ack)?;
    say(&Report::Acked)
}

fn note(runs: &mut Vec<Run>, stamp: Stamp, attempt: u8) {
    let Stamp {
        producer, number, ..
    } = stamp;
    match runs.last_mut() {
        Some(run) if (run.producer, run.end, run.attempt) == (producer, number, attempt) => {
            run.end += 1;
        }
        _ => runs.push(Run {
            producer,
            first: number,
            end: number.saturating_add(1),
            attempt,
        }),
    }
}
