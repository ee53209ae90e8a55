//! A named pipe of 1 MiB, polled without blocking.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;

use anyhow::Context;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::kernel;
use crate::contract::Description;
use crate::queue::{Place, Receiver, Rival, Sender};

/// The most that others cannot write between (PIPE_BUF), and the most a user may give a pipe.
const ATOMIC: usize = 4096;
const CAPACITY: i32 = 1 << 20;

pub fn describe() -> anyhow::Result<Description> {
    Ok(Description {
        survives_kill: true,
        mpmc: true,
        notes: "1 MiB, non-blocking; MPMC up to 4096 bytes (with the batch); a message that was read is gone",
        ..Description::new("pipe", kernel())
    })
}

pub struct Pipe;

fn open(place: &Place) -> anyhow::Result<File> {
    let path = place.file();
    if place.creates() {
        mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR)
            .with_context(|| format!("making the pipe {}", path.display()))?;
    }
    // Open for both, neither end has to wait for the other, nor sees the pipe close.
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK);
    let pipe = options
        .open(&path)
        .with_context(|| format!("opening the pipe {}", path.display()))?;
    if place.creates() {
        fcntl(&pipe, FcntlArg::F_SETPIPE_SZ(CAPACITY)).context("making the pipe 1 MiB large")?;
    }
    Ok(pipe)
}

impl Rival for Pipe {
    type Sender = In;
    type Receiver = Out;

    fn sender(place: &Place) -> anyhow::Result<In> {
        let pipe = open(place)?;
        Ok(In { pipe, begun: 0 })
    }

    fn receiver(place: &Place) -> anyhow::Result<Out> {
        Ok(Out {
            pipe: open(place)?,
            size: place.size,
            bytes: vec![0; place.size * place.batch],
            filled: 0,
        })
    }
}

pub struct In {
    pipe: File,
    /// Bytes of the first message that are already in the pipe: only one longer than ATOMIC is ever torn.
    begun: usize,
}

impl Sender for In {
    fn try_send(&mut self, message: &[u8]) -> anyhow::Result<bool> {
        Ok(self.try_send_batch(message, message.len())? == 1)
    }

    fn try_send_batch(&mut self, messages: &[u8], size: usize) -> anyhow::Result<usize> {
        let whole = if size <= ATOMIC {
            ATOMIC / size * size
        } else {
            usize::MAX
        };
        let mut done = self.begun;
        while done < messages.len() {
            let next = &messages[done..messages.len().min(done.saturating_add(whole))];
            match self.pipe.write(next) {
                Ok(written) => done += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("writing to the pipe"),
            }
        }
        self.begun = done % size;
        Ok(done / size)
    }
}

pub struct Out {
    pipe: File,
    size: usize,
    bytes: Vec<u8>,
    filled: usize,
}

impl Receiver for Out {
    fn try_receive(
        &mut self,
        most: usize,
        take: &mut impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<usize> {
        match self
            .pipe
            .read(&mut self.bytes[self.filled..most * self.size])
        {
            Ok(read) => self.filled += read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
            Err(error) => return Err(error).context("reading from the pipe"),
        }
        let whole = self.filled / self.size * self.size;
        for message in self.bytes[..whole].chunks_exact(self.size) {
            take(message)?;
        }
        self.bytes.copy_within(whole..self.filled, 0);
        self.filled -= whole;
        Ok(whole / self.size)
    }
}
