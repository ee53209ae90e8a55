//! How long a sync waits for company.
//!
//! Those whom a sync has served publish again, and would find the next one begun by those who came during it: half of them
//! would always wait for the sync of the other half, and then for their own. So a syncer waits until as many have come
//! again as the last sync served, besides those who were waiting when it ended; but no longer than a part of the time that
//! one took. Who is alone is never waited for: the one it served is the one that begins the next.
//!
//! All of it is a guess. The words are not ordered against anything, a recovery leaves them as they are, and what they say
//! wrongly, scribbled or of another time, costs a wait of `GATHER_NS_MAX` before the next sync sets them right. Who dies
//! while it waits holds `SYNCER`, as one that dies in its sync does.

use super::{Disk, Ring};
use crate::layout::geometry::control;
use crate::sync::Ordering;

/// The last sync's time by the longest wait. A half gathers no more than a quarter here, and costs twice as much in vain.
const PART: u64 = 4;
/// The longest wait, whatever the last sync took.
const GATHER_NS_MAX: u64 = 2_000_000;

impl Ring {
    /// Somebody begins to wait for a sync.
    pub(super) fn ask_for_sync(&self) {
        // ORDERING: Relaxed; a guess.
        self.word(control::ASKED).add(1, Ordering::Relaxed);
    }

    /// Waits for whom the last sync served. Returns how many there are for the next one.
    pub(super) fn gather(&self, disk: &impl Disk) -> u64 {
        // ORDERING: Relaxed; a guess.
        let expected = self.word(control::EXPECTED).load(Ordering::Relaxed);
        // ORDERING: Relaxed; a guess.
        let took = self.word(control::SYNC_NS).load(Ordering::Relaxed);
        let most = (took / PART).min(GATHER_NS_MAX);
        let since = disk.clock_ns();
        // Bound: `most`.
        let asked = loop {
            // ORDERING: Relaxed; a guess.
            let asked = self.word(control::ASKED).load(Ordering::Relaxed);
            if asked >= expected || disk.clock_ns().saturating_sub(since) >= most {
                break asked;
            }
            disk.give_way();
        };
        // ORDERING: Relaxed; a guess.
        let covered = self.word(control::COVERED).load(Ordering::Relaxed);
        // ORDERING: Relaxed; a guess.
        self.word(control::COVERED).store(asked, Ordering::Relaxed);
        asked.saturating_sub(covered)
    }

    /// After a sync that served so many, and took so long.
    pub(super) fn expect_again(&self, served: u64, took_ns: u64) {
        // ORDERING: Relaxed; a guess.
        let asked = self.word(control::ASKED).load(Ordering::Relaxed);
        // ORDERING: Relaxed; a guess.
        self.word(control::EXPECTED)
            .store(asked.saturating_add(served), Ordering::Relaxed);
        // ORDERING: Relaxed; a guess.
        self.word(control::SYNC_NS)
            .store(took_ns, Ordering::Relaxed);
    }
}
