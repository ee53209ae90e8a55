//! Goal: what happens when one process is paused, or dies, at any of its accesses to the mapping, while others go on.
//! Method: the feature `crash-points` numbers the accesses; each test runs an operation once for every number, and does
//! at that point what another process would do, or dies there. Found by review; `crash.rs` and `pause.rs` enumerate all.

#![cfg(feature = "crash-points")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block,
    missing_docs,
    reason = "a test may fail loudly"
)]

mod common;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use common::{Backing, MINUTE, directory, spawn_child, watchdog};
use slipring::mem::fault;
use slipring::{ClaimError, FullPolicy, GroupError, GroupOptions, Queue, Start};

/// Runs `other` at access number `point` of this thread.
fn at(point: u64, other: impl FnOnce() + 'static) {
    let mut other = Some(other);
    fault::install(move |number| {
        if number == point
            && let Some(other) = other.take()
        {
            other();
        }
    });
}

fn for_ever<T>(value: T) -> &'static mut T {
    Box::leak(Box::new(value))
}

/// Calls `run` with 0, 1, 2, ... until it says that there are no more points; returns how many there were.
fn at_every_point(mut run: impl FnMut(u64) -> bool) -> u64 {
    let mut point = 0;
    while run(point) {
        point += 1;
    }
    point
}

/// The pin of a new group was no lower than the newest message: a producer overwrote what a group starting at the oldest
/// was going to read.
#[test]
fn a_group_from_the_oldest_message_misses_nothing_published_meanwhile() {
    let _watchdog = watchdog("attach", 2 * MINUTE);
    for kind in [GroupOptions::shared(), GroupOptions::exclusive()] {
        let points = at_every_point(|point| {
            let queue = for_ever(
                Queue::options()
                    .capacity(4)
                    .max_groups(2)
                    .in_memory()
                    .unwrap(),
            );
            let consumer = for_ever(queue.consumer().unwrap());
            let producer = for_ever(queue.producer().unwrap());
            for _ in 0..4 {
                producer.publish("old").unwrap();
            }
            for _ in 0..32 {
                consumer.recv().unwrap().ack().unwrap();
                producer.publish("old").unwrap();
            }
            at(point, move || {
                for _ in 0..2 {
                    if let Ok(delivery) = consumer.try_recv() {
                        delivery.ack().unwrap();
                    }
                    let _full = producer.try_publish("new");
                }
            });
            let group = queue
                .create_group("late", kind.clone().start(Start::Earliest))
                .unwrap();
            let total = fault::remove();
            let stats = queue.stats();
            let start = stats
                .groups
                .iter()
                .find(|group| group.name == "late")
                .unwrap()
                .start;
            let first = group
                .consumer()
                .unwrap()
                .try_recv()
                .map(|delivery| delivery.sequence());
            assert_eq!(first, Ok(start), "point {point}");
            point < total
        });
        assert!(points > 40, "{points}");
    }
}

/// A producer paused while it looked for the floor of a group raised that of the next group in the same entry.
#[test]
fn a_paused_producer_leaves_later_groups_alone() {
    let points = at_every_point(|point| {
        let queue: &'static Queue = for_ever(
            Queue::options()
                .capacity(8)
                .max_groups(2)
                .in_memory()
                .unwrap(),
        );
        let producer = for_ever(queue.producer().unwrap());
        let consumer = queue
            .create_group("a", GroupOptions::shared())
            .unwrap()
            .consumer()
            .unwrap();
        for _ in 0..8 {
            producer.publish("m").unwrap();
        }
        for _ in 0..6 {
            consumer.recv().unwrap().ack().unwrap();
        }
        drop(consumer);
        at(point, move || {
            queue.delete_group("a").unwrap();
            queue
                .create_group("b", GroupOptions::shared().start(Start::Earliest))
                .unwrap();
        });
        let _full = producer.try_publish("x");
        let total = fault::remove();
        if let Some(group) = queue.stats().groups.iter().find(|group| group.name == "b") {
            assert_eq!(group.floor, group.start, "point {point}");
        }
        point < total
    });
    assert!(points > 5, "{points}");
}

/// A producer that was about to drop the oldest message, when consumers read all there was, said that the queue was full.
#[test]
fn a_lossy_queue_that_was_read_meanwhile_is_not_full() {
    let points = at_every_point(|point| {
        let options = Queue::options()
            .capacity(4)
            .when_full(FullPolicy::DropOldest);
        let queue = for_ever(options.in_memory().unwrap());
        let consumer = for_ever(queue.consumer().unwrap());
        let producer = for_ever(queue.producer().unwrap());
        let mut paused = queue.producer().unwrap();
        producer.publish_batch(["0", "1", "2", "3"]).unwrap();
        at(point, move || {
            while let Ok(delivery) = consumer.try_recv() {
                delivery.ack().unwrap();
            }
            producer.publish("4").unwrap();
            consumer.try_recv().unwrap().ack().unwrap();
        });
        let sent = paused.try_publish("5").map_err(|rejected| rejected.reason);
        let total = fault::remove();
        assert!(sent.is_ok(), "point {point}: {sent:?}");
        point < total
    });
    assert!(points > 20, "{points}");
}

/// A consumer paused between its claim and the beginning of its lease, until another had the message, wrote its lease over
/// the other's: the extension that had been granted was forgotten.
#[test]
fn a_consumer_paused_while_claiming_leaves_anothers_lease_alone() {
    let _watchdog = watchdog("leases", 2 * MINUTE);
    let taken = Rc::new(Cell::new(0));
    let points = at_every_point(|point| {
        let queue = for_ever(Queue::options().capacity(4).in_memory().unwrap());
        let timeout = Duration::from_millis(5);
        let options = GroupOptions::shared().ack_timeout(timeout);
        let group = queue.create_group("jobs", options).unwrap();
        let [paused, other, third] = [(); 3].map(|()| &*for_ever(group.consumer().unwrap()));
        queue.producer().unwrap().publish("job").unwrap();
        let extended = Rc::new(Cell::new(None));
        at(point, {
            let extended = Rc::clone(&extended);
            move || {
                if let Ok(delivery) = other.recv_timeout(Duration::from_millis(300)) {
                    delivery.extend(MINUTE).unwrap();
                    extended.set(Some(delivery));
                }
            }
        });
        let late = paused.try_recv();
        let total = fault::remove();
        if let Some(delivery) = extended.take() {
            taken.set(taken.get() + u64::from(delivery.delivery_count() > 1));
            let stolen = third.recv_timeout(Duration::from_millis(120));
            assert_eq!(stolen.err(), Some(ClaimError::TimedOut), "point {point}");
            delivery.ack().unwrap();
        }
        drop(late);
        point < total
    });
    assert!(points > 5 && taken.get() > 1, "{points}");
}

/// A group being made by another process was reported as being deleted.
#[test]
fn a_group_being_made_is_not_there_yet() {
    let dir = directory(Backing::Tmpfs);
    let points = at_every_point(|point| {
        let path = dir.path().join(format!("queue-{point}"));
        let options = Queue::options()
            .capacity(4)
            .max_participants(3)
            .default_group(false);
        let queue = options.create(&path).unwrap();
        let other = for_ever(Queue::open(&path).unwrap());
        let seen = Rc::new(Cell::new(None));
        let result = Rc::clone(&seen);
        at(point, move || result.set(Some(other.group("g").err())));
        queue.create_group("g", GroupOptions::shared()).unwrap();
        let total = fault::remove();
        let seen = seen.take().flatten();
        assert!(
            matches!(seen, None | Some(GroupError::NotFound)),
            "point {point}: {seen:?}"
        );
        point < total
    });
    assert!(points > 20, "{points}");
}

/// A group whose deleter, or whose last member, died in between stayed for ever, and held producers back.
#[test]
fn a_group_whose_deleter_or_last_member_dies_is_freed() {
    let _watchdog = watchdog("dying deleters", 2 * MINUTE);
    let dir = directory(Backing::Tmpfs);
    for role in ["delete", "leave"] {
        let deaths = at_every_point(|point| {
            let path = dir.path().join(format!("{role}-{point}"));
            let options = Queue::options()
                .capacity(4)
                .max_participants(3)
                .max_groups(1);
            let queue = options.default_group(false).create(&path).unwrap();
            queue.create_group("g", GroupOptions::shared()).unwrap();
            let mut child = spawn_child(role, &path, &[("POINT", point.to_string())]);
            if child.0.wait().unwrap().success() {
                return false;
            }
            // Whoever died before it began leaves that to us.
            let _gone = queue.delete_group("g");
            queue.sweep();
            let mut producer = queue.producer().unwrap();
            for _ in 0..6 {
                producer.try_publish("m").unwrap();
            }
            queue.create_group("g", GroupOptions::shared()).unwrap();
            true
        });
        assert!(deaths > 4, "{role}: {deaths}");
    }
}

#[test]
#[ignore = "run by other tests, in a process of its own"]
fn child() {
    let Some((role, path)) = common::role() else {
        return;
    };
    let queue = Queue::open(&path).unwrap();
    let die = || {
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    };
    let point = common::number("POINT");
    if role == "delete" {
        at(point, die);
        queue.delete_group("g").unwrap();
    } else {
        let consumer = queue.group("g").unwrap().consumer().unwrap();
        queue.delete_group("g").unwrap();
        at(point, die);
        drop(consumer);
    }
    fault::remove();
}
