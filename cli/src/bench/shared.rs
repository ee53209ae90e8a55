//! Memory that two processes of a bare measurement share: words, bytes, and the bare ring. Nothing of slipring is in it,
//! since it is what slipring is compared with.
//!
//! Relies on a fresh directory for each measurement: nobody but the two processes of one pair maps the file.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use memmap2::{MmapOptions, MmapRaw};
use nix::libc;

/// Bytes before the slots: words at different lines, two lines apart.
const CONTROL: usize = 4096;
/// Where slots begin is a multiple of this.
const LINE: usize = 64;

/// A mapped file of a fixed size.
pub struct Shared {
    map: MmapRaw,
}

/// The words that pairs talk through.
#[derive(Clone, Copy, Debug)]
pub enum Word {
    There = 0,
    Back = 512,
    /// How far the ring's consumer is.
    Consumed = 1024,
}

impl Shared {
    /// Maps `bare` in this directory, with so many bytes behind the words; makes it if it is not there.
    pub fn open(dir: &Path, bytes: usize) -> anyhow::Result<Self> {
        let path = dir.join("bare");
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(&path);
        let file = file.with_context(|| format!("opening {}", path.display()))?;
        let size = CONTROL + bytes;
        file.set_len(size as u64)
            .and_then(|()| MmapOptions::new().len(size).populate().map_raw(&file))
            .map(|map| Self { map })
            .with_context(|| format!("mapping {size} bytes of {}", path.display()))
    }

    /// A word, to be accessed as this atomic only.
    pub fn word(&self, word: Word) -> &AtomicU64 {
        let offset = word as usize;
        // SAFETY: every offset of `Word` is within the control page.
        let place = unsafe { self.map.as_mut_ptr().add(offset) };
        // SAFETY: mapped as long as `self` lives, a multiple of 512 bytes from a page, only accessed as an atomic.
        unsafe { AtomicU64::from_ptr(place.cast()) }
    }

    /// Waits until a word has this value.
    pub fn wait_for(&self, word: Word, value: u64) {
        let mut looks = 0;
        while self.word(word).load(Ordering::Acquire) != value {
            pause(&mut looks);
        }
    }

    fn futex(&self) -> &AtomicU32 {
        // SAFETY: the word `There`, used as a futex alone in the measurement that uses it so.
        unsafe { AtomicU32::from_ptr(self.map.as_mut_ptr().cast()) }
    }

    /// Sleeps while the futex has this value, but no longer than a second.
    pub fn futex_wait(&self, value: u32) {
        let limit = libc::timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        while self.futex().load(Ordering::Acquire) == value {
            // SAFETY: a valid address and a valid limit; the kernel touches nothing else.
            unsafe {
                libc::syscall(
                    libc::SYS_futex,
                    self.futex().as_ptr(),
                    libc::FUTEX_WAIT,
                    value,
                    &raw const limit,
                )
            };
        }
    }

    /// Changes the futex's value and wakes who sleeps on it.
    pub fn futex_wake(&self, value: u32) {
        self.futex().store(value, Ordering::Release);
        // SAFETY: a valid address.
        unsafe { libc::syscall(libc::SYS_futex, self.futex().as_ptr(), libc::FUTEX_WAKE, 1) };
    }

    /// Fills the bytes behind the words. The other process must not look meanwhile: the words say whose turn it is.
    pub fn fill(&self, byte: u8) {
        let length = self.map.len() - CONTROL;
        // SAFETY: within the mapping.
        let start = unsafe { self.map.as_mut_ptr().add(CONTROL) };
        // SAFETY: as long as the mapping is, and this process's turn.
        unsafe { start.write_bytes(byte, length) };
    }

    /// Copies the bytes behind the words. The other process must not write meanwhile.
    pub fn copy_to(&self, target: &mut [u8]) {
        let length = target.len().min(self.map.len() - CONTROL);
        // SAFETY: within the mapping.
        let start = unsafe { self.map.as_mut_ptr().add(CONTROL) };
        // SAFETY: both are that long; one is a mapping, the other our own memory.
        unsafe { start.copy_to_nonoverlapping(target.as_mut_ptr(), length) };
    }
}

/// Nothing at first; but where two processes share a CPU, looking alone would last for the whole of a time slice.
fn pause(looks: &mut u32) {
    const LOOKS: u32 = 20_000;
    *looks += 1;
    if *looks > LOOKS {
        *looks = 0;
        std::thread::yield_now();
    }
}

/// A bare ring for one producer and one consumer: slots with a sequence word each. The word of a batch's first slot says
/// where the batch ends; one message is a batch of one. The consumer says how far it is in a line of its own, which the
/// producer reads only when it believes the ring full. No death is survived, nothing is acked.
pub struct Ring {
    shared: Shared,
    slot: usize,
    length: usize,
    capacity: u64,
    position: u64,
    /// The producer's last look at the consumer.
    seen: u64,
}

impl Ring {
    /// One for messages of this length.
    pub fn open(dir: &Path, length: usize, capacity: u64) -> anyhow::Result<Self> {
        let slot = (length + size_of::<u64>()).next_multiple_of(LINE);
        let capacity = capacity.next_power_of_two();
        let shared = Shared::open(dir, slot * usize::try_from(capacity)?)?;
        Ok(Self {
            shared,
            slot,
            length,
            capacity,
            position: 0,
            seen: 0,
        })
    }

    fn slot(&self, position: u64) -> *mut u8 {
        // A capacity that fits the address space was checked at `open`, so the index does.
        #[expect(clippy::cast_possible_truncation, reason = "below the capacity")]
        let index = (position & (self.capacity - 1)) as usize;
        // SAFETY: below the capacity, for which the mapping has room.
        unsafe {
            self.shared
                .map
                .as_mut_ptr()
                .add(CONTROL + index * self.slot)
        }
    }

    fn sequence(&self, position: u64) -> &AtomicU64 {
        // SAFETY: slots start at multiples of a line with their word, which is only accessed as an atomic.
        unsafe { AtomicU64::from_ptr(self.slot(position).cast()) }
    }

    /// Puts in so many messages, each made in `buffer` first, as an application has it there.
    pub fn push(&mut self, count: u64, buffer: &mut [u8], mut compose: impl FnMut(&mut [u8])) {
        let mut looks = 0;
        while self.position + count > self.seen + self.capacity {
            self.seen = self.shared.word(Word::Consumed).load(Ordering::Acquire);
            pause(&mut looks);
        }
        let length = self.length.min(buffer.len());
        for position in self.position..self.position + count {
            compose(buffer);
            // SAFETY: behind the word.
            let payload = unsafe { self.slot(position).add(size_of::<u64>()) };
            // SAFETY: the slot is this long, and ours: the consumer is past it, and sees it again after the word.
            unsafe { payload.copy_from_nonoverlapping(buffer.as_ptr(), length) };
        }
        let end = self.position + count;
        self.sequence(self.position).store(end, Ordering::Release);
        self.position = end;
    }

    /// Waits for the next batch and shows its messages.
    pub fn pop(&mut self, mut show: impl FnMut(&[u8])) -> u64 {
        let mut looks = 0;
        let end = loop {
            let end = self.sequence(self.position).load(Ordering::Acquire);
            if end > self.position {
                break end;
            }
            pause(&mut looks);
        };
        for position in self.position..end {
            // SAFETY: behind the word.
            let payload = unsafe { self.slot(position).add(size_of::<u64>()) };
            // SAFETY: the producer wrote it before the word, and writes it again only when `Consumed` is past it.
            show(unsafe { std::slice::from_raw_parts(payload, self.length) });
        }
        let count = end - self.position;
        self.position = end;
        self.shared
            .word(Word::Consumed)
            .store(end, Ordering::Release);
        count
    }
}

/// Between two wake-ups of the bare futex, as in the workload that is held against it: sleep gets deeper with time.
pub const NAP: Duration = Duration::from_millis(1);
