//! A message belongs to one live consumer of a group at a time, and to none after an ack.

use std::collections::BTreeMap;

use super::digest::{Digest, Hold, Member};
use super::{Found, Rule};
use crate::group::Group;

pub fn check(digest: &Digest, found: &mut Found) {
    for holds in digest.by_sequence().values() {
        one_claim(holds, found);
        acked_is_final(holds, found);
    }
    one_active(digest, found);
}

/// `holds` of one message of one group, in the order of time.
fn one_claim(holds: &[&Hold], found: &mut Found) {
    // The one that was held for longest of those looked at.
    let mut longest: Option<&Hold> = None;
    for &hold in holds.iter().filter(|hold| hold.is_sure()) {
        // In order, a consumer that gives a message back sees those after it again while it may still hold guards.
        let own = |other: &Hold| other.worker == hold.worker && hold.group.is_exclusive();
        if let Some(other) = longest.filter(|other| other.kept() > hold.at && !own(other)) {
            let leased = hold.group.lease().is_some();
            let rule = if leased { Rule::Lease } else { Rule::OneClaim };
            found.add(rule, || format!("{other}; and {hold}"));
        }
        if longest.is_none_or(|other| other.kept() < hold.kept()) {
            longest = Some(hold);
        }
    }
}

fn acked_is_final(holds: &[&Hold], found: &mut Found) {
    let acked = |hold: &&&Hold| hold.acked.is_some_and(|(_, sure)| sure);
    let Some(acker) = holds.iter().find(acked) else {
        return;
    };
    let at = acker.acked.map_or(u64::MAX, |(at, _)| at);
    // Whoever held it after the ack began claimed it after the ack, since until then the acker held it.
    for hold in holds.iter().filter(|hold| hold.is_after(at)) {
        found.add(Rule::AckedIsFinal, || format!("{acker}; then {hold}"));
    }
}

fn one_active(digest: &Digest, found: &mut Found) {
    let mut by_group: BTreeMap<Group, Vec<(u64, u64, &Member)>> = BTreeMap::new();
    for member in &digest.members {
        if let Some((from, until)) = member.active.filter(|_| member.group.is_exclusive()) {
            let members = by_group.entry(member.group).or_default();
            members.push((from, until, member));
        }
    }
    for members in by_group.values_mut() {
        members.sort_by_key(|(from, ..)| *from);
        let mut last: Option<(u64, &Member)> = None;
        for &(from, until, member) in members.iter() {
            if let Some((_, other)) = last.filter(|(last, _)| *last > from) {
                found.add(Rule::OneClaim, || {
                    let name = member.group.name();
                    let (one, two) = (other.worker, member.worker);
                    format!("two active consumers of {name}: {one}, {other:?}; {two}, {member:?}")
                });
            }
            if last.is_none_or(|(last, _)| last < until) {
                last = Some((until, member));
            }
        }
    }
}
