//! Open files that forked children do not share.
//!
//! An OFD lock lasts as long as any descriptor of its open file, and a forked child starts with a copy of each. So the
//! files that may carry locks are listed here, and before anything else runs in a child, it puts a harmless descriptor
//! in the place of each. It does not close them: their numbers belong to handles that the child may still drop.
//!
//! Relies on `fork` calling the handlers of `pthread_atfork`. A child made by a raw system call shares its parent's
//! locks until it exits or executes another program.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::time::Duration;

use crate::sync::{AtomicI32, AtomicU32, Ordering};

/// Files one process can list, as many as it may usually have descriptors. Children share what is opened beyond.
const FILES_MAX: usize = 1024;
const NONE: i32 = -1;

static FILES: [AtomicI32; FILES_MAX] = [const { AtomicI32::new(NONE) }; FILES_MAX];
/// What children put in their place.
static HARMLESS: AtomicI32 = AtomicI32::new(NONE);
/// 1 once `fork` calls our handlers.
static HANDLERS: AtomicU32 = AtomicU32::new(0);
/// Forks going on, and forks that have ended.
static FORKING: AtomicU32 = AtomicU32::new(0);
static FORKED: AtomicU32 = AtomicU32::new(0);

/// An open file, and the locks on it, that end with this process, whatever it forks.
#[derive(Debug)]
pub struct OwnFile {
    file: File,
    place: Option<&'static AtomicI32>,
}

impl OwnFile {
    /// Opens it; more than once, if the process is being forked just then. (A fork that began before the very first file
    /// is not seen.)
    ///
    /// # Errors
    /// Those of `open`; whatever keeps the handlers from being set up.
    pub fn open(open: impl Fn() -> io::Result<File>) -> io::Result<Self> {
        set_up()?;
        // Bound: 1000 turns of 1 ms. Whoever forks without a pause gets a file that some child may share.
        let mut turns = 1..1000;
        loop {
            let last = turns.next().is_none();
            // ORDERING: SeqCst; with the stores of `list` and `before`: either the child finds the file listed, or we
            // find the fork.
            let forks = FORKED.load(Ordering::SeqCst);
            let mut own = Self {
                file: open()?,
                place: None,
            };
            // A fork copies the descriptors first and the list later: meanwhile the list may not grow.
            if last || !forking() {
                own.place = list(own.file.as_raw_fd());
            }
            // ORDERING: SeqCst; as above.
            if last || (!forking() && FORKED.load(Ordering::SeqCst) == forks) {
                return Ok(own);
            }
            drop(own);
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Deref for OwnFile {
    type Target = File;

    fn deref(&self) -> &File {
        &self.file
    }
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        // Before it is closed: another file may get the number then. In a child the place is free already, or another's.
        if let Some(place) = self.place {
            let fd = self.file.as_raw_fd();
            // ORDERING: SeqCst; as in `open`. The number in the place is the file's only while it is listed.
            let _left = place.compare_exchange(fd, NONE, Ordering::SeqCst, Ordering::SeqCst);
        }
    }
}

fn list(fd: i32) -> Option<&'static AtomicI32> {
    FILES.iter().find(|place| {
        // ORDERING: SeqCst; as in `open`.
        let taken = place.compare_exchange(NONE, fd, Ordering::SeqCst, Ordering::SeqCst);
        taken.is_ok()
    })
}

fn forking() -> bool {
    // ORDERING: SeqCst; as in `open`.
    FORKING.load(Ordering::SeqCst) > 0
}

/// No lock and no `Once`: a child forked in the middle of this would wait for ever. Doing it twice does no harm.
fn set_up() -> io::Result<()> {
    // ORDERING: Acquire; pairs with the exchange below; the descriptor.
    if HARMLESS.load(Ordering::Acquire) == NONE {
        // SAFETY: takes two numbers and makes a descriptor.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // ORDERING: AcqRel, or Acquire if another thread was quicker; as above.
        let first = HARMLESS.compare_exchange(NONE, fd, Ordering::AcqRel, Ordering::Acquire);
        if first.is_err() {
            // SAFETY: made above, and nobody else has its number.
            unsafe { libc::close(fd) };
        }
    }
    // ORDERING: Acquire; pairs with the store below; handlers first.
    if HANDLERS.load(Ordering::Acquire) == 0 {
        // SAFETY: the three functions may run at any time in any thread, and only make system calls.
        let error = unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) };
        if error != 0 {
            return Err(io::Error::from_raw_os_error(error));
        }
        // ORDERING: Release; as above.
        HANDLERS.store(1, Ordering::Release);
    }
    Ok(())
}

extern "C" fn before() {
    // ORDERING: SeqCst; pairs with `open`'s loads.
    FORKING.fetch_add(1, Ordering::SeqCst);
}

extern "C" fn in_parent() {
    // ORDERING: SeqCst; as above. Counted before it is over, so that one of the two is always seen.
    FORKED.fetch_add(1, Ordering::SeqCst);
    // ORDERING: SeqCst; as above.
    FORKING.fetch_sub(1, Ordering::SeqCst);
}

/// Runs in a child with one thread, of a parent that may have been doing anything: system calls and atomics only.
extern "C" fn in_child() {
    // ORDERING: Relaxed; there is one thread.
    let harmless = HARMLESS.swap(NONE, Ordering::Relaxed);
    for place in &FILES {
        // ORDERING: Relaxed; as above. The place is free: whatever gets this number next is not our file.
        let fd = place.swap(NONE, Ordering::Relaxed);
        if fd != NONE {
            // SAFETY: both are this process' descriptors; the one replaced is only used through handles that refuse.
            unsafe { libc::dup3(harmless, fd, libc::O_CLOEXEC) };
        }
    }
    if harmless != NONE {
        // SAFETY: nobody has its number any more.
        unsafe { libc::close(harmless) };
    }
    // ORDERING: Relaxed; as above. The forks of other threads are not this process'.
    FORKING.store(0, Ordering::Relaxed);
}
