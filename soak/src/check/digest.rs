//! Journals brought into the shape the rules need: publishes, deliveries, and the times about which nothing is known.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use super::{Found, History, Journal, Rule};
use crate::group::Group;
use crate::record::{Event, How};

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
    /// It was held at this time for sure,
    pub at: u64,
    /// and until this time.
    pub until: u64,
    /// What ended it; nothing, if its holder died, or left.
    pub how: Option<How>,
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
        for (message, sequence) in held.chain(peeked) {
            let publish = digest.by_message.get(&message);
            if let Some(publish) = publish.and_then(|&at| digest.publishes.get_mut(at)) {
                publish.sequence.get_or_insert(sequence);
            }
        }
        digest
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

/// What is known of a membership while its journal is read.
#[derive(Debug)]
struct Session {
    member: usize,
    /// Deliveries of this session not acked, by sequence.
    open: BTreeSet<(u64, usize)>,
    /// Restarts and cumulative acks: when, how, at which sequence.
    resets: Vec<(u64, How, u64)>,
}

/// A call for messages that has not ended.
#[derive(Clone, Copy, Debug)]
struct Ask {
    group: Group,
    batch: bool,
    at: u64,
    first: Option<u64>,
}

struct Reader<'d> {
    digest: &'d mut Digest,
    journal: &'d Journal,
    guards: HashMap<u64, usize>,
    sessions: HashMap<Group, Session>,
    ask: Option<Ask>,
    settling: Option<(u64, How, u64)>,
    /// First and one past the last of the publishes under way.
    publishing: Option<(usize, usize)>,
}

impl<'d> Reader<'d> {
    fn new(digest: &'d mut Digest, journal: &'d Journal) -> Self {
        Self {
            digest,
            journal,
            guards: HashMap::new(),
            sessions: HashMap::new(),
            ask: None,
            settling: None,
            publishing: None,
        }
    }

    fn read(mut self, found: &mut Found) {
        let journal = self.journal;
        for record in &journal.records {
            self.event(record.at, &record.event, found);
        }
        self.finish();
    }

    fn event(&mut self, at: u64, event: &Event, found: &mut Found) {
        let worker = self.journal.worker;
        match *event {
            Event::Publishing { number, count } => self.publishing(at, number, count),
            Event::Published { first, last, .. } => self.published(at, Some((first, last))),
            Event::Refused { .. } => self.published(at, None),
            Event::Joining { group } => self.joining(at, Group(group)),
            Event::Leaving { group } => self.leave(Group(group), at),
            Event::Left { group } => {
                if let Some(session) = self.sessions.remove(&Group(group))
                    && let Some(member) = self.digest.members.get_mut(session.member)
                {
                    member.gone_by = at;
                }
            }
            Event::Receiving { group, batch } => {
                let group = Group(group);
                self.ask = Some(Ask {
                    group,
                    batch,
                    at,
                    first: None,
                });
            }
            Event::Nothing { .. } => self.ask = None,
            Event::Received { .. } => self.received(at, event),
            Event::BatchOver { all, .. } => {
                if let Some(ask) = self.ask.take()
                    && !all
                {
                    self.window(ask, at, false);
                }
            }
            Event::Settling { guard, how } => self.settling = Some((guard, how, at)),
            Event::Settled { held, .. } => self.settled(held, found),
            Event::Peeked {
                sequence,
                producer,
                number,
                whole,
            } => {
                let peek = (sequence, (producer, number), whole, at);
                self.digest.peeks.push(peek);
            }
            Event::Fault(ref text) => {
                found.add(Rule::Fault, || format!("worker {worker} at {at}: {text}"));
            }
            Event::Began { .. }
            | Event::Alive
            | Event::Executing
            | Event::Forked
            | Event::MadeGroup { .. }
            | Event::Swept { .. } => {}
        }
    }

    fn publishing(&mut self, at: u64, number: u64, count: u64) {
        let first = self.digest.publishes.len();
        for number in number..number.saturating_add(count) {
            let message = (self.journal.worker, number);
            let index = self.digest.publishes.len();
            self.digest.by_message.insert(message, index);
            self.digest.publishes.push(Publish {
                message,
                began: at,
                returned: None,
                refused: false,
                sequence: None,
            });
        }
        self.publishing = Some((first, self.digest.publishes.len()));
    }

    fn published(&mut self, at: u64, sequences: Option<(u64, u64)>) {
        let Some((from, to)) = self.publishing.take() else {
            return;
        };
        let publishes = self.digest.publishes.get_mut(from..to).unwrap_or_default();
        for publish in publishes.iter_mut() {
            publish.refused = sequences.is_none();
            publish.returned = sequences.map(|_| at);
        }
        if let Some((first, last)) = sequences
            && let [one, .., two] = publishes
        {
            (one.sequence, two.sequence) = (Some(first), Some(last));
        } else if let Some((first, _)) = sequences
            && let [one] = publishes
        {
            one.sequence = Some(first);
        }
    }

    fn joining(&mut self, at: u64, group: Group) {
        let session = Session {
            member: self.digest.members.len(),
            open: BTreeSet::new(),
            resets: Vec::new(),
        };
        self.digest.members.push(Member {
            worker: self.journal.worker,
            group,
            joined: at,
            active: None,
            gone_by: u64::MAX,
            died: false,
        });
        self.sessions.insert(group, session);
    }

    /// It is active no longer than until here.
    fn leave(&mut self, group: Group, at: u64) {
        let session = self.sessions.get(&group);
        if let Some(member) = session.and_then(|s| self.digest.members.get_mut(s.member))
            && let Some((_, until)) = &mut member.active
        {
            *until = (*until).min(at);
        }
    }

    fn received(&mut self, at: u64, event: &Event) {
        let &Event::Received {
            guard,
            group,
            sequence,
            count,
            producer,
            number,
            whole,
        } = event
        else {
            return;
        };
        let group = Group(group);
        let mut ask = self.ask.unwrap_or(Ask {
            group,
            batch: false,
            at,
            first: None,
        });
        let claimed = *ask.first.get_or_insert(at);
        self.ask = Some(ask).filter(|ask| ask.batch);
        let index = self.digest.holds.len();
        self.guards.insert(guard, index);
        if let Some(session) = self.sessions.get_mut(&group) {
            session.open.insert((sequence, index));
            if let Some(member) = self.digest.members.get_mut(session.member) {
                member.active.get_or_insert((at, u64::MAX));
            }
        }
        self.digest.holds.push(Hold {
            worker: self.journal.worker,
            group,
            sequence,
            count,
            message: (producer, number),
            whole,
            asked: ask.at,
            claimed,
            at,
            until: u64::MAX,
            how: None,
            died: false,
            acked: None,
            stale: false,
        });
    }

    /// A settling that has returned; `held`: was not refused.
    fn settled(&mut self, held: bool, found: &mut Found) {
        let Some((guard, how, at)) = self.settling.take() else {
            return;
        };
        let Some(index) = self.settle(guard, how, at) else {
            return;
        };
        if held {
            self.take_effect(index, how, at, true);
        } else if self.digest.holds.get(index).is_some_and(|hold| !hold.stale) {
            let hold = self.digest.holds.get(index);
            found.add(Rule::Kept, || {
                hold.map_or_else(String::new, |hold| format!("{hold}, and was refused"))
            });
        }
    }

    /// Ends a delivery; which it was.
    fn settle(&mut self, guard: u64, how: How, at: u64) -> Option<usize> {
        let index = self.guards.remove(&guard)?;
        let hold = self.digest.holds.get_mut(index)?;
        (hold.until, hold.how) = (at, Some(how));
        hold.stale = is_stale(&self.sessions, hold);
        Some(index)
    }

    fn take_effect(&mut self, index: usize, how: How, at: u64, sure: bool) {
        let Some(hold) = self.digest.holds.get_mut(index) else {
            return;
        };
        let (group, sequence) = (hold.group, hold.sequence);
        let session = self.sessions.get_mut(&group);
        match how {
            How::Ack => {
                hold.acked = Some((at, sure));
                if let Some(session) = session {
                    session.open.remove(&(sequence, index));
                }
            }
            How::AckUpTo => {
                let Some(session) = session else {
                    return;
                };
                let later = session.open.split_off(&(sequence + 1, 0));
                for (_, index) in std::mem::replace(&mut session.open, later) {
                    if let Some(hold) = self.digest.holds.get_mut(index) {
                        hold.acked = Some((at, sure));
                    }
                }
                session.resets.push((at, how, sequence));
            }
            How::Nack | How::Release | How::Drop => {
                if let Some(session) = session {
                    session.resets.push((at, how, sequence));
                }
            }
            How::Defer => {}
        }
    }

    fn window(&mut self, ask: Ask, to: u64, died: bool) {
        self.digest.windows.push(Window {
            group: ask.group,
            from: ask.at,
            to,
            died,
        });
    }

    /// The worker is gone, perhaps in the middle of something.
    fn finish(mut self) {
        let end = self.journal.end;
        let last = self.journal.records.last();
        let replaced = last.is_some_and(|record| record.event == Event::Executing);
        let last = last.map_or(0, |record| record.at);
        // Killed as another program that had not said so yet: as this one it was gone before.
        let alive = if replaced {
            last
        } else {
            end.alive_until.max(last)
        };
        if let Some((guard, how, at)) = self.settling.take()
            && let Some(index) = self.settle(guard, how, at)
        {
            self.take_effect(index, how, at, false);
        }
        if let Some(ask) = self.ask.take() {
            self.window(ask, end.gone_by.max(alive), end.died);
        }
        for &index in self.guards.values() {
            if let Some(hold) = self.digest.holds.get_mut(index) {
                hold.until = alive;
                hold.died = end.died;
                hold.stale = is_stale(&self.sessions, hold);
            }
        }
        for session in self.sessions.into_values() {
            if let Some(member) = self.digest.members.get_mut(session.member) {
                member.gone_by = end.gone_by.max(alive);
                member.died = end.died;
                if let Some((_, until)) = &mut member.active {
                    *until = (*until).min(alive);
                }
            }
        }
    }
}

fn is_stale(sessions: &HashMap<Group, Session>, hold: &Hold) -> bool {
    let session = sessions
        .get(&hold.group)
        .filter(|_| hold.group.is_exclusive());
    let resets = session.map_or(&[][..], |session| &session.resets);
    let mut since = resets.iter().rev().take_while(|(at, ..)| *at > hold.at);
    since.any(|&(_, how, reset)| match how {
        How::AckUpTo => reset >= hold.sequence,
        _ => reset <= hold.sequence,
    })
}
