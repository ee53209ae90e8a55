//! The words of a queue file, read from outside: what must hold of them when nobody is in the middle of anything.

use std::fs::File;
use std::os::unix::fs::FileExt;

use slipring::Geometry;
use slipring::layout::geometry::{control, group, participant, segment};
use slipring::layout::{
    ClaimState, ClaimWord, EntryState, GroupId, Offset, OwnedWord, OwnerId, ReadyHint, SlotState,
};

const EXCLUSIVE: u64 = 1;
const EPHEMERAL: u64 = 2;

/// A copy of a queue's bytes.
pub struct Words<'g> {
    geometry: &'g Geometry,
    bytes: Vec<u8>,
}

impl<'g> Words<'g> {
    pub fn read(file: &File, geometry: &'g Geometry) -> Self {
        let mut bytes = vec![0; geometry.file_size() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        Self { geometry, bytes }
    }

    /// What tells two states of a queue apart: all but clocks.
    pub fn essence(mut self) -> Vec<u8> {
        let clocks = self
            .geometry
            .participant_ids()
            .map(|id| self.geometry.participant(id).plus(participant::ATTACHED_NS))
            .chain([control::LAST_PROBE]);
        for clock in clocks.collect::<Vec<_>>() {
            let at = clock.0 as usize;
            self.bytes[at..at + 8].fill(0);
        }
        self.bytes
    }

    fn word(&self, offset: Offset) -> u64 {
        let at = offset.0 as usize;
        u64::from_le_bytes(self.bytes[at..at + 8].try_into().unwrap())
    }

    fn owned(&self, offset: Offset) -> OwnedWord {
        OwnedWord(self.word(offset))
    }

    fn group(&self, id: GroupId, field: u64) -> u64 {
        self.word(self.geometry.group(id).plus(field))
    }

    fn participant(&self, id: OwnerId, field: u64) -> u64 {
        self.word(self.geometry.participant(id).plus(field))
    }

    /// Owners of slots that are being written.
    pub fn open_reservations(&self) -> Vec<OwnerId> {
        let indices = 0..self.geometry.capacity();
        let open = indices.filter_map(|index| {
            let taken = self.owned(self.geometry.reservation(index));
            let slot = self.owned(self.geometry.slot(index));
            let behind =
                slot.slot_state() == Some(SlotState::Empty) || slot.laps_ahead_of(taken.tag()) < 0;
            (taken.slot_state() == Some(SlotState::Taken) && behind).then_some(taken.owner())
        });
        open.collect()
    }

    /// A message is published, and the tail has not been raised beyond it.
    pub fn tail_lags(&self) -> bool {
        let tail = self.word(control::TAIL);
        let slot = self.owned(self.geometry.slot(tail));
        slot.slot_state() == Some(SlotState::Published)
            && slot.laps_ahead_of(self.geometry.lap(tail)) == 0
    }

    pub fn living(&self) -> Vec<OwnerId> {
        let ids = self.geometry.participant_ids();
        ids.filter(|&id| {
            let state = OwnedWord(self.participant(id, participant::STATE));
            state.entry_state() == Some(EntryState::Live)
        })
        .collect()
    }

    /// Nobody is in the middle of anything, and the dead are swept: every word is at rest or names a living one, and no
    /// hint exceeds the truth (I6).
    pub fn check(&self) {
        let living = self.living();
        let alive = |word: OwnedWord| living.contains(&word.owner());
        assert_eq!(self.open_reservations(), [], "slots being written");
        let sole = self.owned(control::SOLE);
        assert!(
            sole.entry_state() == Some(EntryState::Free) || alive(sole),
            "the sole producer {sole:?}"
        );
        for id in self.geometry.participant_ids() {
            let fields = [participant::MEMBER_OF, participant::PRODUCES];
            let used = fields.map(|field| self.participant(id, field)) != [0, 0];
            assert!(!used || living.contains(&id), "{id:?} left words behind");
        }
        for number in 0..self.geometry.segment_count() {
            let state = self.owned(self.geometry.segment(number).plus(segment::STATE));
            let held = state.entry_state() == Some(EntryState::Live);
            assert!(!held || alive(state), "segment {number}: {state:?}");
        }
        let tail = self.word(control::TAIL);
        for sequence in self.lap_below(tail) {
            assert!(self.is_taken(sequence), "tail {tail}, {sequence} is free");
        }
        for id in self.geometry.group_ids() {
            self.check_group(id, &living);
        }
    }

    fn lap_below(&self, end: u64) -> std::ops::Range<u64> {
        let first = self.geometry.shape().first_sequence;
        end.saturating_sub(self.geometry.capacity()).max(first)..end
    }

    fn is_taken(&self, sequence: u64) -> bool {
        let lap = self.geometry.lap(sequence);
        [
            self.geometry.reservation(sequence),
            self.geometry.slot(sequence),
        ]
        .into_iter()
        .any(|offset| {
            let word = self.owned(offset);
            word.slot_state() != Some(SlotState::Empty) && word.laps_ahead_of(lap) >= 0
        })
    }

    /// Aborted, or long reused.
    fn is_passed_over(&self, sequence: u64) -> bool {
        let slot = self.owned(self.geometry.slot(sequence));
        let ahead = slot.laps_ahead_of(self.geometry.lap(sequence));
        let aborted = slot.slot_state() == Some(SlotState::Aborted) && ahead == 0;
        let reused = slot.slot_state() != Some(SlotState::Empty) && ahead > 0;
        aborted || reused
    }

    fn check_group(&self, id: GroupId, living: &[OwnerId]) {
        let state = OwnedWord(self.group(id, group::STATE));
        let has_members = living
            .iter()
            .any(|&member| self.participant(member, participant::MEMBER_OF) & id.bit() != 0);
        let flags = self.group(id, group::FLAGS);
        match state.entry_state() {
            Some(EntryState::Free) => return,
            Some(EntryState::Live) => assert!(
                flags & EPHEMERAL == 0 || has_members || living.contains(&state.owner()),
                "{id:?} is ephemeral and nobody's"
            ),
            Some(EntryState::Closing) => assert!(has_members, "{id:?} is closing for ever"),
            other => panic!("{id:?} is {other:?}"),
        }
        if flags & EXCLUSIVE == 0 {
            self.check_claims(id, living);
        } else {
            let owner = OwnedWord(self.group(id, group::OWNER));
            let held = owner.entry_state() == Some(EntryState::Live);
            assert!(
                !held || living.contains(&owner.owner()),
                "{id:?} is {owner:?}'s"
            );
        }
    }

    fn check_claims(&self, id: GroupId, living: &[OwnerId]) {
        let [floor, head, ready] =
            [group::FLOOR, group::HEAD, group::READY].map(|f| self.group(id, f));
        let claim = |sequence| {
            let word = ClaimWord(self.word(self.geometry.claim(id, sequence)));
            (word, word.state_in(self.geometry.lap(sequence)))
        };
        let start = self.group(id, group::START);
        for sequence in self.lap_below(floor.max(head)).filter(|&s| s >= start) {
            let (word, state) = claim(sequence);
            // `None`: of a later lap, so settled in this one.
            let settled = matches!(state, Some(ClaimState::Done) | None);
            let passed = settled || self.is_passed_over(sequence);
            assert!(
                sequence >= floor || passed,
                "{id:?}: floor {floor}, {sequence} is {word:?}"
            );
            assert!(
                sequence >= head || passed || state != Some(ClaimState::Never),
                "{id:?}: head {head}, {sequence} is {word:?}"
            );
        }
        let hint = ReadyHint(ready);
        for sequence in floor..floor + self.geometry.capacity() {
            match claim(sequence) {
                (word, Some(ClaimState::Claimed | ClaimState::Opened)) => assert!(
                    living.contains(&word.owner()),
                    "{id:?}: {sequence} is {word:?}"
                ),
                (word, Some(ClaimState::Ready)) => assert!(
                    hint.is_some() && hint.sequence(floor) <= sequence,
                    "{id:?}: {sequence} is {word:?}, not hinted in {hint:?}"
                ),
                _ => {}
            }
        }
    }
}
