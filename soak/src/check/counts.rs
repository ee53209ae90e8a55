//! Delivery counts: raised by what has to raise them, and by nothing else.

use super::digest::{Digest, Hold};
use super::{Found, Rule};
use crate::record::How;

/// A count stays there.
const HIGHEST: u64 = 255;

pub fn check(digest: &Digest, found: &mut Found) {
    for holds in digest.by_sequence().values() {
        for (handed, hold) in (1..).zip(holds) {
            if hold.count == 0 {
                found.add(Rule::CountRaised, || hold.to_string());
            }
            // With leases, one may have had it before another and said so after.
            let handed = if hold.group.lease().is_some() {
                holds.iter().filter(|other| other.opened <= hold.at).count() as u64
            } else {
                handed
            };
            if hold.count > handed && hold.count > handed + unseen(digest, hold) {
                found.add(Rule::CountNotAbove, || {
                    format!("{hold}: handed over {handed} times that are known")
                });
            }
        }
        for (one, two) in holds.iter().zip(holds.iter().skip(1)) {
            let ordered = one.group.lease().is_none() || two.opened > one.at;
            if ordered
                && two.count < least(one).min(HIGHEST)
                && !digest.retried(one.group, one.sequence, one.opened, two.at)
            {
                found.add(Rule::CountRaised, || format!("{one}; then {two}"));
            }
        }
    }
}

/// How often the message may have been handed over by workers that died before they could say so.
fn unseen(digest: &Digest, hold: &Hold) -> u64 {
    let publish = digest.by_message.get(&hold.message);
    let began = publish.and_then(|&at| digest.publishes.get(at));
    let began = began.map_or(0, |publish| publish.began);
    if hold.group.is_exclusive() {
        // Also one that had just begun to take over may have counted it.
        let members = digest.members.iter();
        let died = members.filter(|m| m.group == hold.group && m.died);
        died.filter(|m| m.joined < hold.at && m.gone_by > began)
            .count() as u64
    } else {
        digest.unseen(hold.group, began, hold.at)
    }
}

/// What the next delivery after this one has to count.
fn least(hold: &Hold) -> u64 {
    if hold.group.is_exclusive() {
        // A restart of the order hands over again what nobody counted.
        let counted = hold.died && !hold.stale;
        return if counted { hold.count + 1 } else { 1 };
    }
    match hold.how {
        // With leases no hand-over is taken back.
        Some(How::Release | How::Drop) if hold.group.lease().is_none() => hold.count,
        // Given back as failed; or its holder died with it, perhaps while it was about to ack.
        _ => hold.count + 1,
    }
}
