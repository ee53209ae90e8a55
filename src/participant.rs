//! One attached process: its entry in the participant table, its lock, and what it does for the others.
//!
//! Relies on `ring` for the words and on `sys` for the locks. Everything a process makes from a [`crate::Queue`] shares
//! one attachment; it leaves when the last of them is gone.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clean;
use crate::durable::Flusher;
use crate::file;
use crate::layout::geometry::{control, participant};
use crate::layout::header::Verified;
use crate::layout::{Durability, EntryState, GroupId, NAME_MAX, OwnedWord, OwnerId};
use crate::mem::Event;
use crate::ring::{Ring, Swept, Wake, cut};
use crate::sync::Ordering;
use crate::sys::{self, ForkGuard, OwnFile};

/// First lock byte: far beyond the end of any file.
const LOCK_BASE: u64 = 1 << 62;
/// Lock byte of whoever makes a group.
const ADMIN_LOCK: u64 = LOCK_BASE + 4096;
/// Lock byte of whoever puts the queue in order after a reboot, or changes the word that says how it was left.
const RECOVERY_LOCK: u64 = LOCK_BASE + 4097;
/// How often, at most, the processes of a queue look for dead ones while waiting, in ms.
const PROBE_EVERY_MS: u64 = 50;

/// Attempts in vain, of those that do not wait, between two looks around.
pub const VAIN_PER_PROBE: u32 = 32;

/// Locks that end with their process: on bytes of the file, or, for a queue in heap memory, in a table.
#[derive(Debug)]
pub enum Locks {
    /// OFD locks of this open file, which forked children do not share.
    File(OwnFile),
    /// Bytes taken by any attachment, and those of this one.
    Heap(Arc<Mutex<BTreeSet<u64>>>, Mutex<BTreeSet<u64>>),
}

impl Locks {
    fn try_lock(&self, byte: u64) -> io::Result<bool> {
        match self {
            Self::File(file) => sys::lock_byte(file, byte),
            Self::Heap(all, mine) => {
                let taken = locked(all).insert(byte) || locked(mine).contains(&byte);
                if taken {
                    locked(mine).insert(byte);
                }
                Ok(taken)
            }
        }
    }

    /// Whether somebody else's open file has the lock. Asking takes nothing.
    fn is_held(&self, byte: u64) -> bool {
        match self {
            // What cannot be asked counts as alive.
            Self::File(file) => sys::byte_is_locked(file, byte).unwrap_or(true),
            Self::Heap(all, _) => locked(all).contains(&byte),
        }
    }

    /// The file, if there is one.
    pub fn file(&self) -> Option<&File> {
        match self {
            Self::File(file) => Some(file),
            Self::Heap(..) => None,
        }
    }

    /// Works while nobody else puts the queue in order, marks it as left in order, or takes that back. `None`: somebody
    /// does, and has not finished after so many ms.
    pub fn in_order<T>(&self, patience_ms: u32, work: impl FnOnce() -> T) -> io::Result<Option<T>> {
        for _ in 0..patience_ms {
            if self.try_lock(RECOVERY_LOCK)? {
                let done = work();
                self.unlock(RECOVERY_LOCK);
                return Ok(Some(done));
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        Ok(None)
    }

    /// Whether somebody is attached as this participant.
    pub fn is_attached(&self, id: OwnerId) -> bool {
        self.is_held(LOCK_BASE + u64::from(id.0))
    }

    fn unlock(&self, byte: u64) {
        match self {
            // It would be let go with the descriptor anyway.
            Self::File(file) => drop(sys::unlock_byte(file, byte)),
            Self::Heap(all, mine) => {
                locked(mine).remove(&byte);
                locked(all).remove(&byte);
            }
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while holding one of these leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Handles of this process, counted.
#[derive(Debug)]
struct Handles {
    members: [u32; 64],
    producers: u32,
    leaked: bool,
}

/// A process attached to a queue.
#[derive(Debug)]
pub struct Attachment {
    ring: Ring,
    verified: Verified,
    /// The queue's file, if it has one.
    path: Option<PathBuf>,
    locks: Locks,
    fork: ForkGuard,
    me: OwnerId,
    word: OwnedWord,
    handles: Mutex<Handles>,
    /// What syncs at an interval, in a queue made so.
    flusher: Option<Flusher>,
    /// Messages are compared with their checksums.
    verify: bool,
    /// Sweeping and making groups, one thread of this process at a time: byte locks do not tell threads apart.
    admin: Mutex<()>,
}

/// Why a process could not attach.
#[derive(Debug)]
pub enum JoinError {
    /// No free entry.
    Full,
    /// Somebody is about to leave or to open the queue, and does not finish.
    Busy,
    /// The operating system refused a lock or a page.
    Io(io::Error),
}

impl Attachment {
    /// Takes an entry of the participant table.
    pub fn join(
        ring: Ring,
        verified: Verified,
        path: Option<PathBuf>,
        locks: Locks,
        name: &str,
        verify: bool,
    ) -> Result<Arc<Self>, JoinError> {
        let fork = ForkGuard::get().map_err(JoinError::Io)?;
        let mut ring = ring;
        ring.let_waiters_fence(sys::let_others_fence());
        let mut attempt = 0;
        let (me, word) = loop {
            if let Some(found) = take_entry(&ring, &locks)? {
                break found;
            }
            // Taken, all of them; the dead among them can be swept. If the last of them died as it left, it was marked.
            clean::begin_use(&ring, &locks)?;
            let swept = sweep_dead(&ring, &locks, None);
            attempt += 1;
            if swept.participants == 0 || attempt > 8 {
                return Err(JoinError::Full);
            }
        };
        let entry = ring.geometry().participant(me);
        let name = cut(name, NAME_MAX);
        ring.mem()
            .copy_in(entry.plus(participant::NAME), name.as_bytes());
        let facts = [
            (participant::NAME_LENGTH, name.len() as u64),
            (participant::PID, std::process::id().into()),
            (participant::ATTACHED_NS, sys::wall_ns()),
        ];
        for (field, value) in facts {
            // ORDERING: Relaxed; for people to read only.
            ring.participant_word(me, field)
                .store(value, Ordering::Relaxed);
        }
        let flusher = match (verified.durability, &locks) {
            (Durability::Interval(every), Locks::File(file)) => {
                let flusher = Flusher::start(file, *ring.geometry(), me, every);
                Some(flusher.map_err(|error| {
                    ring.leave(me, word);
                    JoinError::Io(error)
                })?)
            }
            _ => None,
        };
        let handles = Handles {
            members: [0; 64],
            producers: 0,
            leaked: false,
        };
        let attachment = Self {
            ring,
            verified,
            path,
            locks,
            fork,
            me,
            word,
            handles: Mutex::new(handles),
            verify: verify && verified.checksums,
            flusher,
            admin: Mutex::new(()),
        };
        attachment.sweep();
        Ok(Arc::new(attachment))
    }

    /// The queue's words.
    #[inline]
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// What its header says.
    pub fn verified(&self) -> &Verified {
        &self.verified
    }

    /// The queue's file, if it has one.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The same, open.
    pub fn file(&self) -> Option<&File> {
        self.locks.file()
    }

    /// Whether messages are compared with their checksums.
    #[inline]
    pub fn verifies(&self) -> bool {
        self.verify
    }

    /// Whether another file has taken the place of its own. Attached before that, nobody would have been let do it.
    pub fn is_replaced(&self) -> bool {
        match (&self.locks, self.path()) {
            (Locks::File(file), Some(path)) => file::is_replaced(file, path),
            _ => false,
        }
    }

    /// This participant.
    #[inline]
    pub fn me(&self) -> OwnerId {
        self.me
    }

    /// True in a forked child of the process that attached: nothing of it may be used there.
    #[inline]
    pub fn is_forked(&self) -> bool {
        self.fork.is_child()
    }

    /// Tells a forked child from this process.
    pub fn fork(&self) -> ForkGuard {
        self.fork
    }

    /// The process id a participant gave, for messages to people.
    pub fn pid_of(&self, id: OwnerId) -> u64 {
        Self::pid_in(&self.ring, id)
    }

    /// The same, of a queue that is not attached to.
    pub fn pid_in(ring: &Ring, id: OwnerId) -> u64 {
        // ORDERING: Relaxed; for people to read only.
        ring.participant_word(id, participant::PID)
            .load(Ordering::Relaxed)
    }

    /// Sweeps every dead participant.
    pub fn sweep(&self) -> Swept {
        let _one_at_a_time = locked(&self.admin);
        self.sweep_alone()
    }

    /// The same, by the one thread of this process that is at it: the dead, then the leases that have ended.
    fn sweep_alone(&self) -> Swept {
        let swept = sweep_dead(&self.ring, &self.locks, Some(self.me));
        let now = sys::monotonic_ms();
        let mut expired = 0;
        for id in self.ring.geometry().group_ids() {
            // As a member, so that the group is not made anew meanwhile; whether it has leases is looked up again then.
            if self.ring.has_leases(id) && self.join_group(id) {
                expired += self.ring.expire(id, now);
                self.leave_group(id);
            }
        }
        if expired > 0 {
            self.ring.wake_all(&Futex);
        }
        swept
    }

    /// What a process that waits does for all: now and then, one of those waiting looks for the dead.
    pub fn tick(&self) {
        let word = self.ring.mem().word(control::LAST_PROBE);
        // ORDERING: Relaxed; only thins out the looking.
        let last = word.load(Ordering::Relaxed);
        let now = sys::monotonic_ms();
        // ORDERING: Relaxed; as above.
        if now.wrapping_sub(last) >= PROBE_EVERY_MS && word.replace(last, now, Ordering::Relaxed) {
            // Whoever is at it in this process does it for us.
            if let Ok(_one_at_a_time) = self.admin.try_lock() {
                self.sweep_alone();
            }
        }
    }

    /// Asks the kernel about one participant, who seems to be in the way, and sweeps it if it is dead.
    pub fn probe(&self, suspect: OwnerId) {
        // A scribbled word may name nobody.
        let known = u32::from(suspect.0) < self.ring.geometry().shape().max_participants;
        if known
            && suspect != self.me
            && let Ok(_one_at_a_time) = self.admin.try_lock()
            && sweep_if_dead(&self.ring, &self.locks, suspect) != Swept::default()
        {
            self.ring.wake_all(&Futex);
        }
    }

    /// What somebody does who tries in vain again and again without waiting: asks about who is in the way, and now and then
    /// about everybody.
    pub fn look_around(&self, suspect: Option<OwnerId>) {
        if let Some(suspect) = suspect {
            self.probe(suspect);
        }
        self.tick();
    }

    /// Whether a participant lives, as far as the kernel says now.
    pub fn is_alive(&self, id: OwnerId) -> bool {
        id == self.me || is_alive(&self.locks, id)
    }

    /// Runs `make` while no other process makes a group; `None` if another one does and does not end.
    pub fn alone<T>(&self, make: impl FnOnce() -> T) -> Option<T> {
        let _one_at_a_time = locked(&self.admin);
        for _ in 0..2000 {
            if self.locks.try_lock(ADMIN_LOCK).unwrap_or(false) {
                // A group half made now was being made by somebody who died.
                self.sweep_alone();
                let made = make();
                self.locks.unlock(ADMIN_LOCK);
                return Some(made);
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        None
    }

    /// One more consumer of this process in a group. False: the group is not in use.
    pub fn join_group(&self, id: GroupId) -> bool {
        let mut handles = locked(&self.handles);
        let Some(count) = handles.members.get_mut(usize::from(id.0)) else {
            return false;
        };
        if *count == 0 && !self.ring.join_group(id, self.me) {
            return false;
        }
        *count += 1;
        true
    }

    /// One consumer fewer.
    pub fn leave_group(&self, id: GroupId) {
        let mut handles = locked(&self.handles);
        let Some(count) = handles.members.get_mut(usize::from(id.0)) else {
            return;
        };
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.ring.leave_group(id, self.me);
        }
    }

    /// One more ordinary producer of this process.
    ///
    /// # Errors
    /// The participant that is the sole producer.
    pub fn add_producer(&self) -> Result<(), OwnerId> {
        let mut handles = locked(&self.handles);
        if handles.producers == 0 {
            self.ring.become_producer(self.me)?;
        }
        handles.producers += 1;
        Ok(())
    }

    /// One ordinary producer fewer.
    pub fn remove_producer(&self) {
        let mut handles = locked(&self.handles);
        handles.producers = handles.producers.saturating_sub(1);
        if handles.producers == 0 {
            self.ring.stop_producing(self.me);
        }
    }

    /// Whether anybody else is attached, or about to be.
    pub fn has_company(&self) -> bool {
        let mut ids = self.ring.geometry().participant_ids();
        ids.any(|id| id != self.me && self.locks.is_attached(id))
    }

    /// Its entry, and what says that it is its own.
    pub fn entry(&self) -> (OwnerId, OwnedWord) {
        (self.me, self.word)
    }

    /// Its locks.
    pub fn locks(&self) -> &Locks {
        &self.locks
    }

    /// Frees its entry.
    pub fn leave(&self) {
        if locked(&self.handles).leaked {
            self.ring.sweep(self.me, self.word);
            self.ring.wake_all(&Futex);
        } else {
            self.ring.leave(self.me, self.word);
        }
    }

    /// Lets its lock go.
    pub fn end_life(&self) {
        self.locks.unlock(LOCK_BASE + u64::from(self.me.0));
    }

    /// Guards of this process were leaked: their words have to be swept when it leaves.
    pub fn note_leak(&self) {
        locked(&self.handles).leaked = true;
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let flusher = self.flusher.take();
        // A forked child has neither the mapping nor the lock.
        if self.is_forked() {
            if let Some(flusher) = flusher {
                flusher.forget();
            }
            return;
        }
        drop(flusher);
        let leaked = locked(&self.handles).leaked;
        if !clean::leave(self, leaked) {
            self.leave();
            self.end_life();
        }
    }
}

fn take_entry(ring: &Ring, locks: &Locks) -> Result<Option<(OwnerId, OwnedWord)>, JoinError> {
    for id in ring.geometry().participant_ids() {
        if ring.participant_state(id).entry_state() != Some(EntryState::Free) {
            continue;
        }
        let byte = LOCK_BASE + u64::from(id.0);
        if !locks.try_lock(byte).map_err(JoinError::Io)? {
            continue;
        }
        clean::begin_use(ring, locks).inspect_err(|_| locks.unlock(byte))?;
        if let Some(word) = ring.join(id) {
            return Ok(Some((id, word)));
        }
        locks.unlock(byte);
    }
    Ok(None)
}

/// Sweeps whoever holds an entry but not its lock. `me` is skipped: asking for one's own lock always succeeds.
fn sweep_dead(ring: &Ring, locks: &Locks, me: Option<OwnerId>) -> Swept {
    let mut total = Swept::default();
    for id in ring
        .geometry()
        .participant_ids()
        .filter(|&id| Some(id) != me)
    {
        total = total.and(sweep_if_dead(ring, locks, id));
    }
    // Not only those of the dead found now: a sweeper may have died as well.
    ring.reap_groups();
    if total != Swept::default() {
        ring.wake_all(&Futex);
    }
    total
}

/// Sweeps a participant that holds an entry but not its lock.
fn sweep_if_dead(ring: &Ring, locks: &Locks, id: OwnerId) -> Swept {
    let byte = LOCK_BASE + u64::from(id.0);
    // What cannot be asked counts as alive.
    if ring.participant_state(id).entry_state() != Some(EntryState::Live)
        || !locks.try_lock(byte).unwrap_or(false)
    {
        return Swept::default();
    }
    // It may have left, and another come and gone, before we had the lock.
    let found = ring.participant_state(id);
    let swept = if found.entry_state() == Some(EntryState::Live) {
        ring.sweep(id, found)
    } else {
        Swept::default()
    };
    locks.unlock(byte);
    swept
}

/// Whether a participant's lock is held. One's own does not show.
pub fn is_alive(locks: &Locks, id: OwnerId) -> bool {
    locks.is_held(LOCK_BASE + u64::from(id.0))
}

/// Takes the locks of all participants and of whoever makes a group, so that nobody can attach until they are let go.
///
/// # Errors
/// A participant that is attached, or the system's.
pub fn lock_everybody_out(ring: &Ring, locks: &Locks) -> io::Result<Result<(), OwnerId>> {
    for id in ring.geometry().participant_ids() {
        let locked = locks.try_lock(LOCK_BASE + u64::from(id.0))?;
        if !locked || ring.participant_state(id).entry_state() != Some(EntryState::Free) {
            return Ok(Err(id));
        }
    }
    let alone = locks.try_lock(ADMIN_LOCK)?;
    Ok(alone.then_some(()).ok_or(OwnerId(0)))
}

/// Wakes through the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Futex;

impl Wake for Futex {
    fn wake(&self, event: Event<'_>, count: i32) -> u64 {
        sys::futex_wake(event.atomic(), count)
    }
}
