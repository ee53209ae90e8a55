//! What the supervisor and its workers say to each other: one line each, over the workers' standard input and output.
//!
//! A worker is told its job as an argument. It says `Ready` once attached and waits for `start`. A producer says
//! `Produced` when it is done and leaves; a consumer goes on until it hears `stop`, says what it got, and leaves. A
//! worker may say `Produced` and `Consumed` as often as it likes, each time about what came since: the supervisor adds
//! them up, so the reports of a worker that is killed count up to its last one. A worker whose input ends without `stop`
//! is an orphan.
//!
//! Where workers are killed, each says what it does as it does it. A producer says `Publishing` before each publish, and
//! goes on until it hears `stop`. A consumer says `Received` first, `Acking` when it begins to ack, and `Acked` once all
//! of it is. Both say `Done` before they leave.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::numbers::Ranges;

/// The word that starts a worker's work.
pub const START: &str = "start";
/// The word that ends a consumer's.
pub const STOP: &str = "stop";

/// What a worker is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    pub queue: PathBuf,
    pub role: Role,
    /// Bytes of a message.
    pub size: usize,
    /// Messages at a time.
    pub batch: usize,
}

/// Which side it is on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Role {
    Producer {
        id: u32,
        /// Numbers to publish, the second exclusive.
        numbers: (u64, u64),
    },
    Consumer {
        id: u32,
        /// How many numbers each producer has.
        shares: Vec<u64>,
    },
    /// One that may be killed.
    Mortal {
        side: Side,
        /// Of this process alone: its successor has another.
        id: u32,
        /// Decides what it does next.
        seed: u64,
    },
}

/// Which end of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Side {
    Producer,
    Consumer,
}

impl Side {
    /// What to call one.
    pub fn name(self) -> &'static str {
        match self {
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }
}

/// What a worker says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Report {
    Ready,
    Produced(Produced),
    Consumed(Consumed),
    Publishing(Publishing),
    Received(Received),
    Acking,
    Acked,
    Done,
    Failed(String),
}

/// What a producer that may be killed is about to publish: numbers from `returned` to `intended`, exclusive. What it
/// published before has returned.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Publishing {
    pub returned: u64,
    pub intended: u64,
    /// The longest that one publish has taken.
    pub stall_ns: u64,
}

/// What a consumer that may be killed was handed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Received {
    pub runs: Vec<Run>,
    /// Messages that are not what was published, to the last bit.
    pub torn: u64,
    /// The longest that one message was waited for.
    pub stall_ns: u64,
    /// It begins to ack at once, and does not say so again.
    pub acking: bool,
}

/// Messages of one producer, one after the other: numbers from `first` to `end`, exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    pub producer: u32,
    pub first: u64,
    pub end: u64,
    /// How often they have been handed over, this time included.
    pub attempt: u8,
}

/// What a producer has done.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Produced {
    pub published: u64,
    /// When it began, on the monotonic clock.
    pub started_ns: u64,
}

/// What a consumer has got.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Consumed {
    /// Deliveries, each of a message counted.
    pub delivered: u64,
    pub acked: u64,
    /// Deliveries that were not the first of their message.
    pub redelivered: u64,
    /// Not what was published, to the last bit.
    pub corrupted: u64,
    /// First deliveries of a message with a lower number than one had before from the same producer.
    pub out_of_order: u64,
    /// Acks that came too late.
    pub stale: u64,
    /// When the last message was acked, on the monotonic clock.
    pub ended_ns: u64,
    /// Which numbers of each producer.
    pub numbers: Vec<Ranges>,
    /// Latencies, publish to receive: value in ns, how often.
    pub latencies: Vec<(u64, u64)>,
}
