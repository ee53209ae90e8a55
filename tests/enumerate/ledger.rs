//! What the promises are checked against: every attempt to publish, every return, every delivery and every ack.
//!
//! A call is noted before it is made and again when it returns. Of one that never returned, both outcomes are right;
//! everything else has one.

use std::collections::BTreeMap;

use slipring::{Delivery, GroupStats};

/// A message by the order in which they were attempted.
pub type Id = usize;
/// Of each producer, the newest message delivered for the first time.
pub type Seen = BTreeMap<u16, Id>;

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ledger {
    sent: Vec<Sent>,
    logs: BTreeMap<&'static str, Log>,
    /// The highest sequence a publish has returned.
    newest: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Sent {
    by: u16,
    length: usize,
    /// What `newest` was when it was attempted.
    above: Option<u64>,
    sequence: Option<u64>,
    returned: bool,
}

/// What is known of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Log {
    exists: Exists,
    /// Messages attempted before it existed for sure.
    since: Id,
    fates: BTreeMap<Id, Fate>,
    seen: Seen,
    /// Messages older than this may have been claimed, unseen, by somebody who gave them back uncounted.
    unordered_below: Id,
    /// Hand-overs that may have happened, unseen, in a call that did not return.
    unseen: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exists {
    #[default]
    Perhaps,
    Yes,
    No,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Settled {
    No,
    Perhaps,
    Yes,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Fate {
    /// The delivery count it comes with next.
    next: u8,
    settled: Settled,
}

fn payload(id: Id, length: usize) -> Vec<u8> {
    let mut bytes = [id as u64, !(id as u64)]
        .map(u64::to_le_bytes)
        .concat()
        .repeat(length.div_ceil(16));
    bytes.truncate(length);
    bytes
}

/// Which message a delivery says it is.
pub fn id_of(delivery: &Delivery<'_>) -> Id {
    let first: [u8; 8] = delivery[..8].try_into().unwrap();
    u64::from_le_bytes(first).try_into().unwrap()
}

impl Ledger {
    /// Somebody is about to publish: which message it is, and its bytes.
    pub fn attempt(&mut self, by: u16, length: usize) -> (Id, Vec<u8>) {
        let id = self.sent.len();
        self.sent.push(Sent {
            by,
            length,
            above: self.newest,
            sequence: None,
            returned: false,
        });
        (id, payload(id, length))
    }

    /// It was refused.
    pub fn refused(&mut self, id: Id) {
        assert_eq!(self.sent[id].sequence, None, "message {id} was refused");
    }

    pub fn published(&mut self, id: Id, sequence: u64) {
        self.has_sequence(id, sequence);
        let sent = &mut self.sent[id];
        assert!(
            sent.above.is_none_or(|above| above < sequence),
            "message {id} got {sequence} after a publish had returned {:?}",
            sent.above
        );
        sent.returned = true;
        self.newest = self.newest.max(Some(sequence));
    }

    /// It was published in a batch, whose sequences are not told.
    pub fn published_somewhere(&mut self, id: Id) {
        self.sent[id].returned = true;
    }

    /// One message, one sequence; one sequence, one message (I10).
    fn has_sequence(&mut self, id: Id, sequence: u64) {
        let other = self
            .sent
            .iter()
            .position(|sent| sent.sequence == Some(sequence));
        assert!(
            other.is_none_or(|other| other == id),
            "sequence {sequence} is message {id} and message {other:?}"
        );
        let known = self.sent[id].sequence.get_or_insert(sequence);
        assert_eq!(*known, sequence, "message {id} has two sequences");
    }

    fn log(&mut self, group: &'static str) -> &mut Log {
        self.logs.entry(group).or_default()
    }

    /// Somebody is about to make, or to delete, a group.
    pub fn doubtful(&mut self, group: &'static str) {
        self.log(group).exists = Exists::Perhaps;
    }

    pub fn exists(&mut self, group: &'static str) {
        let since = self.sent.len();
        let log = self.log(group);
        (log.exists, log.since) = (Exists::Yes, since);
    }

    pub fn gone(&mut self, group: &'static str) {
        self.log(group).exists = Exists::No;
    }

    /// The groups that ought to be there, or may be.
    pub fn groups(&self) -> impl Iterator<Item = (&'static str, Exists)> {
        self.logs.iter().map(|(name, log)| (*name, log.exists))
    }

    /// Somebody is about to claim: what was delivered before.
    pub fn seen(&mut self, group: &'static str) -> Seen {
        self.log(group).seen.clone()
    }

    /// So many hand-overs may happen in the call about to be made.
    pub fn unsure(&mut self, group: &'static str, count: u8) {
        self.log(group).unseen += count;
    }

    /// It returned.
    pub fn sure(&mut self, group: &'static str, count: u8) {
        self.log(group).unseen -= count;
    }

    /// Somebody is about to claim several.
    pub fn claiming_several(&mut self, group: &'static str) {
        let attempted = self.sent.len();
        self.log(group).unordered_below = attempted;
    }

    pub fn delivered(&mut self, group: &'static str, delivery: &Delivery<'_>, before: &Seen) -> Id {
        let (id, sequence, count) = (
            id_of(delivery),
            delivery.sequence(),
            delivery.delivery_count(),
        );
        let what = format!("group {group}: message {id}, sequence {sequence}, delivery {count}");
        let sent = self.sent.get(id);
        let sent = sent.unwrap_or_else(|| panic!("{what}: nobody attempted that"));
        let by = sent.by;
        assert!(**delivery == payload(id, sent.length), "{what}: torn");
        let facts = (usize::from(delivery.kind()), delivery.key() as usize);
        assert_eq!(facts, (by.into(), id), "{what}: another's header");
        self.has_sequence(id, sequence);
        let log = self.log(group);
        let ordered = id >= log.unordered_below && before.get(&by).is_none_or(|&seen| seen < id);
        if let std::collections::btree_map::Entry::Vacant(vacant) = log.fates.entry(id) {
            assert!(
                ordered || count > 1 || id < log.unordered_below,
                "{what}: first delivered after a later one of its producer"
            );
            vacant.insert(Fate {
                next: 1,
                settled: Settled::No,
            });
            let seen = log.seen.entry(by).or_insert(id);
            *seen = id.max(*seen);
        }
        let fate = log.fates.get_mut(&id).unwrap();
        assert!(fate.settled != Settled::Yes, "{what}: it was acked");
        if count == fate.next + 1 && log.unseen > 0 {
            log.unseen -= 1;
        } else {
            assert_eq!(count, fate.next, "{what}: count");
        }
        fate.next = count + 1;
        id
    }

    /// It was handed over for the first time, out of our sight.
    pub fn handed_over(&mut self, group: &'static str, id: Id) {
        let settled = Settled::No;
        let by = self.sent[id].by;
        let log = self.log(group);
        log.fates.insert(id, Fate { next: 2, settled });
        log.seen.insert(by, id);
    }

    /// Somebody is about to ack it.
    pub fn acking(&mut self, group: &'static str, id: Id) {
        self.log(group).fates.get_mut(&id).unwrap().settled = Settled::Perhaps;
    }

    pub fn acked(&mut self, group: &'static str, id: Id) {
        self.log(group).fates.get_mut(&id).unwrap().settled = Settled::Yes;
    }

    /// Somebody is about to give it back, so that its last hand-over does not count. To be followed by
    /// [`sure`](Self::sure).
    pub fn uncounting(&mut self, group: &'static str, id: Id) {
        let log = self.log(group);
        log.fates.get_mut(&id).unwrap().next -= 1;
        log.unseen += 1;
    }

    /// Everything was delivered and acked: nothing is missing, but for what a lossy queue says that it dropped.
    pub fn check_complete(&self, groups: &[GroupStats], lossy: bool) {
        for group in groups {
            let log = &self.logs[group.name.as_str()];
            let settled = |id: &Id| {
                let fate = log.fates.get(id);
                fate.is_some_and(|fate| fate.settled != Settled::No)
            };
            let owed = |id: &Id| {
                let sent = &self.sent[*id];
                let reached = sent.sequence.is_some_and(|at| at >= group.start);
                // A message that never returned is owed to all once one group has seen it.
                reached || (sent.returned && log.exists == Exists::Yes && *id >= log.since)
            };
            let missing: Vec<Id> = (0..self.sent.len())
                .filter(|id| owed(id) && !settled(id))
                .collect();
            // Whoever dies between dropping and counting drops one more.
            let excused = if lossy { group.lost + 1 } else { 0 };
            assert!(
                missing.len() as u64 <= excused,
                "group {}: lost {missing:?} of {:?}",
                group.name,
                self.sent
            );
        }
    }
}
