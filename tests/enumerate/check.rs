//! After a trial: sweep, and hold everything against the promises and the invariants.

use std::rc::Rc;

use slipring::{GroupOptions, Queue, Swept};

use super::ledger::Exists;
use super::stage::{Others, Stage};
use super::{CAPACITY, GROUPS, INLINE, Kind, LARGE, LARGEST, NEWCOMER, SEGMENTS};

/// Laps that newcomers and survivors go on for.
const LAPS: u64 = 3;

impl Stage {
    /// The survivors sweep; then nothing is lost, nothing comes that should not, and the queue is as good as new.
    /// `in_order`: what was given back comes in the order of sequences.
    pub fn check(self: Rc<Self>, in_order: bool) {
        let queue = self.others.borrow().queue.clone();
        queue.sweep();
        self.finish_slow();
        assert_eq!(queue.sweep(), Swept::default(), "a second sweep");
        self.at_rest(&queue, &["others"]);
        let (groups, mut all) = self.gather(&queue);
        self.crowd(&mut all);
        for group in &groups {
            self.drain_group(group, &all, in_order);
        }
        self.complete(&queue);
        for turn in 0..LAPS * CAPACITY {
            self.publish_by(&mut all, turn as usize, INLINE);
            for group in &groups {
                let taken = self.take(group, &all, turn as usize);
                assert!(taken.is_some(), "group {group}: nothing in turn {turn}");
            }
        }
        self.fill(&mut all, &groups);
        self.make_a_group(&all[1].queue, groups.len());
        self.complete(&queue);
        self.at_rest(&queue, &["others", "newcomer"]);
        let place = Rc::clone(&self.place);
        drop((queue, all, self));
        let words = place.words();
        words.check();
        assert_eq!(words.living(), [], "participants");
    }

    /// No word names the dead, no hint exceeds the truth, and just these are attached.
    fn at_rest(&self, queue: &Queue, names: &[&str]) {
        self.observe(queue);
        self.place.words().check();
        let stats = queue.stats();
        let mut found: Vec<_> = stats.participants.iter().map(|p| &*p.name).collect();
        found.sort_by_key(|name| names.iter().position(|known| known == name));
        assert_eq!(found, names, "participants");
    }

    /// The groups there ought to be; the survivors, and a newcomer who consumes in all of them.
    fn gather(&self, queue: &Queue) -> (Vec<&'static str>, Vec<Others>) {
        let mut newcomer = Others::new(NEWCOMER, self.place.open("newcomer"));
        newcomer.produce();
        let found = queue.groups();
        let mut groups = Vec::new();
        for (name, exists) in self.ledger.borrow().groups() {
            let live = found.iter().any(|group| group.name() == name);
            assert!(live || exists != Exists::Yes, "group {name} is gone");
            assert!(!live || exists != Exists::No, "group {name} is there");
            if live {
                newcomer.join(name);
                groups.push(name);
            }
        }
        assert_eq!(groups.len(), found.len(), "{found:?}");
        let survivor = Others::new(0, queue.clone());
        let mut survivor = self.others.replace(survivor);
        survivor.consumers.retain(|(name, _)| groups.contains(name));
        if survivor.producer.is_none() {
            survivor.produce();
        }
        (groups, vec![survivor, newcomer])
    }

    /// Whatever room seems to be left is used before what is there has been read, unless it would be dropped for it.
    fn crowd(&self, all: &mut [Others]) {
        if self.place.kind == Kind::Lossy {
            return;
        }
        for length in [LARGE, INLINE] {
            for turn in 0..CAPACITY as usize {
                let who = &mut all[turn % 2];
                self.publish(who.by, who.producer.as_mut().unwrap(), length);
            }
        }
    }

    /// One of them takes the next message; its sequence.
    fn take(&self, group: &'static str, all: &[Others], turn: usize) -> Option<u64> {
        (0..all.len()).find_map(|other| {
            let who = &all[(turn + other) % all.len()];
            let (_, consumer) = who.consumers.iter().find(|(name, _)| *name == group)?;
            let delivery = self.receive(group, consumer)?;
            let sequence = delivery.sequence();
            self.ack(group, delivery);
            Some(sequence)
        })
    }

    fn drain_group(&self, group: &'static str, all: &[Others], in_order: bool) {
        let mut last = None;
        for turn in 0.. {
            let Some(sequence) = self.take(group, all, turn) else {
                break;
            };
            let ascends = last.is_none_or(|last| last < sequence);
            assert!(
                ascends || !in_order,
                "group {group}: {sequence} after {last:?}"
            );
            last = Some(sequence);
        }
    }

    fn publish_by(&self, all: &mut [Others], turn: usize, length: usize) {
        let who = &mut all[turn % 2];
        let sent = self.publish(who.by, who.producer.as_mut().unwrap(), length);
        assert!(sent, "{} is stuck in turn {turn}", who.by);
    }

    fn complete(&self, queue: &Queue) {
        self.observe(queue);
        let lossy = self.place.kind == Kind::Lossy;
        let groups = queue.stats().groups;
        self.ledger.borrow().check_complete(&groups, lossy);
    }

    /// All of the ring and all of the arena can be had.
    fn fill(&self, all: &mut [Others], groups: &[&'static str]) {
        let producers = all.iter_mut().filter_map(|who| who.producer.as_mut());
        let loans: Vec<_> = producers
            .take(SEGMENTS)
            .map(|producer| producer.loan(LARGEST).unwrap())
            .collect();
        assert_eq!(loans.len(), SEGMENTS);
        drop(loans);
        for turn in 0..CAPACITY as usize {
            self.publish_by(all, turn, LARGE);
        }
        for group in groups {
            self.drain_group(group, all, true);
        }
    }

    /// A group can be made and deleted, if there is room for one.
    fn make_a_group(&self, queue: &Queue, there_are: usize) {
        match queue.create_group("last", GroupOptions::shared()) {
            Ok(group) => group.delete().unwrap(),
            Err(error) => assert_eq!(there_are, GROUPS as usize, "{error}"),
        }
    }
}
