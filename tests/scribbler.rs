//! Goal: whatever somebody writes into a queue's file while others work on it, nobody crashes and nobody hangs. What the
//! workers get to see may be odd, or an error that says where.
//! Method: rounds, each with a new queue. Worker processes publish, consume, settle, sweep, join and leave; a thread of the
//! parent writes random words to all places that mean something, most of them words that could stand there; one worker is
//! killed. A worker that makes no step for long ends itself with a signal, and so fails the test. Seeds are printed.
//! `SLIPRING_SCRIBBLE_SECONDS` makes it longer, `SLIPRING_SCRIBBLE_SEED` repeats the words of a run, though not its timing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "a test may fail loudly"
)]

mod common;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{Backing, MINUTE, Stop, directory, number, role, say, spawn_child, watchdog};
use slipring::layout::geometry::{GROUP_SIZE, control, group, segment, slot};
use slipring::layout::{GroupId, OwnerId};
use slipring::{
    ClaimError, Consumer, Delivery, FullPolicy, Geometry, GroupOptions, Inspector, Message,
    Options, Producer, PublishError, Queue, Start,
};

/// Who makes no step for so long hangs. No step takes more than some milliseconds, but for waiting for a CPU.
const STALL: Duration = Duration::from_secs(40);
const ROUND: Duration = Duration::from_millis(400);
const WORKERS: u64 = 3;
const SHORT: Duration = Duration::from_millis(1);
const GROUPS: [&str; 4] = ["default", "limited", "leased", "exclusive"];

/// Numbers that look random, the same for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // splitmix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize]
    }
}

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// An offset of something that means something.
fn place(random: &mut Random, geometry: &Geometry) -> u64 {
    let sequence = random.next();
    let id = GroupId(random.below(geometry.shape().max_groups.into()) as u8);
    let participant = OwnerId(random.below(geometry.shape().max_participants.into()) as u16);
    let number = random.below(geometry.segment_count().max(1));
    match random.below(12) {
        0 => control::TAIL.0 + 128 * random.below(7),
        1 => control::ABORTED.0 + 8 * random.below(3),
        2 => geometry.participant(participant).0 + 8 * random.below(17),
        3 => geometry.group(id).0 + 8 * random.below(GROUP_SIZE / 8),
        4 => {
            let fields = [
                group::STATE,
                group::FLOOR,
                group::OPENED,
                group::HEAD,
                group::READY,
            ];
            geometry.group(id).plus(random.of(&fields)).0
        }
        5 => geometry.claim(id, sequence).0,
        6 => geometry.lease(id, sequence).0,
        7 => geometry.reservation(sequence).0,
        8 if geometry.segment_count() > 0 => {
            let fields = [
                segment::STATE,
                segment::BUMP,
                segment::USED_UNTIL,
                segment::EMPTIED,
            ];
            geometry.segment(number).plus(random.of(&fields)).0
        }
        9 => geometry.slot(sequence).plus(slot::HEADER).0 + 8 * random.below(3),
        10 => geometry.slot(sequence).plus(slot::PAYLOAD).0 + 8 * random.below(2),
        _ => geometry.slot(sequence).plus(slot::WORD).0,
    }
}

/// A word: most of them could stand somewhere.
fn word(random: &mut Random, geometry: &Geometry, tail: u64) -> u64 {
    let lap = geometry
        .lap(tail)
        .wrapping_sub(2)
        .wrapping_add(random.below(5));
    let far = random.of(&[0, 0, 0, 0, 1 << 10, (1 << 40) / 3, (1 << 48) / 3, 1 << 47]);
    let low = random.below(1 << 16);
    // State 6 is none.
    let (owner, state) = (low >> 4 & 7, low % 7);
    match random.below(8) {
        0..=2 => lap.wrapping_add(far) << 16 | owner << 4 | state,
        3 | 4 => lap.wrapping_add(far) << 24 | (low & 0xff) << 16 | owner << 4 | state,
        5 => tail.wrapping_add(random.below(40)).wrapping_sub(20),
        6 => random.of(&[0, 1, 255, u64::MAX, u64::MAX - (1 << 61), 1 << 63]),
        _ => random.next(),
    }
}

/// Scribbles until told to stop, once a message has been received: a queue ruined from the start would try little. How many
/// words.
fn scribble(path: &Path, seed: u64, stop: &AtomicBool) -> u64 {
    let mut random = Random(seed);
    let inspector = Inspector::open(path).unwrap();
    let geometry = inspector.geometry();
    let is_received = || {
        inspector
            .stats()
            .groups
            .iter()
            .any(|group| group.delivered > 0)
    };
    while !stop.load(Ordering::Relaxed) && !is_received() {
        std::thread::sleep(SHORT);
    }
    let file = File::options().read(true).write(true).open(path).unwrap();
    // Seldom: work gets far between two words. Often: hardly anything is left that makes sense.
    let pause = Duration::from_micros(random.of(&[0, 20, 200, 2000]));
    let mut written = 0;
    while !stop.load(Ordering::Relaxed) {
        let offset = place(&mut random, geometry);
        let mut tail = [0; 8];
        file.read_exact_at(&mut tail, control::TAIL.0).unwrap();
        let word = word(&mut random, geometry, u64::from_le_bytes(tail));
        let length = random.of(&[1, 8, 8, 8]);
        file.write_all_at(&word.to_le_bytes()[..length], offset)
            .unwrap();
        written += 1;
        std::thread::sleep(pause);
    }
    written
}

fn options(random: &mut Random) -> Options {
    let policy = random.of(&[
        FullPolicy::Reject,
        FullPolicy::Block,
        FullPolicy::DropOldest,
    ]);
    let small = Queue::options()
        .capacity(random.of(&[2, 8, 64, 1024]))
        .slot_size(64)
        .max_groups(6)
        .max_participants(8)
        .when_full(policy);
    if random.below(3) == 0 {
        small.max_message(32)
    } else {
        small.max_message(3000).arena_size(4 * 4096)
    }
}

fn add_groups(queue: &Queue) {
    let limited = GroupOptions::shared().max_deliveries(2);
    queue
        .create_group("limited", limited.start(Start::Earliest))
        .unwrap();
    let leased = GroupOptions::shared().ack_timeout(Duration::from_millis(2));
    queue.create_group("leased", leased).unwrap();
    if queue.full_policy() != FullPolicy::DropOldest {
        queue
            .create_group("exclusive", GroupOptions::exclusive())
            .unwrap();
    }
}

/// One queue, from its making to its ruin. Words scribbled, and the steps, messages published and messages received by the
/// workers that lived.
fn round(path: &Path, seed: u64) -> [u64; 4] {
    let mut random = Random(seed);
    let queue = options(&mut random).create(path).unwrap();
    add_groups(&queue);
    let mut kids: Vec<_> = (0..=WORKERS)
        .map(|n| {
            let settings = [
                ("SEED", (seed ^ (n << 32)).to_string()),
                ("MS", (ROUND.as_millis()).to_string()),
            ];
            spawn_child("worker", path, &settings)
        })
        .collect();
    let stop = AtomicBool::new(false);
    let mut totals = [0; 4];
    totals[0] = std::thread::scope(|scope| {
        let scribbler = scope.spawn(|| scribble(path, random.next(), &stop));
        let ends = Stop(&stop);
        std::thread::sleep(ROUND / 2);
        kids.pop().unwrap().kill();
        for kid in kids {
            for line in kid.finish() {
                for (total, said) in totals[1..].iter_mut().zip(line.split(' ')) {
                    *total += said.parse::<u64>().unwrap();
                }
            }
        }
        drop(ends);
        scribbler.join().unwrap()
    });
    // Whatever it looks like now, looking at it ends.
    let _odd = (
        queue.stats(),
        Inspector::open(path).map(|inspector| inspector.stats()),
    );
    println!("seed {seed}: {totals:?} words, steps, published, received");
    totals
}

#[test]
fn nobody_crashes_or_hangs_while_somebody_scribbles() {
    let seconds = variable("SLIPRING_SCRIBBLE_SECONDS", 4);
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let mut seed = variable("SLIPRING_SCRIBBLE_SEED", now);
    let _watchdog = watchdog("scribbler", 4 * MINUTE + Duration::from_secs(4 * seconds));
    let dir = directory(Backing::Tmpfs);
    let start = Instant::now();
    let mut totals = [0; 4];
    while start.elapsed() < Duration::from_secs(seconds) {
        let path = dir.path().join(seed.to_string());
        println!("seed {seed}");
        for (total, of_round) in totals.iter_mut().zip(round(&path, seed)) {
            *total += of_round;
        }
        std::fs::remove_file(&path).unwrap();
        seed = seed.wrapping_add(1);
    }
    // It would prove nothing if nobody got to do anything.
    assert!(totals.iter().all(|total| *total > 0), "{totals:?}");
}

static STEPS: AtomicU64 = AtomicU64::new(0);

/// Ends this process with a signal if it makes no step for too long.
fn watch_steps() {
    std::thread::spawn(|| {
        let mut before = u64::MAX;
        loop {
            let now = STEPS.load(Ordering::Relaxed);
            if now == before {
                eprintln!("worker: no step for {STALL:?}, after {now}");
                std::process::abort();
            }
            before = now;
            std::thread::sleep(STALL);
        }
    });
}

/// A worker: attaches, works, leaves, and does it again.
fn work(path: &Path) {
    watch_steps();
    let mut random = Random(number("SEED"));
    let end = Instant::now() + Duration::from_millis(number("MS"));
    let (mut published, mut received) = (0, 0);
    while Instant::now() < end {
        STEPS.fetch_add(1, Ordering::Relaxed);
        // Too many participants, as it seems, or another oddity.
        let Ok(queue) = Queue::open(path) else {
            continue;
        };
        let mut producer = match random.below(8) {
            0 => queue.sole_producer(),
            _ => queue.producer(),
        }
        .ok();
        let name = random.of(&GROUPS);
        let consumer = queue
            .group(name)
            .ok()
            .and_then(|group| group.consumer().ok());
        for _ in 0..random.below(200) {
            STEPS.fetch_add(1, Ordering::Relaxed);
            if let Some(producer) = &mut producer {
                published += u64::from(publish(&mut random, &queue, producer));
            }
            if let Some(consumer) = &consumer {
                received += receive(&mut random, consumer);
            }
            if random.below(64) == 0 {
                look(&mut random, &queue, path);
            }
            if Instant::now() >= end {
                break;
            }
        }
    }
    say(format!(
        "{} {published} {received}",
        STEPS.load(Ordering::Relaxed)
    ));
}

fn publish(random: &mut Random, queue: &Queue, producer: &mut Producer) -> bool {
    let length = random
        .of(&[0, 8, 32, 33, 500, 2900])
        .min(queue.max_message()) as usize;
    let payload = vec![7; length];
    // On other queues these wait for room without a limit.
    let rejects = queue.full_policy() == FullPolicy::Reject;
    match random.below(6) {
        0 => producer.publish_timeout(&payload, SHORT).is_ok(),
        1 if rejects => producer.publish_batch([&payload, &payload]).is_ok(),
        2 if rejects => fill(producer, length).is_ok(),
        _ => producer.try_publish(Message::new(&payload).kind(1)).is_ok(),
    }
}

fn fill(producer: &mut Producer, length: usize) -> Result<u64, PublishError> {
    let mut reservation = producer.reserve(length)?;
    reservation.fill(3);
    reservation.commit()
}

fn receive(random: &mut Random, consumer: &Consumer) -> u64 {
    match random.below(4) {
        0 => settle(random, consumer.recv_timeout(SHORT)),
        1 => match consumer.try_recv_batch(5) {
            Ok(claims) => claims
                .take(3)
                .map(|delivery| settle(random, delivery))
                .sum(),
            Err(_) => 0,
        },
        _ => settle(random, consumer.try_recv()),
    }
}

fn settle(random: &mut Random, received: Result<Delivery<'_>, ClaimError>) -> u64 {
    let Ok(delivery) = received else { return 0 };
    let sum = delivery
        .iter()
        .fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    std::hint::black_box((sum, delivery.dead_letter()));
    let _stale = match random.below(12) {
        0 => delivery.nack(),
        1 => delivery.release(),
        2 => delivery.reject("no good"),
        3 => delivery.ack_up_to(),
        4 => delivery.defer(),
        5 => delivery.extend(SHORT),
        _ => delivery.ack(),
    };
    1
}

fn look(random: &mut Random, queue: &Queue, path: &Path) {
    match random.below(6) {
        0 => drop(queue.stats()),
        1 => {
            let _swept = queue.sweep();
        }
        2 => {
            for group in queue.groups() {
                for letter in group.dead_letters().into_iter().take(8) {
                    let _odd = group.retry(letter.sequence);
                }
            }
        }
        3 => drop(queue.create_group("new", GroupOptions::shared().ephemeral(true))),
        4 => drop(queue.delete_group("new")),
        _ => {
            let Ok(inspector) = Inspector::open(path) else {
                return;
            };
            for sequence in (inspector.oldest()..inspector.tail()).take(16) {
                std::hint::black_box(inspector.peek(sequence));
            }
        }
    }
}

#[test]
#[ignore = "run by the tests above, as a process of its own"]
fn child() {
    if let Some((_, path)) = role() {
        work(&path);
    }
}
