//! Memory for the model checker: one loom atomic for each word the protocol uses, loom cells for payload bytes.
//!
//! Loom cannot see plain memory, so a payload copied before its word is published shows up as a causality violation
//! here and nowhere else. Only the words a protocol can touch are made; each costs time in every execution.

use std::collections::BTreeMap;
use std::fmt;

use loom::cell::UnsafeCell;

use super::{Event, Word, fault};
use crate::layout::geometry::{CONTROL_SIZE, HEADER_SIZE, PARTICIPANT_SIZE, SEGMENT_SIZE};
use crate::layout::{Geometry, LINE, Offset};
use crate::sync::{AtomicU32, AtomicU64};

enum Unit {
    Word(AtomicU64, AtomicU32),
    Event(AtomicU32),
    Bytes(UnsafeCell<[u8; 8]>),
}

/// The bytes of one queue, as the model checker sees them.
pub struct Mem(BTreeMap<u64, Unit>);

impl fmt::Debug for Mem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mem")
            .field("units", &self.0.len())
            .finish_non_exhaustive()
    }
}

// SAFETY: loom's cells are what checks the access; they panic on a race.
unsafe impl Send for Mem {}
// SAFETY: as above.
unsafe impl Sync for Mem {}

impl Mem {
    /// Zeroed memory for a queue of this geometry.
    #[must_use]
    pub fn model(geometry: &Geometry) -> Self {
        use crate::layout::geometry::{control, group};
        let mut units = BTreeMap::new();
        let mut words = |start: u64, length: u64, words_per_line: u64| {
            for offset in (start..start + length).step_by(8) {
                if (offset - start) % LINE < words_per_line * 8 {
                    units.insert(offset, Unit::Word(AtomicU64::new(0), AtomicU32::new(0)));
                }
            }
        };
        words(HEADER_SIZE, CONTROL_SIZE.min(7 * LINE), 1);
        words(control::ABORTED.0, 24, 3);
        words(control::SYNCER.0, 8, 1);
        words(control::STARTED.0, 88, 11);
        words(control::CLEAN.0, 8, 1);
        for id in geometry.participant_ids() {
            words(geometry.participant(id).0, PARTICIPANT_SIZE, 3);
        }
        for id in geometry.group_ids() {
            // Names and notes are no business of the protocol.
            let entry = geometry.group(id);
            words(entry.0, group::DEAD_QUEUE, 3);
            words(entry.0 + group::DEAD_LETTERED, 16, 2);
            words(geometry.claim(id, 0).0, geometry.capacity() * 8, LINE / 8);
            words(geometry.lease(id, 0).0, geometry.capacity() * 8, LINE / 8);
        }
        for number in 0..geometry.segment_count() {
            words(geometry.segment(number).0, SEGMENT_SIZE, 4);
        }
        let cell = || Unit::Bytes(UnsafeCell::new([0; 8]));
        words(geometry.reservation(0).0, geometry.capacity() * 8, LINE / 8);
        let slot_size = geometry.shape().slot_size;
        for sequence in 0..geometry.capacity() {
            words(geometry.slot(sequence).0, 8, 1);
        }
        for sequence in 0..geometry.capacity() {
            let slot = geometry.slot(sequence).0;
            for offset in (slot + 8..slot + slot_size).step_by(8) {
                units.insert(offset, cell());
            }
        }
        // Enough to see who writes a segment: the first bytes of each half.
        for number in 0..geometry.segment_count() {
            let start = geometry.segment_bytes(number).0;
            for offset in [start, start + geometry.segment_size() / 2] {
                units.insert(offset, cell());
            }
        }
        let mut events = vec![control::SPACE_EVENT, control::SYNC_EVENT];
        for id in geometry.group_ids() {
            let entry = geometry.group(id);
            events.extend([entry.plus(group::EVENT), entry.plus(group::STANDBY_EVENT)]);
        }
        for offset in events {
            units.insert(offset.0, Unit::Event(AtomicU32::new(0)));
        }
        Self(units)
    }

    /// The atomic word at `offset`.
    #[expect(
        clippy::panic,
        reason = "a model that touches an unknown word is wrong"
    )]
    pub fn word(&self, offset: Offset) -> Word<'_> {
        match self.0.get(&offset.0) {
            Some(Unit::Word(word, order)) => Word { word, order },
            _ => panic!("no word at {offset:?}"),
        }
    }

    /// The futex word at `offset`.
    #[expect(
        clippy::panic,
        reason = "a model that touches an unknown word is wrong"
    )]
    pub fn event(&self, offset: Offset) -> Event<'_> {
        match self.0.get(&offset.0) {
            Some(Unit::Event(event)) => Event(event),
            _ => panic!("no event at {offset:?}"),
        }
    }

    #[expect(clippy::panic, reason = "a model that touches unknown bytes is wrong")]
    fn bytes(&self, offset: u64) -> &UnsafeCell<[u8; 8]> {
        match self.0.get(&(offset & !7)) {
            Some(Unit::Bytes(bytes)) => bytes,
            _ => panic!("no bytes at {offset}"),
        }
    }

    /// Nothing to fetch here.
    pub fn prefetch(&self, _offset: Offset) {}

    /// As above.
    pub fn prefetch_to_write(&self, _offset: Offset) {}

    /// Copies `bytes` to `offset`.
    #[expect(clippy::indexing_slicing, reason = "the index is a remainder of 8")]
    pub fn copy_in(&self, offset: Offset, bytes: &[u8]) {
        fault::touches();
        for (at, &byte) in (offset.0..).zip(bytes) {
            let within = usize::try_from(at % 8).unwrap_or(0);
            // SAFETY: loom checks that nobody else is inside.
            self.bytes(at)
                .with_mut(|cell| unsafe { (*cell)[within] = byte });
        }
    }

    /// Copies out of `offset`.
    #[expect(clippy::indexing_slicing, reason = "the index is a remainder of 8")]
    pub fn copy_out(&self, offset: Offset, bytes: &mut [u8]) {
        fault::touches();
        for (at, byte) in (offset.0..).zip(bytes) {
            let within = usize::try_from(at % 8).unwrap_or(0);
            // SAFETY: loom checks that nobody writes.
            *byte = self.bytes(at).with(|cell| unsafe { (*cell)[within] });
        }
    }
}
