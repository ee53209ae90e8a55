//! Round trips and throughput between two pinned processes, beside the bare cache line measured in the same run.
//!
//! `cargo bench --bench pingpong` prints one line per workload: the median of several interleaved rounds, with the lowest
//! and highest, and the ratio to the bare hop. Latency is half a round trip, both sides busy-spinning; each end checks
//! what it receives. It is a quick check, not the whole harness.

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

use std::hint::{black_box, spin_loop};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use slipring::{Consumer, GroupOptions, Message, Producer, Queue, Timestamps, WaitStrategy};

const ROUNDS: usize = 7;
const TRIPS: u64 = 100_000;
const MESSAGES: u64 = 2_000_000;
const BATCH: u64 = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    BareHop,
    RoundTrip(Kind),
    OneWay(Kind),
    OneWayBatched(Kind),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    SoleExclusive,
    ManyShared,
}

const WORKS: [Work; 7] = [
    Work::BareHop,
    Work::RoundTrip(Kind::SoleExclusive),
    Work::RoundTrip(Kind::ManyShared),
    Work::OneWay(Kind::SoleExclusive),
    Work::OneWay(Kind::ManyShared),
    Work::OneWayBatched(Kind::SoleExclusive),
    Work::OneWayBatched(Kind::ManyShared),
];

fn main() {
    if let Ok(work) = std::env::var("PINGPONG_PEER") {
        let number: usize = work.parse().expect("a number");
        return peer(
            WORKS[number],
            Path::new(&std::env::var("PINGPONG_DIR").expect("a directory")),
        );
    }
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    pin(0);
    println!("machine: {}", machine());
    println!(
        "median of {ROUNDS} interleaved rounds (lowest to highest); hops: ratio to the bare hop just before"
    );
    let mut results = vec![(Vec::new(), Vec::new()); WORKS.len()];
    for _ in 0..ROUNDS {
        for (number, work) in WORKS.iter().enumerate() {
            if !chosen(*work) {
                continue;
            }
            let hop = measure(0, Work::BareHop);
            let time = measure(number, *work);
            results[number].0.push(time);
            results[number].1.push(time / hop);
        }
    }
    for (work, (mut times, mut ratios)) in WORKS.iter().zip(results) {
        if times.is_empty() {
            continue;
        }
        let (time, low, high) = median(&mut times);
        let (ratio, closest, farthest) = median(&mut ratios);
        let rate = match work {
            Work::BareHop | Work::RoundTrip(_) => "one way".to_owned(),
            _ => format!("a message, {:.1} M/s", 1000.0 / time),
        };
        println!(
            "{:32} {time:7.1} ns ({low:.1} to {high:.1}) {rate}; {ratio:.2} hops ({closest:.2} to {farthest:.2})",
            format!("{work:?}")
        );
    }
}

/// `-- NAME` runs only workloads with NAME in their name.
fn chosen(work: Work) -> bool {
    let name = format!("{work:?}");
    let mut filters = std::env::args()
        .skip(1)
        .filter(|given| !given.starts_with('-'));
    filters.next().is_none_or(|filter| name.contains(&filter))
}

/// Median, lowest and highest.
fn median(rounds: &mut [f64]) -> (f64, f64, f64) {
    rounds.sort_by(f64::total_cmp);
    (
        rounds[rounds.len() / 2],
        rounds[0],
        rounds[rounds.len() - 1],
    )
}

fn machine() -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find(|line| line.starts_with("model name"))
        .unwrap_or("unknown CPU");
    format!(
        "{}, Linux {}",
        model.split(':').next_back().unwrap_or("").trim(),
        kernel.trim()
    )
}

fn pin(cpu: usize) {
    // SAFETY: an all-zero cpu_set_t is an empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `cpu` is below the set's size.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: a valid set of the size given. If it fails, the run is merely noisier.
    unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) };
}

struct Peer(Child);

impl Peer {
    fn spawn(number: usize, dir: &Path) -> Self {
        let program = std::env::current_exe().expect("own path");
        let child = Command::new(program)
            .env("PINGPONG_PEER", number.to_string())
            .env("PINGPONG_DIR", dir)
            .spawn()
            .expect("a child");
        Self(child)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        assert!(self.0.wait().expect("a child").success(), "the peer failed");
    }
}

fn options() -> slipring::Options {
    Queue::options()
        .capacity(1024)
        .max_message(96)
        .max_groups(1)
        .max_participants(4)
        .timestamps(Timestamps::Off)
        .default_group(false)
}

fn make(path: &Path, kind: Kind) -> Queue {
    let queue = options().create(path).expect("a queue");
    let group = match kind {
        Kind::SoleExclusive => GroupOptions::exclusive(),
        Kind::ManyShared => GroupOptions::shared(),
    };
    queue.create_group("g", group).expect("a group");
    queue
}

fn producer(queue: &Queue, kind: Kind) -> Producer {
    match kind {
        Kind::SoleExclusive => queue.sole_producer(),
        Kind::ManyShared => queue.producer(),
    }
    .expect("a producer")
    .wait_strategy(WaitStrategy::BusySpin)
}

fn consumer(queue: &Queue) -> Consumer {
    let group = queue.group("g").expect("the group");
    group
        .consumer()
        .expect("a consumer")
        .wait_strategy(WaitStrategy::BusySpin)
}

fn receive(consumer: &Consumer) -> [u64; 8] {
    let delivery = consumer.recv().expect("a message");
    let value = delivery.value().expect("eight words");
    delivery.ack().expect("still ours");
    value
}

fn measure(number: usize, work: Work) -> f64 {
    let dir = tempfile::tempdir_in("/dev/shm").expect("a directory");
    match work {
        Work::BareHop => bare_hop(number, dir.path()),
        Work::RoundTrip(kind) => {
            let there = make(&dir.path().join("there"), kind);
            let back = make(&dir.path().join("back"), kind);
            let (mut producer, consumer) = (producer(&there, kind), consumer(&back));
            let _peer = Peer::spawn(number, dir.path());
            let mut trip = |n| {
                producer.publish(Message::value(&[n; 8])).expect("room");
                assert_eq!(receive(&consumer), [n; 8]);
            };
            (0..TRIPS / 10).for_each(&mut trip);
            let start = Instant::now();
            (0..TRIPS).for_each(&mut trip);
            per(start, 2 * TRIPS)
        }
        Work::OneWay(kind) | Work::OneWayBatched(kind) => {
            let queue = make(&dir.path().join("there"), kind);
            let consumer = consumer(&queue);
            let _peer = Peer::spawn(number, dir.path());
            let mut next = 0;
            let mut start = Instant::now();
            while next < MESSAGES {
                if next == MESSAGES / 10 {
                    start = Instant::now();
                }
                if matches!(work, Work::OneWay(_)) {
                    assert_eq!(receive(&consumer), [next; 8]);
                    next += 1;
                } else {
                    for delivery in consumer.recv_batch(BATCH as usize).expect("messages") {
                        let delivery = delivery.expect("whole");
                        assert_eq!(
                            delivery.value::<[u64; 8]>().expect("eight words"),
                            [next; 8]
                        );
                        delivery.ack().expect("still ours");
                        next += 1;
                        if next == MESSAGES / 10 {
                            start = Instant::now();
                        }
                    }
                }
            }
            per(start, MESSAGES - MESSAGES / 10)
        }
    }
}

fn per(start: Instant, count: u64) -> f64 {
    start.elapsed().as_nanos() as f64 / count as f64
}

fn peer(work: Work, dir: &Path) {
    pin(1);
    let open = |name: &str| Queue::open(dir.join(name)).expect("the queue");
    match work {
        Work::BareHop => bare_peer(dir),
        Work::RoundTrip(kind) => {
            let (there, back) = (open("there"), open("back"));
            let (consumer, mut producer) = (consumer(&there), producer(&back, kind));
            for _ in 0..TRIPS + TRIPS / 10 {
                let value = receive(&consumer);
                producer.publish(Message::value(&value)).expect("room");
            }
        }
        Work::OneWay(kind) => {
            let mut producer = producer(&open("there"), kind);
            for n in 0..MESSAGES {
                producer.publish(Message::value(&[n; 8])).expect("room");
            }
        }
        Work::OneWayBatched(kind) => {
            let mut producer = producer(&open("there"), kind);
            for first in (0..MESSAGES).step_by(BATCH as usize) {
                let values: [[u64; 8]; BATCH as usize] =
                    std::array::from_fn(|at| [first + at as u64; 8]);
                let batch = values.iter().map(Message::value);
                producer.publish_batch(batch).expect("room");
            }
        }
    }
}

/// Two words, two lines apart, in a mapped file.
fn lines(dir: &Path) -> memmap2::MmapRaw {
    let path = dir.join("bare");
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path);
    let file = file.expect("a file");
    file.set_len(4096).expect("a page");
    memmap2::MmapRaw::map_raw(&file).expect("a mapping")
}

fn words(map: &memmap2::MmapRaw) -> [&AtomicU64; 2] {
    [0, 512].map(|offset| {
        // SAFETY: within the page, aligned, and only ever accessed as this atomic.
        unsafe { AtomicU64::from_ptr(map.as_mut_ptr().add(offset).cast()) }
    })
}

fn bare_hop(number: usize, dir: &Path) -> f64 {
    let map = lines(dir);
    let [there, back] = words(&map);
    let _peer = Peer::spawn(number, dir);
    let trip = |n: u64| {
        there.store(n, Ordering::Release);
        while back.load(Ordering::Acquire) != n {
            black_box(());
        }
    };
    (1..=TRIPS / 10).for_each(trip);
    let start = Instant::now();
    (TRIPS / 10 + 1..=TRIPS / 10 + TRIPS).for_each(trip);
    per(start, 2 * TRIPS)
}

fn bare_peer(dir: &Path) {
    let map = lines(dir);
    let [there, back] = words(&map);
    for n in 1..=TRIPS + TRIPS / 10 {
        while there.load(Ordering::Acquire) != n {
            black_box(());
        }
        back.store(n, Ordering::Release);
    }
    spin_loop();
}
