//! Durability: what is confirmed is on the disk, whoever syncs it; the disk here is a cell that a sync copies the words to.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block,
    missing_docs,
    reason = "a test may fail loudly"
)]
#![cfg(slipring_loom)]

mod common;

use std::sync::LazyLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use common::death::{bounded, each_death};
use common::{Model, Outcomes, SMALL, durable};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use slipring::layout::OwnerId;
use slipring::layout::geometry::{control, slot};
use slipring::mem::fault::dies;
use slipring::ring::{Channel, Disk, Poisoned, Publisher, Settle};

/// What the disk has: the words of the two slots, and how far sequences may go.
#[derive(Clone, Copy, Default)]
struct Stable {
    slots: [u64; 2],
    until: u64,
}

/// Not atomic: who reads it without having seen the end of a sync races, and loom says so.
struct FakeDisk {
    m: Arc<Model>,
    /// By the number of the sync.
    stable: [UnsafeCell<Stable>; 4],
    fails: bool,
    /// Whether one has: known at once, whatever the memory model says.
    failed: std::sync::Arc<AtomicBool>,
}

unsafe impl Sync for FakeDisk {}
unsafe impl Send for FakeDisk {}

impl Disk for FakeDisk {
    fn sync(&self) -> Result<(), u64> {
        let failed = self.failed.swap(self.fails, Relaxed);
        assert!(!failed, "a sync after one that failed");
        if self.fails {
            return Err(5);
        }
        let (ring, geometry) = (&self.m.ring, self.m.ring.geometry());
        let word = |offset| ring.mem().word(offset).load(Relaxed);
        let slots = [0, 1].map(|sequence| word(geometry.slot(sequence).plus(slot::WORD)));
        let until = word(control::UNTIL_DISK);
        let number = word(control::STARTED) as usize;
        self.stable[number].with_mut(|stable| unsafe { *stable = Stable { slots, until } });
        Ok(())
    }
}

impl FakeDisk {
    fn new(m: &Arc<Model>) -> Arc<Self> {
        Arc::new(Self {
            m: Arc::clone(m),
            stable: Default::default(),
            fails: false,
            failed: std::sync::Arc::default(),
        })
    }

    /// As the last sync left it that has ended, as far as we have seen.
    fn stable(&self) -> Stable {
        let ended = (0..4).find(|&number| !self.m.ring.is_synced(number));
        self.stable[ended.unwrap() as usize].with(|stable| unsafe { *stable })
    }

    /// Publishes, waits until it is confirmed, and looks whether it is on the disk. Whether it synced itself.
    fn publish_durable(&self, p: &mut Publisher, byte: u8) -> bool {
        let m = &self.m;
        let sequence = m.publish(p, byte).unwrap();
        let ticket = m.ring.sync_ticket();
        let mut mine = false;
        while !m.ring.is_synced(ticket) {
            mine = m.ring.try_sync(p, self).unwrap();
            if !mine {
                thread::yield_now();
            }
        }
        let slot = self.stable().slots[sequence as usize % 2];
        assert_ne!(slot, 0, "confirmed, and not on the disk");
        mine
    }
}

/// confirmed_is_on_the_disk: of two publishers each finds its message there, whoever synced.
#[test]
fn confirmed_is_on_the_disk() {
    static SEEN: LazyLock<Outcomes<(bool, bool)>> = LazyLock::new(Outcomes::default);
    bounded(2, || {
        let m = durable(SMALL);
        let disk = FakeDisk::new(&m);
        let syncing = Arc::clone(&disk);
        let other = thread::spawn(move || {
            let mut p = syncing.m.publisher(1);
            syncing.m.ring.try_sync(&mut p, &*syncing).unwrap()
        });
        let mine = disk.publish_durable(&mut m.publisher(0), 1);
        SEEN.add((mine, other.join().unwrap()));
    });
    SEEN.are(&[
        ((false, true), "served by the other's"),
        ((true, false), "the other found it busy"),
        ((true, true), "the other's began too early"),
    ]);
}

/// reserved_below_until_disk: what is reserved lies below what the disk says, also when another one synced.
#[test]
fn reserved_below_until_disk() {
    static SEEN: LazyLock<Outcomes<bool>> = LazyLock::new(Outcomes::default);
    bounded(2, || {
        let m = durable(SMALL);
        let disk = FakeDisk::new(&m);
        let mut p = m.publisher(0);
        m.publish(&mut p, 1).unwrap();
        m.publish(&mut p, 2).unwrap();
        let mut c = m.claimer(2);
        let claim = m.next(&mut c).unwrap();
        assert!(m.ring.settle(m.group, OwnerId(2), claim, Settle::Ack));
        let syncing = Arc::clone(&disk);
        let other = thread::spawn(move || {
            let mut p = syncing.m.publisher(1);
            assert_eq!(syncing.m.ring.try_sync(&mut p, &*syncing), Ok(true));
        });
        let reserved = m.ring.reserve(&mut p);
        if let Ok(reserved) = reserved {
            // The first and only sync, whatever we have seen of its end.
            let until = disk.stable[1].with(|stable| unsafe { (*stable).until });
            assert!(reserved.sequence < until, "{} {until}", reserved.sequence);
        }
        SEEN.add(reserved.is_ok());
        other.join().unwrap();
    });
    SEEN.are(&[(false, "before the sync"), (true, "after it")]);
}

/// a_failed_sync_is_the_last: nobody syncs after one that failed, and nobody is confirmed.
#[test]
fn a_failed_sync_is_the_last() {
    static SEEN: LazyLock<Outcomes<bool>> = LazyLock::new(Outcomes::default);
    bounded(3, || {
        let m = durable(SMALL);
        let disk = FakeDisk::new(&m);
        let failing = FakeDisk {
            m: Arc::clone(&m),
            stable: Default::default(),
            fails: true,
            failed: std::sync::Arc::clone(&disk.failed),
        };
        let failed = Arc::clone(&m);
        let other = thread::spawn(move || {
            let mut p = failed.publisher(1);
            match failed.ring.try_sync(&mut p, &failing) {
                Ok(synced) => synced,
                Err(Poisoned(error)) => {
                    assert_eq!(error, 5);
                    true
                }
            }
        });
        let mut p = m.publisher(0);
        m.publish(&mut p, 1).unwrap();
        let ticket = m.ring.sync_ticket();
        // Late enough to know of the failure, if there was one, by SYNCER alone.
        let tried = m.ring.try_sync(&mut p, &*disk);
        let theirs = other.join().unwrap();
        if tried == Ok(true) {
            assert!(m.ring.is_synced(ticket));
        } else {
            assert!(!m.ring.is_synced(ticket));
        }
        let again = m.ring.try_sync(&mut p, &*disk);
        assert_eq!(again.is_err(), theirs);
        SEEN.add(tried == Ok(true));
    });
    SEEN.are(&[(true, "before the failure"), (false, "after it, or busy")]);
}

/// taken_over_from_the_dead: a syncer dies before any of its accesses; who waits syncs, after a sweep, and what it has
/// confirmed is on the disk.
#[test]
fn taken_over_from_the_dead() {
    each_death(1, 12, |at| {
        let m = durable(SMALL);
        m.enter(1);
        let disk = FakeDisk::new(&m);
        let syncing = Arc::clone(&disk);
        let other = thread::spawn(move || {
            let lived = dies(at, || {
                let mut p = syncing.m.publisher(1);
                syncing.m.ring.try_sync(&mut p, &*syncing).unwrap()
            });
            if lived.is_none() {
                syncing.m.bury(1);
            }
            lived.is_some()
        });
        disk.publish_durable(&mut m.publisher(0), 1);
        !other.join().unwrap()
    });
}

/// synced_then_sleep: who is about to sleep until a sync is over sees its end, or is woken.
#[test]
fn synced_then_sleep() {
    bounded(3, || {
        let m = durable(SMALL);
        let disk = FakeDisk::new(&m);
        let syncing = Arc::clone(&disk);
        let other = thread::spawn(move || {
            let m = &syncing.m;
            let mut p = m.publisher(1);
            assert_eq!(m.ring.try_sync(&mut p, &*syncing), Ok(true));
            m.ring.wake_synced(&m.waker(Channel::Synced));
        });
        // Waits for that sync, whose number is 1.
        while !m.ring.is_synced(0) {
            let ticket = m.ring.prepare(Channel::Synced);
            if m.ring.is_synced(0) {
                break;
            }
            m.sleep(Channel::Synced, ticket);
        }
        other.join().unwrap();
    });
}
