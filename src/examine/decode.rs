//! Words of the file in words a person reads: what `verify` found, and what `dump` shows.

use crate::layout::{ClaimState, ClaimWord, EntryState, Geometry, OwnedWord, ReadyHint, SlotState};

/// The sequence for which a word with this lap stands at an index; `None` for a lap before the first.
pub(crate) fn sequence_at(geometry: &Geometry, index: u64, lap: OwnedWord) -> Option<u64> {
    let first = geometry.shape().first_sequence;
    let laps = u64::try_from(lap.laps_ahead_of(geometry.lap(first))).ok()?;
    laps.checked_mul(geometry.capacity())?
        .checked_add(index)?
        .checked_add(first)
}

fn sequence_text(sequence: Option<u64>) -> String {
    sequence.map_or_else(
        || "a lap before the first".to_owned(),
        |sequence| format!("sequence {sequence}"),
    )
}

/// A slot word or a reservation word.
pub(crate) fn slot(geometry: &Geometry, index: u64, raw: u64) -> String {
    let word = OwnedWord(raw);
    let Some(state) = word.slot_state() else {
        return format!("state {}", raw & 15);
    };
    if state == SlotState::Empty {
        return "Empty".to_owned();
    }
    let sequence = sequence_text(sequence_at(geometry, index, word));
    format!("{state:?}, {sequence}, owner {}", word.owner().0)
}

/// A claim word, beside the slot word at its index.
pub(crate) fn claim(geometry: &Geometry, index: u64, raw: u64, slot: u64) -> String {
    let word = ClaimWord(raw);
    let Some(state) = word.state() else {
        return format!("state {}", raw & 15);
    };
    if state == ClaimState::Never {
        return "Never".to_owned();
    }
    let sequence = sequence_text(claimed_at(geometry, index, word, OwnedWord(slot)));
    let owner = if state == ClaimState::Dead {
        "cause"
    } else {
        "owner"
    };
    let (attempt, number) = (word.attempt(), word.owner().0);
    format!("{state:?}, {sequence}, attempt {attempt}, {owner} {number}")
}

/// The sequence a claim word speaks of. A claim's lap has fewer bits than that of the slot word beside it.
pub(crate) fn claimed_at(
    geometry: &Geometry,
    index: u64,
    claim: ClaimWord,
    slot: OwnedWord,
) -> Option<u64> {
    let first = geometry.shape().first_sequence;
    let beside = match slot.slot_state() {
        Some(SlotState::Empty) | None => first + index,
        Some(_) => sequence_at(geometry, index, slot)?,
    };
    let laps = claim.laps_ahead_of(geometry.lap(beside));
    let distance = laps.unsigned_abs().checked_mul(geometry.capacity())?;
    if laps < 0 {
        beside.checked_sub(distance).filter(|&found| found >= first)
    } else {
        beside.checked_add(distance)
    }
}

/// An entry word.
pub(crate) fn entry(raw: u64) -> String {
    let word = OwnedWord(raw);
    match word.entry_state() {
        Some(EntryState::Free) if raw == 0 => "Free".to_owned(),
        Some(state) => format!(
            "{state:?}, incarnation {}, owner {}",
            word.tag(),
            word.owner().0
        ),
        None => format!("state {}", raw & 15),
    }
}

/// A ready hint of a group whose floor or head is `near`.
pub(crate) fn ready(raw: u64, near: u64) -> String {
    let hint = ReadyHint(raw);
    if hint.is_some() {
        format!("from sequence {}", hint.sequence(near))
    } else {
        "nothing".to_owned()
    }
}
