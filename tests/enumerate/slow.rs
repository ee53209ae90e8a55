//! Somebody who is slow: alive, in the middle of a publish and of a delivery, until it is told to finish.
//!
//! Two participants in the middle of something cannot take turns on one stack, so this one calls the ring itself.

use slipring::layout::{GroupId, OwnerId, SlotHeader};
use slipring::mem::{Access, Mem};
use slipring::ring::{Claim, Effort, Publisher, Reserved, Ring, Settle};
use slipring::{Consumer, Producer, Queue};

use super::ledger::Id;
use super::stage::Stage;
use super::{DEFAULT, INLINE, SLOW};

/// The group `default`.
const GROUP: GroupId = GroupId(0);

pub struct Slow {
    owner: OwnerId,
    ring: Ring,
    publisher: Publisher,
    reserved: Reserved,
    id: Id,
    payload: Vec<u8>,
    claim: Claim,
    producer: Producer,
    _consumer: Consumer,
    _queue: Queue,
}

impl Slow {
    /// Has claimed the oldest message, `oldest`, and reserved the next slot.
    pub fn begin(stage: &Stage, oldest: Id) -> Self {
        let place = &stage.place;
        let queue = place.open("slow");
        let (producer, consumer) = (queue.producer().unwrap(), queue.consumer().unwrap());
        let stats = queue.stats();
        let me = stats.participants.iter().find(|p| p.name == "slow");
        let owner = OwnerId(me.unwrap().id);
        let size = place.geometry.file_size();
        let mem = Mem::map(&place.file, size, Access::default()).unwrap();
        let ring = Ring::new(mem, place.geometry);
        let mut claimer = ring.claimer(GROUP, owner);
        let claim = ring.claim(&mut claimer, true, Effort::Once);
        stage.ledger.borrow_mut().handed_over(DEFAULT, oldest);
        let mut publisher = ring.publisher(owner, false);
        let (id, payload) = stage.ledger.borrow_mut().attempt(SLOW, INLINE);
        Self {
            owner,
            reserved: ring.reserve(&mut publisher).unwrap(),
            claim: claim.unwrap().unwrap(),
            ring,
            publisher,
            id,
            payload,
            producer,
            _consumer: consumer,
            _queue: queue,
        }
    }

    /// Whoever looks for what was given back now begins at what this one has claimed.
    pub fn point_here(&self) {
        self.ring.note_ready(GROUP, self.claim.sequence);
    }

    /// Publishes, publishes another message, and gives back what it claimed: all that was its own still is.
    pub fn finish(mut self, stage: &Stage) {
        let header = SlotHeader {
            length: self.payload.len() as u32,
            flags: 0,
            kind: SLOW,
            crc: 0,
            key: self.id as u32,
            timestamp: 0,
        };
        self.ring.fill(self.reserved, &header, &self.payload);
        self.ring
            .commit(&mut self.publisher, self.reserved)
            .unwrap();
        stage.published(self.id, Ok(self.reserved.sequence));
        stage.publish(SLOW, &mut self.producer, INLINE);
        let claim = self.claim;
        assert!(self.ring.settle(GROUP, self.owner, claim, Settle::Nack));
    }
}
