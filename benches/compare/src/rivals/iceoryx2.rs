//! iceoryx2: publish-subscribe with one subscriber, loans of slices, no overflow; it waits for room itself.

use anyhow::{Context, anyhow};
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::{
    AllocationStrategy, BackpressureStrategy, LogLevel, Node, NodeBuilder, ServiceName, ipc,
    set_log_level,
};
use iceoryx2::service::port_factory::publish_subscribe::PortFactory;

use crate::contract::{Description, UNBATCHED, built_with};
use crate::queue::{Farewell, Place, Receiver, Rival, Sender};

pub fn describe() -> anyhow::Result<Description> {
    Ok(Description {
        roles: UNBATCHED,
        notes: "publish-subscribe, broadcast; RetryUntilDelivered; a killed subscriber stops a publisher until a third process cleans up",
        ..Description::new("iceoryx2", built_with("iceoryx2"))
    })
}

pub struct Iceoryx2;

/// The node and the service live as long as their port.
struct Kept {
    _node: Node<ipc::Service>,
    service: PortFactory<ipc::Service, [u8], ()>,
}

fn service(place: &Place) -> anyhow::Result<Kept> {
    set_log_level(LogLevel::Error);
    let wrong = |error: &dyn std::fmt::Debug| anyhow!("opening the service: {error:?}");
    let name = ServiceName::new(&place.name()).map_err(|error| wrong(&error))?;
    let node = NodeBuilder::new()
        .create::<ipc::Service>()
        .map_err(|error| wrong(&error))?;
    let service = node
        .service_builder(&name)
        .publish_subscribe::<[u8]>()
        .subscriber_max_buffer_size(place.depth)
        .history_size(0)
        .enable_safe_overflow(false)
        .open_or_create()
        .map_err(|error| wrong(&error))?;
    Ok(Kept {
        _node: node,
        service,
    })
}

pub struct In {
    port: Publisher<ipc::Service, [u8], ()>,
    farewell: Farewell,
    _kept: Kept,
}

impl Drop for In {
    fn drop(&mut self) {
        self.farewell.wait();
    }
}

pub struct Out {
    port: Subscriber<ipc::Service, [u8], ()>,
    farewell: Farewell,
    _kept: Kept,
}

impl Drop for Out {
    fn drop(&mut self) {
        self.farewell.say();
    }
}

impl Rival for Iceoryx2 {
    type Sender = In;
    type Receiver = Out;

    fn sender(place: &Place) -> anyhow::Result<In> {
        let kept = service(place)?;
        let port = kept
            .service
            .publisher_builder()
            .initial_max_slice_len(place.size)
            .allocation_strategy(AllocationStrategy::Static)
            .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
            .create()
            .map_err(|error| anyhow!("making a publisher: {error:?}"))?;
        Ok(In {
            port,
            farewell: Farewell::new(place),
            _kept: kept,
        })
    }

    fn receiver(place: &Place) -> anyhow::Result<Out> {
        let kept = service(place)?;
        let port = kept
            .service
            .subscriber_builder()
            .buffer_size(place.depth)
            .create()
            .map_err(|error| anyhow!("making a subscriber: {error:?}"))?;
        Ok(Out {
            port,
            farewell: Farewell::new(place),
            _kept: kept,
        })
    }
}

impl Sender for In {
    #[inline]
    fn try_send(&mut self, message: &[u8]) -> anyhow::Result<bool> {
        let sample = self
            .port
            .loan_slice_uninit(message.len())
            .map_err(|error| anyhow!("borrowing a sample: {error:?}"))?;
        let recipients = sample
            .write_from_slice(message)
            .send()
            .map_err(|error| anyhow!("sending: {error:?}"))?;
        // Before the subscriber has first received, a full buffer is no reason to wait: then nobody got it.
        Ok(recipients > 0)
    }
}

impl Receiver for Out {
    #[inline]
    fn try_receive(
        &mut self,
        _most: usize,
        take: &mut impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<usize> {
        let received = self.port.receive();
        let Some(sample) = received
            .map_err(|error| anyhow!("{error:?}"))
            .context("receiving")?
        else {
            return Ok(0);
        };
        take(sample.payload()).map(|()| 1)
    }
}
