//! Slipring beside other queues: which there are, what each promises, and one table of all that was measured.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, ensure};

use super::catalog::Wishes;
use super::entry::Entry;
use super::foreign::{Described, Facts, Kind, Rival, describe};
use super::spec::Workload;
use super::text::{rate, time};
use crate::table::Table;
use crate::units;

/// The commands that were named.
#[derive(Debug, Default)]
pub struct Rivals {
    pub found: Vec<Rival>,
    pub missing: Vec<Missing>,
    /// Those that do not follow the contract.
    pub broken: Vec<Missing>,
}

/// A command that is not measured.
#[derive(Debug)]
pub struct Missing {
    pub command: String,
    pub reason: String,
}

impl Rivals {
    /// Asks all of them what they are.
    pub fn find(wishes: &Wishes) -> anyhow::Result<Self> {
        let mut commands = Vec::new();
        if wishes.workloads.contains(&Workload::Foreign) {
            commands.extend(wishes.command.clone());
        }
        if wishes.workloads.contains(&Workload::Compare)
            && let Some(path) = &wishes.rivals
        {
            commands.extend(commands_of(path)?);
        }
        let mut rivals = Self::default();
        let alone = commands.len() == 1 && wishes.workloads.contains(&Workload::Foreign);
        for command in commands {
            match describe(&command) {
                Ok(Described::Rival(rival)) => rivals.found.push(*rival),
                Ok(Described::NotInstalled(reason)) => {
                    rivals.missing.push(Missing { command, reason });
                }
                Err(error) if alone => return Err(error),
                Err(error) => {
                    let reason = format!("{error:#}");
                    rivals.broken.push(Missing { command, reason });
                }
            }
        }
        Ok(rivals)
    }
}

/// The executables of a folder, or the lines of a list.
fn commands_of(path: &Path) -> anyhow::Result<Vec<String>> {
    let named = || format!("--rivals {}", path.display());
    if path.is_dir() {
        let mut commands = Vec::new();
        for entry in std::fs::read_dir(path).with_context(named)? {
            let found = entry.with_context(named)?.path();
            let metadata = std::fs::metadata(&found);
            let runs =
                metadata.is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0);
            if runs {
                let text = found.to_string_lossy().into_owned();
                let blank = text.contains(char::is_whitespace);
                ensure!(
                    !blank,
                    "{text:?}: a blank in a path would part the command's words"
                );
                commands.push(text);
            }
        }
        commands.sort();
        return Ok(commands);
    }
    let text = std::fs::read_to_string(path).with_context(named)?;
    let lines = text.lines().map(str::trim);
    let commands = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(commands.map(str::to_owned).collect())
}

/// One queue's line: what it is, and what was measured of it.
struct Row<'e> {
    name: String,
    facts: Facts,
    entries: Vec<&'e Entry>,
}

fn own_facts(entry: &Entry) -> Facts {
    let name = &entry.queue;
    let shared = name.ends_with("shared");
    Facts {
        name: name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kind: Kind::Processes,
        acked: true,
        survives_kill: true,
        mpmc: shared,
        durable: entry.durability == "sync",
        blocking: false,
        roles: Vec::new(),
        max_size: None,
        notes: String::new(),
    }
}

fn rows<'e>(rivals: &Rivals, entries: &'e [Entry]) -> Vec<Row<'e>> {
    let mut rows: Vec<Row<'e>> = Vec::new();
    for entry in entries {
        if let Some(row) = rows.iter_mut().find(|row| row.name == entry.queue) {
            row.entries.push(entry);
            continue;
        }
        let rival = rivals
            .found
            .iter()
            .find(|rival| rival.facts.name == entry.queue);
        rows.push(Row {
            name: entry.queue.clone(),
            facts: rival.map_or_else(|| own_facts(entry), |rival| rival.facts.clone()),
            entries: vec![entry],
        });
    }
    rows
}

/// What a column is about.
#[derive(Clone, Debug, PartialEq)]
struct Column {
    measured: String,
    size: u64,
    batch: u64,
    producers: u64,
    consumers: u64,
}

impl Column {
    fn of(entry: &Entry) -> Self {
        Self {
            measured: entry.measured.clone(),
            size: entry.size,
            batch: entry.batch,
            producers: entry.producers,
            consumers: entry.consumers,
        }
    }

    fn title(&self) -> String {
        let size = units::size(self.size).replace("bytes", "B");
        if self.measured == "round-trip" {
            return format!("RTT/2 {size}: p50, p99");
        }
        let mut title = format!("{}:{} {size}", self.producers, self.consumers);
        if self.batch > 1 {
            title.push_str(&format!(" by {}", self.batch));
        }
        title
    }

    fn cell(&self, row: &Row<'_>) -> String {
        let entry = row.entries.iter().find(|entry| Self::of(entry) == *self);
        let Some(entry) = entry else {
            return "-".to_owned();
        };
        if entry.failed.is_some() {
            return "FAILED".to_owned();
        }
        let ratio = entry
            .ratio
            .map_or_else(String::new, |ratio| format!(" ({ratio:.2})"));
        match (entry.msgs_per_s, entry.p50_ns, entry.p99_ns) {
            (Some(messages), _, _) => format!("{}{ratio}", rate(messages)),
            (None, Some(p50), Some(p99)) => format!("{}, {}{ratio}", time(p50), time(p99)),
            _ => "-".to_owned(),
        }
    }
}

fn yes(fact: bool) -> String {
    if fact { "yes" } else { "no" }.to_owned()
}

/// The table, and what is not in it.
pub fn text(rivals: &Rivals, entries: &[Entry]) -> String {
    let rows = rows(rivals, entries);
    let mut table = Table::of(&rows)
        .left("queue", |row| row.name.clone())
        .left("version", |row| row.facts.version.clone())
        .left("between", |row| {
            let kind = match row.facts.kind {
                Kind::Processes => "processes",
                Kind::Threads => "threads",
            };
            let waits = if row.facts.blocking { ", blocking" } else { "" };
            format!("{kind}{waits}")
        })
        .left("acked", |row| yes(row.facts.acked))
        .left("survives kill", |row| yes(row.facts.survives_kill))
        .left("MPMC", |row| yes(row.facts.mpmc))
        .left("durable", |row| yes(row.facts.durable));
    let mut columns: Vec<Column> = Vec::new();
    for column in entries.iter().map(Column::of) {
        if !columns.contains(&column) {
            columns.push(column);
        }
    }
    for column in &columns {
        table = table.right(&column.title(), |row| column.cell(row));
    }
    let mut lines = vec![beside(entries).to_owned(), table.text()];
    for row in &rows {
        lines.extend(remarks(row));
    }
    for (what, list) in [
        ("not installed", &rivals.missing),
        ("broken", &rivals.broken),
    ] {
        for Missing { command, reason } in list {
            lines.push(format!("{what}: {command}: {reason}"));
        }
    }
    lines.join("\n")
}

fn beside(entries: &[Entry]) -> &'static str {
    if entries.iter().any(|entry| entry.durability == "sync") {
        return "in brackets: ratio to one process that writes the same bytes to a file and syncs it, measured just before; \
                messages are consumed meanwhile";
    }
    "in brackets: ratio to the bare hop (round trips: less is better) or to the bare ring (rates: more is better), \
     measured just before"
}

fn remarks(row: &Row<'_>) -> Vec<String> {
    let name = &row.name;
    let mut lines = Vec::new();
    if !row.facts.notes.is_empty() {
        lines.push(format!("{name}: {}", row.facts.notes));
    }
    for entry in &row.entries {
        let title = Column::of(entry).title();
        if let Some(reason) = &entry.failed {
            lines.push(format!("FAILED: {name}, {title}: {reason}"));
        }
        if let Some(reason) = &entry.skipped {
            lines.push(format!("skipped: {name}, {title}: {reason}"));
        }
    }
    lines
}
