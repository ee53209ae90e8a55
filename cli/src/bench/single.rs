//! What single operations cost one process, and processes that are merely attached.

use slipring::{Consumer, Producer, Queue};

use super::clock::{cost_ns, now_ns};
use super::job::{Job, Outcome};
use super::machine;
use super::message::{compose, number, verify};
use super::roles::{self, QUEUE};
use super::worker::{await_go, hear};

/// Messages that are published before they are consumed, at most.
const RUN: u64 = 64;
const ROUNDS: u64 = 2_000;
const WARM_UP: u64 = 100;

/// Figures: nanoseconds of a publish, and of a receive with its ack.
pub fn run(job: &Job, groups: usize) -> anyhow::Result<Outcome> {
    let queue = Queue::options().open(job.dir.join(QUEUE))?;
    let mut producer = roles::producer(&queue, &job.load, false)?;
    let consumers = (0..groups).map(|group| roles::consumer(&queue, &job.load, group));
    let consumers = consumers.collect::<anyhow::Result<Vec<_>>>()?;
    let cost = cost_ns();
    await_go()?;
    let run = RUN.min(queue.capacity());
    // Each group receives each message.
    let rounds = ROUNDS.div_ceil(groups as u64);
    let rounds = job
        .load
        .messages
        .map_or(rounds, |few| few.min(rounds))
        .max(1);
    let mut buffer = vec![0; job.load.size];
    let (mut publish_ns, mut receive_ns) = (0.0, 0.0);
    let warm_up = WARM_UP.min(rounds);
    for round in 0..warm_up + rounds {
        let start = now_ns();
        publish(job, &mut producer, &mut buffer, round * run, run)?;
        let published = now_ns();
        for consumer in &consumers {
            receive(job, consumer, round * run, run)?;
        }
        let received = now_ns();
        if round >= warm_up {
            publish_ns += (published - start) as f64 - cost;
            receive_ns += (received - published) as f64 - cost;
        }
    }
    let messages = rounds * run;
    let received = messages as f64 * groups as f64;
    Ok(Outcome {
        messages,
        figures: vec![publish_ns / messages as f64, receive_ns / received],
        memory: machine::memory_used(),
        ..Outcome::default()
    })
}

fn publish(
    job: &Job,
    producer: &mut Producer,
    buffer: &mut [u8],
    first: u64,
    count: u64,
) -> anyhow::Result<()> {
    for index in first..first + count {
        compose(buffer, number(0, index), job.load.check);
        producer.publish(&*buffer)?;
    }
    Ok(())
}

fn receive(job: &Job, consumer: &Consumer, first: u64, count: u64) -> anyhow::Result<()> {
    for index in first..first + count {
        let delivery = consumer.recv()?;
        let found = verify(&delivery, job.load.size, job.load.check, false);
        anyhow::ensure!(
            found == Some(number(0, index)),
            "message {index} is garbled"
        );
        delivery.ack()?;
    }
    Ok(())
}

/// Is attached so often, and does nothing else.
pub fn hold(job: &Job, attachments: u64) -> anyhow::Result<Outcome> {
    let open = |_| Queue::options().open(job.dir.join(QUEUE));
    let held = (0..attachments).map(open).collect::<Result<Vec<_>, _>>()?;
    await_go()?;
    while !hear()?.is_empty() {}
    Ok(Outcome {
        messages: held.len() as u64,
        ..Outcome::default()
    })
}
