//! Making a queue file that begins in the middle of things: messages with the sequences they had, groups where they were.
//!
//! The file has no name until it is whole, so nobody else sees it, and words are simply written. Sequences below the first
//! message, up to the start of the lap it falls into, and those that have no message, are holes.

use std::path::Path;

use zerocopy::IntoBytes;

use super::state::{COUNTERS, Fate, GroupState, Mark};
use super::{TransferError, does_not_fit};
use crate::dead;
use crate::error::{GroupError, OpenError, OpenErrorKind};
use crate::file::NewFile;
use crate::group::{Group, name_of};
use crate::layout::durability::{payload_sum, record_sum};
use crate::layout::geometry::{control, group, segment, slot};
use crate::layout::header::{FullPolicy, Verified};
use crate::layout::{
    ClaimState, ClaimWord, EntryState, GroupId, Offset, OwnedWord, OwnerId, SegmentPointer,
    SlotHeader, SlotState,
};
use crate::mem::{Access, Mem};
use crate::ring::{Ring, Start};
use crate::sync::Ordering;

/// Nobody: what is written here was some participant's of another file.
const NOBODY: OwnerId = OwnerId(0);

/// A file being made.
pub(super) struct Builder {
    file: NewFile,
    ring: Ring,
    policy: FullPolicy,
    /// One past the last sequence.
    end: u64,
    groups: Vec<(GroupId, Vec<Mark>)>,
    messages: u64,
    /// The id that checksums are made with, if there are any.
    seal: Option<[u8; 16]>,
    /// The segment being filled, and how far.
    segment: (u64, u64),
}

impl Builder {
    /// A file for the sequences up to `end`. It is to be named `target` when it is whole.
    pub(super) fn new(
        file: NewFile,
        target: &Path,
        verified: &Verified,
        end: u64,
    ) -> Result<Self, TransferError> {
        let geometry = verified.geometry;
        let size = geometry.file_size();
        let mapped = Mem::map(file.file(), size, Access::default());
        let mem = mapped.map_err(|source| {
            let kind = OpenErrorKind::from_io("mapping the file", size, source);
            OpenError::new(target, kind)
        })?;
        let builder = Self {
            file,
            ring: Ring::new(mem, geometry).durable(verified.durability.is_durable()),
            policy: verified.full_policy,
            seal: verified.checksums.then_some(verified.queue_id),
            end,
            groups: Vec::new(),
            messages: 0,
            segment: (0, 0),
        };
        builder.set(control::TAIL, end);
        for sequence in builder.first_kept()..end {
            let lap = geometry.lap(sequence);
            let taken = OwnedWord::slot(lap, NOBODY, SlotState::Taken);
            let hole = OwnedWord::slot(lap, NOBODY, SlotState::Aborted);
            builder.set(geometry.reservation(sequence), taken.0);
            builder.set(geometry.slot(sequence).plus(slot::WORD), hole.0);
        }
        Ok(builder)
    }

    fn set(&self, offset: Offset, word: u64) {
        // ORDERING: Relaxed; the file has no name yet.
        self.ring.mem().word(offset).store(word, Ordering::Relaxed);
    }

    /// The lowest sequence there is room for.
    fn first_kept(&self) -> u64 {
        let geometry = self.ring.geometry();
        let lap_below = self.end.saturating_sub(geometry.capacity());
        lap_below.max(geometry.shape().first_sequence)
    }

    /// Adds a message, of a higher sequence than those before.
    pub(super) fn message(
        &mut self,
        sequence: u64,
        header: SlotHeader,
        payload: &[u8],
    ) -> Result<(), TransferError> {
        let geometry = *self.ring.geometry();
        if !(self.first_kept()..self.end).contains(&sequence) {
            let needed = self.end.saturating_sub(sequence);
            return Err(does_not_fit(
                "messages from the oldest not settled to the newest",
                needed,
                "at most as many as the capacity",
            ));
        }
        let length = payload.len() as u64;
        if length > geometry.shape().max_message {
            let expected = "at most max_message";
            return Err(does_not_fit("the length of a message", length, expected));
        }
        let mut header = SlotHeader {
            flags: header.flags & SlotHeader::DEAD_LETTER,
            ..header
        };
        header.crc = 0;
        let start = geometry.slot(sequence);
        if length <= geometry.inline_max() {
            self.ring.mem().copy_in(start.plus(slot::PAYLOAD), payload);
        } else {
            header.flags |= SlotHeader::IN_ARENA;
            let offset = self.place(sequence, payload)?;
            let pointer = SegmentPointer { offset, emptied: 0 };
            self.ring
                .mem()
                .copy_in(start.plus(slot::PAYLOAD), pointer.as_bytes());
        }
        if let Some(queue_id) = &self.seal {
            header.crc = record_sum(payload_sum(payload), &header, queue_id, sequence);
        }
        self.ring
            .mem()
            .copy_in(start.plus(slot::HEADER), header.as_bytes());
        let word = OwnedWord::slot(geometry.lap(sequence), NOBODY, SlotState::Published);
        self.set(start.plus(slot::WORD), word.0);
        self.messages += 1;
        Ok(())
    }

    /// Puts a payload into the arena; returns where.
    fn place(&mut self, sequence: u64, payload: &[u8]) -> Result<u64, TransferError> {
        let geometry = *self.ring.geometry();
        let size = (payload.len() as u64).next_multiple_of(64);
        let (mut number, mut bump) = self.segment;
        if bump + size > geometry.segment_size() {
            (number, bump) = (number + 1, 0);
        }
        if number >= geometry.segment_count() {
            let expected = "room for all messages longer than a slot";
            let found = geometry.shape().arena_size;
            return Err(does_not_fit("arena_size", found, expected));
        }
        let at = geometry.segment_bytes(number).plus(bump);
        self.ring.mem().copy_in(at, payload);
        self.segment = (number, bump + size);
        let entry = geometry.segment(number);
        let open = OwnedWord::entry(1, NOBODY, EntryState::Closing);
        self.set(entry.plus(segment::STATE), open.0);
        self.set(entry.plus(segment::BUMP), bump + size);
        self.set(entry.plus(segment::USED_UNTIL), sequence + 1);
        Ok(at.0)
    }

    /// Adds a group.
    pub(super) fn group(&mut self, state: &GroupState) -> Result<(), TransferError> {
        let ring = &self.ring;
        let mut others = self.groups.iter();
        if others.any(|(id, _)| name_of(ring, *id) == state.name) {
            return Err(TransferError::Group(GroupError::AlreadyExists));
        }
        if state.terms.exclusive && self.policy == FullPolicy::DropOldest {
            return Err(TransferError::Group(GroupError::ExclusiveOnLossy));
        }
        let max = ring.geometry().shape().max_groups;
        let joining = ring.begin_group(NOBODY);
        let joining = joining.ok_or(TransferError::Group(GroupError::Full { max }))?;
        let id = joining.id;
        Group::write_name(ring, id, &state.name);
        dead::write_queue(ring, id, &state.dead_queue);
        // At the end, where any group can begin; then back to where it was.
        let _end = ring.finish_group(joining, state.terms, Start::Latest);
        let entry = ring.geometry().group(id);
        let position = state.position.clamp(self.first_kept(), self.end);
        for field in [group::START, group::FLOOR, group::HEAD, group::OPENED] {
            self.set(entry.plus(field), position);
        }
        for (field, count) in COUNTERS.into_iter().zip(state.counters) {
            self.set(entry.plus(field), count);
        }
        self.groups.push((id, state.marks.clone()));
        Ok(())
    }

    /// Adds to what has happened to messages in the group added `number`th.
    pub(super) fn marks(&mut self, number: usize, marks: Vec<Mark>) {
        if let Some((_, known)) = self.groups.get_mut(number) {
            known.extend(marks);
        }
    }

    /// The file, whole; what is left is to name it. And how many messages it has.
    pub(super) fn finish(self) -> (NewFile, u64) {
        for (id, marks) in &self.groups {
            for mark in marks {
                self.mark(*id, mark);
            }
        }
        let taken = self.end - self.ring.geometry().shape().first_sequence;
        self.set(control::ABORTED, taken.saturating_sub(self.messages));
        if self.ring.is_durable() {
            let floors = self.groups.iter().map(|(id, _)| self.ring.floor(*id));
            let lowest = floors.min().unwrap_or(self.end);
            let until = (lowest + self.ring.geometry().capacity())
                .min(self.end + self.ring.ahead_of_tail());
            self.set(control::UNTIL_DISK, until);
            self.set(control::UNTIL_LIVE, until);
            self.set(control::DURABLE, self.end);
            self.ring.mark_new();
        }
        (self.file, self.messages)
    }

    fn mark(&self, id: GroupId, mark: &Mark) {
        let sequence = mark.sequence;
        let geometry = self.ring.geometry();
        let position = self.ring.floor(id);
        if !(position.max(self.first_kept())..self.end).contains(&sequence) {
            return;
        }
        // ORDERING: Relaxed; the file has no name yet.
        let slot = self
            .ring
            .mem()
            .word(geometry.slot(sequence))
            .load(Ordering::Relaxed);
        if OwnedWord(slot).slot_state() != Some(SlotState::Published) {
            return;
        }
        let (owner, state) = match &mark.fate {
            Fate::Settled => (NOBODY, ClaimState::Done),
            Fate::Returned => (NOBODY, ClaimState::Ready),
            Fate::Again if self.ring.has_leases(id) => (NOBODY, ClaimState::Again),
            Fate::Again => (NOBODY, ClaimState::Ready),
            Fate::Parked { cause, .. } => (OwnerId(cause.number()), ClaimState::Dead),
        };
        let word = ClaimWord::new(geometry.lap(sequence), mark.attempt, owner, state);
        self.set(geometry.claim(id, sequence), word.0);
        if matches!(state, ClaimState::Ready | ClaimState::Again) {
            self.ring.note_ready(id, sequence);
        }
        if let Fate::Parked { reason, .. } = &mark.fate
            && !reason.is_empty()
        {
            self.ring.write_note(id, sequence, reason);
        }
    }
}
