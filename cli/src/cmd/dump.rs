//! `slipring dump`.

use std::ops::Range;

use clap::ValueEnum;
use serde::Serialize;
use slipring::{Dump, DumpEntry, DumpField, PendingRecovery};

use super::QueueArg;
use crate::exit::Code;
use crate::output::Output;

/// Show a queue's file word by word, decoded
///
/// For when something is wrong with one: it opens damaged and truncated files, believes nothing they say, and reads only
/// what is there. Tables are shown as far as they are, or were, in use. The names are those of the format's description.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    queue: QueueArg,
    /// Only these parts [default: all]
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    only: Vec<Part>,
    /// Only these slots, by index: one, or FROM..TO without TO
    #[arg(long, value_name = "RANGE", value_parser = parse_range, conflicts_with = "sequence")]
    slots: Option<Range<u64>>,
    /// Only the slot of this message
    #[arg(long, value_name = "SEQ")]
    sequence: Option<u64>,
    /// Print one JSON object for each entry, on a line of its own
    #[arg(long)]
    json: bool,
}

/// A part of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Header,
    Control,
    Participants,
    Groups,
    Segments,
    Slots,
}

#[derive(Serialize)]
struct View<'a> {
    name: &'a str,
    offset: u64,
    fields: Vec<FieldView<'a>>,
}

#[derive(Serialize)]
struct FieldView<'a> {
    name: &'a str,
    offset: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<u64>,
    text: &'a str,
}

/// Runs it.
pub fn run(args: &Args) -> anyhow::Result<Code> {
    let dump = Dump::open(&args.queue.queue)?;
    let mut output = Output::stdout()?;
    let mut shown = Shown {
        json: args.json,
        output: &mut output,
    };
    let wants = |part| {
        let slots_only = args.slots.is_some() || args.sequence.is_some();
        let default = args.only.is_empty() && (part == Part::Slots || !slots_only);
        default || args.only.contains(&part)
    };
    if let Some(pending) = dump.pending_recovery() {
        shown.pending(pending)?;
    }
    if wants(Part::Header) {
        shown.entry(&dump.header())?;
    }
    if wants(Part::Control) {
        shown.entry(&dump.control())?;
    }
    if wants(Part::Participants) {
        shown.entries(dump.participants())?;
    }
    if wants(Part::Groups) {
        shown.entries(dump.groups())?;
    }
    if wants(Part::Segments) {
        shown.entries(dump.segments())?;
    }
    if wants(Part::Slots) {
        shown.entries(dump.slots(slots(args, &dump)))?;
    }
    output.flush()?;
    match dump.refused() {
        None => Ok(Code::Success),
        Some(error) => {
            crate::output::complain(&format!("{}: {error}", args.queue.name()));
            Ok(Code::Damaged)
        }
    }
}

fn slots(args: &Args, dump: &Dump) -> Range<u64> {
    let of_sequence = args.sequence.and_then(|sequence| dump.index_of(sequence));
    of_sequence
        .map(|index| index..index + 1)
        .or_else(|| args.slots.clone())
        .unwrap_or(0..u64::MAX)
}

struct Shown<'a> {
    json: bool,
    output: &'a mut Output,
}

impl Shown<'_> {
    fn pending(&mut self, pending: PendingRecovery) -> anyhow::Result<()> {
        if !self.json {
            return self.output.line(format_args!("{pending}\n"));
        }
        let field = FieldView {
            name: "next_opener",
            offset: 0,
            raw: None,
            text: pending.name(),
        };
        self.output.json(&View {
            name: "pending_recovery",
            offset: 0,
            fields: vec![field],
        })
    }

    fn entries(&mut self, entries: impl Iterator<Item = DumpEntry>) -> anyhow::Result<()> {
        for entry in entries {
            self.entry(&entry)?;
        }
        Ok(())
    }

    fn entry(&mut self, entry: &DumpEntry) -> anyhow::Result<()> {
        if self.json {
            return self.output.json(&View {
                name: &entry.name,
                offset: entry.offset,
                fields: entry.fields.iter().map(Into::into).collect(),
            });
        }
        let DumpEntry { name, offset, .. } = entry;
        self.output
            .line(format_args!("{name} at offset {offset}"))?;
        for field in &entry.fields {
            self.output.line(format_args!("  {field}"))?;
        }
        Ok(())
    }
}

impl<'a> From<&'a DumpField> for FieldView<'a> {
    fn from(field: &'a DumpField) -> Self {
        Self {
            name: &field.name,
            offset: field.offset,
            raw: field.raw,
            text: &field.text,
        }
    }
}

/// Reads `7`, or `4..8`.
fn parse_range(text: &str) -> Result<Range<u64>, String> {
    let number = |text: &str| text.parse::<u64>().ok();
    let range = match text.split_once("..") {
        Some((from, to)) => number(from).zip(number(to)).map(|(from, to)| from..to),
        None => number(text).and_then(|index| Some(index..index.checked_add(1)?)),
    };
    range.ok_or_else(|| format!("{text:?} is no range: write an index, or FROM..TO"))
}
