//! `slipring group`.

use anyhow::Context;
use clap::Subcommand;
use slipring::{GroupOptions, Inspector, Start};

use super::QueueArg;
use super::info::{self, GroupView};
use crate::exit::Code;
use crate::output::Output;

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
    let options = if args.exclusive {
        GroupOptions::exclusive()
    } else {
        GroupOptions::shared()
    };
    let options = options.start(args.start);
    args.queue
        .open()?
        .create_group(&args.name, options)
        .with_context(|| format!("{}: adding group {:?}", args.queue.name(), args.name))?;
    Ok(Code::Success)
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
