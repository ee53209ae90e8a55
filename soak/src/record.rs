//! What a worker says about itself: one line per record, written whole or, by a worker killed meanwhile, not at all.

use std::fmt;
use std::io::{self, ErrorKind};

use nix::errno::Errno;

use crate::clock;
use crate::fate::Fate;

/// An event and its time: of one about to happen, read before; of one that has happened, after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// [`clock::now`].
    pub at: u64,
    /// What.
    pub event: Event,
}

/// How a delivery is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// For good.
    Ack,
    /// This and all before it, for good.
    AckUpTo,
    /// Left to a later [`How::AckUpTo`].
    Defer,
    /// Given back, counted.
    Nack,
    /// Given back, not counted.
    Release,
    /// The guard is dropped, which gives it back.
    Drop,
    /// No good: to the dead.
    Reject,
}

/// Every way, in the order of their numbers in a line.
pub const EVERY_HOW: [How; 7] = [
    How::Ack,
    How::AckUpTo,
    How::Defer,
    How::Nack,
    How::Release,
    How::Drop,
    How::Reject,
];

/// What happens to a worker. Guards are numbered by their worker, messages by their producer, which is a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are what they are called")]
pub enum Event {
    /// First words of a process: who it is from here on.
    Began { worker: u64 },
    /// About to publish so many messages, the first of that number.
    Publishing { number: u64, count: u64 },
    /// All of them are published, the first and the last under these sequences.
    Published { number: u64, first: u64, last: u64 },
    /// None of them is.
    Refused { number: u64 },
    /// About to become a consumer of a group.
    Joining { group: u64 },
    /// About to leave it.
    Leaving { group: u64 },
    /// Has left it.
    Left { group: u64 },
    /// About to ask for one message, or for a batch.
    Receiving { group: u64, batch: bool },
    /// None came.
    Nothing { group: u64 },
    /// One came. `whole`: with every byte as it was published.
    Received {
        guard: u64,
        group: u64,
        sequence: u64,
        count: u64,
        producer: u64,
        number: u64,
        whole: bool,
    },
    /// The batch is over; `all` of it had been handed over.
    BatchOver { group: u64, all: bool },
    /// About to end a delivery.
    Settling { guard: u64, how: How },
    /// It was (`held`), or was no longer this worker's.
    Settled { guard: u64, held: bool },
    /// What happens to leases and to the dead.
    Fate(Fate),
    /// An observer saw this message.
    Peeked {
        sequence: u64,
        producer: u64,
        number: u64,
        whole: bool,
    },
    /// Nothing to tell.
    Alive,
    /// Another program is about to take this process' place.
    Executing,
    /// A child was forked, and was told everywhere that it is one.
    Forked,
    /// Made a group.
    MadeGroup { group: u64 },
    /// Repaired after so many dead.
    Swept { participants: u64 },
    /// Something is wrong that only this worker can see.
    Fault(Box<str>),
}

impl Event {
    fn words(&self) -> (&'static str, Vec<u64>) {
        match *self {
            Self::Began { worker } => ("began", vec![worker]),
            Self::Publishing { number, count } => ("publishing", vec![number, count]),
            Self::Published {
                number,
                first,
                last,
            } => ("published", vec![number, first, last]),
            Self::Refused { number } => ("refused", vec![number]),
            Self::Joining { group } => ("joining", vec![group]),
            Self::Leaving { group } => ("leaving", vec![group]),
            Self::Left { group } => ("left", vec![group]),
            Self::Receiving { group, batch } => ("receiving", vec![group, batch.into()]),
            Self::Nothing { group } => ("nothing", vec![group]),
            Self::Received {
                guard,
                group,
                sequence,
                count,
                producer,
                number,
                whole,
            } => (
                "received",
                vec![
                    guard,
                    group,
                    sequence,
                    count,
                    producer,
                    number,
                    whole.into(),
                ],
            ),
            Self::BatchOver { group, all } => ("batch-over", vec![group, all.into()]),
            Self::Settling { guard, how } => ("settling", vec![guard, how as u64]),
            Self::Settled { guard, held } => ("settled", vec![guard, held.into()]),
            Self::Peeked {
                sequence,
                producer,
                number,
                whole,
            } => ("peeked", vec![sequence, producer, number, whole.into()]),
            Self::Fate(fate) => fate.words(),
            Self::Alive => ("alive", vec![]),
            Self::Executing => ("executing", vec![]),
            Self::Forked => ("forked", vec![]),
            Self::MadeGroup { group } => ("made-group", vec![group]),
            Self::Swept { participants } => ("swept", vec![participants]),
            Self::Fault(_) => ("fault", vec![]),
        }
    }

    fn from_words(word: &str, numbers: &[u64]) -> Option<Self> {
        Some(match (word, numbers) {
            ("began", &[worker]) => Self::Began { worker },
            ("publishing", &[number, count]) => Self::Publishing { number, count },
            ("published", &[number, first, last]) => Self::Published {
                number,
                first,
                last,
            },
            ("refused", &[number]) => Self::Refused { number },
            ("joining", &[group]) => Self::Joining { group },
            ("leaving", &[group]) => Self::Leaving { group },
            ("left", &[group]) => Self::Left { group },
            ("receiving", &[group, batch]) => Self::Receiving {
                group,
                batch: batch == 1,
            },
            ("nothing", &[group]) => Self::Nothing { group },
            ("received", &[guard, group, sequence, count, producer, number, whole]) => {
                Self::Received {
                    guard,
                    group,
                    sequence,
                    count,
                    producer,
                    number,
                    whole: whole == 1,
                }
            }
            ("batch-over", &[group, all]) => Self::BatchOver {
                group,
                all: all == 1,
            },
            ("settling", &[guard, how]) => Self::Settling {
                guard,
                how: *EVERY_HOW.get(usize::try_from(how).ok()?)?,
            },
            ("settled", &[guard, held]) => Self::Settled {
                guard,
                held: held == 1,
            },
            ("peeked", &[sequence, producer, number, whole]) => Self::Peeked {
                sequence,
                producer,
                number,
                whole: whole == 1,
            },
            ("alive", []) => Self::Alive,
            ("executing", []) => Self::Executing,
            ("forked", []) => Self::Forked,
            ("made-group", &[group]) => Self::MadeGroup { group },
            ("swept", &[participants]) => Self::Swept { participants },
            _ => Self::Fate(Fate::from_words(word, numbers)?),
        })
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, numbers) = self.event.words();
        write!(f, "{} {word}", self.at)?;
        if let Event::Fault(text) = &self.event {
            return write!(f, " {}", text.replace('\n', " "));
        }
        numbers.iter().try_for_each(|number| write!(f, " {number}"))
    }
}

impl Record {
    /// Reads a line.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let (at, rest) = line.split_once(' ')?;
        let at = at.parse().ok()?;
        let (word, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        if word == "fault" {
            let event = Event::Fault(rest.into());
            return Some(Self { at, event });
        }
        let mut numbers = [0; 8];
        let mut count = 0;
        for number in rest.split_ascii_whitespace() {
            *numbers.get_mut(count)? = number.parse().ok()?;
            count += 1;
        }
        let event = Event::from_words(word, numbers.get(..count)?)?;
        Some(Self { at, event })
    }
}

/// A worker's end of its pipe.
#[derive(Debug, Default)]
pub struct Journal {
    line: String,
}

impl Journal {
    /// Says something. A worker whose supervisor is gone ends here.
    ///
    /// # Errors
    /// What the pipe says, other than that nobody reads it.
    pub fn say(&mut self, event: Event) -> io::Result<()> {
        use fmt::Write;
        self.line.clear();
        let record = Record {
            at: clock::now(),
            event,
        };
        writeln!(self.line, "{record}").map_err(io::Error::other)?;
        let mut rest = self.line.as_bytes();
        // One turn: the kernel writes what is shorter than PIPE_BUF whole or not at all. A fault's text may be longer.
        while !rest.is_empty() {
            match nix::unistd::write(io::stdout(), rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(Errno::EINTR) => {}
                Err(Errno::EPIPE) => std::process::exit(0),
                Err(error) => return Err(io::Error::new(ErrorKind::BrokenPipe, error)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fate::Why;

    #[test]
    fn every_event_survives_its_line() {
        let every = [
            Event::Began { worker: 1 },
            Event::Publishing {
                number: 2,
                count: 3,
            },
            Event::Published {
                number: 2,
                first: 4,
                last: 9,
            },
            Event::Refused { number: 2 },
            Event::Joining { group: 5 },
            Event::Leaving { group: 5 },
            Event::Left { group: 5 },
            Event::Receiving {
                group: 5,
                batch: true,
            },
            Event::Nothing { group: 5 },
            Event::Received {
                guard: 6,
                group: 5,
                sequence: u64::MAX,
                count: 255,
                producer: 7,
                number: 8,
                whole: false,
            },
            Event::BatchOver {
                group: 5,
                all: false,
            },
            Event::Settled {
                guard: 6,
                held: true,
            },
            Event::Peeked {
                sequence: 1,
                producer: 2,
                number: 3,
                whole: true,
            },
            Event::Alive,
            Event::Executing,
            Event::Forked,
            Event::MadeGroup { group: 5 },
            Event::Swept { participants: 1 },
            Event::Fault("two words".into()),
        ];
        let settling = EVERY_HOW.map(|how| Event::Settling { guard: 6, how });
        let fates = fates().map(Event::Fate);
        for event in every.into_iter().chain(settling).chain(fates) {
            let record = Record { at: 17, event };
            assert_eq!(Record::parse(&record.to_string()), Some(record));
        }
    }

    fn fates() -> [Fate; 6] {
        let (group, sequence, count) = (8, 2, 3);
        [
            Fate::Extending { guard: 6, ms: 70 },
            Fate::Extended {
                guard: 6,
                held: false,
            },
            Fate::Letter {
                letter: 1,
                group,
                sequence,
                count,
                why: Why::Rejected,
                producer: 7,
                number: 8,
                whole: true,
            },
            Fate::Parked {
                group,
                sequence,
                count,
                why: Why::Limit,
            },
            Fate::Deciding {
                group,
                sequence,
                again: true,
            },
            Fate::Decided { done: false },
        ]
    }

    #[test]
    fn what_is_no_record_is_none() {
        for line in [
            "",
            "17",
            "x alive",
            "17 settling 1 7",
            "17 parked 1 2 3 2",
            "17 received 1 2",
            "17 dead",
        ] {
            assert_eq!(Record::parse(line), None, "{line}");
        }
    }
}
