//! The structs of the file as plain integers: the file header, the slot header, the pointer into the arena.
//!
//! Relies on zerocopy for "no hidden padding" and on crc32c; `queue` and `inspect` read files through it. A header read
//! from a file is a claim by a stranger: [`FileHeader::verify`] checks everything and returns a [`Geometry`], and
//! nothing else of it is used.

use std::fmt;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::geometry::Shape;
use super::{Durability, FORMAT_VERSION, Geometry, GeometryError, MAGIC};

/// What a queue does when it is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u16)]
pub enum FullPolicy {
    /// `publish` waits for room.
    #[default]
    Block = 0,
    /// `publish` fails at once with [`PublishError::Full`](crate::PublishError::Full).
    Reject = 1,
    /// The oldest message that nobody is working on is dropped, and the group's `lost` counter moves.
    DropOldest = 2,
}

impl FullPolicy {
    pub(crate) fn from_bits(bits: u16) -> Option<Self> {
        match bits {
            0 => Some(Self::Block),
            1 => Some(Self::Reject),
            2 => Some(Self::DropOldest),
            _ => None,
        }
    }
}

impl fmt::Display for FullPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Block => "block",
            Self::Reject => "reject",
            Self::DropOldest => "drop_oldest",
        })
    }
}

/// Where a message's time comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u16)]
pub enum Timestamps {
    /// None is taken; [`Delivery::timestamp`](crate::Delivery::timestamp) is 0.
    Off = 0,
    /// The kernel's last tick: 1 to 10 ms behind, a few ns to read.
    #[default]
    Coarse = 1,
    /// The clock itself: exact to the ns, 20 to 50 ns to read.
    Precise = 2,
}

impl Timestamps {
    pub(crate) fn from_bits(bits: u16) -> Option<Self> {
        match bits {
            0 => Some(Self::Off),
            1 => Some(Self::Coarse),
            2 => Some(Self::Precise),
            _ => None,
        }
    }
}

impl fmt::Display for Timestamps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Coarse => "coarse",
            Self::Precise => "precise",
        })
    }
}

/// The first bytes of the file. Written once, before the file has a name; never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FileHeader {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`FORMAT_VERSION`].
    pub version: u32,
    /// CRC32C of this struct with this field zero.
    pub crc: u32,
    /// Random; names this queue for ever.
    pub queue_id: [u8; 16],
    /// The boot it was created in.
    pub boot_id: [u8; 16],
    /// Wall clock at creation, ns since 1970.
    pub created_ns: u64,
    /// Bytes of the whole file.
    pub file_size: u64,
    /// [`Shape::capacity`].
    pub capacity: u64,
    /// [`Shape::slot_size`].
    pub slot_size: u64,
    /// [`Shape::max_message`].
    pub max_message: u64,
    /// [`Shape::arena_size`].
    pub arena_size: u64,
    /// [`Shape::first_sequence`].
    pub first_sequence: u64,
    /// [`Shape::max_groups`].
    pub max_groups: u32,
    /// [`Shape::max_participants`].
    pub max_participants: u32,
    /// [`FullPolicy`].
    pub full_policy: u16,
    /// [`Durability`], without its interval.
    pub durability: u8,
    /// 1 if every record has a checksum.
    pub checksums: u8,
    /// [`Timestamps`].
    pub timestamps: u16,
    /// The interval of [`Durability::Interval`], in ms.
    pub interval_ms: u16,
}

/// Bytes of a [`FileHeader`].
pub const FILE_HEADER_BYTES: usize = size_of::<FileHeader>();

/// What a checked header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Where everything lies.
    pub geometry: Geometry,
    /// What a full queue does.
    pub full_policy: FullPolicy,
    /// Where message times come from.
    pub timestamps: Timestamps,
    /// What outlives the machine.
    pub durability: Durability,
    /// Whether every record has a checksum.
    pub checksums: bool,
    /// The queue's random name.
    pub queue_id: [u8; 16],
    /// The boot it was created in.
    pub boot_id: [u8; 16],
    /// Wall clock at creation, ns since 1970.
    pub created_ns: u64,
}

impl FileHeader {
    /// A header for a new file.
    #[must_use]
    pub fn new(verified: &Verified) -> Self {
        let shape = verified.geometry.shape();
        let (durability, interval_ms) = verified.durability.to_bits().unwrap_or_default();
        let mut header = Self {
            magic: MAGIC,
            version: FORMAT_VERSION,
            crc: 0,
            queue_id: verified.queue_id,
            boot_id: verified.boot_id,
            created_ns: verified.created_ns,
            file_size: verified.geometry.file_size(),
            capacity: shape.capacity,
            slot_size: shape.slot_size,
            max_message: shape.max_message,
            arena_size: shape.arena_size,
            first_sequence: shape.first_sequence,
            max_groups: shape.max_groups,
            max_participants: shape.max_participants,
            full_policy: verified.full_policy as u16,
            durability,
            checksums: verified.checksums.into(),
            timestamps: verified.timestamps as u16,
            interval_ms,
        };
        header.crc = header.checksum();
        header
    }

    /// The checksum it should have.
    #[must_use]
    pub fn checksum(&self) -> u32 {
        crc32c::crc32c(Self { crc: 0, ..*self }.as_bytes())
    }

    /// The numbers it gives for the shape, unchecked.
    #[must_use]
    pub fn shape(&self) -> Shape {
        Shape {
            capacity: self.capacity,
            slot_size: self.slot_size,
            max_message: self.max_message,
            arena_size: self.arena_size,
            max_groups: self.max_groups,
            max_participants: self.max_participants,
            first_sequence: self.first_sequence,
        }
    }

    /// Checks a header read from a file of `file_size` bytes, in the order in which a later check could mislead without
    /// the earlier: is it ours, can we read it, is it whole, do its numbers fit each other, do they fit the file.
    ///
    /// # Errors
    /// The first check that fails, with what was found and expected.
    pub fn verify(bytes: &[u8], file_size: u64) -> Result<Verified, FormatError> {
        let too_short = FormatError::TooShort {
            found: file_size,
            needed: FILE_HEADER_BYTES as u64,
        };
        let (header, _) = Self::read_from_prefix(bytes).map_err(|_| too_short)?;
        // Without this any file would be called damaged instead of foreign.
        if header.magic != MAGIC {
            return Err(FormatError::Magic {
                found: header.magic,
            });
        }
        // Before the checksum: another version may place it elsewhere.
        if header.version != FORMAT_VERSION {
            return Err(FormatError::Version {
                found: header.version,
                supported: FORMAT_VERSION,
            });
        }
        // A flipped bit in a size could still pass as another valid geometry.
        let expected = header.checksum();
        if header.crc != expected {
            return Err(FormatError::Checksum {
                found: header.crc,
                expected,
            });
        }
        // A hostile header has a good checksum: overflow and division by zero end here.
        let geometry = Geometry::new(header.shape())?;
        let bad = |field, found: u16, expected| GeometryError {
            field,
            found: found.into(),
            expected,
        };
        let full_policy = FullPolicy::from_bits(header.full_policy)
            .ok_or_else(|| bad("full_policy", header.full_policy, "0, 1 or 2"))?;
        let timestamps = Timestamps::from_bits(header.timestamps)
            .ok_or_else(|| bad("timestamps", header.timestamps, "0, 1 or 2"))?;
        let durability = Durability::from_bits(header.durability, header.interval_ms)
            .ok_or_else(|| bad("durability", header.durability.into(), "0, 1 or 2"))?;
        if header.checksums > 1 || (durability.is_durable() && header.checksums == 0) {
            let expected = "0 or 1, and 1 in a durable queue";
            return Err(bad("checksums", header.checksums.into(), expected).into());
        }
        // Touching a page behind the end of the file is SIGBUS.
        if header.file_size != geometry.file_size() || file_size != geometry.file_size() {
            return Err(FormatError::Size {
                found: file_size,
                expected: geometry.file_size(),
            });
        }
        Ok(Verified {
            geometry,
            full_policy,
            timestamps,
            durability,
            checksums: header.checksums == 1,
            queue_id: header.queue_id,
            boot_id: header.boot_id,
            created_ns: header.created_ns,
        })
    }
}

/// What a file's bytes have wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FormatError {
    /// Shorter than any header.
    TooShort {
        /// Bytes in the file.
        found: u64,
        /// Bytes a header needs.
        needed: u64,
    },
    /// Another kind of file.
    Magic {
        /// Its first eight bytes.
        found: [u8; 8],
    },
    /// A queue of another format version.
    Version {
        /// The file's.
        found: u32,
        /// The one this library reads.
        supported: u32,
    },
    /// The header is damaged.
    Checksum {
        /// In the file.
        found: u32,
        /// Computed.
        expected: u32,
    },
    /// The header's checksum is good, but its numbers are impossible.
    Geometry(GeometryError),
    /// The file has been truncated or has grown.
    Size {
        /// Bytes in the file.
        found: u64,
        /// Bytes its header asks for.
        expected: u64,
    },
    /// A word inside the queue that no running code writes.
    Word {
        /// Bytes from the start of the file.
        offset: u64,
        /// The 64-bit word there.
        found: u64,
        /// What could stand there.
        expected: &'static str,
    },
}

impl From<GeometryError> for FormatError {
    fn from(error: GeometryError) -> Self {
        Self::Geometry(error)
    }
}

impl fmt::Display for GeometryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is {}, must be {}",
            self.field, self.found, self.expected
        )
    }
}

impl std::error::Error for GeometryError {}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort { found, needed } => {
                write!(
                    f,
                    "not a slipring queue: {found} bytes, a header alone has {needed}"
                )
            }
            Self::Magic { found } => write!(
                f,
                "not a slipring queue: starts with \"{}\", not \"{}\"",
                found.escape_ascii(),
                MAGIC.escape_ascii()
            ),
            Self::Version { found, supported } => write!(
                f,
                "format version {found}, this library reads {supported}: use the slipring that made it"
            ),
            Self::Checksum { found, expected } => write!(
                f,
                "damaged header: checksum {found:#010x}, computed {expected:#010x}: recreate the queue"
            ),
            Self::Geometry(error) => write!(f, "impossible header: {error}"),
            Self::Size { found, expected } => {
                let (how, remedy) = if found < expected {
                    ("truncated", "what was cut off is lost: recreate the queue")
                } else {
                    ("grown", "cut it to that size")
                };
                write!(
                    f,
                    "{how} file: {found} bytes, its header asks for {expected}: {remedy}"
                )
            }
            Self::Word {
                offset,
                found,
                expected,
            } => {
                write!(
                    f,
                    "damaged queue: {found:#018x} at offset {offset}, expected {expected}"
                )
            }
        }
    }
}

impl std::error::Error for FormatError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Geometry(error) => Some(error),
            _ => None,
        }
    }
}

/// What a slot says of its message, behind the slot word.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct SlotHeader {
    /// The user's bytes.
    pub length: u32,
    /// [`SlotHeader::IN_ARENA`], or 0.
    pub flags: u16,
    /// The user's own tag.
    pub kind: u16,
    /// [`record_sum`](super::durability::record_sum) in a queue with checksums; otherwise 0.
    pub crc: u32,
    /// The user's own key hash; 0 if not given.
    pub key: u32,
    /// Wall clock at publish, ns since 1970; 0 if not taken.
    pub timestamp: u64,
}

impl SlotHeader {
    /// Flag: the payload is in the arena, and a [`SegmentPointer`] stands in its place.
    pub const IN_ARENA: u16 = 1;
    /// Flag: the payload starts with a [`DeadLetterHeader`].
    pub const DEAD_LETTER: u16 = 2;
}

/// What stands in front of a dead message in a dead-letter queue, followed by the group's name, the reason and the
/// message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DeadLetterHeader {
    /// The queue it comes from.
    pub queue_id: [u8; 16],
    /// Its sequence there.
    pub sequence: u64,
    /// When it was published there, ns since 1970; 0 if unknown.
    pub timestamp: u64,
    /// How often it was delivered.
    pub deliveries: u16,
    /// 1: too often; 2: rejected.
    pub cause: u16,
    /// Bytes of the group's name.
    pub group_length: u16,
    /// Bytes of the reason.
    pub reason_length: u16,
}

/// Where in the arena a long message's payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SegmentPointer {
    /// Bytes from the start of the mapping.
    pub offset: u64,
    /// [`segment::EMPTIED`](super::geometry::segment::EMPTIED) when it was written: an observer that finds another
    /// number there has read something else.
    pub emptied: u64,
}

const _: () = assert!(
    size_of::<SlotHeader>() == 24,
    "the slot header fills the slot up to its payload"
);
const _: () = assert!(FILE_HEADER_BYTES == 120, "the file header is 120 bytes");
const _: () = assert!(
    size_of::<SegmentPointer>() <= 32,
    "a segment pointer fits the smallest slot"
);

#[cfg(test)]
mod tests {
    use super::*;

    fn verified() -> Verified {
        let geometry = Geometry::new(Shape {
            capacity: 8,
            slot_size: 128,
            max_message: 96,
            arena_size: 0,
            max_groups: 2,
            max_participants: 2,
            first_sequence: 0,
        })
        .unwrap();
        Verified {
            geometry,
            full_policy: FullPolicy::Reject,
            timestamps: Timestamps::Precise,
            durability: Durability::Sync,
            checksums: true,
            queue_id: [7; 16],
            boot_id: [8; 16],
            created_ns: 9,
        }
    }

    #[test]
    fn a_header_survives_the_way_through_bytes() {
        let expected = verified();
        let header = FileHeader::new(&expected);
        let found = FileHeader::verify(header.as_bytes(), expected.geometry.file_size()).unwrap();
        assert_eq!(found, expected);
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let expected = verified();
        let good = FileHeader::new(&expected);
        for bit in 0..FILE_HEADER_BYTES * 8 {
            let mut bytes = good.as_bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(
                FileHeader::verify(&bytes, expected.geometry.file_size()).is_err(),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn a_resealed_hostile_header_is_refused_by_its_numbers() {
        let expected = verified();
        let size = expected.geometry.file_size();
        let mut header = FileHeader::new(&expected);
        header.capacity = u64::MAX;
        header.crc = header.checksum();
        assert!(matches!(
            FileHeader::verify(header.as_bytes(), size),
            Err(FormatError::Geometry(_))
        ));
        let mut header = FileHeader::new(&expected);
        header.full_policy = 9;
        header.crc = header.checksum();
        assert!(matches!(
            FileHeader::verify(header.as_bytes(), size),
            Err(FormatError::Geometry(_))
        ));
        let header = FileHeader::new(&expected);
        assert!(matches!(
            FileHeader::verify(header.as_bytes(), size - 1),
            Err(FormatError::Size { .. })
        ));
        assert!(matches!(
            FileHeader::verify(&[], 0),
            Err(FormatError::TooShort { .. })
        ));
    }
}
