//! What of a queue outlives the machine, as its header says it; and the checksum of a record.
//!
//! Relies on crc32c. `header` reads and writes the numbers, `sender` seals records, `recover` and `receive` check them.

use std::fmt;
use std::time::Duration;

use zerocopy::IntoBytes;

use super::SlotHeader;

/// What a queue does so that its messages survive a reboot or a power loss. Deaths of processes lose nothing either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Nothing: after any reboot, an orderly one too, its messages are dropped, and counted, even if it is on a disk. To keep
    /// them, choose an interval.
    #[default]
    None,
    /// Every attached process sees to it that what was published so long ago is on the disk; from 1 to 65535 ms, whole ones.
    /// A [`publish_durable`](crate::Producer::publish_durable) waits for the disk.
    Interval(Duration),
    /// Every publish returns when its message is on the disk.
    Sync,
}

/// The shortest and the longest interval, in ms.
pub const INTERVAL_MS: (u16, u16) = (1, u16::MAX);

impl Durability {
    /// The numbers of the header: mode and interval in ms. `None`: an interval out of its range.
    #[must_use]
    pub fn to_bits(self) -> Option<(u8, u16)> {
        match self {
            Self::None => Some((0, 0)),
            Self::Interval(every) => {
                let whole = every.subsec_nanos() % 1_000_000 == 0;
                let ms = u16::try_from(every.as_millis()).ok();
                ms.filter(|&ms| whole && ms > 0).map(|ms| (1, ms))
            }
            Self::Sync => Some((2, 0)),
        }
    }

    /// What the numbers of a header mean.
    #[must_use]
    pub fn from_bits(mode: u8, interval_ms: u16) -> Option<Self> {
        match (mode, interval_ms) {
            (0, 0) => Some(Self::None),
            (1, 1..) => Some(Self::Interval(Duration::from_millis(interval_ms.into()))),
            (2, 0) => Some(Self::Sync),
            _ => None,
        }
    }

    /// True unless it is `None`.
    #[must_use]
    pub fn is_durable(self) -> bool {
        self != Self::None
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Interval(every) => write!(f, "interval:{}ms", every.as_millis()),
            Self::Sync => f.write_str("sync"),
        }
    }
}

/// The checksum of a payload: the first, long part of a record's.
#[inline]
#[must_use]
pub fn payload_sum(payload: &[u8]) -> u32 {
    crc32c::crc32c(payload)
}

/// The checksum of a record, which binds its payload to one sequence of one queue: nothing older or newer in the same slot,
/// and nothing of another file, has the same.
#[must_use]
pub fn record_sum(
    payload_sum: u32,
    header: &SlotHeader,
    queue_id: &[u8; 16],
    sequence: u64,
) -> u32 {
    // Where the payload lies is no part of what it is.
    let plain = SlotHeader { crc: 0, ..*header };
    let sum = crc32c::crc32c_append(payload_sum, plain.as_bytes());
    let sum = crc32c::crc32c_append(sum, queue_id);
    crc32c::crc32c_append(sum, &sequence.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_survives_the_way_through_its_numbers() {
        let ms = Duration::from_millis;
        for mode in [
            Durability::None,
            Durability::Interval(ms(1)),
            Durability::Interval(ms(65_535)),
            Durability::Sync,
        ] {
            let (bits, interval) = mode.to_bits().unwrap();
            assert_eq!(Durability::from_bits(bits, interval), Some(mode));
        }
        for every in [ms(0), ms(65_536), Duration::from_micros(1500)] {
            assert_eq!(Durability::Interval(every).to_bits(), None, "{every:?}");
        }
        for (bits, interval) in [(0, 1), (1, 0), (2, 1), (3, 0)] {
            assert_eq!(Durability::from_bits(bits, interval), None);
        }
    }

    #[test]
    fn a_record_sum_covers_payload_header_queue_and_sequence() {
        let header = SlotHeader {
            length: 3,
            kind: 4,
            ..SlotHeader::default()
        };
        let sum = |payload: &[u8], header: &SlotHeader, id, sequence| {
            record_sum(payload_sum(payload), header, &[id; 16], sequence)
        };
        let good = sum(b"abc", &header, 1, 9);
        assert_ne!(good, sum(b"abd", &header, 1, 9));
        assert_ne!(good, sum(b"abc", &SlotHeader { kind: 5, ..header }, 1, 9));
        assert_ne!(good, sum(b"abc", &header, 2, 9));
        assert_ne!(good, sum(b"abc", &header, 1, 13));
        assert_eq!(good, sum(b"abc", &SlotHeader { crc: 7, ..header }, 1, 9));
    }
}
