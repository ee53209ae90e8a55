//! What the models share: a ring in modelled memory, and a futex made of loom's own primitives.
#![allow(dead_code, reason = "each model uses some of it")]

pub mod data;
pub mod death;

use loom::sync::{Arc, Condvar, Mutex};
use slipring::layout::geometry::{Shape, control};
use slipring::layout::{Geometry, GroupId, OwnerId, SlotHeader};
use slipring::mem::{Event, Mem};
use slipring::ring::{Channel, Claim, Claimer, Publisher, Ring, Start, Stuck, Terms, Wake};
use slipring::sync::Ordering;

/// A queue of two slots for participants 0 to 2, with one group.
pub struct Model {
    pub ring: Ring,
    pub group: GroupId,
    sleepers: Mutex<Sleepers>,
    woken: Condvar,
}

/// Who sleeps where, and how many have slept so far.
#[derive(Default)]
struct Sleepers {
    asleep: Vec<(Channel, u32)>,
    count: u32,
}

pub fn model(exclusive: bool) -> Arc<Model> {
    with(Terms {
        exclusive,
        ..Terms::default()
    })
}

/// The same with leases of 100 ms.
pub fn leased() -> Arc<Model> {
    with(Terms {
        ack_timeout_ms: 100,
        ..Terms::default()
    })
}

/// Two slots, one group, three participants, no arena.
pub const SMALL: Shape = Shape {
    capacity: 2,
    slot_size: 64,
    max_message: 32,
    arena_size: 0,
    max_groups: 1,
    max_participants: 3,
    first_sequence: 0,
};

fn with(terms: Terms) -> Arc<Model> {
    shaped(SMALL, terms)
}

/// A queue with room for so many groups, and one group.
pub fn grouped(max_groups: u32, terms: Terms) -> Arc<Model> {
    let shape = Shape {
        max_groups,
        ..SMALL
    };
    shaped(shape, terms)
}

/// The same with so many segments.
pub fn segmented(max_groups: u32, segments: u64, terms: Terms) -> Arc<Model> {
    let shape = Shape {
        max_groups,
        max_message: 64,
        arena_size: segments * 4096,
        ..SMALL
    };
    shaped(shape, terms)
}

/// A queue of this shape whose producers stop where the disk says, a lap after its start.
pub fn durable(shape: Shape) -> Arc<Model> {
    made(shape, Terms::default(), true)
}

/// A queue of this shape, with one group.
pub fn shaped(shape: Shape, terms: Terms) -> Arc<Model> {
    made(shape, terms, false)
}

fn made(shape: Shape, terms: Terms, durable: bool) -> Arc<Model> {
    let geometry = Geometry::new(shape).unwrap();
    let ring = Ring::new(Mem::model(&geometry), geometry).durable(durable);
    let until = shape.first_sequence + shape.capacity;
    for offset in [control::UNTIL_DISK, control::UNTIL_LIVE] {
        let until = if durable { until } else { 0 };
        ring.mem().word(offset).store(until, Ordering::Relaxed);
    }
    ring.mem()
        .word(control::TAIL)
        .store(shape.first_sequence, Ordering::Relaxed);
    let joining = ring.begin_group(OwnerId(0)).unwrap();
    let group = joining.id;
    ring.finish_group(joining, terms, Start::Latest).unwrap();
    Arc::new(Model {
        ring,
        group,
        sleepers: Mutex::new(Sleepers::default()),
        woken: Condvar::new(),
    })
}

impl Model {
    pub fn publisher(&self, id: u16) -> Publisher {
        self.ring.publisher(OwnerId(id), false)
    }

    pub fn claimer(&self, id: u16) -> Claimer {
        self.ring.claimer(self.group, OwnerId(id))
    }

    /// One message of eight equal bytes, or `None` if there is no room.
    pub fn publish(&self, p: &mut Publisher, byte: u8) -> Option<u64> {
        let reserved = match self.ring.reserve(p) {
            Ok(reserved) => reserved,
            Err(Stuck::Full) => return None,
            Err(other) => panic!("{other:?}"),
        };
        let header = SlotHeader {
            length: 8,
            ..SlotHeader::default()
        };
        self.ring.fill(reserved, &header, &[byte; 8]);
        self.ring.commit(p, reserved).unwrap();
        Some(reserved.sequence)
    }

    /// The bytes of a claimed message; torn ones fail, and loom fails if they are written meanwhile.
    pub fn read(&self, claim: Claim) -> u8 {
        let mut bytes = [0; 8];
        let slot = self.ring.geometry().slot(claim.sequence);
        self.ring.mem().copy_out(slot.plus(32), &mut bytes);
        assert_eq!(bytes, [bytes[0]; 8], "torn");
        bytes[0]
    }

    /// Sleeps on a channel unless it has moved since `ticket`: what the kernel does, without its time-out, so that a lost
    /// wake-up is a deadlock, which loom reports.
    pub fn sleep(&self, channel: Channel, ticket: u32) {
        let mut sleepers = self.sleepers.lock().unwrap();
        if self.ring.event(channel).load(Ordering::SeqCst) != ticket {
            return;
        }
        let me = (channel, sleepers.count);
        sleepers.count += 1;
        sleepers.asleep.push(me);
        while sleepers.asleep.contains(&me) {
            sleepers = self.woken.wait(sleepers).unwrap();
        }
    }

    pub fn waker(&self, channel: Channel) -> Waker<'_> {
        Waker {
            model: self,
            channel,
        }
    }
}

/// Wakes sleepers of one channel.
pub struct Waker<'a> {
    model: &'a Model,
    channel: Channel,
}

impl Wake for Waker<'_> {
    fn wake(&self, _event: Event<'_>, count: i32) -> u64 {
        let mut sleepers = self.model.sleepers.lock().unwrap();
        let mut woken = 0;
        while woken < count {
            let Some(at) = sleepers
                .asleep
                .iter()
                .position(|&(channel, _)| channel == self.channel)
            else {
                break;
            };
            sleepers.asleep.remove(at);
            woken += 1;
        }
        self.model.woken.notify_all();
        u64::try_from(woken).unwrap()
    }
}

/// Collects every outcome of a model and compares them with the named ones.
#[derive(Default)]
pub struct Outcomes<T>(std::sync::Mutex<std::collections::BTreeSet<T>>);

impl<T: Ord + Clone + std::fmt::Debug> Outcomes<T> {
    pub const fn new() -> Self {
        Self(std::sync::Mutex::new(std::collections::BTreeSet::new()))
    }

    pub fn add(&self, outcome: T) {
        self.0.lock().unwrap().insert(outcome);
    }

    /// Each outcome seen is one of `named`, and each named one was seen.
    pub fn are(&self, named: &[(T, &str)]) {
        let seen = self.0.lock().unwrap();
        for outcome in seen.iter() {
            assert!(
                named.iter().any(|(known, _)| known == outcome),
                "unknown outcome {outcome:?} of {seen:?}"
            );
        }
        for (known, name) in named {
            assert!(seen.contains(known), "never seen: {known:?} ({name})");
        }
    }
}
