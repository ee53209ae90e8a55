//! The byte format: magic, limits, and the numbers every other module counts in.
//!
//! Relies on zerocopy and crc32c; everything above relies on it. No atomics, no operating system. The same facts in
//! prose are `docs/format.md`; a test holds the two together.

pub mod durability;
mod fields;
pub mod geometry;
pub mod header;
pub mod word;

pub use durability::Durability;
pub use geometry::{Geometry, GeometryError};
pub use header::{FileHeader, FormatError, SegmentPointer, SlotHeader};
pub use word::{ClaimState, ClaimWord, EntryState, LeaseWord, OwnedWord, ReadyHint, SlotState};

/// The first eight bytes of every queue file.
pub const MAGIC: [u8; 8] = *b"SLIPRING";
/// The only format version this code writes, and reads.
pub const FORMAT_VERSION: u32 = 1;

/// Distance, in bytes, between fields that different parties write. Fixed by the format on every CPU: the adjacent-line
/// prefetcher of x86-64 and the 128-byte lines of some aarch64 both need it.
pub const LINE: u64 = 128;
/// Alignment of the large regions (slots, arena).
pub const PAGE: u64 = 4096;

/// The longest participant or group name, in bytes.
pub const NAME_MAX: usize = 63;

/// The longest `ack_timeout` of a group, in ms.
pub const ACK_TIMEOUT_MAX_MS: u64 = 1 << 40;
/// The longest name of a dead-letter queue, in bytes.
pub const DEAD_QUEUE_MAX: usize = 255;
/// The longest reason of a dead letter, in bytes.
pub const REASON_MAX: usize = 255;
/// The longest reason of a parked message, in bytes.
pub const NOTE_MAX: usize = 112;
/// The most groups a queue can have: one bit each in a 64-bit word.
pub const GROUPS_MAX: u32 = 64;
/// The most participants a queue can have: a 12-bit owner number.
pub const PARTICIPANTS_MAX: u32 = 4096;
/// The most slots a queue can have.
pub const CAPACITY_MAX: u64 = 1 << 30;
/// The largest slot, in bytes.
pub const SLOT_SIZE_MAX: u64 = 1 << 20;
/// The smallest slot, in bytes: its header and 32 bytes of payload.
pub const SLOT_SIZE_MIN: u64 = 64;
/// The longest message, in bytes (a 32-bit length).
pub const MESSAGE_MAX: u64 = u32::MAX as u64;
/// The largest arena, in bytes.
pub const ARENA_MAX: u64 = 1 << 44;
/// The most segments an arena is divided into.
pub const SEGMENTS_MAX: u64 = 1 << 16;
/// Bytes of a slot before its inline payload.
pub const SLOT_HEADER: u64 = 32;

/// Byte distance from the start of the mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub u64);

impl Offset {
    /// The offset `bytes` further on.
    #[inline]
    #[must_use]
    pub const fn plus(self, bytes: u64) -> Self {
        Self(self.0 + bytes)
    }
}

/// Number of an attached process in the participant table, 0 to 4095.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnerId(pub u16);

/// Number of a group in the group table, 0 to 63.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u8);

impl GroupId {
    /// The bit that stands for this group in a 64-bit mask.
    #[inline]
    #[must_use]
    pub const fn bit(self) -> u64 {
        1 << (self.0 & 63)
    }

    /// The groups whose bits are set, lowest first.
    pub fn in_mask(mut mask: u64) -> impl Iterator<Item = Self> {
        std::iter::from_fn(move || {
            if mask == 0 {
                return None;
            }
            let lowest = mask.trailing_zeros();
            mask &= mask - 1;
            u8::try_from(lowest).ok().map(Self)
        })
    }
}
