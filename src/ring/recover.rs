//! After a reboot: making of what the disk has a queue that keeps its promises.
//!
//! Nobody is attached. Any 8 bytes of the file may be of any moment since the last sync that ended well, each for itself;
//! nothing but `UNTIL_DISK` is believed without a reason. All that is not settled lies in the lap below it, so each of
//! those sequences becomes a message, if its slot word and its checksum say so, or else a hole; whatever named a process
//! names nobody; hints start low. Each step is the same however often it is done, and depends on nothing that a later one
//! writes: who dies in here, or loses power, leaves work for the next.

use zerocopy::{FromBytes, IntoBytes};

use super::floor::SEQUENCE_MAX;
use super::{Damage, Disk, Ring, SlotView};
use crate::layout::durability::{payload_sum, record_sum};
use crate::layout::geometry::{control, group, participant, segment, slot};
use crate::layout::{
    ACK_TIMEOUT_MAX_MS, ClaimState, ClaimWord, EntryState, GroupId, NAME_MAX, Offset, OwnedWord,
    OwnerId, ReadyHint, SegmentPointer, SlotHeader, SlotState,
};
use crate::sync::Ordering;

/// What a recovery found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovered {
    /// How often this queue has been recovered, this time included.
    pub epoch: u64,
    /// Messages that were whole, settled ones of the last lap among them.
    pub records: u64,
    /// Messages of which a part was missing. None of them was confirmed durable, unless all its groups had settled it or the
    /// disk lost what it had said it has.
    pub torn: u64,
    /// Sequences of which there was nothing, below a message: in the same way.
    pub missing: u64,
    /// Messages dropped, settled ones among them, because the queue was made without durability.
    pub dropped: u64,
    /// The last to leave had left it in order: all is as it was then, and nothing was counted.
    pub clean: bool,
}

/// Why a queue could not be put in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unrecovered {
    /// A word that no power loss leaves.
    Damage(Damage),
    /// A sync failed, with this error number. It may be tried again: a recovery stores anew all that it answers for, so
    /// the pages that the kernel may have given up are to be written once more.
    Sync(u64),
}

impl From<Damage> for Unrecovered {
    fn from(damage: Damage) -> Self {
        Self::Damage(damage)
    }
}

impl From<u64> for Unrecovered {
    fn from(error: u64) -> Self {
        Self::Sync(error)
    }
}

/// Laps left out where nothing says how far sequences had got.
const LAPS_UNKNOWN: u64 = 1 << 20;
/// A word further ahead of the tail than this many laps is no word of ours.
const LAPS_PLAUSIBLE: i64 = 1 << 36;

impl Ring {
    /// The boot that last made this queue its own, if not the one it was created in. `Some(None)`: unknown.
    pub fn recovered_in(&self) -> Option<Option<[u8; 16]>> {
        recovered_in(|offset| self.recovery_word(offset))
    }

    /// Says that this boot has done so. Before it, all else has to be on the disk.
    pub fn stamp_boot(&self, boot: &[u8; 16]) -> u64 {
        let epoch = self.recovery_word(control::EPOCH).wrapping_add(1);
        let (first, second) = boot.split_at(8);
        let half = |bytes: &[u8]| u64::read_from_bytes(bytes).unwrap_or(0);
        self.set(control::EPOCH, epoch);
        self.set(control::BOOT_FIRST, half(first));
        self.set(control::BOOT_SECOND, half(second));
        self.set(control::BOOT_CHECK, boot_check(epoch, boot));
        epoch
    }

    /// What the last recovery found.
    pub fn last_recovery(&self) -> Option<Recovered> {
        self.recovered_in()?;
        Some(Recovered {
            epoch: self.recovery_word(control::EPOCH),
            records: self.recovery_word(control::RECOVERED),
            torn: self.recovery_word(control::TORN),
            missing: self.recovery_word(control::MISSING),
            dropped: 0,
            clean: self.recovery_word(control::FOUND_CLEAN) == 1,
        })
    }

    /// Puts a durable queue in order, for this boot. The caller holds the recovery lock.
    ///
    /// # Errors
    /// A word that no power loss leaves, or a sync that failed.
    pub fn recover(
        &self,
        queue_id: &[u8; 16],
        boot: &[u8; 16],
        disk: &impl Disk,
    ) -> Result<Recovered, Unrecovered> {
        if self.is_marked() {
            // Nothing of it is in the way of the mark, so whoever takes that back syncs for both.
            let mut found = self.reopen()?;
            found.epoch = self.stamp_boot(boot);
            return Ok(found);
        }
        self.begin_use(disk)?;
        let mut found = self.recover_words(queue_id)?;
        // All of it is on the disk before the stamp says so: who loses power in between does it again.
        disk.sync()?;
        found.epoch = self.stamp_boot(boot);
        disk.sync()?;
        Ok(found)
    }

    /// All is of the moment of the mark, but for what does not outlive a boot.
    fn reopen(&self) -> Result<Recovered, Damage> {
        for id in self.geo.group_ids() {
            if self.keeps_group(id) {
                self.check_group(id)?;
                let owner = self.geo.group(id).plus(group::OWNER);
                let free = OwnedWord(self.recovery_word(owner)).with_state(EntryState::Free);
                self.set(owner, free.0);
                if self.has_leases(id) {
                    self.clear_leases(id, self.true_tail());
                }
            }
        }
        self.free_participants();
        let found = Recovered {
            clean: true,
            ..Recovered::default()
        };
        self.note_recovery(&found);
        Ok(found)
    }

    fn recover_words(&self, queue_id: &[u8; 16]) -> Result<Recovered, Damage> {
        let until = self.recovery_word(control::UNTIL_DISK);
        let least = self.geo.shape().first_sequence + self.ahead_of_tail();
        if !(least..=SEQUENCE_MAX).contains(&until) {
            return Err(Damage {
                offset: control::UNTIL_DISK,
                found: until,
                expected: "how far sequences may have got",
            });
        }
        let mut found = Recovered::default();
        let mut used = vec![0; usize::try_from(self.geo.segment_count()).unwrap_or(0)];
        let (mut missing, mut nothing) = (0, 0);
        for sequence in self.window(until) {
            match self.recover_slot(sequence, queue_id, &mut used) {
                Slot::Whole => found.records += 1,
                Slot::Torn => found.torn += 1,
                Slot::Hole => {}
                Slot::Nothing => {
                    missing += 1;
                    nothing += 1;
                    continue;
                }
            }
            found.missing += std::mem::take(&mut missing);
        }
        for sequence in self.never_taken(until) {
            self.set(self.geo.slot(sequence).plus(slot::WORD), 0);
            self.set(self.geo.reservation(sequence), 0);
        }
        self.recover_segments(&used);
        for id in self.geo.group_ids() {
            if self.keeps_group(id) {
                self.check_group(id)?;
                self.recover_group(id, until);
            }
        }
        self.recover_rest(until);
        self.count_aborted(found.torn + nothing, until);
        self.note_recovery(&found);
        Ok(found)
    }

    /// Drops all messages of a queue that was made without durability. Sequences go on where none has ever been.
    pub fn drop_messages(&self) -> Recovered {
        // Nothing has been believed yet: not even that the tail is one of this queue's sequences.
        let tail = self.tail_hint().max(self.geo.shape().first_sequence);
        let lap = self.geo.lap(tail) + self.laps_ahead(tail) + LAPS_UNKNOWN;
        let until = lap.saturating_mul(self.geo.capacity()).min(SEQUENCE_MAX);
        let mut found = Recovered::default();
        for sequence in self.window(until) {
            // ORDERING: Relaxed; nobody else is attached.
            let slot = OwnedWord(self.slot_word(sequence).load(Ordering::Relaxed));
            found.dropped += u64::from(slot.slot_state() == Some(SlotState::Published));
            self.make_hole(sequence);
        }
        self.recover_segments(&vec![
            0;
            usize::try_from(self.geo.segment_count()).unwrap_or(0)
        ]);
        for id in self.geo.group_ids() {
            if self.keeps_group(id) && self.check_group(id).is_err() {
                let state = self.group_state(id).with_state(EntryState::Free);
                self.set(self.geo.group(id).plus(group::STATE), state.0);
            } else if self.keeps_group(id) {
                self.recover_group(id, until);
            }
        }
        self.recover_rest(until);
        self.count_aborted(until.saturating_sub(tail), until);
        self.note_recovery(&found);
        found
    }

    /// All that need not be settled.
    fn window(&self, until: u64) -> std::ops::Range<u64> {
        let lap_below = until.saturating_sub(self.geo.capacity());
        lap_below.max(self.geo.shape().first_sequence)..until
    }

    /// What is left of the first lap: no power loss writes there, but a bad disk could.
    fn never_taken(&self, until: u64) -> std::ops::Range<u64> {
        until..self.geo.shape().first_sequence + self.geo.capacity()
    }

    /// How many laps any word is ahead of the tail.
    fn laps_ahead(&self, tail: u64) -> u64 {
        let lap = self.geo.lap(tail);
        let mut most = 0;
        for index in 0..self.geo.capacity() {
            for word in [self.slot_word(index), self.reservation(index)] {
                // ORDERING: Relaxed; nobody else is attached.
                most = most.max(plausible(
                    OwnedWord(word.load(Ordering::Relaxed)).laps_ahead_of(lap),
                ));
            }
            for id in self.geo.group_ids() {
                // ORDERING: Relaxed; nobody else is attached.
                let claim = ClaimWord(self.claim_word(id, index).load(Ordering::Relaxed));
                most = most.max(plausible(claim.laps_ahead_of(lap)));
            }
        }
        most
    }

    fn recover_slot(&self, sequence: u64, queue_id: &[u8; 16], used: &mut [u64]) -> Slot {
        let slot = match self.load_slot(sequence).1 {
            SlotView::Published => match self.whole(sequence, queue_id) {
                Some(segment) => {
                    if let Some((number, used)) = segment.and_then(|number| {
                        Some((number, used.get_mut(usize::try_from(number).ok()?)?))
                    }) {
                        *used = (*used).max(sequence + 1);
                        self.renew_pointer(sequence, number);
                    }
                    self.follow(sequence);
                    return Slot::Whole;
                }
                None => Slot::Torn,
            },
            SlotView::Aborted => Slot::Hole,
            _ => Slot::Nothing,
        };
        self.make_hole(sequence);
        slot
    }

    /// Whether a message is what was published at this sequence; and its segment, if it is in one.
    fn whole(&self, sequence: u64, queue_id: &[u8; 16]) -> Option<Option<u64>> {
        let start = self.geo.slot(sequence);
        let mut header = SlotHeader::default();
        self.mem
            .copy_out(start.plus(slot::HEADER), header.as_mut_bytes());
        let length = u64::from(header.length);
        let (at, segment) = if header.flags & SlotHeader::IN_ARENA == 0 {
            (length <= self.geo.inline_max()).then_some((start.plus(slot::PAYLOAD), None))?
        } else {
            let offset = self.pointer(sequence).offset;
            (Offset(offset), Some(self.geo.segment_at(offset, length)?))
        };
        let sum = payload_sum(self.mem.view(at, header.length));
        (record_sum(sum, &header, queue_id, sequence) == header.crc).then_some(segment)
    }

    fn pointer(&self, sequence: u64) -> SegmentPointer {
        let mut pointer = SegmentPointer {
            offset: 0,
            emptied: 0,
        };
        self.mem.copy_out(
            self.geo.slot(sequence).plus(slot::PAYLOAD),
            pointer.as_mut_bytes(),
        );
        pointer
    }

    /// The segment's count may be of another moment than the pointer; a whole record's bytes have not been written since.
    fn renew_pointer(&self, sequence: u64, number: u64) {
        let emptied = self.recovery_word(self.geo.segment(number).plus(segment::EMPTIED));
        let pointer = SegmentPointer {
            emptied,
            ..self.pointer(sequence)
        };
        self.mem.copy_in(
            self.geo.slot(sequence).plus(slot::PAYLOAD),
            pointer.as_bytes(),
        );
    }

    fn make_hole(&self, sequence: u64) {
        let hole = OwnedWord::slot(self.geo.lap(sequence), OwnerId(0), SlotState::Aborted);
        self.set(self.geo.slot(sequence).plus(slot::WORD), hole.0);
        self.follow(sequence);
    }

    /// The reservation word follows the slot's.
    fn follow(&self, sequence: u64) {
        let taken = OwnedWord::slot(self.geo.lap(sequence), OwnerId(0), SlotState::Taken);
        self.set(self.geo.reservation(sequence), taken.0);
    }

    /// Full up to the last message in them, and held by nobody.
    fn recover_segments(&self, used: &[u64]) {
        for (number, &used) in (0..).zip(used) {
            let entry = self.geo.segment(number);
            let bump = if used > 0 { self.geo.segment_size() } else { 0 };
            let state = OwnedWord(self.recovery_word(entry.plus(segment::STATE)));
            self.set(entry.plus(segment::BUMP), bump);
            self.set(entry.plus(segment::USED_UNTIL), used);
            let open = state.with_state(EntryState::Closing);
            self.set(entry.plus(segment::STATE), open.0);
        }
    }

    /// Frees a group that nobody would have kept. True: this one stays.
    fn keeps_group(&self, id: GroupId) -> bool {
        let state = self.group_state(id);
        if state.entry_state() == Some(EntryState::Live) && !self.is_ephemeral(id) {
            return true;
        }
        let free = state.with_state(EntryState::Free);
        self.set(self.geo.group(id).plus(group::STATE), free.0);
        false
    }

    /// A group is on the disk before it is live.
    fn check_group(&self, id: GroupId) -> Result<(), Damage> {
        let check = |field, range: std::ops::RangeInclusive<u64>, expected| {
            let offset = self.geo.group(id).plus(field);
            let found = self.recovery_word(offset);
            if range.contains(&found) {
                Ok(())
            } else {
                Err(Damage {
                    offset,
                    found,
                    expected,
                })
            }
        };
        check(group::FLAGS, 0..=7, "flags of a group")?;
        check(
            group::NAME_LENGTH,
            1..=NAME_MAX as u64,
            "the length of a group's name",
        )?;
        check(
            group::MAX_DELIVERIES,
            0..=u64::from(u8::MAX),
            "a number of deliveries",
        )?;
        let longest = if self.is_exclusive(id) {
            0
        } else {
            ACK_TIMEOUT_MAX_MS
        };
        check(group::ACK_TIMEOUT, 0..=longest, "a time to ack in, in ms")
    }

    fn recover_group(&self, id: GroupId, until: u64) {
        let from = self.window(until).start;
        let exclusive = self.is_exclusive(id);
        let word = |field| self.geo.group(id).plus(field);
        let mut floor = self.recovery_word(word(group::FLOOR)).clamp(from, until);
        let start = self.recovery_word(word(group::START)).min(until);
        for sequence in from..until {
            let lap = self.geo.lap(sequence);
            let kept = self.load_slot(sequence).1 == SlotView::Published;
            let offset = self.geo.claim(id, sequence);
            let claim = ClaimWord(self.recovery_word(offset));
            let recovered = match claim.state_in(lap) {
                // On a hole anything but this would keep the floor back.
                _ if !kept => 0,
                // The floor may be of a later moment than what it has passed.
                _ if !exclusive && (start..floor).contains(&sequence) => {
                    ClaimWord::new(lap, 0, OwnerId(0), ClaimState::Done).0
                }
                Some(ClaimState::Claimed | ClaimState::Opened) if !exclusive => {
                    claim.with_state(ClaimState::Ready).0
                }
                // In an exclusive group `Opened` is an attempt that has been counted.
                Some(state) if state != ClaimState::Never => claim.0,
                _ => 0,
            };
            self.set(offset, recovered);
        }
        for sequence in self.never_taken(until) {
            self.set(self.geo.claim(id, sequence), 0);
        }
        // A cursor would pass holes too, but there may be no consumer, and producers wait for its floor.
        while floor < until && self.is_settled(id, floor) {
            floor += 1;
        }
        self.set(word(group::FLOOR), floor);
        let opened = self.recovery_word(word(group::OPENED)).clamp(floor, until);
        self.set(word(group::OPENED), opened);
        self.set(word(group::HEAD), floor);
        self.set(word(group::READY), ReadyHint(0).lowered_to(floor).0);
        self.set(word(group::START), start);
        let owner = OwnedWord(self.recovery_word(word(group::OWNER)));
        self.set(word(group::OWNER), owner.with_state(EntryState::Free).0);
        self.clear_leases(id, until);
    }

    /// Nobody is attached, syncs, or is the only producer; nothing sleeps.
    fn free_participants(&self) {
        for id in self.geo.participant_ids() {
            let entry = self.geo.participant(id);
            let state = OwnedWord(self.recovery_word(entry.plus(participant::STATE)));
            for field in [
                participant::MEMBER_OF,
                participant::PRODUCES,
                participant::PUBLISHED,
            ] {
                self.set(entry.plus(field), 0);
            }
            let free = state.with_state(EntryState::Free);
            self.set(entry.plus(participant::STATE), free.0);
        }
        for offset in [control::SOLE, control::SYNCER] {
            let found = OwnedWord(self.recovery_word(offset));
            self.set(offset, found.with_state(EntryState::Free).0);
        }
        for offset in [
            control::WAITING,
            control::SPACE_WAITING,
            control::LAST_PROBE,
        ] {
            self.set(offset, 0);
        }
    }

    /// Every slot of the lap is taken.
    fn recover_rest(&self, until: u64) {
        self.free_participants();
        // FINISHED without STARTED would say of a sync that it is over before it begins.
        for offset in [
            control::STARTED,
            control::FINISHED,
            control::POISONED,
            control::SYNCED_VIEW,
        ] {
            self.set(offset, 0);
        }
        self.set(control::TAIL, until);
        if self.durable {
            self.set(control::UNTIL_LIVE, until);
            self.set(control::DURABLE, until);
        }
    }

    /// Sequences taken, but for these, are messages published.
    fn count_aborted(&self, holes: u64, until: u64) {
        let before = self.recovery_word(control::ABORTED);
        // A recovery that was interrupted may have counted them already.
        let most = until - self.geo.shape().first_sequence;
        self.set(control::ABORTED, before.saturating_add(holes).min(most));
    }

    fn note_recovery(&self, found: &Recovered) {
        self.set(control::RECOVERED, found.records);
        self.set(control::TORN, found.torn);
        self.set(control::MISSING, found.missing + found.dropped);
        self.set(control::FOUND_CLEAN, found.clean.into());
    }

    fn recovery_word(&self, offset: Offset) -> u64 {
        // ORDERING: Relaxed; nobody else is attached.
        self.word(offset).load(Ordering::Relaxed)
    }

    /// Stores also what stands there already: it may be in memory only, since the recovery before this could not sync.
    fn set(&self, offset: Offset, value: u64) {
        // ORDERING: Relaxed; nobody else is attached.
        self.word(offset).store(value, Ordering::Relaxed);
    }
}

/// What there is at a sequence.
enum Slot {
    Whole,
    Torn,
    Hole,
    Nothing,
}

fn plausible(laps: i64) -> u64 {
    if (1..LAPS_PLAUSIBLE).contains(&laps) {
        laps.unsigned_abs()
    } else {
        0
    }
}

/// The same, of any file's words.
pub(crate) fn recovered_in(word: impl Fn(Offset) -> u64) -> Option<Option<[u8; 16]>> {
    let check = word(control::BOOT_CHECK);
    if check == 0 {
        return None;
    }
    let boot = boot_of([control::BOOT_FIRST, control::BOOT_SECOND].map(&word));
    Some((check == boot_check(word(control::EPOCH), &boot)).then_some(boot))
}

/// What stands beside the boot of the last recovery.
pub(crate) fn boot_check(epoch: u64, boot: &[u8; 16]) -> u64 {
    let sum = crc32c::crc32c_append(crc32c::crc32c(&epoch.to_le_bytes()), boot);
    u64::from(sum) | 1 << 32
}

/// A boot of its two words.
pub(crate) fn boot_of(halves: [u64; 2]) -> [u8; 16] {
    let mut boot = [0; 16];
    for (bytes, half) in boot.chunks_exact_mut(8).zip(halves) {
        bytes.copy_from_slice(&half.to_le_bytes());
    }
    boot
}
