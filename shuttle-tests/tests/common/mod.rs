//! What an execution is made of.

pub mod actors;
pub mod ledger;
pub mod lives;
pub mod schedule;
#[allow(dead_code, reason = "the enumeration uses the rest")]
#[path = "../../../tests/enumerate/words.rs"]
pub mod words;
