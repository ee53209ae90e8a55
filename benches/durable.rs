//! What durability costs, beside the disk's own fdatasync.
//!
//! `cargo bench --bench durable` publishes to a queue in the directory `--dir` (the temporary one by default), in each mode,
//! with 1 to 64 publishers that are threads, one by one and by 32, and prints for each case messages per second, messages per
//! sync, and how long a publish took: p50, p99, and p50 by that of the disk. For that, right before each case a loop writes 8
//! bytes of a file of its own and syncs it. `--rounds` says how often all cases take turns, `--test` runs a few of each.
//! `slipring bench durable` measures the same between processes.

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
use slipring::{Durability, Message, Queue};

const CAPACITY: u64 = 4096;
const PAYLOAD: [u8; 64] = [7; 64];
const INTERVAL: Durability = Durability::Interval(Duration::from_millis(100));

/// What to measure.
struct Case {
    mode: Durability,
    durably: bool,
    publishers: usize,
    batch: usize,
}

const CASES: [Case; 9] = [
    case(Durability::None, false, 1, 1),
    case(INTERVAL, false, 1, 1),
    case(INTERVAL, true, 1, 1),
    case(Durability::Sync, false, 1, 1),
    case(Durability::Sync, false, 2, 1),
    case(Durability::Sync, false, 8, 1),
    case(Durability::Sync, false, 64, 1),
    case(Durability::Sync, false, 1, 32),
    case(Durability::Sync, false, 64, 32),
];

const fn case(mode: Durability, durably: bool, publishers: usize, batch: usize) -> Case {
    Case {
        mode,
        durably,
        publishers,
        batch,
    }
}

/// How long each publish, or sync, took, and how many messages and syncs there were.
struct Found {
    elapsed: Duration,
    took: Vec<Duration>,
    messages: usize,
    syncs: u64,
}

impl Found {
    fn at(&self, share: usize) -> Duration {
        self.took[(self.took.len() * share / 100).min(self.took.len() - 1)]
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let at = |name: &str| arguments.iter().position(|argument| argument == name);
    let place = at("--dir").map_or_else(std::env::temp_dir, |at| PathBuf::from(&arguments[at + 1]));
    let rounds = at("--rounds").map_or(1, |at| arguments[at + 1].parse().unwrap());
    let each = Duration::from_millis(if at("--test").is_some() { 20 } else { 1000 });
    let dir = tempfile::tempdir_in(place).unwrap();
    println!(
        "{:<44} {:>12} {:>10} {:>10} {:>10} {:>10} {:>6}",
        "", "per second", "per sync", "p50", "p99", "fdatasync", "ratio"
    );
    for _ in 0..rounds {
        for case in &CASES {
            let disk = bare(dir.path(), each / 4);
            report(case, &publish(dir.path(), case, each), &disk);
        }
    }
}

/// The disk alone: one writer, 8 bytes, fdatasync.
fn bare(dir: &Path, each: Duration) -> Found {
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
    took.sort_unstable();
    Found {
        elapsed: start.elapsed(),
        messages: took.len(),
        syncs: took.len() as u64,
        took,
    }
}

fn publish(dir: &Path, case: &Case, each: Duration) -> Found {
    let path = dir.join("queue");
    let options = Queue::options().capacity(CAPACITY).max_message(64);
    let queue = options.durability(case.mode).create(&path).unwrap();
    let over = AtomicBool::new(false);
    let start = Instant::now();
    let mut took = std::thread::scope(|scope| {
        // Somebody has to make room.
        let consuming = scope.spawn(|| {
            let consumer = queue.consumer().unwrap();
            while !over.load(Ordering::Relaxed) {
                if let Ok(delivery) = consumer.recv_timeout(Duration::from_millis(10)) {
                    delivery.ack().unwrap();
                }
            }
        });
        let publishing: Vec<_> = (0..case.publishers)
            .map(|_| scope.spawn(|| publish_for(&queue, case, each)))
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
    drop(queue);
    Queue::unlink(&path).unwrap();
    took.sort_unstable();
    Found {
        elapsed,
        messages: took.len() * case.batch,
        syncs: u64::from_le_bytes(syncs),
        took,
    }
}

fn publish_for(queue: &Queue, case: &Case, each: Duration) -> Vec<Duration> {
    let mut producer = queue.producer().unwrap();
    let start = Instant::now();
    let mut took = Vec::new();
    while start.elapsed() < each {
        let one = Instant::now();
        if case.batch > 1 {
            let batch = (0..case.batch).map(|_| Message::new(&PAYLOAD));
            assert_eq!(
                producer.publish_batch(batch).unwrap().published,
                case.batch as u64
            );
        } else if case.durably {
            producer.publish_durable(&PAYLOAD).unwrap();
        } else {
            producer.publish(&PAYLOAD).unwrap();
        }
        took.push(one.elapsed());
    }
    took
}

fn report(case: &Case, found: &Found, disk: &Found) {
    let how = match (case.durably, case.batch) {
        (true, _) => "publish_durable".to_owned(),
        (false, 1) => "publish".to_owned(),
        (false, batch) => format!("publish_batch of {batch}"),
    };
    let per_sync = if found.syncs > 0 {
        format!("{:.1}", found.messages as f64 / found.syncs as f64)
    } else {
        "-".to_owned()
    };
    println!(
        "{:<44} {:>12.0} {per_sync:>10} {:>10.1?} {:>10.1?} {:>10.1?} {:>6.2}",
        format!("{}, {how}, {} publishers", case.mode, case.publishers),
        found.messages as f64 / found.elapsed.as_secs_f64(),
        found.at(50),
        found.at(99),
        disk.at(50),
        found.at(50).as_secs_f64() / disk.at(50).as_secs_f64(),
    );
}
