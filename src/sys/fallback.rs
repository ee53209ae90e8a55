//! Unixes without shared futexes and OFD locks: the library compiles, queues inside one process work, and attaching to
//! a file says plainly that it cannot.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::path::Path;
use std::time::Duration;

use crate::sync::{AtomicU32, AtomicU64};

/// Sleeps at most 1 ms; the caller looks again.
pub fn futex_wait(_word: &AtomicU32, _expected: u32, timeout: Duration) -> bool {
    std::thread::sleep(timeout.min(Duration::from_millis(1)));
    true
}

/// Nobody has to be woken: sleepers look again by themselves. Says that one was, so that nobody tries twice.
pub fn futex_wake(_word: &AtomicU32, _count: i32) -> u64 {
    1
}

/// It does not.
pub fn let_others_fence() -> bool {
    false
}

/// Nobody lets it.
pub fn fence_everybody() -> bool {
    true
}

/// An open file. There are no locks that a forked child could share.
#[derive(Debug)]
pub struct OwnFile(File);

impl OwnFile {
    /// Opens it.
    pub fn open(open: impl Fn() -> io::Result<File>) -> io::Result<Self> {
        open().map(Self)
    }
}

impl Deref for OwnFile {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

fn unsupported<T>() -> io::Result<T> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Not to be had.
pub fn lock_byte(_file: &File, _byte: u64) -> io::Result<bool> {
    unsupported()
}

/// Not to be had.
pub fn unlock_byte(_file: &File, _byte: u64) -> io::Result<()> {
    unsupported()
}

/// Not to be had.
pub fn byte_is_locked(_file: &File, _byte: u64) -> io::Result<bool> {
    unsupported()
}

/// Writes nothing: the file is only lengthened.
pub fn allocate(file: &File, length: u64) -> io::Result<()> {
    file.set_len(length)
}

/// Not to be had.
pub fn open_again(_file: &File) -> Option<File> {
    None
}

/// Not to be had; a named temporary file serves instead.
pub fn open_unnamed(_directory: &Path, _mode: u32) -> io::Result<File> {
    unsupported()
}

/// Not to be had.
pub fn link_unnamed(_file: &File, _path: &Path) -> io::Result<()> {
    unsupported()
}

/// Not to be had.
pub fn boot_id() -> [u8; 16] {
    [0; 16]
}

/// Unknown.
pub fn filesystem_without_locks(_file: &File) -> Option<&'static str> {
    None
}

/// Unknown.
pub fn volatile_filesystem(_file: &File) -> Option<&'static str> {
    None
}

/// As the platform does it.
pub fn sync_data(file: &File) -> io::Result<()> {
    file.sync_data()
}

/// A word that never changes: forks are not noticed here.
pub fn wiped_on_fork() -> io::Result<&'static AtomicU64> {
    static PAGE: AtomicU64 = AtomicU64::new(0);
    Ok(&PAGE)
}
