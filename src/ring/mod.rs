//! THE PROTOCOL. Read this page, then `docs/format.md`; the rest of the folder is these rules in code.
//!
//! Relies on `mem` (atomic words and byte copies by offset), `layout` and `sync`. No operating system, no time, no
//! threads, no `unsafe`: the same code runs on a mapped file, on heap memory, under loom and under numbered crash points.
//!
//! # 1. The idea
//! 1. The truth is in per-slot words. Tail, head, floor and the ready hint only save searching: they may lag, and never
//!    run ahead.
//! 2. One CAS both takes and signs: whatever the dead leave behind names its owner.
//! 3. The kernel says who is dead (a lock per participant, see `participant.rs`); nothing here decides by time.
//! 4. A slot is reserved only for the copy of a short payload; long ones are composed in the arena before.
//! 5. Consumers never write slots; producers never write claim words, but for dropping the oldest on a lossy queue.
//!
//! # 2. Who there is
//! A *participant* is an attached process, a number with a lock. It makes [`Publisher`]s, [`Claimer`]s (shared groups)
//! and [`Cursor`]s (exclusive groups): plain values of one thread each, holding a position and nothing that others need.
//! A *sweeper* is any participant holding a dead one's lock.
//!
//! # 3. Words and states
//! A slot has two words, each for the sequence that lap and index imply. Readers poll the slot word, which stands in the
//! slot and is written once per message; the reservation word stands apart, in an array that only producers touch:
//!
//! ```text
//! reservation { lap, owner, Taken }     a producer's CAS from any earlier lap, once the slot word is terminal in the lap
//!                                       before and every gating group's floor has passed that (I1)
//!
//! slot word        owner's CAS
//!   earlier lap -----------------> Published(lap)
//!        |        sweeper's CAS, the reservation's owner dead
//!        +-----------------------> Aborted(lap)
//! ```
//!
//! A slot is *being written* while its reservation is of a later lap than its word. A sole producer reserves nothing: it
//! fills the free slot, swaps its word, and only then lets the reservation follow, so nothing of it is ever left open.
//! (That a polled line is written once is worth a cache-line trip or two per message; see `docs/performance.md`.)
//!
//! Claim word `{ lap, attempt, owner, state }`, one per slot and shared group; an older lap reads as `Never`:
//!
//! ```text
//!   Never --CAS--> Opened(1, me) --CAS--> Done            single claim, ack
//!   Never --CAS--> Claimed(0, me) --CAS--> Opened(1, me)  batch: counted when handed over
//!   Opened(n, me) --CAS--> Ready(n)      nack             Opened(n, me) --CAS--> Ready(n-1)   release
//!   Claimed(n, me) --CAS--> Ready(n)     batch dropped    Ready(n) --CAS--> Opened(n+1, me)   claimed again
//!   Opened(n, me) --CAS--> Dead(n)       parked (`dead.rs`)   Dead(n) --CAS--> Ready(0) | Done   somebody decides
//!   Opened(n, dead), Claimed(n, dead) --sweeper's CAS--> Ready(n)
//!   Opened(n, slow), Claimed(n, slow) --a member's CAS--> Ready(n)   past its deadline, in a group with leases (`lease.rs`)
//! ```
//!
//! In a group with leases no `Opened` word comes back in its lap, since somebody paused may still mean the earlier one: a
//! release is a nack, and `Dead(n) -> Again(n)`, which is `Ready(n)` for once more whatever `n`. In an exclusive group
//! `Dead(n) -> Opened(0)`, counted by nobody.
//!
//! Exclusive group: `OWNER { incarnation, participant, Free | Live }`; `FLOOR` is the cursor, stored by the owner after
//! processing; `OPENED` is one past the highest sequence handed over. A successor turns `[FLOOR, OPENED)` into attempts
//! in the claim words (`Opened`: counted so; `Ready`: to be counted when `OPENED` has passed it), from the top, lowering
//! `OPENED` as it goes.
//!
//! Group `Free -> Joining(me) -> Pinned(me) -> Live -> Closing -> Free` (see `groups.rs`); it gates, that is holds
//! producers back, from `Pinned` to `Closing`. Segment `Free | Closing (open) -> Live (held by me) -> Closing`.
//! Participant and sole producer `Free <-> Live(me)`.
//!
//! # 4. Invariants
//! * **I1** a slot is reused for lap n+1 only when the floor of every gating group has passed lap n.
//! * **I2** between reserve and commit only the owner writes the slot; while a segment is held, only its holder writes
//!   beyond its bump.
//! * **I3** a published slot's bytes do not change while a claim on it is held, or a guard of an exclusive consumer exists.
//!   A claim past its lease is none: consumers of such groups look at a copy, taken while the claim stood.
//! * **I4** each (group, sequence) has at most one claim.
//! * **I5** `Done` is final for its lap.
//! * **I6** a hint never exceeds the truth: all slots below the tail are taken; all messages of a group below its head
//!   have been claimed once; all below its floor are settled; nothing given back lies below the ready hint, once its
//!   giver has returned.
//! * **I7** a participant number is reused only after no word names it (terminal slot and claim words apart, where the
//!   owner is only told).
//! * **I8** a segment is emptied only when every sequence that points into it is below all floors.
//! * **I9** every repair step is an idempotent CAS.
//! * **I10** a sequence is never used twice.
//! * **I11** in a durable queue no sequence at or above what the disk has as `UNTIL_DISK` is ever published, and everything a
//!   lap below that is settled in every group (`durable.rs`).
//!
//! Order: a publish that begins after another returned gets a higher sequence, since every slot below a producer's
//! position is taken. A shared group claims in order, but for slots still being written, which it steps over; before it
//! claims behind one it looks at those again, so each producer's messages are first claimed in the order it published
//! them.
//!
//! # 5. Who may touch what
//! | bytes | written by | when |
//! |---|---|---|
//! | reservation | any producer | of an earlier lap, by CAS; a sole one: behind the slot word |
//! | slot word | the reservation's owner | of an earlier lap than that, by CAS |
//! | | a sweeper | the same, the owner dead |
//! | slot header and payload | the reservation's owner | the same; a sole producer: while free |
//! | claim word | any consumer of the group | not claimed, or `Ready`, by CAS |
//! | | its owner | `Claimed`, `Opened`, by CAS |
//! | | a sweeper | the same of a dead owner, by CAS |
//! | | a member of the group | the same, its lease marked as ended, by CAS |
//! | | a member of the group | `Dead`, by CAS, because a person says so |
//! | | a producer of a lossy queue | the oldest, not claimed, `Ready` or `Dead`, by CAS to `Done` |
//! | | an exclusive group's owner | attempts of what it takes over or gives back |
//! | lease word | its claim's owner | any time; by CAS to prolong |
//! | | who looks for ended leases | by CAS: to begin one not begun, to end one |
//! | notes | who parks | any time; for people |
//! | tail, head | anybody | only up, to what it has seen |
//! | floor | members (shared) | only up, over what is settled; producers keep what they find to themselves |
//! | | the owner (exclusive) | what is settled and not looked at |
//! | ready hint | who gives back | down, next version |
//! | | who searched | up or cleared, by CAS on the full value |
//! | segment bytes, bump, emptied | its holder | held |
//! | participant entry | the holder of its lock | |
//! | what is on the disk | the owner of `SYNCER` | only up |
//! | how the queue was left | who leaves last, or attaches | holding the recovery lock (`clean.rs`) |
//! | everything | who recovers after a reboot | alone (`recover.rs`) |
//!
//! # 6. Ordering
//! Data is handed over by Release and Acquire on one word; each access says so in its ORDERING line. SeqCst stands in two
//! places only.
//!
//! | hand-over | Release | Acquire | carries |
//! |---|---|---|---|
//! | a message | commit's CAS, or a sole producer's store (`publish.rs`) | `load_slot` | header, payload, segment |
//! | a settled message | settle's CAS, the cursor's store | the claim load of `is_settled`, the floor load | the reader has finished |
//! | that, to others | the raise of `raise_floor` | the floor load | the same |
//! | a claim given back | settle's CAS, the sweep's | the CAS of `take` | what was done with the message |
//! | a parked message | settle's CAS, the cursor's note | `dead_at`'s load | the same |
//! | a decision on it | `decide`'s CAS | the cursor's look at its claim word | who decided has looked at it |
//! | its place | `note_ready`'s CAS | the hint load of `claim_given_back` | the word says `Ready` |
//! | a lease | `begin_lease`'s CAS | the loads of leases | the claim it is of |
//! | a lease's end | | | nothing: whose CAS on the lease word comes first holds |
//! | the tail | `reserve`'s CAS, `raise_tail` | the loads of both | what lies a lap below has been settled |
//! | a segment | `open_segment`'s CAS | `try_hold`'s load | bump, used-until |
//! | a group | `finish_group`'s store | `group_state`'s load | floor, flags, cleared words |
//! | a cursor | `hand_over`'s CAS, the sweep | `take_over`'s CAS | floor, opened, attempts |
//! | a sync | `end_sync`'s raises, `free_syncer` | the loads of `clamp_to_disk`, `is_synced`; `take_syncer`'s CAS | the disk has what it says; it failed |
//! | a mark taken back | `begin_use`'s store | the load of `is_in_use` | the disk does not have it |
//! | a group's end | `leave_group`'s clear, the generation | `has_members`'s load, the generation | the reads are over |
//!
//! A few more keep two steps in order for whoever repairs after a death between them. A CAS hands on what the one before
//! it on the same word released, so most of those that only sign are Relaxed. Which model misses which ordering is listed in
//! `docs/verification.md`.
//!
//! SeqCst: (1) commit or settle, then the waiter bits, against a waiter's bit, then the slot (`sleep.rs`), where the waiter
//! fences on behalf of sole producers and cursors, which only store; (2) a group's
//! pin and generation, then the floors, against a producer's floors, then the generation (`groups.rs`, `publish.rs`); of
//! the same shape, on cold paths: a member's bit against a group's closing, and a producer's flag against a sole one's
//! word; a commit, then `STARTED`, against `STARTED`, then the sync; a leaver's word, then the locks, against a lock, then the
//! word. An observer's copies are bracketed by fences (`observe.rs`).
//!
//! # 7. What a death leaves
//! | died | what stands | who repairs, how |
//! |---|---|---|
//! | before take_slot's CAS | nothing | |
//! | from there to commit | a reservation ahead of its slot word | sweep: `Aborted`; everybody skips it |
//! | sole producer, anywhere | the sole-producer word; a slot word ahead of its reservation | sweep: free; producers read both words |
//! | after commit, before the tail hint | a message beyond the hint | every walk finds it |
//! | after commit, before waking | a message, sleepers | a sleep is bounded and looks again |
//! | holding a segment | `Live(dead)`; bump counted before commit | sweep: used until the tail, open |
//! | after a claim | `Claimed` or `Opened(dead)` | sweep: `Ready`, attempt kept |
//! | burying, before the copy is in the dead-letter queue | `Opened(dead)` | sweep: `Ready`; the next to claim it buries it |
//! | burying, after | the same, and the copy | the same, so there may be two copies; source and sequence tell |
//! | having ended a lease, before giving back | the lease word says so | the next to look gives back |
//! | after giving back, before the hint | `Ready`, not hinted | sweep sets the hints to the floors; a consumer that waited in vain does too |
//! | after an ack, before waking a producer | settled | a sleep is bounded and looks again |
//! | active in an exclusive group | `OWNER` live, range open | sweep: free; the successor counts the range |
//! | taking over | part of the range counted, `OPENED` lowered so far | the next successor counts the rest |
//! | making a group | `Joining` or `Pinned(dead)` | sweep: free, generation |
//! | deleting or leaving one | `Closing`, or ephemeral without members | any look for the dead frees it |
//! | freeing one, before the generation | free, still in producers' masks | the sweep raises the generation; a producer that waited in vain reads the table |
//! | joining | `Live`, lock free | sweep |
//! | leaving | the same, or nothing | sweep |
//! | syncing | `SYNCER` live, nothing confirmed | sweep: free; who waits syncs anew |
//! | leaving as the last, or taking its mark back | a word that is not 0 | the next to attach takes it back |
//! | sweeping | part of it done, lock free again | the next sweep does all of it |

mod arena;
mod claim;
mod clean;
mod cursor;
mod dead;
mod durable;
mod floor;
mod gather;
mod groups;
mod held;
mod join;
mod lease;
#[cfg(not(slipring_loom))]
mod observe;
mod publish;
#[cfg(not(slipring_loom))]
mod recover;
mod settle;
mod sleep;
mod suspect;
mod sweep;

pub use arena::HeldSegment;
pub use claim::{Claim, Claimer, Effort};
pub use cursor::{Cursor, Handed};
pub(crate) use dead::cut;
pub use dead::{Cause, DeadWord};
pub use durable::{Disk, Poisoned};
pub use groups::{JoiningGroup, OutOfReach, Start, Terms};
#[cfg(not(slipring_loom))]
pub use observe::{ClaimCounts, Held, Observed};
pub use publish::{Publisher, Reserved, Stuck};
#[cfg(not(slipring_loom))]
pub use recover::{Recovered, Unrecovered};
#[cfg(not(slipring_loom))]
pub(crate) use recover::{boot_check, boot_of, recovered_in};
pub use settle::Settle;
pub use sleep::{Channel, Wake};
pub use sweep::Swept;

use crate::layout::geometry::slot;
use crate::layout::{
    FormatError, Geometry, GroupId, Offset, OwnedWord, OwnerId, SlotHeader, SlotState,
};
use crate::mem::{Mem, Word};
use crate::sync::Ordering;
use zerocopy::IntoBytes;

/// Messages found without waiting after which more are expected.
const STREAK: u32 = 2;
/// How far ahead.
const AHEAD: u64 = 12;
/// Bytes of a slot that are asked for at most.
const LONGEST_AHEAD: u64 = 1 << 11;
/// What processors fetch at once. (`LINE` is what they may fetch in pairs.)
const CACHE_LINE: u64 = 64;

/// One queue's memory and where everything lies in it.
#[derive(Debug)]
pub struct Ring {
    mem: Mem,
    geo: Geometry,
    /// Messages between two updates of a hint.
    hint_every: u64,
    /// Producers stop where the disk says.
    durable: bool,
    /// Others can make this process fence.
    light: bool,
}

/// A word that no running code writes, with its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Bytes from the start of the mapping.
    pub offset: Offset,
    /// The word.
    pub found: u64,
    /// What could stand there.
    pub expected: &'static str,
}

impl From<Damage> for FormatError {
    fn from(damage: Damage) -> Self {
        Self::Word {
            offset: damage.offset.0,
            found: damage.found,
            expected: damage.expected,
        }
    }
}

/// What a slot's word says to somebody who is at a position that maps to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotView {
    /// Fresh file.
    Empty,
    /// Of an earlier lap: nothing in this one yet. True if it is the lap before.
    Earlier(bool),
    /// Holds this position's message.
    Published,
    /// Holds nothing in this lap.
    Aborted,
    /// Of a later lap, for the sequence `newest`.
    Lapped {
        /// The highest sequence known to be taken here.
        newest: u64,
    },
    /// Not a slot word.
    Unknown,
}

impl Ring {
    /// A ring over `mem`, which has at least `geo.file_size()` bytes.
    #[must_use]
    pub fn new(mem: Mem, geo: Geometry) -> Self {
        let hint_every = (geo.capacity() / 4).clamp(1, 32);
        Self {
            mem,
            geo,
            hint_every,
            durable: false,
            light: false,
        }
    }

    /// For a process that others can make fence: what it stores often it need not fence itself (`sleep.rs`).
    pub fn let_waiters_fence(&mut self, light: bool) {
        self.light = light;
    }

    /// Its memory.
    #[inline(always)]
    pub fn mem(&self) -> &Mem {
        &self.mem
    }

    /// Its layout.
    #[inline(always)]
    pub fn geometry(&self) -> &Geometry {
        &self.geo
    }

    #[inline(always)]
    fn word(&self, offset: Offset) -> Word<'_> {
        self.mem.word(offset)
    }

    #[inline(always)]
    fn slot_word(&self, sequence: u64) -> Word<'_> {
        self.word(self.geo.slot(sequence).plus(slot::WORD))
    }

    #[inline(always)]
    fn reservation(&self, sequence: u64) -> Word<'_> {
        self.word(self.geo.reservation(sequence))
    }

    #[inline(always)]
    fn claim_word(&self, group: GroupId, sequence: u64) -> Word<'_> {
        self.word(self.geo.claim(group, sequence))
    }

    /// A word of a group's entry.
    #[inline(always)]
    pub fn group_word(&self, group: GroupId, field: u64) -> Word<'_> {
        self.word(self.geo.group(group).plus(field))
    }

    /// A word of a participant's entry.
    #[inline]
    pub fn participant_word(&self, id: OwnerId, field: u64) -> Word<'_> {
        self.word(self.geo.participant(id).plus(field))
    }

    #[inline]
    fn slot_view(&self, sequence: u64, raw: OwnedWord) -> SlotView {
        match (raw.laps_ahead_of(self.geo.lap(sequence)), raw.slot_state()) {
            (_, Some(SlotState::Empty)) => SlotView::Empty,
            (0, Some(SlotState::Published)) => SlotView::Published,
            (0, Some(SlotState::Aborted)) => SlotView::Aborted,
            (_, Some(SlotState::Taken) | None) => SlotView::Unknown,
            (ahead @ ..0, _) => SlotView::Earlier(ahead == -1),
            (ahead, _) => SlotView::Lapped {
                newest: self.later(sequence, ahead),
            },
        }
    }

    #[inline]
    fn load_slot(&self, sequence: u64) -> (OwnedWord, SlotView) {
        // ORDERING: Acquire; pairs with publish::commit Release; header and payload, and that all below are taken;
        // model publish_claim.
        let raw = OwnedWord(self.slot_word(sequence).load(Ordering::Acquire));
        (raw, self.slot_view(sequence, raw))
    }

    /// Whether a sequence's message is there.
    #[inline(always)]
    fn is_published(&self, sequence: u64) -> bool {
        // ORDERING: Acquire; pairs with publish::commit Release; as in load_slot; model publish_claim.
        let raw = OwnedWord(self.slot_word(sequence).load(Ordering::Acquire));
        raw.is_slot(self.geo.lap(sequence), SlotState::Published)
    }

    /// The highest sequence known to be taken, at `sequence` or some laps on; `None` if not even `sequence` is.
    fn newest_taken(&self, sequence: u64) -> Option<u64> {
        // ORDERING: Acquire; pairs with take_slot's and commit's Release; a taken slot here means all below are taken; model
        // sole_publish_claim.
        let taken = OwnedWord(self.reservation(sequence).load(Ordering::Acquire));
        let ahead = taken.laps_ahead_of(self.geo.lap(sequence));
        if taken.slot_state() == Some(SlotState::Taken) && ahead >= 0 {
            return Some(self.later(sequence, ahead));
        }
        // A sole producer reserves nothing; its reservation words only follow.
        match self.load_slot(sequence).1 {
            SlotView::Published | SlotView::Aborted => Some(sequence),
            SlotView::Lapped { newest } => Some(newest),
            SlotView::Empty | SlotView::Earlier(_) | SlotView::Unknown => None,
        }
    }

    /// More turns than any search takes, a lap at most, with the races it loses on the way: beyond it, somebody scribbles.
    fn turns(&self) -> std::ops::Range<u64> {
        0..self.geo.capacity() + (1 << 20)
    }

    /// Saturating: in a scribbled file the lap can be anything.
    fn later(&self, sequence: u64, laps: i64) -> u64 {
        let beyond = laps.unsigned_abs().saturating_mul(self.geo.capacity());
        sequence.saturating_add(beyond).min(floor::SEQUENCE_MAX)
    }

    /// Where a slot's second line begins; of a slot of one line, the first.
    #[inline]
    fn second_line(&self) -> u64 {
        if self.geo.shape().slot_size > CACHE_LINE {
            CACHE_LINE
        } else {
            0
        }
    }

    /// For a reader that finds a slot empty: its second line, so that it is on its way when the first one comes.
    #[inline]
    fn expect_message(&self, sequence: u64) {
        self.mem
            .prefetch(self.geo.slot(sequence).plus(self.second_line()));
    }

    /// For a reader that has found message after message without waiting: producers are ahead, so it asks for what it is
    /// going to read. One that keeps up must not: it would take lines away that are being written. `sequence` is its own.
    #[inline(always)]
    fn expect_more(&self, streak: &mut u32, sequence: u64) {
        *streak = streak.saturating_add(1);
        if *streak > STREAK {
            let ahead = self.geo.slot(sequence + AHEAD);
            self.mem.prefetch(ahead);
            self.mem.prefetch(ahead.plus(self.second_line()));
            let header = self.header(sequence);
            let end = slot::PAYLOAD + u64::from(header.length);
            if end > 2 * CACHE_LINE && header.flags & SlotHeader::IN_ARENA == 0 {
                self.expect_as_long(sequence, end);
            }
        }
    }

    /// The other lines of a slot to come, if its message ends where this one does.
    #[inline(never)]
    fn expect_as_long(&self, sequence: u64, end: u64) {
        let end = end.min(self.geo.shape().slot_size).min(LONGEST_AHEAD);
        let slots = (AHEAD * CACHE_LINE / end).max(1);
        let ahead = self.geo.slot(sequence + slots);
        for line in (2..end.div_ceil(CACHE_LINE)).map(|line| line * CACHE_LINE) {
            self.mem.prefetch(ahead.plus(line));
        }
    }

    /// What the slot of a message that is ours says of it.
    #[inline(always)]
    pub fn header(&self, sequence: u64) -> SlotHeader {
        let mut header = SlotHeader::default();
        let start = self.geo.slot(sequence);
        self.mem
            .copy_out(start.plus(slot::HEADER), header.as_mut_bytes());
        header
    }

    /// For a producer: a slot that it is going to write.
    #[inline(always)]
    fn expect_to_write(&self, sequence: u64) {
        let ahead = self.geo.slot(sequence);
        self.mem.prefetch_to_write(ahead);
        self.mem.prefetch_to_write(ahead.plus(self.second_line()));
    }

    #[cold]
    fn slot_damage(&self, sequence: u64, raw: OwnedWord, expected: &'static str) -> Damage {
        Damage {
            offset: self.geo.slot(sequence),
            found: raw.0,
            expected,
        }
    }
}
