//! The packed words: their bits and their states.

use std::collections::BTreeMap;

use slipring::layout::{
    ClaimState, ClaimWord, EntryState, LeaseWord, OwnedWord, OwnerId, ReadyHint, SlotState, word,
};

use crate::page::*;

/// The masks of a word's fields, checked to cover it once.
pub fn bits(heading: &str) -> Vec<(&'static str, u64)> {
    let mut all = 0;
    let mut found = Vec::new();
    for row in table(heading, "| bits | field |") {
        let (high, low) = row[0].split_once("..").unwrap_or((row[0], row[0]));
        let (high, low): (u32, u32) = (high.parse().unwrap(), low.parse().unwrap());
        let mask = u64::MAX >> (63 - high) & u64::MAX << low;
        assert_eq!(all & mask, 0, "{heading}: {} overlaps", row[1]);
        all |= mask;
        found.push((row[1], mask));
    }
    assert_eq!(all, u64::MAX, "{heading} leaves bits out");
    found
}

#[test]
fn the_bits_of_slot_reservation_and_entry_words_are_as_documented() {
    for (heading, tag) in [
        ("### Slot word", "lap"),
        ("### Reservation word", "lap"),
        ("### Entry word", "incarnation"),
    ] {
        let pack = |lap, owner| OwnedWord::slot(lap, OwnerId(owner), SlotState::Empty).0;
        let expected = [
            (tag, pack(u64::MAX, 0)),
            ("owner", pack(0, u16::MAX)),
            ("state", 0xf),
        ];
        assert_eq!(bits(heading), expected, "{heading}");
        let entry = OwnedWord::entry(u64::MAX, OwnerId(u16::MAX), EntryState::Free);
        assert_eq!(entry.0, expected[0].1 | expected[1].1);
        assert_eq!(expected[0].1.count_ones(), word::LAP_BITS);
        assert_eq!(OwnedWord(expected[1].1).owner(), OwnerId(0xfff));
    }
    for raw in 0..u64::from(u8::MAX) {
        let (all, low) = (OwnedWord(raw), OwnedWord(raw & 0xf));
        assert_eq!(all.slot_state(), low.slot_state(), "4 state bits");
    }
}

#[test]
fn the_bits_of_a_claim_word_are_as_documented() {
    let nobody = OwnerId(0);
    let never = ClaimState::Never;
    let expected = [
        ("lap", ClaimWord::new(u64::MAX, 0, nobody, never).0),
        ("attempt", ClaimWord::new(0, u8::MAX, nobody, never).0),
        ("owner", ClaimWord::new(0, 0, OwnerId(u16::MAX), never).0),
        ("state", 0xf),
    ];
    assert_eq!(bits("### Claim word"), expected);
    assert_eq!(ClaimWord(expected[1].1).attempt(), u8::MAX);
    assert_eq!(ClaimWord(expected[2].1).owner(), OwnerId(0xfff));
    assert_eq!(expected[0].1.count_ones(), word::CLAIM_LAP_BITS);
    for raw in 0..u64::from(u8::MAX) {
        let same = ClaimWord(raw & 0xf);
        assert_eq!(ClaimWord(raw).state(), same.state(), "4 state bits");
    }
}

#[test]
fn the_bits_of_a_ready_hint_are_as_documented() {
    let mut version = 0;
    let mut hint = ReadyHint(0);
    // The version wraps without touching the other fields.
    for _ in 0..1 << 16 {
        hint = hint.lowered_to(0).cleared();
        assert!(!hint.is_some());
        version |= hint.0;
    }
    assert_eq!(hint, ReadyHint(0));
    let some = ReadyHint(0).raised_to(0).0;
    let sequence = ReadyHint(0).raised_to(u64::MAX).0 & !some;
    let expected = [("sequence", sequence), ("some", some), ("version", version)];
    assert_eq!(bits("### Ready hint"), expected);
    assert_eq!(sequence.count_ones(), word::READY_BITS);
}

#[test]
fn the_bits_of_a_lease_word_are_as_documented() {
    let claim = |lap, attempt| ClaimWord::new(lap, attempt, OwnerId(0), ClaimState::Never);
    let deadline = LeaseWord::new(u64::MAX, claim(0, 0)).0;
    let attempt = LeaseWord::new(0, claim(0, u8::MAX)).0;
    let lap = LeaseWord::new(0, claim(u64::MAX, 0)).0;
    let expected = [("deadline", deadline), ("attempt", attempt), ("lap", lap)];
    assert_eq!(bits("### Lease word"), expected);
}

/// Numbers and names of the states below a heading.
pub fn documented_states(heading: &str, columns: &str) -> BTreeMap<u64, &'static str> {
    table(heading, columns)
        .iter()
        .map(|row| (number(row[0]), quoted(row[1])))
        .collect()
}

#[test]
fn the_state_numbers_are_as_documented() {
    let columns = "| number | state | meaning |";
    let slot = documented_states("### Slot word", columns);
    let reservation = documented_states("### Reservation word", columns);
    let mut both = slot.clone();
    both.extend(&reservation);
    assert_eq!(both, states(WORD_SOURCE, "SlotState"), "right: the code");
    assert_eq!(slot[&0], reservation[&0]);
    assert!(!slot.values().any(|state| *state == "Taken"));
    let claim = documented_states("### Claim word", columns);
    assert_eq!(claim, states(WORD_SOURCE, "ClaimState"), "right: the code");
    let columns = "| number | state | participant | group | segment | sole, owner |";
    let entry = documented_states("### Entry word", columns);
    assert_eq!(entry, states(WORD_SOURCE, "EntryState"), "right: the code");

    for raw in 0..16 {
        let found = OwnedWord(raw).slot_state().map(|s| format!("{s:?}"));
        assert_eq!(found.as_deref(), both.get(&raw).copied(), "slot {raw}");
        let found = OwnedWord(raw).entry_state().map(|s| format!("{s:?}"));
        assert_eq!(found.as_deref(), entry.get(&raw).copied(), "entry {raw}");
        let found = ClaimWord(raw).state().map(|s| format!("{s:?}"));
        assert_eq!(found.as_deref(), claim.get(&raw).copied(), "claim {raw}");
    }
}

#[test]
fn a_kind_of_entry_has_the_states_the_code_documents_for_it() {
    let columns = "| number | state | participant | group | segment | sole, owner |";
    let doc = table("### Entry word", columns);
    let source = after(WORD_SOURCE, "/// | word | `Free`");
    let rows: Vec<Vec<&str>> = source
        .lines()
        .skip(2)
        .map_while(|line| line.strip_prefix("/// |"))
        .map(|row| row.split(" |").map(str::trim).collect())
        .collect();
    assert_eq!(rows.len(), doc[0].len() - 2, "kinds of entries");
    for (kind, row) in rows.iter().enumerate() {
        for (state, documented) in doc.iter().enumerate() {
            let in_code = row.get(state + 1).is_some_and(|cell| !cell.is_empty());
            let in_doc = !documented[kind + 2].is_empty();
            assert_eq!(in_doc, in_code, "{} as {}", row[0], documented[1]);
        }
    }
}
