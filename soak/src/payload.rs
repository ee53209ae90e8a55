//! What messages carry: who published them, their number, and bytes that follow from both and from the length.

use crate::random::mix;

/// The shortest payload.
pub const SHORTEST: usize = 24;

/// Fills a payload of at least [`SHORTEST`] bytes.
pub fn fill(bytes: &mut [u8], producer: u64, number: u64) {
    let seal = seal(producer, number, bytes.len());
    let words = [producer, number, seal].into_iter().chain(body(seal));
    for (chunk, word) in bytes.chunks_mut(8).zip(words) {
        for (byte, value) in chunk.iter_mut().zip(word.to_le_bytes()) {
            *byte = value;
        }
    }
}

/// What is said of a message that is rejected.
#[must_use]
pub fn reason(producer: u64, number: u64) -> String {
    format!("{number} of {producer} is no good")
}

/// Producer and number, and whether every byte is as [`fill`] left it.
#[must_use]
pub fn read(bytes: &[u8]) -> (u64, u64, bool) {
    let mut words = bytes.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        for (to, from) in word.iter_mut().zip(chunk) {
            *to = *from;
        }
        u64::from_le_bytes(word)
    });
    let (producer, number) = (words.next().unwrap_or(0), words.next().unwrap_or(0));
    let mut expected = vec![0; bytes.len()];
    fill(&mut expected, producer, number);
    (
        producer,
        number,
        bytes.len() >= SHORTEST && expected == bytes,
    )
}

fn seal(producer: u64, number: u64, length: usize) -> u64 {
    mix(producer ^ mix(number ^ mix(length as u64)))
}

fn body(seal: u64) -> impl Iterator<Item = u64> {
    (0..).map(move |at: u64| mix(seal.wrapping_add(at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_whole_until_a_byte_or_the_length_changes() {
        for length in [SHORTEST, 25, 64, 95, 4001] {
            let mut bytes = vec![0; length];
            fill(&mut bytes, 7, 9);
            assert_eq!(read(&bytes), (7, 9, true));
            assert!(!read(&bytes[..length - 1]).2);
            for at in 0..length {
                bytes[at] ^= 1;
                assert!(!read(&bytes).2, "byte {at} of {length}");
                bytes[at] ^= 1;
            }
        }
    }
}
