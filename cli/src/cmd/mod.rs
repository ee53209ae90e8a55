//! The commands, one file each, and what several of them need.

pub mod bench;
pub mod completions;
pub mod consume;
pub mod create;
pub mod dead;
pub mod demo;
pub mod dump;
pub mod export;
pub mod group;
pub mod import;
pub mod info;
pub mod man;
pub mod publish;
pub mod repair;
pub mod resize;
pub mod rm;
pub mod sweep;
pub mod tail;
pub mod verify;

mod info_text;
mod lease;
mod obstacle;
mod settle;
mod shape;

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use slipring::{FullPolicy, Group, GroupError, OpenError, OpenErrorKind, Queue, Timestamps};

/// The queue a command works on.
#[derive(Debug, clap::Args)]
pub struct QueueArg {
    /// A bare name, or a path
    #[arg(value_name = "QUEUE")]
    pub queue: PathBuf,
}

impl QueueArg {
    /// Attaches to it.
    pub fn open(&self) -> anyhow::Result<Queue> {
        Ok(Queue::options().name(participant()).open(&self.queue)?)
    }

    /// As the user wrote it.
    pub fn name(&self) -> String {
        self.queue.display().to_string()
    }
}

/// The name this process goes by in statistics: with its command, for the program's name alone says little.
fn participant() -> String {
    let command = std::env::args().nth(1).unwrap_or_default();
    format!("slipring {command}")
}

/// Finds a group, or says how to make it.
fn find_group(queue: &Queue, path: &Path, name: &str) -> anyhow::Result<Group> {
    let path = path.display();
    queue.group(name).map_err(|error| {
        let hint = match error {
            GroupError::NotFound => format!("; make it with `slipring group add {path} {name}`"),
            _ => String::new(),
        };
        let what = format!("{path}: group {name:?}: {error}{hint}");
        anyhow::Error::from(error).context(what)
    })
}

/// What a failure to create a queue means: one that is not found lacks its directory, not itself.
fn not_created(error: OpenError) -> anyhow::Error {
    without_directory(&error).unwrap_or_else(|| error.into())
}

fn without_directory(error: &OpenError) -> Option<anyhow::Error> {
    let path = error.path().display();
    matches!(error.kind(), OpenErrorKind::NotFound)
        .then(|| anyhow!("{path}: its directory does not exist: make it first"))
}

fn policy_name(policy: FullPolicy) -> &'static str {
    match policy {
        FullPolicy::Block => "block",
        FullPolicy::Reject => "reject",
        FullPolicy::DropOldest => "drop-oldest",
    }
}

fn timestamps_name(timestamps: Timestamps) -> &'static str {
    match timestamps {
        Timestamps::Off => "off",
        Timestamps::Coarse => "coarse",
        Timestamps::Precise => "precise",
    }
}
