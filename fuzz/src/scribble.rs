//! Writing what no running code writes: where, what, and in the middle of which access.

use std::fs::File;
use std::path::Path;

use libfuzzer_sys::arbitrary::Result;
use memmap2::{MmapOptions, MmapRaw};
use slipring::Geometry;
use slipring::layout::geometry::{
    GROUP_SIZE, PARTICIPANT_SIZE, control, group, note, participant, segment, slot,
};
use slipring::layout::{ClaimState, ClaimWord, EntryState, GroupId, Offset, OwnedWord, OwnerId};
use slipring::mem::fault;

use crate::input::Input;

/// More accesses than any one operation on queues as small as ours needs, whatever stands in them.
pub const MOST_ACCESSES: u64 = 1_000_000;

/// A mapping of a queue's file that is not the library's.
pub struct Window(MmapRaw);

impl Window {
    /// Of a file that keeps its size.
    pub fn open(path: &Path) -> Self {
        let file = File::options().read(true).write(true).open(path).unwrap();
        Self(MmapOptions::new().map_raw(&file).unwrap())
    }

    /// All bytes, as they are now. Nobody writes meanwhile.
    pub fn bytes(&self) -> Vec<u8> {
        let (start, length) = (self.0.as_ptr(), self.0.len());
        // SAFETY: the whole mapping; one thread.
        unsafe { std::slice::from_raw_parts(start, length) }.to_vec()
    }

    /// Puts all bytes back. Nobody is attached.
    pub fn restore(&self, bytes: &[u8]) {
        assert_eq!(bytes.len(), self.0.len());
        // SAFETY: as long as the mapping; one thread.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.0.as_mut_ptr(), bytes.len()) };
    }

    /// The eight bytes at an offset that leaves room for them.
    pub fn load(&self, offset: u64) -> u64 {
        assert!(offset + 8 <= self.0.len() as u64);
        let at = self.0.as_ptr().wrapping_add(offset as usize);
        // SAFETY: in bounds, and mapped as long as `self`.
        unsafe { at.cast::<u64>().read_unaligned() }
    }

    /// Writes as many of the low bytes.
    pub fn store(&self, offset: u64, value: u64, bytes: usize) {
        assert!(bytes <= 8 && offset + bytes as u64 <= self.0.len() as u64);
        let at = self.0.as_mut_ptr().wrapping_add(offset as usize);
        // SAFETY: in bounds, and mapped as long as `self`.
        unsafe { std::ptr::copy_nonoverlapping(value.to_le_bytes().as_ptr(), at, bytes) };
    }
}

/// One write.
#[derive(Clone, Copy, Debug)]
pub struct Write {
    /// How many accesses from now.
    pub after: u64,
    /// Bytes from the start of the file.
    pub offset: u64,
    /// How to change what is there.
    pub change: Change,
}

/// What to write.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    /// This word.
    Word(u64),
    /// This byte.
    Byte(u8),
    /// What is there, plus so much.
    Add(u64),
    /// What is there, with this bit turned.
    Flip(u8),
}

impl Write {
    /// Does it.
    pub fn apply(&self, window: &Window) {
        let at = self.offset;
        match self.change {
            Change::Word(word) => window.store(at, word, 8),
            Change::Byte(byte) => window.store(at, byte.into(), 1),
            Change::Add(delta) => window.store(at, window.load(at).wrapping_add(delta), 8),
            Change::Flip(bit) => window.store(at, window.load(at) ^ (1 << (bit & 63)), 8),
        }
    }

    /// One that the input asks for.
    pub fn arbitrary(u: &mut Input<'_>, geometry: &Geometry) -> Result<Self> {
        let after = if u.once_in(2)? {
            0
        } else {
            u64::from(u.byte()?)
        };
        let offset = place(u, geometry)?.min(geometry.file_size() - 8);
        let change = match u.below(8)? {
            0 => Change::Byte(u.byte()?),
            1 => Change::Flip(u.byte()?),
            2 => Change::Add(delta(u)?),
            _ => Change::Word(word(u, geometry)?),
        };
        Ok(Self {
            after,
            offset,
            change,
        })
    }
}

const CONTROL: [Offset; 10] = [
    control::TAIL,
    control::WAITING,
    control::SPACE_WAITING,
    control::SPACE_EVENT,
    control::GENERATION,
    control::SOLE,
    control::LAST_PROBE,
    control::ABORTED,
    control::BURIED,
    control::RETURNED,
];

const PARTICIPANT: [u64; 7] = [
    participant::STATE,
    participant::MEMBER_OF,
    participant::PRODUCES,
    participant::PID,
    participant::NAME_LENGTH,
    participant::NAME,
    participant::PUBLISHED,
];

/// Of a group, what leads searches.
const GUIDES: [u64; 6] = [
    group::STATE,
    group::FLOOR,
    group::OPENED,
    group::HEAD,
    group::READY,
    group::OWNER,
];

const GROUP: [u64; 20] = [
    group::STATE,
    group::FLAGS,
    group::START,
    group::NAME_LENGTH,
    group::NAME,
    group::FLOOR,
    group::OPENED,
    group::HEAD,
    group::READY,
    group::OWNER,
    group::STANDBY_EVENT,
    group::EVENT,
    group::DELIVERED,
    group::LOST,
    group::EXPIRED,
    group::MAX_DELIVERIES,
    group::ACK_TIMEOUT,
    group::DEAD_QUEUE_LENGTH,
    group::DEAD_QUEUE,
    group::NOTES,
];

fn group_id(u: &mut Input<'_>, geometry: &Geometry) -> Result<GroupId> {
    let most = geometry.shape().max_groups - 1;
    Ok(GroupId(u.below(u64::from(most) + 1)? as u8))
}

/// An offset: mostly of a word that means something.
fn place(u: &mut Input<'_>, geometry: &Geometry) -> Result<u64> {
    let sequence = u64::from(u.byte()?);
    Ok(match u.below(16)? {
        0..=2 => geometry.slot(sequence).plus(slot::WORD),
        3 => geometry.slot(sequence).plus(slot::HEADER),
        4 => geometry
            .slot(sequence)
            .plus(slot::PAYLOAD + 8 * (sequence >> 7)),
        5 | 6 => geometry.reservation(sequence),
        7 | 8 => geometry.claim(group_id(u, geometry)?, sequence),
        9 => geometry.lease(group_id(u, geometry)?, sequence),
        10 => u.of(&CONTROL)?,
        11 => geometry.group(group_id(u, geometry)?).plus(u.of(&GUIDES)?),
        12 => geometry.group(group_id(u, geometry)?).plus(u.of(&GROUP)?),
        13 => {
            let id = u16::from(u.byte()?);
            geometry.participant(OwnerId(id)).plus(u.of(&PARTICIPANT)?)
        }
        14 if geometry.segment_count() > 0 => {
            let fields = [
                segment::STATE,
                segment::BUMP,
                segment::USED_UNTIL,
                segment::EMPTIED,
            ];
            geometry
                .segment(sequence % geometry.segment_count())
                .plus(u.of(&fields)?)
        }
        _ => return anywhere(u, geometry, sequence),
    }
    .0)
}

fn anywhere(u: &mut Input<'_>, geometry: &Geometry, sequence: u64) -> Result<u64> {
    Ok(match u.below(4)? {
        0 => {
            let id = group_id(u, geometry)?;
            geometry
                .note(id, sequence)
                .plus(u.of(&[note::SEQUENCE, note::LENGTH])?)
                .0
        }
        1 => geometry.group(group_id(u, geometry)?).0 + u.below(GROUP_SIZE)?,
        2 => {
            let id = OwnerId(u.byte()?.into());
            geometry.participant(id).0 + u.below(PARTICIPANT_SIZE)?
        }
        _ => u.below(geometry.file_size())?,
    })
}

/// A little, or a third of the way round, either way.
fn delta(u: &mut Input<'_>) -> Result<u64> {
    let little = i64::from(u.byte()?.cast_signed());
    Ok((little << u.of(&[0, 0, 0, 16, 24, 40, 56])?).cast_unsigned())
}

/// A lap near that of the queue, or far from it.
fn lap(u: &mut Input<'_>, geometry: &Geometry) -> Result<u64> {
    let first = geometry.lap(geometry.shape().first_sequence);
    let little = i64::from(u.byte()?.cast_signed()) / 16;
    let far = u.of(&[0, 0, 0, 1 << 12, (1 << 40) / 3, (1 << 48) / 3, 1 << 47])?;
    Ok(first.wrapping_add_signed(little).wrapping_add(far))
}

/// A word: mostly one that makes sense somewhere.
fn word(u: &mut Input<'_>, geometry: &Geometry) -> Result<u64> {
    let owner = OwnerId(u.below(8)? as u16);
    Ok(match u.below(8)? {
        // A slot word, a reservation, or neither.
        0 | 1 => OwnedWord::entry(lap(u, geometry)?, owner, EntryState::Free).0 | state(u)?,
        2 | 3 => {
            let attempt = u.of(&[0, 1, 2, 3, 254, 255])?;
            ClaimWord::new(lap(u, geometry)?, attempt, owner, ClaimState::Never).0 | state(u)?
        }
        // A sequence.
        4 => {
            let first = geometry.shape().first_sequence;
            first.wrapping_add_signed(u.byte()?.cast_signed().into())
        }
        // A length, a mask, a time.
        5 => u.byte()?.into(),
        // An offset into the arena or near it.
        6 => {
            let arena = geometry.segment_bytes(0).0;
            arena.wrapping_add_signed(i64::from(u.byte()?.cast_signed()) * 67)
        }
        _ => match u.below(4)? {
            0 => u64::MAX,
            1 => u64::MAX - (1 << 61),
            2 => 1 << 63,
            _ => u.word()?,
        },
    })
}

fn state(u: &mut Input<'_>) -> Result<u64> {
    u.below(7)
}

/// Runs an operation, with these writes on the way; panics if it takes more accesses than it can need.
pub fn counted<T>(
    what: &'static str,
    window: &'static Window,
    mut writes: Vec<Write>,
    operation: impl FnOnce() -> T,
) -> T {
    writes.sort_by_key(|write| std::cmp::Reverse(write.after));
    fault::install(move |count| {
        if count >= MOST_ACCESSES {
            panic!("{what}: {count} accesses, and no end");
        }
        while let Some(write) = writes.pop_if(|write| write.after <= count) {
            write.apply(window);
        }
    });
    let done = operation();
    fault::remove();
    done
}
