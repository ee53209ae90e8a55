//! Aeron IPC: an exclusive publication and a subscription, with a media driver in the process that makes the queue.

use std::ffi::CString;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rusteron_client::{
    AERON_IPC_STREAM, Aeron, AeronContext, AeronExclusivePublication,
    AeronFragmentClosureAssembler, AeronHeader, AeronSubscription, Handlers,
};
use rusteron_media_driver::bindings::aeron_threading_mode_enum::AERON_THREADING_MODE_SHARED;
use rusteron_media_driver::testing::EmbeddedDriver;

use crate::contract::{Description, UNBATCHED, built_with};
use crate::machine::unpinned;
use crate::queue::{Farewell, Place, Receiver, Rival, Sender};

/// A shorter one has the publisher wait for the driver.
const TERM_LENGTH: usize = 16 << 20;
const PATIENCE: Duration = Duration::from_secs(10);

pub fn describe() -> anyhow::Result<Description> {
    Ok(Description {
        roles: UNBATCHED,
        max_size: Some(TERM_LENGTH / 8),
        notes: "broadcast, exclusive publication, term of 16 MiB, driver with one shared thread; all stop when the driver's process is killed, here the receiving one; a killed publisher is noticed after 10 s",
        ..Description::new("aeron-ipc", built_with("rusteron-client"))
    })
}

pub struct AeronIpc;

/// What both ends need for as long as they live: the client before the driver.
struct Kept {
    aeron: Aeron,
    stream: i32,
    _driver: Option<EmbeddedDriver>,
}

impl Kept {
    /// Aeron's threads do not share the CPU that this one is pinned to.
    fn new(place: &Place) -> anyhow::Result<Self> {
        unpinned(|| {
            let dir = place.dir.join("aeron");
            let name =
                CString::new(dir.as_os_str().as_encoded_bytes()).context("naming the directory")?;
            // The first end of a run has the driver.
            let launch = place.creates() && !dir.exists();
            let driver = launch.then(|| {
                EmbeddedDriver::launch_with(|context| {
                    context.set_dir(&name)?;
                    context.set_threading_mode(AERON_THREADING_MODE_SHARED)?;
                    context.set_ipc_term_buffer_length(TERM_LENGTH)?;
                    context.set_term_buffer_sparse_file(false)?;
                    Ok(())
                })
            });
            let driver = driver.transpose().context("starting the media driver")?;
            let context = AeronContext::new()?;
            context.set_dir(&name)?;
            // Else the client ends its process when the driver is gone.
            context.set_error_handler(Some(|code: i32, what: &str| {
                eprintln!("aeron: {code}: {what}")
            }))?;
            let aeron = Aeron::new(&context).context("connecting to the media driver")?;
            aeron.start().context("starting the client")?;
            Ok(Self {
                aeron,
                stream: if place.queue == "there" { 1 } else { 2 },
                _driver: driver,
            })
        })
    }
}

pub struct In {
    publication: AeronExclusivePublication,
    farewell: Farewell,
    _kept: Kept,
}

pub struct Out {
    subscription: AeronSubscription,
    assembler: AeronFragmentClosureAssembler,
    farewell: Farewell,
    _kept: Kept,
}

impl Rival for AeronIpc {
    type Sender = In;
    type Receiver = Out;

    fn sender(place: &Place) -> anyhow::Result<In> {
        let kept = Kept::new(place)?;
        let publication = kept
            .aeron
            .add_exclusive_publication(AERON_IPC_STREAM, kept.stream, PATIENCE)
            .context("adding a publication")?;
        let start = Instant::now();
        while !place.creates() && !publication.is_connected() {
            ensure!(start.elapsed() < PATIENCE, "no subscriber came within 10 s");
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(In {
            publication,
            farewell: Farewell::new(place),
            _kept: kept,
        })
    }

    fn receiver(place: &Place) -> anyhow::Result<Out> {
        let kept = Kept::new(place)?;
        let subscription = kept
            .aeron
            .add_subscription(
                AERON_IPC_STREAM,
                kept.stream,
                Handlers::NONE,
                Handlers::NONE,
                PATIENCE,
            )
            .context("adding a subscription")?;
        Ok(Out {
            subscription,
            assembler: AeronFragmentClosureAssembler::new()?,
            farewell: Farewell::new(place),
            _kept: kept,
        })
    }
}

impl Drop for In {
    fn drop(&mut self) {
        self.farewell.wait();
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        self.farewell.say();
    }
}

impl Sender for In {
    #[inline]
    fn try_send(&mut self, message: &[u8]) -> anyhow::Result<bool> {
        match self.publication.offer(message) {
            Ok(_) => Ok(true),
            Err(error) if error.is_retryable() => Ok(false),
            Err(error) => bail!("offering: {error:?}"),
        }
    }
}

/// What one poll has brought so far.
struct Taken<'t, T> {
    take: &'t mut T,
    count: usize,
    outcome: anyhow::Result<()>,
}

impl<T: FnMut(&[u8]) -> anyhow::Result<()>> Taken<'_, T> {
    fn next(&mut self, message: &[u8], _header: AeronHeader) {
        self.count += 1;
        if self.outcome.is_ok() {
            self.outcome = (self.take)(message);
        }
    }
}

impl Receiver for Out {
    #[inline]
    fn try_receive(
        &mut self,
        most: usize,
        take: &mut impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<usize> {
        let mut taken = Taken {
            take,
            count: 0,
            outcome: Ok(()),
        };
        self.assembler
            .poll(&self.subscription, &mut taken, Taken::next, most)
            .context("polling")?;
        taken.outcome.map(|()| taken.count)
    }
}
