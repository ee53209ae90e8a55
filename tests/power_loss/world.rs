//! Participants at work on one queue, what has been promised to them, and where the power may go.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use slipring::layout::durability::{payload_sum, record_sum};
use slipring::layout::geometry::{Shape, control, slot};
use slipring::layout::{Geometry, GroupId, OwnedWord, OwnerId, SegmentPointer, SlotHeader};
use slipring::mem::{Mem, fault};
use slipring::ring::{
    Claim, Claimer, Cursor, Effort, Handed, Publisher, Ring, Settle, Start, Stuck, Terms,
};
use slipring::sync::Ordering;
use zerocopy::IntoBytes;

use crate::check::{Nothing, check};
use crate::disk::{Disk, PAGE, PIECE, SECTOR, heap_with, watched};

pub const QUEUE: [u8; 16] = [7; 16];
pub const SHARED: GroupId = GroupId(0);
pub const EXCLUSIVE: GroupId = GroupId(1);

/// A small generator: the same numbers for the same seed.
#[derive(Clone, Copy, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// What has been promised, and what may be true.
#[derive(Clone, Default)]
pub struct Ledger {
    /// Payloads by sequence, noted before they were published.
    pub attempted: BTreeMap<u64, Vec<u8>>,
    /// One past the highest sequence that was published.
    pub used_until: u64,
    /// Confirmed durable.
    pub durable: BTreeSet<u64>,
    /// Acked by a group, noted before.
    pub acked: BTreeSet<(u8, u64)>,
    /// Confirmed so.
    pub acked_durably: BTreeSet<(u8, u64)>,
    /// Published in this boot.
    pub published_now: BTreeSet<u64>,
    /// Acked in this boot.
    pub acked_now: BTreeSet<(u8, u64)>,
    /// The disk may say that the queue was left in order, with this as the next sequence.
    pub marked: Option<u64>,
}

impl Ledger {
    fn note_ack(&mut self, key: (u8, u64)) {
        self.acked.insert(key);
        self.acked_now.insert(key);
    }
}

/// How a delivery ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    Ack,
    AckDurably,
    Nack,
    Keep,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// Images recovered and checked.
    pub images: u64,
    /// Stores after which every image was.
    pub exhausted: u64,
    /// Messages confirmed durable.
    pub confirmed: u64,
}

pub struct World {
    ring: Rc<Ring>,
    disk: RefCell<Disk>,
    pub ledger: RefCell<Ledger>,
    random: Cell<Random>,
    every: u128,
    drawn: usize,
    publishers: RefCell<Vec<Publisher>>,
    claimers: RefCell<Vec<Claimer>>,
    cursor: RefCell<Option<Cursor>>,
    kept: RefCell<Vec<(u16, Claim)>>,
    counter: Cell<u64>,
    seen: Cell<Seen>,
    in_sync: Cell<bool>,
    /// Published, with the ticket to wait for.
    waiting: RefCell<Vec<(u64, u64)>>,
    words: RefCell<Vec<OwnedWord>>,
}

pub fn ring_on(mem: Mem, geometry: Geometry) -> Rc<Ring> {
    Rc::new(Ring::new(mem, geometry).durable(true))
}

impl World {
    /// A new queue.
    pub fn new(shape: Shape, random: Random, every: u128, drawn: usize) -> Rc<Self> {
        let geometry = Geometry::new(shape).unwrap();
        let ring = ring_on(Mem::heap(geometry.file_size()).unwrap(), geometry);
        let set = |offset, value| ring.mem().word(offset).store(value, Ordering::Relaxed);
        set(control::TAIL, shape.first_sequence);
        let until = shape.first_sequence + ring.ahead_of_tail();
        set(control::UNTIL_DISK, until);
        set(control::UNTIL_LIVE, until);
        for id in geometry.group_ids() {
            let joining = ring.begin_group(OwnerId(0)).unwrap();
            let terms = Terms {
                exclusive: id == EXCLUSIVE,
                ..Terms::default()
            };
            set(geometry.group(id).plus(24), 1);
            ring.finish_group(joining, terms, Start::Latest).unwrap();
        }
        Self::attached(ring, Ledger::default(), random, every, drawn)
    }

    fn attached(
        ring: Rc<Ring>,
        ledger: Ledger,
        random: Random,
        every: u128,
        drawn: usize,
    ) -> Rc<Self> {
        let world = Rc::new(Self {
            disk: RefCell::new(Disk::new(Rc::clone(&ring))),
            counter: Cell::new(ledger.attempted.len() as u64),
            ledger: RefCell::new(ledger),
            random: Cell::new(random),
            every,
            drawn,
            publishers: RefCell::default(),
            claimers: RefCell::default(),
            cursor: RefCell::default(),
            kept: RefCell::default(),
            seen: Cell::default(),
            in_sync: Cell::new(false),
            waiting: RefCell::default(),
            words: RefCell::default(),
            ring,
        });
        let ring = &world.ring;
        for id in ring.geometry().participant_ids() {
            world.words.borrow_mut().push(ring.join(id).unwrap());
            world
                .publishers
                .borrow_mut()
                .push(ring.publisher(id, false));
            world.claimers.borrow_mut().push(ring.claimer(SHARED, id));
        }
        world
    }

    pub fn seen(&self) -> Seen {
        self.seen.get()
    }

    pub fn below(&self, bound: usize) -> usize {
        let mut random = self.random.get();
        let drawn = random.below(bound);
        self.random.set(random);
        drawn
    }

    /// Works, and loses power after every store.
    pub fn run(self: &Rc<Self>, work: impl FnOnce(&Self)) {
        let looking = Rc::clone(self);
        watched(move || looking.look(), || work(self));
        self.look();
    }

    /// What the disk may have now, each way checked.
    fn look(&self) {
        if !self.disk.borrow_mut().look() {
            return;
        }
        let disk = self.disk.borrow();
        let mut images = Vec::new();
        let mut seen = self.seen.get();
        if disk.new_images() <= self.every {
            disk.every_new_image(|image| images.push(image));
            seen.exhausted += 1;
        } else {
            for turn in 0..self.drawn {
                let block = [PIECE, PIECE, SECTOR, PAGE][turn % 4];
                images.push(disk.image(block, |count| self.below(count)).0);
            }
        }
        seen.images += images.len() as u64;
        self.seen.set(seen);
        let ledger = self.ledger.borrow();
        let geometry = self.ring.geometry();
        for image in images {
            let deeper = self.below(40) == 0;
            let mut random = self.random.get();
            check(&image, geometry, &ledger, &mut random, deeper);
            self.random.set(random);
        }
    }

    /// Goes on from one of the images, in the next boot.
    pub fn loses_power(self: Rc<Self>) -> Rc<Self> {
        let block = [PIECE, SECTOR, PAGE][self.below(3)];
        let image = self.disk.borrow().image(block, |count| self.below(count)).0;
        let ring = ring_on(heap_with(&image), *self.ring.geometry());
        ring.recover(&QUEUE, &[2; 16], &Nothing).unwrap();
        ring.begin_use(&Nothing).unwrap();
        let mut ledger = self.ledger.borrow().clone();
        ledger.marked = None;
        ledger.published_now.clear();
        ledger.acked_now.clear();
        Self::attached(ring, ledger, self.random.get(), self.every, self.drawn)
    }

    /// Publishes as participant `by`; sometimes a message that does not fit its slot.
    pub fn publish(&self, by: usize, durably: bool) {
        let counter = self.counter.get() + 1;
        self.counter.set(counter);
        let large = self.ring.geometry().segment_count() > 0 && counter.is_multiple_of(3);
        let payload = counter.to_le_bytes().repeat(if large { 12 } else { 2 });
        // Bound: one turn more after a sync.
        for _ in 0..3 {
            match self.try_publish(by, &payload) {
                Ok(sequence) => {
                    if durably {
                        self.confirm(by, sequence);
                    }
                    return;
                }
                Err(Stuck::Unsynced) if !self.in_sync.get() => self.sync(by),
                Err(Stuck::Unsynced | Stuck::Full | Stuck::ArenaFull) => return,
                Err(other) => panic!("{other:?}"),
            }
        }
    }

    fn confirm(&self, by: usize, sequence: u64) {
        let ticket = self.ring.sync_ticket();
        if self.in_sync.get() || self.below(3) == 0 {
            self.waiting.borrow_mut().push((sequence, ticket));
        } else if self.until_synced(by) {
            self.ledger.borrow_mut().durable.insert(sequence);
            let mut seen = self.seen.get();
            seen.confirmed += 1;
            self.seen.set(seen);
        }
    }

    /// Those who wait look whether they have been served.
    fn confirm_waiting(&self) {
        let waiting = self.waiting.take();
        for (sequence, ticket) in waiting {
            if self.ring.is_synced(ticket) {
                self.ledger.borrow_mut().durable.insert(sequence);
            } else {
                self.waiting.borrow_mut().push((sequence, ticket));
            }
        }
    }

    fn until_synced(&self, by: usize) -> bool {
        let ticket = self.ring.sync_ticket();
        if !self.ring.is_synced(ticket) && !self.in_sync.get() {
            self.sync(by);
        }
        self.ring.is_synced(ticket)
    }

    fn try_publish(&self, by: usize, payload: &[u8]) -> Result<u64, Stuck> {
        let ring = &self.ring;
        let mut publishers = self.publishers.borrow_mut();
        let p = &mut publishers[by];
        let mut header = SlotHeader {
            length: payload.len() as u32,
            ..SlotHeader::default()
        };
        let held = if payload.len() as u64 > ring.geometry().inline_max() {
            header.flags = SlotHeader::IN_ARENA;
            let held = ring.hold_segment(p, payload.len() as u64)?;
            ring.mem().copy_in(held.bytes, payload);
            Some(held)
        } else {
            None
        };
        let reserved = ring.reserve(p).inspect_err(|_| {
            if let Some(held) = &held {
                ring.open_segment(held);
            }
        })?;
        let sequence = reserved.sequence;
        let before = self
            .ledger
            .borrow_mut()
            .attempted
            .insert(sequence, payload.to_vec());
        assert_eq!(before, None, "sequence {sequence} used twice");
        header.crc = record_sum(payload_sum(payload), &header, &QUEUE, sequence);
        if let Some(held) = &held {
            ring.use_segment(held, sequence);
            ring.fill(reserved, &header, held.pointer().as_bytes());
        } else {
            ring.fill(reserved, &header, payload);
        }
        ring.commit(p, reserved)?;
        let mut ledger = self.ledger.borrow_mut();
        ledger.used_until = ledger.used_until.max(sequence + 1);
        ledger.published_now.insert(sequence);
        drop(ledger);
        if let Some(held) = &held {
            ring.open_segment(held);
        }
        Ok(sequence)
    }

    /// Syncs as `by`. While the disk is at it, others may go on.
    pub fn sync(&self, by: usize) {
        self.in_sync.set(true);
        let mut p = self.ring.publisher(OwnerId(by as u16), false);
        assert_eq!(self.ring.try_sync(&mut p, &Syncing(self)), Ok(true));
        self.in_sync.set(false);
    }

    /// Takes a message of the group, and ends so.
    pub fn take(&self, by: usize, group: u8, stop: Stop) {
        if GroupId(group) == EXCLUSIVE {
            return self.follow(by, stop);
        }
        let owner = OwnerId(by as u16);
        let claimed = {
            let mut claimers = self.claimers.borrow_mut();
            self.ring
                .claim(&mut claimers[by], true, Effort::Thorough)
                .unwrap()
        };
        let Some(claim) = claimed else { return };
        let key = (group, claim.sequence);
        self.expect_delivery(key);
        match stop {
            Stop::Ack | Stop::AckDurably => {
                self.ledger.borrow_mut().note_ack(key);
                assert!(self.ring.settle(SHARED, owner, claim, Settle::Ack));
            }
            Stop::Nack => assert!(self.ring.settle(SHARED, owner, claim, Settle::Nack)),
            Stop::Keep => self.kept.borrow_mut().push((owner.0, claim)),
        }
        self.confirm_ack(by, key, stop);
    }

    fn confirm_ack(&self, by: usize, key: (u8, u64), stop: Stop) {
        if stop == Stop::AckDurably && self.until_synced(by) {
            self.ledger.borrow_mut().acked_durably.insert(key);
        }
    }

    fn expect_delivery(&self, key: (u8, u64)) {
        let ledger = self.ledger.borrow();
        assert!(!ledger.acked_durably.contains(&key), "{key:?} came again");
        let bytes = message_at(&self.ring, key.1);
        assert_eq!(ledger.attempted.get(&key.1), Some(&bytes), "{key:?}");
    }

    /// The same in the exclusive group.
    fn follow(&self, by: usize, stop: Stop) {
        let mut cursor = self.cursor.borrow_mut();
        let owner = OwnerId(by as u16);
        let taken = cursor
            .take()
            .or_else(|| self.ring.take_over(EXCLUSIVE, owner));
        let mut active = taken.unwrap();
        let next: Option<Handed> = self.ring.cursor_next(&mut active).unwrap();
        let Some(handed) = next else {
            *cursor = Some(active);
            return;
        };
        let key = (EXCLUSIVE.0, handed.claim.sequence);
        self.expect_delivery(key);
        let how = match stop {
            Stop::Ack | Stop::AckDurably => {
                self.ledger.borrow_mut().note_ack(key);
                Settle::Ack
            }
            Stop::Nack | Stop::Keep => Settle::Nack,
        };
        self.ring.cursor_end(&mut active, handed, Some(how));
        if stop == Stop::Keep {
            self.ring.hand_over(&mut active);
        } else {
            *cursor = Some(active);
        }
        drop(cursor);
        self.confirm_ack(by, key, stop);
    }

    /// A participant dies where it has reserved a slot, and is swept and replaced.
    fn die(&self, by: usize) {
        let id = OwnerId(by as u16);
        if self.cursor.borrow().is_some() {
            return;
        }
        let mut publishers = self.publishers.borrow_mut();
        if let Ok(reserved) = self.ring.reserve(&mut publishers[by]) {
            self.ring
                .fill(reserved, &SlotHeader::default(), &[0xee; 16]);
        }
        let word = self.words.borrow()[by];
        self.ring.sweep(id, word);
        self.words.borrow_mut()[by] = self.ring.join(id).unwrap();
        publishers[by] = self.ring.publisher(id, false);
        self.claimers.borrow_mut()[by] = self.ring.claimer(SHARED, id);
        self.kept.borrow_mut().retain(|(owner, _)| *owner != id.0);
    }

    /// One step of somebody.
    pub fn anything(&self) {
        self.confirm_waiting();
        let by = self.below(self.ring.geometry().shape().max_participants as usize);
        let group = self.below(self.ring.geometry().shape().max_groups as usize) as u8;
        match self.below(14) {
            0..=2 => self.publish(by, false),
            3 | 4 => self.publish(by, true),
            5 | 6 => self.take(by, group, Stop::Ack),
            7 => self.take(by, group, Stop::AckDurably),
            8 => self.take(by, group, Stop::Nack),
            9 => self.take(by, group, Stop::Keep),
            10 if self.in_sync.get() => {}
            10 => self.sync(by),
            11 | 12 => self.die(by),
            _ if self.in_sync.get() => {}
            _ => self.leave_and_return(Last::drawn(self.below(5))),
        }
    }
}

/// How the last participant leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// In order.
    Leaves,
    /// Somebody else comes just then.
    IsNot,
    /// Dies when it has begun to look whether it is the last.
    DiesClosing,
    /// Dies when it has set the mark.
    DiesMarking,
    /// Leaves in order, and the next one dies as it opens.
    IsFollowedByADeath,
}

impl Last {
    fn drawn(number: usize) -> Self {
        [
            Self::Leaves,
            Self::IsNot,
            Self::DiesClosing,
            Self::DiesMarking,
            Self::IsFollowedByADeath,
        ][number]
    }
}

impl World {
    /// All participants leave, and others come.
    pub fn leave_and_return(&self, how: Last) {
        if let Some(mut active) = self.cursor.take() {
            self.ring.hand_over(&mut active);
        }
        for (owner, claim) in self.kept.take() {
            let owner = OwnerId(owner);
            assert!(self.ring.settle(SHARED, owner, claim, Settle::Nack));
        }
        let words = self.words.take();
        let (held, others) = words.split_first().unwrap();
        for (id, word) in (1..).zip(others) {
            self.ring.leave(OwnerId(id), *word);
        }
        let me = OwnerId(0);
        let mut p = self.ring.publisher(me, false);
        let disk = Leaving(self, Cell::new(0));
        match how {
            Last::Leaves | Last::IsFollowedByADeath => {
                assert!(self.ring.leave_marked(&mut p, *held, &disk, || false));
                assert!(self.ring.is_marked());
            }
            Last::IsNot => {
                assert!(!self.ring.leave_marked(&mut p, *held, &disk, || true));
                self.ring.leave(me, *held);
            }
            Last::DiesClosing => self.store_clean(3),
            Last::DiesMarking => {
                self.store_clean(3);
                assert_eq!(self.ring.try_sync(&mut p, &disk), Ok(true));
                self.store_clean(1);
            }
        }
        if how == Last::IsFollowedByADeath {
            self.store_clean(2);
        }
        self.come_back(*held);
    }

    fn store_clean(&self, state: u64) {
        let word = self.ring.mem().word(control::CLEAN);
        word.store(state, Ordering::Relaxed);
    }

    /// The first of them looks how the queue was left, and sweeps who died while leaving.
    fn come_back(&self, held: OwnedWord) {
        let ring = &self.ring;
        if !ring.is_in_use() {
            ring.begin_use(&Opening(self)).unwrap();
        }
        self.ledger.borrow_mut().marked = None;
        if ring.participant_state(OwnerId(0)) == held {
            ring.sweep(OwnerId(0), held);
        }
        for id in ring.geometry().participant_ids() {
            self.words.borrow_mut().push(ring.join(id).unwrap());
            let by = usize::from(id.0);
            self.publishers.borrow_mut()[by] = ring.publisher(id, false);
            self.claimers.borrow_mut()[by] = ring.claimer(SHARED, id);
        }
    }

    /// All that has happened is on the disk.
    fn note_left_in_order(&self) {
        let mut ledger = self.ledger.borrow_mut();
        ledger.marked = Some(self.ring.true_tail());
        let (published, acked) = (ledger.published_now.clone(), ledger.acked_now.clone());
        ledger.durable.extend(published);
        ledger.acked_durably.extend(acked);
    }
}

/// The disk of the last to leave. When its first sync is over, all is on the disk.
struct Leaving<'a>(&'a World, Cell<u32>);

impl slipring::ring::Disk for Leaving<'_> {
    fn sync(&self) -> Result<(), u64> {
        let Self(world, count) = self;
        fault::touches();
        let began = world.disk.borrow().time;
        world.disk.borrow_mut().synced(began);
        count.set(count.get() + 1);
        if count.get() == 1 {
            world.note_left_in_order();
        }
        Ok(())
    }
}

/// The disk of who comes first.
struct Opening<'a>(&'a World);

impl slipring::ring::Disk for Opening<'_> {
    fn sync(&self) -> Result<(), u64> {
        fault::touches();
        let began = self.0.disk.borrow().time;
        self.0.disk.borrow_mut().synced(began);
        Ok(())
    }
}

struct Syncing<'a>(&'a World);

impl slipring::ring::Disk for Syncing<'_> {
    fn sync(&self) -> Result<(), u64> {
        let world = self.0;
        // The recorder looks before every access.
        fault::touches();
        let began = world.disk.borrow().time;
        for _ in 0..world.below(3) {
            world.anything();
        }
        world.confirm_waiting();
        fault::touches();
        world.disk.borrow_mut().synced(began);
        Ok(())
    }
}

/// The bytes of the message at a sequence.
pub fn message_at(ring: &Ring, sequence: u64) -> Vec<u8> {
    let start = ring.geometry().slot(sequence);
    let mut header = SlotHeader::default();
    ring.mem()
        .copy_out(start.plus(slot::HEADER), header.as_mut_bytes());
    let mut at = start.plus(slot::PAYLOAD);
    if header.flags & SlotHeader::IN_ARENA != 0 {
        let mut pointer = SegmentPointer {
            offset: 0,
            emptied: 0,
        };
        ring.mem().copy_out(at, pointer.as_mut_bytes());
        at = slipring::layout::Offset(pointer.offset);
    }
    let mut bytes = vec![0; header.length.min(4096) as usize];
    ring.mem().copy_out(at, &mut bytes);
    bytes
}
