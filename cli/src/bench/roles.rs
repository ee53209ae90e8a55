//! The parts that workers play on slipring's queues: producer, consumer, ping and pong. What a receiver gets is checked
//! whatever is measured, and only a whole message counts.

use std::time::Duration;

use anyhow::{Context, bail};
use hdrhistogram::Histogram;
use slipring::{Consumer, Delivery, Message, Producer, Queue};

use super::clock::{cost_ns, cpu_ns, now_ns, whole};
use super::job::{Job, Load, Outcome, Pace, READY, new_histogram, pairs};
use super::message::{self, END, compose, split, stamp, stamp_of, verify};
use super::worker::{await_go, say};

/// The queue of one-way measurements, and the one there of round trips.
pub const QUEUE: &str = "queue";
/// The one back.
pub const BACK: &str = "back";

/// Messages between two looks at the clock.
const LOOK_EVERY: u64 = 64;
/// Of a run, how much is warm-up for a ping.
const WARM_UP: u64 = 10;

/// What a group is called.
pub fn group_name(group: usize) -> String {
    format!("group-{group}")
}

fn open(job: &Job, name: &str) -> anyhow::Result<Queue> {
    let options = Queue::options().populate(true).name("slipring bench");
    Ok(options.open(job.dir.join(name))?)
}

/// Attaches a producer.
pub fn producer(queue: &Queue, load: &Load, sole: bool) -> anyhow::Result<Producer> {
    let producer = if sole {
        queue.sole_producer()?
    } else {
        queue.producer()?
    };
    Ok(producer.wait_strategy(load.wait.strategy()))
}

/// Attaches a consumer to a group.
pub fn consumer(queue: &Queue, load: &Load, group: usize) -> anyhow::Result<Consumer> {
    let consumer = queue.group(&group_name(group))?.consumer()?;
    Ok(consumer.wait_strategy(load.wait.strategy()))
}

/// Until when a producer goes on.
struct End {
    messages: u64,
    time_ns: u64,
}

impl End {
    fn of(load: &Load) -> Self {
        match load.messages {
            Some(messages) => Self {
                messages,
                time_ns: u64::MAX,
            },
            None => Self {
                messages: u64::MAX,
                time_ns: now_ns() + whole(load.seconds * 1e9),
            },
        }
    }

    fn is_reached(&self, sent: u64) -> bool {
        sent >= self.messages || now_ns() >= self.time_ns
    }
}

/// Sends until the end.
pub fn produce(job: &Job, index: u64, sole: bool) -> anyhow::Result<Outcome> {
    let load = &job.load;
    let queue = open(job, QUEUE)?;
    let mut sender = Sender {
        producer: producer(&queue, load, sole)?,
        load,
        index,
        sent: 0,
        buffer: vec![0; load.size * load.batch],
        took: new_histogram()?,
        clock_ns: if load.timed { cost_ns() } else { 0.0 },
    };
    await_go()?;
    let first_ns = now_ns();
    match load.pace {
        Pace::Flat => sender.flat_out()?,
        Pace::Rate(rate) => sender.at_rate(1e9 / rate)?,
        Pace::Burst { messages, pause_ns } => sender.in_bursts(messages, pause_ns)?,
        Pace::Rare { idle_ns, pause_ns } => sender.rarely(idle_ns, pause_ns)?,
    }
    let last_ns = now_ns();
    Ok(Outcome {
        messages: sender.sent,
        ns: (last_ns - first_ns) as f64,
        first_ns,
        last_ns,
        latencies: pairs(&sender.took),
        ..Outcome::default()
    })
}

struct Sender<'l> {
    producer: Producer,
    load: &'l Load,
    index: u64,
    sent: u64,
    buffer: Vec<u8>,
    /// How long publishes took.
    took: Histogram<u64>,
    /// What a look at the clock costs.
    clock_ns: f64,
}

impl Sender<'_> {
    fn flat_out(&mut self) -> anyhow::Result<()> {
        let end = End::of(self.load);
        // A look at the clock costs less than this many bytes.
        let look_every = (LOOK_EVERY * 1024 / self.load.size as u64).clamp(1, LOOK_EVERY);
        let mut next_look = 0;
        loop {
            if self.sent >= next_look || self.sent >= end.messages {
                if end.is_reached(self.sent) {
                    return Ok(());
                }
                next_look = self.sent + look_every;
            }
            let rest = usize::try_from(end.messages - self.sent).unwrap_or(usize::MAX);
            match self.load.batch.min(rest) {
                1 => self.send(None)?,
                many => self.send_batch(many)?,
            }
        }
    }

    /// Each message at its time: one that is late says by how much, and does not delay those after it.
    fn at_rate(&mut self, interval_ns: f64) -> anyhow::Result<()> {
        let end = End::of(self.load);
        let start = now_ns();
        loop {
            let due = start + whole(interval_ns * self.sent as f64);
            if self.sent >= end.messages || due >= end.time_ns {
                return Ok(());
            }
            wait_until(due);
            self.send(Some(due))?;
        }
    }

    fn in_bursts(&mut self, messages: u64, pause_ns: u64) -> anyhow::Result<()> {
        let end = End::of(self.load);
        let mut due = now_ns();
        // A burst that has begun is sent to its end.
        while !end.is_reached(self.sent) {
            wait_until(due);
            let start = now_ns();
            for _ in 0..messages {
                self.send(Some(start))?;
            }
            due = now_ns() + pause_ns;
        }
        Ok(())
    }

    fn rarely(&mut self, idle_ns: u64, pause_ns: u64) -> anyhow::Result<()> {
        std::thread::sleep(Duration::from_nanos(idle_ns));
        let end = End::of(self.load);
        loop {
            self.send(Some(now_ns()))?;
            if end.is_reached(self.sent) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_nanos(pause_ns));
        }
    }

    #[inline]
    fn send(&mut self, due: Option<u64>) -> anyhow::Result<()> {
        let number = message::number(self.index, self.sent);
        if self.load.loan {
            let mut reservation = self.producer.loan(self.load.size)?;
            write(&mut reservation, number, self.load, due);
            reservation.commit()?;
        } else {
            let message = self.buffer.get_mut(..self.load.size).unwrap_or_default();
            write(message, number, self.load, due);
            let start = begin(self.load, due);
            self.producer.publish(&*message)?;
            self.note(start);
        }
        self.sent += 1;
        Ok(())
    }

    fn send_batch(&mut self, count: usize) -> anyhow::Result<()> {
        let (index, sent, load) = (self.index, self.sent, self.load);
        let places = self.buffer.chunks_exact_mut(load.size).take(count);
        let messages = places.zip(sent..).map(|(place, sent)| {
            write(place, message::number(index, sent), load, None);
            Message::new(place)
        });
        let start = begin(load, None);
        self.sent += self.producer.publish_batch(messages)?.published;
        self.note(start);
        Ok(())
    }

    #[inline]
    fn note(&mut self, start: Option<u64>) {
        if let Some(start) = start {
            let took = now_ns().saturating_sub(start) as f64 - self.clock_ns;
            self.took.saturating_record(whole(took).max(1));
        }
    }
}

/// When a publish that is timed began, or should have.
#[inline]
fn begin(load: &Load, due: Option<u64>) -> Option<u64> {
    load.timed.then(|| due.unwrap_or_else(now_ns))
}

#[inline]
fn write(message: &mut [u8], number: u64, load: &Load, due: Option<u64>) {
    compose(message, number, load.check);
    if let Some(due) = due {
        stamp(message, due);
    }
}

/// Spins: a sleep would be late by more than what is measured.
fn wait_until(due: u64) {
    while now_ns() < due {
        std::hint::spin_loop();
    }
}

/// Receives until a message ends it.
pub fn consume(job: &Job, group: usize, alone: bool) -> anyhow::Result<Outcome> {
    let load = &job.load;
    let queue = open(job, QUEUE)?;
    let consumer = consumer(&queue, load, group)?;
    let mut ledger = Ledger::new(load, alone)?;
    // It receives at once, and needs no start.
    say(READY)?;
    let (idle_since, cpu_before) = (now_ns(), cpu_ns());
    let mut more = true;
    while more {
        if load.batch == 1 {
            more = ledger.take(consumer.recv()?)?;
        } else {
            for delivery in consumer.recv_batch(load.batch)? {
                more = ledger.take(delivery?)?;
                if !more {
                    break;
                }
            }
        }
        if ledger.outcome.idle_cpu.is_none() {
            let idle = (now_ns() - idle_since) as f64;
            ledger.outcome.idle_cpu = Some((cpu_ns() - cpu_before) as f64 / idle.max(1.0));
        }
    }
    ledger.close()
}

/// What a consumer knows about the messages it got.
struct Ledger<'l> {
    load: &'l Load,
    alone: bool,
    /// The least index the next message of each producer may have.
    next: Vec<u64>,
    received: u64,
    latencies: Histogram<u64>,
    /// How long bursts took, and how many there were.
    bursts: (u64, u64),
    outcome: Outcome,
}

impl<'l> Ledger<'l> {
    fn new(load: &'l Load, alone: bool) -> anyhow::Result<Self> {
        Ok(Self {
            load,
            alone,
            next: Vec::new(),
            received: 0,
            latencies: new_histogram()?,
            bursts: (0, 0),
            outcome: Outcome::default(),
        })
    }

    /// Checks and acks a message; false if it was the end.
    #[inline]
    fn take(&mut self, delivery: Delivery<'_>) -> anyhow::Result<bool> {
        let load = self.load;
        let stamped = load.is_stamped();
        let Some(number) = verify(&delivery, load.size, load.check, stamped) else {
            bail!("message {} is garbled", delivery.sequence());
        };
        if number == END {
            delivery.ack()?;
            return Ok(false);
        }
        if stamped {
            self.note_latency(number, now_ns(), stamp_of(&delivery));
        }
        // What a killed consumer held comes again, later.
        if delivery.delivery_count() == 1 {
            self.check_order(number)?;
        }
        delivery.ack()?;
        self.received += 1;
        if self.received % LOOK_EVERY == 1 || load.size > 4096 {
            self.look_at_clock();
        }
        Ok(true)
    }

    #[inline]
    fn check_order(&mut self, number: u64) -> anyhow::Result<()> {
        let (producer, index) = split(number);
        let producer = usize::try_from(producer)?;
        let Some(next) = self.next.get_mut(producer) else {
            self.next.resize(producer + 1, 0);
            return self.check_order(number);
        };
        let right = if self.alone {
            index == *next
        } else {
            index >= *next
        };
        if !right {
            bail!("message {index} of producer {producer} came where {next} was due");
        }
        *next = index + 1;
        Ok(())
    }

    fn note_latency(&mut self, number: u64, now: u64, due: u64) {
        let latency = now.saturating_sub(due);
        self.latencies.saturating_record(latency.max(1));
        if let Pace::Burst { messages, .. } = self.load.pace
            && split(number).1 % messages == messages - 1
        {
            self.bursts.0 += latency;
            self.bursts.1 += messages;
        }
    }

    fn look_at_clock(&mut self) {
        let (now, outcome) = (now_ns(), &mut self.outcome);
        if outcome.first_ns == 0 {
            outcome.first_ns = now;
        } else {
            outcome.gap_ns = outcome.gap_ns.max(now - outcome.last_ns);
        }
        outcome.last_ns = now;
        outcome.messages = self.received;
    }

    fn close(mut self) -> anyhow::Result<Outcome> {
        // A short run had no time for a second look.
        if self.received > 0 && self.outcome.first_ns == self.outcome.last_ns {
            self.look_at_clock();
        }
        let outcome = self.outcome;
        let (burst_ns, burst_messages) = self.bursts;
        Ok(Outcome {
            received: self.received,
            ns: (outcome.last_ns - outcome.first_ns) as f64,
            latencies: pairs(&self.latencies),
            figures: vec![burst_ns as f64, burst_messages as f64],
            ..outcome
        })
    }
}

/// Both ends of a round trip.
struct Ends {
    producer: Producer,
    consumer: Consumer,
}

impl Ends {
    fn open(job: &Job, names: (&str, &str), sole: bool) -> anyhow::Result<Self> {
        let (there, back) = (open(job, names.0)?, open(job, names.1)?);
        Ok(Self {
            producer: producer(&there, &job.load, sole)?,
            consumer: consumer(&back, &job.load, 0)?,
        })
    }

    #[inline]
    fn send(&mut self, load: &Load, buffer: &mut [u8], number: u64) -> anyhow::Result<()> {
        if load.loan {
            let mut reservation = self.producer.loan(load.size)?;
            compose(&mut reservation, number, load.check);
            reservation.commit()?;
        } else {
            compose(buffer, number, load.check);
            self.producer.publish(&*buffer)?;
        }
        Ok(())
    }

    #[inline]
    fn receive(&self, load: &Load) -> anyhow::Result<u64> {
        let delivery = self.consumer.recv()?;
        let number = verify(&delivery, load.size, load.check, false);
        delivery.ack()?;
        number.context("a message is garbled")
    }
}

/// Sends, and waits for the answer: half of that is a latency.
pub fn ping(job: &Job, sole: bool) -> anyhow::Result<Outcome> {
    let load = &job.load;
    let mut ends = Ends::open(job, (QUEUE, BACK), sole)?;
    let mut buffer = vec![0; load.size];
    let mut latencies = new_histogram()?;
    let cost = cost_ns();
    await_go()?;
    let first_ns = now_ns();
    let end = End::of(load);
    let warm_until = first_ns + whole(load.seconds * 1e9) / WARM_UP;
    let warm_trips = load.messages.map_or(u64::MAX, |trips| trips / WARM_UP);
    let (mut trips, mut counted) = (0, 0);
    let mut start = now_ns();
    while start < end.time_ns && counted < end.messages {
        ends.send(load, &mut buffer, trips)?;
        if ends.receive(load)? != trips {
            bail!("trip {trips} was answered by another");
        }
        let now = now_ns();
        if trips >= warm_trips || (load.messages.is_none() && start >= warm_until) {
            let half = ((now - start) as f64 - cost) / 2.0;
            latencies.saturating_record(whole(half).max(1));
            counted += 1;
        }
        trips += 1;
        start = now;
    }
    ends.send(load, &mut buffer, END)?;
    Ok(Outcome {
        messages: counted,
        ns: (now_ns() - first_ns) as f64,
        latencies: pairs(&latencies),
        ..Outcome::default()
    })
}

/// Answers.
pub fn pong(job: &Job, sole: bool) -> anyhow::Result<Outcome> {
    let mut ends = Ends::open(job, (BACK, QUEUE), sole)?;
    let mut buffer = vec![0; job.load.size];
    say(READY)?;
    let mut outcome = Outcome::default();
    loop {
        let number = ends.receive(&job.load)?;
        if number == END {
            return Ok(outcome);
        }
        ends.send(&job.load, &mut buffer, number)?;
        outcome.messages += 1;
    }
}
