//! The reference: what a queue is, without words, slots or locks. A list of what was published, for each group what became
//! of each, and who is attached.

use std::collections::{BTreeMap, BTreeSet};

use slipring::FullPolicy;

use super::act::{Act, Got, Id, Kind, Name, Person, Seen};
use super::draw::Setup;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Msg {
    pub tag: u32,
    pub length: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    Message(Msg),
    /// Taken by somebody who is paused or dead.
    Writing(Person, Msg),
    Hole,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// `attempts` before the next; `back`: it was given back.
    Waiting {
        attempts: u8,
        back: bool,
    },
    /// `attempts` before this one. Without a guard: deferred, leaked, or held by the dead.
    Held {
        attempts: u8,
        by: Person,
        guard: Option<Id>,
        opened: bool,
        lapsed: bool,
    },
    Parked {
        deliveries: u8,
        rejected: bool,
    },
    Done,
}

/// The group that is there from the start in some setups.
pub const LOG: Kind = Kind {
    exclusive: true,
    ephemeral: false,
    limit: 2,
    lease: false,
    letters: false,
};

pub const NEW: Fate = Fate::Waiting {
    attempts: 0,
    back: false,
};

/// A letter in the dead-letter queue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Letter {
    pub group: String,
    pub sequence: u64,
    pub deliveries: u16,
    pub reason: String,
    pub message: Msg,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub kind: Kind,
    pub maker: Person,
    pub joined: bool,
    pub closing: bool,
    pub start: u64,
    pub fates: BTreeMap<u64, Fate>,
    /// Shared: given-back messages may come in another order than by sequence.
    pub loose: bool,
    pub lost: u64,
    pub moved: u64,
    pub expired: u64,
    /// Somebody died who was about to count.
    pub inexact: bool,
    /// Exclusive: next to hand over, the active consumer, the guards that exist, the floor as last seen.
    pub position: u64,
    pub active: Option<(Person, Id)>,
    pub guards: Vec<(Id, u64)>,
    pub floor: u64,
    /// Exclusive: the floor lags until the active consumer looks.
    pub lazy: bool,
    /// Exclusive: the last active consumer died.
    pub orphaned: bool,
}

impl Group {
    pub fn new(kind: Kind, maker: Person, start: u64) -> Self {
        Self {
            kind,
            maker,
            joined: false,
            closing: false,
            start,
            fates: BTreeMap::new(),
            loose: false,
            lost: 0,
            moved: 0,
            expired: 0,
            inexact: false,
            position: start,
            active: None,
            guards: Vec::new(),
            floor: start,
            lazy: false,
            orphaned: false,
        }
    }

    pub fn fate(&self, sequence: u64) -> Fate {
        self.fates.get(&sequence).copied().unwrap_or(NEW)
    }

    pub fn set(&mut self, sequence: u64, fate: Fate) {
        self.fates.insert(sequence, fate);
    }

    /// Exclusive: order restarts at `sequence`, which has been handed over so often.
    pub fn rewind(&mut self, sequence: u64, attempts: u8) {
        for s in sequence..self.position {
            if let Fate::Held { attempts, .. } = self.fate(s) {
                self.set(
                    s,
                    Fate::Waiting {
                        attempts,
                        back: true,
                    },
                );
            }
        }
        self.position = self.position.min(sequence);
        self.set(
            sequence,
            Fate::Waiting {
                attempts,
                back: true,
            },
        );
    }

    /// Exclusive: what is open comes again.
    pub fn reopen(&mut self, counted: bool) {
        for fate in self.fates.values_mut() {
            if let Fate::Held { attempts, .. } = *fate {
                let attempts = attempts + u8::from(counted);
                *fate = Fate::Waiting {
                    attempts,
                    back: true,
                };
            }
        }
        self.guards.clear();
        self.position = self.floor;
        self.lazy = true;
    }

    /// Shared: whoever holds these has lost them.
    fn take_back(&mut self, which: impl Fn(&Fate) -> bool) -> u64 {
        let mut count = 0;
        for fate in self.fates.values_mut().filter(|fate| which(fate)) {
            if let Fate::Held {
                attempts, opened, ..
            } = *fate
            {
                let attempts = attempts + u8::from(opened);
                *fate = Fate::Waiting {
                    attempts,
                    back: true,
                };
                count += 1;
            }
        }
        count
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Life {
    pub dead: bool,
    pub producers: u32,
    pub sole: bool,
    pub consumers: BTreeMap<Id, Name>,
    /// Groups with leases it is a member of besides: it was ending leases when it died or was paused.
    pub ending_leases: BTreeSet<Name>,
}

/// How far somebody who is paused has got.
#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    Before,
    Taken(u64),
    After(Seen),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    pub setup: Setup,
    pub slots: Vec<Slot>,
    pub groups: BTreeMap<Name, Group>,
    pub people: BTreeMap<Person, Life>,
    pub letters: Vec<Letter>,
    /// Where each delivery came from.
    pub guards: BTreeMap<Id, (Name, u64, u8)>,
    pub paused: Option<(Act, Stage)>,
    /// An operation that was paused, while others ran, may not have seen what they did.
    pub weak: bool,
    /// A sweeper died that was about to count.
    pub inexact: bool,
    pub loans: u32,
}

impl Model {
    pub fn new(setup: Setup) -> Self {
        let mut groups = BTreeMap::new();
        if setup.default_group {
            groups.insert(0, Group::new(Kind::default(), Person::MAX, setup.base()));
        }
        if setup.log {
            groups.insert(1, Group::new(LOG, Person::MAX, setup.base()));
        }
        Self {
            setup,
            slots: Vec::new(),
            groups,
            people: BTreeMap::new(),
            letters: Vec::new(),
            guards: BTreeMap::new(),
            paused: None,
            weak: false,
            inexact: false,
            loans: 0,
        }
    }

    pub fn tail(&self) -> u64 {
        self.setup.base() + self.slots.len() as u64
    }

    pub fn slot(&self, sequence: u64) -> Slot {
        self.slots[(sequence - self.setup.base()) as usize]
    }

    pub fn set_slot(&mut self, sequence: u64, slot: Slot) {
        self.slots[(sequence - self.setup.base()) as usize] = slot;
    }

    pub fn group(&mut self, group: Name) -> &mut Group {
        self.groups.get_mut(&group).unwrap()
    }

    /// Somebody is in the middle of something.
    pub fn troubled(&self) -> bool {
        self.weak || self.paused.is_some() || self.people.values().any(|life| life.dead)
    }

    pub fn first_undone(&self, group: &Group) -> u64 {
        (group.start..self.tail())
            .find(|&s| self.slot(s) != Slot::Hole && group.fate(s) != Fate::Done)
            .unwrap_or(self.tail())
    }

    /// The highest an exclusive group's floor can be; a shared group's floor.
    pub fn floor_most(&self, group: &Group) -> u64 {
        let guards = group.guards.iter().map(|&(_, sequence)| sequence);
        guards.chain([self.first_undone(group)]).min().unwrap()
    }

    pub fn floor(&self, group: &Group) -> u64 {
        if group.kind.exclusive {
            group.floor
        } else {
            self.first_undone(group)
        }
    }

    pub fn lowest(&self) -> Option<u64> {
        self.groups.values().map(|group| self.floor(group)).min()
    }

    pub fn room(&self) -> u64 {
        self.lowest()
            .map_or(u64::MAX, |floor| floor + self.setup.capacity - self.tail())
    }

    pub fn lossy(&self) -> bool {
        self.setup.policy == FullPolicy::DropOldest
    }

    /// Messages of a group that may be handed over.
    pub fn waiting(&self, group: &Group) -> Vec<u64> {
        (group.start..self.tail())
            .filter(|&s| matches!(self.slot(s), Slot::Message(_)))
            .filter(|&s| matches!(group.fate(s), Fate::Waiting { .. }))
            .collect()
    }

    /// What a shared group may hand over next.
    pub fn choices(&self, group: &Group) -> Vec<u64> {
        let waiting = self.waiting(group);
        if group.loose || self.troubled() {
            return waiting;
        }
        let back = |s: &u64| matches!(group.fate(*s), Fate::Waiting { back: true, .. });
        let next = waiting.iter().copied().find(back);
        next.or(waiting.first().copied()).into_iter().collect()
    }

    /// What an exclusive group hands over next; the cursor goes on to it.
    pub fn cursor(&mut self, name: Name) -> Option<u64> {
        let tail = self.tail();
        let group = &self.groups[&name];
        let again = (group.start..group.position)
            .find(|&s| matches!(group.fate(s), Fate::Waiting { .. }) && self.slot(s) != Slot::Hole);
        if let Some(again) = again {
            let Fate::Waiting { attempts, .. } = group.fate(again) else {
                unreachable!()
            };
            self.group(name).rewind(again, attempts);
        }
        loop {
            let group = &self.groups[&name];
            let at = group.position;
            if at >= tail {
                return None;
            }
            match (self.slot(at), group.fate(at)) {
                (Slot::Writing(..), _) => return None,
                (Slot::Message(_), Fate::Waiting { .. }) => return Some(at),
                _ => self.group(name).position += 1,
            }
        }
    }

    pub fn hold(&mut self, name: Name, sequence: u64, by: Person, guard: Option<Id>, opened: bool) {
        let group = self.group(name);
        let Fate::Waiting { attempts, .. } = group.fate(sequence) else {
            panic!("{sequence} is not to be had of {group:?}")
        };
        let lapsed = false;
        group.set(
            sequence,
            Fate::Held {
                attempts,
                by,
                guard,
                opened,
                lapsed,
            },
        );
        if group.kind.exclusive {
            group.position = sequence + 1;
            if let Some(guard) = guard {
                group.guards.push((guard, sequence));
            }
        }
        if let Some(guard) = guard {
            self.guards.insert(guard, (name, sequence, attempts + 1));
        }
    }

    /// Whether a delivery is still its holder's.
    pub fn stands(&self, guard: Id) -> bool {
        let (name, sequence, _) = self.guards[&guard];
        matches!(self.groups[&name].fate(sequence), Fate::Held { guard: Some(held), .. } if held == guard)
    }

    pub fn got(&self, sequence: u64, count: u8) -> Got {
        let Slot::Message(Msg { tag, length }) = self.slot(sequence) else {
            panic!("{sequence} is no message")
        };
        Got {
            sequence,
            count,
            tag,
            length,
        }
    }

    /// What is written to the dead-letter queue.
    pub fn write_letter(&mut self, name: Name, sequence: u64, deliveries: u8, reason: &str) {
        let Slot::Message(message) = self.slot(sequence) else {
            panic!("{sequence} is no message")
        };
        let group = super::act::name(name);
        let (deliveries, reason) = (deliveries.into(), reason.to_owned());
        self.letters.push(Letter {
            group,
            sequence,
            deliveries,
            reason,
            message,
        });
        self.letters.sort();
        self.group(name).moved += 1;
    }

    /// A message is dead: moved, or parked.
    pub fn bury(&mut self, name: Name, sequence: u64, deliveries: u8, rejected: bool) {
        let group = self.group(name);
        if group.kind.letters {
            group.set(sequence, Fate::Done);
            let reason = if rejected { REASON } else { "" };
            self.write_letter(name, sequence, deliveries, reason);
        } else {
            let fate = Fate::Parked {
                deliveries,
                rejected,
            };
            group.set(sequence, fate);
        }
    }

    pub fn parked(&self, name: Name) -> Vec<(u64, u8, bool)> {
        let fates = self.groups[&name].fates.iter();
        let parked = fates.filter_map(|(&s, fate)| match *fate {
            Fate::Parked {
                deliveries,
                rejected,
            } => Some((s, deliveries, rejected)),
            _ => None,
        });
        parked.collect()
    }

    fn has_members(&self, name: Name) -> bool {
        let mut memberships = self
            .people
            .values()
            .flat_map(|life| life.consumers.values().chain(&life.ending_leases));
        memberships.any(|&group| group == name)
    }

    /// Who was last to leave a group that is to vanish takes it along.
    pub fn reap(&mut self, name: Name) {
        let members = self.has_members(name);
        let Some(group) = self.groups.get_mut(&name) else {
            return;
        };
        let kept = !group.joined && self.people.contains_key(&group.maker);
        group.closing |= group.kind.ephemeral && !members && !kept;
        if group.closing && !members {
            self.groups.remove(&name);
        }
    }

    fn reap_all(&mut self) {
        for name in self.groups.keys().copied().collect::<Vec<_>>() {
            self.reap(name);
        }
    }

    pub fn leave(&mut self, who: Person, consumer: Id) {
        let name = self
            .people
            .get_mut(&who)
            .unwrap()
            .consumers
            .remove(&consumer)
            .unwrap();
        let group = self.group(name);
        if group.active == Some((who, consumer)) {
            group.active = None;
            group.reopen(false);
        }
        self.reap(name);
    }

    /// An attachment is gone, and swept.
    pub fn remove(&mut self, who: Person) {
        self.depart(who);
        self.reap_all();
    }

    /// An attachment leaves; nobody is kept for it.
    pub fn depart(&mut self, who: Person) {
        for slot in &mut self.slots {
            if matches!(slot, Slot::Writing(by, _) if *by == who) {
                *slot = Slot::Hole;
                self.groups.values_mut().for_each(|group| group.lazy = true);
            }
        }
        for group in self.groups.values_mut() {
            if !group.kind.exclusive {
                group.take_back(|fate| matches!(fate, Fate::Held { by, .. } if *by == who));
            } else if group.active.is_some_and(|(by, _)| by == who) {
                group.active = None;
                group.orphaned = true;
                group.lazy = true;
            }
        }
        self.people.remove(&who);
        for name in self.groups.keys().copied().collect::<Vec<_>>() {
            let group = &self.groups[&name];
            if group.maker == who && group.kind.ephemeral && !group.closing {
                self.reap(name);
            }
        }
    }

    /// Leases that have ended are noticed, of one group or of all.
    pub fn expire(&mut self, only: Option<Name>) {
        for (&name, group) in &mut self.groups {
            if only.is_none_or(|only| only == name) && group.kind.lease {
                group.expired +=
                    group.take_back(|fate| matches!(fate, Fate::Held { lapsed: true, .. }));
            }
        }
    }

    pub fn dead(&self) -> Vec<Person> {
        let dead = self.people.iter().filter(|(_, life)| life.dead);
        dead.map(|(&who, _)| who).collect()
    }

    pub fn sweep(&mut self) {
        for who in self.dead() {
            self.remove(who);
        }
        self.expire(None);
        self.reap_all();
    }

    fn has_lapsed(&self) -> bool {
        let mut fates = self.groups.values().flat_map(|group| group.fates.values());
        fates.any(|fate| matches!(fate, Fate::Held { lapsed: true, .. }))
    }

    /// Whoever waits, or tries in vain, may notice the dead, one or all, or not.
    pub fn sweepings(&self) -> Vec<Self> {
        let dead = self.dead();
        let mut all = vec![self.clone()];
        for who in &dead {
            for mut model in all.clone() {
                model.remove(*who);
                all.push(model);
            }
        }
        // A group may be left closing by somebody who is paused or has died.
        let closing = self.groups.values().any(|group| group.closing);
        if self.has_lapsed() || !dead.is_empty() || closing {
            let mut swept = self.clone();
            swept.sweep();
            all.push(swept);
        }
        all
    }

    /// A death: what it did last is in the model already.
    pub fn kill(&mut self, who: Person) {
        self.people.get_mut(&who).unwrap().dead = true;
        let dead: Vec<Id> = self.guards_of(who);
        for guard in dead {
            self.drop_guard(guard, true);
        }
    }

    fn guards_of(&self, who: Person) -> Vec<Id> {
        let fates = self.groups.values().flat_map(|group| group.fates.values());
        let guards = fates.filter_map(|fate| match fate {
            Fate::Held { by, guard, .. } if *by == who => *guard,
            _ => None,
        });
        guards.collect()
    }

    /// A guard is gone. `leaked`: its message stays held, and in an exclusive group the floor below it.
    pub fn drop_guard(&mut self, guard: Id, leaked: bool) {
        let (name, sequence, _) = self.guards.remove(&guard).unwrap();
        let group = self.group(name);
        if let Fate::Held { guard: held, .. } = &mut group.fates.entry(sequence).or_insert(NEW)
            && *held == Some(guard)
        {
            *held = None;
        }
        if !leaked {
            group.guards.retain(|&(id, _)| id != guard);
        }
    }

    /// Order is by sequence again once nothing is on its way.
    pub fn settle_down(&mut self) {
        let troubled = self.troubled();
        let writing = self
            .slots
            .iter()
            .any(|slot| matches!(slot, Slot::Writing(..)));
        for name in self.groups.keys().copied().collect::<Vec<_>>() {
            let nothing = self.waiting(&self.groups[&name]).is_empty() && !writing;
            let group = self.group(name);
            group.loose = troubled || (group.loose && !nothing);
        }
    }
}

pub const REASON: &str = "no good";
