//! disruptor: one producer's ring, read through its event poller; messages are written in place.

use disruptor::{
    BusySpin, EventPoller, MissingFreeSlots, Polling, Producer, SingleConsumerBarrier,
    SingleProducer, SingleProducerBarrier, build_single_producer,
};

use super::LARGEST;
use crate::contract::{Description, built_with};
use crate::queue::{Pair, Place, Receiver, Sender};

pub fn describe() -> anyhow::Result<Description> {
    Ok(Description {
        threads: true,
        max_size: Some(LARGEST),
        notes: "two threads of one process; single producer, event poller, BusySpin",
        ..Description::new("disruptor", built_with("disruptor"))
    })
}

pub struct Disruptor<const N: usize>;

pub struct In<const N: usize> {
    ring: SingleProducer<[u8; N], SingleConsumerBarrier>,
}

pub struct Out<const N: usize> {
    ring: EventPoller<[u8; N], SingleProducerBarrier>,
    size: usize,
}

impl<const N: usize> Pair for Disruptor<N> {
    type Sender = In<N>;
    type Receiver = Out<N>;

    fn pair(place: &Place) -> anyhow::Result<(In<N>, Out<N>)> {
        let builder = build_single_producer(place.depth, || [0; N], BusySpin);
        let (poller, builder) = builder.new_event_poller();
        let sender = In {
            ring: builder.build(),
        };
        let receiver = Out {
            ring: poller,
            size: place.size,
        };
        Ok((sender, receiver))
    }
}

impl<const N: usize> Sender for In<N> {
    #[inline]
    fn try_send(&mut self, message: &[u8]) -> anyhow::Result<bool> {
        let published = self
            .ring
            .try_publish(|slot| slot[..message.len()].copy_from_slice(message));
        Ok(published.is_ok())
    }

    #[inline]
    fn try_send_batch(&mut self, messages: &[u8], size: usize) -> anyhow::Result<usize> {
        let count = messages.len() / size;
        let published = self.ring.try_batch_publish(count, |slots| {
            for (slot, message) in slots.zip(messages.chunks_exact(size)) {
                slot[..size].copy_from_slice(message);
            }
        });
        Ok(match published {
            Ok(_) => count,
            Err(MissingFreeSlots(_)) => 0,
        })
    }
}

impl<const N: usize> Receiver for Out<N> {
    #[inline]
    fn try_receive(
        &mut self,
        most: usize,
        take: &mut impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<usize> {
        let mut events = match self.ring.take(most as u64) {
            Ok(events) => events,
            Err(Polling::NoEvents) => return Ok(0),
            Err(Polling::Shutdown) => anyhow::bail!("the sender is gone"),
        };
        let mut count = 0;
        for message in &mut events {
            take(&message[..self.size])?;
            count += 1;
        }
        Ok(count)
    }
}
