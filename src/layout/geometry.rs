//! Where everything lies: from the handful of numbers chosen at creation to every offset in the file.
//!
//! Relies on the limits in `layout`; `mem` and `ring` address the mapping only through it. All arithmetic here is
//! checked, once, at creation or open; after that an offset is a few shifts and cannot leave the file, whatever other
//! processes write into it.

pub use super::fields::{
    CONTROL_SIZE, GROUP_SIZE, HEADER_SIZE, NOTE_SIZE, NOTES_PER_GROUP, PARTICIPANT_SIZE,
    SEGMENT_SIZE, control, group, note, participant, segment, slot,
};
use super::{
    ARENA_MAX, CAPACITY_MAX, GROUPS_MAX, GroupId, LINE, MESSAGE_MAX, Offset, OwnerId, PAGE,
    PARTICIPANTS_MAX, SEGMENTS_MAX, SLOT_HEADER, SLOT_SIZE_MAX, SLOT_SIZE_MIN,
};

/// The numbers chosen at creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Slots; a power of two.
    pub capacity: u64,
    /// Bytes per slot; a multiple of 64.
    pub slot_size: u64,
    /// Longest message in bytes.
    pub max_message: u64,
    /// Bytes for messages that do not fit a slot; 0 if all do.
    pub arena_size: u64,
    /// Entries of the group table.
    pub max_groups: u32,
    /// Entries of the participant table.
    pub max_participants: u32,
    /// The sequence of the first message ever; a multiple of the capacity.
    pub first_sequence: u64,
}

/// A [`Shape`] that no queue can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeometryError {
    /// Which number is wrong.
    pub field: &'static str,
    /// The number.
    pub found: u64,
    /// What it must be.
    pub expected: &'static str,
}

/// Every offset and size of one queue, derived from its [`Shape`] and checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    shape: Shape,
    shift: u32,
    segment_size: u64,
    segment_count: u64,
    participants: u64,
    groups: u64,
    claims: u64,
    /// Bytes of one group's claim words.
    claims_stride: u64,
    leases: u64,
    reservations: u64,
    segments: u64,
    slots: u64,
    arena: u64,
    file_size: u64,
}

fn check(
    ok: bool,
    field: &'static str,
    found: u64,
    expected: &'static str,
) -> Result<(), GeometryError> {
    if ok {
        Ok(())
    } else {
        Err(GeometryError {
            field,
            found,
            expected,
        })
    }
}

fn align_up(value: u64, alignment: u64) -> Option<u64> {
    value
        .checked_add(alignment - 1)
        .map(|v| v / alignment * alignment)
}

/// A scribbled number stays inside its table. No remainder: a division on every access is what a message costs most.
#[inline]
const fn below(number: u64, count: u32) -> u64 {
    if number < count as u64 { number } else { 0 }
}

impl Shape {
    fn check(&self) -> Result<(), GeometryError> {
        let s = self;
        // The index is a mask of the sequence.
        check(
            s.capacity.is_power_of_two() && (2..=CAPACITY_MAX).contains(&s.capacity),
            "capacity",
            s.capacity,
            "a power of two from 2 to 2^30",
        )?;
        // Headers of neighbouring slots must not share a cache line, and atomic words must be aligned.
        check(
            s.slot_size.is_multiple_of(64)
                && (SLOT_SIZE_MIN..=SLOT_SIZE_MAX).contains(&s.slot_size),
            "slot_size",
            s.slot_size,
            "a multiple of 64 from 64 to 1048576",
        )?;
        check(
            s.max_message <= MESSAGE_MAX,
            "max_message",
            s.max_message,
            "at most 4294967295 bytes",
        )?;
        check(
            s.arena_size <= ARENA_MAX,
            "arena_size",
            s.arena_size,
            "at most 2^44 bytes",
        )?;
        check(
            (1..=GROUPS_MAX).contains(&s.max_groups),
            "max_groups",
            s.max_groups.into(),
            "from 1 to 64",
        )?;
        check(
            (1..=PARTICIPANTS_MAX).contains(&s.max_participants),
            "max_participants",
            s.max_participants.into(),
            "from 1 to 4096",
        )?;
        // Sequences must be able to grow for as long as a machine lives, and start at index 0.
        check(
            s.first_sequence.is_multiple_of(s.capacity) && s.first_sequence <= u64::MAX - (1 << 62),
            "first_sequence",
            s.first_sequence,
            "a multiple of the capacity, below 3 * 2^62",
        )
    }

    /// Segment size and count for the arena: large enough for the longest message, and at least 16 if they fit, so that
    /// several producers can compose at once.
    fn segments(&self) -> Result<(u64, u64), GeometryError> {
        if self.max_message <= self.slot_size - SLOT_HEADER {
            return check(
                self.arena_size == 0,
                "arena_size",
                self.arena_size,
                "0, since every message fits a slot",
            )
            .map(|()| (0, 0));
        }
        let needed = align_up(self.max_message, PAGE).unwrap_or(u64::MAX);
        check(
            self.arena_size >= needed,
            "arena_size",
            self.arena_size,
            "room for at least one message of max_message bytes, rounded up to 4096",
        )?;
        let sixteenth = self.arena_size / 16 / PAGE * PAGE;
        let size = needed
            .max(sixteenth)
            .max(align_up(self.arena_size / SEGMENTS_MAX, PAGE).unwrap_or(PAGE));
        Ok((size, self.arena_size / size))
    }
}

impl Geometry {
    /// Checks the numbers and lays out the file.
    ///
    /// # Errors
    /// The first number that is out of its range, or the one whose product with others overflows.
    pub fn new(shape: Shape) -> Result<Self, GeometryError> {
        shape.check()?;
        let (segment_size, segment_count) = shape.segments()?;
        let too_large = |field, found| GeometryError {
            field,
            found,
            expected: "small enough for the file to stay below 2^62 bytes",
        };
        let claims_size = u64::from(shape.max_groups)
            .checked_mul(Self::words_stride(shape.capacity))
            .ok_or(too_large("capacity", shape.capacity))?;
        let participants = HEADER_SIZE + CONTROL_SIZE;
        let groups = participants + u64::from(shape.max_participants) * PARTICIPANT_SIZE;
        let claims = groups + u64::from(shape.max_groups) * GROUP_SIZE;
        let leases = claims + claims_size;
        let reservations = leases + claims_size;
        let segments = reservations + Self::words_stride(shape.capacity);
        let slots = align_up(segments + segment_count * SEGMENT_SIZE, PAGE)
            .ok_or(too_large("arena_size", shape.arena_size))?;
        let arena = shape
            .capacity
            .checked_mul(shape.slot_size)
            .and_then(|size| align_up(slots + size, PAGE))
            .ok_or(too_large("slot_size", shape.slot_size))?;
        let file_size = segment_size
            .checked_mul(segment_count)
            .and_then(|size| arena.checked_add(size))
            .filter(|&size| size < 1 << 62)
            .ok_or(too_large("arena_size", shape.arena_size))?;
        Ok(Self {
            shape,
            shift: shape.capacity.trailing_zeros(),
            segment_size,
            segment_count,
            participants,
            groups,
            claims,
            claims_stride: Self::words_stride(shape.capacity),
            leases,
            reservations,
            segments,
            slots,
            arena,
            file_size,
        })
    }

    const fn words_stride(capacity: u64) -> u64 {
        (capacity * 8).next_multiple_of(LINE)
    }

    /// The numbers this was made from.
    #[must_use]
    pub const fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Bytes of the whole file.
    #[must_use]
    pub const fn file_size(&self) -> u64 {
        self.file_size
    }

    /// Slots in the ring.
    #[inline]
    #[must_use]
    pub const fn capacity(&self) -> u64 {
        self.shape.capacity
    }

    /// Longest message a slot itself can hold, in bytes.
    #[inline]
    #[must_use]
    pub const fn inline_max(&self) -> u64 {
        self.shape.slot_size - SLOT_HEADER
    }

    /// Lap of a sequence, from 1. Words keep its low bits.
    #[inline(always)]
    #[must_use]
    pub const fn lap(&self, sequence: u64) -> u64 {
        (sequence >> self.shift) + 1
    }

    #[inline(always)]
    const fn index(&self, sequence: u64) -> u64 {
        sequence & (self.shape.capacity - 1)
    }

    /// Start of the slot of a sequence.
    #[inline(always)]
    #[must_use]
    pub const fn slot(&self, sequence: u64) -> Offset {
        Offset(self.slots + self.index(sequence) * self.shape.slot_size)
    }

    #[inline(always)]
    const fn entry(&self, group: GroupId) -> u64 {
        below(group.0 as u64, self.shape.max_groups)
    }

    /// The claim word of a group for a sequence.
    #[inline(always)]
    #[must_use]
    pub const fn claim(&self, group: GroupId, sequence: u64) -> Offset {
        Offset(self.claims + self.entry(group) * self.claims_stride + self.index(sequence) * 8)
    }

    /// The lease word of a group for a sequence.
    #[inline]
    #[must_use]
    pub const fn lease(&self, group: GroupId, sequence: u64) -> Offset {
        Offset(self.claim(group, sequence).0 + (self.leases - self.claims))
    }

    /// The note of a group for a dead sequence.
    #[must_use]
    pub const fn note(&self, group: GroupId, sequence: u64) -> Offset {
        Offset(self.group(group).0 + group::NOTES + sequence % NOTES_PER_GROUP * NOTE_SIZE)
    }

    /// The reservation word of a sequence.
    #[inline(always)]
    #[must_use]
    pub const fn reservation(&self, sequence: u64) -> Offset {
        Offset(self.reservations + self.index(sequence) * 8)
    }

    /// Start of a participant entry.
    #[inline]
    #[must_use]
    pub const fn participant(&self, id: OwnerId) -> Offset {
        let id = below(id.0 as u64, self.shape.max_participants);
        Offset(self.participants + id * PARTICIPANT_SIZE)
    }

    /// Start of a group entry.
    #[inline(always)]
    #[must_use]
    pub const fn group(&self, id: GroupId) -> Offset {
        Offset(self.groups + self.entry(id) * GROUP_SIZE)
    }

    /// Start of a segment entry. `number` must be below [`Self::segment_count`].
    #[inline]
    #[must_use]
    pub const fn segment(&self, number: u64) -> Offset {
        Offset(self.segments + number * SEGMENT_SIZE)
    }

    /// Start of a segment's bytes. `number` must be below [`Self::segment_count`].
    #[inline]
    #[must_use]
    pub const fn segment_bytes(&self, number: u64) -> Offset {
        Offset(self.arena + number * self.segment_size)
    }

    /// The segment that holds all of `length` bytes at `offset`, if one does.
    #[must_use]
    pub fn segment_at(&self, offset: u64, length: u64) -> Option<u64> {
        let within = offset.checked_sub(self.arena)?;
        let number = within.checked_div(self.segment_size)?;
        let end = (within % self.segment_size).checked_add(length)?;
        (number < self.segment_count && end <= self.segment_size).then_some(number)
    }

    /// Bytes of one segment; 0 without an arena.
    #[inline]
    #[must_use]
    pub const fn segment_size(&self) -> u64 {
        self.segment_size
    }

    /// Segments in the arena.
    #[inline]
    #[must_use]
    pub const fn segment_count(&self) -> u64 {
        self.segment_count
    }

    /// All participant numbers.
    pub fn participant_ids(&self) -> impl Iterator<Item = OwnerId> + use<> {
        (0..self.shape.max_participants)
            .filter_map(|i| u16::try_from(i).ok())
            .map(OwnerId)
    }

    /// All group numbers.
    pub fn group_ids(&self) -> impl Iterator<Item = GroupId> + use<> {
        (0..self.shape.max_groups)
            .filter_map(|i| u8::try_from(i).ok())
            .map(GroupId)
    }

    /// Starts of the regions, for `docs/format.md` and for tools.
    #[must_use]
    pub const fn regions(&self) -> [(&'static str, u64); 9] {
        [
            ("control", HEADER_SIZE),
            ("participants", self.participants),
            ("groups", self.groups),
            ("claims", self.claims),
            ("leases", self.leases),
            ("reservations", self.reservations),
            ("segments", self.segments),
            ("slots", self.slots),
            ("arena", self.arena),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Shape = Shape {
        capacity: 8,
        slot_size: 128,
        max_message: 1000,
        arena_size: 1 << 16,
        max_groups: 3,
        max_participants: 5,
        first_sequence: 0,
    };

    #[test]
    fn regions_follow_each_other_without_overlap() {
        let geometry = Geometry::new(SMALL).unwrap();
        let regions = geometry.regions();
        assert!(regions.windows(2).all(|pair| pair[0].1 < pair[1].1));
        assert_eq!(geometry.slot(8), geometry.slot(0));
        assert_eq!(geometry.lap(7), 1);
        assert_eq!(geometry.lap(8), 2);
        assert_eq!(geometry.claim(GroupId(1), 0).0 % LINE, 0);
        assert_eq!(geometry.segment_size() * geometry.segment_count(), 1 << 16);
        assert_eq!(
            geometry.segment_bytes(geometry.segment_count()).0,
            geometry.file_size()
        );
    }

    #[test]
    fn wrong_numbers_are_named() {
        type Change = fn(&mut Shape);
        let wrong: [(&str, Change); 16] = [
            ("capacity", |s| s.capacity = 0),
            ("capacity", |s| s.capacity = 1),
            ("capacity", |s| s.capacity = 12),
            ("capacity", |s| s.capacity = 1 << 31),
            ("slot_size", |s| s.slot_size = 0),
            ("slot_size", |s| s.slot_size = 100),
            ("max_message", |s| s.max_message = 1 << 32),
            ("arena_size", |s| s.arena_size = 0),
            ("arena_size", |s| s.arena_size = 1 << 45),
            ("arena_size", |s| s.max_message = 96),
            ("max_groups", |s| s.max_groups = 0),
            ("max_groups", |s| s.max_groups = 65),
            ("max_participants", |s| s.max_participants = 0),
            ("max_participants", |s| s.max_participants = 4097),
            ("first_sequence", |s| s.first_sequence = 4),
            ("first_sequence", |s| s.first_sequence = u64::MAX - 7),
        ];
        for (field, change) in wrong {
            let mut shape = SMALL;
            change(&mut shape);
            assert_eq!(Geometry::new(shape).unwrap_err().field, field);
        }
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let largest = Shape {
            capacity: CAPACITY_MAX,
            slot_size: SLOT_SIZE_MAX,
            max_message: MESSAGE_MAX,
            arena_size: ARENA_MAX,
            max_groups: GROUPS_MAX,
            max_participants: PARTICIPANTS_MAX,
            first_sequence: 0,
        };
        assert!(Geometry::new(largest).is_ok());
    }

    #[test]
    fn a_segment_pointer_out_of_the_arena_is_refused() {
        let geometry = Geometry::new(SMALL).unwrap();
        let first = geometry.segment_bytes(0).0;
        assert_eq!(geometry.segment_at(first, 4096), Some(0));
        assert_eq!(
            geometry.segment_at(first + 1, geometry.segment_size()),
            None
        );
        assert_eq!(geometry.segment_at(first - 1, 1), None);
        assert_eq!(geometry.segment_at(geometry.file_size(), 1), None);
        assert_eq!(geometry.segment_at(u64::MAX, u64::MAX), None);
    }
}
