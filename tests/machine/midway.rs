//! What may be true when somebody stops in the middle of an act, for good or for a while.

use super::act::{Act, Deed, Seen, Settle};
use super::model::{Fate, Model, Msg, Slot, Stage};

impl Model {
    /// Every model that may be true after a death in the middle of it, or right after it.
    pub fn after_death(&self, act: &Act) -> Vec<Self> {
        let mut all = vec![self.clone()];
        all.extend(self.partial(act));
        all.extend(self.predict(act).into_iter().map(|(model, _)| model));
        let mut unlike: Vec<Self> = Vec::new();
        for mut model in all {
            if model.people.contains_key(&act.who) {
                model.kill(act.who);
            }
            if !unlike.contains(&model) {
                unlike.push(model);
            }
        }
        unlike
    }

    /// Whether deaths in the middle of it are told apart here.
    pub fn may_die_in(&self, act: &Act) -> bool {
        match act.deed {
            Deed::Several { .. } => false,
            // What unwinds cannot die a second time.
            Deed::Settle { how, .. } => {
                !matches!(how, Settle::Extend | Settle::Lapse | Settle::Panic)
            }
            Deed::Leave { .. } | Deed::Quit => false,
            _ => true,
        }
    }

    /// Whether pauses in the middle of it are.
    pub fn may_pause_in(&self, act: &Act) -> bool {
        match act.deed {
            Deed::Publish { .. } => !self.lossy(),
            Deed::Delete { .. } => true,
            Deed::Receive { consumer, .. } => {
                let group = &self.groups[&self.people[&act.who].consumers[&consumer]];
                group.kind.limit == 0 && !group.kind.exclusive
            }
            Deed::Settle { guard, how } => {
                let (name, ..) = self.guards[&guard];
                let group = &self.groups[&name];
                let whole = matches!(
                    how,
                    Settle::Ack | Settle::Nack | Settle::Release | Settle::Drop
                );
                whole && !group.kind.exclusive && !group.kind.letters
            }
            _ => false,
        }
    }

    /// What only somebody sees who looks between two steps.
    fn partial(&self, act: &Act) -> Vec<Self> {
        let who = act.who;
        let sole = self.people.get(&who).is_some_and(|life| life.sole);
        match act.deed {
            Deed::Publish { tag, length, .. } => {
                self.half_published(act, &[Msg { tag, length }], sole)
            }
            Deed::Batch { tag, count, length } => {
                let messages: Vec<Msg> = (0..count as u32)
                    .map(|n| Msg {
                        tag: tag + n,
                        length,
                    })
                    .collect();
                self.half_published(act, &messages, sole)
            }
            Deed::Receive {
                consumer, guard, ..
            } => {
                let name = self.people[&who].consumers[&consumer];
                let mut all = Vec::new();
                for start in self.sweepings() {
                    for start in start.activated(name, who, consumer) {
                        let mut between = |model: &Self| all.push(model.clone());
                        start.claim(name, who, consumer, Some(guard), &mut between);
                    }
                }
                let letters: Vec<Self> = all
                    .iter()
                    .flat_map(|model| model.half_buried(name, who))
                    .collect();
                all.extend(letters);
                all
            }
            Deed::Settle { guard, how } => self.half_settled(guard, how),
            Deed::Decide { group, .. } => {
                // It had joined the group for a moment.
                let all = self.predict(act).into_iter().map(|(model, _)| model);
                let mut all: Vec<Self> = all.chain([self.clone()]).collect();
                for model in all
                    .iter_mut()
                    .filter(|model| model.groups.contains_key(&group))
                {
                    model
                        .people
                        .get_mut(&who)
                        .unwrap()
                        .consumers
                        .insert(u32::MAX, group);
                }
                all
            }
            Deed::Delete { group } => {
                let mut closing = self.clone();
                let there = closing
                    .groups
                    .get_mut(&group)
                    .map(|group| group.closing = true);
                there.map(|()| closing).into_iter().collect()
            }
            Deed::Join { group, consumer }
                if self.groups.get(&group).is_some_and(|group| !group.closing) =>
            {
                let mut member = self.clone();
                member
                    .people
                    .get_mut(&who)
                    .unwrap()
                    .consumers
                    .insert(consumer, group);
                let mut joined = member.clone();
                joined.group(group).joined = true;
                vec![member, joined]
            }
            Deed::Attach | Deed::Sweep | Deed::Create { .. } | Deed::Produce { .. } => {
                let mut swept = self.clone();
                swept.sweep();
                swept.inexact = true;
                vec![swept]
            }
            _ => Vec::new(),
        }
    }

    fn half_published(&self, act: &Act, messages: &[Msg], sole: bool) -> Vec<Self> {
        let mut all = Vec::new();
        let mut starts = self.sweepings();
        for &message in messages {
            let mut next = Vec::new();
            for start in &starts {
                for mut model in start.after_dropping() {
                    for group in model.groups.values_mut() {
                        group.inexact |= model.setup.policy == slipring::FullPolicy::DropOldest;
                    }
                    if model.room() > 0 && message.length <= super::draw::Setup::MAX_MESSAGE {
                        let mut published = model.clone();
                        published.slots.push(Slot::Message(message));
                        next.push(published);
                        let mut writing = model.clone();
                        writing.slots.push(Slot::Writing(act.who, message));
                        all.extend((!sole).then_some(writing));
                    }
                    all.push(model);
                }
            }
            all.extend(next.iter().cloned());
            starts = next;
        }
        all
    }

    /// What has too many deliveries was claimed, and then written to the dead-letter queue, but not settled.
    fn half_buried(&self, name: super::act::Name, who: super::act::Person) -> Vec<Self> {
        let group = &self.groups[&name];
        let exclusive = group.kind.exclusive;
        let next = if exclusive {
            self.clone().cursor(name).into_iter().collect()
        } else {
            self.choices(group)
        };
        let mut all = Vec::new();
        for sequence in next {
            let mut held = self.clone();
            held.hold(name, sequence, who, None, true);
            let limit = group.kind.limit;
            if group.kind.letters {
                let mut written = held.clone();
                written.write_letter(name, sequence, limit, "");
                let group = written.group(name);
                group.inexact = true;
                all.push(written);
            }
            all.push(held);
        }
        all
    }

    fn half_settled(&self, guard: u32, how: Settle) -> Vec<Self> {
        let (name, sequence, count) = self.guards[&guard];
        if !self.stands(guard) {
            return Vec::new();
        }
        let kind = self.groups[&name].kind;
        let mut all = Vec::new();
        let mut half = self.clone();
        let too_often = matches!(how, Settle::Nack | Settle::Panic) && kind.limit == count;
        match how {
            Settle::Reject if kind.letters => {
                half.write_letter(name, sequence, count, super::model::REASON);
                half.group(name).inexact = true;
                all.push(half);
            }
            _ if too_often && kind.letters => {
                half.write_letter(name, sequence, count, "");
                half.group(name).inexact = true;
                all.push(half);
            }
            Settle::AckUpTo if kind.exclusive => {
                // In order, but what lies above a parked message comes first.
                let acked = self.acked_by(name, sequence);
                let parked = self.parked(name).first().map_or(sequence, |dead| dead.0);
                let (below, above): (Vec<u64>, Vec<u64>) = acked.iter().partition(|&&s| s < parked);
                for order in [acked, [above, below].concat()] {
                    let mut half = self.clone();
                    for s in order {
                        half.group(name).set(s, Fate::Done);
                        all.push(half.clone());
                    }
                }
            }
            Settle::Nack | Settle::Panic if kind.exclusive && !too_often => {
                // Noted as given back, but still open: counts twice.
                if let Some(Fate::Held { attempts, .. }) = half.group(name).fates.get_mut(&sequence)
                {
                    *attempts += 1;
                }
                all.push(half);
            }
            _ => {}
        }
        all
    }

    /// Every model that may be true while it is paused.
    pub fn while_paused(&self, act: &Act) -> Vec<Self> {
        let mut all = Vec::new();
        let mut add = |mut model: Self, stage: Stage| {
            model.paused = Some((*act, stage));
            if !all.contains(&model) {
                all.push(model);
            }
        };
        add(self.clone(), Stage::Before);
        if let Deed::Publish { tag, length, .. } = act.deed {
            let (tail, message) = (self.tail(), Msg { tag, length });
            for (mut model, seen) in self.predict(act) {
                let sole = model.people[&act.who].sole;
                if seen == Seen::Sequence(tail) && !sole {
                    model.set_slot(tail, Slot::Writing(act.who, message));
                    add(model, Stage::Taken(tail));
                }
            }
        }
        if let Deed::Delete { .. } = act.deed {
            for closing in self.partial(act) {
                add(closing, Stage::After(Seen::Done));
            }
        }
        for (model, seen) in self.predict(act) {
            add(model, Stage::After(seen));
        }
        all
    }

    /// It goes on; what may come of it.
    pub fn resume(&self) -> Vec<(Self, Seen)> {
        let mut model = self.clone();
        let (act, stage) = model.paused.take().unwrap();
        match stage {
            Stage::Before => {
                model.weak = true;
                let mut outcomes = model.predict(&act);
                for (model, _) in &mut outcomes {
                    model.weak = false;
                }
                outcomes
            }
            Stage::Taken(sequence) => {
                let Deed::Publish { tag, length, .. } = act.deed else {
                    unreachable!()
                };
                model.set_slot(sequence, Slot::Message(Msg { tag, length }));
                vec![(model, Seen::Sequence(sequence))]
            }
            Stage::After(seen) => {
                if let Deed::Delete { group } = act.deed {
                    model.reap(group);
                }
                vec![(model, seen)]
            }
        }
    }
}
