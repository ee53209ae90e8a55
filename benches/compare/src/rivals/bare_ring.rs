//! The limit: a ring of slots and two indices in shared memory, one sender, one receiver, no check, no recovery.
//!
//! No product: it shows what the machine gives to a queue that promises nothing.

use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::MmapRaw;

use crate::contract::Description;
use crate::queue::{Place, Receiver, Rival, Sender};

pub fn describe() -> anyhow::Result<Description> {
    Ok(Description {
        notes: "our own; one sender, one receiver, no recovery",
        ..Description::new("bare-ring", env!("CARGO_PKG_VERSION"))
    })
}

const HEAD: usize = 0;
const TAIL: usize = 128;
const SLOTS: usize = 256;

struct Ring {
    map: MmapRaw,
    depth: u64,
    size: usize,
    slot: usize,
}

impl Ring {
    fn open(place: &Place) -> anyhow::Result<Self> {
        let slot = place.size.next_multiple_of(64);
        let file = place.sized_file(SLOTS + place.depth * slot)?;
        Ok(Self {
            map: MmapRaw::map_raw(&file)?,
            depth: place.depth as u64,
            size: place.size,
            slot,
        })
    }

    #[inline]
    fn word(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: `offset` is HEAD or TAIL, before the slots.
        let word = unsafe { self.map.as_mut_ptr().add(offset) };
        // SAFETY: mapped, aligned, and only ever accessed as this atomic.
        unsafe { AtomicU64::from_ptr(word.cast()) }
    }

    #[inline]
    fn slot(&self, position: u64) -> *mut u8 {
        let index = (position & (self.depth - 1)) as usize;
        // SAFETY: there are `depth` slots of `slot` bytes from SLOTS on.
        unsafe { self.map.as_mut_ptr().add(SLOTS + index * self.slot) }
    }
}

pub struct BareRing;

impl Rival for BareRing {
    type Sender = In;
    type Receiver = Out;

    fn sender(place: &Place) -> anyhow::Result<In> {
        Ok(In {
            ring: Ring::open(place)?,
            tail: 0,
            head: 0,
        })
    }

    fn receiver(place: &Place) -> anyhow::Result<Out> {
        Ok(Out {
            ring: Ring::open(place)?,
            head: 0,
            tail: 0,
        })
    }
}

pub struct In {
    ring: Ring,
    tail: u64,
    /// As last read.
    head: u64,
}

impl Sender for In {
    #[inline]
    fn try_send(&mut self, message: &[u8]) -> anyhow::Result<bool> {
        Ok(self.try_send_batch(message, message.len())? == 1)
    }

    #[inline]
    fn try_send_batch(&mut self, messages: &[u8], size: usize) -> anyhow::Result<usize> {
        let ring = &self.ring;
        let wanted = messages.len() / size;
        if self.head + ring.depth < self.tail + wanted as u64 {
            self.head = ring.word(HEAD).load(Ordering::Acquire);
        }
        let room = (self.head + ring.depth - self.tail) as usize;
        let sent = wanted.min(room);
        for message in messages.chunks_exact(size).take(sent) {
            // SAFETY: the slot holds `size` bytes, and the receiver leaves it alone until the tail has passed it.
            unsafe {
                ring.slot(self.tail)
                    .copy_from_nonoverlapping(message.as_ptr(), size)
            };
            self.tail += 1;
        }
        if sent > 0 {
            ring.word(TAIL).store(self.tail, Ordering::Release);
        }
        Ok(sent)
    }
}

pub struct Out {
    ring: Ring,
    head: u64,
    /// As last read.
    tail: u64,
}

impl Receiver for Out {
    #[inline]
    fn try_receive(
        &mut self,
        most: usize,
        take: &mut impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<usize> {
        let ring = &self.ring;
        if self.head == self.tail {
            self.tail = ring.word(TAIL).load(Ordering::Acquire);
        }
        let count = most.min((self.tail - self.head) as usize);
        for _ in 0..count {
            // SAFETY: the slot holds `size` bytes, which the sender leaves alone until the head has passed it.
            take(unsafe { std::slice::from_raw_parts(ring.slot(self.head), ring.size) })?;
            self.head += 1;
        }
        if count > 0 {
            ring.word(HEAD).store(self.head, Ordering::Release);
        }
        Ok(count)
    }
}
