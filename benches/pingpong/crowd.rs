//! As many producers as consumers, each a process, more than there are cores: does the whole still get on, and does each
//! consumer get its share?

use std::path::Path;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use slipring::{GroupOptions, Message, Queue};

use crate::options;

const WARM_UP: Duration = Duration::from_millis(150);
const WINDOW: Duration = Duration::from_millis(450);
const LINE: usize = 128;

/// What each consumer has received, a line for each.
struct Board(memmap2::MmapRaw);

impl Board {
    fn open(dir: &Path) -> Self {
        let mut options = std::fs::OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false);
        let file = file.open(dir.join("board")).expect("a file");
        file.set_len(4096).expect("a page");
        Self(memmap2::MmapRaw::map_raw(&file).expect("a mapping"))
    }

    fn count(&self, consumer: u64) -> &AtomicU64 {
        // SAFETY: within the page, aligned, and only ever accessed as this atomic.
        unsafe { AtomicU64::from_ptr(self.0.as_mut_ptr().add(consumer as usize * LINE).cast()) }
    }

    fn counts(&self, consumers: u64) -> Vec<u64> {
        let count = |consumer| self.count(consumer).load(Ordering::Relaxed);
        (0..consumers).map(count).collect()
    }
}

/// Killed in the end, as anybody may be.
struct Member(Child);

impl Drop for Member {
    fn drop(&mut self) {
        self.0.kill().expect("a child");
        self.0.wait().expect("a child");
    }
}

/// Nanoseconds a message, and what the slowest consumer got of what the fastest did.
pub fn run(number: usize, pairs: u64) -> (f64, f64) {
    let dir = tempfile::tempdir_in("/dev/shm").expect("a directory");
    let queue = options().max_participants(64);
    let queue = queue.create(dir.path().join("there")).expect("a queue");
    queue
        .create_group("g", GroupOptions::shared())
        .expect("a group");
    let board = Board::open(dir.path());
    let member = |role: String| {
        let program = std::env::current_exe().expect("own path");
        let child = Command::new(program)
            .env("PINGPONG_PEER", number.to_string())
            .env("PINGPONG_DIR", dir.path())
            .env("PINGPONG_ROLE", role)
            .spawn();
        Member(child.expect("a child"))
    };
    let roles = (0..pairs).flat_map(|n| [n.to_string(), "producer".to_owned()]);
    let _members: Vec<Member> = roles.map(member).collect();
    while board.counts(pairs).contains(&0) {
        sleep(Duration::from_millis(1));
    }
    sleep(WARM_UP);
    let (before, start) = (board.counts(pairs), Instant::now());
    sleep(WINDOW);
    let (after, time) = (board.counts(pairs), start.elapsed());
    let received = after
        .iter()
        .zip(before)
        .map(|(after, before)| after - before);
    let received: Vec<u64> = received.collect();
    let (slowest, fastest) = (received.iter().min(), received.iter().max());
    let fairness = *slowest.unwrap() as f64 / *fastest.unwrap() as f64;
    let total: u64 = received.iter().sum();
    (time.as_nanos() as f64 / total as f64, fairness)
}

/// A consumer of that number, or a producer; until it is killed.
pub fn peer(dir: &Path) {
    let queue = Queue::open(dir.join("there")).expect("the queue");
    let role = std::env::var("PINGPONG_ROLE").expect("a role");
    let Ok(consumer) = role.parse() else {
        let mut producer = queue.producer().expect("a producer");
        for n in 0u64.. {
            producer.publish(Message::value(&[n; 8])).expect("room");
        }
        return;
    };
    let board = Board::open(dir);
    let count = board.count(consumer);
    let group = queue.group("g").expect("the group");
    let consumer = group.consumer().expect("a consumer");
    for delivery in &consumer {
        let delivery = delivery.expect("whole");
        let value: [u64; 8] = delivery.value().expect("eight words");
        assert_eq!(value, [value[0]; 8]);
        delivery.ack().expect("still ours");
        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}
