//! After every step, what an observer sees is what a model says; at the end, everything comes that is still to come.

use std::collections::BTreeSet;

use slipring::{Cause, GroupStats, Peeked, Queue, Stats};

use super::act::{Deed, Id, Name, Person, Receive, Settle, name};
use super::handles::{LETTERS, got, payload};
use super::model::{Fate, Group, Letter, Model, Msg, REASON, Slot};
use super::world::{Outcome, World};

macro_rules! same {
    ($what:expr, $found:expr, $expected:expr) => {
        let (found, expected) = ($found, $expected);
        if found != expected {
            return Err(format!("{}: {found:?}, expected {expected:?}", $what));
        }
    };
}

/// A parked message: sequence, deliveries, reason.
pub type Parked = (u64, u16, String);

/// What an observer sees.
struct Look {
    stats: Stats,
    /// The last lap: at which sequence, what.
    peeked: Vec<(u64, Peeked)>,
    parked: Vec<(Name, Vec<Parked>)>,
    /// Consumers, and whether they get messages.
    active: Vec<((Person, Id), bool)>,
}

impl World {
    pub fn check(&mut self) -> Outcome {
        self.count.models = self.count.models.max(self.models.len());
        let look = self.look()?;
        let mut problem = String::new();
        let mut agreeing: Vec<Model> = Vec::new();
        for mut model in std::mem::take(&mut self.models) {
            match model.agrees(&look) {
                Ok(()) if agreeing.contains(&model) => {}
                Ok(()) => agreeing.push(model),
                Err(difference) => problem = difference,
            }
        }
        if agreeing.is_empty() {
            return Err(problem);
        }
        self.models = agreeing;
        Ok(())
    }

    fn look(&self) -> Result<Look, String> {
        let stats = self.inspector.stats();
        same!("tail of the inspector", self.inspector.tail(), stats.tail);
        let first = self.inspector.oldest();
        let peeked = (first..stats.tail + 1)
            .map(|at| (at, self.inspector.peek(at)))
            .collect();
        if let Some(life) = self.lives.values().next() {
            let own = life.queue().stats();
            same!("tail of a participant", own.tail, stats.tail);
            same!(
                "groups of a participant",
                own.groups.len(),
                stats.groups.len()
            );
            let open = stats.groups.iter().filter(|group| !group.closing).count();
            same!("open groups", life.queue().groups().len(), open);
        }
        let mut parked = Vec::new();
        for (&group, found) in &self.models[0].groups {
            let somewhere = !self.models[0].parked(group).is_empty() && !found.closing;
            if let Some(life) = self.lives.values().next().filter(|_| somewhere)
                && let Ok(found) = life.parked(&name(group))
            {
                parked.push((group, found));
            }
        }
        let lives = self.lives.iter();
        let active = lives.flat_map(|(&who, life)| {
            let consumers = life.active().into_iter();
            consumers.map(move |(consumer, active)| ((who, consumer), active))
        });
        let active = active.collect();
        Ok(Look {
            stats,
            peeked,
            parked,
            active,
        })
    }
}

impl Model {
    fn agrees(&mut self, look: &Look) -> Outcome {
        let stats = &look.stats;
        same!("tail", stats.tail, self.tail());
        self.notice_who_ends_leases(stats);
        let holes = self
            .slots
            .iter()
            .filter(|slot| **slot == Slot::Hole)
            .count() as u64;
        if !self.inexact {
            same!("aborted", stats.aborted, holes);
        }
        let found: BTreeSet<String> = stats
            .groups
            .iter()
            .map(|group| group.name.clone())
            .collect();
        let expected: BTreeSet<String> = self.groups.keys().map(|group| name(*group)).collect();
        same!("groups", &found, &expected);
        for group in self.groups.keys().copied().collect::<Vec<_>>() {
            let found = stats
                .groups
                .iter()
                .find(|found| found.name == name(group))
                .unwrap();
            self.agrees_on_group(group, found)?;
        }
        self.agrees_on_people(stats)?;
        for (at, peeked) in &look.peeked {
            self.agrees_on_slot(*at, peeked)?;
        }
        for (group, found) in &look.parked {
            let reason = |rejected| {
                if rejected {
                    REASON.to_owned()
                } else {
                    String::new()
                }
            };
            let parked = self.parked(*group).into_iter();
            let expected: Vec<_> = parked
                .map(|(sequence, count, rejected)| (sequence, count.into(), reason(rejected)))
                .collect();
            same!(format!("parked in {}", name(*group)), found, &expected);
        }
        for &((who, consumer), active) in &look.active {
            let group = &self.groups[&self.people[&who].consumers[&consumer]];
            let expected = !group.kind.exclusive || group.active == Some((who, consumer));
            same!(format!("activity of c{consumer}"), active, expected);
        }
        self.settle_down();
        Ok(())
    }

    fn agrees_on_group(&mut self, at: Name, found: &GroupStats) -> Outcome {
        let group = &self.groups[&at];
        let what = |what: &str| format!("{what} of {}", name(at));
        let kind = group.kind;
        same!(
            what("kind"),
            (found.exclusive, found.ephemeral),
            (kind.exclusive, kind.ephemeral)
        );
        same!(what("limit"), found.max_deliveries.unwrap_or(0), kind.limit);
        same!(what("lease"), found.ack_timeout.is_some(), kind.lease);
        same!(what("letters"), found.dead_letters.is_some(), kind.letters);
        same!(what("closing"), found.closing, group.closing);
        same!(what("start"), found.start, group.start);
        let published = |s: &u64| matches!(self.slot(*s), Slot::Message(_));
        let count = |which: fn(&Fate) -> bool| {
            let sequences = (group.start..self.tail()).filter(published);
            sequences.filter(|&s| which(&group.fate(s))).count() as u64
        };
        same!(
            what("dead"),
            found.dead,
            count(|fate| matches!(fate, Fate::Parked { .. }))
        );
        same!(what("lag"), found.lag, count(|fate| *fate != Fate::Done));
        same!(
            what("sum"),
            found.ready + found.in_flight + found.dead,
            found.lag
        );
        if !kind.exclusive {
            same!(
                what("in flight"),
                found.in_flight,
                count(|fate| matches!(fate, Fate::Held { .. }))
            );
        }
        if !group.inexact {
            same!(what("lost"), found.lost, group.lost);
            same!(what("moved"), found.dead_lettered, group.moved);
            same!(what("expired"), found.expired, group.expired);
        }
        let active = group.active.is_some();
        if kind.exclusive {
            same!(what("somebody is active"), found.active.is_some(), active);
        }
        self.agrees_on_floor(at, found.floor)
    }

    fn agrees_on_floor(&mut self, at: Name, floor: u64) -> Outcome {
        let most = self.floor_most(&self.groups[&at]);
        let from = self.groups[&at].floor.min(most);
        // A cursor passes a hole when it looks.
        let hole = (from..most).any(|s| self.slot(s) == Slot::Hole);
        let group = self.group(at);
        if group.kind.exclusive && (group.lazy || hole) {
            if !(group.floor..=most).contains(&floor) {
                let range = group.floor..=most;
                return Err(format!(
                    "floor of {}: {floor}, expected {range:?}",
                    name(at)
                ));
            }
            group.lazy = floor != most;
        } else {
            same!(format!("floor of {}", name(at)), floor, most);
        }
        group.floor = floor;
        Ok(())
    }

    /// Who dies or is paused while it ends leases is left a member; the model cannot know where that was.
    fn notice_who_ends_leases(&mut self, stats: &Stats) {
        let midway = self.paused.as_ref().map(|(act, _)| act.who);
        let mut gone = Vec::new();
        for (&who, life) in &mut self.people {
            let named = format!("a{who}");
            let found = stats.participants.iter().find(|found| found.name == named);
            let mut ending = BTreeSet::new();
            if let Some(found) = found.filter(|_| life.dead || midway == Some(who)) {
                let leased = self.groups.iter().filter(|(_, group)| group.kind.lease);
                ending = leased.map(|(&group, _)| group).collect();
                ending.retain(|&group| found.groups.contains(&name(group)));
                ending.retain(|group| !life.consumers.values().any(|own| own == group));
            }
            gone.extend(life.ending_leases.difference(&ending).copied());
            life.ending_leases = ending;
        }
        for group in gone {
            self.reap(group);
        }
    }

    fn agrees_on_people(&self, stats: &Stats) -> Outcome {
        let names: BTreeSet<String> = stats
            .participants
            .iter()
            .map(|found| found.name.clone())
            .collect();
        let expected: BTreeSet<String> = self.people.keys().map(|who| format!("a{who}")).collect();
        same!("participants", &names, &expected);
        for (&who, life) in &self.people {
            let named = format!("a{who}");
            let found = stats
                .participants
                .iter()
                .find(|found| found.name == named)
                .unwrap();
            let what = |what: &str| format!("{what} of {named}");
            same!(what("life"), found.alive, !life.dead);
            same!(
                what("production"),
                (found.producer, found.sole_producer),
                (life.producers > 0, life.sole)
            );
            let groups: BTreeSet<String> = found.groups.iter().cloned().collect();
            let memberships = life.consumers.values().chain(&life.ending_leases);
            let expected: BTreeSet<String> = memberships.map(|group| name(*group)).collect();
            same!(what("groups"), groups, expected);
            let writing = |slot: &&Slot| matches!(slot, Slot::Writing(by, _) if *by == who);
            same!(
                what("writing"),
                found.writing,
                self.slots.iter().filter(writing).count() as u64
            );
            let held = |group: &Group| {
                let mine = |fate: &&Fate| matches!(fate, Fate::Held { by, .. } if *by == who);
                group.fates.values().filter(mine).count() as u64
            };
            if !self.groups.values().any(|group| group.kind.exclusive) {
                same!(
                    what("claims"),
                    found.holds,
                    self.groups.values().map(held).sum()
                );
            }
        }
        Ok(())
    }

    fn agrees_on_slot(&self, at: u64, peeked: &Peeked) -> Outcome {
        let what = format!("slot {at}");
        if at == self.tail() {
            same!(what, peeked, &Peeked::NotYet);
            return Ok(());
        }
        let kept = self.groups.values().any(|group| {
            let open = group.kind.exclusive || group.fate(at) != Fate::Done;
            !group.closing && open && self.floor(group) <= at
        });
        match (self.slot(at), peeked) {
            (
                Slot::Message(Msg { tag, length }),
                Peeked::Message {
                    payload: found,
                    kind,
                    key,
                    ..
                },
            ) => {
                same!(&what, (*kind, *key), (length as u16, tag));
                same!(what, found, &payload(tag, length));
            }
            (Slot::Message(_), Peeked::Overwritten) if !kept => {}
            (Slot::Hole, Peeked::Hole) | (Slot::Writing(..), Peeked::NotYet) => {}
            (slot, peeked) => return Err(format!("{what}: {peeked:?}, expected {slot:?}")),
        }
        Ok(())
    }
}

impl World {
    /// All detach, the file is opened again, and everything is taken: what was published and not settled comes once, in
    /// order; and a lap more goes through.
    pub fn finish(&mut self) -> Outcome {
        self.script.push("-- and in the end:".to_owned());
        self.reopen()?;
        let Some(&who) = self.lives.keys().next() else {
            return Err("nobody is left".to_owned());
        };
        let groups: Vec<Name> = self.models[0].groups.keys().copied().collect();
        self.drain(who, &groups)?;
        let base = 1_000_000;
        for turn in 0..self.setup.capacity as u32 + 1 {
            if turn == 0 {
                self.deed(who, Deed::Produce { sole: false })?;
            }
            let how = super::act::Publish::Try;
            let length = if turn == 1 { 200 } else { 8 };
            self.deed(
                who,
                Deed::Publish {
                    how,
                    tag: base + turn,
                    length,
                },
            )?;
            self.take_all(who)?;
        }
        for group in groups {
            let undone = |model: &Model| {
                let group = &model.groups[&group];
                let fates = (group.start..model.tail()).map(|s| (model.slot(s), group.fate(s)));
                fates
                    .filter(|(slot, fate)| *slot != Slot::Hole && *fate != Fate::Done)
                    .count()
            };
            same!(
                format!("left in {}", name(group)),
                undone(&self.models[0]),
                self.models[0].parked(group).len()
            );
        }
        self.letters()
    }

    fn deed(&mut self, who: u32, deed: Deed) -> Outcome {
        self.act(who, deed)
    }

    fn drain(&mut self, who: u32, groups: &[Name]) -> Outcome {
        for (&group, consumer) in groups.iter().zip(2_000_000..) {
            self.deed(who, Deed::Join { group, consumer })?;
        }
        self.take_all(who)
    }

    fn take_all(&mut self, who: u32) -> Outcome {
        for consumer in self.consumers(who) {
            let mut last = None;
            loop {
                let guard = self.id();
                self.deed(
                    who,
                    Deed::Receive {
                        consumer,
                        how: Receive::Try,
                        guard,
                    },
                )?;
                let Some(&(_, sequence, count)) = self.models[0].guards.get(&guard) else {
                    break;
                };
                if last > Some(sequence)
                    && count == 1
                    && !self.models[0].groups.values().any(|group| group.loose)
                {
                    return Err(format!("{sequence} comes after {last:?}"));
                }
                last = Some(sequence);
                self.deed(
                    who,
                    Deed::Settle {
                        guard,
                        how: Settle::Ack,
                    },
                )?;
            }
        }
        Ok(())
    }

    /// The dead-letter queue has what it should.
    fn letters(&self) -> Outcome {
        let place = self.dir.path().join(LETTERS);
        if !place.exists() {
            return Ok(());
        }
        let queue = Queue::open(place).unwrap();
        queue.sweep();
        let consumer = queue.consumer().unwrap();
        let mut found = Vec::new();
        while let Ok(delivery) = consumer.try_recv() {
            let from = delivery.dead_letter().unwrap();
            let got = got(&delivery);
            let known = [Cause::TooManyDeliveries, Cause::Rejected];
            assert_eq!(from.cause, known[usize::from(!from.reason.is_empty())]);
            found.push(Letter {
                group: from.group,
                sequence: from.sequence,
                deliveries: from.deliveries,
                reason: from.reason,
                message: Msg {
                    tag: got.tag,
                    length: got.length,
                },
            });
            delivery.ack().unwrap();
        }
        found.sort();
        let sorted = |model: &Model| {
            let mut letters = model.letters.clone();
            letters.sort();
            letters
        };
        if !self.models.iter().any(|model| sorted(model) == found) {
            let expected = sorted(&self.models[0]);
            return Err(format!("letters {found:?}, expected {expected:?}"));
        }
        Ok(())
    }
}
