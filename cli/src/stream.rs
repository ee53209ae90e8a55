//! What an export or import goes through: a stream that a signal ends, and a line that says how far it is.

use std::io::{self, IsTerminal, Read, Write, stderr};
use std::time::{Duration, Instant};

use slipring::TransferError;

use crate::output::{ClosedPipe, Stopped};
use crate::signals;
use crate::units;

/// An error that a signal has caused ends as that signal does.
pub fn stopped(error: TransferError) -> anyhow::Error {
    if signals::caught().is_some() {
        return Stopped.into();
    }
    match &error {
        TransferError::Stream(io) if io.kind() == io::ErrorKind::BrokenPipe => ClosedPipe.into(),
        _ => error.into(),
    }
}

/// A stream that ends when a signal comes.
pub struct Interruptible<T>(pub T);

impl<T> Interruptible<T> {
    fn check() -> io::Result<()> {
        match signals::caught() {
            Some(_) => Err(io::Error::other("stopped by a signal")),
            None => Ok(()),
        }
    }
}

impl<T: Read> Read for Interruptible<T> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        Self::check()?;
        self.0.read(to)
    }
}

impl<T: Write> Write for Interruptible<T> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        Self::check()?;
        self.0.write(from)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A line on the terminal that says how far it is; nothing elsewhere.
pub struct Progress {
    what: &'static str,
    shown: Option<Instant>,
    terminal: bool,
}

impl Progress {
    const EVERY: Duration = Duration::from_millis(200);

    /// Of what is `what`, such as `exported`.
    pub fn new(what: &'static str) -> Self {
        Self {
            what,
            shown: None,
            terminal: stderr().is_terminal(),
        }
    }

    /// Shows it, now and then.
    pub fn show(&mut self, done: u64, all: u64) {
        if self.terminal && self.shown.is_none_or(|shown| shown.elapsed() > Self::EVERY) {
            self.shown = Some(Instant::now());
            let (done, all) = (units::count(done), units::count(all));
            let _nobody_there = write!(stderr(), "\r\x1b[K{} {done} of {all}", self.what);
        }
    }

    /// Takes the line away.
    pub fn end(&mut self) {
        if self.shown.take().is_some() {
            let _nobody_there = write!(stderr(), "\r\x1b[K");
        }
    }
}
