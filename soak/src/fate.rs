//! Records of leases and of the dead: part of [`crate::record::Event`].

/// Why a message is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Delivered as often as its group allows.
    Limit,
    /// Ended by [`crate::record::How::Reject`].
    Rejected,
}

/// What happens to leases and to the dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are what they are called")]
pub enum Fate {
    /// About to let a claim last until so many ms from now.
    Extending { guard: u64, ms: u64 },
    /// It does (`held`), or had ended.
    Extended { guard: u64, held: bool },
    /// The queue of the dead had this message, in the place `letter` there. `whole`: as it was published, and with the
    /// reason for which it was rejected.
    Letter {
        letter: u64,
        group: u64,
        sequence: u64,
        count: u64,
        why: Why,
        producer: u64,
        number: u64,
        whole: bool,
    },
    /// This message was parked.
    Parked {
        group: u64,
        sequence: u64,
        count: u64,
        why: Why,
    },
    /// About to give a parked message back (`again`), or to drop it.
    Deciding {
        group: u64,
        sequence: u64,
        again: bool,
    },
    /// That was done, or it was not parked any more.
    Decided { done: bool },
}

impl Why {
    fn from_number(number: u64) -> Option<Self> {
        let every = [Self::Limit, Self::Rejected];
        every.into_iter().find(|why| *why as u64 == number)
    }
}

impl Fate {
    pub(crate) fn words(self) -> (&'static str, Vec<u64>) {
        match self {
            Self::Extending { guard, ms } => ("extending", vec![guard, ms]),
            Self::Extended { guard, held } => ("extended", vec![guard, held.into()]),
            Self::Letter {
                letter,
                group,
                sequence,
                count,
                why,
                producer,
                number,
                whole,
            } => {
                let message = [producer, number, whole.into()];
                let dead = [letter, group, sequence, count, why as u64];
                ("letter", dead.into_iter().chain(message).collect())
            }
            Self::Parked {
                group,
                sequence,
                count,
                why,
            } => ("parked", vec![group, sequence, count, why as u64]),
            Self::Deciding {
                group,
                sequence,
                again,
            } => ("deciding", vec![group, sequence, again.into()]),
            Self::Decided { done } => ("decided", vec![done.into()]),
        }
    }

    pub(crate) fn from_words(word: &str, numbers: &[u64]) -> Option<Self> {
        Some(match (word, numbers) {
            ("extending", &[guard, ms]) => Self::Extending { guard, ms },
            ("extended", &[guard, held]) => Self::Extended {
                guard,
                held: held == 1,
            },
            ("letter", &[letter, group, sequence, count, why, producer, number, whole]) => {
                Self::Letter {
                    letter,
                    group,
                    sequence,
                    count,
                    why: Why::from_number(why)?,
                    producer,
                    number,
                    whole: whole == 1,
                }
            }
            ("parked", &[group, sequence, count, why]) => Self::Parked {
                group,
                sequence,
                count,
                why: Why::from_number(why)?,
            },
            ("deciding", &[group, sequence, again]) => Self::Deciding {
                group,
                sequence,
                again: again == 1,
            },
            ("decided", &[done]) => Self::Decided { done: done == 1 },
            _ => return None,
        })
    }
}
