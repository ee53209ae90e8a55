//! What a message holds, and how a receiver knows that it is the right one.

use crate::contract::Corrupt;

const MASK: u64 = 0x5bd1_e995_5bd1_e995;
/// Number of the message after which a consumer has nothing more to expect.
pub const END: u64 = u64::MAX;
/// Numbers of different producers begin this many bits apart.
const PRODUCER_SHIFT: u32 = 48;

/// The number of a producer's first message.
pub fn first_number(producer: u64) -> u64 {
    producer << PRODUCER_SHIFT
}

/// Messages being made: the bytes between the ends are filled once.
#[derive(Debug)]
pub struct Outgoing {
    bytes: Vec<u8>,
    size: usize,
    damaged: Option<u64>,
}

impl Outgoing {
    pub fn new(size: usize, batch: usize, damaged: Option<u64>) -> Self {
        let pattern = (0..size * batch).map(|at| (at % 251) as u8);
        Self {
            bytes: pattern.collect(),
            size,
            damaged,
        }
    }

    /// `count` messages, numbered from `first`.
    pub fn numbered(&mut self, first: u64, count: usize) -> &[u8] {
        let messages = self.bytes.chunks_exact_mut(self.size).take(count);
        for (number, message) in (first..=END).zip(messages) {
            stamp(message, number);
            if self.damaged == Some(number) {
                // Where only the check against the number can see it.
                message[self.size - 1] ^= 0x10;
            }
        }
        &self.bytes[..count * self.size]
    }
}

fn stamp(message: &mut [u8], number: u64) {
    let last = message.len() - 8;
    message[..8].copy_from_slice(&number.to_le_bytes());
    message[last..].copy_from_slice(&(number ^ MASK).to_le_bytes());
}

fn word(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// Checks each message, and that those of one producer come in order.
#[derive(Debug)]
pub struct Incoming {
    size: usize,
    /// By producer: the lowest number it may send next.
    next: Vec<u64>,
    /// Nobody else receives, so no number may be missing.
    alone: bool,
}

impl Incoming {
    pub fn new(size: usize, alone: bool) -> Self {
        Self {
            size,
            next: Vec::new(),
            alone,
        }
    }

    /// The message's number, if it is whole and not out of turn.
    #[inline]
    pub fn check(&mut self, message: &[u8]) -> anyhow::Result<u64> {
        if message.len() != self.size {
            return Err(wrong(format!(
                "a message of {} bytes; {} were sent",
                message.len(),
                self.size
            )));
        }
        let number = word(&message[..8]);
        let last = word(&message[self.size - 8..]);
        if number ^ MASK != last {
            return Err(wrong(format!(
                "a damaged message: it begins with {number:#x}, and ends with that of {:#x}",
                last ^ MASK
            )));
        }
        if number == END {
            return Ok(number);
        }
        let producer = (number >> PRODUCER_SHIFT) as usize;
        if self.next.len() <= producer {
            self.next
                .extend((self.next.len()..=producer).map(|producer| first_number(producer as u64)));
        }
        let next = self.next[producer];
        if number < next || (self.alone && number > next) {
            return Err(wrong(format!(
                "message {number:#x} came when {next:#x} was next"
            )));
        }
        self.next[producer] = number + 1;
        Ok(number)
    }
}

#[cold]
fn wrong(what: String) -> anyhow::Error {
    Corrupt(what).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(incoming: &mut Incoming, number: u64) -> bool {
        let mut outgoing = Outgoing::new(64, 1, None);
        incoming.check(outgoing.numbered(number, 1)).is_ok()
    }

    #[test]
    fn a_lone_receiver_misses_no_message_and_gets_none_twice() {
        let mut alone = Incoming::new(64, true);
        let second = first_number(1);
        assert!(
            [0, 1, second, 2, second + 1]
                .iter()
                .all(|number| check(&mut alone, *number))
        );
        assert!(!check(&mut alone, 4), "3 is missing");
        assert!(!check(&mut alone, 2), "2 came already");
    }

    #[test]
    fn one_of_several_receivers_gets_what_others_leave_in_order() {
        let mut one = Incoming::new(64, false);
        assert!(
            [3, 7, first_number(2) + 5, 8]
                .iter()
                .all(|number| check(&mut one, *number))
        );
        assert!(!check(&mut one, 7), "7 came already");
    }

    #[test]
    fn a_message_of_another_length_is_wrong() {
        let mut outgoing = Outgoing::new(64, 1, None);
        assert!(
            Incoming::new(65, true)
                .check(outgoing.numbered(0, 1))
                .is_err()
        );
    }
}
