//! Sleeping and waking without lost wake-ups, and without a system call when nobody sleeps.
//!
//! A waiter reads the event, says so in the shared bit, fences, looks once more, and sleeps only if the event has not
//! moved. A publisher, after its commit, reads the bits; for each set one it bumps the event and wakes one sleeper; if
//! there was none it clears the bit, bumps again and wakes all, so that a waiter that set its bit just before the
//! clear sees a new event. A waiter never clears the bit, so a dead one leaves nothing behind. Every sleep is bounded
//! besides: a process can die between commit and wake, or after being woken.
//!
//! # Fencing on behalf of others
//! A sole producer's commit and an exclusive group's cursor come with a store that no fence of the CPU follows: a locked
//! instruction would wait for the line, and for all lines before it. Instead the waiter, after setting its bit, makes
//! every process fence (`membarrier` on Linux), and then looks. The fence falls somewhere in the other's code: if before
//! its look at the bits, that sees the bit; if after, the store came before, and the waiter sees it.
//!
//! | who | what then |
//! |---|---|
//! | stores in a process that cannot be made to fence | it said so when it attached, and swaps, as all others do |
//! | waits where it may not make others fence (an old kernel, a filter of system calls) | sleeps a millisecond at most |
//! | becomes the sole producer, or makes an exclusive group, while somebody sleeps who saw none | it has fenced since, and sees the bit |
//! | forks, or runs another program | the child attaches by itself, and says so again |
//! | lives in another container | the kernel is the same, as it is for the locks |
//! | dies, or is paused, in between | nothing; a sleep is bounded |
//!
//! The same with one bit for producers that wait for room; there an ack wakes only if the floor has passed it.

use super::Ring;
use crate::layout::geometry::{control, group};
use crate::layout::{EntryState, GroupId, OwnedWord};
use crate::mem::{Event, Word};
use crate::sync::{Ordering, fence, light_fence};

/// What can be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// A message in a group.
    Data(GroupId),
    /// The end of an exclusive group's active consumer.
    StandBy(GroupId),
    /// Room for a message.
    Space,
    /// The end of a sync.
    Synced,
}

/// Wakes up to so many sleepers on an event; returns how many there were. The operating system's, or a model's.
pub trait Wake {
    /// See the trait.
    fn wake(&self, event: Event<'_>, count: i32) -> u64;
}

impl Ring {
    /// The word sleepers of a channel sleep on.
    pub fn event(&self, channel: Channel) -> Event<'_> {
        self.mem.event(match channel {
            Channel::Data(id) => self.geo.group(id).plus(group::EVENT),
            Channel::StandBy(id) => self.geo.group(id).plus(group::STANDBY_EVENT),
            Channel::Space => control::SPACE_EVENT,
            Channel::Synced => control::SYNC_EVENT,
        })
    }

    fn bit(&self, channel: Channel) -> Option<(Word<'_>, u64)> {
        match channel {
            Channel::Data(id) => Some((self.word(control::WAITING), id.bit())),
            Channel::StandBy(_) | Channel::Synced => None,
            Channel::Space => Some((self.word(control::SPACE_WAITING), 1)),
        }
    }

    /// Announces a sleeper. It has to look once more, and may then sleep while the event still reads what this returns.
    #[must_use = "sleeping on any other value loses wake-ups"]
    pub fn prepare(&self, channel: Channel) -> u32 {
        // ORDERING: Acquire; pairs with wake_one's bump; what was published before it; no model: under loom the fences on
        // both sides carry the same.
        let ticket = self.event(channel).load(Ordering::Acquire);
        if let Some((word, bit)) = self.bit(channel) {
            // ORDERING: SeqCst; with the fence, against commit or settle: they see the bit, or we see their word; no model:
            // the fence below does it under loom.
            word.set(bit, Ordering::SeqCst);
        }
        // ORDERING: SeqCst fence; pairs with the SeqCst write and load of commit and settle; models
        // publish_then_sleep, nack_then_sleep, ack_then_sleep.
        fence(Ordering::SeqCst);
        ticket
    }

    /// Stores what a sleeper may be waiting for, before [`Self::load_after_write`] looks whether there is one: a commit of
    /// a sole producer, a cursor.
    #[inline(always)]
    pub(super) fn store_before_looking(&self, word: Word<'_>, value: u64) {
        if self.light {
            // ORDERING: Release; pairs with load_slot's and floor's Acquire; header and payload, or that our reads are
            // over; whoever sleeps fences for us; models light_publish_then_sleep, light_cursor_then_sleep, light_cursor_then_reuse.
            word.store(value, Ordering::Release);
            light_fence();
        } else {
            // ORDERING: SeqCst (Release part: as above); SeqCst against sleep::prepare; models sole_publish_claim,
            // sole_then_sleep, cursor_then_reuse, cursor_then_sleep; no model: SeqCst is AcqRel to loom, and nothing is
            // acquired.
            word.swap(value, Ordering::SeqCst);
        }
    }

    /// Whether a sleeper that has called [`Self::prepare`] has to make every process fence before it looks: there are
    /// some, or may be, that do not do so by themselves.
    pub fn has_light_fences(&self, channel: Channel) -> bool {
        match channel {
            // ORDERING: Relaxed; after prepare's fence, which pairs with become_sole's: a later one sees our bit.
            Channel::Data(_) => {
                OwnedWord(self.word(control::SOLE).load(Ordering::Relaxed)).entry_state()
                    == Some(EntryState::Live)
            }
            Channel::StandBy(_) | Channel::Synced => false,
            // A group made later has fenced after our bit.
            Channel::Space => self.gating().1 != 0,
        }
    }

    #[inline(always)]
    fn load_after_write(&self, word: Word<'_>) -> u64 {
        // ORDERING: SeqCst fence; for loom, which takes SeqCst accesses for AcqRel, after a light one none; pairs with
        // prepare's; models publish_then_sleep, nack_then_sleep, ack_then_sleep.
        #[cfg(slipring_loom)]
        if !self.light {
            fence(Ordering::SeqCst);
        }
        // ORDERING: SeqCst; after a SeqCst write of commit or settle; pairs with prepare; no model: under loom the fence
        // above stands for both.
        word.load(Ordering::SeqCst)
    }

    /// After one or more commits: wakes one consumer of each group that may have sleepers.
    #[inline(always)]
    pub fn wake_consumers(&self, waker: &impl Wake) {
        let waiting = self.load_after_write(self.word(control::WAITING));
        if waiting != 0 {
            self.wake_groups(waiting, waker);
        }
    }

    #[inline(never)]
    fn wake_groups(&self, waiting: u64, waker: &impl Wake) {
        for id in GroupId::in_mask(waiting) {
            self.wake_one(Channel::Data(id), waker);
        }
    }

    /// After giving something back, or taking one of several: wakes one more consumer of this group.
    pub fn wake_consumer(&self, id: GroupId, waker: &impl Wake) {
        if self.load_after_write(self.word(control::WAITING)) & id.bit() != 0 {
            self.wake_one(Channel::Data(id), waker);
        }
    }

    /// After settling `sequence`: wakes one producer if that may have made room.
    #[inline(always)]
    pub fn wake_producer_after(&self, id: GroupId, sequence: u64, waker: &impl Wake) {
        if self.load_after_write(self.word(control::SPACE_WAITING)) != 0 {
            self.wake_producer_if_room(id, sequence, waker);
        }
    }

    #[inline(never)]
    fn wake_producer_if_room(&self, id: GroupId, sequence: u64, waker: &impl Wake) {
        let floor = if self.is_exclusive(id) {
            self.floor(id)
        } else {
            self.raise_floor(id)
        };
        if floor > sequence {
            self.wake_one(Channel::Space, waker);
        }
    }

    /// After taking only some of the room there was: wakes one more producer.
    pub fn wake_producer(&self, waker: &impl Wake) {
        if self.load_after_write(self.word(control::SPACE_WAITING)) != 0 {
            self.wake_one(Channel::Space, waker);
        }
    }

    /// Wakes one sleeper of a channel.
    pub fn wake_one(&self, channel: Channel, waker: &impl Wake) {
        let event = self.event(channel);
        // ORDERING: AcqRel; pairs with prepare's Acquire; no model: under loom the fences on both sides carry the same.
        event.bump(Ordering::AcqRel);
        if waker.wake(event, 1) == 0
            && let Some((word, bit)) = self.bit(channel)
        {
            // ORDERING: SeqCst; against prepare's set; whoever set the bit before sees the bump below; no model: under loom
            // the fences on both sides carry the same.
            word.clear(bit, Ordering::SeqCst);
            // ORDERING: AcqRel; as above; no model: under loom the fences on both sides carry the same.
            event.bump(Ordering::AcqRel);
            waker.wake(event, i32::MAX);
        }
    }

    /// Wakes everybody: after a sweep, or a change of groups.
    pub fn wake_all(&self, waker: &impl Wake) {
        let groups = self
            .geo
            .group_ids()
            .flat_map(|id| [Channel::Data(id), Channel::StandBy(id)]);
        for channel in groups.chain([Channel::Space, Channel::Synced]) {
            let event = self.event(channel);
            // ORDERING: AcqRel; as in wake_one; no model: the models' sleepers are woken one by one.
            event.bump(Ordering::AcqRel);
            waker.wake(event, i32::MAX);
        }
    }
}
