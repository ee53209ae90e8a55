//! Standard output, written so that nothing is acked before it has left the process, and so that a closed pipe or a
//! signal ends the writing rather than the program.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::Context;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;

use crate::signals;

/// Whoever read our output has gone. Not an error to report.
#[derive(Debug)]
pub struct ClosedPipe;

impl fmt::Display for ClosedPipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody reads the output any more")
    }
}

impl std::error::Error for ClosedPipe {}

/// A signal asked us to stop.
#[derive(Debug)]
pub struct Stopped;

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stopped by a signal")
    }
}

impl std::error::Error for Stopped {}

/// Standard output with a buffer of our own: a blocked write of std's would not end at a signal.
#[derive(Debug)]
pub struct Output {
    file: File,
    buffer: Vec<u8>,
}

/// Bytes kept before they are written unasked.
const BUFFER: usize = 64 << 10;
/// Bytes that a pipe takes without blocking once it says that it is writable (PIPE_BUF).
const AT_ONCE: usize = 4096;

impl Output {
    /// Standard output.
    pub fn stdout() -> anyhow::Result<Self> {
        Self::new(io::stdout().as_fd())
    }

    /// Standard error.
    pub fn stderr() -> anyhow::Result<Self> {
        Self::new(io::stderr().as_fd())
    }

    fn new(descriptor: impl AsFd) -> anyhow::Result<Self> {
        let descriptor = descriptor.as_fd();
        let file = descriptor.try_clone_to_owned().context("opening output")?;
        Ok(Self {
            file: file.into(),
            buffer: Vec::new(),
        })
    }

    /// Where to append what is to be written.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Appends a line.
    pub fn line(&mut self, line: impl fmt::Display) -> anyhow::Result<()> {
        writeln!(self.buffer, "{line}").context("formatting output")?;
        self.flush_if_long()
    }

    /// Appends a value as one line of JSON.
    pub fn json(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        serde_json::to_writer(&mut self.buffer, value).context("formatting output")?;
        self.buffer.push(b'\n');
        self.flush_if_long()
    }

    /// Hands everything to the kernel if it is much.
    pub fn flush_if_long(&mut self) -> anyhow::Result<()> {
        if self.buffer.len() < BUFFER {
            return Ok(());
        }
        self.flush()
    }

    /// Hands everything to the kernel. What it can take at once it gets, signal or not.
    ///
    /// # Errors
    /// [`ClosedPipe`]; [`Stopped`] if a signal came while nobody read; what the system says.
    pub fn flush(&mut self) -> anyhow::Result<()> {
        let ended = self.write_all();
        self.buffer.clear();
        ended
    }

    fn write_all(&mut self) -> anyhow::Result<()> {
        let mut rest = self.buffer.as_slice();
        while !rest.is_empty() {
            self.wait_writable()?;
            match self.file.write(rest.get(..AT_ONCE).unwrap_or(rest)) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    return Err(ClosedPipe.into());
                }
                Err(error) => return Err(error).context("writing output"),
            }
        }
        Ok(())
    }

    fn wait_writable(&self) -> anyhow::Result<()> {
        loop {
            if self.poll(PollFlags::POLLOUT, signals::SLICE)? != PollFlags::empty() {
                return Ok(());
            }
            if signals::caught().is_some() {
                return Err(Stopped.into());
            }
        }
    }

    /// Fails with [`ClosedPipe`] if whoever read has gone: without a look now and then, a program with nothing to write
    /// would not learn of it.
    pub fn check_reader(&self) -> anyhow::Result<()> {
        if self
            .poll(PollFlags::empty(), Duration::ZERO)?
            .contains(PollFlags::POLLERR)
        {
            return Err(ClosedPipe.into());
        }
        Ok(())
    }

    fn poll(&self, wanted: PollFlags, timeout: Duration) -> anyhow::Result<PollFlags> {
        let mut descriptors = [PollFd::new(self.file.as_fd(), wanted)];
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::ZERO);
        match poll(&mut descriptors, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("waiting for output"),
        }
        let [descriptor] = descriptors;
        Ok(descriptor.revents().unwrap_or(PollFlags::empty()))
    }
}

/// One line on stderr; if that is closed, there is nobody to tell.
pub fn complain(line: &str) {
    let _nobody_there = writeln!(io::stderr(), "slipring: {line}");
}
