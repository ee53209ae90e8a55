//! So many operations of one kind, for `ci/instructions.sh` to count the instructions of: `instructions CASE RUNS`.
//!
//! Each operation is a function of its own that is never inlined, so that callgrind can count what is inside it and
//! nothing else. The queue is in memory, on one thread: nobody waits, and two runs take the same path.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a benchmark may fail loudly"
)]

use std::hint::black_box;

use slipring::{Consumer, Delivery, GroupOptions, Message, Producer, Queue, Timestamps};

/// Messages in the queue at a time, which is also the batch.
const RUN: usize = 32;
const PAYLOAD: [u8; 64] = [7; 64];

#[inline(never)]
fn measured_publish(producer: &mut Producer) {
    producer.publish(black_box(&PAYLOAD)).expect("room");
}

#[inline(never)]
fn measured_publish_batch(producer: &mut Producer) {
    let messages = [Message::new(black_box(&PAYLOAD)); RUN];
    let batch = producer.publish_batch(messages).expect("room");
    assert_eq!(batch.published, RUN as u64);
}

#[inline(never)]
fn measured_claim(consumer: &Consumer) -> Delivery<'_> {
    consumer.try_recv().expect("a message")
}

#[inline(never)]
fn measured_ack(delivery: Delivery<'_>) {
    delivery.ack().expect("ours");
}

#[inline(never)]
fn measured_claim_ack_batch(consumer: &Consumer) {
    let mut count = 0;
    for delivery in consumer.try_recv_batch(RUN).expect("messages") {
        let delivery = delivery.expect("whole");
        assert_eq!(black_box(delivery.payload()).len(), PAYLOAD.len());
        delivery.ack().expect("ours");
        count += 1;
    }
    assert_eq!(count, RUN);
}

#[inline(never)]
fn measured_empty_poll(consumer: &Consumer) {
    assert!(consumer.try_recv().is_err());
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let case = arguments.get(1).map_or("shared", String::as_str);
    let runs: usize = arguments
        .get(2)
        .map_or(1, |runs| runs.parse().expect("a number"));
    let (kind, batched) = case.split_once('-').unwrap_or((case, ""));
    let options = Queue::options()
        .capacity(1024)
        .max_message(96)
        .timestamps(Timestamps::Off)
        .default_group(false);
    let queue = options.in_memory().expect("memory");
    let (group, mut producer) = match kind {
        "exclusive" => (GroupOptions::exclusive(), queue.sole_producer()),
        "shared" => (GroupOptions::shared(), queue.producer()),
        _ => panic!("{case}: shared, shared-batch, exclusive or exclusive-batch"),
    };
    let group = queue.create_group("g", group).expect("a group");
    let consumer = group.consumer().expect("a consumer");
    if let Ok(producer) = &mut producer {
        for _ in 0..runs {
            if batched == "batch" {
                measured_publish_batch(producer);
                measured_claim_ack_batch(&consumer);
                continue;
            }
            for _ in 0..RUN {
                measured_publish(producer);
            }
            for _ in 0..RUN {
                measured_ack(measured_claim(&consumer));
            }
            measured_empty_poll(&consumer);
        }
    }
    producer.expect("a producer");
}
