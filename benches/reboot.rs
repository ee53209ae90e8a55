//! How long the first opener of a durable queue takes after a reboot: behind a power loss, where it looks at every message,
//! and behind a clean end, where it does not.
//!
//! `cargo bench --bench reboot` makes queues of growing size in the directory `--dir` (the temporary one by default), full
//! of messages that nobody has taken, changes the boot their header speaks of, and opens them; the median of `--rounds`
//! rounds (5), in turn, with the lowest and the highest. Beside it: reading as many bytes of a file that is in memory,
//! as these are, and two syncs of a file with a changed page, which is the least an opener does. `--test`: small ones, once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a benchmark may fail loudly"
)]

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use slipring::layout::FileHeader;
use slipring::layout::geometry::control;
use slipring::layout::header::FILE_HEADER_BYTES;
use slipring::{Durability, Queue};
use zerocopy::IntoBytes;

const PAYLOAD: [u8; 64] = [7; 64];
/// Hourly, as far as this is concerned.
const RARELY: Durability = Durability::Interval(Duration::from_secs(60));

fn make(path: &Path, capacity: u64) {
    let queue = Queue::options()
        .capacity(capacity)
        .max_message(64)
        .durability(RARELY)
        .create(path)
        .expect("a queue on a disk");
    let mut producer = queue.producer().expect("a producer");
    for _ in 0..capacity / 32 {
        let batch = [&PAYLOAD[..]; 32];
        producer.publish_batch(batch).expect("room");
    }
}

/// As if the file had been made in another boot, whose last process left it in order or did not.
fn reboot(path: &Path, clean: bool) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut bytes = [0; FILE_HEADER_BYTES];
    file.read_exact_at(&mut bytes, 0).unwrap();
    let length = file.metadata().unwrap().len();
    let mut verified = FileHeader::verify(&bytes, length).unwrap();
    verified.boot_id[0] ^= 1;
    file.write_all_at(FileHeader::new(&verified).as_bytes(), 0)
        .unwrap();
    file.write_all_at(&[0; 8], control::BOOT_CHECK.0).unwrap();
    if !clean {
        file.write_all_at(&[0; 8], control::CLEAN.0).unwrap();
    }
    file.sync_all().unwrap();
}

fn open(path: &Path, capacity: u64, clean: bool) -> f64 {
    make(path, capacity);
    reboot(path, clean);
    let began = Instant::now();
    let queue = Queue::open(path).expect("a queue of another boot");
    let took = began.elapsed();
    let found = queue.recovery().expect("a recovery");
    assert_eq!(found.clean, clean);
    assert_eq!(found.records, if clean { 0 } else { capacity });
    drop(queue);
    std::fs::remove_file(path).unwrap();
    ms(took)
}

/// Reading as many bytes, and syncing a changed page twice.
fn limits(path: &Path, capacity: u64) -> (f64, f64) {
    make(path, capacity);
    let began = Instant::now();
    let mut file = File::options().read(true).write(true).open(path).unwrap();
    let mut buffer = vec![0; 1 << 20];
    while file.read(&mut buffer).unwrap() > 0 {}
    let read = ms(began.elapsed());
    let began = Instant::now();
    for byte in 0..2 {
        file.write_all_at(&[byte], 4095).unwrap();
        file.sync_data().unwrap();
    }
    let synced = ms(began.elapsed());
    drop(file);
    std::fs::remove_file(path).unwrap();
    (read, synced)
}

fn ms(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}

fn median(mut of: Vec<f64>) -> String {
    of.sort_by(f64::total_cmp);
    format!(
        "{:9.2} ({:.2} to {:.2})",
        of[of.len() / 2],
        of[0],
        of[of.len() - 1]
    )
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let after = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)
    };
    let test = arguments.iter().any(|argument| argument == "--test");
    let rounds = after("--rounds").map_or(5, |text| text.parse().expect("a number"));
    let rounds = if test { 1 } else { rounds };
    let base = after("--dir").map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = tempfile::tempdir_in(base).expect("a directory");
    let path = directory.path().join("queue");
    let sizes: &[u64] = if test {
        &[1 << 10]
    } else {
        &[1 << 10, 1 << 16, 1 << 20]
    };
    println!("ms to open after a reboot, 64-byte messages; median of {rounds} (lowest to highest)");
    for &capacity in sizes {
        let [mut clean, mut lost, mut read, mut synced] = [const { Vec::new() }; 4];
        for _ in 0..rounds {
            clean.push(open(&path, capacity, true));
            lost.push(open(&path, capacity, false));
            let (of_reading, of_syncing) = limits(&path, capacity);
            read.push(of_reading);
            synced.push(of_syncing);
        }
        println!("{capacity:8} messages");
        println!("  behind a clean end        {}", median(clean));
        println!("  behind a power loss       {}", median(lost));
        println!("  reading the file          {}", median(read));
        println!("  syncing a page, twice     {}", median(synced));
    }
}
