//! What each role does, whatever the queue: the loops, the checks and the times are the same for all.

use std::hint::black_box;

use anyhow::Context;
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::contract::{Job, Role, ready_then_go, say};
use crate::machine::{Idle, now_ns, pin};
use crate::message::{END, Incoming, Outgoing, first_number};
use crate::queue::{Pair, Part, Place, Receiver, Rival, Sender, Turn};

/// The queue from `produce` to `consume`, and from `ping` to `pong`; and the one back.
const THERE: &str = "there";
const BACK: &str = "back";

pub fn processes<R: Rival>(job: &Job) -> anyhow::Result<()> {
    pin(job.cores.first())?;
    match job.role {
        Role::Consume => consume::<R>(job),
        Role::Produce => {
            let mut sender = R::sender(&attached(job, THERE))?;
            ready_then_go()?;
            let result = send_all(job, &mut sender)?;
            (0..job.ends).try_for_each(|_| send_end(job, &mut sender))?;
            say(&result.to_string())
        }
        Role::Pong => {
            let created = |queue| Place::new(job, queue, Part::Create);
            let mut receiver = R::receiver(&created(THERE))?;
            let mut sender = R::sender(&created(BACK))?;
            say("ready")?;
            say(&pong(job, &mut receiver, &mut sender)?.to_string())
        }
        Role::Ping => {
            let mut sender = R::sender(&attached(job, THERE))?;
            let mut receiver = R::receiver(&attached(job, BACK))?;
            ready_then_go()?;
            say(&ping(job, &mut sender, &mut receiver)?.to_string())
        }
        Role::ThreadsThroughput | Role::ThreadsRoundTrip => Err(misfit(
            "works between processes: its roles have no threads-",
        )),
    }
}

fn attached(job: &Job, queue: &'static str) -> Place {
    Place::new(job, queue, Part::Attach)
}

fn consume<R: Rival>(job: &Job) -> anyhow::Result<()> {
    let turn = Turn::take(&job.dir)?;
    let mut receiver = R::receiver(&Place::new(job, THERE, turn.part()?))?;
    turn.made()?;
    say("ready")?;
    let received = receive_all(job, &mut receiver)?;
    for _ in 1..received.ends {
        // In one batch with ours there were those of others.
        send_end(job, &mut R::sender(&attached(job, THERE))?)?;
    }
    say(&received.json().to_string())
}

pub fn threads<P: Pair>(job: &Job) -> anyhow::Result<()> {
    let (mut sender, mut receiver) = P::pair(&Place::new(job, THERE, Part::Create))?;
    let result = match job.role {
        Role::ThreadsThroughput => std::thread::scope(|scope| {
            let producer = scope.spawn(|| {
                pin(job.cores.first())?;
                send_all(job, &mut sender)
            });
            pin(job.cores.get(1))?;
            let received = receive_all(job, &mut receiver)?;
            let mut result = received.json();
            // A receiver that comes late has less time than the messages took.
            result["published_ns"] = joined(producer)?["ns"].take();
            anyhow::Ok(result)
        })?,
        Role::ThreadsRoundTrip => {
            let (mut sender_back, mut receiver_back) =
                P::pair(&Place::new(job, BACK, Part::Create))?;
            std::thread::scope(|scope| {
                let answering = scope.spawn(|| {
                    pin(job.cores.get(1))?;
                    pong(job, &mut receiver, &mut sender_back)
                });
                pin(job.cores.first())?;
                let result = ping(job, &mut sender, &mut receiver_back)?;
                joined(answering)?;
                anyhow::Ok(result)
            })?
        }
        _ => {
            return Err(misfit(
                "works between threads: its roles begin with threads-",
            ));
        }
    };
    say(&result.to_string())
}

fn misfit(what: &str) -> anyhow::Error {
    crate::contract::Misused(what.to_owned()).into()
}

fn joined<T>(thread: std::thread::ScopedJoinHandle<'_, anyhow::Result<T>>) -> anyhow::Result<T> {
    let ended = thread.join();
    ended.unwrap_or_else(|_| Err(anyhow::anyhow!("the other thread panicked")))
}

fn send_all(job: &Job, sender: &mut impl Sender) -> anyhow::Result<Value> {
    let mut outgoing = Outgoing::new(job.size, job.batch, job.damaged);
    let mut idle = Idle::default();
    let mut number = first_number(job.producer);
    let end = number + job.count;
    let start = now_ns();
    if job.batch == 1 {
        while number < end {
            send(sender, outgoing.numbered(number, 1), &mut idle)?;
            number += 1;
        }
    } else {
        while number < end {
            let count = job.batch.min(usize::try_from(end - number)?);
            let mut messages = outgoing.numbered(number, count);
            while !messages.is_empty() {
                let sent = sender.try_send_batch(messages, job.size)?;
                messages = &messages[sent * job.size..];
                if sent == 0 {
                    idle.poll();
                } else {
                    idle.done();
                }
            }
            number += count as u64;
        }
    }
    Ok(json!({"messages": job.count, "ns": now_ns() - start}))
}

#[inline]
fn send(sender: &mut impl Sender, message: &[u8], idle: &mut Idle) -> anyhow::Result<()> {
    while !sender.try_send(message)? {
        idle.poll();
    }
    idle.done();
    Ok(())
}

fn send_end(job: &Job, sender: &mut impl Sender) -> anyhow::Result<()> {
    let mut end = Outgoing::new(job.size, 1, None);
    send(sender, end.numbered(END, 1), &mut Idle::default())
}

struct Received {
    messages: u64,
    ends: u64,
    first_ns: u64,
    last_ns: u64,
}

impl Received {
    fn json(&self) -> Value {
        json!({
            "messages": self.messages,
            "ns": self.last_ns - self.first_ns,
            "first_ns": self.first_ns,
            "last_ns": self.last_ns,
        })
    }
}

/// `count` messages; with a count of 0 everything up to the end message.
fn receive_all<R: Receiver>(job: &Job, receiver: &mut R) -> anyhow::Result<Received> {
    let until_end = job.count == 0;
    let mut incoming = Incoming::new(job.size, !until_end);
    let mut idle = Idle::default();
    let mut received = Received {
        messages: 0,
        ends: 0,
        first_ns: 0,
        last_ns: 0,
    };
    while received.ends == 0 && (until_end || received.messages < job.count) {
        let mut ends = 0;
        let polled = receiver.try_receive(job.batch, &mut |message| {
            if incoming.check(message)? == END {
                ends += 1;
            }
            Ok(())
        })?;
        if polled == 0 {
            if until_end && idle.begins() {
                // The end message may come long after the last that counts.
                received.last_ns = now_ns();
            }
            idle.poll();
            continue;
        }
        let messages = polled as u64 - ends;
        if received.messages == 0 && messages > 0 {
            received.first_ns = now_ns();
        }
        if R::BLOCKING && messages > 0 || (ends > 0 && idle.begins()) {
            received.last_ns = now_ns();
        }
        idle.done();
        received.messages += messages;
        received.ends += ends;
    }
    if !until_end {
        received.last_ns = now_ns();
    }
    Ok(received)
}

fn pong(
    job: &Job,
    receiver: &mut impl Receiver,
    sender: &mut impl Sender,
) -> anyhow::Result<Value> {
    let mut incoming = Incoming::new(job.size, true);
    let mut idle = Idle::default();
    let mut answer = vec![0; job.size];
    let start = now_ns();
    for _ in 0..job.count + job.count / 10 {
        receive(receiver, &mut incoming, &mut idle, |message| {
            answer.copy_from_slice(message);
        })?;
        send(sender, &answer, &mut idle)?;
    }
    Ok(json!({"messages": job.count, "ns": now_ns() - start}))
}

#[inline]
fn receive(
    receiver: &mut impl Receiver,
    incoming: &mut Incoming,
    idle: &mut Idle,
    mut take: impl FnMut(&[u8]),
) -> anyhow::Result<()> {
    let mut check = |message: &[u8]| {
        incoming.check(message)?;
        take(message);
        Ok(())
    };
    while receiver.try_receive(1, &mut check)? == 0 {
        idle.poll();
    }
    idle.done();
    Ok(())
}

fn ping(
    job: &Job,
    sender: &mut impl Sender,
    receiver: &mut impl Receiver,
) -> anyhow::Result<Value> {
    let mut outgoing = Outgoing::new(job.size, 1, job.damaged);
    let mut incoming = Incoming::new(job.size, true);
    let mut idle = Idle::default();
    let mut half_trips =
        Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3).context("making a histogram")?;
    let mut trip = |number| {
        send(sender, outgoing.numbered(number, 1), &mut idle)?;
        receive(receiver, &mut incoming, &mut idle, |message| {
            black_box(message);
        })
    };
    let warm_up = job.count / 10;
    (0..warm_up).try_for_each(&mut trip)?;
    let begin = now_ns();
    for number in warm_up..warm_up + job.count {
        let start = now_ns();
        trip(number)?;
        half_trips.saturating_record((now_ns() - start) / 2);
    }
    let ns = now_ns() - begin;
    let at = |quantile| half_trips.value_at_quantile(quantile);
    Ok(json!({
        "messages": job.count,
        "ns": ns,
        "p50_ns": at(0.5),
        "p90_ns": at(0.9),
        "p99_ns": at(0.99),
        "p999_ns": at(0.999),
        "max_ns": half_trips.max(),
    }))
}
