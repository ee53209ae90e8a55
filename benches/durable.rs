//! What durability costs, beside the disk's own fdatasync.
//!
//! `cargo bench --bench durable` publishes to a queue in the directory `--dir` (the temporary one by default), in each mode and
//! with 1 to 64 publishers, and prints for each case messages per second, messages per sync, and how long a publish took: p50 and
//! p99. Before and after stands a loop that writes 8 bytes of a file of its own and syncs it. `--test` runs a few of each.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "a benchmark may fail loudly"
)]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use slipring::layout::geometry::control;
use slipring::{Durability, Queue};

const CAPACITY: u64 = 4096;
const PAYLOAD: [u8; 64] = [7; 64];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let at = |name: &str| arguments.iter().position(|argument| argument == name);
    let place = at("--dir").map_or_else(std::env::temp_dir, |at| PathBuf::from(&arguments[at + 1]));
    let each = Duration::from_millis(if at("--test").is_some() { 20 } else { 2000 });
    let dir = tempfile::tempdir_in(place).unwrap();
    println!(
        "{:<44} {:>12} {:>10} {:>10} {:>10}",
        "", "per second", "per sync", "p50", "p99"
    );
    bare(dir.path(), each);
    let interval = Durability::Interval(Duration::from_millis(100));
    for (mode, durably, publishers) in [
        (Durability::None, false, 1),
        (interval, false, 1),
        (interval, true, 1),
        (Durability::Sync, false, 1),
        (Durability::Sync, false, 8),
        (Durability::Sync, false, 64),
    ] {
        publish(dir.path(), mode, durably, publishers, each);
    }
    bare(dir.path(), each);
}

/// The disk alone: one writer, 8 bytes, fdatasync.
fn bare(dir: &Path, each: Duration) {
    let file = File::create(dir.join("bare")).unwrap();
    file.write_all_at(&vec![0; 1 << 20], 0).unwrap();
    file.sync_all().unwrap();
    let start = Instant::now();
    let mut took = Vec::new();
    while start.elapsed() < each {
        let one = Instant::now();
        file.write_all_at(&(took.len() as u64).to_le_bytes(), 4096)
            .unwrap();
        file.sync_data().unwrap();
        took.push(one.elapsed());
    }
    let syncs = took.len() as u64;
    report("fdatasync of 8 bytes", start.elapsed(), took, Some(syncs));
}

fn publish(dir: &Path, mode: Durability, durably: bool, publishers: usize, each: Duration) {
    let path = dir.join("queue");
    let options = Queue::options().capacity(CAPACITY).max_message(64);
    let queue = options.durability(mode).create(&path).unwrap();
    let over = AtomicBool::new(false);
    let start = Instant::now();
    let took = std::thread::scope(|scope| {
        // Somebody has to make room.
        let consuming = scope.spawn(|| {
            let consumer = queue.consumer().unwrap();
            while !over.load(Ordering::Relaxed) {
                if let Ok(delivery) = consumer.recv_timeout(Duration::from_millis(10)) {
                    delivery.ack().unwrap();
                }
            }
        });
        let publishing: Vec<_> = (0..publishers)
            .map(|_| scope.spawn(|| publish_for(&queue, durably, each)))
            .collect();
        let took: Vec<_> = publishing
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect();
        over.store(true, Ordering::Relaxed);
        consuming.join().unwrap();
        took
    });
    let elapsed = start.elapsed();
    let mut syncs = [0; 8];
    let file = File::open(&path).unwrap();
    file.read_exact_at(&mut syncs, control::FINISHED.0).unwrap();
    let how = if durably {
        "publish_durable"
    } else {
        "publish"
    };
    let name = format!("{mode}, {how}, {publishers} publishers");
    let syncs = u64::from_le_bytes(syncs);
    report(&name, elapsed, took, (syncs > 0).then_some(syncs));
    drop(queue);
    Queue::unlink(&path).unwrap();
}

fn publish_for(queue: &Queue, durably: bool, each: Duration) -> Vec<Duration> {
    let mut producer = queue.producer().unwrap();
    let start = Instant::now();
    let mut took = Vec::new();
    while start.elapsed() < each {
        let one = Instant::now();
        if durably {
            producer.publish_durable(&PAYLOAD).unwrap();
        } else {
            producer.publish(&PAYLOAD).unwrap();
        }
        took.push(one.elapsed());
    }
    took
}

fn report(name: &str, elapsed: Duration, mut took: Vec<Duration>, syncs: Option<u64>) {
    took.sort_unstable();
    let count = took.len();
    let at = |share: usize| took[(count * share / 100).min(count - 1)];
    let per_second = count as f64 / elapsed.as_secs_f64();
    let per_sync = syncs.map_or("-".to_owned(), |syncs| {
        format!("{:.1}", count as f64 / syncs as f64)
    });
    println!(
        "{name:<44} {per_second:>12.0} {per_sync:>10} {:>10.1?} {:>10.1?}",
        at(50),
        at(99)
    );
}
