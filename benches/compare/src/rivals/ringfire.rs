//! ringfire: its lossless broadcast ring with one reader, and its work queue, which drops the oldest when full.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use ringfire::{
    CleanupMode, FlowControl, MpmcProducer, MpmcQueueConsumer, RingConsumer, RingProducer,
    RingProducerBuilder,
};

use super::{LARGEST, array};
use crate::contract::{Description, built_with};
use crate::queue::{Place, Receiver, Rival, Sender};

pub fn describe_ring() -> anyhow::Result<Description> {
    Ok(Description {
        survives_kill: true,
        max_size: Some(LARGEST),
        notes: "one sender, broadcast with lossless back-pressure, one reader",
        ..Description::new("ringfire", built_with("ringfire"))
    })
}

pub fn describe_mpmc() -> anyhow::Result<Description> {
    Ok(Description {
        survives_kill: true,
        mpmc: true,
        roles: &["round-trip"],
        max_size: Some(LARGEST),
        notes: "overwrites the oldest when full, so that a throughput would count what is lost; claimed messages die with their process",
        ..Description::new("ringfire-mpmc", built_with("ringfire"))
    })
}

/// The producer makes the ring, so a reader may have to wait for it.
struct Awaited<T> {
    path: PathBuf,
    ring: Option<T>,
}

impl<T> Awaited<T> {
    fn new(place: &Place) -> Self {
        Self {
            path: place.file(),
            ring: None,
        }
    }

    #[inline]
    fn get(&mut self, attach: impl Fn(&PathBuf) -> ringfire::Result<T>) -> Option<&mut T> {
        if self.ring.is_none() {
            // Not there, or not yet whole.
            self.ring = attach(&self.path).ok();
        }
        self.ring.as_mut()
    }
}

pub struct Ring<const N: usize>;

pub struct RingIn<const N: usize> {
    ring: RingProducer<[u8; N]>,
}

pub struct RingOut<const N: usize> {
    ring: Awaited<RingConsumer<[u8; N]>>,
    size: usize,
    batch: Vec<[u8; N]>,
}

impl<const N: usize> Rival for Ring<N> {
    type Sender = RingIn<N>;
    type Receiver = RingOut<N>;

    fn sender(place: &Place) -> anyhow::Result<RingIn<N>> {
        let builder = RingProducerBuilder::new(place.depth as u64)
            .flow_control(FlowControl::LosslessBackpressure)
            .cleanup_mode(CleanupMode::Persistent);
        let ring: RingProducer<[u8; N]> = builder.build(place.file())?;
        let start = Instant::now();
        // It holds nothing back for a reader that has not come yet.
        while !place.creates() && !has_reader(&ring) {
            ensure!(
                start.elapsed() < Duration::from_secs(10),
                "no reader came within 10 s"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(RingIn { ring })
    }

    fn receiver(place: &Place) -> anyhow::Result<RingOut<N>> {
        Ok(RingOut {
            ring: Awaited::new(place),
            size: place.size,
            batch: vec![[0; N]; place.batch],
        })
    }
}

fn has_reader<const N: usize>(ring: &RingProducer<[u8; N]>) -> bool {
    ring.registry()
        .is_some_and(|readers| readers.min_cursor().is_some())
}

impl<const N: usize> Sender for RingIn<N> {
    #[inline]
    fn try_send(&mut self, message: &[u8]) -> anyhow::Result<bool> {
        Ok(self.ring.try_push(&array(message)).is_ok())
    }

    #[inline]
    fn try_send_batch(&mut self, messages: &[u8], size: usize) -> anyhow::Result<usize> {
        if size != N {
            return Ok(usize::from(self.try_send(&messages[..size])?));
        }
        let (arrays, _) = messages.as_chunks::<N>();
        self.ring.push_batch(arrays);
        Ok(arrays.len())
    }
}

impl<const N: usize> Receiver for RingOut<N> {
    #[inline]
    fn try_receive(
        &mut self,
        most: usize,
        take: &mut impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<usize> {
        let Some(ring) = self.ring.get(|path| RingConsumer::attach(path)) else {
            return Ok(0);
        };
        if most == 1 {
            let Some(message) = ring.try_recv() else {
                return Ok(0);
            };
            return take(&message[..self.size]).map(|()| 1);
        }
        let count = ring.recv_batch(&mut self.batch[..most]);
        for message in &self.batch[..count] {
            take(&message[..self.size])?;
        }
        Ok(count)
    }
}

pub struct Mpmc<const N: usize>;

pub struct MpmcIn<const N: usize> {
    ring: MpmcProducer<[u8; N]>,
}

pub struct MpmcOut<const N: usize> {
    ring: Awaited<MpmcQueueConsumer<[u8; N]>>,
    size: usize,
}

impl<const N: usize> Rival for Mpmc<N> {
    type Sender = MpmcIn<N>;
    type Receiver = MpmcOut<N>;

    fn sender(place: &Place) -> anyhow::Result<MpmcIn<N>> {
        let path = place.file();
        let mut ring = if path.exists() {
            MpmcProducer::attach(path)?
        } else {
            MpmcProducer::create(path, place.depth as u64)?
        };
        ring.set_cleanup_mode(CleanupMode::Persistent);
        Ok(MpmcIn { ring })
    }

    fn receiver(place: &Place) -> anyhow::Result<MpmcOut<N>> {
        Ok(MpmcOut {
            ring: Awaited::new(place),
            size: place.size,
        })
    }
}

impl<const N: usize> Sender for MpmcIn<N> {
    #[inline]
    fn try_send(&mut self, message: &[u8]) -> anyhow::Result<bool> {
        self.ring.push(&array(message));
        Ok(true)
    }
}

impl<const N: usize> Receiver for MpmcOut<N> {
    #[inline]
    fn try_receive(
        &mut self,
        _most: usize,
        take: &mut impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<usize> {
        let Some(ring) = self.ring.get(|path| MpmcQueueConsumer::attach(path)) else {
            return Ok(0);
        };
        let Some(message) = ring.try_recv() else {
            return Ok(0);
        };
        if ring.dropped_count() > 0 {
            bail!("messages were overwritten before they were received");
        }
        take(&message[..self.size]).map(|()| 1)
    }
}
