//! What single operations cost on one core, with nobody else on the lines.
//! `cargo bench --bench ops`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block,
    missing_docs,
    reason = "a benchmark may fail loudly"
)]

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use slipring::{GroupOptions, Queue, Timestamps};

fn queue(timestamps: Timestamps) -> Queue {
    let options = Queue::options()
        .capacity(1024)
        .timestamps(timestamps)
        .max_message(1 << 16);
    options.in_memory().expect("memory")
}

fn operations(c: &mut Criterion) {
    for timestamps in [Timestamps::Off, Timestamps::Coarse, Timestamps::Precise] {
        let queue = queue(timestamps);
        let (mut producer, consumer) = (
            queue.producer().expect("a producer"),
            queue.consumer().expect("a consumer"),
        );
        c.bench_function(
            &format!("publish, claim, ack 64 B, timestamps {timestamps}"),
            |b| {
                b.iter(|| {
                    producer.publish(&[7; 64]).expect("room");
                    consumer.try_recv().expect("a message").ack().expect("ours")
                });
            },
        );
    }
    let queue = queue(Timestamps::Off);
    let log = queue
        .create_group("log", GroupOptions::exclusive())
        .expect("a group");
    queue.delete_group("default").expect("the group");
    let (mut sole, exclusive) = (
        queue.sole_producer().expect("a producer"),
        log.consumer().expect("a consumer"),
    );
    c.bench_function(
        "publish, receive, ack 64 B, sole producer, exclusive group",
        |b| {
            b.iter(|| {
                sole.publish(&[7; 64]).expect("room");
                exclusive
                    .try_recv()
                    .expect("a message")
                    .ack()
                    .expect("ours")
            });
        },
    );
    c.bench_function("publish, receive, ack 16 KiB through the arena", |b| {
        b.iter_batched(
            || vec![7; 16 << 10],
            |payload| {
                sole.publish(&payload).expect("room");
                exclusive
                    .try_recv()
                    .expect("a message")
                    .ack()
                    .expect("ours")
            },
            BatchSize::SmallInput,
        );
    });
    checksums(c);
    c.bench_function("empty poll", |b| b.iter(|| exclusive.try_recv().is_err()));
}

/// Sealing a message when it is published, and comparing when it is received.
fn checksums(c: &mut Criterion) {
    for (sealed, compared) in [(false, false), (true, false), (true, true)] {
        let queue = Queue::options()
            .capacity(1024)
            .slot_size(2048)
            .max_message(1 << 16)
            .timestamps(Timestamps::Off)
            .checksums(sealed)
            .verify(compared)
            .in_memory()
            .expect("memory");
        let (mut producer, consumer) = (
            queue.producer().expect("a producer"),
            queue.consumer().expect("a consumer"),
        );
        for length in [64, 1024, 16 << 10] {
            let payload = vec![7; length];
            let name = match (sealed, compared) {
                (false, _) => "no checksum",
                (true, false) => "checksum made",
                (true, true) => "checksum made and compared",
            };
            c.bench_function(&format!("publish, claim, ack {length} B, {name}"), |b| {
                b.iter(|| {
                    producer.publish(&payload).expect("room");
                    consumer.try_recv().expect("a message").ack().expect("ours")
                });
            });
        }
    }
}

criterion_group!(benches, operations);
criterion_main!(benches);
