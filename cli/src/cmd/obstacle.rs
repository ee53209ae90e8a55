//! What is in producers' way: the message that keeps a full queue full, and processes stuck inside a publish.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use slipring::{FullPolicy, GroupStats, Inspector, ParticipantStats, Peeked, Stats};

use crate::units;

/// The oldest message that a group has not settled, on a full queue.
#[derive(Debug, Serialize)]
pub struct Obstacle<'a> {
    group: &'a str,
    sequence: u64,
    #[serde(flatten)]
    why: Why<'a>,
}

/// Why it is not settled.
#[derive(Debug, Serialize)]
#[serde(tag = "why", rename_all = "kebab-case")]
enum Why<'a> {
    /// A process has it in hand.
    Held {
        id: u16,
        pid: u64,
        name: &'a str,
        alive: bool,
        #[serde(skip)]
        age: Duration,
    },
    /// Dead, and nobody has decided on it.
    Parked,
    /// Its producer has not finished it.
    Unfinished,
    /// No consumer has asked for it.
    Waiting { members: u64 },
    /// Nobody has it in hand, and from outside nobody can tell whether it is parked.
    ParkedOrWaiting { parked: u64 },
}

/// What holds producers back; nothing unless the queue is full.
pub fn obstacles<'a>(inspector: &Inspector, stats: &'a Stats) -> Vec<Obstacle<'a>> {
    if stats.depth < stats.capacity {
        return Vec::new();
    }
    let lowest = stats.groups.iter().map(|group| group.floor).min();
    let in_the_way = stats
        .groups
        .iter()
        .filter(|group| Some(group.floor) == lowest)
        .map(|group| Obstacle {
            group: &group.name,
            sequence: group.floor,
            why: why(inspector, &stats.participants, group),
        });
    // Such a queue drops what nobody works on.
    let lossy = inspector.full_policy() == FullPolicy::DropOldest;
    in_the_way
        .filter(|found| !(lossy && matches!(found.why, Why::Waiting { .. })))
        .collect()
}

fn why<'a>(
    inspector: &Inspector,
    participants: &'a [ParticipantStats],
    group: &GroupStats,
) -> Why<'a> {
    // Nothing older is held, since this floor is the lowest.
    let holder = participants
        .iter()
        .find(|found| found.oldest_held == Some(group.floor) && found.groups.contains(&group.name));
    if let Some(holder) = holder {
        return Why::Held {
            id: holder.id,
            pid: holder.pid,
            name: &holder.name,
            alive: holder.alive,
            age: holder.oldest_held_age,
        };
    }
    if inspector.peek(group.floor) == Peeked::NotYet {
        return Why::Unfinished;
    }
    match (group.dead, group.ready) {
        (0, _) => Why::Waiting {
            members: group.members,
        },
        (_, 0) => Why::Parked,
        (parked, _) => Why::ParkedOrWaiting { parked },
    }
}

impl fmt::Display for Obstacle<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (group, sequence) = (self.group, self.sequence);
        write!(f, "group {group:?} has not settled message {sequence}: ")?;
        match &self.why {
            Why::Held {
                pid,
                name,
                alive: true,
                age,
                ..
            } => {
                write!(f, "process {pid} ({name}) holds it")?;
                if !age.is_zero() {
                    write!(f, ", published {} ago", units::duration(*age))?;
                }
                Ok(())
            }
            Why::Held { pid, name, .. } => write!(
                f,
                "process {pid} ({name}) died with it, and whoever attaches or waits next gives it back"
            ),
            Why::Parked => f.write_str("it is parked, see `slipring dead list`"),
            Why::Unfinished => f.write_str("its producer has not finished it"),
            Why::Waiting { members: 0 } => f.write_str("the group has no consumer"),
            Why::Waiting { .. } => f.write_str("no consumer has asked for it yet"),
            Why::ParkedOrWaiting { parked } => write!(
                f,
                "it waits for a consumer, or is one of {parked} parked, see `slipring dead list`"
            ),
        }
    }
}

/// Live processes that were inside a publish at both of two looks and have not published meanwhile. One that gets on
/// spends tens of ns there.
pub fn stuck_publishers(inspector: &Inspector, stats: &Stats) -> Vec<u16> {
    let inside = |found: &&ParticipantStats| found.alive && found.writing > 0;
    if stats.participants.iter().find(inside).is_none() {
        return Vec::new();
    }
    std::thread::sleep(Duration::from_millis(20));
    let later = inspector.stats();
    let same = |a: &ParticipantStats, b: &ParticipantStats| {
        (a.id, a.pid, a.attached_ns, a.published) == (b.id, b.pid, b.attached_ns, b.published)
    };
    let before = stats.participants.iter().filter(inside);
    before
        .filter(|found| {
            let mut now = later.participants.iter().filter(inside);
            now.any(|later| same(found, later))
        })
        .map(|found| found.id)
        .collect()
}
