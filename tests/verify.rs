//! Goal: `verify` finds nothing wrong with a sound queue, however fast it moves and whoever dies in it; what the dead leave
//! it calls that; and what is gone after a sweep it no longer finds.
//! Method: look again and again while threads and processes do all that a queue is for, and are killed at it.

#![cfg(not(slipring_loom))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a test may fail loudly"
)]

mod common;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{Backing, Kid, MINUTE, Stop, directory, role, say, spawn_child, watchdog};
use slipring::{
    ClaimError, FullPolicy, GroupOptions, Options, PublishError, Queue, Severity, Verification,
    verify,
};

fn options() -> Options {
    Queue::options()
        .capacity(16)
        .slot_size(64)
        .max_message(300)
        .max_groups(6)
        .max_participants(24)
}

/// Payloads that lie in slots and in the arena.
fn payload(number: usize) -> Vec<u8> {
    vec![u8::try_from(number % 251).unwrap(); number * 37 % 300]
}

fn nothing_wrong(path: &Path) -> Verification {
    let found = verify(path).unwrap();
    assert_eq!(found.findings, [], "{}", path.display());
    found
}

#[test]
fn a_queue_in_every_state_is_sound() {
    let dir = directory(Backing::Tmpfs);
    let path = dir.path().join("queue");
    let queue = options().create(&path).unwrap();
    assert_eq!(nothing_wrong(&path).online, 1);
    let dead = dir.path().join("dead").display().to_string();
    let limited = GroupOptions::shared().max_deliveries(2).dead_letters(dead);
    queue.create_group("limited", limited).unwrap();
    let leases = GroupOptions::shared().ack_timeout(Duration::from_secs(60));
    queue.create_group("leases", leases).unwrap();
    queue
        .create_group("log", GroupOptions::exclusive())
        .unwrap();
    let passing = GroupOptions::shared().ephemeral(true);
    queue.create_group("passing", passing).unwrap();
    queue.create_group("gone", GroupOptions::shared()).unwrap();
    queue.delete_group("gone").unwrap();
    let mut producer = queue.producer().unwrap();
    let consumers = ["default", "limited", "leases", "log"]
        .map(|name| queue.group(name).unwrap().consumer().unwrap());
    for round in 0..40 {
        while producer.try_publish(&payload(round)).is_ok() {}
        nothing_wrong(&path);
        for (number, consumer) in consumers.iter().enumerate() {
            let held = consumer.try_recv();
            let batch = consumer.try_recv_batch(3);
            nothing_wrong(&path);
            let Ok(held) = held else { continue };
            match (round + number) % 4 {
                0 => held.nack().unwrap(),
                1 => held.release().unwrap(),
                _ => held.ack().unwrap(),
            }
            drop(batch);
            while let Ok(delivery) = consumer.try_recv() {
                if delivery.sequence() % 7 == 3 && delivery.delivery_count() == 1 {
                    delivery.reject("seven").unwrap();
                } else {
                    delivery.ack().unwrap();
                }
            }
            nothing_wrong(&path);
        }
        for group in queue.groups() {
            for letter in group.dead_letters() {
                if round % 2 == 0 {
                    group.retry(letter.sequence).unwrap();
                } else {
                    group.discard(letter.sequence).unwrap();
                }
            }
        }
        nothing_wrong(&path);
    }
    nothing_wrong(&dir.path().join("dead"));
    drop((producer, consumers, queue));
    assert_eq!(nothing_wrong(&path).online, 0);
}

/// Laps wrap in words of 48 and 40 bits; a sound queue is sound there too.
#[test]
fn a_queue_whose_laps_wrap_is_sound() {
    let dir = directory(Backing::Tmpfs);
    for (name, lap) in [("claim", 1_u64 << 40), ("slot", 1 << 48)] {
        let path = dir.path().join(name);
        let first = (lap - 3) * 16;
        let queue = options().first_sequence(first).create(&path).unwrap();
        let consumer = queue.consumer().unwrap();
        let mut producer = queue.producer().unwrap();
        for number in 0..100 {
            producer.publish(&payload(number)).unwrap();
            nothing_wrong(&path);
            let delivery = consumer.recv().unwrap();
            if number % 3 == 0 {
                delivery.nack().unwrap();
                nothing_wrong(&path);
                consumer.recv().unwrap().ack().unwrap();
            } else {
                delivery.ack().unwrap();
            }
        }
        nothing_wrong(&path);
    }
}

/// Publishes and consumes in all groups until told to stop.
fn work(queue: &Queue, number: usize, stop: &AtomicBool) {
    let mut producer = queue.producer().ok();
    let mut count = 0;
    let open = |group: &slipring::Group| group.consumer().ok();
    let consumers: Vec<_> = queue.groups().iter().filter_map(open).collect();
    while !stop.load(Ordering::Relaxed) {
        count += 1;
        if number % 3 == 2 && count % 64 == 0 {
            let name = format!("passing {number}");
            let made = queue.create_group(&name, GroupOptions::shared());
            let passing = made.ok().and_then(|group| group.consumer().ok());
            let _message = passing.as_ref().map(slipring::Consumer::try_recv);
            let _gone = queue.delete_group(&name);
        }
        for turn in 0..5 {
            if let Some(producer) = &mut producer {
                match producer.try_publish(&payload(count + turn)) {
                    Ok(_) => {}
                    Err(rejected) if rejected.reason == PublishError::Full => {}
                    Err(rejected) => panic!("{}", rejected.reason),
                }
            }
        }
        for consumer in &consumers {
            for (at, delivery) in consumer.try_recv_batch(4).into_iter().flatten().enumerate() {
                match delivery {
                    Ok(delivery) if (at + count) % 5 == 0 => drop(delivery.nack()),
                    Ok(delivery) if (at + count) % 11 == 0 => drop(delivery.release()),
                    Ok(delivery) => drop(delivery.ack()),
                    Err(ClaimError::Empty) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }
}

/// What `verify` says while `work` goes on: no damage ever; unsure only of what takes time.
fn look_at(options: &Options, groups: &[(&str, GroupOptions)], sole: bool, looks: u32) {
    let _watchdog = watchdog("looking at a busy queue", 3 * MINUTE);
    let dir = directory(Backing::Tmpfs);
    let path = dir.path().join("queue");
    let queue = options.create(&path).unwrap();
    for (name, group) in groups {
        queue.create_group(name, group.clone()).unwrap();
    }
    // Before the workers: they find that there is one.
    let mut only = sole.then(|| Queue::open(&path).unwrap().sole_producer().unwrap());
    let stop = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = Stop(stop);
        for number in 0..3 {
            let queue = Queue::open(&path).unwrap();
            scope.spawn(move || work(&queue, number, stop));
        }
        if let Some(only) = &mut only {
            scope.spawn(move || {
                let mut number = 0;
                while !stop.load(Ordering::Relaxed) {
                    number += usize::from(only.try_publish(&payload(number)).is_ok());
                }
            });
        }
        let mut messages = 0;
        for _look in 0..looks {
            let found = verify(&path).unwrap();
            let wrong: Vec<_> = found.damage().collect();
            assert!(wrong.is_empty(), "{wrong:#?}");
            let leftovers = found
                .findings
                .iter()
                .filter(|one| one.severity == Severity::Leftover);
            // A group that is deleted is without members for a moment.
            assert!(
                leftovers
                    .clone()
                    .all(|one| one.what.starts_with("state of group"))
            );
            messages += found.messages;
        }
        assert!(messages > 0, "it has looked at nothing");
    });
    nothing_wrong(&path);
}

#[test]
fn a_busy_queue_is_sound() {
    let groups = [
        ("log", GroupOptions::exclusive()),
        ("limited", GroupOptions::shared().max_deliveries(20)),
    ];
    look_at(&options(), &groups, false, 1500);
}

#[test]
fn a_busy_queue_with_leases_is_sound() {
    let groups = [(
        "leases",
        GroupOptions::shared().ack_timeout(Duration::from_millis(1)),
    )];
    look_at(&options(), &groups, false, 1000);
}

#[test]
fn a_busy_queue_with_a_sole_producer_is_sound() {
    let groups = [("log", GroupOptions::exclusive())];
    look_at(&options(), &groups, true, 1000);
}

#[test]
fn a_busy_lossy_queue_is_sound() {
    let options = options().when_full(FullPolicy::DropOldest);
    look_at(&options, &[("other", GroupOptions::shared())], false, 1000);
}

#[test]
fn a_queue_without_groups_is_sound() {
    look_at(&options().default_group(false), &[], false, 300);
}

#[test]
#[ignore = "a child of other tests"]
fn child() {
    let Some((role, path)) = role() else { return };
    let queue = Queue::open(&path).unwrap();
    match role.as_str() {
        "works" => {
            say("ready");
            work(&queue, 0, &AtomicBool::new(false));
        }
        "holds" => {
            let claims = queue.consumer().unwrap();
            let cursor = queue.group("log").unwrap().consumer().unwrap();
            let mut producer = queue.producer().unwrap();
            let loan = producer.reserve(200).unwrap();
            let held = (claims.recv().unwrap(), cursor.recv().unwrap());
            say("ready");
            std::thread::sleep(Duration::from_secs(600));
            drop((held, loan));
        }
        _ => unreachable!("{role}"),
    }
}

#[test]
fn what_the_dead_leave_is_called_that_and_a_sweep_clears_it() {
    let _watchdog = watchdog("a dead holder", 2 * MINUTE);
    let dir = directory(Backing::Tmpfs);
    let path = dir.path().join("queue");
    let queue = options().create(&path).unwrap();
    queue
        .create_group("log", GroupOptions::exclusive())
        .unwrap();
    queue.producer().unwrap().publish("held").unwrap();
    drop(queue);
    let mut kid = spawn_child("holds", &path, &[]);
    assert_eq!(kid.next_line(), "ready");
    assert_eq!(nothing_wrong(&path).online, 1);
    kid.kill();
    let found = verify(&path).unwrap();
    assert_eq!(found.online, 0);
    assert!(found.is_sound(), "{:#?}", found.findings);
    let left: Vec<_> = found.findings.iter().map(|one| one.what.as_str()).collect();
    for what in [
        "state of participant",
        "owner of group 1",
        "claim word of group 0 at index 0",
        "state of segment",
    ] {
        let mut left = left.iter();
        assert!(left.any(|left| left.starts_with(what)), "{what}: {left:?}");
    }
    assert_eq!(left.len(), 4, "{left:?}");
    let queue = Queue::open(&path).unwrap();
    queue.sweep();
    drop(queue);
    nothing_wrong(&path);
}

#[test]
fn a_queue_whose_users_are_killed_is_sound() {
    let _watchdog = watchdog("users being killed", 3 * MINUTE);
    let dir = directory(Backing::Tmpfs);
    let path = dir.path().join("queue");
    let queue = options().create(&path).unwrap();
    queue
        .create_group("log", GroupOptions::exclusive())
        .unwrap();
    let start = || {
        let mut kid = spawn_child("works", &path, &[]);
        assert_eq!(kid.next_line(), "ready");
        kid
    };
    let mut kids: [Kid; 2] = [start(), start()];
    let sound = |found: &Verification| {
        let wrong: Vec<_> = found.damage().collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    };
    for round in 0..12 {
        for _look in 0..40 {
            sound(&verify(&path).unwrap());
        }
        kids[round % 2].kill();
        for _look in 0..5 {
            sound(&verify(&path).unwrap());
        }
        kids[round % 2] = start();
    }
    drop(kids);
    sound(&verify(&path).unwrap());
    queue.sweep();
    nothing_wrong(&path);
}
