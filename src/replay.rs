//! Reading again what the ring still holds, without claiming it.
//!
//! Relies on `ring::observe`: messages are copied out, and then checked not to have been overwritten meanwhile. Nobody is
//! held back by it, so what is not kept for a group may be gone before it is read; that is told, as a gap.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::dead::DeadLetter;
use crate::layout::SlotHeader;
use crate::layout::header::Timestamps;
use crate::ring::{Observed, Ring};
use crate::sys::ForkGuard;

/// Where to begin to read again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplayFrom {
    /// At the oldest message the ring still holds.
    #[default]
    Oldest,
    /// At this sequence.
    Sequence(u64),
    /// At the first message published at this time or later. A gap that comes before it may be of earlier ones.
    Time(SystemTime),
}

/// What there is at the next place.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Replayed {
    /// A message.
    Message(ReplayedMessage),
    /// These sequences, both included, were overwritten before they could be read.
    Gap {
        /// The first of them.
        from: u64,
        /// The last.
        to: u64,
    },
    /// Nothing ever: its producer died before it published.
    Hole {
        /// Its sequence.
        sequence: u64,
    },
    /// Bytes that make no sense.
    Damaged {
        /// Its sequence.
        sequence: u64,
    },
}

/// A message, copied.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplayedMessage {
    /// Its sequence.
    pub sequence: u64,
    /// Its bytes.
    pub payload: Vec<u8>,
    /// The publisher's tag for its type.
    pub kind: u16,
    /// The publisher's hash of its key.
    pub key: u32,
    /// Wall clock at publish, ns since 1970; 0 if the queue takes no times.
    pub timestamp: u64,
    /// In a dead-letter queue: where it comes from.
    pub dead_letter: Option<Box<DeadLetter>>,
}

impl ReplayedMessage {
    pub(crate) fn new(sequence: u64, header: &SlotHeader, mut payload: Vec<u8>) -> Self {
        let letter = (header.flags & SlotHeader::DEAD_LETTER != 0)
            .then(|| DeadLetter::split(&payload))
            .flatten();
        let dead_letter = letter.map(|(letter, start)| {
            payload.drain(..start);
            Box::new(letter)
        });
        Self {
            sequence,
            payload,
            kind: header.kind,
            key: header.key,
            timestamp: header.timestamp,
            dead_letter,
        }
    }
}

/// A replay by time of a queue that takes none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoTimestamps;

impl fmt::Display for NoTimestamps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the queue takes no times of its messages: begin at a sequence, or make it with timestamps")
    }
}

impl std::error::Error for NoTimestamps {}

/// What the ring still holds, from a place on, in order: made by [`Queue::replay`](crate::Queue::replay) and
/// [`Inspector::replay`](crate::Inspector::replay).
///
/// It ends, with `None`, where nothing has been published yet, and goes on from there when it is asked again later. A
/// sequence that a producer has taken and not completed ends it too, for that while.
#[derive(Debug)]
pub struct Replay<'q> {
    ring: &'q Ring,
    /// In a forked child there is nothing.
    fork: ForkGuard,
    next: u64,
    /// Messages before this time are passed over, until one is not.
    since: Option<u64>,
}

impl<'q> Replay<'q> {
    pub(crate) fn new(
        ring: &'q Ring,
        timestamps: Timestamps,
        from: ReplayFrom,
        fork: ForkGuard,
    ) -> Result<Self, NoTimestamps> {
        let (next, since) = match from {
            _ if fork.is_child() => (0, None),
            ReplayFrom::Sequence(sequence) => (sequence, None),
            ReplayFrom::Oldest => (oldest(ring), None),
            ReplayFrom::Time(_) if timestamps == Timestamps::Off => return Err(NoTimestamps),
            ReplayFrom::Time(time) => (oldest(ring), Some(nanoseconds(time))),
        };
        Ok(Self {
            ring,
            fork,
            next,
            since,
        })
    }

    /// The sequence it comes to next.
    pub fn position(&self) -> u64 {
        self.next
    }

    fn step(&mut self) -> Option<Replayed> {
        let sequence = self.next;
        let mut payload = Vec::new();
        let found = match self.ring.observe(sequence, &mut payload) {
            Observed::NotYet => return None,
            Observed::Overwritten => {
                self.next = oldest(self.ring).max(sequence + 1);
                return Some(Replayed::Gap {
                    from: sequence,
                    to: self.next - 1,
                });
            }
            Observed::Message(header) => {
                Replayed::Message(ReplayedMessage::new(sequence, &header, payload))
            }
            Observed::Hole => Replayed::Hole { sequence },
            Observed::Damaged => Replayed::Damaged { sequence },
        };
        self.next += 1;
        Some(found)
    }
}

impl Iterator for Replay<'_> {
    type Item = Replayed;

    fn next(&mut self) -> Option<Replayed> {
        if self.fork.is_child() {
            return None;
        }
        loop {
            let found = self.step()?;
            let Some(since) = self.since else {
                return Some(found);
            };
            match &found {
                Replayed::Message(message) if message.timestamp >= since => {
                    self.since = None;
                    return Some(found);
                }
                // What is gone may have been late enough.
                Replayed::Gap { .. } => return Some(found),
                Replayed::Message(_) | Replayed::Hole { .. } | Replayed::Damaged { .. } => {}
            }
        }
    }
}

fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The oldest sequence that may still be there.
pub(crate) fn oldest(ring: &Ring) -> u64 {
    let geometry = ring.geometry();
    (ring.true_tail() + 1)
        .saturating_sub(geometry.capacity())
        .max(geometry.shape().first_sequence)
}
