//! What the frames of an export hold, to bytes and back.

use super::TransferError;
use super::frames::{Fields, Frame};
use super::state::{Fate, GroupState, Mark};
use crate::dead::DeadLetter;
use crate::layout::geometry::Shape;
use crate::layout::header::{FullPolicy, Timestamps, Verified};
use crate::layout::{CAPACITY_MAX, DEAD_QUEUE_MAX, NAME_MAX, NOTE_MAX, SlotHeader};
use crate::ring::{Cause, Terms};

/// The kinds of frames, in the order in which they come.
pub(super) const QUEUE: u16 = 1;
pub(super) const GROUP: u16 = 2;
pub(super) const MARKS: u16 = 3;
pub(super) const MESSAGE: u16 = 4;
pub(super) const END: u16 = 5;

/// Marks in one frame.
pub(super) const MARKS_PER_FRAME: usize = 1024;

/// What the first frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct QueueRecord {
    pub(super) queue_id: [u8; 16],
    pub(super) created_ns: u64,
    pub(super) capacity: u64,
    pub(super) slot_size: u64,
    pub(super) max_message: u64,
    pub(super) arena_size: u64,
    pub(super) max_groups: u32,
    pub(super) max_participants: u32,
    pub(super) full_policy: FullPolicy,
    pub(super) timestamps: Timestamps,
    /// The first sequence that may follow, and one past the last.
    pub(super) first: u64,
    pub(super) end: u64,
}

impl QueueRecord {
    pub(super) fn new(verified: &Verified, first: u64, end: u64) -> Self {
        let shape = verified.geometry.shape();
        Self {
            queue_id: verified.queue_id,
            created_ns: verified.created_ns,
            capacity: shape.capacity,
            slot_size: shape.slot_size,
            max_message: shape.max_message,
            arena_size: shape.arena_size,
            max_groups: shape.max_groups,
            max_participants: shape.max_participants,
            full_policy: verified.full_policy,
            timestamps: verified.timestamps,
            first,
            end,
        }
    }

    /// The shape of the queue; its first sequence that of the export.
    pub(super) fn shape(&self) -> Shape {
        Shape {
            capacity: self.capacity,
            slot_size: self.slot_size,
            max_message: self.max_message,
            arena_size: self.arena_size,
            max_groups: self.max_groups,
            max_participants: self.max_participants,
            first_sequence: self.first,
        }
    }

    pub(super) fn to_bytes(self) -> Vec<u8> {
        let longs = [
            self.created_ns,
            self.capacity,
            self.slot_size,
            self.max_message,
            self.arena_size,
            self.first,
            self.end,
        ];
        let words = [
            self.max_groups,
            self.max_participants,
            self.full_policy as u32,
            self.timestamps as u32,
        ];
        let longs = longs.into_iter().flat_map(u64::to_le_bytes);
        let words = words.into_iter().flat_map(u32::to_le_bytes);
        self.queue_id
            .into_iter()
            .chain(longs)
            .chain(words)
            .collect()
    }

    pub(super) fn read(frame: &Frame) -> Result<Self, TransferError> {
        let mut fields = Fields::of(frame);
        let mut queue_id = [0; 16];
        queue_id.copy_from_slice(fields.bytes(16)?);
        let [created_ns, capacity, slot_size, max_message] =
            [fields.u64()?, fields.u64()?, fields.u64()?, fields.u64()?];
        let [arena_size, first, end] = [fields.u64()?, fields.u64()?, fields.u64()?];
        let [max_groups, max_participants] = [fields.small()?, fields.small()?];
        let policy: u16 = fields.small()?;
        let times: u16 = fields.small()?;
        let wrong = |what, found: u16| fields.wrong(what, found.into(), "0, 1 or 2");
        let full_policy =
            FullPolicy::from_bits(policy).ok_or_else(|| wrong("the full policy", policy))?;
        let timestamps =
            Timestamps::from_bits(times).ok_or_else(|| wrong("the timestamps", times))?;
        // A ring holds no more; laps further apart than words can tell would follow from it.
        let span = end.checked_sub(first).filter(|&span| span <= CAPACITY_MAX);
        if span.is_none() || end > u64::MAX >> 2 {
            let expected = "at most 2^30 above the first sequence, and below 2^62";
            return Err(fields.wrong("the end of the sequences", end, expected));
        }
        Ok(Self {
            queue_id,
            created_ns,
            capacity,
            slot_size,
            max_message,
            arena_size,
            max_groups,
            max_participants,
            full_policy,
            timestamps,
            first,
            end,
        })
    }
}

impl GroupState {
    /// The number it has in the export, and all but its marks, which have frames of their own.
    pub(super) fn to_bytes(&self, number: u32) -> Vec<u8> {
        let short = |text: &str| u32::try_from(text.len()).unwrap_or(0);
        let words = [
            number,
            u32::from(self.terms.exclusive),
            self.terms.max_deliveries.into(),
            short(&self.name),
            short(&self.dead_queue),
        ];
        let longs = [self.terms.ack_timeout_ms, self.position];
        let longs = longs.into_iter().chain(self.counters);
        let longs = longs.flat_map(u64::to_le_bytes);
        let words = words.into_iter().flat_map(u32::to_le_bytes);
        let texts = self.name.bytes().chain(self.dead_queue.bytes());
        words.chain(longs).chain(texts).collect()
    }

    pub(super) fn read(frame: &Frame) -> Result<(u32, Self), TransferError> {
        let mut fields = Fields::of(frame);
        let number = fields.small()?;
        let flags: u32 = fields.small()?;
        let deliveries: u32 = fields.small()?;
        let name_length: u32 = fields.small()?;
        let queue_length: u32 = fields.small()?;
        let ack_timeout_ms = fields.u64()?;
        let position = fields.u64()?;
        let mut counters = [0; 6];
        for counter in &mut counters {
            *counter = fields.u64()?;
        }
        let max_deliveries = u8::try_from(deliveries).ok().filter(|&most| most < u8::MAX);
        let known = max_deliveries.is_some()
            && flags <= 1
            && (1..=NAME_MAX).contains(&(name_length as usize))
            && queue_length as usize <= DEAD_QUEUE_MAX
            && ack_timeout_ms <= 1 << 40
            && (flags == 0 || ack_timeout_ms == 0);
        if !known {
            let expected = "the flags, limits and lengths of a group";
            return Err(fields.wrong("a group's settings", flags.into(), expected));
        }
        let name = fields.text(name_length as usize)?;
        let dead_queue = fields.text(queue_length as usize)?;
        let texts = [&name, &dead_queue];
        if texts.iter().any(|text| text.contains(char::is_control)) {
            let expected = "no control characters";
            return Err(fields.wrong("a group's name", name_length.into(), expected));
        }
        let terms = Terms {
            exclusive: flags == 1,
            ephemeral: false,
            max_deliveries: max_deliveries.unwrap_or(0),
            ack_timeout_ms,
        };
        let marks = Vec::new();
        let state = Self {
            name,
            terms,
            dead_queue,
            counters,
            position,
            marks,
        };
        Ok((number, state))
    }
}

/// A frame of marks of the group with this number among the groups of the export.
pub(super) fn marks_to_bytes(number: u32, marks: &[Mark]) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().to_vec();
    for mark in marks {
        let (fate, cause, reason) = match &mark.fate {
            Fate::Settled => (1, 0, ""),
            Fate::Returned => (2, 0, ""),
            Fate::Again => (3, 0, ""),
            Fate::Parked { cause, reason } => (4, cause.number(), reason.as_str()),
        };
        let length = u16::try_from(reason.len()).unwrap_or(0);
        bytes.extend(mark.sequence.to_le_bytes());
        bytes.extend([mark.attempt, fate]);
        bytes.extend(cause.to_le_bytes());
        bytes.extend(length.to_le_bytes());
        bytes.extend(reason.bytes().take(length.into()));
    }
    bytes
}

/// The number of the group, and its marks.
pub(super) fn read_marks(frame: &Frame) -> Result<(u32, Vec<Mark>), TransferError> {
    let mut fields = Fields::of(frame);
    let number = fields.small()?;
    let mut marks = Vec::new();
    while !fields.is_empty() {
        let sequence = fields.u64()?;
        let attempt = fields.small()?;
        let fate: u8 = fields.small()?;
        let cause: u16 = fields.small()?;
        let length: u16 = fields.small()?;
        let reason = fields.text(length.into())?;
        let wrong = |what, found: u64, expected| fields.wrong(what, found, expected);
        if usize::from(length) > NOTE_MAX {
            return Err(wrong("a reason", length.into(), "at most 112 bytes"));
        }
        let fate = match fate {
            1 => Fate::Settled,
            2 => Fate::Returned,
            3 => Fate::Again,
            4 => Fate::Parked {
                cause: Cause::from_number(cause)
                    .ok_or_else(|| wrong("a cause", cause.into(), "1 or 2"))?,
                reason,
            },
            other => return Err(wrong("a fate", other.into(), "1 to 4")),
        };
        marks.push(Mark {
            sequence,
            attempt,
            fate,
        });
    }
    Ok((number, marks))
}

/// What stands in front of a message's payload.
pub(super) fn message_to_bytes(sequence: u64, header: &SlotHeader) -> Vec<u8> {
    let flags = header.flags & SlotHeader::DEAD_LETTER;
    let longs = [sequence, header.timestamp].map(u64::to_le_bytes);
    let shorts = [header.kind, flags].map(u16::to_le_bytes);
    let key = header.key.to_le_bytes();
    [longs.as_flattened(), &key, shorts.as_flattened()].concat()
}

/// Its sequence, header and payload.
pub(super) fn read_message(frame: &Frame) -> Result<(u64, SlotHeader, &[u8]), TransferError> {
    let mut fields = Fields::of(frame);
    let sequence = fields.u64()?;
    let timestamp = fields.u64()?;
    let key = fields.small()?;
    let kind = fields.small()?;
    let flags: u16 = fields.small()?;
    if flags & !SlotHeader::DEAD_LETTER != 0 {
        return Err(fields.wrong("a message's flags", flags.into(), "0 or 2"));
    }
    let is_letter = flags & SlotHeader::DEAD_LETTER != 0;
    if is_letter && DeadLetter::split(fields.rest()).is_none() {
        let found = fields.rest().len() as u64;
        return Err(fields.wrong("a dead letter", found, "one that says where it comes from"));
    }
    let payload = fields.rest();
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let header = SlotHeader {
        length,
        flags,
        kind,
        crc: 0,
        key,
        timestamp,
    };
    Ok((sequence, header, payload))
}
