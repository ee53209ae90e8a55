//! Heap memory in the shape of a mapping: for queues inside one process, unit tests and Miri.

use std::cell::UnsafeCell;
use std::io;
use std::ptr::NonNull;

const BLOCK: usize = 4096;

#[repr(C, align(4096))]
struct Block(UnsafeCell<[u8; BLOCK]>);

/// Zeroed, page-aligned memory that lives as long as this. Not a box: moving a box says that nobody else points into it.
pub(super) struct Heap(NonNull<[Block]>);

// SAFETY: Heap hands out a raw pointer only; who may touch which byte when is I1 to I3's business, as on a mapping.
unsafe impl Send for Heap {}
// SAFETY: as above.
unsafe impl Sync for Heap {}

impl Heap {
    pub(super) fn zeroed(length: usize) -> io::Result<Self> {
        let count = length.div_ceil(BLOCK);
        let mut blocks = Vec::new();
        blocks
            .try_reserve_exact(count)
            .map_err(|_| io::ErrorKind::OutOfMemory)?;
        blocks.extend((0..count).map(|_| Block(UnsafeCell::new([0; BLOCK]))));
        Ok(Self(NonNull::from(Box::leak(blocks.into_boxed_slice()))))
    }

    pub(super) fn base(&self) -> NonNull<u8> {
        self.0.cast()
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        // SAFETY: leaked when made, and given up only here.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}
