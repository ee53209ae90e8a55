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

mod bare;
mod crowd;

use std::path::Path;
use std::process::{Child, Command};
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
    /// So many producers and as many consumers on two cores; the ratio is to one of each.
    Crowd(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A ring with nothing but a word and a value in each slot.
    BareRing,
    SoleExclusive,
    ManyShared,
}

const WORKS: [Work; 14] = [
    Work::BareHop,
    Work::RoundTrip(Kind::BareRing),
    Work::RoundTrip(Kind::SoleExclusive),
    Work::RoundTrip(Kind::ManyShared),
    Work::OneWay(Kind::BareRing),
    Work::OneWay(Kind::SoleExclusive),
    Work::OneWay(Kind::ManyShared),
    Work::OneWayBatched(Kind::BareRing),
    Work::OneWayBatched(Kind::SoleExclusive),
    Work::OneWayBatched(Kind::ManyShared),
    Work::Crowd(2),
    Work::Crowd(4),
    Work::Crowd(8),
    Work::Crowd(16),
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
    pin(&[0]);
    println!("machine: {}", machine());
    println!(
        "median of {ROUNDS} interleaved rounds (lowest to highest); hops: ratio to the bare hop just before"
    );
    let mut results = vec![(Vec::new(), Vec::new()); WORKS.len()];
    let mut fairnesses = vec![Vec::new(); WORKS.len()];
    for _ in 0..ROUNDS {
        for (number, work) in WORKS.iter().enumerate() {
            if !chosen(*work) {
                continue;
            }
            let (time, against) = match *work {
                Work::Crowd(pairs) => {
                    let (alone, _) = crowd::run(number, 1);
                    let (time, fairness) = crowd::run(number, pairs);
                    fairnesses[number].push(fairness);
                    (time, alone)
                }
                work => {
                    let hop = measure(0, Work::BareHop);
                    (measure(number, work), hop)
                }
            };
            results[number].0.push(time);
            results[number].1.push(time / against);
        }
    }
    for (number, (mut times, mut ratios)) in results.into_iter().enumerate() {
        if !times.is_empty() {
            let fairness = median(&mut fairnesses[number]);
            report(
                WORKS[number],
                median(&mut times),
                median(&mut ratios),
                fairness,
            );
        }
    }
}

fn report(work: Work, time: Spread, ratio: Spread, fairness: Spread) {
    let rate = 1000.0 / time.median;
    let measured = match work {
        Work::BareHop | Work::RoundTrip(_) => format!("one way; {ratio:.2} hops"),
        Work::OneWay(_) | Work::OneWayBatched(_) => {
            format!("a message, {rate:.1} M/s; {ratio:.2} hops")
        }
        Work::Crowd(_) => {
            format!("a message, {rate:.1} M/s; {ratio:.2} of 1:1's time; fairness {fairness:.2}")
        }
    };
    println!("{:32} {time:6.1} ns {measured}", format!("{work:?}"));
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
#[derive(Clone, Copy)]
struct Spread {
    median: f64,
    low: f64,
    high: f64,
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = f.precision().unwrap_or(1);
        let Self { median, low, high } = self;
        let width = f.width().unwrap_or(0);
        write!(
            f,
            "{median:width$.digits$} ({low:.digits$} to {high:.digits$})"
        )
    }
}

fn median(rounds: &mut [f64]) -> Spread {
    rounds.sort_by(f64::total_cmp);
    let at = |at: usize| rounds.get(at).copied().unwrap_or(f64::NAN);
    Spread {
        median: at(rounds.len() / 2),
        low: at(0),
        high: at(rounds.len().saturating_sub(1)),
    }
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

fn pin(cpus: &[usize]) {
    // SAFETY: an all-zero cpu_set_t is an empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for &cpu in cpus {
        // SAFETY: `cpu` is below the set's size.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
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
        Kind::ManyShared | Kind::BareRing => GroupOptions::shared(),
    };
    queue.create_group("g", group).expect("a group");
    queue
}

fn producer(queue: &Queue, kind: Kind) -> Producer {
    match kind {
        Kind::SoleExclusive => queue.sole_producer(),
        Kind::ManyShared | Kind::BareRing => queue.producer(),
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
        Work::BareHop => bare::hop(number, dir.path()),
        Work::RoundTrip(Kind::BareRing) => bare::round_trip(number, dir.path()),
        Work::OneWay(Kind::BareRing) => bare::one_way(number, dir.path(), 1),
        Work::OneWayBatched(Kind::BareRing) => bare::one_way(number, dir.path(), BATCH),
        Work::Crowd(_) => unreachable!("measured by itself"),
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
    pin(if matches!(work, Work::Crowd(_)) {
        &[0, 1]
    } else {
        &[1]
    });
    let open = |name: &str| Queue::open(dir.join(name)).expect("the queue");
    match work {
        Work::BareHop => bare::hop_peer(dir),
        Work::RoundTrip(Kind::BareRing) => bare::round_trip_peer(dir),
        Work::OneWay(Kind::BareRing) => bare::one_way_peer(dir, 1),
        Work::OneWayBatched(Kind::BareRing) => bare::one_way_peer(dir, BATCH),
        Work::Crowd(_) => crowd::peer(dir),
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
