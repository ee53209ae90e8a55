//! How long a kill -9 holds up those who live, spinning and parked.
//!
//! `cargo bench --bench recovery --features crash-points` kills a thousand processes, each in the middle of something,
//! and prints for each case how long the survivor waited from the victim's last instruction until it had its message, or
//! its room: p50, p99 and the longest. `--kills N` kills as many, `--test` a few; `--only WORD` takes the cases with that
//! word in their name. The victim notes the time just before it kills itself, at a random moment of the survivor's wait.
//! The bare limits stand beside: what the kernel takes to bury a process, and to let go of a dead one's lock.

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

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use slipring::mem::fault;
use slipring::{
    Consumer, GroupOptions, Inspector, Peeked, PublishError, Queue, Timestamps, WaitStrategy,
};

const CAPACITY: u64 = 1024;
/// An access in the middle of a sweep: it looks at every slot's reservation first.
const MID_SWEEP: u64 = CAPACITY / 2;
/// When a victim dies, in us after the survivor has begun to wait: over two of the library's own periods.
const DELAY_US: (u64, u64) = (10_000, 110_000);
const SEED: u64 = 1;
const KILLS: usize = 1000;
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    /// No queue: from the signal until the parent knows.
    Burial,
    /// No queue: from the death until its lock can be taken.
    Lock,
    /// Between reserving a slot and committing it; an exclusive group's consumer waits for the message behind.
    ProducerAheadOfConsumer,
    /// The same; the ring is full behind the hole, and a producer waits for room.
    ProducerAheadOfProducer,
    /// With a claim in a shared group; another consumer waits.
    Consumer,
    /// The same while messages stream; the ring soon is full behind the claim.
    ConsumerAtWork,
    /// The active consumer of an exclusive group, with a message; a stand-by waits.
    Active,
    /// In the middle of sweeping after a consumer; another consumer waits for that one's message.
    Sweeper,
}

const CASES: [(Case, &str); 6] = [
    (
        Case::ProducerAheadOfConsumer,
        "producer in its window: consumer behind",
    ),
    (
        Case::ProducerAheadOfProducer,
        "producer in its window: full ring behind",
    ),
    (Case::Consumer, "consumer with a claim: redelivery"),
    (
        Case::ConsumerAtWork,
        "consumer with a claim, at work: redelivery",
    ),
    (Case::Active, "active consumer: hand-over to a stand-by"),
    (Case::Sweeper, "sweeper, half done: redelivery"),
];

fn main() {
    if let Ok(role) = std::env::var("RECOVERY_VICTIM") {
        return victim(&role);
    }
    let arguments: Vec<String> = std::env::args().collect();
    let after = |name: &str| arguments.iter().position(|argument| argument == name);
    let kills = match (after("--kills"), after("--test")) {
        (Some(at), _) => arguments[at + 1].parse().expect("a number"),
        (None, Some(_)) => 2 * CASES.len(),
        (None, None) => KILLS,
    };
    let only = after("--only").map_or("", |at| &arguments[at + 1]);
    let each = kills.div_ceil(2 * CASES.len());
    let mut random = SEED;
    println!("machine: {}", machine());
    println!("commit: {}", commit());
    println!("{each} kills for each line; seed {SEED}; ms");
    println!(
        "{:44} {:8} {:>9} {:>9} {:>9}",
        "killed: survivor", "waits", "p50", "p99", "longest"
    );
    let bare = [
        (Case::Burial, "bare: kill to waitpid"),
        (Case::Lock, "bare: death to its lock"),
    ];
    for (case, name) in bare {
        report(name, "", case, WaitStrategy::BusySpin, each, &mut random);
    }
    for (case, name) in CASES.into_iter().filter(|(_, name)| name.contains(only)) {
        report(
            name,
            "spinning",
            case,
            WaitStrategy::BusySpin,
            each,
            &mut random,
        );
        report(name, "parked", case, WaitStrategy::Park, each, &mut random);
    }
}

fn report(name: &str, how: &str, case: Case, wait: WaitStrategy, each: usize, random: &mut u64) {
    let mut stalls: Vec<f64> = (0..each).map(|_| survive(case, wait, random)).collect();
    stalls.sort_by(f64::total_cmp);
    let at = |part: f64| stalls[((stalls.len() as f64 * part).ceil() as usize).max(1) - 1];
    let (half, most, all) = (at(0.5), at(0.99), at(1.0));
    println!("{name:44} {how:8} {half:9.3} {most:9.3} {all:9.3}");
}

fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model = cpus.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split(':').next_back());
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    format!(
        "{}, {count} CPUs, Linux {}",
        model.unwrap_or("unknown CPU").trim(),
        read("/proc/sys/kernel/osrelease").trim()
    )
}

fn commit() -> String {
    let told = Command::new("git")
        .args(["describe", "--always", "--dirty"])
        .output();
    let told = told.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    told.ok()
        .filter(|told| !told.is_empty())
        .unwrap_or("unknown".into())
}

/// Nanoseconds of a clock that both processes share.
fn now() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    assert_eq!(
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) },
        0
    );
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// A page that survivor and victims share.
struct Board(memmap2::MmapRaw);

/// What a victim says on it.
const READY: u64 = 1;
const HOLDS: u64 = 2;

impl Board {
    fn open(dir: &Path) -> Self {
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(dir.join("board"))
            .expect("a file");
        file.set_len(4096).expect("a page");
        Self(memmap2::MmapRaw::map_raw(&file).expect("a mapping"))
    }

    fn word(&self, number: usize) -> &AtomicU64 {
        assert!(number < 8);
        // SAFETY: within the page, aligned, and only ever accessed as this atomic.
        unsafe { AtomicU64::from_ptr(self.0.as_mut_ptr().add(64 * number).cast()) }
    }

    /// How far the victim is.
    fn stage(&self) -> &AtomicU64 {
        self.word(0)
    }

    /// When it died.
    fn died(&self) -> &AtomicU64 {
        self.word(1)
    }

    /// What it waits for before it begins.
    fn go(&self) -> &AtomicU64 {
        self.word(2)
    }

    fn wait_for(word: &AtomicU64, value: u64) {
        let began = Instant::now();
        while word.load(Ordering::Acquire) < value {
            assert!(began.elapsed() < PATIENCE, "nobody got to stage {value}");
            std::thread::sleep(Duration::from_micros(50));
        }
    }

    fn stall(&self) -> f64 {
        let end = now();
        let died = self.died().load(Ordering::Acquire);
        assert!(died != 0, "the survivor did not wait for the death");
        end.saturating_sub(died) as f64 / 1e6
    }
}

struct Victim(Child);

impl Victim {
    fn spawn(role: Case, dir: &Path, random: &mut u64) -> Self {
        *random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let delay = DELAY_US.0 + (*random >> 33) % (DELAY_US.1 - DELAY_US.0);
        let child = Command::new(std::env::current_exe().expect("own path"))
            .env("RECOVERY_VICTIM", format!("{role:?}"))
            .env("RECOVERY_DIR", dir)
            .env("RECOVERY_DELAY", delay.to_string())
            .spawn();
        Self(child.expect("a child"))
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.0.kill().expect("a signal");
        self.0.wait().expect("a child");
    }
}

fn place() -> tempfile::TempDir {
    let shm = Path::new("/dev/shm");
    let base = if shm.is_dir() {
        shm.to_owned()
    } else {
        std::env::temp_dir()
    };
    tempfile::tempdir_in(base).expect("a directory")
}

fn make(dir: &Path, exclusive: bool) -> Queue {
    let options = Queue::options()
        .capacity(CAPACITY)
        .max_message(64)
        .max_groups(1)
        .max_participants(8)
        .timestamps(Timestamps::Off)
        .default_group(false);
    let queue = options.create(dir.join("queue")).expect("a queue");
    let kind = if exclusive {
        GroupOptions::exclusive()
    } else {
        GroupOptions::shared()
    };
    queue.create_group("g", kind).expect("a group");
    queue
}

fn join(queue: &Queue, wait: WaitStrategy) -> Consumer {
    let group = queue.group("g").expect("the group");
    group.consumer().expect("a consumer").wait_strategy(wait)
}

/// One death; how long the survivor waited after it, in ms.
fn survive(case: Case, wait: WaitStrategy, random: &mut u64) -> f64 {
    let dir = place();
    let board = Board::open(dir.path());
    match case {
        Case::Burial => {
            let mut victim = Victim::spawn(case, dir.path(), random);
            Board::wait_for(board.stage(), READY);
            let began = Instant::now();
            victim.0.kill().expect("a signal");
            victim.0.wait().expect("a child");
            began.elapsed().as_secs_f64() * 1e3
        }
        Case::Lock => {
            let _victim = Victim::spawn(case, dir.path(), random);
            Board::wait_for(board.stage(), HOLDS);
            let file = lock_file(dir.path());
            assert!(!try_lock(&file), "the victim holds it");
            while !try_lock(&file) {}
            board.stall()
        }
        Case::ProducerAheadOfConsumer => {
            let queue = make(dir.path(), true);
            let consumer = join(&queue, wait);
            let mut producer = queue.producer().expect("a producer");
            let _victim = Victim::spawn(case, dir.path(), random);
            Board::wait_for(board.stage(), HOLDS);
            producer.publish("behind").expect("room");
            let delivery = consumer.recv().expect("a message");
            assert_eq!(&*delivery, b"behind");
            board.stall()
        }
        Case::ProducerAheadOfProducer => {
            let queue = make(dir.path(), false);
            let consumer = join(&queue, wait);
            let mut producer = queue.producer().expect("a producer").wait_strategy(wait);
            let _victim = Victim::spawn(case, dir.path(), random);
            Board::wait_for(board.stage(), HOLDS);
            while producer.try_publish("behind").is_ok() {}
            while let Ok(delivery) = consumer.try_recv() {
                delivery.ack().expect("ours");
            }
            producer.publish("behind").expect("room");
            board.stall()
        }
        Case::Consumer | Case::Active => {
            let queue = make(dir.path(), case == Case::Active);
            queue.producer().expect("one").publish("m").expect("room");
            let _victim = Victim::spawn(case, dir.path(), random);
            Board::wait_for(board.stage(), HOLDS);
            redelivered(&join(&queue, wait), &board)
        }
        Case::ConsumerAtWork => {
            let queue = make(dir.path(), false);
            let consumer = join(&queue, wait);
            let victim = Victim::spawn(case, dir.path(), random);
            Board::wait_for(board.stage(), HOLDS);
            let stall = stream(&queue, &consumer, wait, &board);
            drop(victim);
            stall
        }
        Case::Sweeper => {
            let queue = make(dir.path(), false);
            queue.producer().expect("one").publish("m").expect("room");
            let consumer = Victim::spawn(Case::Consumer, dir.path(), random);
            Board::wait_for(board.stage(), HOLDS);
            board.stage().store(0, Ordering::Release);
            let _sweeper = Victim::spawn(case, dir.path(), random);
            Board::wait_for(board.stage(), READY);
            drop(consumer);
            board.died().store(0, Ordering::Release);
            board.go().store(1, Ordering::Release);
            Board::wait_for(board.stage(), HOLDS);
            assert_eq!(queue.stats().participants.len(), 3, "nobody is swept yet");
            redelivered(&join(&queue, wait), &board)
        }
    }
}

/// Messages one after the other, until the one comes that the victim died with.
fn stream(queue: &Queue, consumer: &Consumer, wait: WaitStrategy, board: &Board) -> f64 {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let producer = queue.producer().expect("a producer");
            let mut producer = producer.wait_strategy(wait);
            while !over.load(Ordering::Relaxed) {
                let sent = producer.publish_timeout("m", PATIENCE / 20);
                assert!(
                    matches!(sent, Ok(_) | Err(PublishError::TimedOut)),
                    "{sent:?}"
                );
            }
        });
        loop {
            let delivery = consumer.recv().expect("a message");
            let again = delivery.delivery_count() > 1;
            let stall = if again { board.stall() } else { 0.0 };
            delivery.ack().expect("ours");
            if again {
                over.store(true, Ordering::Relaxed);
                return stall;
            }
        }
    })
}

fn redelivered(consumer: &Consumer, board: &Board) -> f64 {
    let delivery = consumer.recv().expect("a message");
    let stall = board.stall();
    assert_eq!((&*delivery, delivery.delivery_count()), (&b"m"[..], 2));
    stall
}

/// In a child: after how long it is to die.
fn delay() -> Duration {
    let delay = std::env::var("RECOVERY_DELAY").expect("a delay");
    Duration::from_micros(delay.parse().expect("a number"))
}

/// Says that it holds what it is to die with, waits, and dies.
fn die(board: &Board) {
    board.stage().store(HOLDS, Ordering::Release);
    std::thread::sleep(delay());
    die_now(board);
}

fn die_now(board: &Board) {
    board.died().store(now(), Ordering::Release);
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
}

fn victim(role: &str) {
    let dir = PathBuf::from(std::env::var("RECOVERY_DIR").expect("a directory"));
    let board = Board::open(&dir);
    let path = dir.join("queue");
    if role == format!("{:?}", Case::Burial) {
        board.stage().store(READY, Ordering::Release);
        std::thread::sleep(PATIENCE);
    } else if role == format!("{:?}", Case::Lock) {
        let file = lock_file(&dir);
        assert!(try_lock(&file));
        die(&board);
    } else if role == format!("{:?}", Case::Consumer) || role == format!("{:?}", Case::Active) {
        let consumer = join(&Queue::open(path).expect("the queue"), WaitStrategy::Park);
        let _held = consumer.recv().expect("a message");
        die(&board);
    } else if role == format!("{:?}", Case::ConsumerAtWork) {
        let consumer = join(&Queue::open(path).expect("the queue"), WaitStrategy::Park);
        board.stage().store(HOLDS, Ordering::Release);
        let began = Instant::now();
        for delivery in &consumer {
            let delivery = delivery.expect("a message");
            if began.elapsed() > delay() {
                die_now(&board);
            }
            delivery.ack().expect("ours");
        }
    } else if role == format!("{:?}", Case::Sweeper) {
        let queue = Queue::open(path).expect("the queue");
        board.stage().store(READY, Ordering::Release);
        Board::wait_for(board.go(), 1);
        fault::install(move |number| {
            if number == MID_SWEEP {
                die(&board);
            }
        });
        queue.sweep();
    } else {
        in_the_window(&path, board);
    }
    unreachable!("{role} was to die");
}

/// Dies once the slot is taken and the message is not there yet.
fn in_the_window(path: &Path, board: Board) {
    let queue = Queue::open(path).expect("the queue");
    let mut producer = queue.producer().expect("a producer");
    let inspector = Inspector::open(path).expect("the queue");
    let sequence = inspector.tail();
    fault::install(move |_| {
        if inspector.tail() > sequence && inspector.peek(sequence) == Peeked::NotYet {
            die(&board);
        }
    });
    producer.publish("lost").expect("room");
}

fn lock_file(dir: &Path) -> std::fs::File {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.open(dir.join("lock")).expect("a file")
}

/// Takes the lock on one byte of the file, as the library does.
fn try_lock(file: &std::fs::File) -> bool {
    let lock = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 1,
        l_pid: 0,
    };
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &lock) == 0 }
}
