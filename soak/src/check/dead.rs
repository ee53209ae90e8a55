//! What is dead: rightly so, once, for good, and accounted for.

use std::collections::{HashMap, HashSet};

use super::digest::{Dead, Decision, Digest, Hold, Letter};
use super::{Found, Rule};
use crate::fate::Why;
use crate::group::{Group, PERMANENT};
use crate::record::How;

/// All that is known of one message in a group with a limit.
struct Story<'d> {
    digest: &'d Digest,
    group: Group,
    sequence: u64,
    limit: u64,
    /// Before it was published.
    began: u64,
    /// In the order of time.
    holds: Vec<&'d Hold>,
    decisions: Vec<&'d Decision>,
    letters: Vec<&'d Letter>,
    parked: Vec<&'d Dead>,
}

pub fn check(digest: &Digest, found: &mut Found) {
    for letter in &digest.letters {
        let meant = letter.dead.group.has_dead_queue();
        if !meant || !letter.whole {
            found.add(Rule::DeadRightly, || format!("{letter:?}"));
        }
    }
    for story in stories(digest) {
        limit(&story, found);
        rightly(&story, found);
        copies(&story, found);
        is_final(&story, found);
        one_end(&story, found);
    }
    accounted(digest, found);
}

fn stories(digest: &Digest) -> Vec<Story<'_>> {
    let began = digest.publishes.iter();
    let began: HashMap<u64, u64> = began.filter_map(|p| Some((p.sequence?, p.began))).collect();
    let holds = digest.holds.iter().map(|hold| (hold.group, hold.sequence));
    let letters = digest.letters.iter().map(|letter| &letter.dead);
    let dead = letters.chain(&digest.parked);
    let dead = dead.map(|dead| (dead.group, dead.sequence));
    let mut stories: HashMap<(Group, u64), Story<'_>> = HashMap::new();
    for (group, sequence) in holds.chain(dead) {
        if let Some(limit) = group.limit() {
            stories.entry((group, sequence)).or_insert_with(|| Story {
                digest,
                group,
                sequence,
                limit: limit.into(),
                began: began.get(&sequence).copied().unwrap_or(0),
                holds: Vec::new(),
                decisions: Vec::new(),
                letters: Vec::new(),
                parked: Vec::new(),
            });
        }
    }
    for hold in &digest.holds {
        if let Some(story) = stories.get_mut(&(hold.group, hold.sequence)) {
            story.holds.push(hold);
        }
    }
    for letter in &digest.letters {
        if let Some(story) = stories.get_mut(&(letter.dead.group, letter.dead.sequence)) {
            story.letters.push(letter);
        }
    }
    for parked in &digest.parked {
        if let Some(story) = stories.get_mut(&(parked.group, parked.sequence)) {
            story.parked.push(parked);
        }
    }
    for decision in &digest.decisions {
        if let Some(story) = stories.get_mut(&(decision.group, decision.sequence)) {
            story.decisions.push(decision);
        }
    }
    stories.into_values().collect()
}

impl Story<'_> {
    /// How often it may have been given back before `at`.
    fn retries(&self, at: u64) -> u64 {
        let retries = self.decisions.iter().filter(|d| d.again && d.began < at);
        retries.count() as u64
    }

    /// How many burials that began before `at` may have been left unfinished, with a copy made.
    fn slips(&self, at: u64) -> u64 {
        let unfinished = |hold: &&&Hold| hold.is_burial() && hold.done.is_none();
        let known = self.holds.iter().filter(unfinished);
        let known = known.filter(|hold| hold.until < at).count() as u64;
        known + self.digest.unseen(self.group, self.began, at)
    }

    fn acks(&self) -> impl Iterator<Item = &Hold> {
        let acked = |hold: &&&Hold| hold.acked.is_some_and(|(_, sure)| sure);
        self.holds.iter().filter(acked).copied()
    }

    fn burials(&self) -> impl Iterator<Item = &Hold> {
        let buried = |hold: &&&Hold| hold.is_burial() && hold.done.is_some();
        self.holds.iter().filter(buried).copied()
    }

    fn drops(&self) -> impl Iterator<Item = &Decision> {
        let dropped = |d: &&&Decision| !d.again && d.sure;
        self.decisions.iter().filter(dropped).copied()
    }
}

fn limit(story: &Story<'_>, found: &mut Found) {
    let mut counted = 0;
    for hold in &story.holds {
        // One that is given back may not count, but where there are leases, no hand-over is taken back.
        let leases = hold.group.lease().is_some();
        let given_back = matches!(hold.how, Some(How::Release | How::Drop));
        counted += u64::from(leases || !given_back);
        let retries = story.retries(hold.at);
        let highest = story.limit + if leases { retries } else { 0 };
        if hold.count > highest || counted > story.limit * (1 + retries) {
            found.add(Rule::Limit, || {
                format!("{hold}, the {counted}th that counts")
            });
        }
    }
}

fn rightly(story: &Story<'_>, found: &mut Found) {
    let letters = story.letters.iter().map(|letter| &letter.dead);
    for dead in letters.chain(story.parked.iter().copied()) {
        let rightly = match dead.why {
            Why::Rejected => story.holds.iter().any(|hold| {
                hold.how == Some(How::Reject) && hold.count == dead.count && hold.until < dead.at
            }),
            Why::Limit => {
                let given_back = |hold: &Hold| {
                    let released = hold.how == Some(How::Release) && hold.done.is_some();
                    released && hold.group.lease().is_none()
                };
                let holds = story.holds.iter().filter(|hold| !given_back(hold));
                let holds = holds.filter(|hold| hold.opened < dead.at).count() as u64;
                let unseen = || story.digest.unseen(dead.group, story.began, dead.at);
                // Where there are leases the count goes on after a retry, by one more delivery each.
                let leases = story.group.lease().is_some();
                let retries = if leases { story.retries(dead.at) } else { 0 };
                (story.limit..=story.limit + retries).contains(&dead.count)
                    && (holds >= story.limit || holds + unseen() >= story.limit)
            }
        };
        if !rightly {
            found.add(Rule::DeadRightly, || format!("{dead:?}, {}", told(story)));
        }
    }
}

fn copies(story: &Story<'_>, found: &mut Found) {
    let mut places = HashSet::new();
    for letter in &story.letters {
        places.insert(letter.place);
        let copies = places.len() as u64;
        if copies > 1 && copies > 1 + story.slips(letter.dead.at) {
            found.add(Rule::OneCopy, || {
                format!("copy {copies} of {letter:?}, {}", told(story))
            });
        }
    }
}

fn is_final(story: &Story<'_>, found: &mut Found) {
    for burial in story.burials() {
        let again = story
            .holds
            .iter()
            .filter(|hold| hold.is_after(burial.until));
        for hold in again {
            let digest = story.digest;
            if !digest.retried(story.group, story.sequence, burial.until, hold.at) {
                found.add(Rule::DeadIsFinal, || format!("{burial}; then {hold}"));
            }
        }
    }
    if let Some(first) = story.letters.iter().map(|letter| letter.dead.at).min() {
        let mut again = story.holds.iter().filter(|hold| hold.is_after(first));
        if let Some(hold) = again.find(|_| story.slips(first) == 0) {
            found.add(Rule::DeadIsFinal, || {
                format!("seen among the dead at {first}; then {hold}")
            });
        }
    }
    for dropped in story.drops() {
        if let Some(hold) = story.holds.iter().find(|hold| hold.opened > dropped.ended) {
            found.add(Rule::DeadIsFinal, || format!("{dropped:?}; then {hold}"));
        }
    }
}

fn one_end(story: &Story<'_>, found: &mut Found) {
    let (acks, drops) = (story.acks().count() as u64, story.drops().count() as u64);
    let burials = story.burials().count() as u64;
    let moved = story
        .letters
        .first()
        .map_or(u64::MAX, |letter| letter.dead.at);
    let ended = acks + drops;
    let twice = ended > 1 || burials + acks > 1 + story.retries(u64::MAX);
    if twice || (ended > 0 && moved < u64::MAX && story.slips(moved) == 0) {
        found.add(Rule::OneEnd, || {
            format!(
                "{acks} acks, {burials} burials, {drops} times dropped, {}",
                told(story)
            )
        });
    }
}

fn told(story: &Story<'_>) -> String {
    let holds: Vec<String> = story.holds.iter().map(ToString::to_string).collect();
    format!("{holds:#?}, {:?}, {:?}", story.letters, story.decisions)
}

fn accounted(digest: &Digest, found: &mut Found) {
    let acked = digest.holds.iter().filter(|hold| hold.acked.is_some());
    let mut ended: HashSet<(Group, u64)> = acked.map(|hold| (hold.group, hold.sequence)).collect();
    let letters = digest.letters.iter().map(|letter| letter.dead);
    ended.extend(letters.map(|dead| (dead.group, dead.sequence)));
    let dropped = digest.decisions.iter().filter(|decision| !decision.again);
    ended.extend(dropped.map(|decision| (decision.group, decision.sequence)));
    let limited = PERMANENT
        .iter()
        .filter(|(group, _)| group.limit().is_some());
    for (group, name) in limited {
        for publish in &digest.publishes {
            let sequence = publish.sequence;
            // In the middle of a batch nobody told the producer which one it got.
            if sequence.is_some_and(|sequence| !ended.contains(&(*group, sequence))) {
                found.add(Rule::Accounted, || {
                    format!("{publish:?} in {name}: not acked, not dead, not dropped")
                });
            }
        }
    }
}
