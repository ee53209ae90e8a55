//! shaq: rings in a file, between two processes or between many; read in place.

use std::num::NonZeroUsize;

use anyhow::Context;
#[cfg(not(feature = "shaq-5"))]
use shaq::{mpmc, spsc};
#[cfg(feature = "shaq-5")]
use shaq_5::{mpmc, spsc};

use super::{LARGEST, array};
use crate::contract::Description;
use crate::queue::{Place, Receiver, Rival, Sender};

const VERSION: &str = if cfg!(feature = "shaq-5") {
    "5.1.1"
} else {
    "4.0.0"
};

pub fn describe_spsc() -> anyhow::Result<Description> {
    Ok(Description {
        max_size: Some(LARGEST),
        notes: "one sender, one receiver; no recovery",
        ..Description::new("shaq-spsc", VERSION)
    })
}

pub fn describe_mpmc() -> anyhow::Result<Description> {
    Ok(Description {
        mpmc: true,
        max_size: Some(LARGEST),
        notes: "a process killed between reserving and publishing stops all others",
        ..Description::new("shaq-mpmc", VERSION)
    })
}

pub struct Spsc<const N: usize>;

pub struct SpscIn<const N: usize> {
    ring: spsc::Producer<[u8; N]>,
}

pub struct SpscOut<const N: usize> {
    ring: spsc::Consumer<[u8; N]>,
    size: usize,
}

impl<const N: usize> Rival for Spsc<N> {
    type Sender = SpscIn<N>;
    type Receiver = SpscOut<N>;

    fn sender(place: &Place) -> anyhow::Result<SpscIn<N>> {
        let length = spsc::minimum_file_size::<[u8; N]>(place.depth);
        let file = place.sized_file(length)?;
        let ring = if place.creates() {
            // SAFETY: nobody else has the new file yet, and nobody truncates it.
            unsafe { spsc::Producer::create(&file, length) }
        } else {
            // SAFETY: created by the other process for the same type; this is its only producer.
            unsafe { spsc::Producer::join(&file) }
        };
        let ring = ring.map_err(|error| anyhow::anyhow!("{error:?}"))?;
        Ok(SpscIn { ring })
    }

    fn receiver(place: &Place) -> anyhow::Result<SpscOut<N>> {
        let length = spsc::minimum_file_size::<[u8; N]>(place.depth);
        let file = place.sized_file(length)?;
        let ring = if place.creates() {
            // SAFETY: nobody else has the new file yet, and nobody truncates it.
            unsafe { spsc::Consumer::create(&file, length) }
        } else {
            // SAFETY: created by the other process for the same type; this is its only consumer.
            unsafe { spsc::Consumer::join(&file) }
        };
        let ring = ring.map_err(|error| anyhow::anyhow!("{error:?}"))?;
        let size = place.size;
        Ok(SpscOut { ring, size })
    }
}

impl<const N: usize> Sender for SpscIn<N> {
    #[inline]
    fn try_send(&mut self, message: &[u8]) -> anyhow::Result<bool> {
        Ok(self.ring.try_write(array(message)).is_ok())
    }

    #[inline]
    fn try_send_batch(&mut self, messages: &[u8], size: usize) -> anyhow::Result<usize> {
        let mut batch = self.ring.write_batch();
        let messages = messages.chunks_exact(size);
        Ok(messages
            .take_while(|message| batch.try_write(array(message)).is_ok())
            .count())
    }
}

fn limit(most: usize) -> anyhow::Result<NonZeroUsize> {
    NonZeroUsize::new(most).context("a batch of no messages")
}

impl<const N: usize> Receiver for SpscOut<N> {
    #[inline]
    fn try_receive(
        &mut self,
        most: usize,
        take: &mut impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<usize> {
        let Some(batch) = self.ring.try_reserve_read_batch(limit(most)?) else {
            return Ok(0);
        };
        let (first, second) = batch.as_slices();
        for message in first.iter().chain(second) {
            take(&message[..self.size])?;
        }
        Ok(first.len() + second.len())
    }
}

pub struct Mpmc<const N: usize>;

pub struct MpmcIn<const N: usize> {
    ring: mpmc::Producer<[u8; N]>,
}

pub struct MpmcOut<const N: usize> {
    ring: mpmc::Consumer<[u8; N]>,
    size: usize,
}

impl<const N: usize> Rival for Mpmc<N> {
    type Sender = MpmcIn<N>;
    type Receiver = MpmcOut<N>;

    fn sender(place: &Place) -> anyhow::Result<MpmcIn<N>> {
        let length = mpmc::minimum_file_size::<[u8; N]>(place.depth);
        let file = place.sized_file(length)?;
        let ring = if place.creates() {
            // SAFETY: nobody else has the new file yet, and nobody truncates it.
            unsafe { mpmc::Producer::create(&file, length) }
        } else {
            // SAFETY: created by the other process for the same type.
            unsafe { mpmc::Producer::join(&file) }
        };
        let ring = ring.map_err(|error| anyhow::anyhow!("{error:?}"))?;
        Ok(MpmcIn { ring })
    }

    fn receiver(place: &Place) -> anyhow::Result<MpmcOut<N>> {
        let length = mpmc::minimum_file_size::<[u8; N]>(place.depth);
        let file = place.sized_file(length)?;
        let ring = if place.creates() {
            // SAFETY: nobody else has the new file yet, and nobody truncates it.
            unsafe { mpmc::Consumer::create(&file, length) }
        } else {
            // SAFETY: created by the other process for the same type.
            unsafe { mpmc::Consumer::join(&file) }
        };
        let ring = ring.map_err(|error| anyhow::anyhow!("{error:?}"))?;
        let size = place.size;
        Ok(MpmcOut { ring, size })
    }
}

impl<const N: usize> Sender for MpmcIn<N> {
    #[inline]
    fn try_send(&mut self, message: &[u8]) -> anyhow::Result<bool> {
        Ok(self.ring.try_write(array(message)).is_ok())
    }

    #[inline]
    fn try_send_batch(&mut self, messages: &[u8], size: usize) -> anyhow::Result<usize> {
        if size != N {
            return Ok(usize::from(self.try_send(&messages[..size])?));
        }
        let (arrays, _) = messages.as_chunks::<N>();
        let sent = self.ring.try_write_slice(arrays);
        Ok(if sent { arrays.len() } else { 0 })
    }
}

impl<const N: usize> Receiver for MpmcOut<N> {
    #[inline]
    fn try_receive(
        &mut self,
        most: usize,
        take: &mut impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<usize> {
        if most == 1 {
            let Some(message) = self.ring.try_reserve_read() else {
                return Ok(0);
            };
            take(&message.as_ref()[..self.size])?;
            return Ok(1);
        }
        let Some(batch) = self.ring.try_reserve_read_batch(limit(most)?) else {
            return Ok(0);
        };
        let (first, second) = batch.as_slices();
        for message in first.iter().chain(second) {
            take(&message[..self.size])?;
        }
        Ok(first.len() + second.len())
    }
}
