//! What the bench says to its own workers, and they to it. A worker is told its job as an argument; it says `ready`, waits
//! for the line `go` (a consumer does not: it receives at once), and ends with an [`Outcome`] as one line of JSON. Foreign
//! queues are driven by the same three lines.

use std::path::PathBuf;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use slipring::WaitStrategy;

use super::message::Check;

/// Said when all is set up.
pub const READY: &str = "ready";
/// Heard before the work begins.
pub const GO: &str = "go";

/// What a worker is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// Where the files of this measurement are.
    pub dir: PathBuf,
    pub cpu: Option<usize>,
    pub role: Role,
    pub load: Load,
}

/// Which part it plays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    Producer {
        index: u64,
        sole: bool,
    },
    Consumer {
        group: usize,
        /// Messages are numbered without gaps, as they come from one producer to one consumer.
        alone: bool,
    },
    Ping {
        sole: bool,
    },
    Pong {
        sole: bool,
    },
    /// Publishes and consumes by itself, and says what each costs.
    Single {
        groups: usize,
    },
    /// Holds so many attachments until its input ends.
    Holder {
        attachments: u64,
    },
    /// Writes to the disk and syncs until it hears a line.
    Disturber,
    /// One end of a bare measurement.
    Bare {
        what: Bare,
        leads: bool,
    },
}

/// Limits of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bare {
    /// A cache line there and back, and the bare ring.
    HopAndRing,
    /// Copying what the other core has just written, and what one's own core has.
    Copy,
    /// Waking a sleeper.
    Wake,
}

/// When a producer sends.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Pace {
    /// As fast as it can.
    Flat,
    /// So many a second, each at its time whether or not the one before took long.
    Rate(f64),
    /// So many at once, then a pause.
    Burst { messages: u64, pause_ns: u64 },
    /// One at a time, with a pause long enough for the consumer to fall asleep.
    Rare { idle_ns: u64, pause_ns: u64 },
}

/// What is sent, and how.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Load {
    pub size: usize,
    pub batch: usize,
    pub wait: Wait,
    pub check: Check,
    pub pace: Pace,
    /// Compose in the arena rather than in memory of the producer's own.
    pub loan: bool,
    /// A producer says how long each publish took: since the message was due, if it was due at a time.
    pub timed: bool,
    /// A producer's messages, or trips; without, it goes by time.
    pub messages: Option<u64>,
    pub seconds: f64,
    /// Of the bare ring.
    pub capacity: u64,
}

impl Load {
    /// True if messages say when they were due.
    pub fn is_stamped(&self) -> bool {
        self.pace != Pace::Flat
    }
}

/// How processes wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Wait {
    /// Never sleep
    Busy,
    /// Look for a moment, then sleep
    Spin,
    /// Sleep at once
    Park,
}

impl Wait {
    /// As the user names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Spin => "spin",
            Self::Park => "park",
        }
    }

    /// As the library calls it.
    pub fn strategy(self) -> WaitStrategy {
        match self {
            Self::Busy => WaitStrategy::BusySpin,
            Self::Spin => WaitStrategy::SpinThenPark,
            Self::Park => WaitStrategy::Park,
        }
    }
}

/// What a worker found. Times are of the monotonic clock.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Outcome {
    /// Sent, or received until the last look at the clock.
    pub messages: u64,
    /// Received in all, the end not counted.
    pub received: u64,
    pub ns: f64,
    pub first_ns: u64,
    pub last_ns: u64,
    /// Values and how often they came.
    pub latencies: Vec<(u64, u64)>,
    /// The longest time without a message.
    pub gap_ns: u64,
    /// CPU time per time, before the first message.
    pub idle_cpu: Option<f64>,
    /// Memory that this process has in use, in bytes, files among it.
    pub memory: u64,
    /// Of bare measurements, and of single operations.
    pub figures: Vec<f64>,
    /// Why it failed.
    pub error: Option<String>,
}

/// A histogram from a nanosecond to ten minutes, with three digits.
pub fn new_histogram() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 600_000_000_000, 3)?)
}

/// A histogram for the wire.
pub fn pairs(histogram: &Histogram<u64>) -> Vec<(u64, u64)> {
    let recorded = histogram.iter_recorded();
    recorded
        .map(|found| (found.value_iterated_to(), found.count_at_value()))
        .collect()
}
