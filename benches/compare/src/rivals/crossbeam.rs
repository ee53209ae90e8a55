//! crossbeam's bounded queue and its bounded channel: many threads to many threads.

use std::sync::Arc;

use crossbeam_channel::{TryRecvError, TrySendError};
use crossbeam_queue::ArrayQueue;

use super::{LARGEST, array};
use crate::contract::{Description, UNBATCHED, built_with};
use crate::queue::{Pair, Place, Receiver, Sender};

pub fn describe_queue() -> anyhow::Result<Description> {
    Ok(Description {
        threads: true,
        mpmc: true,
        roles: UNBATCHED,
        max_size: Some(LARGEST),
        notes: "ArrayQueue; threads of one process",
        ..Description::new("crossbeam-queue", built_with("crossbeam-queue"))
    })
}

pub fn describe_channel() -> anyhow::Result<Description> {
    Ok(Description {
        threads: true,
        mpmc: true,
        roles: UNBATCHED,
        max_size: Some(LARGEST),
        notes: "bounded; threads of one process; polled here, though it can block",
        ..Description::new("crossbeam-channel", built_with("crossbeam-channel"))
    })
}

pub struct Queue<const N: usize>;

pub struct End<const N: usize> {
    queue: Arc<ArrayQueue<[u8; N]>>,
    size: usize,
}

impl<const N: usize> Pair for Queue<N> {
    type Sender = End<N>;
    type Receiver = End<N>;

    fn pair(place: &Place) -> anyhow::Result<(End<N>, End<N>)> {
        let queue = Arc::new(ArrayQueue::new(place.depth));
        let end = |queue| End {
            queue,
            size: place.size,
        };
        Ok((end(Arc::clone(&queue)), end(queue)))
    }
}

impl<const N: usize> Sender for End<N> {
    #[inline]
    fn try_send(&mut self, message: &[u8]) -> anyhow::Result<bool> {
        Ok(self.queue.push(array(message)).is_ok())
    }
}

impl<const N: usize> Receiver for End<N> {
    #[inline]
    fn try_receive(
        &mut self,
        _most: usize,
        take: &mut impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<usize> {
        let Some(message) = self.queue.pop() else {
            return Ok(0);
        };
        take(&message[..self.size])?;
        Ok(1)
    }
}

pub struct Channel<const N: usize>;

pub struct ChannelReceiver<const N: usize> {
    channel: crossbeam_channel::Receiver<[u8; N]>,
    size: usize,
}

impl<const N: usize> Pair for Channel<N> {
    type Sender = crossbeam_channel::Sender<[u8; N]>;
    type Receiver = ChannelReceiver<N>;

    fn pair(place: &Place) -> anyhow::Result<(Self::Sender, Self::Receiver)> {
        let (sender, channel) = crossbeam_channel::bounded(place.depth);
        let size = place.size;
        Ok((sender, ChannelReceiver { channel, size }))
    }
}

impl<const N: usize> Sender for crossbeam_channel::Sender<[u8; N]> {
    #[inline]
    fn try_send(&mut self, message: &[u8]) -> anyhow::Result<bool> {
        match crossbeam_channel::Sender::try_send(self, array(message)) {
            Ok(()) => Ok(true),
            Err(TrySendError::Full(_)) => Ok(false),
            Err(TrySendError::Disconnected(_)) => anyhow::bail!("the receiver is gone"),
        }
    }
}

impl<const N: usize> Receiver for ChannelReceiver<N> {
    #[inline]
    fn try_receive(
        &mut self,
        _most: usize,
        take: &mut impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<usize> {
        match self.channel.try_recv() {
            Ok(message) => take(&message[..self.size]).map(|()| 1),
            Err(TryRecvError::Empty) => Ok(0),
            Err(TryRecvError::Disconnected) => anyhow::bail!("the sender is gone"),
        }
    }
}
