//! Processes that use the queue until they are killed or told to stop, and say each thing they do.

use std::io::{BufRead, Write, stdin, stdout};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use slipring::{
    AckError, ClaimError, Delivery, Durability, GroupError, GroupOptions, Producer, PublishError,
    Queue,
};

use crate::payload::{Origin, payload};
use crate::random::Random;
use crate::told::Told;

const PATIENCE: Duration = Duration::from_millis(20);

/// Says a line to the program; false when it is time to stop. What was said is in the disk's log then.
fn say(line: &str) -> Result<bool> {
    // In one write, so that who is killed has said all of it or nothing.
    stdout().write_all(format!("{line}\n").as_bytes())?;
    stdout().flush()?;
    let mut reply = String::new();
    stdin().lock().read_line(&mut reply)?;
    Ok(reply == "go\n")
}

fn tell(told: &Told) -> Result<bool> {
    say(&told.to_string())
}

/// `produce QUEUE PRODUCER`: publishes in every way, of which each promises something else.
pub fn produce(path: &str, number: u32) -> Result<()> {
    let queue = Queue::open(path)?;
    let mut work = Produce {
        syncs: queue.durability() == Durability::Sync,
        producer: queue.producer()?,
        number,
        counter: 0,
        pending: Vec::new(),
    };
    let mut random = Random::new(u64::from(number));
    while work.step(&mut random)? {}
    Ok(())
}

struct Produce {
    producer: Producer,
    syncs: bool,
    number: u32,
    counter: u32,
    /// Published and not known to be on the disk.
    pending: Vec<(u64, Origin)>,
}

impl Produce {
    fn next(&mut self) -> (Origin, Vec<u8>) {
        self.counter += 1;
        let origin = Origin {
            producer: self.number,
            counter: self.counter,
        };
        (origin, payload(origin))
    }

    /// False when it is time to stop.
    fn step(&mut self, random: &mut Random) -> Result<bool> {
        // Where not every publish syncs, much is to be under way when one does.
        match random.below(24) {
            0..3 => return self.batch(),
            3 if !self.syncs => {
                self.producer.flush()?;
                return self.confirm();
            }
            _ => {}
        }
        let durably = random.one_in(if self.syncs { 3 } else { 24 });
        let (origin, bytes) = self.next();
        let published = if durably {
            self.producer.publish_durable(&bytes)
        } else {
            self.producer.publish(&bytes)
        };
        match published {
            Ok(sequence) if self.syncs || durably => {
                self.pending.push((sequence, origin));
                self.confirm()
            }
            Ok(sequence) => {
                self.pending.push((sequence, origin));
                tell(&Told::Published(sequence, origin))
            }
            Err(PublishError::Full) => idle(),
            Err(error) => bail!("publishing: {error}"),
        }
    }

    fn batch(&mut self) -> Result<bool> {
        let messages: Vec<_> = (0..3).map(|_| self.next()).collect();
        let published = self
            .producer
            .publish_batch(messages.iter().map(|(_, bytes)| bytes));
        match published {
            // Of those before the last nobody says the sequence.
            Ok(batch) => {
                let (origin, _) = messages.last().context("three")?;
                let last = (batch.last.context("three")?, *origin);
                self.pending.push(last);
                if self.syncs {
                    self.confirm()
                } else {
                    tell(&Told::Published(last.0, last.1))
                }
            }
            Err(error) if error.reason == PublishError::Full => idle(),
            Err(error) => bail!("publishing a batch: {error}"),
        }
    }

    /// All that was published is durable now.
    fn confirm(&mut self) -> Result<bool> {
        for (sequence, origin) in self.pending.drain(..) {
            if !tell(&Told::Durable(sequence, origin))? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn idle() -> Result<bool> {
    std::thread::sleep(Duration::from_millis(1));
    say("idle")
}

/// `consume QUEUE GROUP SEED`: takes messages slower than they come, and settles them in every way.
pub fn consume(path: &str, group: &str, seed: u64) -> Result<()> {
    let queue = Queue::open(path)?;
    let consumer = queue.group(group)?.consumer()?;
    let mut random = Random::new(seed);
    loop {
        let goes_on = match consumer.recv_timeout(PATIENCE) {
            Ok(delivery) => settle(delivery, group, random.below(8))?,
            Err(ClaimError::TimedOut) => say("idle")?,
            Err(error) => bail!("{group}: {error}"),
        };
        if !goes_on {
            return Ok(());
        }
        std::thread::sleep(Duration::from_micros(random.below(3000)));
    }
}

fn settle(delivery: Delivery<'_>, group: &str, how: u64) -> Result<bool> {
    let sequence = delivery.sequence();
    if how == 0 {
        delivery.release()?;
        return say("idle");
    }
    if !tell(&Told::Acking(group.to_owned(), sequence))? {
        return Ok(false);
    }
    if how < 4 {
        delivery.ack_durable()?;
        return tell(&Told::Acked(group.to_owned(), sequence));
    }
    match delivery.ack() {
        Ok(()) | Err(AckError::Stale { .. }) => say("idle"),
        Err(error) => bail!("{group}: {error}"),
    }
}

/// `groups QUEUE SEED`: makes and deletes groups.
pub fn groups(path: &str, seed: u64) -> Result<()> {
    let queue = Queue::open(path)?;
    let mut random = Random::new(seed);
    // What one before us left, or a power loss.
    for group in queue.groups() {
        if group.name().starts_with("made-") && !delete(&queue, group.name())? {
            return Ok(());
        }
    }
    for number in 0_u64.. {
        let name = format!("made-{seed}-{number}");
        let options = if number.is_multiple_of(2) {
            GroupOptions::shared()
        } else {
            GroupOptions::exclusive()
        };
        queue.create_group(&name, options)?;
        if !tell(&Told::Made(name.clone()))? {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(random.below(10)));
        if !delete(&queue, &name)? {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(random.below(30)));
    }
    Ok(())
}

fn delete(queue: &Queue, name: &str) -> Result<bool> {
    if !tell(&Told::Deleting(name.to_owned()))? {
        return Ok(false);
    }
    match queue.delete_group(name) {
        Ok(()) => tell(&Told::Deleted(name.to_owned())),
        Err(GroupError::NotFound | GroupError::Closing) => say("idle"),
        Err(error) => bail!("deleting {name}: {error}"),
    }
}
