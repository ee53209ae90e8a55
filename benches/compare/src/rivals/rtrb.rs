//! rtrb: a wait-free ring between two threads; batches through its chunks.

use rtrb::chunks::ChunkError;
use rtrb::{Consumer, Producer, RingBuffer};

use super::{LARGEST, array};
use crate::contract::{Description, built_with};
use crate::queue::{Pair, Place, Receiver, Sender};

pub fn describe() -> anyhow::Result<Description> {
    Ok(Description {
        threads: true,
        max_size: Some(LARGEST),
        notes: "two threads of one process; push and pop, batches by chunks",
        ..Description::new("rtrb", built_with("rtrb"))
    })
}

pub struct Ring<const N: usize>;

pub struct Out<const N: usize> {
    ring: Consumer<[u8; N]>,
    size: usize,
}

impl<const N: usize> Pair for Ring<N> {
    type Sender = Producer<[u8; N]>;
    type Receiver = Out<N>;

    fn pair(place: &Place) -> anyhow::Result<(Self::Sender, Out<N>)> {
        let (sender, ring) = RingBuffer::new(place.depth);
        let size = place.size;
        Ok((sender, Out { ring, size }))
    }
}

impl<const N: usize> Sender for Producer<[u8; N]> {
    #[inline]
    fn try_send(&mut self, message: &[u8]) -> anyhow::Result<bool> {
        Ok(self.push(array(message)).is_ok())
    }

    #[inline]
    fn try_send_batch(&mut self, messages: &[u8], size: usize) -> anyhow::Result<usize> {
        let chunk = match self.write_chunk_uninit(messages.len() / size) {
            Ok(chunk) => chunk,
            Err(ChunkError::TooFewSlots(0)) => return Ok(0),
            Err(ChunkError::TooFewSlots(room)) => self.write_chunk_uninit(room)?,
        };
        Ok(chunk.fill_from_iter(messages.chunks_exact(size).map(array)))
    }
}

impl<const N: usize> Receiver for Out<N> {
    #[inline]
    fn try_receive(
        &mut self,
        most: usize,
        take: &mut impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<usize> {
        if most == 1 {
            let Ok(message) = self.ring.pop() else {
                return Ok(0);
            };
            take(&message[..self.size])?;
            return Ok(1);
        }
        let chunk = match self.ring.read_chunk(most) {
            Ok(chunk) => chunk,
            Err(ChunkError::TooFewSlots(0)) => return Ok(0),
            Err(ChunkError::TooFewSlots(there)) => self.ring.read_chunk(there)?,
        };
        let count = chunk.len();
        let (first, second) = chunk.as_slices();
        for message in first.iter().chain(second) {
            take(&message[..self.size])?;
        }
        chunk.commit_all();
        Ok(count)
    }
}
