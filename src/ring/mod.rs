//! HEAD_PLACEHOLDER
mod arena;
mod claim;
mod cursor;
mod floor;
mod groups;
mod join;
#[cfg(not(slipring_loom))]
mod observe;
mod publish;
mod settle;
mod sleep;
mod sweep;

pub use arena::HeldSegment;
pub use claim::{Claim, Claimer};
pub use cursor::{Cursor, Handed};
pub use groups::{JoiningGroup, OutOfReach, Start};
#[cfg(not(slipring_loom))]
pub use observe::{ClaimCounts, Observed};
pub use publish::{Publisher, Stuck};
pub use settle::Settle;
pub use sleep::{Channel, Wake};
pub use sweep::Swept;

use crate::layout::{FormatError, Geometry, GroupId, Offset, OwnedWord, OwnerId, SlotState};
use crate::mem::{Mem, Word};

/// One queue's memory and where everything lies in it.
#[derive(Debug)]
pub struct Ring {
    mem: Mem,
    geo: Geometry,
    /// Messages between two updates of a hint.
    hint_every: u64,
}

/// A word that no running code writes, with its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Bytes from the start of the mapping.
    pub offset: Offset,
    /// The word.
    pub found: u64,
    /// What could stand there.
    pub expected: &'static str,
}

impl From<Damage> for FormatError {
    fn from(damage: Damage) -> Self {
        Self::Word {
            offset: damage.offset.0,
            found: damage.found,
            expected: damage.expected,
        }
    }
}

/// What a slot's word says to somebody who is at a position that maps to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotView {
    /// Not taken yet in this lap, and takeable.
    Free,
    /// Not taken yet in this lap; still being written in the one before.
    Busy,
    /// More than a lap behind: the position is not one that could have been reached.
    Behind,
    /// Taken in this lap, being written.
    Writing,
    /// Holds this position's message.
    Published,
    /// Holds nothing in this lap.
    Aborted,
    /// Taken in a later lap, for the sequence `newest`.
    Lapped {
        /// The highest sequence known to be taken here.
        newest: u64,
    },
    /// Not a slot word.
    Unknown,
}

impl Ring {
    /// A ring over `mem`, which has at least `geo.file_size()` bytes.
    #[must_use]
    pub fn new(mem: Mem, geo: Geometry) -> Self {
        let hint_every = (geo.capacity() / 4).clamp(1, 32);
        Self {
            mem,
            geo,
            hint_every,
        }
    }

    /// Its memory.
    #[inline]
    pub fn mem(&self) -> &Mem {
        &self.mem
    }

    /// Its layout.
    #[inline]
    pub fn geometry(&self) -> &Geometry {
        &self.geo
    }

    #[inline]
    fn word(&self, offset: Offset) -> Word<'_> {
        self.mem.word(offset)
    }

    #[inline]
    fn slot_word(&self, sequence: u64) -> Word<'_> {
        self.word(
            self.geo
                .slot(sequence)
                .plus(crate::layout::geometry::slot::WORD),
        )
    }

    #[inline]
    fn claim_word(&self, group: GroupId, sequence: u64) -> Word<'_> {
        self.word(self.geo.claim(group, sequence))
    }

    /// A word of a group's entry.
    #[inline]
    pub fn group_word(&self, group: GroupId, field: u64) -> Word<'_> {
        self.word(self.geo.group(group).plus(field))
    }

    /// A word of a participant's entry.
    #[inline]
    pub fn participant_word(&self, id: OwnerId, field: u64) -> Word<'_> {
        self.word(self.geo.participant(id).plus(field))
    }

    #[inline]
    fn slot_view(&self, sequence: u64, raw: OwnedWord) -> SlotView {
        let Some(state) = raw.slot_state() else {
            return SlotView::Unknown;
        };
        match (raw.laps_ahead_of(self.geo.lap(sequence)), state) {
            (_, SlotState::Empty) => SlotView::Free,
            (0, SlotState::Writing) => SlotView::Writing,
            (0, SlotState::Published) => SlotView::Published,
            (0, SlotState::Aborted) => SlotView::Aborted,
            (-1, SlotState::Writing) => SlotView::Busy,
            (-1, _) => SlotView::Free,
            (ahead @ 1.., _) => {
                // Saturating: in a scribbled file the lap can be anything.
                let beyond = ahead.unsigned_abs().saturating_mul(self.geo.capacity());
                SlotView::Lapped {
                    newest: sequence.saturating_add(beyond).min(u64::MAX - 1),
                }
            }
            _ => SlotView::Behind,
        }
    }

    #[cold]
    fn slot_damage(&self, sequence: u64, raw: OwnedWord, expected: &'static str) -> Damage {
        Damage {
            offset: self.geo.slot(sequence),
            found: raw.0,
            expected,
        }
    }
}
