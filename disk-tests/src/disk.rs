//! A disk with a cache: its bytes, all that was done to it in order, how it fails, and what is left of it without power.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::pages::Pages;
use crate::random::Random;
use crate::told::Told;

#[derive(Clone, Debug)]
pub enum Event {
    Write {
        offset: u64,
        bytes: Vec<u8>,
    },
    /// All writes before are stable.
    Flush,
    Told(Told),
}

/// How the disk fails. Ranges are of its bytes.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    pub reads: Vec<Range<u64>>,
    pub writes: Vec<Range<u64>>,
    pub flushes: bool,
    /// It says that it has flushed, and has not.
    pub lies: bool,
}

#[derive(Debug)]
pub struct Disk(Mutex<State>);

#[derive(Debug)]
struct State {
    pages: Pages,
    log: Vec<Event>,
    faults: Faults,
}

/// The disk failed, as it was told to.
#[derive(Clone, Copy, Debug)]
pub struct Failed;

impl Disk {
    pub fn new(pages: Pages) -> Self {
        Self(Mutex::new(State {
            pages,
            log: Vec::new(),
            faults: Faults::default(),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn size(&self) -> u64 {
        self.state().pages.size()
    }

    pub fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>, Failed> {
        let state = self.state();
        hit(&state.faults.reads, offset, length)?;
        Ok(state.pages.read(offset, length))
    }

    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Failed> {
        let mut state = self.state();
        hit(&state.faults.writes, offset, bytes.len())?;
        state.pages.write(offset, bytes);
        let bytes = bytes.to_vec();
        state.log.push(Event::Write { offset, bytes });
        Ok(())
    }

    pub fn flush(&self) -> Result<(), Failed> {
        let mut state = self.state();
        if state.faults.flushes {
            return Err(Failed);
        }
        if !state.faults.lies {
            state.log.push(Event::Flush);
        }
        Ok(())
    }

    pub fn tell(&self, told: Told) {
        self.state().log.push(Event::Told(told));
    }

    pub fn fail(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// The log, and an empty one from now on.
    pub fn take_log(&self) -> Vec<Event> {
        std::mem::take(&mut self.state().log)
    }
}

fn hit(ranges: &[Range<u64>], offset: u64, length: usize) -> Result<(), Failed> {
    let end = offset + length as u64;
    let hit = |range: &Range<u64>| range.start < end && offset < range.end;
    if ranges.iter().any(hit) {
        return Err(Failed);
    }
    Ok(())
}

/// What of the writes since the last flush a disk without power has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    Nothing,
    All,
    /// Each piece of so many bytes in so many percent of all cases.
    Some {
        piece: usize,
        percent: u64,
    },
}

/// The disk after the power went when the log had come to `events`.
pub fn after_power_loss(start: &Pages, events: &[Event], kept: Kept, random: &mut Random) -> Pages {
    let mut left = start.clone();
    let is_flush = |event: &Event| matches!(event, Event::Flush);
    let stable = events.iter().rposition(is_flush).unwrap_or(0);
    for (at, event) in events.iter().enumerate() {
        let Event::Write { offset, bytes } = event else {
            continue;
        };
        let kept = if at < stable { Kept::All } else { kept };
        match kept {
            Kept::Nothing => {}
            Kept::All => left.write(*offset, bytes),
            Kept::Some { piece, percent } => {
                for (number, bytes) in bytes.chunks(piece).enumerate() {
                    if random.below(100) < percent {
                        left.write(offset + (number * piece) as u64, bytes);
                    }
                }
            }
        }
    }
    left
}
