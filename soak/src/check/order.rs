//! The order of first deliveries.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::digest::{Digest, Hold, Window};
use super::{Found, Rule};
use crate::group::Group;

pub fn check(digest: &Digest, found: &mut Found) {
    let mut by_group: BTreeMap<Group, Vec<&Hold>> = BTreeMap::new();
    for hold in &digest.holds {
        by_group.entry(hold.group).or_default().push(hold);
    }
    for (group, holds) in by_group {
        let mut seen = HashSet::new();
        let first = holds.iter().copied();
        let first: Vec<&Hold> = first.filter(|hold| seen.insert(hold.sequence)).collect();
        if group.is_exclusive() {
            strict(&first, found);
            no_gap(digest, group, &first, found);
        } else {
            by_producer(digest, group, first, found);
        }
    }
}

/// One consumer is active at a time, so the order of time is known.
fn strict(first: &[&Hold], found: &mut Found) {
    let mut highest: Option<&Hold> = None;
    for hold in first {
        if let Some(highest) = highest.filter(|highest| highest.sequence > hold.sequence) {
            found.add(Rule::DeliveryOrder, || {
                format!("{hold}, for the first time, after {highest}")
            });
        } else {
            highest = Some(hold);
        }
    }
}

/// Permanent groups are held to more: they are drained, and must have seen everything.
fn no_gap(digest: &Digest, group: Group, first: &[&Hold], found: &mut Found) {
    let seen: HashSet<u64> = first.iter().map(|hold| hold.sequence).collect();
    let (Some(from), Some(to)) = (seen.iter().min(), seen.iter().max()) else {
        return;
    };
    let published = digest.publishes.iter().filter_map(|p| p.sequence);
    for sequence in published.filter(|sequence| (from..to).contains(&sequence)) {
        if !seen.contains(&sequence) {
            found.add(Rule::NoGap, || {
                let name = group.name();
                format!("{name} went from {from} to {to} and never delivered {sequence}")
            });
        }
    }
}

/// For every time: the latest end of the windows that begin before it.
struct Windows(Vec<(u64, u64)>);

impl Windows {
    fn of<'w>(windows: impl Iterator<Item = &'w Window>) -> Self {
        let mut windows: Vec<(u64, u64)> = windows.map(|w| (w.from, w.to)).collect();
        windows.sort_unstable();
        let mut latest = 0;
        for (_, to) in &mut windows {
            latest = latest.max(*to);
            *to = latest;
        }
        Self(windows)
    }

    /// Whether one of them begins before `before` and ends after `after`.
    fn any(&self, before: u64, after: u64) -> bool {
        let begun = self.0.partition_point(|&(from, _)| from < before);
        let last = begun.checked_sub(1).and_then(|at| self.0.get(at));
        last.is_some_and(|&(_, latest)| latest > after)
    }
}

/// A shared group claims each producer's messages in the order they were published.
fn by_producer(digest: &Digest, group: Group, first: Vec<&Hold>, found: &mut Found) {
    let windows = Windows::of(digest.windows.iter().filter(|w| w.group == group));
    let mut by_producer: HashMap<u64, Vec<&Hold>> = HashMap::new();
    for hold in first {
        let holds = by_producer.entry(hold.message.0).or_default();
        holds.push(hold);
    }
    for holds in by_producer.values_mut() {
        holds.sort_by_key(|hold| hold.message.1);
        let mut earliest: Option<&Hold> = None;
        for &hold in holds.iter().rev() {
            if let Some(later) = earliest.filter(|later| later.claimed < hold.asked)
                && !claimed_unseen(digest, &windows, hold, later)
            {
                found.add(Rule::DeliveryOrder, || {
                    format!("{hold}, for the first time; before that {later}")
                });
            }
            if earliest.is_none_or(|known| known.claimed > hold.claimed) {
                earliest = Some(hold);
            }
        }
    }
}

/// Whether `hold`'s message may have been claimed before `later`'s by somebody who did not say so.
fn claimed_unseen(digest: &Digest, windows: &Windows, hold: &Hold, later: &Hold) -> bool {
    let publish = digest.by_message.get(&hold.message);
    let publish = publish.and_then(|&at| digest.publishes.get(at));
    // Where it joined the group, a passing group may have started between the two.
    publish.is_none_or(|publish| windows.any(later.claimed, publish.began))
}
