//! What the demo's messages say, and whether one says it still: a header of 32 bytes, then bytes that follow from it.

/// Bytes of the header: magic, producer, number, time, check.
pub const HEADER: usize = 32;

const MAGIC: u32 = 0x0005_11b6;
/// An odd number without pattern (2^64 by the golden ratio): its multiples differ in all their bytes.
pub const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Who sent a message, which of its messages it is, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub producer: u32,
    pub number: u64,
    /// Of the monotonic clock, which all processes share.
    pub time_ns: u64,
}

impl Stamp {
    fn check(self, length: usize) -> u64 {
        let words = [u64::from(self.producer), self.number, self.time_ns];
        words
            .iter()
            .fold(mix(length as u64), |hash, word| mix(hash ^ word))
    }

    /// Depends on the message alone, so that bytes of another one, or of an older lap, do not pass for its own.
    fn seed(self) -> u64 {
        mix(self.number ^ (u64::from(self.producer) << 40))
    }
}

/// Spreads each bit over the whole word (the finalizer of SplitMix64).
pub fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(STEP);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// The words of the body, one after the other.
fn body_words(seed: u64) -> impl Iterator<Item = [u8; 8]> {
    (0_u64..).map(move |index| index.wrapping_mul(STEP).wrapping_add(seed).to_le_bytes())
}

/// Fills a buffer of at least [`HEADER`] bytes.
pub fn compose(stamp: Stamp, message: &mut [u8]) {
    let length = message.len();
    let header = MAGIC
        .to_le_bytes()
        .into_iter()
        .chain(stamp.producer.to_le_bytes())
        .chain(stamp.number.to_le_bytes())
        .chain(stamp.time_ns.to_le_bytes())
        .chain(stamp.check(length).to_le_bytes());
    let (head, body) = message.split_at_mut(HEADER.min(length));
    for (place, byte) in head.iter_mut().zip(header) {
        *place = byte;
    }
    let mut words = body_words(stamp.seed());
    let (whole, rest) = body.as_chunks_mut();
    for (place, word) in whole.iter_mut().zip(words.by_ref()) {
        *place = word;
    }
    for (place, byte) in rest.iter_mut().zip(words.next().unwrap_or_default()) {
        *place = byte;
    }
}

/// Reads a message back; `None` if a single bit of it is not as it has to be.
pub fn verify(message: &[u8], length: usize) -> Option<Stamp> {
    if message.len() != length {
        return None;
    }
    let (header, body) = message.split_first_chunk::<HEADER>()?;
    let (magic, rest) = header.split_first_chunk::<4>()?;
    let (producer, rest) = rest.split_first_chunk::<4>()?;
    let (number, rest) = rest.split_first_chunk::<8>()?;
    let (time_ns, check) = rest.split_first_chunk::<8>()?;
    let stamp = Stamp {
        producer: u32::from_le_bytes(*producer),
        number: u64::from_le_bytes(*number),
        time_ns: u64::from_le_bytes(*time_ns),
    };
    let header_sound = *magic == MAGIC.to_le_bytes() && *check == stamp.check(length).to_le_bytes();
    (header_sound && body_is_sound(stamp, body)).then_some(stamp)
}

fn body_is_sound(stamp: Stamp, body: &[u8]) -> bool {
    let mut words = body_words(stamp.seed());
    let (whole, rest) = body.as_chunks();
    // Without a way out in the middle, the compiler compares many words at a time.
    let differing = whole
        .iter()
        .zip(words.by_ref())
        .fold(0, |differing, (found, word)| {
            differing | (u64::from_le_bytes(*found) ^ u64::from_le_bytes(word))
        });
    differing == 0 && words.next().unwrap_or_default().starts_with(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp {
        producer: 2,
        number: 12_345,
        time_ns: 987_654_321,
    };

    #[test]
    fn what_is_composed_is_read_back() {
        for length in [32, 33, 40, 64, 100, 4096] {
            let mut message = vec![0; length];
            compose(STAMP, &mut message);
            assert_eq!(verify(&message, length), Some(STAMP), "{length}");
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let mut message = vec![0; 77];
        compose(STAMP, &mut message);
        for bit in 0..message.len() * 8 {
            message[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(verify(&message, 77), None, "bit {bit}");
            message[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(verify(&message, 76), None);
        assert_eq!(verify(&message[..76], 77), None);
    }

    #[test]
    fn the_body_of_another_message_does_not_pass() {
        let (mut one, mut other) = (vec![0; 64], vec![0; 64]);
        compose(STAMP, &mut one);
        compose(
            Stamp {
                number: 12_346,
                ..STAMP
            },
            &mut other,
        );
        one[32..].copy_from_slice(&other[32..]);
        assert_eq!(verify(&one, 64), None);
    }
}
