//! A POSIX message queue, polled without blocking.

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::mqueue::{MQ_OFlag, MqAttr, MqdT, mq_open, mq_receive, mq_send, mq_unlink};
use nix::sys::stat::Mode;

use super::kernel;
use crate::contract::{Description, UNBATCHED};
use crate::queue::{Place, Receiver, Rival, Sender};

pub fn describe() -> anyhow::Result<Description> {
    let limit = std::fs::read_to_string("/proc/sys/fs/mqueue/msgsize_max");
    Ok(Description {
        survives_kill: true,
        mpmc: true,
        roles: UNBATCHED,
        max_size: limit.ok().and_then(|limit| limit.trim().parse().ok()),
        notes: "non-blocking; as deep as the system allows, 10 messages by default; a message that was read is gone",
        ..Description::new("posix-mq", kernel())
    })
}

pub struct PosixMq;

pub struct End {
    queue: MqdT,
    /// To be removed by whoever made it; those who are attached stay so.
    made: Option<String>,
    bytes: Vec<u8>,
}

impl End {
    fn open(place: &Place) -> anyhow::Result<Self> {
        let name = format!("/{}", place.name());
        let queue = if place.creates() {
            create(&name, place)?
        } else {
            mq_open(
                &*name,
                MQ_OFlag::O_RDWR | MQ_OFlag::O_NONBLOCK,
                Mode::empty(),
                None,
            )
            .with_context(|| format!("opening the message queue {name}"))?
        };
        Ok(Self {
            queue,
            made: place.creates().then_some(name),
            bytes: vec![0; place.size],
        })
    }
}

/// As deep as asked for, or as the system allows.
fn create(name: &str, place: &Place) -> anyhow::Result<MqdT> {
    let flags = MQ_OFlag::O_RDWR | MQ_OFlag::O_NONBLOCK | MQ_OFlag::O_CREAT | MQ_OFlag::O_EXCL;
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    let size = i64::try_from(place.size)?;
    let depths = [i64::try_from(place.depth)?, 64, 10];
    for depth in depths {
        let attributes = MqAttr::new(0, depth, size, 0);
        match mq_open(name, flags, mode, Some(&attributes)) {
            Ok(queue) => return Ok(queue),
            // Above a limit of the system, or of the user.
            Err(Errno::EINVAL | Errno::EMFILE | Errno::EPERM) => {}
            Err(error) => {
                return Err(error).with_context(|| format!("making the message queue {name}"));
            }
        }
    }
    bail!(
        "no message queue of {size} bytes a message, not even 10 deep; see mq_overview(7) for the limits"
    );
}

impl Drop for End {
    fn drop(&mut self) {
        if let Some(name) = &self.made {
            let _ = mq_unlink(&**name);
        }
    }
}

impl Rival for PosixMq {
    type Sender = End;
    type Receiver = End;

    fn sender(place: &Place) -> anyhow::Result<End> {
        End::open(place)
    }

    fn receiver(place: &Place) -> anyhow::Result<End> {
        End::open(place)
    }
}

impl Sender for End {
    fn try_send(&mut self, message: &[u8]) -> anyhow::Result<bool> {
        match mq_send(&self.queue, message, 0) {
            Ok(()) => Ok(true),
            Err(Errno::EAGAIN) => Ok(false),
            Err(error) => Err(error).context("sending to the message queue"),
        }
    }
}

impl Receiver for End {
    fn try_receive(
        &mut self,
        _most: usize,
        take: &mut impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<usize> {
        let mut priority = 0;
        match mq_receive(&self.queue, &mut self.bytes, &mut priority) {
            Ok(length) => take(&self.bytes[..length]).map(|()| 1),
            Err(Errno::EAGAIN) => Ok(0),
            Err(error) => Err(error).context("receiving from the message queue"),
        }
    }
}
