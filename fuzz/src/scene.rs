//! Queues in the middle of things, made once and put back for each input.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use slipring::{
    Durability, FullPolicy, Geometry, GroupOptions, Inspector, Message, Options, Queue, Start,
};
use tempfile::TempDir;

use crate::scribble::Window;

/// A queue's file, and what stood in it when several processes were at work.
pub struct Scene {
    /// Where it is.
    pub path: PathBuf,
    /// Where everything lies in it.
    pub geometry: Geometry,
    /// What it does when it is full.
    pub policy: FullPolicy,
    /// To write to it.
    pub window: Window,
    bytes: Vec<u8>,
    dead_letters: Option<(Window, Vec<u8>)>,
    _directory: TempDir,
}

// SAFETY: the fuzzer runs one input at a time, on one thread.
unsafe impl Send for Scene {}
// SAFETY: as above.
unsafe impl Sync for Scene {}

fn options(which: usize) -> (Options, FullPolicy) {
    let small = Queue::options()
        .slot_size(64)
        .max_groups(4)
        .max_participants(4);
    let arena = |options: Options| options.max_message(200).arena_size(4 * 4096);
    let (options, policy) = match which {
        0 => (arena(small.capacity(4)), FullPolicy::Reject),
        1 => (arena(small.capacity(8)), FullPolicy::DropOldest),
        2 => (
            small
                .capacity(2)
                .max_message(32)
                .first_sequence((1 << 41) - 4),
            FullPolicy::Block,
        ),
        3 => (
            arena(small.capacity(4).default_group(false)),
            FullPolicy::Reject,
        ),
        4 => (
            arena(small.capacity(4).durability(Durability::Sync)),
            FullPolicy::Reject,
        ),
        5 => (
            small
                .capacity(8)
                .max_message(32)
                .first_sequence((1 << 41) - 8)
                .durability(Durability::Interval(Duration::from_secs(60))),
            FullPolicy::Reject,
        ),
        _ => (
            arena(small.capacity(4).first_sequence(1 << 41)),
            FullPolicy::Block,
        ),
    };
    (options.when_full(policy), policy)
}

impl Scene {
    /// How many there are to work on.
    pub const COUNT: usize = 4;
    /// How many more there are to open after a reboot, the durable ones on a disk.
    pub const REBOOTED: usize = 3;

    /// One of them, or, behind them, one to open after a reboot.
    pub fn get(which: usize) -> &'static Self {
        const ALL: usize = Scene::COUNT + Scene::REBOOTED;
        static SCENES: [OnceLock<Scene>; ALL] = [const { OnceLock::new() }; ALL];
        SCENES[which].get_or_init(|| Self::make(which))
    }

    fn make(which: usize) -> Self {
        let durable = (Self::COUNT..Self::COUNT + 2).contains(&which);
        let base = if !durable && std::fs::exists("/dev/shm").unwrap() {
            "/dev/shm".into()
        } else if durable {
            // Durability is refused in memory, where temporary files may be.
            PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target"))
        } else {
            std::env::temp_dir()
        };
        std::fs::create_dir_all(&base).unwrap();
        let directory = tempfile::tempdir_in(base).unwrap();
        let path = directory.path().join("queue");
        let (options, policy) = options(which);
        let queue = options.create(&path).unwrap();
        let limited = GroupOptions::shared()
            .max_deliveries(2)
            .dead_letters("dead")
            .start(Start::Earliest);
        let leased = GroupOptions::shared()
            .ack_timeout(Duration::from_millis(1))
            .max_deliveries(3);
        let dead = directory.path().join("dead");
        if which < 2 || which == 4 {
            queue.create_group("limited", limited).unwrap();
            queue.create_group("leased", leased).unwrap();
        }
        if policy != FullPolicy::DropOldest && which != 3 {
            queue
                .create_group("exclusive", GroupOptions::exclusive())
                .unwrap();
        }
        // What is held and half done now is what the dead left to those who attach later.
        let mut producer = queue.producer().unwrap();
        let long = [7; 150];
        let payloads: [&[u8]; 3] = [
            b"short",
            &long[..queue.max_message().min(150) as usize],
            b"",
        ];
        for payload in payloads.iter().take(queue.capacity() as usize) {
            producer.try_publish(Message::new(payload).kind(3)).unwrap();
        }
        let another = Queue::open(&path).unwrap();
        let consumers: Vec<_> = another
            .groups()
            .iter()
            .map(|group| group.consumer().unwrap())
            .collect();
        let held: Vec<_> = consumers
            .iter()
            .map(|consumer| consumer.try_recv())
            .collect();
        let loan = (queue.max_message() > 100).then(|| producer.loan(100).unwrap());
        let window = Window::open(&path);
        let bytes = window.bytes();
        drop((loan, held));
        let dead_letters = std::fs::exists(&dead).unwrap().then(|| {
            let window = Window::open(&dead);
            let bytes = window.bytes();
            (window, bytes)
        });
        let geometry = *Inspector::open(&path).unwrap().geometry();
        Self {
            path,
            geometry,
            policy,
            window,
            bytes,
            dead_letters,
            _directory: directory,
        }
    }

    /// As it was made. Nobody is attached.
    pub fn restore(&self) {
        self.window.restore(&self.bytes);
        if let Some((window, bytes)) = &self.dead_letters {
            window.restore(bytes);
        }
    }
}
