//! What may come of an act: every model that may be true after it, with what is then seen. There is more than one only
//! where somebody is dead or paused, or has died.

use slipring::{FullPolicy, Start};

use super::act::{Act, Deed, Got, Id, Name, Person, Publish, Receive, Seen, Settle};
use super::draw::Setup;
use super::model::{Fate, Group, Life, Model, Msg, Slot};

pub type Outcomes = Vec<(Model, Seen)>;

fn error(text: impl Into<String>) -> Seen {
    Seen::Error(text.into())
}

impl Model {
    pub fn predict(&self, act: &Act) -> Outcomes {
        let looks = matches!(act.deed, Deed::Publish { .. } | Deed::Batch { .. })
            || matches!(act.deed, Deed::Receive { .. } | Deed::Several { .. });
        if !looks {
            return self.predict_now(act);
        }
        let mut outcomes = Vec::new();
        for before in self.sweepings() {
            for (after, seen) in before.predict_now(act) {
                let afterwards = match seen {
                    Seen::Error(_) => after.sweepings(),
                    // Who claims now and then looks for the leases of others.
                    Seen::Got(_) => {
                        let mut expired = after.clone();
                        expired.expire(Some(self.group_of(act)));
                        vec![after, expired]
                    }
                    _ => vec![after],
                };
                for after in afterwards {
                    let outcome = (after, seen.clone());
                    if !outcomes.contains(&outcome) {
                        outcomes.push(outcome);
                    }
                }
            }
        }
        outcomes
    }

    fn group_of(&self, act: &Act) -> Name {
        match act.deed {
            Deed::Receive { consumer, .. } | Deed::Several { consumer, .. } => {
                self.people[&act.who].consumers[&consumer]
            }
            _ => unreachable!(),
        }
    }

    fn predict_now(&self, act: &Act) -> Outcomes {
        let who = act.who;
        match act.deed {
            Deed::Attach => self.attach(who),
            // Who has leaked something sweeps itself.
            Deed::Quit => {
                let swept = self.with(|model| model.remove(who));
                swept
                    .into_iter()
                    .chain(self.with(|model| model.depart(who)))
                    .collect()
            }
            Deed::Produce { sole } => self.produce(who, sole),
            Deed::Stop => self.with(|model| {
                let life = model.people.get_mut(&who).unwrap();
                if life.sole {
                    life.sole = false;
                } else {
                    life.producers -= 1;
                }
            }),
            Deed::Publish { how, tag, length } => self.publish(how, Msg { tag, length }),
            Deed::Batch { tag, count, length } => self.batch(tag, count, length),
            Deed::Receive {
                consumer,
                how,
                guard,
            } => self.receive(who, consumer, how, guard),
            Deed::Several {
                consumer,
                how,
                max,
                open,
                leak,
                guard,
            } => {
                let batch = Batch {
                    who,
                    consumer,
                    max,
                    open,
                    leak,
                    guard,
                };
                self.several(&batch, how)
            }
            Deed::Settle { guard, how } => self.settle(guard, how),
            Deed::Decide {
                group,
                sequence,
                again,
            } => self.decide(group, sequence, again),
            Deed::Join { group, consumer } => self.join(who, group, consumer),
            Deed::Leave { consumer } => self.with(|model| model.leave(who, consumer)),
            Deed::Create { .. } => self.create(act),
            Deed::Delete { group } => self.delete(group),
            Deed::Sweep => self.with(Self::sweep),
        }
    }

    fn with(&self, change: impl FnOnce(&mut Self)) -> Outcomes {
        let mut model = self.clone();
        change(&mut model);
        vec![(model, Seen::Done)]
    }

    fn refuse(&self, text: impl Into<String>) -> Outcomes {
        vec![(self.clone(), error(text))]
    }

    fn attach(&self, who: Person) -> Outcomes {
        let mut swept = self.clone();
        swept.sweep();
        if swept.people.len() == Setup::MAX_PARTICIPANTS as usize {
            return swept.refuse("ParticipantsFull { max: 3 }");
        }
        swept.people.insert(who, Life::default());
        vec![(swept, Seen::Done)]
    }

    fn produce(&self, who: Person, sole: bool) -> Outcomes {
        let blocked = |model: &Self| {
            let mut lives = model.people.values();
            lives.any(|life| life.sole || (sole && life.producers > 0))
        };
        let mut model = self.clone();
        if blocked(&model) {
            model.sweep();
        }
        if blocked(&model) {
            return model.refuse(if sole { "HasProducers" } else { "SoleProducer" });
        }
        let life = model.people.get_mut(&who).unwrap();
        if sole {
            life.sole = true;
        } else {
            life.producers += 1;
        }
        vec![(model, Seen::Done)]
    }

    fn publish(&self, how: Publish, message: Msg) -> Outcomes {
        let max = if how == Publish::Loan && self.setup.arena() == 0 {
            0
        } else {
            Setup::MAX_MESSAGE
        };
        let Msg { length, .. } = message;
        if length > max {
            return self.refuse(format!("TooLong {{ length: {length}, max: {max} }}"));
        }
        let long = length > self.setup.inline() || matches!(how, Publish::Loan | Publish::LeakLoan);
        // Which segments have room is not modelled; but one does when nothing is on its way.
        let busy = self.lowest() != Some(self.tail()) || self.loans > 0 || self.troubled();
        let mut outcomes = Vec::new();
        if self.setup.tight && long && busy {
            outcomes.push((self.clone(), error(self.no_room(how))));
        }
        match how {
            Publish::DropReservation => outcomes.push((self.clone(), Seen::Done)),
            Publish::LeakLoan => {
                let mut model = self.clone();
                model.loans += 1;
                outcomes.push((model, Seen::Done));
            }
            _ => outcomes.extend(self.place(message, self.no_room(how))),
        }
        outcomes
    }

    fn no_room(&self, how: Publish) -> &'static str {
        match how {
            Publish::Timed => "TimedOut",
            _ => "Full",
        }
    }

    /// Publishes it, if there is room or some can be made.
    fn place(&self, message: Msg, no_room: &str) -> Outcomes {
        let mut outcomes = Vec::new();
        for mut model in self.after_dropping() {
            if model.room() > 0 {
                let sequence = model.tail();
                model.slots.push(Slot::Message(message));
                outcomes.push((model, Seen::Sequence(sequence)));
            } else if model.stuck() || !model.lossy() {
                outcomes.push((model, error(no_room)));
            }
        }
        if self.troubled() {
            outcomes.push((self.clone(), error(no_room)));
        }
        outcomes
    }

    /// Every model on the way from here to there being room, where the oldest is dropped for it.
    pub fn after_dropping(&self) -> Vec<Self> {
        let mut all = vec![self.clone()];
        let mut at = 0;
        while at < all.len() && self.lossy() {
            let model = all[at].clone();
            at += 1;
            if model.room() > 0 {
                continue;
            }
            let lowest = model.lowest().unwrap();
            for (&name, group) in &model.groups {
                if model.floor(group) == lowest && model.droppable(group, lowest) {
                    let mut next = model.clone();
                    let group = next.group(name);
                    group.set(lowest, Fate::Done);
                    group.lost += 1;
                    if !all.contains(&next) {
                        all.push(next);
                    }
                }
            }
        }
        all
    }

    fn droppable(&self, group: &Group, sequence: u64) -> bool {
        matches!(self.slot(sequence), Slot::Message(_))
            && matches!(
                group.fate(sequence),
                Fate::Waiting { .. } | Fate::Parked { .. }
            )
    }

    /// Somebody works on the oldest, in some group.
    fn stuck(&self) -> bool {
        let Some(lowest) = self.lowest() else {
            return false;
        };
        let mut oldest = self
            .groups
            .values()
            .filter(|group| self.floor(group) == lowest);
        oldest.any(|group| !self.droppable(group, lowest))
    }

    fn batch(&self, tag: u32, count: usize, length: usize) -> Outcomes {
        let mut open = vec![(self.clone(), 0, None, None)];
        let mut outcomes = Vec::new();
        while let Some((model, published, first, last)) = open.pop() {
            if published == count as u64 {
                outcomes.push((
                    model,
                    Seen::Batch {
                        published,
                        first,
                        last,
                    },
                ));
                continue;
            }
            let message = Msg {
                tag: tag + published as u32,
                length,
            };
            for (model, seen) in model.publish(Publish::Try, message) {
                match seen {
                    Seen::Sequence(s) => {
                        open.push((model, published + 1, first.or(Some(s)), Some(s)))
                    }
                    Seen::Error(reason) => {
                        let text =
                            format!("BatchError {{ published: {published}, reason: {reason} }}");
                        outcomes.push((model, error(text)));
                    }
                    _ => unreachable!(),
                }
            }
        }
        outcomes
    }

    fn nothing(how: Receive) -> &'static str {
        match how {
            Receive::Timed => "TimedOut",
            _ => "Empty",
        }
    }

    fn receive(&self, who: Person, consumer: Id, how: Receive, guard: Id) -> Outcomes {
        let name = self.people[&who].consumers[&consumer];
        let mut outcomes = Vec::new();
        if self.groups[&name].closing {
            outcomes = self.refuse("GroupClosed");
            if !self.weak {
                return outcomes;
            }
        }
        for start in self.activated(name, who, consumer) {
            for (model, got) in start.claim(name, who, consumer, Some(guard), &mut |_| ()) {
                let seen = match got {
                    Some(got) => Seen::Got(vec![got]),
                    None => error(Self::nothing(how)),
                };
                outcomes.push((model, seen));
            }
        }
        outcomes
    }

    /// A stand-by becomes active by trying, if there is nobody.
    pub fn activated(&self, name: Name, who: Person, consumer: Id) -> Vec<Self> {
        let group = &self.groups[&name];
        if !group.kind.exclusive || group.active.is_some() {
            return vec![self.clone()];
        }
        let mut model = self.clone();
        let group = model.group(name);
        group.active = Some((who, consumer));
        let orphaned = std::mem::take(&mut group.orphaned);
        // Given back below what was open: by a decision, or by somebody who died in the middle of it.
        let below = |(s, fate): (&u64, &Fate)| {
            (*s < group.position && matches!(fate, Fate::Waiting { .. })).then_some(*s)
        };
        let again: Vec<u64> = group.fates.iter().filter_map(below).collect();
        group.reopen(orphaned);
        let mut all = vec![model];
        if orphaned && !again.is_empty() {
            // A hand-over that never was counts as one.
            let mut counted = all[0].clone();
            for s in again {
                if let Some(Fate::Waiting { attempts, .. }) = counted.group(name).fates.get_mut(&s)
                {
                    *attempts += 1;
                }
            }
            all.push(counted);
        }
        all
    }

    /// Claims one, burying what was delivered too often on the way; tells of every model in between.
    pub fn claim(
        &self,
        name: Name,
        who: Person,
        consumer: Id,
        guard: Option<Id>,
        between: &mut dyn FnMut(&Self),
    ) -> Vec<(Self, Option<Got>)> {
        let mut open = vec![self.clone()];
        let (mut outcomes, mut known) = (Vec::new(), Vec::new());
        while let Some(mut model) = open.pop() {
            if known.contains(&model) {
                continue;
            }
            known.push(model.clone());
            between(&model);
            let exclusive = model.groups[&name].kind.exclusive;
            let active = model.groups[&name].active == Some((who, consumer));
            let choices = match exclusive {
                true if active => model.cursor(name).into_iter().collect(),
                true => Vec::new(),
                false => model.choices(&model.groups[&name]),
            };
            // Order may have restarted.
            between(&model);
            if choices.is_empty() || (self.troubled() && !exclusive) {
                outcomes.push((model.clone(), None));
            }
            for sequence in choices {
                let mut held = model.clone();
                held.hold(name, sequence, who, guard, true);
                match held.bury_if_exhausted(name, sequence, guard) {
                    Some(buried) => open.push(buried),
                    None => {
                        let count = held.attempts(name, sequence) + 1;
                        let got = held.got(sequence, count);
                        outcomes.push((held, Some(got)));
                    }
                }
            }
        }
        outcomes
    }

    fn attempts(&self, name: Name, sequence: u64) -> u8 {
        match self.groups[&name].fate(sequence) {
            Fate::Waiting { attempts, .. } | Fate::Held { attempts, .. } => attempts,
            _ => 0,
        }
    }

    /// What was delivered as often as it may be is not delivered again.
    fn bury_if_exhausted(&self, name: Name, sequence: u64, guard: Option<Id>) -> Option<Self> {
        let limit = self.groups[&name].kind.limit;
        if limit == 0 || self.attempts(name, sequence) < limit {
            return None;
        }
        let mut buried = self.clone();
        if let Some(guard) = guard {
            buried.drop_guard(guard, false);
        }
        buried.bury(name, sequence, limit, false);
        Some(buried)
    }

    fn settle(&self, guard: Id, how: Settle) -> Outcomes {
        let (name, sequence, count) = self.guards[&guard];
        let stands = self.stands(guard);
        let mut model = self.clone();
        let stale = format!("Stale {{ sequence: {sequence} }}");
        let seen = if stands { Seen::Done } else { error(stale) };
        let exclusive = model.group(name).kind.exclusive;
        match how {
            Settle::Leak => {
                model.drop_guard(guard, true);
                return vec![(model, Seen::Done)];
            }
            Settle::Extend | Settle::Lapse => {
                let leased = model.groups[&name].kind.lease;
                if let Some(Fate::Held { lapsed, .. }) = model.group(name).fates.get_mut(&sequence)
                    && stands
                    && leased
                {
                    *lapsed = how == Settle::Lapse;
                }
                return vec![(model, seen)];
            }
            Settle::AckUpTo | Settle::Defer if !exclusive => {
                model.drop_guard(guard, false);
                if stands {
                    model.take_back(name, sequence, count);
                }
                return vec![(model, error("NotExclusive"))];
            }
            _ => {}
        }
        model.drop_guard(guard, false);
        if stands {
            model.end(name, sequence, count, how);
        }
        let silent = matches!(how, Settle::Drop | Settle::Panic);
        vec![(model, if silent { Seen::Done } else { seen })]
    }

    fn end(&mut self, name: Name, sequence: u64, count: u8, how: Settle) {
        let limit = self.group(name).kind.limit;
        match how {
            Settle::Ack => self.group(name).set(sequence, Fate::Done),
            Settle::AckUpTo => {
                for s in self.acked_by(name, sequence) {
                    self.group(name).set(s, Fate::Done);
                }
            }
            Settle::Reject => self.bury(name, sequence, count, true),
            Settle::Nack | Settle::Panic if limit > 0 && count >= limit => {
                self.bury(name, sequence, count, false);
            }
            Settle::Nack | Settle::Panic => self.give_back(name, sequence, count),
            Settle::Release | Settle::Drop => self.take_back(name, sequence, count),
            // Left to a later cumulative ack.
            Settle::Defer | Settle::Extend | Settle::Lapse | Settle::Leak => {}
        }
    }

    /// What a cumulative ack settles: not what is parked, and not what was parked and is to come again.
    pub fn acked_by(&self, name: Name, sequence: u64) -> Vec<u64> {
        let group = &self.groups[&name];
        let held = |s: &u64| matches!(group.fate(*s), Fate::Held { .. });
        (group.start..=sequence).filter(held).collect()
    }

    /// As if it had not been handed over; where there are leases, no hand-over is taken back.
    fn take_back(&mut self, name: Name, sequence: u64, count: u8) {
        let counts = self.group(name).kind.lease;
        self.give_back(name, sequence, if counts { count } else { count - 1 });
    }

    pub fn give_back(&mut self, name: Name, sequence: u64, attempts: u8) {
        let group = self.group(name);
        if group.kind.exclusive {
            group.rewind(sequence, attempts);
        } else {
            group.set(
                sequence,
                Fate::Waiting {
                    attempts,
                    back: true,
                },
            );
        }
    }

    fn decide(&self, name: Name, sequence: u64, again: bool) -> Outcomes {
        let Fate::Parked { deliveries, .. } = self.groups[&name].fate(sequence) else {
            return self.refuse(format!("NotDead {{ sequence: {sequence} }}"));
        };
        self.with(|model| {
            let group = model.group(name);
            let fate = if again {
                Fate::Waiting {
                    attempts: if group.kind.lease { deliveries } else { 0 },
                    back: true,
                }
            } else {
                Fate::Done
            };
            group.set(sequence, fate);
            group.lazy = true;
            model.reap(name);
        })
    }

    fn join(&self, who: Person, name: Name, consumer: Id) -> Outcomes {
        let Some(group) = self.groups.get(&name) else {
            return self.refuse("NotFound");
        };
        if group.closing {
            return self.refuse("Closing");
        }
        let mut joined = self.clone();
        joined.group(name).joined = true;
        let life = joined.people.get_mut(&who).unwrap();
        life.consumers.insert(consumer, name);
        let all = joined.activated(name, who, consumer);
        all.into_iter().map(|model| (model, Seen::Done)).collect()
    }

    fn delete(&self, name: Name) -> Outcomes {
        match self.groups.get(&name) {
            None => self.refuse("NotFound"),
            Some(group) if group.closing && self.weak => {
                [self.refuse("Closing"), self.refuse("NotFound")].concat()
            }
            Some(group) if group.closing => self.refuse("Closing"),
            Some(_) => self.with(|model| {
                model.group(name).closing = true;
                model.reap(name);
            }),
        }
    }

    fn create(&self, act: &Act) -> Outcomes {
        let Deed::Create {
            group,
            kind,
            start,
            open,
        } = act.deed
        else {
            unreachable!()
        };
        if open
            && let Some(found) = self.groups.get(&group)
            && !found.closing
        {
            return self.found(found, kind);
        }
        if open && self.groups.contains_key(&group) {
            return self.refuse("Closing");
        }
        if kind.exclusive && self.setup.policy == FullPolicy::DropOldest {
            return self.refuse("ExclusiveOnLossy");
        }
        if kind.exclusive && kind.lease {
            return self.refuse("AckTimeoutOnExclusive");
        }
        match self.groups.get(&group) {
            Some(found) if found.closing => return self.refuse("Closing"),
            Some(_) => return self.refuse("AlreadyExists"),
            None => {}
        }
        let mut model = self.clone();
        model.sweep();
        if model.groups.len() == Setup::MAX_GROUPS as usize {
            return model.refuse("Full { max: 3 }");
        }
        let latest = model.tail();
        let earliest = model.lowest().unwrap_or(latest);
        let at = match start {
            Start::Earliest => earliest,
            Start::Latest => latest,
            Start::At(at) if (earliest..=latest).contains(&at) => at,
            Start::At(asked) => {
                let text =
                    format!("Start {{ asked: {asked}, earliest: {earliest}, latest: {latest} }}");
                return model.refuse(text);
            }
        };
        model.groups.insert(group, Group::new(kind, act.who, at));
        vec![(model, Seen::Done)]
    }

    fn found(&self, found: &Group, asked: super::act::Kind) -> Outcomes {
        let there = found.kind;
        if asked.exclusive && asked.lease {
            return self.refuse("AckTimeoutOnExclusive");
        }
        if asked.exclusive != there.exclusive {
            let text = format!("KindDiffers {{ exclusive: {} }}", there.exclusive);
            return self.refuse(text);
        }
        let differing = [
            (
                asked.limit > 0 && asked.limit != there.limit,
                "max_deliveries",
            ),
            (asked.lease && !there.lease, "ack_timeout"),
            (asked.letters && !there.letters, "dead_letters"),
        ];
        match differing.iter().find(|(differs, _)| *differs) {
            Some((_, option)) => self.refuse(format!("OptionDiffers {{ option: {option:?} }}")),
            None => vec![(self.clone(), Seen::Done)],
        }
    }
}

/// Several at once.
#[derive(Clone, Copy)]
struct Batch {
    who: Person,
    consumer: Id,
    max: usize,
    open: usize,
    leak: bool,
    guard: Id,
}

impl Model {
    fn several(&self, batch: &Batch, how: Receive) -> Outcomes {
        let Batch { who, consumer, .. } = *batch;
        let name = self.people[&who].consumers[&consumer];
        if self.groups[&name].closing {
            return self.refuse("GroupClosed");
        }
        let starts = self.activated(name, who, consumer);
        let outcomes = starts.into_iter().flat_map(|start| {
            if self.groups[&name].kind.exclusive {
                start.several_in_order(name, batch)
            } else if start.groups[&name].loose || start.troubled() {
                start.several_loosely(name, batch)
            } else {
                vec![start.several_shared(name, batch)]
            }
        });
        let seen = |got: Option<Vec<Got>>| match got {
            Some(got) => Seen::Got(got),
            None => error(Self::nothing(how)),
        };
        outcomes.map(|(model, got)| (model, seen(got))).collect()
    }

    /// One after the other, each when it is asked for; the first at once.
    fn several_in_order(&self, name: Name, batch: &Batch) -> Vec<(Self, Option<Vec<Got>>)> {
        let Batch {
            who,
            consumer,
            max,
            open,
            guard,
            ..
        } = *batch;
        let mut model = self.clone();
        let mut got = Vec::new();
        for turn in 0..max {
            if turn > 0 && got.len() == open {
                break;
            }
            let active = model.groups[&name].active == Some((who, consumer));
            let Some(next) = active.then(|| model.cursor(name)).flatten() else {
                if turn == 0 {
                    return vec![(model, None)];
                }
                break;
            };
            let id = guard + got.len() as Id;
            model.hold(name, next, who, Some(id), true);
            let attempts = model.attempts(name, next);
            if open == 0 {
                // A batch that is leaked leaks what it holds.
                model.drop_guard(id, batch.leak);
                if !batch.leak {
                    model.give_back(name, next, attempts);
                }
            } else if let Some(buried) = model.bury_if_exhausted(name, next, Some(id)) {
                model = buried;
            } else {
                got.push(model.got(next, attempts + 1));
            }
        }
        vec![(model, Some(got))]
    }

    fn several_shared(&self, name: Name, batch: &Batch) -> (Self, Option<Vec<Got>>) {
        let Batch {
            who,
            max,
            open,
            leak,
            guard,
            ..
        } = *batch;
        let mut model = self.clone();
        let mut claimed = Vec::new();
        while claimed.len() < max
            && let [next] = model.choices(&model.groups[&name])[..]
        {
            model.hold(name, next, who, None, false);
            claimed.push(next);
        }
        if claimed.is_empty() {
            return (model, None);
        }
        let mut got = Vec::new();
        for sequence in claimed {
            let attempts = model.attempts(name, sequence);
            let fate = Fate::Waiting {
                attempts,
                back: true,
            };
            let opens = got.len() < open;
            if opens || !leak {
                model.group(name).set(sequence, fate);
            }
            if opens {
                let id = guard + got.len() as Id;
                model.hold(name, sequence, who, Some(id), true);
                match model.bury_if_exhausted(name, sequence, Some(id)) {
                    Some(buried) => model = buried,
                    None => got.push(model.got(sequence, attempts + 1)),
                }
            }
        }
        (model, Some(got))
    }

    /// In no order; what is not opened comes again as it was.
    fn several_loosely(&self, name: Name, batch: &Batch) -> Vec<(Self, Option<Vec<Got>>)> {
        let Batch {
            who,
            consumer,
            max,
            open,
            guard,
            ..
        } = *batch;
        let mut outcomes = vec![(self.clone(), None)];
        let mut reached = vec![(self.clone(), Vec::new())];
        for _ in 0..max.min(open) {
            for (model, got) in std::mem::take(&mut reached) {
                let id = guard + got.len() as Id;
                let mut buried = |model: &Self| outcomes.push((model.clone(), Some(got.clone())));
                let claimed = model.claim(name, who, consumer, Some(id), &mut buried);
                for (model, more) in claimed {
                    let got: Vec<Got> = got.iter().copied().chain(more).collect();
                    if more.is_some() {
                        reached.push((model.clone(), got.clone()));
                    }
                    outcomes.push((model, Some(got)));
                }
            }
        }
        outcomes.push((self.clone(), Some(Vec::new())));
        outcomes
    }
}
