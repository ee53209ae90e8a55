//! Where a run is: a line on stderr that is rewritten, if that is a terminal.

use std::io::{IsTerminal, Write, stderr};

/// Says what is being measured.
pub struct Progress {
    terminal: bool,
    done: usize,
    total: usize,
}

impl Progress {
    /// Of so many measurements.
    pub fn of(total: usize) -> Self {
        Self {
            terminal: stderr().is_terminal(),
            done: 0,
            total,
        }
    }

    /// The next one.
    pub fn next(&mut self, what: &str) {
        self.done += 1;
        if self.terminal {
            let (done, total) = (self.done, self.total);
            // Who cannot be told goes without.
            let _gone = write!(stderr(), "\r[{done}/{total}] {what}\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.terminal {
            let _gone = write!(stderr(), "\r\x1b[K");
        }
    }
}
