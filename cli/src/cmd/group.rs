//! `slipring group`.

use std::time::Duration;

use anyhow::Context;
use clap::{Subcommand, value_parser};
use slipring::{GroupError, GroupOptions, Inspector, Start};

use super::info::{self, GroupView};
use super::{QueueArg, without_directory};
use crate::exit::Code;
use crate::output::Output;
use crate::units::parse_duration;

/// Add, remove and list groups
///
/// Every group sees every message. In a shared group each message goes to one consumer; in an exclusive one, one consumer
/// at a time sees all of them in order, and others stand by.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Add a group
    ///
    /// A message is dead once it has been delivered as often as --max-deliveries says and not acked, or once a consumer
    /// has rejected it. It goes to the queue that --dead-letters names. Without one, or if that has no room, it is parked:
    /// kept where it is, and one lap of the queue later in producers' way, until `slipring dead` decides on it.
    Add(Add),
    /// Remove a group: its consumers are told, and it holds nobody back any more
    Rm(Rm),
    /// List the groups and how they stand
    List(List),
}

#[derive(Debug, clap::Args)]
struct Add {
    #[command(flatten)]
    queue: QueueArg,
    /// Its name, 1 to 63 bytes
    name: String,
    /// One consumer at a time, in strict order
    #[arg(long)]
    exclusive: bool,
    /// Where it starts: earliest (what some group has not settled), latest, or a sequence
    #[arg(long, value_name = "WHERE", default_value = "latest", value_parser = parse_start)]
    start: Start,
    /// Deliveries of a message, 1 to 254, before it is dead [default: any number]
    #[arg(long, value_name = "N", value_parser = value_parser!(u8).range(1..=254))]
    max_deliveries: Option<u8>,
    /// The queue that dead messages go to, made if there is none; a bare name is a file beside QUEUE
    #[arg(long, value_name = "QUEUE")]
    dead_letters: Option<String>,
    /// Give a message to another consumer when it is not acked for so long [default: when its consumer dies]
    #[arg(long, value_name = "TIME", value_parser = parse_duration, conflicts_with = "exclusive")]
    ack_timeout: Option<Duration>,
}

#[derive(Debug, clap::Args)]
struct Rm {
    #[command(flatten)]
    queue: QueueArg,
    /// Its name
    name: String,
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    queue: QueueArg,
    /// Print one JSON array
    #[arg(long)]
    json: bool,
}

fn parse_start(text: &str) -> Result<Start, String> {
    match text {
        "earliest" => Ok(Start::Earliest),
        "latest" => Ok(Start::Latest),
        number => number
            .parse()
            .map(Start::At)
            .map_err(|_| format!("{text:?} is neither earliest, latest nor a sequence")),
    }
}

/// Runs it.
pub fn run(args: &Args) -> anyhow::Result<Code> {
    match &args.action {
        Action::Add(args) => add(args),
        Action::Rm(args) => remove(args),
        Action::List(args) => list(args),
    }
}

fn add(args: &Add) -> anyhow::Result<Code> {
    let made = args.queue.open()?.create_group(&args.name, args.options());
    made.map_err(not_added)
        .with_context(|| format!("{}: adding group {:?}", args.queue.name(), args.name))?;
    Ok(Code::Success)
}

impl Add {
    fn options(&self) -> GroupOptions {
        let mut options = if self.exclusive {
            GroupOptions::exclusive()
        } else {
            GroupOptions::shared()
        };
        options = options.start(self.start);
        if let Some(most) = self.max_deliveries {
            options = options.max_deliveries(most);
        }
        if let Some(queue) = &self.dead_letters {
            options = options.dead_letters(queue);
        }
        if let Some(timeout) = self.ack_timeout {
            options = options.ack_timeout(timeout);
        }
        options
    }
}

fn not_added(error: GroupError) -> anyhow::Error {
    if let GroupError::DeadQueue(dead) = &error
        && let Some(found) = without_directory(dead.error())
    {
        return found;
    }
    error.into()
}

fn remove(args: &Rm) -> anyhow::Result<Code> {
    args.queue
        .open()?
        .delete_group(&args.name)
        .with_context(|| {
            let queue = args.queue.name();
            format!(
                "{queue}: removing group {:?} (see `slipring group list {queue}`)",
                args.name
            )
        })?;
    Ok(Code::Success)
}

fn list(args: &List) -> anyhow::Result<Code> {
    let stats = Inspector::open(&args.queue.queue)?.stats();
    let mut output = Output::stdout()?;
    if args.json {
        let groups: Vec<_> = stats.groups.iter().map(GroupView::from).collect();
        output.json(&groups)?;
    } else {
        output.line(info::group_table(&stats.groups))?;
    }
    output.flush()?;
    Ok(Code::Success)
}
