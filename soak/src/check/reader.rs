//! Reads one journal into the [`Digest`].

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::digest::{Dead, Decision, Digest, Hold, Letter, Member, Publish, Window};
use super::{Found, Journal, Rule};
use crate::fate::Fate;
use crate::group::Group;
use crate::record::{Event, How};

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

pub struct Reader<'d> {
    digest: &'d mut Digest,
    journal: &'d Journal,
    guards: HashMap<u64, usize>,
    sessions: HashMap<Group, Session>,
    ask: Option<Ask>,
    settling: Option<(u64, How, u64)>,
    extending: Option<(u64, u64)>,
    deciding: Option<Decision>,
    /// When the worker last said something.
    last: u64,
    /// First and one past the last of the publishes under way.
    publishing: Option<(usize, usize)>,
}

impl<'d> Reader<'d> {
    pub fn new(digest: &'d mut Digest, journal: &'d Journal) -> Self {
        Self {
            digest,
            journal,
            guards: HashMap::new(),
            sessions: HashMap::new(),
            ask: None,
            settling: None,
            extending: None,
            deciding: None,
            last: 0,
            publishing: None,
        }
    }

    pub fn read(mut self, found: &mut Found) {
        let journal = self.journal;
        for record in &journal.records {
            self.event(record.at, &record.event, found);
            // A forked child says one thing, in its own time.
            if record.event != Event::Forked {
                self.last = record.at;
            }
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
            Event::Nothing { .. } => {
                if let Some(ask) = self.ask.take() {
                    self.window(ask, at, false);
                }
            }
            Event::Received { .. } => self.received(at, event),
            Event::BatchOver { all, .. } => {
                if let Some(ask) = self.ask.take() {
                    self.window(ask, at, !all);
                }
            }
            Event::Settling { guard, how } => self.settling = Some((guard, how, at)),
            Event::Settled { held, .. } => self.settled(held, at, found),
            Event::Fate(fate) => self.fate(at, fate, found),
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
        if ask.batch {
            self.ask = Some(ask);
        } else if let Some(ask) = self.ask.take() {
            self.window(ask, at, false);
        }
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
            opened: self.last,
            at,
            until: u64::MAX,
            leased: lease_until(self.last, group.lease()),
            lost: false,
            how: None,
            done: None,
            died: false,
            acked: None,
            stale: false,
        });
    }

    /// A settling that has returned; `held`: was not refused.
    fn settled(&mut self, held: bool, returned: u64, found: &mut Found) {
        let Some((guard, how, at)) = self.settling.take() else {
            return;
        };
        let Some(index) = self.settle(guard, how, at) else {
            return;
        };
        if held {
            self.take_effect(index, how, at, true);
        }
        let Some(hold) = self.digest.holds.get_mut(index) else {
            return;
        };
        // A guard that is dropped does not say whether it was.
        if how == How::Drop || held {
            hold.done = (how != How::Drop).then_some(returned);
            if hold.lost && how != How::Drop {
                found.add(Rule::Lease, || format!("{hold}, after it was refused"));
            }
            return;
        }
        refused(hold, returned, found);
    }

    fn fate(&mut self, at: u64, fate: Fate, found: &mut Found) {
        match fate {
            Fate::Extending { guard, ms } => {
                let hold = self.guards.get(&guard).copied();
                if let Some(hold) = hold.and_then(|index| self.digest.holds.get_mut(index)) {
                    let until = lease_until(at, Some(Duration::from_millis(ms.max(1))));
                    self.extending = Some((hold.leased, until));
                    hold.leased = hold.leased.min(until);
                }
            }
            Fate::Extended { guard, held } => {
                let hold = self.guards.get(&guard).copied();
                if let Some(hold) = hold.and_then(|index| self.digest.holds.get_mut(index))
                    && let Some((before, until)) = self.extending.take()
                {
                    hold.leased = if held { until } else { before };
                    if !held {
                        refused(hold, at, found);
                        hold.until = hold.until.min(self.last);
                    }
                }
            }
            Fate::Deciding {
                group,
                sequence,
                again,
            } => {
                self.deciding = Some(Decision {
                    group: Group(group),
                    sequence,
                    again,
                    began: at,
                    ended: u64::MAX,
                    sure: false,
                });
            }
            Fate::Decided { done } => {
                let decision = self.deciding.take().filter(|_| done);
                self.digest
                    .decisions
                    .extend(decision.map(|decision| Decision {
                        ended: at,
                        sure: true,
                        ..decision
                    }));
            }
            Fate::Letter { .. } | Fate::Parked { .. } => self.dead(at, fate),
        }
    }

    fn dead(&mut self, at: u64, fate: Fate) {
        if let Fate::Letter {
            letter,
            group,
            sequence,
            count,
            why,
            producer,
            number,
            whole,
        } = fate
        {
            self.digest.letters.push(Letter {
                place: letter,
                dead: Dead {
                    at,
                    group: Group(group),
                    sequence,
                    count,
                    why,
                },
                message: (producer, number),
                whole,
            });
        } else if let Fate::Parked {
            group,
            sequence,
            count,
            why,
        } = fate
        {
            self.digest.parked.push(Dead {
                at,
                group: Group(group),
                sequence,
                count,
                why,
            });
        }
    }

    /// Ends a delivery; which it was.
    fn settle(&mut self, guard: u64, how: How, at: u64) -> Option<usize> {
        let index = self.guards.remove(&guard)?;
        let hold = self.digest.holds.get_mut(index)?;
        (hold.until, hold.how) = (hold.until.min(at), Some(how));
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
            How::Defer | How::Reject => {}
        }
    }

    /// `unseen`: some of what was claimed was not handed over, or nobody knows.
    fn window(&mut self, ask: Ask, to: u64, unseen: bool) {
        let Ask { group, at, .. } = ask;
        let shortest = group.lease().map(|lease| lease_until(0, Some(lease)));
        let lost = shortest.map_or(0, |shortest| to.saturating_sub(at) / shortest.max(1));
        if unseen || lost > 0 {
            self.digest.windows.push(Window {
                group,
                from: at,
                to,
                died: false,
                lost,
            });
        }
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
            self.window(ask, end.gone_by.max(alive), true);
            if let Some(window) = self.digest.windows.last_mut() {
                window.died = end.died;
            }
        }
        self.digest.decisions.extend(self.deciding.take());
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

/// Until when a lease of that length, begun after `from`, runs at least. It is measured with a clock that may be a tick
/// late when it begins, and in whole ms.
fn lease_until(from: u64, lease: Option<Duration>) -> u64 {
    const EARLIER: Duration = Duration::from_millis(20);
    lease.map_or(u64::MAX, |lease| {
        let ns = lease.saturating_sub(EARLIER).as_nanos();
        from.saturating_add(u64::try_from(ns).unwrap_or(u64::MAX))
    })
}

/// A live holder was told at `at` that it is none.
fn refused(hold: &mut Hold, at: u64, found: &mut Found) {
    if hold.group.lease().is_none() {
        if !hold.stale {
            found.add(Rule::Kept, || format!("{hold}, and was refused"));
        }
        return;
    }
    if at < hold.leased && !hold.lost {
        found.add(Rule::Lease, || {
            let until = hold.leased;
            format!("{hold}, and was refused at {at}, before {until}")
        });
    }
    hold.lost = true;
}
