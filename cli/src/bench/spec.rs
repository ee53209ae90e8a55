//! What can be measured: the workloads, and one measurement with all its parameters.

use std::time::Duration;

use serde::Serialize;

use super::job::{Load, Pace, Wait};
use super::message::Check;

/// The workloads, as the user names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Workload {
    /// Half a round trip between two processes
    RoundTrip,
    /// One way at a fixed rate, counted from when each message was due
    OneWay,
    /// One producer to one consumer, as fast as they go
    Throughput,
    /// Many producers to one consumer
    FanIn,
    /// One producer to many consumers, each message to one of them
    WorkQueue,
    /// Many producers to many consumers
    NToM,
    /// One producer to many groups, each message to all of them
    Broadcast,
    /// Many messages at once, then a pause
    Burst,
    /// Waking a consumer that sleeps; and what it uses while asleep
    WakeUp,
    /// Messages composed in the arena
    Large,
    /// The longest stall of the survivors when one is killed
    Recovery,
    /// Throughput, with the queue on disk
    Disk,
    /// Publishing with and without durability, beside the disk's own write and sync
    Durable,
    /// How long a publish without durability may take, in memory and on disk, with and without others writing there
    Stall,
    /// Cost of an operation as groups, participants and capacity grow
    Scale,
    /// As many producers as consumers, more and more of them
    Contention,
    /// Another queue, as an external command
    Foreign,
    /// Other queues beside slipring, interleaved
    Compare,
}

impl Workload {
    /// As the user names it.
    pub fn name(self) -> String {
        use clap::ValueEnum;
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// How a group hands out messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum GroupKind {
    /// Each message to one of its consumers, acked by itself
    Shared,
    /// All messages to one consumer, in order
    Exclusive,
}

impl GroupKind {
    /// As the user names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Exclusive => "exclusive",
        }
    }
}

/// Who may publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ProducerKind {
    /// One only
    Sole,
    /// Anybody
    Many,
}

impl ProducerKind {
    /// As the user names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sole => "sole",
            Self::Many => "many",
        }
    }
}

/// Where the queue's file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// Where bare names lead: on Linux, in memory.
    Memory,
    Disk,
}

/// What a publish waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Durably {
    #[default]
    None,
    /// Nothing; the file is synced every 100 ms.
    Interval,
    Sync,
}

impl Durably {
    /// As results call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Interval => "interval",
            Self::Sync => "sync",
        }
    }

    fn option(self) -> slipring::Durability {
        match self {
            Self::None => slipring::Durability::None,
            Self::Interval => slipring::Durability::Interval(Duration::from_millis(100)),
            Self::Sync => slipring::Durability::Sync,
        }
    }
}

/// Who is killed in the middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Victim {
    Producer,
    Consumer,
}

/// One measurement.
#[derive(Clone, Debug)]
pub struct Spec {
    pub workload: Workload,
    pub group_kind: GroupKind,
    pub producer_kind: ProducerKind,
    pub producers: u64,
    /// Of each group.
    pub consumers: u64,
    pub groups: u64,
    pub size: u64,
    pub batch: u64,
    pub wait: Wait,
    pub place: Place,
    pub durably: Durably,
    /// Somebody else writes to the disk, and syncs.
    pub disturbed: bool,
    /// Producers say how long each publish took.
    pub timed: bool,
    pub capacity: u64,
    pub slot_size: Option<u64>,
    pub pace: Pace,
    pub loan: bool,
    pub check: Check,
    pub messages: Option<u64>,
    pub seconds: f64,
    pub victim: Option<Victim>,
}

/// Slots up to this many bytes hold their message; beyond, it goes through the arena.
const LARGEST_SLOT: u64 = 2048;
/// What the library puts before a message in its slot.
const SLOT_HEADER: u64 = 32;
/// Bytes of an arena, unless messages are so long that it has to be more.
const ARENA: (u64, u64) = (1 << 20, 256 << 20);
/// Messages of the longest kind that an arena holds, if that is not too much.
const LOANS: u64 = 16;

impl Spec {
    /// What a worker has to know of it.
    pub fn load(&self) -> anyhow::Result<Load> {
        Ok(Load {
            size: usize::try_from(self.size)?,
            batch: usize::try_from(self.batch)?,
            wait: self.wait,
            check: self.check,
            pace: self.pace,
            loan: self.loan,
            timed: self.timed,
            messages: self.messages,
            seconds: self.seconds,
            capacity: self.capacity,
        })
    }

    /// The same with one producer and one consumer, who need not give way to anybody.
    pub fn as_pair(&self) -> Self {
        Self {
            producers: 1,
            consumers: 1,
            wait: if self.wait == Wait::Spin {
                Wait::Busy
            } else {
                self.wait
            },
            ..self.clone()
        }
    }

    /// Processes at work.
    pub fn processes(&self) -> u64 {
        self.producers + self.consumers * self.groups
    }

    /// Options of a queue for it.
    pub fn options(&self) -> slipring::Options {
        let whole = (self.size + SLOT_HEADER).next_multiple_of(64);
        let small = if whole <= LARGEST_SLOT { whole } else { 128 };
        let slot_size = self
            .slot_size
            .unwrap_or(if self.loan { 128 } else { small });
        let options = slipring::Queue::options()
            .capacity(self.capacity)
            .slot_size(slot_size)
            .max_message(self.size)
            .max_groups(u32::try_from(self.groups).unwrap_or(u32::MAX))
            .max_participants(u32::try_from(self.processes() + 8).unwrap_or(u32::MAX))
            .timestamps(slipring::Timestamps::Off)
            .default_group(false)
            .durability(self.durably.option())
            .name("slipring bench");
        if !self.loan && self.size + SLOT_HEADER <= slot_size {
            return options;
        }
        let long = self.size.next_multiple_of(4096);
        let arena = (LOANS * long).clamp(ARENA.0, ARENA.1).max(2 * long);
        options.arena_size(arena)
    }
}
