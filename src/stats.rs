//! One snapshot of a queue's numbers, read without stopping anybody: words that are the truth, and counters that lag.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::dead::queue_of;
use crate::group::name_of;
use crate::layout::geometry::{control, group, participant, segment};
use crate::layout::header::Verified;
use crate::layout::{EntryState, GroupId, NAME_MAX, OwnedWord, OwnerId};
use crate::ring::{Observed, Poisoned, Recovered, Ring, Swept};
use crate::sync::Ordering;
use crate::sys;

/// How a queue stands. The numbers are from slightly different moments, and old when you read them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Messages the queue can hold.
    pub capacity: u64,
    /// The next sequence to be taken.
    pub tail: u64,
    /// Sequences taken since creation, less those aborted: exact but for reservations just being filled.
    pub published: u64,
    /// Sequences whose producer died before it published.
    pub aborted: u64,
    /// Repaired after deaths since creation: the holes are the aborted sequences.
    pub swept: Swept,
    /// Slots that cannot be reused yet: from the lowest floor of all groups to the tail; 0 without groups.
    pub depth: u64,
    /// Bytes of slots and arena in use for them.
    pub bytes_in_use: u64,
    /// Bytes of the whole file.
    pub file_size: u64,
    /// Of a durable queue: the disk has every message below it.
    pub durable_until: u64,
    /// The error number of the first sync that failed: nothing gets durable any more.
    pub sync_error: Option<i32>,
    /// What the last recovery after a reboot found; its `missing` counts what was dropped, too.
    pub recovery: Option<Recovered>,
    /// The groups in use.
    pub groups: Vec<GroupStats>,
    /// The attached processes, dead ones included until they are swept.
    pub participants: Vec<ParticipantStats>,
}

/// How a group stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupStats {
    /// Its name.
    pub name: String,
    /// One consumer at a time, strict order.
    pub exclusive: bool,
    /// Vanishes with its last consumer.
    pub ephemeral: bool,
    /// Being deleted; its last members have not gone yet.
    pub closing: bool,
    /// Where it started.
    pub start: u64,
    /// The oldest sequence not settled: everything below it is.
    pub floor: u64,
    /// Messages published and not settled: `ready + in_flight + dead`.
    pub lag: u64,
    /// Messages published and held by nobody.
    pub ready: u64,
    /// Messages claimed or handed over, and not settled.
    pub in_flight: u64,
    /// Messages parked: dead, and nowhere to go. They hold producers back until somebody decides on them.
    pub dead: u64,
    /// Processes with consumers in it.
    pub members: u64,
    /// In an exclusive group, the participant that is active.
    pub active: Option<u16>,
    /// Deliveries, counting every one of a message; lags by up to 64 for each busy consumer.
    pub delivered: u64,
    /// Of those, not the first of their message.
    pub redelivered: u64,
    /// Messages acked; lags likewise.
    pub acked: u64,
    /// Messages dropped for want of room, on a queue that does, and damaged ones that were skipped.
    pub lost: u64,
    /// Messages moved to the dead-letter queue.
    pub dead_lettered: u64,
    /// Claims that were given to another because their lease had ended.
    pub expired: u64,
    /// Deliveries of a message before it is dead, if there is a limit.
    pub max_deliveries: Option<u8>,
    /// How long a claim lasts, if not as long as its process.
    pub ack_timeout: Option<Duration>,
    /// The queue that dead messages go to, if there is one.
    pub dead_letters: Option<String>,
    /// The oldest message not settled, if there is one.
    pub oldest: Option<u64>,
    /// How long ago that was published; zero if the queue takes no times.
    pub oldest_age: Duration,
}

/// An attached process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParticipantStats {
    /// Its entry.
    pub id: u16,
    /// Its process id, as it sees itself.
    pub pid: u64,
    /// The name it gave.
    pub name: String,
    /// Whether it lives, says the kernel. One that does not is swept by whoever attaches or waits next.
    pub alive: bool,
    /// Slots it is writing: for tens of ns each, unless it is paused there, or dead.
    pub writing: u64,
    /// Messages it holds: claimed or handed over, and not settled.
    pub holds: u64,
    /// The oldest of them.
    pub oldest_held: Option<u64>,
    /// How long ago that was published; zero if the queue takes no times.
    pub oldest_held_age: Duration,
    /// The highest delivery count among them; 0 if it holds none.
    pub highest_count: u8,
    /// Attached at, ns since 1970.
    pub attached_ns: u64,
    /// Has ordinary producers.
    pub producer: bool,
    /// Is the sole producer.
    pub sole_producer: bool,
    /// Names of the groups it has consumers in.
    pub groups: Vec<String>,
    /// Messages it published; lags by up to 64 for each busy producer.
    pub published: u64,
}

impl Stats {
    /// Reads them. Loads only: works on a read-only mapping.
    pub(crate) fn take(ring: &Ring, verified: &Verified, alive: impl Fn(OwnerId) -> bool) -> Self {
        let geometry = ring.geometry();
        let tail = ring.true_tail();
        // ORDERING: Relaxed; a counter.
        let aborted = ring.mem().word(control::ABORTED).load(Ordering::Relaxed);
        let groups: Vec<_> = geometry
            .group_ids()
            .filter_map(|id| group_stats(ring, id, tail))
            .collect();
        let lowest = groups.iter().map(|group| group.floor).min().unwrap_or(tail);
        let depth = tail.saturating_sub(lowest).min(geometry.capacity());
        let taken = tail.saturating_sub(geometry.shape().first_sequence);
        Self {
            capacity: geometry.capacity(),
            tail,
            published: taken.saturating_sub(aborted),
            aborted,
            durable_until: ring.durable_until(),
            sync_error: ring
                .check_poison()
                .err()
                .map(|Poisoned(error)| i32::try_from(error).unwrap_or(i32::MAX)),
            recovery: ring.last_recovery(),
            depth,
            bytes_in_use: depth * geometry.shape().slot_size + arena_in_use(ring, lowest),
            file_size: verified.geometry.file_size(),
            swept: Swept {
                // ORDERING: Relaxed; counters.
                participants: ring.mem().word(control::BURIED).load(Ordering::Relaxed),
                holes: aborted,
                // ORDERING: Relaxed; as above.
                claims: ring.mem().word(control::RETURNED).load(Ordering::Relaxed),
            },
            participants: participants(ring, &groups, tail, alive),
            groups: groups.into_iter().map(|found| found.stats).collect(),
        }
    }
}

/// A group's numbers, and what finding others needs of it.
struct Found {
    id: GroupId,
    floor: u64,
    stats: GroupStats,
}

fn group_stats(ring: &Ring, id: GroupId, tail: u64) -> Option<Found> {
    let state = ring.group_state(id);
    let closing = match state.entry_state() {
        Some(EntryState::Live) => false,
        Some(EntryState::Closing) => true,
        _ => return None,
    };
    // ORDERING: Relaxed; counters and facts that do not change while the group lives.
    let word = |field| ring.group_word(id, field).load(Ordering::Relaxed);
    let exclusive = ring.is_exclusive(id);
    let counts = if exclusive {
        ring.count_cursor(id, tail)
    } else {
        ring.count_claims(id, tail)
    };
    let members = ring.geometry().participant_ids().filter(|&member| {
        // ORDERING: Relaxed; for people to read only.
        ring.participant_word(member, participant::MEMBER_OF)
            .load(Ordering::Relaxed)
            & id.bit()
            != 0
    });
    let owner = OwnedWord(word(group::OWNER));
    let active =
        (exclusive && owner.entry_state() == Some(EntryState::Live)).then_some(owner.owner().0);
    let lag = counts.ready + counts.in_flight + counts.dead;
    let terms = ring.terms(id);
    let dead_queue = queue_of(ring, id);
    let oldest = (lag > 0).then_some(counts.floor);
    let stats = GroupStats {
        name: name_of(ring, id),
        exclusive,
        ephemeral: ring.is_ephemeral(id),
        closing,
        start: word(group::START),
        floor: counts.floor,
        lag,
        ready: counts.ready,
        in_flight: counts.in_flight,
        dead: counts.dead,
        members: members.count() as u64,
        active,
        delivered: word(group::DELIVERED),
        redelivered: word(group::REDELIVERED),
        acked: word(group::ACKED),
        lost: word(group::LOST),
        dead_lettered: word(group::DEAD_LETTERED),
        expired: word(group::EXPIRED),
        max_deliveries: (terms.max_deliveries > 0).then_some(terms.max_deliveries),
        ack_timeout: (terms.ack_timeout_ms > 0)
            .then(|| Duration::from_millis(terms.ack_timeout_ms)),
        dead_letters: (!dead_queue.is_empty()).then_some(dead_queue),
        oldest,
        oldest_age: oldest.map_or(Duration::ZERO, |sequence| age(ring, sequence)),
    };
    Some(Found {
        id,
        floor: counts.floor,
        stats,
    })
}

fn age(ring: &Ring, sequence: u64) -> Duration {
    match ring.observe(sequence, &mut Vec::new()) {
        Observed::Message(header) if header.timestamp != 0 => {
            Duration::from_nanos(sys::wall_ns().saturating_sub(header.timestamp))
        }
        _ => Duration::ZERO,
    }
}

fn arena_in_use(ring: &Ring, lowest: u64) -> u64 {
    let geometry = ring.geometry();
    (0..geometry.segment_count())
        .map(|number| {
            let entry = geometry.segment(number);
            // ORDERING: Relaxed; for people to read only.
            let until = ring
                .mem()
                .word(entry.plus(segment::USED_UNTIL))
                .load(Ordering::Relaxed);
            // ORDERING: Relaxed; for people to read only.
            let bump = ring
                .mem()
                .word(entry.plus(segment::BUMP))
                .load(Ordering::Relaxed);
            if until > lowest {
                bump.min(geometry.segment_size())
            } else {
                0
            }
        })
        .sum()
}

/// What a participant has in its hands.
#[derive(Clone, Copy, Default)]
struct Holding {
    writing: u64,
    holds: u64,
    oldest: Option<u64>,
    highest_count: u8,
}

fn holdings(ring: &Ring, groups: &[Found], tail: u64) -> BTreeMap<OwnerId, Holding> {
    let mut found: BTreeMap<OwnerId, Holding> = BTreeMap::new();
    for writer in ring.writers() {
        found.entry(writer).or_default().writing += 1;
    }
    for held in groups.iter().flat_map(|group| ring.held(group.id, tail)) {
        let holding = found.entry(held.owner).or_default();
        holding.holds += 1;
        let oldest = holding.oldest.unwrap_or(u64::MAX);
        holding.oldest = Some(oldest.min(held.claim.sequence));
        holding.highest_count = holding.highest_count.max(held.claim.attempt);
    }
    found
}

fn participants(
    ring: &Ring,
    groups: &[Found],
    tail: u64,
    alive: impl Fn(OwnerId) -> bool,
) -> Vec<ParticipantStats> {
    let holdings = holdings(ring, groups, tail);
    // ORDERING: Relaxed; for people to read only.
    let sole = OwnedWord(ring.mem().word(control::SOLE).load(Ordering::Relaxed));
    let live = |id: &OwnerId| ring.participant_state(*id).entry_state() == Some(EntryState::Live);
    ring.geometry()
        .participant_ids()
        .filter(live)
        .map(|id| {
            // ORDERING: Relaxed; for people to read only.
            let word = |field| ring.participant_word(id, field).load(Ordering::Relaxed);
            let member_of = word(participant::MEMBER_OF);
            let holding = holdings.get(&id).copied().unwrap_or_default();
            ParticipantStats {
                alive: alive(id),
                writing: holding.writing,
                holds: holding.holds,
                oldest_held: holding.oldest,
                oldest_held_age: holding
                    .oldest
                    .map_or(Duration::ZERO, |sequence| age(ring, sequence)),
                highest_count: holding.highest_count,
                id: id.0,
                pid: word(participant::PID),
                name: participant_name(ring, id, word(participant::NAME_LENGTH)),
                attached_ns: word(participant::ATTACHED_NS),
                producer: word(participant::PRODUCES) != 0,
                sole_producer: sole.entry_state() == Some(EntryState::Live) && sole.owner() == id,
                groups: groups
                    .iter()
                    .filter(|group| member_of & group.id.bit() != 0)
                    .map(|group| group.stats.name.clone())
                    .collect(),
                published: word(participant::PUBLISHED),
            }
        })
        .collect()
}

fn participant_name(ring: &Ring, id: OwnerId, length: u64) -> String {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(NAME_MAX).min(NAME_MAX)];
    ring.mem().copy_out_torn(
        ring.geometry().participant(id).plus(participant::NAME),
        &mut bytes,
    );
    String::from_utf8_lossy(&bytes).into_owned()
}
