//! Threads that die: each access of an operation in turn, and what the next holder of their lock does.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use slipring::layout::{EntryState, OwnedWord, OwnerId, SlotState};
use slipring::ring::{Claim, Claimer, Effort, Swept};

use slipring::sync::Ordering;

use super::Model;

/// Checks `model` with a death before access 0, 1, 2, ... of its operation; it says whether there was one. Ends when there
/// is none any more. `deaths`: how many accesses there were when this was written; fewer would mean that some are lost.
pub fn each_death<F>(preemptions: usize, deaths: u64, model: F)
where
    F: Fn(u64) -> bool + Copy + Send + Sync + 'static,
{
    let mut at = 0;
    loop {
        let died = Arc::new(AtomicBool::new(false));
        let saw = Arc::clone(&died);
        bounded(preemptions, move || {
            if model(at) {
                saw.store(true, Ordering::Relaxed);
            }
        });
        if !died.load(Ordering::Relaxed) {
            break;
        }
        at += 1;
    }
    println!("{at} deaths");
    assert!(at >= deaths, "only {at} accesses to die at");
}

/// Checks a model with a bound of its own on preemptions.
pub fn bounded(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    // Set-up and sweeps count too.
    builder.max_branches = 10_000;
    builder.check(model);
}

impl Model {
    /// A participant comes.
    pub fn enter(&self, id: u16) -> OwnedWord {
        self.ring.join(OwnerId(id)).unwrap()
    }

    /// Its lock was free: what a sweeper does that has got it. The thread that calls this has seen all that the dead one
    /// did; the lock carries that over.
    pub fn bury(&self, id: u16) -> Swept {
        let found = self.ring.participant_state(OwnerId(id));
        if found.entry_state() == Some(EntryState::Live) {
            self.ring.sweep(OwnerId(id), found)
        } else {
            Swept::default()
        }
    }

    pub fn claim(&self, c: &mut Claimer) -> Option<Claim> {
        self.ring.claim(c, true, Effort::Thorough).unwrap()
    }

    /// Whether this sequence's message is in its slot.
    pub fn is_published(&self, sequence: u64) -> bool {
        let geometry = self.ring.geometry();
        let word = self.ring.mem().word(geometry.slot(sequence));
        let word = OwnedWord(word.load(Ordering::Acquire));
        word.slot_state() == Some(SlotState::Published) && word.tag() == geometry.lap(sequence)
    }
}
