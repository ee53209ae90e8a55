//! Messages that say who made them, and of which every byte follows from that: nothing torn or forged looks like one.

use crate::random::{Random, mix};

/// Whose message, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    pub producer: u32,
    pub counter: u32,
}

/// One in four does not fit its slot.
pub fn payload(origin: Origin) -> Vec<u8> {
    let name = u64::from(origin.producer) << 32 | u64::from(origin.counter);
    let mut random = Random::new(mix(name));
    let longest = if random.one_in(4) { 6000 } else { 80 };
    let length = 8 + random.below(longest) as usize;
    let mut bytes = name.to_le_bytes().to_vec();
    while bytes.len() < length {
        bytes.extend(random.draw().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Whose message it is, if it is one as it was made.
pub fn origin(bytes: &[u8]) -> Option<Origin> {
    let (name, _) = bytes.split_first_chunk::<8>()?;
    let name = u64::from_le_bytes(*name);
    let origin = Origin {
        producer: (name >> 32) as u32,
        counter: name as u32,
    };
    (payload(origin) == bytes).then_some(origin)
}
