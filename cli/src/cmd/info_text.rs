//! The page of `slipring info`, and the tables of it and of `slipring group list`.

use std::time::Duration;

use slipring::{Durability, GroupStats, Inspector, ParticipantStats, Stats};

use super::obstacle::{obstacles, stuck_publishers};
use super::{policy_name, timestamps_name};
use crate::table::Table;
use crate::units;

/// Everything about a queue, for people.
pub fn page(name: &str, inspector: &Inspector, stats: &Stats, rate: Option<f64>) -> String {
    let geometry = inspector.geometry();
    let shape = geometry.shape();
    let arena = match geometry.segment_count() {
        0 => "none: every message fits its slot".to_owned(),
        count => format!(
            "{} in {count} segments of {}",
            units::size(shape.arena_size),
            units::size(geometry.segment_size())
        ),
    };
    let per_second = rate.map_or(String::new(), |rate| format!(", {rate:.0} per second now"));
    let rows = [
        ("queue", name.to_owned()),
        ("created", units::timestamp(inspector.created_ns())),
        ("file", units::size(stats.file_size)),
        (
            "slots",
            format!(
                "{} of {}, holding messages up to {}",
                units::count(shape.capacity),
                units::size(shape.slot_size),
                units::size(geometry.inline_max())
            ),
        ),
        ("arena", arena),
        ("longest message", units::size(shape.max_message)),
        ("when full", policy_name(inspector.full_policy()).to_owned()),
        (
            "timestamps",
            timestamps_name(inspector.timestamps()).to_owned(),
        ),
        ("durability", durability(inspector, stats)),
        (
            "published",
            format!("{}{per_second}", units::count(stats.published)),
        ),
        ("swept", swept(stats)),
        (
            "in use",
            format!(
                "{} of {} slots, {}",
                units::count(stats.depth),
                units::count(stats.capacity),
                units::size(stats.bytes_in_use)
            ),
        ),
    ];
    let full = obstacles(inspector, stats);
    let pending = inspector.pending_recovery();
    let pending = pending.map(|pending| ("reboot", pending.to_string()));
    let full = full.iter().map(|obstacle| ("full", obstacle.to_string()));
    let mut text = String::new();
    for (label, value) in rows.into_iter().chain(pending).chain(full) {
        text.push_str(&format!("{label:<15}  {value}\n"));
    }
    format!(
        "{text}\ngroups {} of {}\n{}\n\nprocesses {} of {}\n{}",
        stats.groups.len(),
        shape.max_groups,
        indented(&group_table(&stats.groups)),
        stats.participants.len(),
        shape.max_participants,
        indented(&participant_table(inspector, stats))
    )
}

/// What survives a reboot, what has survived the last one, and whether more can.
fn durability(inspector: &Inspector, stats: &Stats) -> String {
    let mut text = inspector.durability().to_string();
    if inspector.durability() != Durability::None {
        text.push_str(&format!(", on the disk up to {}", stats.durable_until));
    }
    if let Some(errno) = stats.sync_error {
        let error = std::io::Error::from_raw_os_error(errno);
        text.push_str(&format!(", STOPPED: syncing failed ({error})"));
    }
    if let Some(recovered) = stats.recovery.filter(|recovered| recovered.clean) {
        text.push_str(&format!(", recovery {}: clean", recovered.epoch));
    } else if let Some(recovered) = stats.recovery {
        text.push_str(&format!(
            ", recovery {}: {} messages, {} torn, {} missing",
            recovered.epoch, recovered.records, recovered.torn, recovered.missing
        ));
    }
    text
}

/// What has been repaired after deaths.
fn swept(stats: &Stats) -> String {
    format!(
        "{} dead processes, {} messages never finished, {} given back",
        units::count(stats.swept.participants),
        units::count(stats.swept.holes),
        units::count(stats.swept.claims)
    )
}

/// One row for each group, and a line for each that has limits.
pub fn group_table(groups: &[GroupStats]) -> String {
    let table = Table::of(groups)
        .left("name", |group| group.name.clone())
        .left("kind", kind)
        .right("members", |group| group.members.to_string())
        .right("lag", |group| units::count(group.lag))
        .right("ready", |group| units::count(group.ready))
        .right("in flight", |group| units::count(group.in_flight))
        .right_unless_zero("dead", |group| group.dead)
        .right("oldest", |group| age(group.oldest, group.oldest_age))
        .right("acked", |group| units::count(group.acked))
        .right("redelivered", |group| units::count(group.redelivered))
        .right_unless_zero("expired", |group| group.expired)
        .right_unless_zero("dead-lettered", |group| group.dead_lettered)
        .right("lost", |group| units::count(group.lost));
    let mut text = table.text();
    for (group, terms) in groups
        .iter()
        .filter_map(|group| Some((group, terms(group)?)))
    {
        text.push_str(&format!("\n{}: {terms}", group.name));
    }
    text
}

/// As wide as an age gets, so that a table that is shown again and again stands still.
fn age(sequence: Option<u64>, age: Duration) -> String {
    let text = match sequence {
        None => "-".to_owned(),
        Some(_) if age.is_zero() => "?".to_owned(),
        Some(_) => units::duration(age),
    };
    format!("{text:>8}")
}

fn kind(group: &GroupStats) -> String {
    let mut kind = String::from(if group.exclusive {
        "exclusive"
    } else {
        "shared"
    });
    if group.ephemeral {
        kind.push_str(", ephemeral");
    }
    if group.closing {
        kind.push_str(", closing");
    }
    kind
}

/// What a group was made with beside its kind, if anything.
fn terms(group: &GroupStats) -> Option<String> {
    let deliveries = group
        .max_deliveries
        .map(|most| format!("at most {most} deliveries of a message"));
    let dead = match &group.dead_letters {
        Some(queue) => Some(format!("dead messages go to {queue}")),
        None => deliveries
            .as_ref()
            .map(|_| "dead messages are parked".to_owned()),
    };
    let lease = group
        .ack_timeout
        .map(|timeout| format!("a claim lasts {}", units::duration(timeout)));
    let parts: Vec<_> = [deliveries, dead, lease].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// One row for each process, and a line for each that is stuck, or died, inside a publish.
fn participant_table(inspector: &Inspector, stats: &Stats) -> String {
    let count = |number: u64| match number {
        0 => "-".to_owned(),
        number => units::count(number),
    };
    let table = Table::of(&stats.participants)
        .left("name", |found| found.name.clone())
        .left("groups", |found| match found.groups.as_slice() {
            [] => "-".to_owned(),
            groups => groups.join(", "),
        })
        .left("state", |found| {
            if found.alive { "alive" } else { "dead" }.to_owned()
        })
        .right("id", |found| found.id.to_string())
        .right("pid", |found| found.pid.to_string())
        .right("published", published)
        .right("holds", |found| count(found.holds))
        .right("oldest", |found| {
            age(found.oldest_held, found.oldest_held_age)
        })
        .right("deliveries", |found| count(found.highest_count.into()));
    let mut text = table.text();
    let stuck = stuck_publishers(inspector, stats);
    for found in stats.participants.iter().filter(|found| found.writing > 0) {
        let what = match found.alive {
            false => "died inside a publish: whoever attaches or waits next clears it up",
            true if stuck.contains(&found.id) => "is stuck inside a publish: paused, perhaps",
            true => continue,
        };
        text.push_str(&format!("\nprocess {} ({}) {what}", found.pid, found.name));
    }
    text
}

fn published(found: &ParticipantStats) -> String {
    match (found.sole_producer, found.producer) {
        (true, _) => format!("{} (sole)", units::count(found.published)),
        (false, true) => units::count(found.published),
        (false, false) if found.published > 0 => units::count(found.published),
        (false, false) => "-".to_owned(),
    }
}

fn indented(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(|line| format!("  {line}")).collect();
    lines.join("\n")
}
