//! The line that moves while the demo runs: rewritten on a terminal, a new one each second elsewhere.

use std::io::{IsTerminal, stderr, stdout};
use std::time::{Duration, Instant};

use slipring::Stats;

use crate::output::Output;
use crate::units;

/// Where progress goes, and when it is due again.
pub struct Progress {
    output: Output,
    terminal: bool,
    started: Option<Instant>,
    due: Instant,
    every: Duration,
}

impl Progress {
    /// On stderr if stdout is for a program.
    pub fn new(json: bool) -> anyhow::Result<Self> {
        let (output, terminal) = if json {
            (Output::stderr()?, stderr().is_terminal())
        } else {
            (Output::stdout()?, stdout().is_terminal())
        };
        Ok(Self {
            output,
            terminal,
            started: None,
            due: Instant::now(),
            every: Duration::from_millis(if terminal { 500 } else { 1000 }),
        })
    }

    /// A line at once.
    pub fn say(&mut self, line: &str) -> anyhow::Result<()> {
        self.output.line(line)?;
        self.output.flush()
    }

    /// A line if one is due, with something more to say at its end.
    pub fn tick(&mut self, stats: &Stats, more: &str) -> anyhow::Result<()> {
        let now = Instant::now();
        let started = *self.started.get_or_insert(now);
        if started == now {
            self.due = now + self.every;
        }
        if now < self.due {
            return Ok(());
        }
        self.due += self.every;
        let sum = |field: fn(&slipring::GroupStats) -> u64| stats.groups.iter().map(field).sum();
        let (delivered, acked): (u64, u64) =
            (sum(|group| group.delivered), sum(|group| group.acked));
        let seconds = (now - started).as_secs_f64();
        let line = format!(
            "{seconds:6.1} s  published {:>11}  delivered {:>11}  acked {:>11}  {:>5.2} million/s{more}",
            units::count(stats.published),
            units::count(delivered),
            units::count(acked),
            acked as f64 / seconds / 1e6
        );
        if self.terminal {
            self.output
                .buffer()
                .extend_from_slice(format!("\r{line}\x1b[K").as_bytes());
            self.output.flush()
        } else {
            self.say(&line)
        }
    }

    /// Leaves the line to what comes next.
    pub fn end(&mut self) -> anyhow::Result<()> {
        if self.terminal && self.started.is_some() {
            self.output.buffer().extend_from_slice(b"\r\x1b[K");
        }
        self.output.flush()
    }
}
