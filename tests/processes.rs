//! Goal: the promises between real processes: every message once per shared group and in order per producer, hand-over,
//! wake-ups, forks, deaths of the simple kind.
//! Method: this binary runs itself as children; the parent checks what they say. Bounded by watchdogs; no time is asserted.

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
    reason = "a test may fail loudly"
)]

mod common;

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use common::{Backing, Kid, MINUTE, directory, number, say, spawn_child, watchdog};
use slipring::{
    AckError, AttachError, ClaimError, GroupError, GroupOptions, Message, OpenErrorKind, Options,
    PublishError, Queue, Start, WaitStrategy,
};

fn small() -> Options {
    Queue::options()
        .capacity(64)
        .max_message(96)
        .max_groups(4)
        .max_participants(16)
}

/// N producers, M consumers in each of two shared groups, one exclusive group; every message checked.
fn all_to_all(backing: Backing, producers: u64, consumers: u64, each: u64, large: bool) {
    let _watchdog = watchdog("all to all", 2 * MINUTE);
    let dir = directory(backing);
    let path = dir.path().join("queue");
    let options = if large {
        small().max_message(20_000).arena_size(1 << 20)
    } else {
        small()
    };
    let queue = options.create(&path).unwrap();
    queue
        .create_group("second", GroupOptions::shared())
        .unwrap();
    queue
        .create_group("log", GroupOptions::exclusive())
        .unwrap();
    let setting = |name, value: u64| (name, value.to_string());
    let producing: Vec<Kid> = (0..producers)
        .map(|id| {
            let settings = [
                setting("ID", id),
                setting("EACH", each),
                setting("LARGE", large.into()),
            ];
            spawn_child("producer", &path, &settings)
        })
        .collect();
    let groups = ["default", "second", "log"];
    let mut consuming: Vec<(&str, Kid)> = Vec::new();
    for group in groups {
        let count = if group == "log" { 2 } else { consumers };
        for _ in 0..count {
            let kid = spawn_child("consumer", &path, &[("GROUP", group.to_owned())]);
            consuming.push((group, kid));
        }
    }
    for kid in producing {
        kid.finish();
    }
    while queue.stats().groups.iter().any(|group| group.lag > 0) {
        std::thread::sleep(Duration::from_millis(5));
    }
    for group in groups {
        queue.delete_group(group).unwrap();
    }
    let mut seen: HashMap<&str, Vec<(u64, u64)>> = HashMap::new();
    for (group, kid) in consuming {
        for line in kid.finish() {
            let (producer, n) = line.split_once(' ').unwrap();
            seen.entry(group)
                .or_default()
                .push((producer.parse().unwrap(), n.parse().unwrap()));
        }
    }
    for group in groups {
        let mut messages = seen.remove(group).unwrap();
        messages.sort_unstable();
        let expected = (0..producers).flat_map(|id| (0..each).map(move |n| (id, n)));
        assert!(
            messages.into_iter().eq(expected),
            "group {group}: not every message exactly once"
        );
    }
}

#[test]
fn every_message_once_per_group_and_in_order_on_tmpfs() {
    all_to_all(Backing::Tmpfs, 3, 3, 3000, false);
}

#[test]
fn every_message_once_per_group_and_in_order_on_disk() {
    all_to_all(Backing::Disk, 2, 2, 3000, false);
}

#[test]
fn every_large_message_once_per_group_and_in_order() {
    all_to_all(Backing::Tmpfs, 3, 2, 500, true);
}

fn payload(id: u64, n: u64, large: bool) -> Vec<u8> {
    let length = if large {
        200 + (n * 7919 + id) % 19_000
    } else {
        16 + n % 64
    };
    let mut bytes: Vec<u8> = (0..length).map(|at| (at ^ n ^ id) as u8).collect();
    bytes[..8].copy_from_slice(&id.to_le_bytes());
    bytes[8..16].copy_from_slice(&n.to_le_bytes());
    bytes
}

fn produce(path: &Path) {
    let (id, each, large) = (number("ID"), number("EACH"), number("LARGE") == 1);
    let mut producer = Queue::open(path).unwrap().producer().unwrap();
    for n in 0..each {
        producer.publish(&payload(id, n, large)).unwrap();
    }
}

fn consume(path: &Path) {
    let queue = Queue::open(path).unwrap();
    let consumer = queue
        .group(&std::env::var("GROUP").unwrap())
        .unwrap()
        .consumer()
        .unwrap();
    let mut last: HashMap<u64, u64> = HashMap::new();
    let mut seen = Vec::new();
    for delivery in &consumer {
        let delivery = delivery.unwrap();
        let word = |at: usize| u64::from_le_bytes(delivery[at..at + 8].try_into().unwrap());
        let (id, n) = (word(0), word(8));
        assert_eq!(
            *delivery,
            payload(id, n, delivery.len() >= 200),
            "every byte"
        );
        assert_eq!(delivery.delivery_count(), 1);
        if let Some(last) = last.insert(id, n) {
            assert!(last < n, "producer {id}: {n} after {last}");
        }
        seen.push((id, n));
        delivery.ack().unwrap();
    }
    for (id, n) in seen {
        say(format!("{id} {n}"));
    }
}

#[test]
fn an_exclusive_group_is_handed_over_when_its_consumer_leaves_or_dies() {
    let _watchdog = watchdog("hand-over", MINUTE);
    for backing in [Backing::Tmpfs, Backing::Disk] {
        let dir = directory(backing);
        let path = dir.path().join("queue");
        let queue = small().create(&path).unwrap();
        let group = queue
            .create_group("log", GroupOptions::exclusive())
            .unwrap();
        let mut producer = queue.producer().unwrap();
        for n in 0..10u8 {
            producer.publish(&[n]).unwrap();
        }
        // Acks three, holds the fourth and fifth.
        let mut active = spawn_child("exclusive", &path, &[]);
        assert_eq!(active.next_line(), "holding");
        let stand_by = group.consumer().unwrap();
        assert!(!stand_by.is_active());
        assert_eq!(stand_by.try_recv().unwrap_err(), ClaimError::Empty);
        active.kill();
        for n in 3..10u8 {
            let delivery = stand_by.recv().unwrap();
            let count = if n < 5 { 2 } else { 1 };
            assert_eq!((&*delivery, delivery.delivery_count()), (&[n][..], count));
            delivery.ack().unwrap();
        }
    }
}

#[test]
fn a_dead_consumers_claims_go_to_another() {
    let _watchdog = watchdog("dead consumer", MINUTE);
    let dir = directory(Backing::Tmpfs);
    let path = dir.path().join("queue");
    let queue = small().create(&path).unwrap();
    let mut producer = queue.producer().unwrap();
    for n in 0..6u8 {
        producer.publish(&[n]).unwrap();
    }
    // Acks one, holds the second, and two more in a batch of which it has opened one.
    let mut holder = spawn_child("holder", &path, &[]);
    assert_eq!(holder.next_line(), "holding");
    holder.kill();
    let consumer = queue.consumer().unwrap();
    let mut found = Vec::new();
    for _ in 0..5 {
        let delivery = consumer.recv().unwrap();
        found.push((delivery[0], delivery.delivery_count()));
        delivery.ack().unwrap();
    }
    // 4 and 5 were ready all along; what was held comes once the death is noticed.
    found.sort_unstable();
    assert_eq!(found, [(1, 2), (2, 2), (3, 1), (4, 1), (5, 1)]);
    assert_eq!(queue.stats().participants.len(), 1);
}

/// Nobody attaches, waits or sweeps: a consumer that only asks again and again has to look for itself.
#[test]
fn a_consumer_that_never_waits_notices_a_death() {
    let _watchdog = watchdog("polling consumer", MINUTE);
    let dir = directory(Backing::Tmpfs);
    let path = dir.path().join("queue");
    let queue = small().create(&path).unwrap();
    let mut producer = queue.producer().unwrap();
    for n in 0..4u8 {
        producer.publish(&[n]).unwrap();
    }
    let consumer = queue.consumer().unwrap();
    let mut holder = spawn_child("holder", &path, &[]);
    assert_eq!(holder.next_line(), "holding");
    holder.kill();
    let mut found = Vec::new();
    while found.len() < 3 {
        match consumer.try_recv() {
            Ok(delivery) => {
                found.push((delivery[0], delivery.delivery_count()));
                delivery.ack().unwrap();
            }
            Err(error) => assert_eq!(error, ClaimError::Empty),
        }
    }
    assert_eq!(found, [(1, 2), (2, 2), (3, 1)], "oldest first");
    let swept = queue.stats().swept;
    assert_eq!((swept.participants, swept.holes, swept.claims), (1, 0, 3));
}

/// A message that kills every consumer it meets, and its neighbours, which nobody had started.
#[test]
fn a_poison_message_is_stopped_and_its_neighbours_are_not_blamed() {
    let _watchdog = watchdog("poison", MINUTE);
    let dir = directory(Backing::Disk);
    let path = dir.path().join("queue");
    let queue = small().create(&path).unwrap();
    let options = GroupOptions::shared()
        .max_deliveries(3)
        .dead_letters("dead");
    let group = queue.create_group("jobs", options).unwrap();
    let mut producer = queue.producer().unwrap();
    producer.publish_batch(["poison", "a", "b"]).unwrap();
    let mut deaths = 0;
    let said = loop {
        let mut child = spawn_child("dies-of-poison", &path, &[]);
        if child.next_line() == "poison" {
            assert!(!child.0.wait().unwrap().success());
            deaths += 1;
            continue;
        }
        break child.finish();
    };
    assert_eq!(deaths, 3);
    assert_eq!(said, ["b 1"], "after: a 1");
    let dead = Queue::open(dir.path().join("dead")).unwrap();
    let consumer = dead.consumer().unwrap();
    let letter = consumer.recv().unwrap();
    assert_eq!(&*letter, b"poison");
    assert_eq!(letter.dead_letter().unwrap().deliveries, 3);
    letter.ack().unwrap();
    assert_eq!(consumer.try_recv().unwrap_err(), ClaimError::Empty);
    assert!(group.dead_letters().is_empty());
}

/// Who holds what, as an outsider sees it, before anybody has cleared up.
#[test]
fn statistics_say_who_holds_what_and_who_is_dead() {
    let _watchdog = watchdog("holders", MINUTE);
    let dir = directory(Backing::Disk);
    let path = dir.path().join("queue");
    let queue = small().create(&path).unwrap();
    let mut producer = queue.producer().unwrap();
    for n in 0..4u8 {
        producer.publish(&[n]).unwrap();
    }
    let mut holder = spawn_child("holder", &path, &[]);
    assert_eq!(holder.next_line(), "holding");
    let inspector = slipring::Inspector::open(&path).unwrap();
    let pid = u64::from(holder.0.id());
    let seen = || {
        let found = inspector.stats().participants;
        let found = found.into_iter().find(|found| found.pid == pid).unwrap();
        (
            found.alive,
            found.holds,
            found.oldest_held,
            found.highest_count,
            found.writing,
        )
    };
    assert_eq!(seen(), (true, 3, Some(1), 1, 0));
    holder.kill();
    assert_eq!(seen(), (false, 3, Some(1), 1, 0));
    let me = inspector.stats().participants.remove(0);
    assert!(me.alive && me.holds == 0 && me.oldest_held.is_none());
    queue.sweep();
    assert_eq!(inspector.stats().participants.len(), 1);
}

#[test]
fn a_paused_consumer_keeps_its_claims() {
    let _watchdog = watchdog("paused consumer", MINUTE);
    let dir = directory(Backing::Tmpfs);
    let path = dir.path().join("queue");
    let queue = small().create(&path).unwrap();
    let mut producer = queue.producer().unwrap();
    for n in 0..4u8 {
        producer.publish(&[n]).unwrap();
    }
    let mut holder = spawn_child("holder", &path, &[]);
    assert_eq!(holder.next_line(), "holding");
    let pid = holder.0.id() as libc::pid_t;
    assert_eq!(unsafe { libc::kill(pid, libc::SIGSTOP) }, 0);
    let consumer = queue.consumer().unwrap();
    let timeout = Duration::from_millis(300);
    assert_eq!(
        consumer.recv_timeout(timeout).unwrap_err(),
        ClaimError::TimedOut
    );
    assert_eq!(queue.sweep().participants, 0);
    assert_eq!(unsafe { libc::kill(pid, libc::SIGCONT) }, 0);
    holder.finish();
    assert_eq!(
        consumer.recv().unwrap().sequence(),
        1,
        "given back when it left"
    );
}

#[test]
fn a_parked_consumer_and_a_blocked_producer_are_woken() {
    let _watchdog = watchdog("wake-ups", MINUTE);
    for backing in [Backing::Tmpfs, Backing::Disk] {
        let dir = directory(backing);
        let path = dir.path().join("queue");
        let queue = small().capacity(2).create(&path).unwrap();
        let mut echo = spawn_child("echo", &path, &[("COUNT", "60".into())]);
        assert_eq!(echo.next_line(), "ready");
        let group = queue
            .create_group("mine", GroupOptions::exclusive())
            .unwrap();
        let mine = group.consumer().unwrap().wait_strategy(WaitStrategy::Park);
        let mut producer = queue.producer().unwrap().wait_strategy(WaitStrategy::Park);
        for n in 0..60u8 {
            if n % 20 == 0 {
                std::thread::sleep(Duration::from_millis(120));
            }
            producer.publish(&[n]).unwrap();
            let delivery = mine.recv().unwrap();
            assert_eq!(*delivery, [n]);
            delivery.ack().unwrap();
        }
        echo.finish();
    }
}

#[test]
fn a_sole_producer_shuts_others_out_while_it_lives() {
    let _watchdog = watchdog("sole producer", MINUTE);
    let dir = directory(Backing::Tmpfs);
    let path = dir.path().join("queue");
    let queue = small().create(&path).unwrap();
    let mut sole = spawn_child("sole", &path, &[]);
    assert_eq!(sole.next_line(), "sole");
    let pid = u64::from(sole.0.id());
    assert_eq!(
        queue.producer().unwrap_err(),
        AttachError::SoleProducer { pid }
    );
    assert!(matches!(
        queue.sole_producer().unwrap_err(),
        AttachError::HasProducers { .. }
    ));
    sole.kill();
    assert_eq!(queue.sole_producer().unwrap().publish("next").unwrap(), 2);
    let consumer = queue.consumer().unwrap();
    for expected in ["one", "two", "next"] {
        let delivery = consumer.recv().unwrap();
        assert_eq!(&*delivery, expected.as_bytes());
        delivery.ack().unwrap();
    }
}

#[test]
fn an_ephemeral_group_vanishes_with_a_killed_member() {
    let _watchdog = watchdog("ephemeral group", MINUTE);
    let dir = directory(Backing::Tmpfs);
    let path = dir.path().join("queue");
    let queue = small().create(&path).unwrap();
    let mut member = spawn_child("ephemeral", &path, &[]);
    assert_eq!(member.next_line(), "member");
    assert!(queue.group("passing").is_ok());
    member.kill();
    assert_eq!(queue.sweep().participants, 1);
    assert_eq!(queue.group("passing").unwrap_err(), GroupError::NotFound);
}

#[test]
fn entries_of_killed_processes_are_used_again() {
    let _watchdog = watchdog("killed processes", MINUTE);
    let dir = directory(Backing::Tmpfs);
    let path = dir.path().join("queue");
    let queue = small().max_participants(3).create(&path).unwrap();
    for _ in 0..6 {
        let mut kids = [
            spawn_child("sole", &path, &[]),
            spawn_child("idle", &path, &[]),
        ];
        assert_eq!(kids[1].next_line(), "idle");
        kids[0].next_line();
        let full = Queue::open(&path).unwrap_err();
        assert!(
            matches!(full.kind(), OpenErrorKind::ParticipantsFull { max: 3 }),
            "{full}"
        );
        kids.iter_mut().for_each(Kid::kill);
        drop(Queue::open(&path).unwrap());
        queue.sweep();
        let consumer = queue.consumer().unwrap();
        while let Ok(delivery) = consumer.try_recv() {
            delivery.ack().unwrap();
        }
    }
    assert_eq!(queue.stats().participants.len(), 1);
}

#[test]
fn everything_published_is_there_when_all_have_died() {
    let _watchdog = watchdog("all dead", MINUTE);
    for backing in [Backing::Tmpfs, Backing::Disk] {
        let dir = directory(backing);
        let path = dir.path().join("queue");
        drop(small().create(&path).unwrap());
        let mut sole = spawn_child("sole", &path, &[]);
        assert_eq!(sole.next_line(), "sole");
        sole.kill();
        let queue = Queue::open(&path).unwrap();
        let consumer = queue.consumer().unwrap();
        for expected in ["one", "two"] {
            let delivery = consumer.try_recv().unwrap();
            assert_eq!(&*delivery, expected.as_bytes());
            delivery.ack().unwrap();
        }
        assert_eq!(consumer.try_recv().unwrap_err(), ClaimError::Empty);
    }
}

#[test]
fn a_forked_child_is_told_and_the_parent_goes_on() {
    let _watchdog = watchdog("fork", MINUTE);
    let dir = directory(Backing::Tmpfs);
    let path = dir.path().join("queue");
    let queue = small().create(&path).unwrap();
    // In a process with one thread: a forked child of several may not even allocate.
    spawn_child("forker", &path, &[]).finish();
    let consumer = queue.consumer().unwrap();
    let delivery = consumer.recv().unwrap();
    assert_eq!(&*delivery, b"parent");
    delivery.ack().unwrap();
    assert_eq!(&*consumer.recv().unwrap(), b"grandchild");
}

fn fork_and_try(path: &Path) {
    let queue = Queue::open(path).unwrap();
    let mut producer = queue.producer().unwrap();
    let mut extra = queue.producer().unwrap();
    let reservation = extra.reserve(4).unwrap();
    let consumer = queue.consumer().unwrap();
    producer.publish("parent").unwrap();
    let delivery = consumer.recv().unwrap();
    let spare = Queue::open(path).unwrap();
    let spare_consumer = spare.consumer().unwrap();
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        let told = producer.publish("child") == Err(PublishError::Forked)
            && reservation.commit() == Err(PublishError::Forked)
            && delivery.ack() == Err(AckError::Forked)
            && consumer
                .try_recv()
                .is_err_and(|error| error == ClaimError::Forked)
            && queue
                .producer()
                .is_err_and(|error| error == AttachError::Forked)
            && queue.consumer().is_err()
            && queue
                .create_group("g", GroupOptions::shared())
                .is_err_and(|e| e == GroupError::Forked)
            && queue.groups().is_empty()
            && queue.sweep().participants == 0
            && queue.stats().participants.is_empty();
        drop((producer, spare_consumer, spare));
        // For itself it may open the queue, and the parent's handles stay refused.
        let own = Queue::open(path).unwrap();
        own.producer().unwrap().publish("grandchild").unwrap();
        unsafe { libc::_exit(if told { 0 } else { 1 }) };
    }
    let mut status = 0;
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    assert_eq!(status, 0, "the child was told, everywhere");
    drop(reservation);
    delivery.release().unwrap();
    assert_eq!(queue.sweep().participants, 1, "the child's own");
    assert_eq!(
        queue.stats().participants.len(),
        3,
        "the test's process and this one, twice"
    );
}

#[test]
#[ignore = "run by other tests, in a process of its own"]
fn child() {
    let Some((role, path)) = common::role() else {
        return;
    };
    let forever = || loop {
        std::thread::sleep(MINUTE);
    };
    match role.as_str() {
        "producer" => produce(&path),
        "consumer" => consume(&path),
        "forker" => fork_and_try(&path),
        "exclusive" => {
            let consumer = Queue::open(&path)
                .unwrap()
                .group("log")
                .unwrap()
                .consumer()
                .unwrap();
            for _ in 0..3 {
                consumer.recv().unwrap().ack().unwrap();
            }
            let _held = (consumer.recv().unwrap(), consumer.recv().unwrap());
            say("holding");
            forever();
        }
        "holder" => {
            let consumer = Queue::open(&path).unwrap().consumer().unwrap();
            consumer.recv().unwrap().ack().unwrap();
            let _second = consumer.recv().unwrap();
            let mut batch = consumer.recv_batch(2).unwrap();
            let _third = batch.next().unwrap().unwrap();
            say("holding");
            // Until the parent closes our input.
            std::io::read_to_string(std::io::stdin()).unwrap();
        }
        "dies-of-poison" => {
            let group = Queue::open(&path).unwrap().group("jobs").unwrap();
            let consumer = group.consumer().unwrap();
            let timeout = Duration::from_millis(200);
            while let Ok(batch) = consumer.recv_batch_timeout(3, timeout) {
                for delivery in batch {
                    let delivery = delivery.unwrap();
                    let text = String::from_utf8_lossy(&delivery).into_owned();
                    if text == "poison" {
                        say("poison");
                        unsafe { libc::raise(libc::SIGKILL) };
                    }
                    say(format!("{text} {}", delivery.delivery_count()));
                    delivery.ack().unwrap();
                }
            }
        }
        "echo" => {
            let queue = Queue::open(&path).unwrap();
            let consumer = queue.consumer().unwrap().wait_strategy(WaitStrategy::Park);
            say("ready");
            for n in 0..number("COUNT") {
                let delivery = consumer.recv().unwrap();
                assert_eq!(u64::from(delivery[0]), n);
                delivery.ack().unwrap();
            }
        }
        "sole" => {
            let mut producer = Queue::open(&path).unwrap().sole_producer().unwrap();
            producer.publish("one").unwrap();
            producer.publish(Message::new(b"two")).unwrap();
            say("sole");
            forever();
        }
        "ephemeral" => {
            let queue = Queue::open(&path).unwrap();
            let options = GroupOptions::shared().ephemeral(true).start(Start::Latest);
            let _member = queue
                .create_group("passing", options)
                .unwrap()
                .consumer()
                .unwrap();
            say("member");
            forever();
        }
        "idle" => {
            let _queue = Queue::open(&path).unwrap();
            say("idle");
            forever();
        }
        other => panic!("no role {other}"),
    }
}
