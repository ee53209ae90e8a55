//! ZeroMQ: PUSH and PULL over ipc, both blocking, as its manual recommends.

use anyhow::Context;
use zmq::{PULL, PUSH, Socket};

use crate::contract::{Description, UNBATCHED};
use crate::queue::{Farewell, Place, Receiver, Rival, Sender};

/// After this long in vain a receiver asks again.
const TIMEOUT_MS: i32 = 1000;

pub fn describe() -> anyhow::Result<Description> {
    let (major, minor, patch) = zmq::version();
    Ok(Description {
        survives_kill: true,
        blocking: true,
        roles: UNBATCHED,
        notes: "PUSH and PULL over ipc with an I/O thread each; what a killed process had buffered is gone",
        ..Description::new("zeromq", format!("{major}.{minor}.{patch}"))
    })
}

pub struct ZeroMq;

pub struct In {
    socket: Socket,
    farewell: Farewell,
}

pub struct Out {
    socket: Socket,
    message: zmq::Message,
    farewell: Farewell,
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

fn open(place: &Place, kind: zmq::SocketType) -> anyhow::Result<Socket> {
    let socket = zmq::Context::new()
        .socket(kind)
        .context("making a socket")?;
    let depth = i32::try_from(place.depth)?;
    socket.set_sndhwm(depth)?;
    socket.set_rcvhwm(depth)?;
    socket.set_rcvtimeo(TIMEOUT_MS)?;
    let address = format!("ipc://{}", place.file().display());
    if place.creates() {
        socket.bind(&address)
    } else {
        socket.connect(&address)
    }
    .with_context(|| format!("opening {address}"))?;
    Ok(socket)
}

impl Rival for ZeroMq {
    type Sender = In;
    type Receiver = Out;

    fn sender(place: &Place) -> anyhow::Result<In> {
        Ok(In {
            socket: open(place, PUSH)?,
            farewell: Farewell::new(place),
        })
    }

    fn receiver(place: &Place) -> anyhow::Result<Out> {
        Ok(Out {
            socket: open(place, PULL)?,
            message: zmq::Message::new(),
            farewell: Farewell::new(place),
        })
    }
}

impl Sender for In {
    fn try_send(&mut self, message: &[u8]) -> anyhow::Result<bool> {
        self.socket.send(message, 0).context("sending")?;
        Ok(true)
    }
}

impl Receiver for Out {
    const BLOCKING: bool = true;

    fn try_receive(
        &mut self,
        _most: usize,
        take: &mut impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<usize> {
        match self.socket.recv(&mut self.message, 0) {
            Ok(()) => take(&self.message).map(|()| 1),
            Err(zmq::Error::EAGAIN) => Ok(0),
            Err(error) => Err(error).context("receiving"),
        }
    }
}
