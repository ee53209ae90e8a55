//! `slipring bench`: its arguments. The work is in `crate::bench`.

use std::path::PathBuf;

use anyhow::bail;

use crate::bench::{
    self, Check, GroupKind, ProducerKind, Show, Wait, Wishes, Workload, allowed_cpus,
};
use crate::exit::Code;
use crate::units::{parse_duration, parse_rate, parse_size};

/// Measure it on this machine, beside what the machine itself can do
///
/// Starts processes of its own, pinned to CPUs, lets them exchange messages, and checks each of them. Right before each
/// measurement of each round it measures the limits of the machine in the same way: a cache line between two cores, a bare
/// ring without any of slipring's promises, a bare futex. What is printed is the median of all rounds with the lowest and
/// the highest, and the ratio to the limit: the one figure that is comparable between machines.
///
/// Without arguments it takes about a minute for a bit of everything up to `disk`. Its queues are removed at the end. What
/// each workload measures, and how to measure another queue, is in docs/benchmarking.md.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to measure [default: all up to `disk`]
    #[arg(value_name = "WORKLOAD")]
    #[arg(requires_if("foreign", "command"), requires_if("compare", "rivals"))]
    workloads: Vec<Workload>,
    /// How often each measurement is made, in turn with all others
    #[arg(short, long, value_name = "N", default_value_t = 3)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// How long each measurement lasts
    #[arg(long, value_name = "S", default_value = "0.2", value_parser = parse_seconds)]
    seconds: f64,
    /// Messages of each producer instead of a time
    #[arg(short = 'n', long, value_name = "N", conflicts_with = "seconds")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
    messages: Option<u64>,
    /// Bytes of a message; several with commas
    #[arg(short, long, value_name = "SIZE", value_delimiter = ',', value_parser = parse_message_size)]
    size: Vec<u64>,
    /// Messages published or received at a time; several with commas
    #[arg(short, long, value_name = "N", value_delimiter = ',')]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=64))]
    batch: Vec<u64>,
    /// Producer processes, where the workload has many
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100))]
    producers: Option<u64>,
    /// Consumer processes, of each group, where the workload has many
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100))]
    consumers: Option<u64>,
    /// Groups, for `broadcast` and `scale`
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=64))]
    groups: Option<u64>,
    /// Kind of group [default: what suits the workload, often both]
    #[arg(long, value_name = "KIND")]
    group: Option<GroupKind>,
    /// Kind of producer [default: sole for an exclusive group, many for a shared one]
    #[arg(long, value_name = "KIND")]
    producer: Option<ProducerKind>,
    /// How processes wait [default: busy if each has a CPU, else spin; `wake-up` parks]
    #[arg(short, long, value_name = "HOW")]
    wait: Option<Wait>,
    /// CPUs to pin processes to, in turn, consumers first [default: all]
    #[arg(
        long,
        value_name = "CPU,...",
        value_delimiter = ',',
        conflicts_with = "no_pin"
    )]
    cpus: Vec<usize>,
    /// Leave processes to the scheduler
    #[arg(long)]
    no_pin: bool,
    /// Messages the queue holds, a power of two [default: 1024; 64 for `large`]
    #[arg(long, value_name = "N")]
    capacity: Option<u64>,
    /// Bytes of a slot, a multiple of 64 [default: what holds a message, up to 2 KiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    slot_size: Option<u64>,
    /// Messages a second of `one-way`
    #[arg(long, value_name = "R", default_value = "100000", value_parser = parse_rate)]
    rate: f64,
    /// Messages at once of `burst`
    #[arg(long, value_name = "N", default_value_t = 512)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    burst: u64,
    /// How much of a message is written and checked
    #[arg(long, value_name = "WHAT", default_value = "bytes")]
    check: Check,
    /// Directory for queues on disk [default: the one for temporary files]
    #[arg(long, value_name = "DIR")]
    disk: Option<PathBuf>,
    /// Another queue, for `foreign`: a program and its arguments, parted by blanks
    #[arg(long, value_name = "COMMAND")]
    command: Option<String>,
    /// Other queues, for `compare`: a folder of programs, or a file with a command on each line
    #[arg(long, value_name = "FOLDER_OR_LIST")]
    rivals: Option<PathBuf>,
    /// Compare publishing that is confirmed on disk, with `compare`; rivals that do not promise it are left out
    #[arg(long)]
    durable: bool,
    /// Print one JSON object a result
    #[arg(long)]
    json: bool,
    /// Write a report with plots to this folder; without workloads, measure more for it
    #[arg(long, value_name = "FOLDER")]
    report: Option<PathBuf>,
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    let seconds = parse_duration(text)?.as_secs_f64();
    if (0.001..=3600.0).contains(&seconds) {
        return Ok(seconds);
    }
    Err(format!("{text:?}: must be 1 ms to 1 h"))
}

fn parse_message_size(text: &str) -> Result<u64, String> {
    const LARGEST: u64 = 1 << 30;
    let size = parse_size(text)?;
    let least = bench::MIN_SIZE;
    if (least..=LARGEST).contains(&size) {
        return Ok(size);
    }
    Err(format!("{size} bytes: must be {least} to {LARGEST}"))
}

/// Runs it.
pub fn run(args: &Args) -> anyhow::Result<Code> {
    if args.command.is_some() && !args.workloads.contains(&Workload::Foreign) {
        bail!("--command is for `slipring bench foreign`");
    }
    if args.rivals.is_some() && !args.workloads.contains(&Workload::Compare) {
        bail!("--rivals is for `slipring bench compare`");
    }
    if args.durable && !args.workloads.contains(&Workload::Compare) {
        bail!(
            "--durable is for `slipring bench compare`; `slipring bench durable` measures slipring alone"
        );
    }
    let alone = allowed_cpus().len() == 1;
    let wishes = Wishes {
        workloads: args.workloads.clone(),
        full: args.report.is_some() && args.workloads.is_empty(),
        rounds: usize::try_from(args.rounds)?,
        seconds: args.seconds,
        messages: args.messages,
        sizes: args.size.clone(),
        batches: args.batch.clone(),
        producers: args.producers,
        consumers: args.consumers,
        groups: args.groups,
        group_kind: args.group,
        producer_kind: args.producer,
        wait: args.wait,
        cpus: (!args.no_pin && !alone).then(|| args.cpus.clone()),
        capacity: args.capacity,
        slot_size: args.slot_size,
        rate: args.rate,
        burst: args.burst,
        check: args.check,
        disk: args.disk.clone(),
        command: args.command.clone(),
        rivals: args.rivals.clone(),
        durable: args.durable,
    };
    let show = Show {
        json: args.json,
        report: args.report.clone(),
    };
    bench::run(&wishes, &show)
}
