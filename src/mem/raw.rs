//! Base pointer and length, whatever is behind them.

use std::fmt;
use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use super::heap::Heap;
use super::mapped::{Access, Mapped};
use super::{Event, Word, fault};
use crate::layout::Offset;
use crate::sync::{AtomicU32, AtomicU64};

/// The bytes of one queue.
pub struct Mem {
    base: NonNull<u8>,
    length: u64,
    /// Whole words in it.
    words: u64,
    _backing: Backing,
}

#[expect(dead_code, reason = "held only to keep the memory alive")]
enum Backing {
    Heap(Heap),
    Mapped(Mapped),
}

// SAFETY: `base` is as good as the backing it comes from, which is Send; access is ruled by I1 to I3, not by threads.
unsafe impl Send for Mem {}
// SAFETY: words are atomics; byte copies are ordered by them (I2, I3).
unsafe impl Sync for Mem {}

impl fmt::Debug for Mem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mem")
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

impl Mem {
    /// Zeroed heap memory.
    ///
    /// # Errors
    /// `length` exceeds the address space.
    pub fn heap(length: u64) -> io::Result<Self> {
        let heap = Heap::zeroed(address_space(length)?)?;
        Ok(Self {
            base: heap.base(),
            length,
            words: length / 8,
            _backing: Backing::Heap(heap),
        })
    }

    /// Maps the first `length` bytes of `file`, which must have them.
    ///
    /// # Errors
    /// What mmap reports.
    pub fn map(file: &File, length: u64, access: Access) -> io::Result<Self> {
        let mapped = Mapped::read_write(file, address_space(length)?, access)?;
        Ok(Self {
            base: mapped.base()?,
            length,
            words: length / 8,
            _backing: Backing::Mapped(mapped),
        })
    }

    /// The same, read-only: a store into it is a fault, so only loads and copies out may be used.
    ///
    /// # Errors
    /// What mmap reports.
    pub fn map_read_only(file: &File, length: u64) -> io::Result<Self> {
        let mapped = Mapped::read_only(file, address_space(length)?)?;
        Ok(Self {
            base: mapped.base()?,
            length,
            words: length / 8,
            _backing: Backing::Mapped(mapped),
        })
    }

    #[inline(always)]
    fn at(&self, offset: Offset, length: u64) -> NonNull<u8> {
        let fits = offset
            .0
            .checked_add(length)
            .is_some_and(|end| end <= self.length);
        if !fits {
            wild_offset(offset, length, self.length);
        }
        self.checked(offset)
    }

    /// The aligned eight bytes at `offset`.
    #[inline(always)]
    fn word_at(&self, offset: Offset) -> NonNull<u8> {
        // One comparison for both: rotated, an offset that is not a multiple of eight is beyond any number of words.
        if offset.0.rotate_right(3) >= self.words {
            wild_offset(offset, 8, self.length);
        }
        self.checked(offset)
    }

    /// The byte at an offset that is known to be in bounds.
    #[inline(always)]
    fn checked(&self, offset: Offset) -> NonNull<u8> {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "below `length`, which fits the address space"
        )]
        let bytes = offset.0 as usize;
        // SAFETY: both callers have just checked that it lies within the `length` bytes of the backing.
        unsafe { self.base.add(bytes) }
    }

    /// The atomic word at `offset`.
    #[inline(always)]
    pub fn word(&self, offset: Offset) -> Word<'_> {
        let pointer = self.word_at(offset).cast::<AtomicU64>();
        // SAFETY: in bounds and aligned (`word_at`); a word's bytes are only ever accessed as this atomic (format); lives as
        // long as `self`.
        let word = unsafe { pointer.as_ref() };
        Word { word }
    }

    /// The futex word at `offset`.
    #[inline]
    pub fn event(&self, offset: Offset) -> Event<'_> {
        let pointer = self.word_at(offset).cast::<AtomicU32>();
        // SAFETY: in bounds and aligned (`word_at`); an event's bytes are only ever accessed as this atomic (format); lives
        // as long as `self`.
        Event(unsafe { pointer.as_ref() })
    }

    /// Copies `bytes` to `offset`. The caller holds those bytes (I2).
    #[inline]
    pub fn copy_in(&self, offset: Offset, bytes: &[u8]) {
        if !fault::touches() {
            return;
        }
        let target = self.at(offset, bytes.len() as u64);
        // SAFETY: in bounds (`at`); by I2 nobody else reads or writes these bytes now; `bytes` is not of the mapping, or
        // is a pinned payload elsewhere in it.
        unsafe { target.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
    }

    /// Copies out of `offset`. The caller holds those bytes (I2) or has them pinned (I3).
    #[inline]
    pub fn copy_out(&self, offset: Offset, bytes: &mut [u8]) {
        if !fault::touches() {
            bytes.fill(0);
            return;
        }
        let source = self.at(offset, bytes.len() as u64);
        // SAFETY: in bounds (`at`); by I2 or I3 nobody writes these bytes now.
        unsafe { source.copy_to_nonoverlapping(NonNull::from(&mut *bytes).cast(), bytes.len()) };
    }

    /// Copies out of `offset` while others may write there: the result may be torn, and the caller has to find out.
    pub fn copy_out_torn(&self, offset: Offset, bytes: &mut [u8]) {
        if !fault::touches() {
            bytes.fill(0);
            return;
        }
        let mut at = self.at(offset, bytes.len() as u64).as_ptr().cast_const();
        let head = at.align_offset(8).min(bytes.len());
        let (first, rest) = bytes.split_at_mut(head);
        let (words, last) = rest.as_chunks_mut::<8>();
        let next_byte = |at: &mut *const u8| {
            // SAFETY: in bounds (`at`; each step reads what the slice has room for). Volatile, since a racing write makes
            // it no ordinary read, and the mapping is outside what the compiler reasons about.
            let byte = unsafe { at.read_volatile() };
            *at = at.wrapping_add(1);
            byte
        };
        for byte in first {
            *byte = next_byte(&mut at);
        }
        for word in words {
            // SAFETY: in bounds as above, and aligned since `head`.
            *word = unsafe { at.cast::<u64>().read_volatile() }.to_ne_bytes();
            at = at.wrapping_add(8);
        }
        for byte in last {
            *byte = next_byte(&mut at);
        }
    }

    /// Asks for the cache line at `offset`, to be read soon. A hint: does nothing where there is no such instruction.
    #[inline(always)]
    pub fn prefetch(&self, offset: Offset) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: prefetching reads nothing architecturally, wherever that is.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(self.unchecked(offset)) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _no_such_instruction = offset;
    }

    /// The same, to be written soon: others lose it.
    #[inline(always)]
    pub fn prefetch_to_write(&self, offset: Offset) {
        #[cfg(target_arch = "x86_64")]
        {
            // The intrinsic asks for it only to be read, unless compiled for a processor that is known to do better; on those
            // that do not, the instruction does nothing.
            // SAFETY: prefetching writes nothing architecturally, wherever that is.
            unsafe {
                std::arch::asm!(
                    "prefetchw [{}]",
                    in(reg) self.unchecked(offset),
                    options(nostack, preserves_flags, readonly)
                );
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _no_such_instruction = offset;
    }

    /// An address that is not accessed.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn unchecked(&self, offset: Offset) -> *const i8 {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "whatever it is, nothing is accessed there"
        )]
        let bytes = offset.0 as usize;
        self.base.as_ptr().wrapping_add(bytes).cast_const().cast()
    }

    /// The bytes at `offset`, in place. The caller has them pinned (I3) for as long as it keeps the slice.
    #[inline(always)]
    pub fn view(&self, offset: Offset, length: u32) -> &[u8] {
        let start = self.at(offset, length.into());
        // SAFETY: in bounds (`at`); by I3 a published payload does not change while a claim on it is held.
        unsafe { NonNull::slice_from_raw_parts(start, length as usize).as_ref() }
    }

    /// The bytes at `offset`, to fill in place. The caller holds them (I2) for as long as it keeps the loan.
    pub fn loan(&self, offset: Offset, length: u32) -> Loan<'_> {
        let start = self.at(offset, length.into());
        Loan {
            bytes: NonNull::slice_from_raw_parts(start, length as usize),
            _mem: PhantomData,
        }
    }
}

fn address_space(length: u64) -> io::Result<usize> {
    usize::try_from(length).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))
}

#[cold]
#[inline(never)]
#[expect(
    clippy::panic,
    reason = "stops a wild access; offsets come from a checked geometry, so this is our bug"
)]
fn wild_offset(offset: Offset, length: u64, limit: u64) -> ! {
    panic!(
        "slipring: {length} bytes at offset {} of a queue of {limit} bytes",
        offset.0
    )
}

/// Bytes of the arena lent to one producer.
pub struct Loan<'a> {
    bytes: NonNull<[u8]>,
    _mem: PhantomData<&'a mut [u8]>,
}

// SAFETY: a loan is an exclusive borrow of plain bytes, like `&mut [u8]`.
unsafe impl Send for Loan<'_> {}

impl Deref for Loan<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: checked when made; exclusive by I2 while the segment is held.
        unsafe { self.bytes.as_ref() }
    }
}

impl DerefMut for Loan<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: checked when made; exclusive by I2 while the segment is held.
        unsafe { self.bytes.as_mut() }
    }
}

impl fmt::Debug for Loan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loan")
            .field("length", &self.bytes.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::Ordering;

    #[test]
    fn words_and_bytes_land_where_they_should() {
        let mem = Mem::heap(8192).unwrap();
        mem.word(Offset(128))
            .store(0x0807_0605_0403_0201, Ordering::Relaxed);
        mem.copy_in(Offset(136), &[9, 10, 11]);
        let mut bytes = [0; 11];
        mem.copy_out_torn(Offset(128), &mut bytes);
        assert_eq!(bytes, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
        let mut unaligned = [0; 9];
        mem.copy_out_torn(Offset(130), &mut unaligned);
        assert_eq!(unaligned, [3, 4, 5, 6, 7, 8, 9, 10, 11]);
        mem.loan(Offset(8189), 3).copy_from_slice(&[1, 2, 3]);
        assert_eq!(mem.view(Offset(8189), 3), [1, 2, 3]);
    }

    #[test]
    #[should_panic(expected = "8 bytes at offset 8192 of a queue of 8192 bytes")]
    fn a_wild_offset_stops_the_program() {
        let mem = Mem::heap(8192).unwrap();
        mem.word(Offset(8192)).load(Ordering::Relaxed);
    }
}
