//! Goal: a claim is never taken for another one, however long somebody was paused in between: not by who ends leases, nor
//! by a late ack; and searches start where something can be.
//! Method: the feature `crash-points` numbers the accesses to the mapping; an operation is paused at each of them while
//! others go on. All found by review.

#![cfg(feature = "crash-points")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a test may fail loudly"
)]

mod common;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::{Backing, MINUTE, directory, watchdog};
use slipring::mem::fault;
use slipring::{
    AckError, Consumer, Delivery, FullPolicy, GroupError, GroupOptions, Options, Queue, Start,
};

const SHORT: Duration = Duration::from_millis(5);
const PAST: Duration = Duration::from_millis(20);

fn for_ever<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

fn small() -> Options {
    Queue::options()
        .capacity(8)
        .max_participants(4)
        .max_groups(2)
        .default_group(false)
}

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

fn leased(queue: &Queue) -> &'static Consumer {
    let options = GroupOptions::shared().ack_timeout(SHORT);
    for_ever(
        queue
            .create_group("jobs", options)
            .unwrap()
            .consumer()
            .unwrap(),
    )
}

/// Who ended leases was no member of the group, which went away under it; claims of the next group in the same entry,
/// which has none, looked the same and were taken from their live owner.
#[test]
fn who_ends_leases_leaves_the_next_group_in_the_entry_alone() {
    let _watchdog = watchdog("leases", 2 * MINUTE);
    let made_anew = Rc::new(Cell::new(0));
    for point in 0.. {
        let dir = directory(Backing::Tmpfs);
        let path = dir.path().join("queue");
        let queue = for_ever(small().default_group(true).create(&path).unwrap());
        let options = GroupOptions::shared().ack_timeout(SHORT);
        let consumer = queue.create_group("jobs", options).unwrap().consumer();
        let consumer = Box::into_raw(Box::new(consumer.unwrap()));
        // SAFETY: freed below, after the last of its deliveries.
        let borrowed: &'static Consumer = unsafe { &*consumer };
        let visitor = Queue::open(&path).unwrap();
        queue
            .producer()
            .unwrap()
            .publish_batch(["a", "b", "c"])
            .unwrap();
        let first = [(); 3].map(|()| borrowed.try_recv().unwrap());
        std::thread::sleep(PAST);
        let held: Rc<RefCell<Vec<Delivery<'static>>>> = Rc::default();
        let (inside, count) = (Rc::clone(&held), Rc::clone(&made_anew));
        at(point, move || {
            for delivery in first {
                let _late = delivery.ack();
            }
            // SAFETY: from into_raw, and no delivery is left.
            drop(unsafe { Box::from_raw(consumer) });
            queue.delete_group("jobs").unwrap();
            let plain = GroupOptions::shared().start(Start::Earliest);
            // Whoever looks at the old group keeps its entry.
            if let Ok(group) = queue.create_group("plain", plain) {
                let consumer = for_ever(group.consumer().unwrap());
                while let Ok(delivery) = consumer.try_recv() {
                    inside.borrow_mut().push(delivery);
                }
                count.set(count.get() + 1);
            }
        });
        visitor.sweep();
        let total = fault::remove();
        if point >= total {
            break;
        }
        for delivery in held.take() {
            assert_eq!(delivery.ack(), Ok(()), "point {point}");
        }
    }
    assert!(made_anew.get() > 20, "{}", made_anew.get());
}

/// Who ended a lease was paused between its two steps; meanwhile the claim was released and made again, with the same
/// word, and prolonged; and then taken from its live owner.
#[test]
fn a_released_claim_is_not_taken_for_the_next() {
    let _watchdog = watchdog("leases", 2 * MINUTE);
    let mut again = 0;
    for point in 0.. {
        let queue = for_ever(small().in_memory().unwrap());
        let consumer = leased(queue);
        queue.producer().unwrap().publish("job").unwrap();
        let held = Rc::new(RefCell::new(Some(consumer.try_recv().unwrap())));
        std::thread::sleep(PAST);
        let inside = Rc::clone(&held);
        at(point, move || {
            let first = inside.borrow_mut().take().unwrap();
            if first.release().is_ok() {
                let second = consumer.try_recv().unwrap();
                second.extend(MINUTE).unwrap();
                *inside.borrow_mut() = Some(second);
            }
        });
        queue.sweep();
        let total = fault::remove();
        if point >= total {
            break;
        }
        if let Some(second) = held.take() {
            again += 1;
            assert_eq!(second.ack(), Ok(()), "point {point}");
        }
    }
    assert!(again > 10, "{again}");
}

/// A message whose lease ended, and which was then rejected, parked and retried, had the count of its first delivery: the
/// late ack of that one settled it.
#[test]
fn a_late_ack_is_not_taken_for_that_of_a_retried_message() {
    let queue = small().in_memory().unwrap();
    let consumer = leased(&queue);
    queue.producer().unwrap().publish("job").unwrap();
    let first = consumer.try_recv().unwrap();
    std::thread::sleep(PAST);
    queue.sweep();
    consumer.try_recv().unwrap().reject("no").unwrap();
    let group = queue.group("jobs").unwrap();
    group.retry(0).unwrap();
    let third = consumer.try_recv().unwrap();
    assert_eq!(third.delivery_count(), 3, "the count goes on");
    third.extend(MINUTE).unwrap();
    assert_eq!(first.ack(), Err(AckError::Stale { sequence: 0 }));
    assert_eq!(third.ack(), Ok(()));
}

/// A message whose lease had ended was claimed for a batch. What is only claimed is not counted, so the claim looked like the
/// one before, whose ended lease ended it, too: it was taken back before it was opened, and counted as expired once more.
#[test]
fn a_batch_does_not_take_over_an_ended_lease() {
    let queue = small().in_memory().unwrap();
    let options = GroupOptions::shared().ack_timeout(MINUTE);
    let group = queue.create_group("jobs", options).unwrap();
    let consumer = group.consumer().unwrap();
    queue.producer().unwrap().publish("job").unwrap();
    let late = consumer.try_recv().unwrap();
    late.extend(Duration::ZERO).unwrap();
    std::thread::sleep(PAST);
    queue.sweep();
    for _ in 0..2 {
        let mut batch = consumer.try_recv_batch(1).unwrap();
        queue.sweep();
        let again = batch.next().unwrap().unwrap();
        assert_eq!(again.sequence(), 0);
        again.extend(Duration::ZERO).unwrap();
        std::thread::sleep(PAST);
        queue.sweep();
    }
    assert_eq!(queue.stats().groups[0].expired, 3);
    assert_eq!(late.ack(), Err(AckError::Stale { sequence: 0 }));
}

/// In a group with leases and a limit, too, a retried message is handed over once more.
#[test]
fn a_retried_message_is_handed_over_once_more_however_often_it_was() {
    let queue = small().in_memory().unwrap();
    let options = GroupOptions::shared().ack_timeout(MINUTE).max_deliveries(2);
    let group = queue.create_group("jobs", options).unwrap();
    let consumer = group.consumer().unwrap();
    queue.producer().unwrap().publish("job").unwrap();
    for _ in 0..2 {
        consumer.try_recv().unwrap().nack().unwrap();
    }
    for count in [3, 4] {
        assert!(consumer.try_recv().is_err());
        assert_eq!(group.dead_letters().len(), 1);
        group.retry(0).unwrap();
        let again = consumer.try_recv().unwrap();
        assert_eq!(again.delivery_count(), count);
        again.nack().unwrap();
    }
    assert!(consumer.try_recv().is_err());
    group.retry(0).unwrap();
    let mut batch = consumer.try_recv_batch(8).unwrap();
    batch.next().unwrap().unwrap().ack().unwrap();
}

/// The count stays at 255; a claim that has it again could not be told from the one before.
#[test]
fn in_a_group_with_leases_no_claim_is_counted_255_twice() {
    let queue = small().in_memory().unwrap();
    let options = GroupOptions::shared().ack_timeout(MINUTE);
    let group = queue.create_group("jobs", options).unwrap();
    let consumer = group.consumer().unwrap();
    queue.producer().unwrap().publish("job").unwrap();
    for _ in 0..254 {
        consumer.try_recv().unwrap().nack().unwrap();
    }
    assert!(consumer.try_recv().is_err());
    assert_eq!(group.dead_letters().len(), 1, "parked");
    assert_eq!(group.retry(0), Err(GroupError::NotDead { sequence: 0 }));
    group.discard(0).unwrap();
}

/// A message that was given back, by somebody paused before it could say so, was never found by consumers that only poll.
#[test]
fn a_poller_finds_what_a_paused_consumer_gave_back() {
    let _watchdog = watchdog("polling", 2 * MINUTE);
    for point in 0.. {
        let queue = for_ever(small().default_group(true).in_memory().unwrap());
        let [giver, poller] = [(); 2].map(|()| for_ever(queue.consumer().unwrap()));
        queue.producer().unwrap().publish("job").unwrap();
        let given = giver.try_recv().unwrap();
        assert!(poller.try_recv().is_err());
        at(point, move || {
            let stats = queue.stats();
            if stats.groups[0].ready == 0 {
                return;
            }
            let began = Instant::now();
            // Bound: the watchdog, and a number of polls that is many times what it takes.
            for _ in 0..1 << 14 {
                if let Ok(delivery) = poller.try_recv() {
                    delivery.ack().unwrap();
                    return;
                }
            }
            panic!("not found at point {point} in {:?}", began.elapsed());
        });
        given.nack().unwrap();
        if fault::remove() <= point {
            break;
        }
    }
}

/// A group without consumers in a lossy queue: its noted floor stays where it began, and every look at the groups walked
/// from there over all that was ever published.
#[test]
fn a_lossy_queue_nobody_drains_costs_no_more_the_longer_it_runs() {
    let options = small().default_group(true);
    let queue = options
        .when_full(FullPolicy::DropOldest)
        .in_memory()
        .unwrap();
    let mut producer = queue.producer().unwrap();
    let mut accesses_after = |messages: u64| {
        for _ in 0..messages {
            producer.publish("tick").unwrap();
        }
        queue.sweep();
        fault::install(|_| {});
        producer.publish("tick").unwrap();
        fault::remove()
    };
    let (early, late) = (accesses_after(100), accesses_after(20_000));
    assert!(late < 2 * early + 200, "{early} accesses, {late} later");
    assert_eq!(queue.stats().groups[0].ready, 8);
}

/// A parked message of an exclusive group that somebody retries while newer ones are out was counted as one of those by
/// the successor of an active consumer that died, and buried without having been handed over.
#[test]
fn a_successor_does_not_count_what_was_only_retried() {
    let dir = directory(Backing::Tmpfs);
    let path = dir.path().join("queue");
    let queue = small().create(&path).unwrap();
    let options = GroupOptions::exclusive().max_deliveries(1);
    let group = queue.create_group("jobs", options).unwrap();
    queue
        .producer()
        .unwrap()
        .publish_batch(["a", "b", "c"])
        .unwrap();
    let victim = Queue::open(&path).unwrap();
    let active = victim.group("jobs").unwrap().consumer().unwrap();
    active.try_recv().unwrap().reject("later").unwrap();
    std::mem::forget(active.try_recv().unwrap());
    group.retry(0).unwrap();
    fault::die();
    drop(active);
    drop(victim);
    fault::revive();
    queue.sweep();
    let successor = group.consumer().unwrap();
    let again = successor.try_recv().unwrap();
    assert_eq!((again.sequence(), again.delivery_count()), (0, 1));
    again.ack().unwrap();
}

/// A producer that had been idle while others published millions looked for the floor from where it had been, found what
/// said "settled" too far ahead to believe, and was told that the queue is full.
#[test]
fn a_producer_that_was_idle_for_long_is_not_told_that_a_lossy_queue_is_full() {
    let options = small().default_group(true);
    let queue = options
        .when_full(FullPolicy::DropOldest)
        .in_memory()
        .unwrap();
    let (mut idle, mut busy) = (queue.producer().unwrap(), queue.producer().unwrap());
    idle.try_publish("first").unwrap();
    for _ in 0..2_300_000 {
        busy.try_publish("tick").unwrap();
    }
    idle.try_publish("again").unwrap();
}

/// The lease words of a new group, all zeros, spoke of a claim that nobody has opened yet in every 4096th lap, and said that
/// its lease had ended: a batch lost it at once. Found by the state machine.
#[test]
fn a_new_groups_leases_speak_of_no_claim_in_any_lap() {
    let options = small().capacity(2).first_sequence(2 * 4094);
    let queue = options.in_memory().unwrap();
    let mut producer = queue.producer().unwrap();
    for lap in 0..4 {
        let group = GroupOptions::shared().ack_timeout(MINUTE);
        let group = queue.create_group("jobs", group).unwrap();
        producer.publish_batch(["a", "b"]).unwrap();
        let consumer = group.consumer().unwrap();
        for delivery in consumer.try_recv_batch(2).unwrap() {
            queue.sweep();
            delivery.unwrap().ack().unwrap();
        }
        assert_eq!(queue.stats().groups[0].lag, 0, "lap {lap}");
        drop(consumer);
        queue.delete_group("jobs").unwrap();
    }
}
