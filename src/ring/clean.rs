//! Whether the last to leave a durable queue left it in order, so that a reboot need not be feared like a power loss: the
//! word `CLEAN`.
//!
//! | word | stored by | what it says |
//! |---|---|---|
//! | 0, in use | an attacher, when the disk has 2; a leaver that is not the last | the disk does not have 1 |
//! | 1, marked | the last to leave, when the disk has all the rest | if the disk has it, then so does all the rest |
//! | 2, opening | an attacher, before it changes anything | the disk may have 1, and nothing has changed since |
//! | 3, closing | a leaver, before it looks whether it is the last | the disk does not have 1 |
//!
//! It is only stored under the recovery lock. An attacher takes its participant's lock, then reads the word; a leaver
//! stores 3, then looks for locks: so one of the two sees the other. An attacher that finds anything but 0 takes the
//! recovery lock, which waits for the leaver, and then the mark back. Who dies in between leaves a word that is not 0, or
//! a disk that does not have 1. A sync that fails while a mark is taken back may be tried again, unlike others: there is
//! one page to write, and the word is stored anew before.

use super::{Disk, Publisher, Ring};
use crate::layout::geometry::control;
use crate::layout::{EntryState, OwnedWord, OwnerId};
use crate::sync::{Ordering, fence};

const IN_USE: u64 = 0;
const MARKED: u64 = 1;
const OPENING: u64 = 2;
const CLOSING: u64 = 3;

impl Ring {
    /// For an attacher that has its participant's lock, and has changed nothing: whether it may. Otherwise there is a mark
    /// to be taken back.
    pub fn is_in_use(&self) -> bool {
        // ORDERING: SeqCst fence; pairs with leave_marked's; the leaver sees our lock, or we its word; model
        // the_last_to_leave_and_the_next.
        fence(Ordering::SeqCst);
        // ORDERING: Acquire; pairs with begin_use's Release; the disk does not have the mark; model two_attach.
        self.word(control::CLEAN).load(Ordering::Acquire) == IN_USE
    }

    /// Whether the mark is set. The caller holds the recovery lock, or is only curious.
    pub fn is_marked(&self) -> bool {
        // ORDERING: Relaxed; the lock carries the rest.
        self.word(control::CLEAN).load(Ordering::Relaxed) == MARKED
    }

    /// Takes the mark back, if there may be one. The caller holds the recovery lock.
    ///
    /// # Errors
    /// The sync's error number. The disk may have the mark, so the queue must be left as it is.
    pub fn begin_use(&self, disk: &impl Disk) -> Result<(), u64> {
        let word = self.word(control::CLEAN);
        // ORDERING: Relaxed; the lock carries the rest.
        if word.load(Ordering::Relaxed) == IN_USE {
            return Ok(());
        }
        // ORDERING: Relaxed; what the sync, a system call, then makes stable.
        word.store(OPENING, Ordering::Relaxed);
        disk.sync()?;
        // ORDERING: Release; pairs with is_in_use's Acquire; the disk does not have the mark; model two_attach.
        word.store(IN_USE, Ordering::Release);
        Ok(())
    }

    /// Leaves the queue marked, if nobody else is there; `others` looks for their locks. False: it has not left. The caller
    /// holds the recovery lock, and lets its own go first.
    pub fn leave_marked(
        &self,
        p: &mut Publisher,
        held: OwnedWord,
        disk: &impl Disk,
        others: impl FnOnce() -> bool,
    ) -> bool {
        let word = self.word(control::CLEAN);
        // ORDERING: Relaxed; with the fence: either we see an attacher's lock, or it sees this.
        word.store(CLOSING, Ordering::Relaxed);
        // ORDERING: SeqCst fence; pairs with is_in_use's; model the_last_to_leave_and_the_next.
        fence(Ordering::SeqCst);
        let last = !others() && self.is_sole_entry(p.owner);
        if !last || self.try_sync(p, disk) != Ok(true) {
            // ORDERING: Relaxed; the disk has not had the mark since we attached.
            word.store(IN_USE, Ordering::Relaxed);
            return false;
        }
        // ORDERING: Relaxed; what the sync, a system call, then makes stable.
        word.store(MARKED, Ordering::Relaxed);
        self.leave(p.owner, held);
        // If it fails there is no mark, or there is one; both are true.
        let _marked = disk.sync();
        true
    }

    /// Marks a queue that is being made, and is on the disk before it has a name.
    pub fn mark_new(&self) {
        // ORDERING: Relaxed; the file has no name yet.
        self.word(control::CLEAN).store(MARKED, Ordering::Relaxed);
    }

    /// What the dead leave behind would be there after a reboot.
    fn is_sole_entry(&self, me: OwnerId) -> bool {
        let is_free = |id| self.participant_state(id).entry_state() == Some(EntryState::Free);
        self.geo.participant_ids().all(|id| id == me || is_free(id))
    }
}
