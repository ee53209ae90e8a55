//! Goal: whoever dies burying a message, deciding on a parked one, or ending a lease, at whatever access, and whoever dies
//! sweeping after it: no message is lost or forgotten, none comes again that was acked, and both queues go on.
//! Method: as `crash.rs`, with two files, the queue and its dead-letter queue. Every message ends acked, parked, or in
//! the dead-letter queue; one that died twice over may be there twice.

#![cfg(feature = "crash-points")]
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
mod enumerate;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use common::{Backing, MINUTE, directory, watchdog};
use enumerate::{die_at, dies};
use slipring::mem::fault;
use slipring::{Cause, Consumer, Delivery, GroupOptions, Queue};
use tempfile::TempDir;

const CAPACITY: u64 = 4;
const MESSAGES: [&str; 3] = ["a", "b", "c"];
const LEASE: Duration = Duration::from_millis(1);

struct Operation {
    name: &'static str,
    /// Accesses, at least.
    points: u64,
    options: fn() -> GroupOptions,
    /// Before anybody dies, with a consumer that dies after it.
    prepare: fn(&Consumer),
    run: fn(&Life<'_>),
}

/// The victim's.
struct Life<'l> {
    yard: &'l Yard,
    queue: Queue,
    point: u64,
}

impl Life<'_> {
    fn consumer(&self) -> Consumer {
        self.queue.group("jobs").unwrap().consumer().unwrap()
    }

    fn numbered(&self, run: impl FnOnce()) {
        die_at(self.point);
        run();
        fault::remove();
    }

    fn ack(&self, delivery: Delivery<'_>) {
        let text = String::from_utf8_lossy(&delivery).into_owned();
        self.yard.acked.borrow_mut().push(format!("perhaps {text}"));
        delivery.ack().unwrap();
        self.yard.acked.borrow_mut().push(text);
    }
}

fn parking() -> GroupOptions {
    GroupOptions::shared().max_deliveries(1)
}

fn burying() -> GroupOptions {
    parking().dead_letters("dead")
}

fn parking_in_order() -> GroupOptions {
    GroupOptions::exclusive().max_deliveries(1)
}

fn burying_in_order() -> GroupOptions {
    parking_in_order().dead_letters("dead")
}

fn nothing(_: &Consumer) {}

fn park_first(consumer: &Consumer) {
    consumer.try_recv().unwrap().reject("before").unwrap();
}

fn hold_first(consumer: &Consumer) {
    std::mem::forget(consumer.try_recv().unwrap());
}

fn reject(life: &Life<'_>) {
    let consumer = life.consumer();
    let (first, second) = (consumer.try_recv().unwrap(), consumer.try_recv().unwrap());
    life.numbered(|| {
        first.reject("no good").unwrap();
        life.ack(second);
    });
}

fn fail(life: &Life<'_>) {
    let consumer = life.consumer();
    let first = consumer.try_recv().unwrap();
    life.numbered(|| first.nack().unwrap());
}

/// Somebody died with its last delivery.
fn bury_for_another(life: &Life<'_>) {
    let consumer = life.consumer();
    life.numbered(|| {
        let second = consumer.try_recv().unwrap();
        assert_eq!(&*second, b"b");
        life.ack(second);
    });
}

fn retry(life: &Life<'_>) {
    let group = life.queue.group("jobs").unwrap();
    let consumer = life.consumer();
    life.numbered(|| {
        group.retry(0).unwrap();
        life.ack(consumer.try_recv().unwrap());
    });
}

fn discard(life: &Life<'_>) {
    let group = life.queue.group("jobs").unwrap();
    let consumer = life.consumer();
    let second = consumer.try_recv().unwrap();
    // Gone, if anything of this happens.
    life.yard.acked.borrow_mut().push("perhaps a".to_owned());
    life.numbered(|| {
        life.ack(second);
        group.discard(0).unwrap();
        life.ack(consumer.try_recv().unwrap());
    });
}

fn leased() -> GroupOptions {
    GroupOptions::shared().ack_timeout(LEASE)
}

/// The clock of leases ticks every few ms.
fn wait_for_expiry() {
    std::thread::sleep(LEASE + Duration::from_millis(12));
}

fn expire(life: &Life<'_>) {
    let [late, next] = [(); 2].map(|()| life.consumer());
    let first = late.try_recv().unwrap();
    wait_for_expiry();
    life.numbered(|| {
        life.queue.sweep();
        let again = next.try_recv().unwrap();
        assert_eq!((&*again, again.delivery_count()), (&b"a"[..], 2));
        assert!(first.ack().is_err());
        again.extend(Duration::from_secs(1)).unwrap();
        life.ack(again);
    });
}

#[rustfmt::skip]
const OPERATIONS: &[Operation] = &[
    Operation { name: "reject, park", points: 11, options: parking, prepare: nothing, run: reject },
    Operation { name: "reject, bury", points: 50, options: burying, prepare: nothing, run: reject },
    Operation { name: "exclusive reject, park", points: 13, options: parking_in_order, prepare: nothing, run: reject },
    Operation { name: "exclusive reject, bury", points: 59, options: burying_in_order, prepare: nothing, run: reject },
    Operation { name: "last nack, park", points: 8, options: parking, prepare: nothing, run: fail },
    Operation { name: "last nack, bury", points: 48, options: burying, prepare: nothing, run: fail },
    Operation { name: "exclusive last nack, bury", points: 52, options: burying_in_order, prepare: nothing, run: fail },
    Operation { name: "park for a dead one", points: 37, options: parking, prepare: hold_first, run: bury_for_another },
    Operation { name: "bury for a dead one", points: 81, options: burying, prepare: hold_first, run: bury_for_another },
    Operation { name: "exclusive bury for a dead one", points: 69, options: burying_in_order, prepare: hold_first, run: bury_for_another },
    Operation { name: "retry", points: 23, options: parking, prepare: park_first, run: retry },
    Operation { name: "exclusive retry", points: 19, options: parking_in_order, prepare: park_first, run: retry },
    Operation { name: "discard", points: 30, options: parking, prepare: park_first, run: discard },
    Operation { name: "exclusive discard", points: 26, options: parking_in_order, prepare: park_first, run: discard },
    Operation { name: "end and extend leases", points: 60, options: leased, prepare: nothing, run: expire },
];

/// A queue, its dead-letter queue, and what they were at first.
struct Yard {
    _dir: TempDir,
    files: Vec<(PathBuf, Vec<u8>)>,
    acked: RefCell<Vec<String>>,
    operation: &'static Operation,
}

impl Yard {
    fn new(operation: &'static Operation) -> Self {
        let dir = directory(Backing::Tmpfs);
        let path = dir.path().join("orders");
        let small = |max_message| {
            Queue::options()
                .capacity(CAPACITY)
                .slot_size(512)
                .max_message(max_message)
                .max_groups(2)
                .max_participants(4)
        };
        let queue = small(8).default_group(false).create(&path).unwrap();
        let dead = dir.path().join("dead");
        small(8 + slipring::DEAD_LETTER_OVERHEAD)
            .create(&dead)
            .unwrap();
        queue.create_group("jobs", (operation.options)()).unwrap();
        queue.producer().unwrap().publish_batch(MESSAGES).unwrap();
        drop(queue);
        dies(|| {
            let queue = Queue::open(&path).unwrap();
            let consumer = queue.group("jobs").unwrap().consumer().unwrap();
            (operation.prepare)(&consumer);
            die_at(0);
            queue.stats();
        });
        let files = [path, dead].map(|path| {
            let bytes = std::fs::read(&path).unwrap();
            (path, bytes)
        });
        Self {
            _dir: dir,
            files: files.into(),
            acked: RefCell::default(),
            operation,
        }
    }

    fn open(&self, file: usize) -> Queue {
        Queue::open(&self.files[file].0).unwrap()
    }

    fn reset(&self) {
        for (path, bytes) in &self.files {
            use std::os::unix::fs::FileExt;
            let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
            file.write_all_at(bytes, 0).unwrap();
        }
        self.acked.borrow_mut().clear();
    }

    /// True if the victim died.
    fn live(&self, point: u64) -> bool {
        self.reset();
        dies(|| {
            let life = Life {
                yard: self,
                queue: self.open(0),
                point,
            };
            (self.operation.run)(&life);
        })
    }

    /// True if the sweeper died.
    fn sweep(&self, point: u64) -> bool {
        // Attaching sweeps.
        dies(|| {
            die_at(point);
            drop(self.open(0));
        })
    }

    fn check(&self) {
        let queue = self.open(0);
        queue.sweep();
        assert_eq!(queue.stats().participants.len(), 1, "all swept");
        let group = queue.group("jobs").unwrap();
        let acked = self.acked.take();
        let mut places: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        let mut put = |message: &str, place| {
            assert!(MESSAGES.contains(&message), "{message:?}");
            assert!(
                !acked.iter().any(|acked| acked == message),
                "{message} was acked"
            );
            places.entry(message.to_owned()).or_default().push(place);
        };
        let consumer = group.consumer().unwrap();
        if self.operation.name.contains("lease") {
            wait_for_expiry();
            queue.sweep();
        }
        while let Ok(delivery) = consumer.try_recv() {
            put(&String::from_utf8_lossy(&delivery), "delivered");
            assert!((1..=3).contains(&delivery.delivery_count()));
            delivery.ack().unwrap();
        }
        let parked = group.dead_letters();
        for letter in &parked {
            assert_eq!(letter.deliveries, 1);
            put(MESSAGES[letter.sequence as usize], "parked");
        }
        let dead = self.open(1);
        let graveyard = dead.consumer().unwrap();
        while let Ok(delivery) = graveyard.try_recv() {
            let letter = delivery.dead_letter().unwrap();
            assert_eq!(letter.deliveries, 1);
            assert_eq!((letter.queue_id, &*letter.group), (queue.id(), "jobs"));
            assert_eq!(
                delivery.to_vec(),
                MESSAGES[letter.sequence as usize].as_bytes()
            );
            if letter.cause == Cause::Rejected {
                assert_eq!(letter.reason, "no good");
            }
            put(&String::from_utf8_lossy(&delivery), "dead");
            delivery.ack().unwrap();
        }
        for message in MESSAGES {
            let perhaps = acked
                .iter()
                .any(|acked| acked == &format!("perhaps {message}"));
            let gone = perhaps || acked.iter().any(|acked| acked == message);
            let found = places.get(message).map_or(&[][..], Vec::as_slice);
            match found {
                [] => assert!(gone, "{message} is lost; {places:?}, acked {acked:?}"),
                [_] => {}
                // Died between the copy and the end of the claim.
                [first, rest @ ..] => assert!(
                    *first != "parked" && rest.iter().all(|place| *place == "dead"),
                    "{message} is in {found:?}"
                ),
            }
        }
        for letter in parked {
            group.discard(letter.sequence).unwrap();
        }
        assert!(consumer.try_recv().is_err());
        let stats = queue.stats();
        assert_eq!(stats.groups[0].lag, 0);
        for (queue, consumer) in [(&queue, consumer), (&dead, graveyard)] {
            let mut producer = queue.producer().unwrap();
            for n in 0..3 * CAPACITY as u8 {
                producer.try_publish(&[n]).unwrap();
                let delivery = consumer.try_recv().unwrap();
                assert_eq!((&*delivery, delivery.delivery_count()), (&[n][..], 1));
                delivery.ack().unwrap();
            }
        }
    }
}

/// Where a trial is, said if it fails.
struct Here(&'static str, u64, Option<u64>);

impl Drop for Here {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "OPERATION={:?}, death {}, in the sweep {:?}",
                self.0, self.1, self.2
            );
        }
    }
}

#[test]
fn no_message_is_lost_by_who_dies_around_dead_letters_and_leases() {
    let _watchdog = watchdog("deaths around dead letters", 4 * MINUTE);
    let began = std::time::Instant::now();
    println!("deaths at each point, and in the sweep after each:");
    for operation in OPERATIONS {
        let yard = Yard::new(operation);
        let (mut points, mut pairs) = (0, 0);
        loop {
            let _here = Here(operation.name, points, None);
            let died = yard.live(points);
            yard.check();
            if !died {
                break;
            }
            // Waiting takes too long to do it for every pair.
            let sweeps = if operation.name.contains("lease") {
                0
            } else {
                u64::MAX
            };
            for sweep in 0..sweeps {
                let _here = Here(operation.name, points, Some(sweep));
                yard.live(points);
                let died = yard.sweep(sweep);
                yard.check();
                if !died {
                    break;
                }
                pairs += 1;
            }
            points += 1;
        }
        println!(
            "  {:<32} {points:>4} points, {pairs:>6} pairs",
            operation.name
        );
        assert!(
            points >= operation.points,
            "{points} points: something is no longer enumerated"
        );
    }
    println!("  {:.1} s", began.elapsed().as_secs_f64());
}
