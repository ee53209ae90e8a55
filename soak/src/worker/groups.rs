//! Passing groups: made, joined, left and deleted while messages flow.

use std::collections::HashSet;

use anyhow::{Context, Result};
use slipring::{GroupError, Queue, Start};

use super::Worker;
use super::consume::Came;
use crate::group::Group;
use crate::record::Event;

/// Groups there can be.
pub const GROUPS: u32 = 11;

impl Worker {
    pub(super) fn tend_groups(&mut self) -> Result<()> {
        let mut empty = HashSet::new();
        while !self.is_over()? {
            let queue = self.open()?;
            for _ in 0..self.random.between(1, 20) {
                if self.is_over()? {
                    return Ok(());
                }
                self.delete_empty(&queue, &mut empty)?;
                let group = if self.random.one_in(2) {
                    self.make_group(&queue)?
                } else {
                    let groups = queue.groups();
                    let passing = groups.iter().filter_map(|group| Group::named(group.name()));
                    let passing: Vec<_> = passing.filter(|group| !group.is_permanent()).collect();
                    self.random.pick(&passing).copied()
                };
                if let Some(group) = group {
                    self.visit(&queue, group)?;
                }
                self.say(Event::Alive)?;
                self.rest();
            }
        }
        Ok(())
    }

    /// Joins, receives a little, leaves or is told to, and perhaps deletes.
    fn visit(&mut self, queue: &Queue, group: Group) -> Result<()> {
        let Some(mut member) = self.join(queue, group)? else {
            return Ok(());
        };
        for _ in 0..self.random.between(1, 30) {
            if self.receive(&mut member)? == Came::Closed {
                break;
            }
        }
        // Deleted under its members, or after them, or left to others.
        let delete = self.random.below(4);
        if delete == 0 {
            self.delete(queue, group)?;
        }
        self.leave(member)?;
        if delete == 1 {
            self.delete(queue, group)?;
        }
        Ok(())
    }

    fn make_group(&mut self, queue: &Queue) -> Result<Option<Group>> {
        let group = Group::passing(self.orders.id, self.group, self.random.one_in(2));
        self.group += 1;
        let stats = queue.stats();
        let oldest = stats.groups.iter().map(|group| group.floor).min();
        let start = match self.random.below(3) {
            0 => Start::Latest,
            1 => Start::Earliest,
            _ => {
                let oldest = oldest.unwrap_or(stats.tail);
                Start::At(self.random.between(oldest, stats.tail.max(oldest)))
            }
        };
        let options = group.options().start(start);
        let options = options.ephemeral(self.random.one_in(2));
        match queue.create_group(&group.name(), options) {
            Ok(_) => {
                self.say(Event::MadeGroup { group: group.0 })?;
                Ok(Some(group))
            }
            // The table is full, or the maker before us is paused, or the start has passed.
            Err(GroupError::Full { .. } | GroupError::Busy | GroupError::Start { .. }) => Ok(None),
            Err(error) => Err(error).context("making a group"),
        }
    }

    fn delete(&mut self, queue: &Queue, group: Group) -> Result<()> {
        match queue.delete_group(&group.name()) {
            Ok(()) | Err(GroupError::NotFound | GroupError::Closing) => Ok(()),
            Err(error) => Err(error).context("deleting a group"),
        }
    }

    /// A group whose members have all died holds producers back; one found empty twice is deleted.
    fn delete_empty(&mut self, queue: &Queue, empty: &mut HashSet<Group>) -> Result<()> {
        let stats = queue.stats();
        let groups = stats.groups.iter().filter(|group| group.members == 0);
        let groups = groups.filter_map(|group| Group::named(&group.name));
        let now: HashSet<Group> = groups.filter(|group| !group.is_permanent()).collect();
        for group in now.intersection(empty) {
            self.delete(queue, *group)?;
        }
        *empty = now;
        Ok(())
    }
}
