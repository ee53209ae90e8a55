//! Driving the disk: syncing the file, waiting until somebody has, and the thread that does so at an interval.
//!
//! Relies on `ring` for who syncs and what it means, and on `sys` for the sync itself.

use std::fs::File;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::layout::{Geometry, OwnerId};
use crate::mem::{Access, Mem};
use crate::participant::{Attachment, Futex};
use crate::ring::{Channel, Disk, Poisoned, Publisher, Ring};
use crate::sys;
use crate::wait::{Attempt, Deadline, WaitStrategy, Waitable, wait};

/// The file, as what a sync makes stable.
#[derive(Clone, Copy, Debug)]
pub struct FileDisk<'a>(pub &'a File);

impl Disk for FileDisk<'_> {
    fn sync(&self) -> Result<(), u64> {
        // All stores into shared mappings of a file are in its page cache: syncing the file covers those of every process.
        sys::sync_data(self.0).map_err(|error| {
            let number = error.raw_os_error().unwrap_or(libc::EIO);
            u64::try_from(number).unwrap_or(1).max(1)
        })
    }

    fn clock_ns(&self) -> u64 {
        sys::monotonic_ns()
    }

    fn give_way(&self) {
        std::thread::yield_now();
    }
}

/// The error that a sync's number stands for.
pub fn sync_error(number: u64) -> io::Error {
    io::Error::from_raw_os_error(i32::try_from(number).unwrap_or(libc::EIO))
}

/// Why something is not on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSynced {
    /// The queue was made without durability.
    NotDurable,
    /// A sync failed, with this error number.
    Failed(i32),
}

impl From<Poisoned> for NotSynced {
    fn from(Poisoned(error): Poisoned) -> Self {
        Self::Failed(i32::try_from(error).unwrap_or(libc::EIO))
    }
}

impl Attachment {
    /// Waits until all that was stored before is on the disk; syncs, unless somebody else does.
    pub fn sync(&self, publisher: &mut Publisher) -> Result<(), NotSynced> {
        if !self.verified().durability.is_durable() {
            return Err(NotSynced::NotDurable);
        }
        let disk = self.file().map(FileDisk).ok_or(NotSynced::NotDurable)?;
        let mut syncing = Syncing {
            ring: self.ring(),
            publisher,
            disk,
            ticket: self.ring().sync_ticket(),
        };
        // Nobody gains by spinning for what takes as long as a disk.
        wait(self, WaitStrategy::Park, Deadline::NEVER, &mut syncing)?;
        Ok(())
    }
}

struct Syncing<'a> {
    ring: &'a Ring,
    publisher: &'a mut Publisher,
    disk: FileDisk<'a>,
    ticket: u64,
}

impl Waitable for Syncing<'_> {
    type Output = ();
    type Error = NotSynced;

    fn attempt(&mut self, _attempt: Attempt) -> Result<Option<()>, NotSynced> {
        if self.ring.is_synced(self.ticket) {
            return Ok(Some(()));
        }
        self.ring.check_poison()?;
        let tried = self.ring.try_sync(self.publisher, &self.disk);
        if tried != Ok(false) {
            self.ring.wake_synced(&Futex);
        }
        Ok(tried?.then_some(()))
    }

    fn channel(&self) -> Channel {
        Channel::Synced
    }

    fn suspect(&self) -> Option<OwnerId> {
        self.ring.suspect_of_sync()
    }
}

/// The thread that syncs at an interval, with a mapping of its own: it keeps nothing of its process attached.
#[derive(Debug)]
pub struct Flusher {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Stop {
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    /// Waits so long; false if it is time to go.
    fn wait(&self, every: Duration) -> bool {
        let end = Instant::now() + every;
        let mut stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        while !*stopped {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            stopped = self
                .changed
                .wait_timeout(stopped, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        false
    }
}

impl Flusher {
    /// Syncs for participant `me` from now on.
    pub fn start(
        file: &File,
        geometry: Geometry,
        me: OwnerId,
        every: Duration,
    ) -> io::Result<Self> {
        // A child that is forked meanwhile may keep this file open; no lock is on it.
        let file = sys::open_again(file)
            .map(Ok)
            .unwrap_or_else(|| file.try_clone())?;
        let mem = Mem::map(&file, geometry.file_size(), Access::default())?;
        let ring = Ring::new(mem, geometry).durable(true);
        let stop = Arc::new(Stop::default());
        let stopping = Arc::clone(&stop);
        let run = move || {
            let mut publisher = ring.publisher(me, false);
            while stopping.wait(every) {
                sync_if_changed(&ring, &mut publisher, &file);
            }
        };
        let thread = std::thread::Builder::new()
            .name("slipring-sync".to_owned())
            .spawn(run)?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }

    /// In a forked child, where there is no such thread.
    pub fn forget(mut self) {
        std::mem::forget(self.thread.take());
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        *self
            .stop
            .stopped
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.changed.notify_all();
        // It takes as long as a sync, if one is under way.
        let _panicked = thread.join();
    }
}

/// One sync, unless the disk has it all or somebody else is at it.
pub fn sync_if_changed(ring: &Ring, publisher: &mut Publisher, file: &File) {
    if ring.sync_if_changed(publisher, &FileDisk(file)) != Ok(false) {
        ring.wake_synced(&Futex);
    }
}
