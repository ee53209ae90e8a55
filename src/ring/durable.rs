//! What the disk has, and who sees to it that it has more.
//!
//! After a power loss any page of the file may be of any moment since the last sync that ended well. So two words bound
//! what there can be, whatever was lost. `UNTIL_DISK`: no sequence at or above it was ever published; it is stored before
//! a sync. `UNTIL_LIVE`: where producers stop; it follows when that sync has ended. Neither is more than a lap above what
//! every group had settled when it was chosen, so the lap below `UNTIL_DISK` holds all that is not settled, and recovery
//! looks at nothing else. Nor is it more than half a lap above the tail: what lies between becomes holes then, and takes
//! room until all groups have passed it.
//!
//! One participant syncs at a time, the owner of `SYNCER`; who dies in it is swept, and whoever waits takes over. A
//! message is on the disk when a sync that began after its commit has ended: its publisher reads `STARTED` after the
//! commit, and waits until `FINISHED` is above that. All who wait while one sync runs are served by the next one.
//!
//! A sync that failed is not tried again: the kernel may have given up the pages, and would say that all is well.

use super::{Channel, Publisher, Ring, SlotView, Stuck, Wake};
use crate::layout::geometry::control;
use crate::layout::{EntryState, OwnedWord, OwnerId};
use crate::sync::{Ordering, fence};

/// Makes all that was stored in the queue before stable. The operating system's, or a model's.
pub trait Disk {
    /// Does so.
    ///
    /// # Errors
    /// The error's number, never 0; nothing is known then of what the disk has.
    fn sync(&self) -> Result<(), u64>;

    /// Now, in nanoseconds. In a model time stands still, and nobody waits for others.
    fn clock_ns(&self) -> u64 {
        0
    }

    /// Lets others run for a moment.
    fn give_way(&self) {}
}

/// A sync has failed, here or elsewhere: nothing more gets durable. The number of the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Poisoned(pub u64);

impl Ring {
    /// The same ring, of a queue whose producers stop where the disk says.
    #[must_use]
    pub fn durable(mut self, durable: bool) -> Self {
        self.durable = durable;
        self
    }

    /// Whether producers stop where the disk says.
    pub fn is_durable(&self) -> bool {
        self.durable
    }

    /// How far a producer may go that the groups let go so far.
    pub(super) fn clamp_to_disk(&self, limit: u64) -> u64 {
        if !self.durable {
            return limit;
        }
        // ORDERING: Acquire; pairs with end_sync's raise; the disk has UNTIL_DISK; model reserved_below_until_disk.
        limit.min(self.word(control::UNTIL_LIVE).load(Ordering::Acquire))
    }

    /// Why a producer that has refreshed its limit gets no further.
    pub fn why_stuck(&self, p: &Publisher) -> Stuck {
        if p.next < p.lowest.saturating_add(self.geo.capacity()) {
            Stuck::Unsynced
        } else {
            Stuck::Full
        }
    }

    /// What to wait for after a commit or an ack: see [`Self::is_synced`].
    pub fn sync_ticket(&self) -> u64 {
        self.ask_for_sync();
        // ORDERING: SeqCst fence; pairs with begin_sync's; either that sync has our commit, or we see that it has begun;
        // model confirmed_is_on_the_disk.
        fence(Ordering::SeqCst);
        // ORDERING: Relaxed; after the fence.
        self.word(control::STARTED).load(Ordering::Relaxed)
    }

    /// Whether the disk has all that was stored before the ticket was taken.
    pub fn is_synced(&self, ticket: u64) -> bool {
        // ORDERING: Acquire; pairs with end_sync's raise; the sync is over; model confirmed_is_on_the_disk.
        self.word(control::FINISHED).load(Ordering::Acquire) > ticket
    }

    /// # Errors
    /// A sync has failed.
    pub fn check_poison(&self) -> Result<(), Poisoned> {
        // ORDERING: Relaxed; who syncs looks at it behind SYNCER; for others it only comes earlier or later.
        match self.word(control::POISONED).load(Ordering::Relaxed) {
            0 => Ok(()),
            error => Err(Poisoned(error)),
        }
    }

    /// Everything below is on the disk.
    pub fn durable_until(&self) -> u64 {
        // ORDERING: Relaxed; for people, and for where to begin to look.
        self.word(control::DURABLE).load(Ordering::Relaxed)
    }

    /// Syncs, unless somebody else is at it (false). All that was stored before is then on the disk.
    ///
    /// # Errors
    /// This sync or an earlier one failed.
    pub fn try_sync(&self, p: &mut Publisher, disk: &impl Disk) -> Result<bool, Poisoned> {
        let Some(mine) = self.take_syncer(p.owner) else {
            return Ok(false);
        };
        let done = self.check_poison().and_then(|()| {
            let served = self.gather(disk);
            let begun = self.begin_sync(p);
            let since = disk.clock_ns();
            match disk.sync() {
                Ok(()) => {
                    self.end_sync(begun);
                    self.expect_again(served, disk.clock_ns().saturating_sub(since));
                    Ok(true)
                }
                Err(error) => {
                    // ORDERING: Relaxed; stands before SYNCER is free.
                    self.word(control::POISONED).store(error, Ordering::Relaxed);
                    Err(Poisoned(error))
                }
            }
        });
        self.free_syncer(mine);
        done
    }

    /// The same, if anything has changed since the last call of anybody that synced.
    ///
    /// # Errors
    /// As there.
    pub fn sync_if_changed(&self, p: &mut Publisher, disk: &impl Disk) -> Result<bool, Poisoned> {
        let view = self.view();
        let word = self.word(control::SYNCED_VIEW);
        // ORDERING: Relaxed; a view of before costs a sync.
        if word.load(Ordering::Relaxed) == view || !self.try_sync(p, disk)? {
            return Ok(false);
        }
        // ORDERING: Relaxed; as above.
        word.store(view, Ordering::Relaxed);
        Ok(true)
    }

    /// A number that differs whenever messages or claims do.
    fn view(&self) -> u64 {
        let tail = self.true_tail();
        let mut view = mixed(0, tail);
        for id in self.geo.group_ids() {
            let state = self.group_state(id);
            view = mixed(view, state.0);
            if state.entry_state() != Some(EntryState::Live) {
                continue;
            }
            let open = self.first_open(id);
            view = mixed(view, open);
            for sequence in open..tail.min(open.saturating_add(self.geo.capacity())) {
                // ORDERING: Relaxed; true at some moment.
                let claim = self.claim_word(id, sequence).load(Ordering::Relaxed);
                view = mixed(view, claim);
            }
        }
        // Never what a new file has.
        view | 1
    }

    fn take_syncer(&self, owner: OwnerId) -> Option<OwnedWord> {
        let word = self.word(control::SYNCER);
        // ORDERING: Relaxed; the CAS below says whether it still stands.
        let found = OwnedWord(word.load(Ordering::Relaxed));
        let mine = OwnedWord::entry(found.tag() + 1, owner, EntryState::Live);
        (found.entry_state() == Some(EntryState::Free)
            // ORDERING: Acquire; pairs with free_syncer's Release; whether the last sync failed; model a_failed_sync_is_the_last.
            && word.replace(found.0, mine.0, Ordering::Acquire))
        .then_some(mine)
    }

    fn free_syncer(&self, held: OwnedWord) {
        let free = held.with_state(EntryState::Free);
        // ORDERING: Release; pairs with take_syncer's Acquire; whether the sync failed; model a_failed_sync_is_the_last.
        let _swept = self
            .word(control::SYNCER)
            .replace(held.0, free.0, Ordering::Release);
    }

    /// Lets others sync, if `dead` was at it: theirs starts anew.
    pub(super) fn sweep_syncer(&self, dead: OwnerId) {
        // ORDERING: Relaxed; what the dead one did is ours by its lock.
        let found = OwnedWord(self.word(control::SYNCER).load(Ordering::Relaxed));
        if found.entry_state() == Some(EntryState::Live) && found.owner() == dead {
            self.free_syncer(found);
        }
    }

    /// Who is in the way of who waits for a sync.
    pub fn suspect_of_sync(&self) -> Option<OwnerId> {
        // ORDERING: Relaxed; a guess.
        let found = OwnedWord(self.word(control::SYNCER).load(Ordering::Relaxed));
        (found.entry_state() == Some(EntryState::Live)).then_some(found.owner())
    }

    fn begin_sync(&self, p: &mut Publisher) -> Begun {
        // ORDERING: Relaxed; only the owner of SYNCER writes it; the fence below is what publishers meet.
        let number = self.word(control::STARTED).add(1, Ordering::Relaxed) + 1;
        // ORDERING: SeqCst fence; pairs with sync_ticket's; the sync has all that was committed before; model
        // confirmed_is_on_the_disk without refresh_limit's fence.
        fence(Ordering::SeqCst);
        self.refresh_limit(p);
        let ahead = self.true_tail().saturating_add(self.ahead_of_tail());
        let until = ahead.min(p.lowest.saturating_add(self.geo.capacity()));
        let durable = self.whole_until();
        // ORDERING: Relaxed; what the sync, a system call, then makes stable.
        self.word(control::UNTIL_DISK)
            .raise(until, Ordering::Relaxed);
        Begun {
            number,
            until,
            durable,
        }
    }

    /// How far beyond the tail producers may go before the next sync.
    pub fn ahead_of_tail(&self) -> u64 {
        self.geo.capacity() / 2
    }

    fn end_sync(&self, begun: Begun) {
        // ORDERING: Release; pairs with clamp_to_disk's Acquire; UNTIL_DISK is on the disk; model reserved_below_until_disk.
        self.word(control::UNTIL_LIVE)
            .raise(begun.until, Ordering::Release);
        // ORDERING: Relaxed; for people, and for where to begin to look.
        self.word(control::DURABLE)
            .raise(begun.durable, Ordering::Relaxed);
        // ORDERING: Release; pairs with is_synced's Acquire; the sync is over; model confirmed_is_on_the_disk.
        self.word(control::FINISHED)
            .raise(begun.number, Ordering::Release);
    }

    /// Every slot below it holds a message, or a hole.
    fn whole_until(&self) -> u64 {
        let lap_below = self.tail_hint().saturating_sub(self.geo.capacity());
        let mut sequence = self.durable_until().max(lap_below);
        // Bound: `turns`; nothing is published more than a lap above the lowest floor.
        for _ in self.turns() {
            match self.load_slot(sequence).1 {
                SlotView::Published | SlotView::Aborted | SlotView::Lapped { .. } => sequence += 1,
                SlotView::Empty | SlotView::Earlier(_) | SlotView::Unknown => break,
            }
        }
        sequence
    }

    /// After a sync, or its failure: wakes all who wait for one.
    pub fn wake_synced(&self, waker: &impl Wake) {
        let event = self.event(Channel::Synced);
        // ORDERING: Release; pairs with prepare's Acquire; the sync is over, and SYNCER free; model synced_then_sleep.
        event.bump(Ordering::Release);
        waker.wake(event, i32::MAX);
    }
}

fn mixed(view: u64, word: u64) -> u64 {
    (view.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// A sync under way.
struct Begun {
    number: u64,
    until: u64,
    durable: u64,
}
