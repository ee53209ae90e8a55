//! Messages from standard input, cut at a delimiter; a signal ends the wait for more.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::output::Stopped;
use crate::signals;

/// Bytes asked for at a time.
const CHUNK: usize = 64 << 10;

/// Standard input, piece by piece.
#[derive(Debug)]
pub struct Pieces {
    file: File,
    /// `None`: all of it is one piece.
    delimiter: Option<u8>,
    /// The longest piece; whoever sends one without end must not fill the memory.
    longest: u64,
    read: Vec<u8>,
    taken: usize,
    ended: bool,
}

impl Pieces {
    /// Of standard input.
    pub fn stdin(delimiter: Option<u8>, longest: u64) -> anyhow::Result<Self> {
        let stdin = io::stdin().as_fd().try_clone_to_owned();
        Ok(Self {
            file: stdin.context("opening standard input")?.into(),
            delimiter,
            longest,
            read: Vec::new(),
            taken: 0,
            ended: false,
        })
    }

    /// Appends the next piece without its delimiter; false at the end. A last piece may lack the delimiter.
    pub fn next(&mut self, into: &mut Vec<u8>) -> anyhow::Result<bool> {
        loop {
            let rest = self.read.get(self.taken..).unwrap_or_default();
            if let Some(at) = rest.iter().position(|byte| Some(*byte) == self.delimiter) {
                into.extend(rest.iter().take(at));
                self.taken += at + 1;
                return Ok(true);
            }
            into.extend_from_slice(rest);
            let partial = !into.is_empty();
            self.read.clear();
            self.taken = 0;
            if self.ended {
                return Ok(partial);
            }
            if into.len() as u64 > self.longest {
                bail!(
                    "a message on standard input is longer than the {} bytes the queue takes",
                    self.longest
                );
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> anyhow::Result<()> {
        self.read.resize(CHUNK, 0);
        let count = loop {
            wait_readable(&self.file)?;
            match self.file.read(&mut self.read) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other.context("reading standard input")?,
            }
        };
        self.read.truncate(count);
        self.ended = count == 0;
        Ok(())
    }
}

/// Waits in slices: a signal between the look at the flag and the read would otherwise go unnoticed.
fn wait_readable(file: &File) -> anyhow::Result<()> {
    let slice = PollTimeout::try_from(signals::SLICE).unwrap_or(PollTimeout::ZERO);
    loop {
        if signals::caught().is_some() {
            return Err(Stopped.into());
        }
        let mut descriptors = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
        match poll(&mut descriptors, slice) {
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(error).context("waiting for standard input"),
        }
    }
}
