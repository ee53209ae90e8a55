//! What the promises are checked against: every attempt to publish, every return, every delivery and every ack.
//!
//! A call is noted before it is made and again when it returns. Of one that is under way, or never returned, both
//! outcomes are right. Nobody is switched in here, so each note stands at one moment.

use std::cell::RefCell;
use std::collections::BTreeMap;

use slipring::{AckError, Delivery};

/// A message by the order in which they were attempted.
pub type Id = usize;

thread_local! {
    static LEDGER: RefCell<Ledger> = RefCell::default();
}

#[derive(Default)]
pub struct Ledger {
    sent: Vec<Sent>,
    groups: BTreeMap<&'static str, Log>,
    /// The highest sequence a publish has returned.
    newest: Option<u64>,
    /// Who is in a call that may count a hand-over that nobody sees, of which group.
    counting: BTreeMap<u16, &'static str>,
    /// Who is in a call that claims several, of which group.
    several: BTreeMap<u16, &'static str>,
    pub tally: Tally,
}

/// What an execution came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub published: u64,
    pub delivered: u64,
    pub again: u64,
    pub stale: u64,
    pub deaths: u64,
}

struct Sent {
    by: u16,
    length: usize,
    /// What `newest` was when it was attempted.
    above: Option<u64>,
    sequence: Option<u64>,
    returned: bool,
}

/// What is known of one group.
#[derive(Default)]
struct Log {
    /// Claims end by time, too.
    leased: bool,
    fates: BTreeMap<Id, Fate>,
    /// Of each producer, the newest message delivered for the first time.
    seen: BTreeMap<u16, Id>,
    /// Messages older than this may have been claimed, unseen, in a batch.
    unordered_below: Id,
    /// Who died in such a call: a hand-over more of any message, at most.
    unseen: u8,
}

#[derive(Clone, Copy, Debug, Default)]
struct Fate {
    /// The delivery counts it may come with next, but for what is unseen.
    next: (u8, u8),
    /// Who has it, and the number of that hand-over.
    holder: Option<u16>,
    handed: u64,
    acking: bool,
    acked: bool,
}

/// A message in somebody's hands.
pub struct Held<'c> {
    pub delivery: Delivery<'c>,
    pub id: Id,
    by: u16,
    group: &'static str,
    handed: u64,
}

/// What happens, in order, when one execution is run again to look at it.
pub fn say(text: impl FnOnce() -> String) {
    if std::env::var_os("SLIPRING_SHUTTLE_TRACE").is_some() {
        eprintln!("{}", text());
    }
}

pub fn ledger<T>(note: impl FnOnce(&mut Ledger) -> T) -> T {
    LEDGER.with_borrow_mut(note)
}

fn payload(id: Id, length: usize) -> Vec<u8> {
    let mut bytes = [id as u64, !(id as u64)]
        .map(u64::to_le_bytes)
        .concat()
        .repeat(length.div_ceil(16));
    bytes.truncate(length);
    bytes
}

/// Somebody is about to publish: which message it is, and its bytes.
pub fn attempt(by: u16, length: usize) -> (Id, Vec<u8>) {
    ledger(|ledger| {
        let id = ledger.sent.len();
        say(|| format!("{by}: message {id}, {length} bytes"));
        ledger.sent.push(Sent {
            by,
            length,
            above: ledger.newest,
            sequence: None,
            returned: false,
        });
        (id, payload(id, length))
    })
}

/// It was not taken.
pub fn refused(id: Id) {
    say(|| format!("message {id}: refused"));
    ledger(|ledger| assert_eq!(ledger.sent[id].sequence, None, "message {id} was refused"));
}

pub fn published(id: Id, sequence: u64) {
    say(|| format!("message {id}: published as {sequence}"));
    ledger(|ledger| {
        ledger.has_sequence(id, sequence);
        let sent = &mut ledger.sent[id];
        assert!(
            sent.above.is_none_or(|above| above < sequence),
            "message {id} got {sequence} after a publish had returned {:?}",
            sent.above
        );
        sent.returned = true;
        ledger.newest = ledger.newest.max(Some(sequence));
        ledger.tally.published += 1;
    });
}

/// Claims one message of a group, by any call. `several`: others are claimed with it, and not seen yet.
pub fn deliver<'c>(
    by: u16,
    group: &'static str,
    several: bool,
    claim: impl FnOnce() -> Option<Delivery<'c>>,
) -> Option<Held<'c>> {
    say(|| format!("{by}: claims in {group}, several: {several}"));
    let before = ledger(|ledger| {
        ledger.counting.insert(by, group);
        if several {
            ledger.several.insert(by, group);
        }
        ledger.groups.entry(group).or_default().seen.clone()
    });
    let delivery = claim();
    say(|| {
        let (sequence, count) = delivery.as_ref().map_or((None, 0), |delivery| {
            (Some(delivery.sequence()), delivery.delivery_count())
        });
        format!("{by}: got {sequence:?} in {group}, delivery {count}")
    });
    ledger(|ledger| {
        ledger.counting.remove(&by);
        if ledger.several.remove(&by).is_some() {
            ledger.groups.entry(group).or_default().unordered_below = ledger.sent.len();
        }
        delivery.map(|delivery| {
            let (id, handed) = ledger.delivered(by, group, &delivery, &before);
            Held {
                delivery,
                id,
                by,
                group,
                handed,
            }
        })
    })
}

/// How a message is given back or done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Ack,
    Nack,
    Release,
    Drop,
}

impl Held<'_> {
    pub fn is_before(&self, other: &Self) -> bool {
        self.delivery.sequence() < other.delivery.sequence()
    }

    /// Its bytes are still what they were.
    pub fn look(&self) {
        let expected = ledger(|ledger| payload(self.id, ledger.sent[self.id].length));
        assert!(
            *self.delivery == *expected,
            "message {} changed while it was held",
            self.id
        );
    }

    pub fn end(self, how: End) {
        self.look();
        let Self {
            delivery,
            id,
            by,
            group,
            handed,
        } = self;
        let uncounted = matches!(how, End::Release | End::Drop);
        say(|| format!("{by}: ends message {id} in {group}: {how:?}"));
        ledger(|ledger| {
            // An exclusive consumer that dies in a nack has counted the hand-over, and its successor does again.
            if how == End::Nack {
                ledger.counting.insert(by, group);
            }
            let fate = ledger.fate(group, id);
            if fate.handed == handed {
                fate.holder = None;
                fate.acking |= how == End::Ack;
                fate.next.0 -= u8::from(uncounted);
            } else {
                // Taken away already; an ack may come first all the same, and only one can.
                fate.acking |= how == End::Ack;
            }
        });
        let ended = match how {
            End::Ack => delivery.ack(),
            End::Nack => delivery.nack(),
            End::Release => delivery.release(),
            End::Drop => {
                drop(delivery);
                Ok(())
            }
        };
        ledger(|ledger| {
            say(|| format!("{by}: ended message {id} in {group}: {ended:?}"));
            ledger.counting.remove(&by);
            let leased = ledger.groups[group].leased;
            match ended {
                Ok(()) => {
                    let fate = ledger.fate(group, id);
                    if how == End::Ack {
                        assert!(!fate.acked, "group {group}: message {id} acked twice");
                        fate.acked = true;
                    } else if uncounted && fate.handed == handed && !leased {
                        fate.next.1 -= 1;
                    }
                }
                Err(AckError::Stale { .. }) if leased => ledger.tally.stale += 1,
                Err(error) => panic!("group {group}: message {id}: {error}"),
            }
        });
    }
}

/// Acks the newer of two messages of an exclusive group with all before it, and looks on at the older one for a while.
pub fn end_both(older: Held<'_>, newer: Held<'_>, meanwhile: impl FnOnce()) {
    newer.look();
    let (group, ids) = (newer.group, [older.id, newer.id]);
    for id in ids {
        ledger(|ledger| ledger.fate(group, id).acking = true);
    }
    newer.delivery.ack_up_to().unwrap();
    for id in ids {
        ledger(|ledger| {
            let fate = ledger.fate(group, id);
            (fate.holder, fate.acked) = (None, true);
        });
    }
    meanwhile();
    older.look();
}

/// A participant is dead, before its destructors have run or after: nobody can tell.
pub fn died(by: u16) {
    say(|| format!("{by}: died"));
    ledger(|ledger| {
        ledger.tally.deaths += 1;
        if let Some(group) = ledger.counting.remove(&by) {
            let log = ledger.groups.entry(group).or_default();
            log.unseen += 1;
            if ledger.several.remove(&by).is_some() {
                log.unordered_below = ledger.sent.len();
            }
        }
        for log in ledger.groups.values_mut() {
            for fate in log.fates.values_mut() {
                fate.holder = fate.holder.filter(|holder| *holder != by);
            }
        }
    });
}

impl Ledger {
    /// For a new execution.
    pub fn begin(&mut self, groups: &[(&'static str, bool)]) {
        *self = Self::default();
        for &(group, leased) in groups {
            self.groups.entry(group).or_default().leased = leased;
        }
    }

    fn fate(&mut self, group: &'static str, id: Id) -> &mut Fate {
        let log = self.groups.get_mut(group).unwrap();
        log.fates.get_mut(&id).unwrap()
    }

    /// One message, one sequence; one sequence, one message (I10).
    fn has_sequence(&mut self, id: Id, sequence: u64) {
        let mut all = self.sent.iter();
        let other = all.position(|sent| sent.sequence == Some(sequence));
        assert!(
            other.is_none_or(|other| other == id),
            "sequence {sequence} is message {id} and message {other:?}"
        );
        let known = self.sent[id].sequence.get_or_insert(sequence);
        assert_eq!(*known, sequence, "message {id} has two sequences");
    }

    fn delivered(
        &mut self,
        by: u16,
        group: &'static str,
        delivery: &Delivery<'_>,
        before: &BTreeMap<u16, Id>,
    ) -> (Id, u64) {
        let first: [u8; 8] = delivery[..8].try_into().unwrap();
        let id = u64::from_le_bytes(first) as usize;
        let (sequence, count) = (delivery.sequence(), delivery.delivery_count());
        let what = format!("group {group}: message {id}, sequence {sequence}, delivery {count}");
        let sent = self.sent.get(id);
        let sent = sent.unwrap_or_else(|| panic!("{what}: nobody attempted that"));
        let producer = sent.by;
        assert!(**delivery == payload(id, sent.length), "{what}: torn");
        let facts = (usize::from(delivery.kind()), delivery.key() as usize);
        assert_eq!(facts, (producer.into(), id), "{what}: another's header");
        self.has_sequence(id, sequence);
        self.tally.delivered += 1;
        let unseen_batch = self.several.values().any(|claimed| *claimed == group);
        let log = self.groups.get_mut(group).unwrap();
        let ordered = unseen_batch || before.get(&producer).is_none_or(|&seen| seen < id);
        let known = log.fates.contains_key(&id);
        assert!(
            known || ordered || count > 1 || id < log.unordered_below || log.unseen > 0,
            "{what}: first delivered after {:?}, a later one of its producer",
            before.get(&producer)
        );
        self.tally.again += u64::from(known);
        let seen = log.seen.entry(producer).or_insert(id);
        *seen = id.max(*seen);
        let fate = log.fates.entry(id).or_insert(Fate {
            next: (1, 1),
            ..Fate::default()
        });
        assert!(!fate.acked, "{what}: it was acked");
        assert!(
            fate.holder.is_none() || log.leased,
            "{what}: {by} has it, and so has {:?}",
            fate.holder
        );
        // Of leases that end unseen only the first delivery is certain to be the first.
        let (least, most) = fate.next;
        assert!(
            count >= least && (count <= most + log.unseen || log.leased),
            "{what}: count, {least} to {most} were right, {} unseen",
            log.unseen
        );
        fate.next = (count + 1, count + 1);
        fate.holder = Some(by);
        fate.handed += 1;
        (id, fate.handed)
    }

    /// Everything was delivered and acked: nothing is missing.
    pub fn check_complete(&self) {
        for (group, log) in &self.groups {
            for (id, sent) in self.sent.iter().enumerate() {
                let fate = log.fates.get(&id).copied().unwrap_or_default();
                // A message that never returned is owed to all once one group has seen it.
                assert!(
                    fate.acked || fate.acking || !(sent.returned || sent.sequence.is_some()),
                    "group {group}: message {id} of {}, sequence {:?}, is lost: {fate:?}",
                    sent.by,
                    sent.sequence
                );
            }
        }
    }
}
