//! The demonstration with workers that are killed: at random instants one of them gets a kill -9, and another takes its
//! post a moment later. Whatever they had said is judged in the end.
//!
//! `supervisor` leads, `worker` is what they run, `judge` says whether anything went missing, `report` prints it; `spans`
//! and `dice` are sets and random numbers.

mod dice;
mod judge;
mod report;
mod spans;
mod supervisor;
pub mod worker;

use std::time::Duration;

pub use supervisor::run;

/// Bytes of a slot. The longer it takes to fill one, the more often death strikes in the middle.
const SLOT: u64 = 8 << 10;
/// Bytes of the longest message, unless all are asked to be longer. Beyond a slot, they go through the arena.
const LARGEST: u64 = 64 << 10;

/// What is to happen.
#[derive(Clone, Copy, Debug)]
pub struct Chaos {
    /// Decides who is killed when, and what everybody does.
    pub seed: u64,
    /// How long the killing goes on.
    pub lasts: Duration,
    pub kills_per_second: f64,
}
