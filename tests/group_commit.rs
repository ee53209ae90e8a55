//! Goal: a sync waits for those whom the last one served, as long as it was told to and no longer, and for nobody else.
//! Method: a ring on the heap, and a disk whose clock advances when it is looked at and whose publishers come when it gives
//! way. What the waiting gains is measured by `benches/durable.rs`.

#![cfg(not(slipring_loom))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a test may fail loudly"
)]

use std::cell::Cell;

use slipring::layout::geometry::{Shape, control};
use slipring::layout::{Geometry, OwnerId};
use slipring::mem::Mem;
use slipring::ring::{Disk, Ring};
use slipring::sync::Ordering;

const SHAPE: Shape = Shape {
    capacity: 8,
    slot_size: 64,
    max_message: 32,
    arena_size: 0,
    max_groups: 1,
    max_participants: 2,
    first_sequence: 0,
};
/// Nanoseconds between two looks at the clock.
const TICK: u64 = 1_000;
/// Nanoseconds a sync takes.
const SYNC: u64 = 400_000;

/// Longer than all syncs and waits of a test.
const WATCHDOG: u64 = 1_000_000_000;

/// Time passes when somebody looks at the clock, or syncs.
struct Scene {
    ring: Ring,
    now: Cell<u64>,
    /// How many publishers come as soon as somebody gives way, one each time.
    coming: Cell<u64>,
    /// How many come while the disk is at work.
    meanwhile: Cell<u64>,
    gave_way: Cell<u64>,
}

impl Disk for Scene {
    fn sync(&self) -> Result<(), u64> {
        self.now.set(self.now.get() + SYNC);
        (0..self.meanwhile.take()).for_each(|_| self.ask());
        Ok(())
    }

    fn clock_ns(&self) -> u64 {
        self.now.set(self.now.get() + TICK);
        assert!(self.now.get() < WATCHDOG, "it waits without end");
        self.now.get()
    }

    fn give_way(&self) {
        self.gave_way.set(self.gave_way.get() + 1);
        if self.coming.get() > 0 {
            self.coming.set(self.coming.get() - 1);
            self.ask();
        }
    }
}

impl Scene {
    fn new() -> Self {
        let geometry = Geometry::new(SHAPE).unwrap();
        let mem = Mem::heap(geometry.file_size()).unwrap();
        Self {
            ring: Ring::new(mem, geometry).durable(true),
            now: Cell::new(0),
            coming: Cell::new(0),
            meanwhile: Cell::new(0),
            gave_way: Cell::new(0),
        }
    }

    fn ask(&self) {
        self.ring.sync_ticket();
    }

    fn set(&self, offset: slipring::layout::Offset, value: u64) {
        self.ring.mem().word(offset).store(value, Ordering::Relaxed);
    }

    /// Somebody asks and syncs, and `coming` come again; how often it gave way to them, and for how long it waited.
    fn sync(&self, coming: u64) -> (u64, u64) {
        self.ask();
        self.coming.set(coming);
        self.gave_way.set(0);
        let since = self.now.get();
        let mut publisher = self.ring.publisher(OwnerId(0), false);
        assert_eq!(self.ring.try_sync(&mut publisher, self), Ok(true));
        (self.gave_way.get(), self.now.get() - since - SYNC)
    }
}

#[test]
fn whom_the_last_sync_served_is_waited_for() {
    let scene = Scene::new();
    (0..4).for_each(|_| scene.ask());
    scene.sync(0);
    // Five were served, one of which begins the next sync.
    assert_eq!(scene.sync(9).0, 4);
    assert_eq!(scene.sync(9).0, 4);
}

#[test]
fn those_who_come_during_a_sync_and_those_it_served_share_the_next() {
    let scene = Scene::new();
    (0..2).for_each(|_| scene.ask());
    scene.meanwhile.set(3);
    scene.sync(0);
    // One of the three that it served begins the next sync; the other two come again, and three are there.
    assert_eq!(scene.sync(9).0, 2);
    assert_eq!(scene.sync(9).0, 5);
}

#[test]
fn who_is_alone_is_not_waited_for() {
    let scene = Scene::new();
    for _ in 0..5 {
        assert_eq!(scene.sync(9).0, 0);
    }
}

#[test]
fn who_does_not_come_is_waited_for_once_and_a_quarter_of_a_sync() {
    let scene = Scene::new();
    scene.sync(0);
    (0..4).for_each(|_| scene.ask());
    scene.sync(0);
    let (gave_way, waited) = scene.sync(0);
    assert!(gave_way > 0);
    assert!(
        (SYNC / 4..SYNC / 4 + 10 * TICK).contains(&waited),
        "{waited}"
    );
    assert_eq!(scene.sync(0).0, 0);
}

#[test]
fn a_scribbled_guess_costs_one_short_wait() {
    for offset in [
        control::ASKED,
        control::COVERED,
        control::EXPECTED,
        control::SYNC_NS,
    ] {
        for value in [1, u64::MAX / 2, u64::MAX - 1, u64::MAX] {
            let scene = Scene::new();
            scene.sync(0);
            scene.set(control::SYNC_NS, u64::MAX);
            scene.set(offset, value);
            for _ in 0..3 {
                let (_, waited) = scene.sync(0);
                assert!(
                    waited <= 2_000_000 + 10 * TICK,
                    "{offset:?} {value}: {waited}"
                );
            }
            assert_eq!(scene.sync(0).0, 0, "{offset:?} {value}");
        }
    }
}
