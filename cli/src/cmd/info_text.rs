//! The tables of `slipring info` and `slipring group list`.

use slipring::{GroupStats, Inspector, ParticipantStats, Stats};

use super::{policy_name, timestamps_name};
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
        (
            "published",
            format!("{}{per_second}", units::count(stats.published)),
        ),
        ("never finished", units::count(stats.aborted)),
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
    let mut text = String::new();
    for (label, value) in rows {
        text.push_str(&format!("{label:<15}  {value}\n"));
    }
    format!(
        "{text}\ngroups {} of {}\n{}\n\nprocesses {} of {}\n{}",
        stats.groups.len(),
        shape.max_groups,
        indented(&group_table(&stats.groups)),
        stats.participants.len(),
        shape.max_participants,
        indented(&participant_table(&stats.participants))
    )
}

/// One row for each group.
pub fn group_table(groups: &[GroupStats]) -> String {
    let head = [
        "name",
        "kind",
        "members",
        "lag",
        "ready",
        "in flight",
        "oldest",
        "acked",
        "redelivered",
        "lost",
    ];
    let rows = groups.iter().map(|group| {
        let oldest = match group.oldest {
            None => "-".to_owned(),
            Some(_) if group.oldest_age.is_zero() => "?".to_owned(),
            Some(_) => units::duration(group.oldest_age),
        };
        // As wide as an age gets, so that a table that is shown again and again stands still.
        let oldest = format!("{oldest:>8}");
        vec![
            group.name.clone(),
            kind(group),
            group.members.to_string(),
            units::count(group.lag),
            units::count(group.ready),
            units::count(group.in_flight),
            oldest,
            units::count(group.acked),
            units::count(group.redelivered),
            units::count(group.lost),
        ]
    });
    table(&head, rows.collect(), 2)
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

fn participant_table(participants: &[ParticipantStats]) -> String {
    let head = ["name", "groups", "id", "pid", "published"];
    let rows = participants.iter().map(|found| {
        let groups = match found.groups.as_slice() {
            [] => "-".to_owned(),
            groups => groups.join(", "),
        };
        let published = match (found.sole_producer, found.producer) {
            (true, _) => format!("{} (sole)", units::count(found.published)),
            (false, true) => units::count(found.published),
            (false, false) if found.published > 0 => units::count(found.published),
            (false, false) => "-".to_owned(),
        };
        vec![
            found.name.clone(),
            groups,
            found.id.to_string(),
            found.pid.to_string(),
            published,
        ]
    });
    table(&head, rows.collect(), 2)
}

fn indented(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(|line| format!("  {line}")).collect();
    lines.join("\n")
}

/// Columns as wide as they need to be; the first few aligned left, numbers right.
fn table(head: &[&str], rows: Vec<Vec<String>>, left: usize) -> String {
    if rows.is_empty() {
        return "none".to_owned();
    }
    let head = head.iter().map(|title| (*title).to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let mut widths = Vec::new();
    for row in &rows {
        widths.resize(row.len().max(widths.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let lines = rows.iter().map(|row| {
        let cells = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(at, (cell, width))| {
                if at < left {
                    format!("{cell:<width$}")
                } else {
                    format!("{cell:>width$}")
                }
            });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let rows = vec![row(["a", "x", "1"]), row(["long", "y", "1000"])];
        let expected = "name  k     n\na     x     1\nlong  y  1000";
        assert_eq!(table(&["name", "k", "n"], rows, 2), expected);
        assert_eq!(table(&["name"], Vec::new(), 1), "none");
    }
}
