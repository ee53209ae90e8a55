//! Journals brought into the shape the rules need: publishes, deliveries, and the times about which nothing is known.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use super::reader::Reader;
use super::{Found, History};
use crate::fate::Why;
use crate::group::Group;
use crate::record::How;

/// A message: its producer and its number there.
pub type Message = (u64, u64);

/// One message that a producer tried to publish.
#[derive(Clone, Debug)]
pub struct Publish {
    pub message: Message,
    /// Before it began.
    pub began: u64,
    /// After it returned.
    pub returned: Option<u64>,
    pub refused: bool,
    /// As the producer was told, or else as a consumer saw it.
    pub sequence: Option<u64>,
}

/// One delivery.
#[derive(Clone, Debug)]
pub struct Hold {
    pub worker: u64,
    pub group: Group,
    pub sequence: u64,
    pub count: u64,
    pub message: Message,
    pub whole: bool,
    /// It was claimed after this,
    pub asked: u64,
    /// and before this, when the first message of the same call had come.
    pub claimed: u64,
    /// It was opened after this.
    pub opened: u64,
    /// It was held at this time for sure,
    pub at: u64,
    /// and until this time.
    pub until: u64,
    /// It could not be taken away before this.
    pub leased: u64,
    /// Its holder was told that it is none any more.
    pub lost: bool,
    /// What ended it; nothing, if its holder died, or left.
    pub how: Option<How>,
    /// When it was told that this was done, if it was.
    pub done: Option<u64>,
    /// Its holder died, and had not begun to settle it.
    pub died: bool,
    /// An ack began then, its own or a later one's; true if it returned and was not refused.
    pub acked: Option<(u64, bool)>,
    /// An exclusive group's order was restarted below it, or it was settled by a later one.
    pub stale: bool,
}

/// A time in which a worker may have claimed messages without saying so.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    pub group: Group,
    pub from: u64,
    pub to: u64,
    /// Because it died; one of them may have been handed over.
    pub died: bool,
    /// How many leases may have ended in it.
    pub lost: u64,
}

/// A message in the queue of the dead.
#[derive(Clone, Copy, Debug)]
pub struct Letter {
    /// Its place there.
    pub place: u64,
    pub dead: Dead,
    pub message: Message,
    pub whole: bool,
}

/// What is said of a dead message.
#[derive(Clone, Copy, Debug)]
pub struct Dead {
    /// It was dead then.
    pub at: u64,
    pub group: Group,
    pub sequence: u64,
    pub count: u64,
    pub why: Why,
}

/// What somebody decided on a parked message.
#[derive(Clone, Copy, Debug)]
pub struct Decision {
    pub group: Group,
    pub sequence: u64,
    /// Given back, or else dropped.
    pub again: bool,
    pub began: u64,
    /// When it was done, if that is known.
    pub ended: u64,
    /// It was done for sure; or else perhaps.
    pub sure: bool,
}

/// A worker's time as a member of an exclusive group.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    pub worker: u64,
    pub group: Group,
    pub joined: u64,
    /// It was the active consumer between these for sure.
    pub active: Option<(u64, u64)>,
    /// It was gone by then,
    pub gone_by: u64,
    /// because it died.
    pub died: bool,
}

#[derive(Debug, Default)]
pub struct Digest {
    pub publishes: Vec<Publish>,
    pub by_message: HashMap<Message, usize>,
    /// In the order of [`Hold::at`].
    pub holds: Vec<Hold>,
    pub windows: Vec<Window>,
    pub members: Vec<Member>,
    pub letters: Vec<Letter>,
    pub parked: Vec<Dead>,
    pub decisions: Vec<Decision>,
    /// Seen by observers: sequence, message, whole, when.
    pub peeks: Vec<(u64, Message, bool, u64)>,
    pub sequences: (u64, u64),
    pub deaths: u64,
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "worker {} held {} of {} ({:?}, delivery {}) from {} until {} ({:?}{})",
            self.worker,
            self.sequence,
            self.group.name(),
            self.message,
            self.count,
            self.at,
            self.until,
            self.how,
            if self.died { ", died" } else { "" }
        )
    }
}

impl Hold {
    /// Until when it was its holder's for sure.
    pub fn kept(&self) -> u64 {
        self.until.min(self.leased)
    }

    /// Its lease cannot have ended before it could say that it had one.
    pub fn is_sure(&self) -> bool {
        self.leased > self.at
    }

    /// Whether it was claimed after `at`, when somebody else had it.
    pub fn is_after(&self, at: u64) -> bool {
        self.opened > at || self.at > at && self.is_sure()
    }

    /// It may have ended among the dead.
    pub fn is_burial(&self) -> bool {
        let last = self
            .group
            .limit()
            .is_some_and(|most| self.count >= most.into());
        self.how == Some(How::Reject) || self.how == Some(How::Nack) && last
    }
}

impl Digest {
    pub fn of(history: &History, found: &mut Found) -> Self {
        let mut digest = Self {
            sequences: history.sequences,
            ..Self::default()
        };
        for journal in &history.journals {
            digest.deaths += u64::from(journal.end.died);
            Reader::new(&mut digest, journal).read(found);
        }
        digest.holds.sort_by_key(|hold| hold.at);
        // What was delivered or seen was published, whatever its producer could still say.
        let held = digest
            .holds
            .iter()
            .map(|hold| (hold.message, hold.sequence));
        let peeked = digest.peeks.iter().map(|peek| (peek.1, peek.0));
        let dead = digest.letters.iter();
        let dead = dead.map(|letter| (letter.message, letter.dead.sequence));
        for (message, sequence) in held.chain(peeked).chain(dead) {
            let publish = digest.by_message.get(&message);
            if let Some(publish) = publish.and_then(|&at| digest.publishes.get_mut(at)) {
                publish.sequence.get_or_insert(sequence);
            }
        }
        digest
    }

    /// Whether it may have been given back after it was parked, between these times.
    pub fn retried(&self, group: Group, sequence: u64, from: u64, to: u64) -> bool {
        let mut retries = self.decisions.iter().filter(|decision| decision.again);
        retries.any(|retry| {
            (retry.group, retry.sequence) == (group, sequence)
                && retry.began < to
                && retry.ended > from
        })
    }

    /// How often somebody may have had a message between these times without being able to say so.
    pub fn unseen(&self, group: Group, from: u64, to: u64) -> u64 {
        let windows = self.windows.iter().filter(|w| w.group == group);
        let windows = windows.filter(|w| w.from < to && w.to > from);
        windows.map(|w| u64::from(w.died) + w.lost).sum()
    }

    /// Messages that are in the queue for sure.
    pub fn published(&self) -> u64 {
        let known = |publish: &&Publish| publish.returned.is_some() || publish.sequence.is_some();
        self.publishes.iter().filter(known).count() as u64
    }

    /// Sequences without a message.
    pub fn holes(&self) -> u64 {
        let (first, end) = self.sequences;
        end.saturating_sub(first).saturating_sub(self.published())
    }

    /// Deliveries by group and sequence, each in the order of time.
    pub fn by_sequence(&self) -> BTreeMap<(Group, u64), Vec<&Hold>> {
        let mut by_sequence: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for hold in &self.holds {
            let holds = by_sequence.entry((hold.group, hold.sequence));
            holds.or_default().push(hold);
        }
        by_sequence
    }
}
