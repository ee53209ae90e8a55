//! Whether a history keeps the library's promises: a function of the journals alone.
//!
//! Nobody knows the order in which things happened. What is known are intervals: an operation takes effect between the
//! record before it and the record after it, and what a killed worker was at may have taken effect or not. A rule
//! therefore speaks only of what is certain, and says nothing where two orders are possible.

mod claims;
mod counts;
mod dead;
mod digest;
mod order;
mod publish;
mod reader;

use std::collections::HashMap;
use std::fmt;

use crate::group::Group;
use crate::record::Record;
use digest::Digest;

/// What all workers of an epoch said, and what was seen from outside.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// One per worker.
    pub journals: Vec<Journal>,
    /// The queue from time to time, oldest first.
    pub samples: Vec<Sample>,
    /// The next sequence when the epoch began and when it was over.
    pub sequences: (u64, u64),
}

/// What one worker said.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    /// Who; also its number as a producer.
    pub worker: u64,
    /// In order. A worker does one thing at a time.
    pub records: Vec<Record>,
    /// How it ended.
    pub end: End,
}

/// How a worker ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// Killed, or replaced by another program, rather than left when it was done.
    pub died: bool,
    /// It was alive then for sure: just before the signal was sent. If that is not known, 0: until its last record.
    pub alive_until: u64,
    /// And gone for sure by then: when it had been waited for.
    pub gone_by: u64,
}

/// The queue at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// When.
    pub at: u64,
    /// The next sequence.
    pub tail: u64,
    /// The permanent groups and their floors.
    pub floors: Vec<(Group, u64)>,
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub rule: Rule,
    /// By what.
    pub text: String,
}

/// The promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// A worker saw something wrong itself.
    Fault,
    /// Every byte of a delivered message is as it was published.
    Whole,
    /// Nothing is delivered that was not attempted, or whose publish failed.
    Attempted,
    /// A message has one sequence, a sequence one message, and none is used again (I10).
    OneSequence,
    /// A publish that begins after another returned gets a higher sequence.
    PublishOrder,
    /// What was published is delivered to every permanent group, and settled by an ack.
    Delivered,
    /// A death leaves one hole at most, and nothing else does.
    Holes,
    /// One live claim at a time on a message of a group; one live active consumer in an exclusive group (I4).
    OneClaim,
    /// A live worker's claim is its own until it settles it.
    Kept,
    /// What was acked is never delivered again (I5).
    AckedIsFinal,
    /// At first delivery an exclusive group is in strict order, a shared one in the order of each producer.
    DeliveryOrder,
    /// An exclusive group has no gap.
    NoGap,
    /// A delivery count is never above the number of hand-overs.
    CountNotAbove,
    /// It is raised by a nack and by the death of a consumer.
    CountRaised,
    /// In a group with a limit, a message is acked, among the dead, or dropped by somebody who decided so.
    Accounted,
    /// What is dead was delivered as often as its group allows, or rejected, and what is said of it is true.
    DeadRightly,
    /// There is one copy of a dead message, unless somebody died, or was held up, while burying it.
    OneCopy,
    /// No message is delivered more often than its group allows, unless somebody gave it back.
    Limit,
    /// What is dead is not delivered again, unless somebody gave it back; what was dropped, never.
    DeadIsFinal,
    /// Of all ways to end a message for good, one succeeds, once.
    OneEnd,
    /// A claim with a lease is its holder's until that has ended, and never again after.
    Lease,
    /// Survivors get on, and an epoch comes to an end.
    Progress,
    /// Floors and tail never go back.
    Floors,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.rule, self.text)
    }
}

/// How many violations of one rule are told.
const MOST: usize = 10;

/// Collects violations.
#[derive(Debug, Default)]
struct Found(Vec<Violation>);

impl Found {
    fn add(&mut self, rule: Rule, text: impl FnOnce() -> String) {
        if self.0.iter().filter(|known| known.rule == rule).count() < MOST {
            self.0.push(Violation { rule, text: text() });
        }
    }
}

/// What a history was about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages that were published for sure.
    pub published: u64,
    /// Deliveries told of.
    pub deliveries: u64,
    /// Of those, with a count above one.
    pub redeliveries: u64,
    /// Sequences without a message.
    pub holes: u64,
    /// Dead messages in their own queue.
    pub letters: u64,
    /// Times that a message was found parked.
    pub parked: u64,
    /// Parked messages that were given back or dropped.
    pub decided: u64,
    /// Holders told that their lease had ended.
    pub lost: u64,
    /// The longest time, in ns, in which a permanent group with messages settled none of the oldest.
    pub standstill: u64,
}

/// Every promise broken in this history, as far as the journals can prove it. All groups have been drained at its end.
#[must_use]
pub fn check(history: &History) -> (Vec<Violation>, Tally) {
    let mut found = Found::default();
    let digest = Digest::of(history, &mut found);
    publish::check(&digest, &mut found);
    claims::check(&digest, &mut found);
    order::check(&digest, &mut found);
    counts::check(&digest, &mut found);
    dead::check(&digest, &mut found);
    floors(history, &mut found);
    (found.0, tally(&digest, &history.samples))
}

fn tally(digest: &Digest, samples: &[Sample]) -> Tally {
    let again = digest.holds.iter().filter(|hold| hold.count > 1);
    Tally {
        published: digest.published(),
        deliveries: digest.holds.len() as u64,
        redeliveries: again.count() as u64,
        holes: digest.holes(),
        letters: digest.letters.len() as u64,
        parked: digest.parked.len() as u64,
        decided: digest.decisions.iter().filter(|d| d.sure).count() as u64,
        lost: digest.holds.iter().filter(|hold| hold.lost).count() as u64,
        standstill: standstill(samples),
    }
}

fn standstill(samples: &[Sample]) -> u64 {
    let mut since: HashMap<Group, (u64, u64)> = HashMap::new();
    let mut longest = 0;
    for sample in samples {
        for &(group, floor) in &sample.floors {
            let (known, at) = since.entry(group).or_insert((floor, sample.at));
            if *known == floor && floor < sample.tail {
                longest = longest.max(sample.at.saturating_sub(*at));
            } else {
                (*known, *at) = (floor, sample.at);
            }
        }
    }
    longest
}

fn floors(history: &History, found: &mut Found) {
    let later = history.samples.iter().skip(1);
    for (one, two) in history.samples.iter().zip(later) {
        if two.tail < one.tail {
            found.add(Rule::Floors, || {
                format!("tail {} at {}, then {}", one.tail, one.at, two.tail)
            });
        }
        for (group, floor) in &two.floors {
            let before = one.floors.iter().find(|(known, _)| known == group);
            if let Some((_, before)) = before.filter(|(_, before)| before > floor) {
                found.add(Rule::Floors, || {
                    let name = group.name();
                    format!("{name}: floor {before} at {}, then {floor}", one.at)
                });
            }
        }
    }
}
