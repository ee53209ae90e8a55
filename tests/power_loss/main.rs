//! Goal: whenever the power goes, whatever pages and sectors of the file the disk then has of which moment: what was
//! confirmed durable and not acked is there, nothing torn or forged is delivered, no sequence is used twice, and what was
//! acked durably does not come again; the same if the power goes again in the middle of the recovery. And a queue that was
//! left in order is then as it was left, and only that says so.
//! Method: participants work on a queue in heap memory, on one thread, and every store is recorded with its order. A sync
//! makes stable what was stored before it began. After each store images of the disk are made, in which every 8 bytes, or
//! sector, or page, is of any moment since the last sync: all of them where they are few, seeded random ones else. Each is
//! recovered, checked against a ledger of promises, and used.

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

mod check;
#[path = "../common/mod.rs"]
mod common;
mod disk;
mod world;

use common::{MINUTE, watchdog};
use slipring::layout::geometry::Shape;
use world::{Last, Random, Stop, World};

/// Two slots, one shared group, no arena.
const SMALL: Shape = Shape {
    capacity: 2,
    slot_size: 64,
    max_message: 32,
    arena_size: 0,
    max_groups: 1,
    max_participants: 2,
    first_sequence: 0,
};

/// Four slots, a shared and an exclusive group, messages that do not fit a slot.
const LARGER: Shape = Shape {
    capacity: 4,
    max_message: 100,
    arena_size: 8192,
    max_groups: 2,
    max_participants: 3,
    ..SMALL
};

/// Images that are looked at after one store before they are drawn at random.
const EVERY: u128 = 10_000;
const DRAWN: usize = 12;

fn seed() -> u64 {
    let given = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| u64::from(std::process::id()) << 20 | 1);
    println!("SEED={seed}");
    seed
}

/// Two messages, the second of them confirmed; the first acked, and that confirmed; a lap more.
#[test]
fn every_image_of_a_short_life_keeps_what_was_confirmed() {
    let _watchdog = watchdog("every image", 5 * MINUTE);
    let world = World::new(SMALL, Random(1), EVERY, DRAWN);
    world.run(|w| {
        w.publish(0, false);
        w.publish(1, true);
        w.take(0, 0, Stop::Ack);
        w.publish(0, false);
        w.take(0, 0, Stop::AckDurably);
        w.publish(1, true);
        w.sync(0);
        w.take(0, 0, Stop::Ack);
        w.publish(0, false);
        w.take(0, 0, Stop::Nack);
    });
    let seen = world.seen();
    println!("{seen:?}");
    assert!(seen.exhausted > 30, "{seen:?}");
    assert!(seen.images > 10_000, "{seen:?}");
}

/// Two messages, one of them settled, none confirmed; then all leave, in each way there is, and others go on with it.
#[test]
fn every_image_of_leaving_and_returning_keeps_all_there_was() {
    let _watchdog = watchdog("leaving", 5 * MINUTE);
    for how in [
        Last::Leaves,
        Last::IsNot,
        Last::DiesClosing,
        Last::DiesMarking,
        Last::IsFollowedByADeath,
    ] {
        let world = World::new(SMALL, Random(2), EVERY, DRAWN);
        world.run(|w| {
            w.publish(0, false);
            w.publish(1, false);
            w.take(0, 0, Stop::Ack);
            w.leave_and_return(how);
            w.publish(1, false);
            w.take(1, 0, Stop::Ack);
            w.leave_and_return(how);
            w.publish(0, false);
        });
        let seen = world.seen();
        println!("{how:?}: {seen:?}");
        assert!(seen.exhausted > 20, "{seen:?}");
    }
}

/// Random lives on small and larger queues, each of which goes on from one of its images, a few times.
#[test]
fn random_lives_with_power_losses_keep_what_was_confirmed() {
    let _watchdog = watchdog("random lives", 5 * MINUTE);
    let seed = seed();
    let lives = std::env::var("LIVES").ok().and_then(|n| n.parse().ok());
    let (mut images, mut confirmed) = (0, 0);
    for life in 0..lives.unwrap_or(60) {
        let shape = if life % 2 == 0 { SMALL } else { LARGER };
        let mut random = Random(seed.wrapping_mul(1000) + life);
        let mut world = World::new(shape, Random(random.next()), 1, 2);
        for boot in 0..4 {
            println!("life {life}, boot {boot}");
            world.run(|w| {
                for _ in 0..30 {
                    w.anything();
                }
            });
            let seen = world.seen();
            images += seen.images;
            confirmed += seen.confirmed;
            world = world.loses_power();
        }
    }
    println!("{images} images, {confirmed} messages confirmed");
    assert!(confirmed > 100, "{confirmed}");
}
