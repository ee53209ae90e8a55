//! `slipring demo`: its arguments. The work is in `crate::demo`.

use crate::demo::{self, Plan};
use crate::exit::Code;
use crate::units::parse_size;

/// Show it at work: producers and consumers in processes of their own, every message checked
///
/// Makes a queue of its own, starts the processes, moves the messages, and counts: what was published, delivered and
/// acked, and whether anything was lost, came twice, out of order or damaged. Every byte of every message is compared
/// with what it has to be. The queue is removed at the end.
///
/// The exit code is 0 only if nothing was lost, damaged or out of order. While it runs, `slipring info` shows its queue,
/// whose name it prints first.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Messages to move
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10_000_000)]
    messages: u64,
    /// Producer processes
    #[arg(short, long, value_name = "N", default_value_t = 3)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100))]
    producers: u32,
    /// Consumer processes
    #[arg(short, long, value_name = "N", default_value_t = 3)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100))]
    consumers: u32,
    /// Bytes of a message, at least 32
    #[arg(short, long, value_name = "SIZE", default_value = "64", value_parser = parse_message_size)]
    size: u64,
    /// Messages published or received at a time
    // Measured with 6 processes on 2 cores: from 1 to 32 doubles the throughput, 64 adds nothing.
    #[arg(short, long, value_name = "N", default_value_t = 32)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=64))]
    batch: u64,
    /// Messages the queue holds, a power of two
    // A full queue's latency is its length; beyond this, more of it hardly adds throughput.
    #[arg(long, value_name = "N", default_value_t = 1024)]
    capacity: u64,
    /// End with one JSON object on one line; progress goes to stderr
    #[arg(long)]
    json: bool,
}

fn parse_message_size(text: &str) -> Result<u64, String> {
    let size = parse_size(text)?;
    if (demo::SIZES).contains(&size) {
        return Ok(size);
    }
    let (least, most) = (demo::SIZES.start(), demo::SIZES.end());
    Err(format!("{size} bytes: must be {least} to {most}"))
}

/// Runs it.
pub fn run(args: &Args) -> anyhow::Result<Code> {
    let plan = Plan {
        messages: args.messages,
        producers: args.producers,
        consumers: args.consumers,
        size: args.size,
        batch: args.batch,
        capacity: args.capacity,
    };
    demo::run(&plan, args.json)
}
