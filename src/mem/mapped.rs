//! A mapped file. The mapping is not inherited by forked children, and a child that drops it leaves the address range
//! alone: something else may live there by then. Who is a child `sys` knows; process ids do not tell, since a child in a
//! PID namespace of its own may have its parent's.
//!
//! SIGBUS: a page behind the end of the file, or one the file system cannot back, kills whoever touches it. Creation
//! allocates every block, and opening compares the size with the header; what is left is somebody truncating a live
//! file, which only not doing so prevents; a disk that cannot be read; and a full file system that copies what it writes.

use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

use memmap2::{Advice, MmapOptions, MmapRaw};

use crate::sys::{self, ForkGuard};

/// How a file is mapped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Touch every page now rather than at first use.
    pub populate: bool,
    /// Ask for huge pages.
    pub huge_pages: bool,
}

pub(super) struct Mapped {
    map: ManuallyDrop<MmapRaw>,
    fork: ForkGuard,
}

impl Mapped {
    pub(super) fn read_write(file: &File, length: usize, access: Access) -> io::Result<Self> {
        let mut options = MmapOptions::new();
        options.len(length);
        if access.populate {
            options.populate();
        }
        // A child forked between the two calls that map and that keep the mapping from children has it all the same, and
        // with it the open file: not the one whose locks say that we live.
        let again = sys::open_again(file);
        let mapped = Self::new(options.map_raw(again.as_ref().unwrap_or(file))?)?;
        #[cfg(target_os = "linux")]
        if access.huge_pages {
            // A hint: a kernel or file system without huge pages refuses it, and nothing is lost.
            let _refused = mapped.map.advise(Advice::HugePage);
        }
        Ok(mapped)
    }

    pub(super) fn read_only(file: &File, length: usize) -> io::Result<Self> {
        let map = MmapOptions::new().len(length).map_raw_read_only(file)?;
        Self::new(map)
    }

    fn new(map: MmapRaw) -> io::Result<Self> {
        // Where children are not known, they keep the mapping.
        #[cfg(all(target_os = "linux", not(slipring_fallback)))]
        map.advise(Advice::DontFork)?;
        Ok(Self {
            map: ManuallyDrop::new(map),
            fork: ForkGuard::get()?,
        })
    }

    pub(super) fn base(&self) -> io::Result<NonNull<u8>> {
        NonNull::new(self.map.as_mut_ptr())
            .ok_or_else(|| io::Error::other("mapped at address zero"))
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        if !self.fork.is_child() {
            // SAFETY: dropped once, here; `Mem` gives no pointer out that outlives it.
            unsafe { ManuallyDrop::drop(&mut self.map) };
        }
    }
}
