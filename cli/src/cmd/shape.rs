//! The options of a queue that an import or a resize can choose anew.

use slipring::{Durability, Options, Queue};

use super::create::When;
use crate::units::{parse_durability, parse_size};

/// The options of a queue that can be chosen anew.
#[derive(Debug, clap::Args)]
pub struct Shape {
    /// Messages it holds, a power of two
    #[arg(long, value_name = "N", value_parser = parse_size)]
    capacity: Option<u64>,
    /// Bytes of a slot
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    slot_size: Option<u64>,
    /// Bytes of the longest message
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_message: Option<u64>,
    /// Bytes for messages longer than a slot
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    arena_size: Option<u64>,
    /// Groups it can have
    #[arg(long, value_name = "N")]
    max_groups: Option<u32>,
    /// Processes that can be attached at a time
    #[arg(long, value_name = "N")]
    max_participants: Option<u32>,
    /// What publishing to a full queue does
    #[arg(long, value_name = "POLICY")]
    when_full: Option<When>,
    /// What survives a reboot or a power loss: none, interval:TIME (synced so often), sync (at every publish)
    #[arg(long, value_name = "MODE", value_parser = parse_durability)]
    durability: Option<Durability>,
}

impl Shape {
    /// Those that were given.
    pub fn options(&self) -> Options {
        let mut options = Queue::options();
        if let Some(capacity) = self.capacity {
            options = options.capacity(capacity);
        }
        if let Some(bytes) = self.slot_size {
            options = options.slot_size(bytes);
        }
        if let Some(bytes) = self.max_message {
            options = options.max_message(bytes);
        }
        if let Some(bytes) = self.arena_size {
            options = options.arena_size(bytes);
        }
        if let Some(groups) = self.max_groups {
            options = options.max_groups(groups);
        }
        if let Some(participants) = self.max_participants {
            options = options.max_participants(participants);
        }
        if let Some(when) = self.when_full {
            options = options.when_full(when.into());
        }
        if let Some(durability) = self.durability {
            options = options.durability(durability);
        }
        options
    }
}
