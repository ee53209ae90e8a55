//! Goal: asking about dead messages changes nothing, and none is lost on the way to its queue.
//! Method: small stories of what goes wrong.

#![cfg(not(slipring_loom))]
#![allow(clippy::unwrap_used, missing_docs, reason = "a test may fail loudly")]

use slipring::{GroupOptions, Queue};

mod common;
use common::{Backing, directory};

#[test]
fn asking_for_dead_letters_leaves_a_group_that_nobody_has_joined() {
    let queue = Queue::options().in_memory().unwrap();
    let options = GroupOptions::shared().ephemeral(true);
    let group = queue.create_group("soon", options).unwrap();
    assert!(group.dead_letters().is_empty());
    assert!(group.dead_letter_queue().is_none());
    assert!(group.retry(0).is_err());
    assert!(group.consumer().is_ok(), "its maker has not joined it yet");
}

#[test]
fn a_dead_letter_does_not_vanish_in_a_queue_that_was_removed() {
    let dir = directory(Backing::Tmpfs);
    let path = |name| dir.path().join(name);
    let queue = Queue::create(path("queue")).unwrap();
    let options = GroupOptions::shared().dead_letters("dead");
    let group = queue.create_group("work", options).unwrap();
    let consumer = group.consumer().unwrap();
    queue
        .producer()
        .unwrap()
        .publish_batch(["a", "b", "c"])
        .unwrap();
    consumer.recv().unwrap().reject("first").unwrap();
    let maker = Queue::open(path("dead")).unwrap();
    let longest = maker.max_message();
    assert_eq!(maker.stats().published, 1);
    drop(maker);

    Queue::unlink(path("dead")).unwrap();
    consumer.recv().unwrap().reject("second").unwrap();
    let parked: Vec<_> = group.dead_letters().iter().map(|d| d.sequence).collect();
    assert_eq!(parked, [1], "nowhere to go");

    let again = Queue::options().max_message(longest);
    let again = again.create(path("dead")).unwrap();
    consumer.recv().unwrap().reject("third").unwrap();
    assert_eq!(again.stats().published, 1);
}
