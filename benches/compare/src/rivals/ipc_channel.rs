//! ipc-channel: its channel of bytes; the sender blocks when the socket underneath is full.

use anyhow::{Context, bail};
use ipc_channel::TryRecvError;
use ipc_channel::ipc::{
    IpcBytesReceiver, IpcBytesSender, IpcOneShotServer, IpcSender, bytes_channel,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::contract::{Description, UNBATCHED, built_with};
use crate::queue::{Place, Receiver, Rival, Sender};

pub fn describe() -> anyhow::Result<Description> {
    Ok(Description {
        survives_kill: true,
        roles: UNBATCHED,
        notes: "bytes_channel; a socket underneath, a Vec per message; what a killed process had not read is gone",
        ..Description::new("ipc-channel", built_with("ipc-channel"))
    })
}

pub struct IpcChannel;

/// An end, once the process that attaches has made the channel and sent this end of it over.
pub struct End<T> {
    awaited: Option<IpcOneShotServer<T>>,
    end: Option<T>,
}

impl<T: Serialize + DeserializeOwned> End<T> {
    /// `split` says which end of a new channel is ours, and which the other process's.
    fn open<U: Serialize>(
        place: &Place,
        split: impl Fn(IpcBytesSender, IpcBytesReceiver) -> (T, U),
    ) -> anyhow::Result<Self> {
        let file = place.file();
        if place.creates() {
            let (server, name) =
                IpcOneShotServer::new().context("listening for the other process")?;
            std::fs::write(&file, name).with_context(|| format!("writing {}", file.display()))?;
            return Ok(Self {
                awaited: Some(server),
                end: None,
            });
        }
        let name = std::fs::read_to_string(&file)
            .with_context(|| format!("reading {}", file.display()))?;
        let other = IpcSender::<U>::connect(name).context("connecting to the other process")?;
        let (sender, receiver) = bytes_channel().context("making a channel")?;
        let (ours, theirs) = split(sender, receiver);
        other
            .send(theirs)
            .map_err(|error| anyhow::anyhow!("sending the other end over: {error:?}"))?;
        Ok(Self {
            awaited: None,
            end: Some(ours),
        })
    }

    #[inline]
    fn get(&mut self) -> anyhow::Result<&T> {
        if let Some(server) = self.awaited.take() {
            let accepted = server.accept();
            let (_, end) =
                accepted.map_err(|error| anyhow::anyhow!("waiting for the channel: {error:?}"))?;
            self.end = Some(end);
        }
        self.end.as_ref().context("no channel came")
    }
}

impl Rival for IpcChannel {
    type Sender = End<IpcBytesSender>;
    type Receiver = End<IpcBytesReceiver>;

    fn sender(place: &Place) -> anyhow::Result<Self::Sender> {
        End::open(place, |sender, receiver| (sender, receiver))
    }

    fn receiver(place: &Place) -> anyhow::Result<Self::Receiver> {
        End::open(place, |sender, receiver| (receiver, sender))
    }
}

impl Sender for End<IpcBytesSender> {
    fn try_send(&mut self, message: &[u8]) -> anyhow::Result<bool> {
        self.get()?
            .send(message)
            .context("sending to the channel")?;
        Ok(true)
    }
}

impl Receiver for End<IpcBytesReceiver> {
    fn try_receive(
        &mut self,
        _most: usize,
        take: &mut impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<usize> {
        match self.get()?.try_recv() {
            Ok(message) => take(&message).map(|()| 1),
            Err(TryRecvError::Empty) => Ok(0),
            Err(TryRecvError::IpcError(error)) => bail!("receiving from the channel: {error:?}"),
        }
    }
}
