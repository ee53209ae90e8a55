//! What was published is there, once, whole, in order, and delivered to everybody; what was not, is not.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::digest::{Digest, Message, Publish};
use super::{Found, Rule};
use crate::group::{Group, PERMANENT};

pub fn check(digest: &Digest, found: &mut Found) {
    whole(digest, found);
    attempted(digest, found);
    one_sequence(digest, found);
    publish_order(digest, found);
    delivered(digest, found);
    holes(digest, found);
}

/// Everything seen of a message: itself, its sequence, when, and by whom.
fn sightings(digest: &Digest) -> impl Iterator<Item = (Message, u64, u64, &'static str)> {
    let peeks = digest.peeks.iter();
    let peeks = peeks.map(|&(sequence, message, _, at)| (message, sequence, at, "an observer"));
    let holds = digest.holds.iter();
    let holds = holds.map(|hold| (hold.message, hold.sequence, hold.at, "a consumer"));
    let letters = digest.letters.iter();
    let letters = letters.map(|l| (l.message, l.dead.sequence, l.dead.at, "the dead"));
    holds.chain(peeks).chain(letters)
}

fn whole(digest: &Digest, found: &mut Found) {
    for hold in digest.holds.iter().filter(|hold| !hold.whole) {
        found.add(Rule::Whole, || hold.to_string());
    }
    for peek in digest.peeks.iter().filter(|peek| !peek.2) {
        found.add(Rule::Whole, || format!("peeked: {peek:?}"));
    }
}

fn attempted(digest: &Digest, found: &mut Found) {
    for (message, sequence, at, who) in sightings(digest) {
        let publish = digest.by_message.get(&message);
        let publish = publish.and_then(|&index| digest.publishes.get(index));
        let wrong = match publish {
            // An observer may see what was delivered and forgotten with an earlier epoch.
            None if sequence < digest.sequences.0 && who == "an observer" => continue,
            None => "was never attempted",
            Some(publish) if publish.refused => "was refused",
            Some(publish) if publish.began > at => "was not begun yet",
            Some(_) => continue,
        };
        found.add(Rule::Attempted, || {
            format!("{who} saw {message:?} at {sequence} at {at}, which {wrong}")
        });
    }
}

/// Messages with the sequences the producers were told and the others saw; each must be alone.
fn one_sequence(digest: &Digest, found: &mut Found) {
    let told = digest.publishes.iter();
    let told = told.filter_map(|p| Some((p.message, p.sequence?, p.began, "its producer")));
    let mut sequence_of: HashMap<Message, u64> = HashMap::new();
    let mut message_of: HashMap<u64, Message> = HashMap::new();
    for (message, sequence, at, who) in told.chain(sightings(digest)) {
        let known = *sequence_of.entry(message).or_insert(sequence);
        if known != sequence {
            found.add(Rule::OneSequence, || {
                format!("{message:?} is at {known} and, for {who} at {at}, at {sequence}")
            });
        }
        let known = *message_of.entry(sequence).or_insert(message);
        if known != message {
            found.add(Rule::OneSequence, || {
                format!("{sequence} is {known:?} and, for {who} at {at}, {message:?}")
            });
        }
    }
    let (first, end) = digest.sequences;
    for publish in &digest.publishes {
        let outside = |sequence: &u64| !(first..end).contains(sequence);
        if let Some(sequence) = publish.sequence.filter(outside) {
            found.add(Rule::OneSequence, || {
                let message = publish.message;
                format!("{message:?} at {sequence}, not from {first} to {end} as all of this time")
            });
        }
    }
}

fn publish_order(digest: &Digest, found: &mut Found) {
    let mut by_begin: Vec<&Publish> = digest.publishes.iter().collect();
    by_begin.sort_by_key(|publish| publish.began);
    let returned = |publish: &&Publish| Some((publish.returned?, publish.sequence?));
    let mut by_return: Vec<(u64, u64)> = by_begin.iter().filter_map(returned).collect();
    by_return.sort_unstable();
    let mut before = by_return.into_iter().peekable();
    let mut highest = None;
    for publish in by_begin {
        while let Some((_, sequence)) = before.next_if(|(at, _)| *at < publish.began) {
            highest = highest.max(Some(sequence));
        }
        if let (Some(mine), Some(highest)) = (publish.sequence, highest)
            && mine < highest
        {
            found.add(Rule::PublishOrder, || {
                format!("{publish:?}, when a publish that got {highest} had returned")
            });
        }
    }
    // Those of a batch have one beginning.
    let mut last: HashMap<u64, (u64, u64)> = HashMap::new();
    for publish in &digest.publishes {
        let (producer, number) = publish.message;
        let Some(sequence) = publish.sequence else {
            continue;
        };
        if let Some((before, highest)) = last.insert(producer, (number, sequence))
            && highest > sequence
        {
            found.add(Rule::PublishOrder, || {
                format!("producer {producer}: {before} at {highest}, {number} at {sequence}")
            });
        }
    }
}

fn delivered(digest: &Digest, found: &mut Found) {
    let mut seen: HashSet<(Group, Message)> = HashSet::new();
    let mut ended: HashSet<(Group, Message)> = HashSet::new();
    for hold in &digest.holds {
        seen.insert((hold.group, hold.message));
        if hold.acked.is_some() {
            ended.insert((hold.group, hold.message));
        }
    }
    for publish in &digest.publishes {
        if publish.returned.is_none() && publish.sequence.is_none() {
            continue;
        }
        for (group, name) in PERMANENT {
            // Told by `super::dead`.
            if group.limit().is_some() {
                continue;
            }
            if !seen.contains(&(group, publish.message)) {
                found.add(Rule::Delivered, || format!("{publish:?} not to {name}"));
            } else if !ended.contains(&(group, publish.message)) {
                found.add(Rule::Delivered, || {
                    format!("{publish:?} to {name}, but it was never settled there")
                });
            }
        }
    }
}

/// A worker has one producer, so its death leaves at most one slot that it had reserved.
fn holes(digest: &Digest, found: &mut Found) {
    let holes = digest.holes();
    if holes > digest.deaths {
        let mut known = BTreeMap::new();
        for publish in &digest.publishes {
            known.extend(publish.sequence.map(|sequence| (sequence, ())));
        }
        let (first, end) = digest.sequences;
        let missing = (first..end).filter(|sequence| !known.contains_key(sequence));
        let missing: Vec<_> = missing.take(20).collect();
        found.add(Rule::Holes, || {
            let deaths = digest.deaths;
            format!("{holes} sequences without a message, {deaths} deaths; {missing:?} ...")
        });
    }
}
