//! What the messages of the bench say: their number in every word, so that a byte of another message, or of an older lap,
//! is not taken for its own. The first 8 bytes and the last 8 are those that foreign queues have to carry, too.

use serde::{Deserialize, Serialize};

/// The shortest message: a number and its check.
pub const MIN_SIZE: u64 = 16;
/// The shortest that also says when it was due.
pub const MIN_STAMPED: u64 = 24;
/// The number of a message that ends its consumer. None of a producer's.
pub const END: u64 = u64::MAX;

const TAIL: u64 = 0x5bd1_e995_5bd1_e995;
/// Where a number tells its producer.
const PRODUCER_SHIFT: u32 = 48;

/// How much of a message is written and checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// Every byte
    Bytes,
    /// The first 8 and the last 8, as the contract for foreign queues demands
    Ends,
}

/// The number of a producer's message.
pub fn number(producer: u64, index: u64) -> u64 {
    producer << PRODUCER_SHIFT | index
}

/// The producer and the index of a number.
pub fn split(number: u64) -> (u64, u64) {
    (
        number >> PRODUCER_SHIFT,
        number & ((1 << PRODUCER_SHIFT) - 1),
    )
}

/// Makes a message, of at least [`MIN_SIZE`] bytes.
#[inline]
pub fn compose(message: &mut [u8], number: u64, check: Check) {
    if check == Check::Bytes {
        let (words, rest) = message.as_chunks_mut::<8>();
        words.fill(number.to_le_bytes());
        for (place, byte) in rest.iter_mut().zip(number.to_le_bytes()) {
            *place = byte;
        }
    } else if let Some(first) = message.first_chunk_mut::<8>() {
        *first = number.to_le_bytes();
    }
    if let Some(last) = message.last_chunk_mut::<8>() {
        *last = (number ^ TAIL).to_le_bytes();
    }
}

/// Puts the time at which it was due into the second word.
#[inline]
pub fn stamp(message: &mut [u8], time_ns: u64) {
    if let Some([_, second, ..]) = message.as_chunks_mut::<8>().0.get_mut(..2) {
        *second = time_ns.to_le_bytes();
    }
}

/// The time in the second word.
#[inline]
pub fn stamp_of(message: &[u8]) -> u64 {
    let words = message.as_chunks::<8>().0;
    words.get(1).map_or(0, |second| u64::from_le_bytes(*second))
}

/// Reads a message's number, if the message is as it has to be.
#[inline]
pub fn verify(message: &[u8], size: usize, check: Check, stamped: bool) -> Option<u64> {
    if message.len() != size {
        return None;
    }
    let number = u64::from_le_bytes(*message.first_chunk()?);
    let last = u64::from_le_bytes(*message.last_chunk()?);
    let mut wrong = last ^ number ^ TAIL;
    if check == Check::Bytes {
        let body = message.get(8..size - 8)?;
        let (words, rest) = body.as_chunks::<8>();
        let skip = usize::from(stamped);
        for word in words.get(skip..)? {
            wrong |= u64::from_le_bytes(*word) ^ number;
        }
        // The last eight bytes lie across the end of what is no whole word; its beginning is left.
        let whole = number.to_le_bytes();
        let odd = rest.iter().zip(whole).any(|(byte, own)| *byte != own);
        wrong |= u64::from(odd);
    }
    (wrong == 0).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_all_lengths_are_read_back() {
        for size in (16..200).chain([1 << 10, (1 << 16) + 3]) {
            for check in [Check::Bytes, Check::Ends] {
                let mut message = vec![0xaa; size];
                compose(&mut message, number(3, 77), check);
                let read = verify(&message, size, check, false);
                assert_eq!(read.map(split), Some((3, 77)), "{size} {check:?}");
                assert_eq!(verify(&message, size + 1, check, false), None);
            }
        }
    }

    #[test]
    fn a_single_wrong_byte_is_noticed() {
        for size in [16, 17, 24, 31, 64, 100] {
            let mut message = vec![0; size];
            compose(&mut message, number(1, 0x0102_0304), Check::Bytes);
            for at in 0..size {
                message[at] ^= 1;
                let read = verify(&message, size, Check::Bytes, false);
                assert_eq!(read, None, "byte {at} of {size}");
                message[at] ^= 1;
            }
        }
    }

    #[test]
    fn a_stamp_takes_the_second_word_only() {
        let mut message = vec![0; 24];
        compose(&mut message, 5, Check::Bytes);
        stamp(&mut message, 99);
        assert_eq!(stamp_of(&message), 99);
        assert_eq!(verify(&message, 24, Check::Bytes, true), Some(5));
        assert_eq!(verify(&message, 24, Check::Bytes, false), None);
    }
}
