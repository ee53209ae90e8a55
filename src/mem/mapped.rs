//! A mapped file. The mapping is not inherited by forked children, and a child that drops it leaves the address range
//! alone: something else may live there by then.
//!
//! SIGBUS: a page behind the end of the file, or one the file system cannot back, kills whoever touches it. Creation
//! allocates every block, and opening compares the size with the header; what is left is somebody truncating a live
//! file, which only not doing so prevents.

use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

use memmap2::{Advice, MmapOptions, MmapRaw};

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
    process: u32,
}

impl Mapped {
    pub(super) fn read_write(file: &File, length: usize, access: Access) -> io::Result<Self> {
        let mut options = MmapOptions::new();
        options.len(length);
        if access.populate {
            options.populate();
        }
        let map = options.map_raw(file)?;
        #[cfg(target_os = "linux")]
        {
            map.advise(Advice::DontFork)?;
            if access.huge_pages {
                // A hint: a kernel or file system without huge pages refuses it, and nothing is lost.
                let _refused = map.advise(Advice::HugePage);
            }
        }
        Ok(Self::new(map))
    }

    pub(super) fn read_only(file: &File, length: usize) -> io::Result<Self> {
        MmapOptions::new()
            .len(length)
            .map_raw_read_only(file)
            .map(Self::new)
    }

    fn new(map: MmapRaw) -> Self {
        Self {
            map: ManuallyDrop::new(map),
            process: std::process::id(),
        }
    }

    pub(super) fn base(&self) -> io::Result<NonNull<u8>> {
        NonNull::new(self.map.as_mut_ptr())
            .ok_or_else(|| io::Error::other("mapped at address zero"))
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        if std::process::id() == self.process {
            // SAFETY: dropped once, here; `Mem` gives no pointer out that outlives it.
            unsafe { ManuallyDrop::drop(&mut self.map) };
        }
    }
}
