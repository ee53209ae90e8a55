//! `slipring create`.

use clap::ValueEnum;
use serde::Serialize;
use slipring::{Durability, FullPolicy, Inspector, Options, Queue, Timestamps};

use super::{QueueArg, not_created};
use crate::exit::Code;
use crate::output::Output;
use crate::record::hex;
use crate::units::{parse_durability, parse_mode, parse_size};

/// Create a queue
///
/// What is not given has the library's default. Sizes take binary units: 64k, 1m, 2g.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    queue: QueueArg,
    /// Messages it holds, a power of two [default: 4096]
    #[arg(long, value_name = "N", value_parser = parse_size)]
    capacity: Option<u64>,
    /// Bytes of a slot; a message up to 32 less lies in its slot [default: 128]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    slot_size: Option<u64>,
    /// Bytes of the longest message [default: 256k]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_message: Option<u64>,
    /// Bytes for messages longer than a slot [default: 16 times the longest]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    arena_size: Option<u64>,
    /// Groups it can have [default: 8]
    #[arg(long, value_name = "N")]
    max_groups: Option<u32>,
    /// Processes that can be attached at a time [default: 256]
    #[arg(long, value_name = "N")]
    max_participants: Option<u32>,
    /// What publishing to a full queue does [default: block]
    #[arg(long, value_name = "POLICY")]
    when_full: Option<When>,
    /// Where the time of a message comes from [default: coarse]
    #[arg(long, value_name = "SOURCE")]
    timestamps: Option<Clock>,
    /// What survives a reboot or a power loss: none, interval:TIME (synced so often), sync (at every publish) [default: none]
    ///
    /// With none, the queue is empty after any reboot, orderly ones too, even on a disk. To keep messages, take interval:100ms.
    #[arg(long, value_name = "MODE", value_parser = parse_durability)]
    durability: Option<Durability>,
    /// Make no group `default`: without any group, nothing is kept for anybody
    #[arg(long)]
    no_default_group: bool,
    /// Permission bits of the file [default: 0600]
    #[arg(long, value_name = "OCTAL", value_parser = parse_mode)]
    mode: Option<u32>,
    /// Succeed if it exists already and has the options given
    #[arg(long)]
    if_missing: bool,
    /// Print what was made as one JSON object
    #[arg(long)]
    json: bool,
}

/// [`FullPolicy`], on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum When {
    /// Wait for room
    Block,
    /// Fail at once
    Reject,
    /// Drop the oldest message nobody is working on, and count it
    DropOldest,
}

impl From<When> for FullPolicy {
    fn from(when: When) -> Self {
        match when {
            When::Block => Self::Block,
            When::Reject => Self::Reject,
            When::DropOldest => Self::DropOldest,
        }
    }
}

/// [`Timestamps`], on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Clock {
    /// Take no times
    Off,
    /// The kernel's last tick: some ms behind, cheap
    Coarse,
    /// To the nanosecond
    Precise,
}

#[derive(Serialize)]
struct Made {
    id: String,
    capacity: u64,
    slot_size: u64,
    max_message: u64,
    file_size: u64,
}

/// Runs it.
pub fn run(args: &Args) -> anyhow::Result<Code> {
    let options = options(args);
    let path = &args.queue.queue;
    let created = if args.if_missing {
        options.open_or_create(path)
    } else {
        options.create(path)
    };
    created.map_err(not_created)?;
    if args.json {
        let inspector = Inspector::open(path)?;
        let shape = inspector.geometry().shape();
        let mut output = Output::stdout()?;
        output.json(&Made {
            id: hex(&inspector.id()),
            capacity: shape.capacity,
            slot_size: shape.slot_size,
            max_message: shape.max_message,
            file_size: inspector.geometry().file_size(),
        })?;
        output.flush()?;
    }
    Ok(Code::Success)
}

fn options(args: &Args) -> Options {
    let mut options = Queue::options().default_group(!args.no_default_group);
    if let Some(capacity) = args.capacity {
        options = options.capacity(capacity);
    }
    if let Some(bytes) = args.slot_size {
        options = options.slot_size(bytes);
    }
    if let Some(bytes) = args.max_message {
        options = options.max_message(bytes);
    }
    if let Some(bytes) = args.arena_size {
        options = options.arena_size(bytes);
    }
    if let Some(groups) = args.max_groups {
        options = options.max_groups(groups);
    }
    if let Some(participants) = args.max_participants {
        options = options.max_participants(participants);
    }
    if let Some(when) = args.when_full {
        options = options.when_full(when.into());
    }
    if let Some(clock) = args.timestamps {
        options = options.timestamps(match clock {
            Clock::Off => Timestamps::Off,
            Clock::Coarse => Timestamps::Coarse,
            Clock::Precise => Timestamps::Precise,
        });
    }
    if let Some(durability) = args.durability {
        options = options.durability(durability);
    }
    if let Some(mode) = args.mode {
        options = options.file_mode(mode);
    }
    options
}
