//! A Unix socket that keeps messages apart (SOCK_SEQPACKET), polled without blocking.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::Context;
use nix::errno::Errno;
use nix::sys::socket::sockopt::{RcvBuf, SndBuf};
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, accept4, bind, connect, listen,
    recvmsg, sendmsg, setsockopt, socket,
};

use super::kernel;
use crate::contract::{Description, UNBATCHED};
use crate::queue::{Place, Receiver, Rival, Sender};

const BUFFER: usize = 4 << 20;

pub fn describe() -> anyhow::Result<Description> {
    Ok(Description {
        survives_kill: true,
        roles: UNBATCHED,
        max_size: Some(1 << 16),
        notes: "seqpacket, non-blocking, buffers of 4 MiB if the system allows; what a killed process had not read is gone",
        ..Description::new("unix-socket", kernel())
    })
}

pub struct UnixSocket;

/// One end: whoever makes the queue listens, and accepts the other when it first needs it.
pub struct End {
    socket: OwnedFd,
    connected: bool,
    bytes: Vec<u8>,
}

impl End {
    fn open(place: &Place) -> anyhow::Result<Self> {
        let path = place.file();
        let address = UnixAddr::new(&path).with_context(|| format!("naming {}", path.display()))?;
        let socket = socket(
            AddressFamily::Unix,
            SockType::SeqPacket,
            SockFlag::SOCK_CLOEXEC,
            None,
        )
        .context("making a socket")?;
        if place.creates() {
            bind(socket.as_raw_fd(), &address)
                .and_then(|()| listen(&socket, Backlog::new(8)?))
                .with_context(|| format!("listening on {}", path.display()))?;
        } else {
            connect(socket.as_raw_fd(), &address)
                .with_context(|| format!("connecting to {}", path.display()))?;
        }
        enlarge(&socket);
        Ok(Self {
            socket,
            connected: !place.creates(),
            bytes: vec![0; place.size],
        })
    }

    fn connected(&mut self) -> anyhow::Result<&OwnedFd> {
        if !self.connected {
            let fd = accept4(self.socket.as_raw_fd(), SockFlag::SOCK_CLOEXEC)
                .context("accepting the other process")?;
            // SAFETY: just made, and nobody else's.
            self.socket = unsafe { std::os::fd::FromRawFd::from_raw_fd(fd) };
            enlarge(&self.socket);
            self.connected = true;
        }
        Ok(&self.socket)
    }
}

/// As large as the system allows; smaller is slower, not wrong.
fn enlarge(socket: &OwnedFd) {
    let _ = setsockopt(socket, SndBuf, &BUFFER);
    let _ = setsockopt(socket, RcvBuf, &BUFFER);
}

impl Rival for UnixSocket {
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
        let socket = self.connected()?.as_raw_fd();
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        match sendmsg::<()>(socket, &[IoSlice::new(message)], &[], flags, None) {
            Ok(_) => Ok(true),
            Err(Errno::EAGAIN) => Ok(false),
            Err(error) => Err(error).context("sending to the socket"),
        }
    }
}

impl Receiver for End {
    fn try_receive(
        &mut self,
        _most: usize,
        take: &mut impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<usize> {
        let socket = self.connected()?.as_raw_fd();
        let length = {
            let mut into = [IoSliceMut::new(&mut self.bytes)];
            match recvmsg::<()>(socket, &mut into, None, MsgFlags::MSG_DONTWAIT) {
                Ok(received) => received.bytes,
                Err(Errno::EAGAIN) => return Ok(0),
                Err(error) => return Err(error).context("receiving from the socket"),
            }
        };
        if length == 0 {
            anyhow::bail!("the sender is gone");
        }
        take(&self.bytes[..length]).map(|()| 1)
    }
}
