//! A folder with everything of a run: the table, the raw results, and plots.

use std::fmt::Write;
use std::path::Path;

use anyhow::Context;

use super::entry::Entry;
use super::machine::Machine;
use super::plot::{Axis, Bar, Curve, bars, curves};
use super::text::{rate, time};
use crate::units;

/// Workloads whose latencies are drawn.
const CURVES: [&str; 7] = [
    "round-trip",
    "one-way",
    "burst",
    "wake-up",
    "durable",
    "stall",
    "compare",
];

/// A plot: its file, and the document.
struct Plot {
    name: String,
    title: String,
    svg: String,
}

/// Writes the folder, which is there.
pub fn write(
    folder: &Path,
    machine: &Machine,
    entries: &[Entry],
    table: &str,
    json: &str,
) -> anyhow::Result<()> {
    let mut plots = Vec::new();
    for workload in CURVES {
        plots.extend(latencies(workload, entries));
    }
    plots.extend(against_size(entries));
    plots.extend(against_participants(entries));
    plots.extend(comparison(entries));
    let mut page = format!(
        "# slipring bench\n\n{}\n\n```text\n{table}\n```\n",
        machine.line()
    );
    for plot in &plots {
        // Writing to a string does not fail.
        let _written = write!(
            page,
            "\n## {}\n\n![{}]({})\n",
            plot.title, plot.title, plot.name
        );
        put(folder, &plot.name, &plot.svg)?;
    }
    page.push_str("\nAll figures, one JSON object a line: [results.jsonl](results.jsonl).\n");
    put(folder, "report.md", &page)?;
    put(folder, "results.jsonl", json)
}

fn put(folder: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    let path = folder.join(name);
    std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
}

/// From `1 / (1 - quantile)` to the quantile.
fn percentile(inverse: f64) -> String {
    // Rounded, since most of these have no end in binary.
    let digits = super::clock::whole((100.0 - 100.0 / inverse) * 1e4) as f64 / 1e4;
    format!("{digits} %")
}

/// Where a distribution is looked at: 0 % to 99.99 %, closer to the end in each step.
fn inverses() -> impl Iterator<Item = f64> {
    (0..=80).map(|step| 10_f64.powf(f64::from(step) / 20.0))
}

fn latencies(workload: &str, entries: &[Entry]) -> Option<Plot> {
    let of_workload = entries.iter().filter(|entry| entry.workload == workload);
    let mut all = Vec::new();
    for entry in of_workload {
        let Some(found) = &entry.latencies else {
            continue;
        };
        let point = |inverse: f64| {
            let quantile = 1.0 - 1.0 / inverse;
            (inverse, found.value_at_quantile(quantile) as f64)
        };
        all.push(Curve {
            name: format!("{} {}", entry.label(), units::size(entry.size)),
            points: inverses().map(point).collect(),
        });
    }
    if all.is_empty() {
        return None;
    }
    let x = Axis {
        title: "part of the messages",
        log: true,
        ticks: vec![1.0, 2.0, 10.0, 100.0, 1000.0, 10_000.0],
        show: percentile,
    };
    let y = Axis {
        title: "latency",
        log: true,
        ticks: Vec::new(),
        show: time,
    };
    let title = format!("Latency: {workload}");
    Some(Plot {
        name: format!("latency-{workload}.svg"),
        svg: curves(&title, &x, &y, &all),
        title,
    })
}

/// Curves of rates, one for each name, ordered by where their points lie.
fn grouped(points: impl Iterator<Item = (String, f64, f64)>) -> Vec<Curve> {
    let mut all: Vec<Curve> = Vec::new();
    for (name, x, y) in points {
        match all.iter_mut().find(|curve| curve.name == name) {
            Some(curve) => curve.points.push((x, y)),
            None => all.push(Curve {
                name,
                points: vec![(x, y)],
            }),
        }
    }
    for curve in &mut all {
        curve.points.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    all
}

/// The different places of the points, to be labelled.
fn places(all: &[Curve]) -> Vec<f64> {
    let mut places: Vec<f64> = all
        .iter()
        .flat_map(|curve| curve.points.iter().map(|point| point.0))
        .collect();
    places.sort_by(f64::total_cmp);
    places.dedup();
    places
}

fn is_one_to_one(entry: &Entry) -> bool {
    (entry.producers, entry.consumers, entry.groups) == (1, 1, 1)
}

fn against_size(entries: &[Entry]) -> Option<Plot> {
    let wanted = ["throughput", "large", "compare"];
    let measured = entries
        .iter()
        .filter(|entry| wanted.contains(&entry.workload.as_str()) && is_one_to_one(entry));
    let all = grouped(measured.filter_map(|entry| {
        let name = format!("{} {}", entry.workload, entry.label());
        Some((name, entry.size as f64, entry.msgs_per_s?))
    }));
    let x = Axis {
        title: "bytes of a message",
        log: true,
        ticks: places(&all),
        show: |size| size_label(size),
    };
    rates(
        "throughput-size.svg",
        "Throughput against message size",
        &x,
        &all,
    )
}

fn size_label(size: f64) -> String {
    let text = units::size(super::clock::whole(size));
    text.replace(" bytes", " B")
}

fn against_participants(entries: &[Entry]) -> Option<Plot> {
    let wanted = [
        "throughput",
        "fan-in",
        "work-queue",
        "n-to-m",
        "contention",
        "broadcast",
    ];
    let is_wanted = |entry: &&Entry| wanted.contains(&entry.workload.as_str()) && entry.size == 64;
    let measured = entries.iter().filter(is_wanted);
    let all = grouped(measured.filter_map(|entry| {
        let at_work = entry.producers + entry.consumers * entry.groups;
        let name = format!(
            "{} {}, batch {}",
            entry.workload, entry.group_kind, entry.batch
        );
        Some((name, at_work as f64, entry.msgs_per_s?))
    }));
    let x = Axis {
        title: "producers and consumers at work",
        log: true,
        ticks: places(&all),
        show: |count| format!("{count:.0}"),
    };
    let title = "Throughput against participants, 64 bytes";
    rates("throughput-participants.svg", title, &x, &all)
}

fn rates(name: &str, title: &str, x: &Axis, all: &[Curve]) -> Option<Plot> {
    if all.is_empty() {
        return None;
    }
    let y = Axis {
        title: "messages",
        log: true,
        ticks: Vec::new(),
        show: rate,
    };
    Some(Plot {
        name: name.to_owned(),
        title: title.to_owned(),
        svg: curves(title, x, &y, all),
    })
}

/// Ratios of everything; or, where queues were compared, the rates of each kind.
fn comparison(entries: &[Entry]) -> Vec<Plot> {
    // Of `scale` there are only times without a limit that is to be reached, and a stall is a multiple of next to nothing.
    let apart = ["compare", "limit", "scale", "recovery", "durable", "stall"];
    let own = || {
        entries
            .iter()
            .filter(|entry| !apart.contains(&entry.workload.as_str()))
    };
    let (rates, times): (Vec<&Entry>, Vec<&Entry>) =
        own().partition(|entry| entry.msgs_per_s.is_some());
    let bars_of = |all: Vec<&Entry>| -> Vec<Bar> {
        let bars = all
            .into_iter()
            .filter_map(|entry| bar(entry, &entry.workload));
        bars.collect()
    };
    let mut plots = Vec::new();
    let mut add = |name: &str, title: String, all: &[Bar]| {
        if !all.is_empty() {
            plots.push(Plot {
                name: format!("{name}.svg"),
                svg: bars(&title, |ratio| format!("{ratio:.2}"), all),
                title,
            });
        }
    };
    let title = "Rates by the limit beside them: more is better";
    add("ratios-rates", title.to_owned(), &bars_of(rates));
    let title = "Latencies, in the middle, by the limit beside them: less is better";
    add("ratios-times", title.to_owned(), &bars_of(times));
    let compared = || entries.iter().filter(|entry| entry.workload == "compare");
    let mut kinds: Vec<_> = compared()
        .map(|entry| (entry.measured.clone(), entry.size, entry.batch))
        .collect();
    kinds.sort();
    kinds.dedup();
    for kind in kinds {
        let (measured, size, batch) = &kind;
        let same = compared().filter(|entry| {
            (&entry.measured, &entry.size, &entry.batch) == (measured, size, batch)
        });
        let all: Vec<Bar> = same.filter_map(|entry| bar(entry, "")).collect();
        let title = format!("{measured}, {size} bytes, by {batch}: ratio to the bare limit");
        add(&format!("compare-{measured}-{size}-{batch}"), title, &all);
    }
    plots
}

fn bar(entry: &Entry, workload: &str) -> Option<Bar> {
    let size = units::size(entry.size);
    Some(Bar {
        name: format!("{workload} {} {size}", entry.label()),
        value: entry.ratio?,
        low: entry.ratio_low?,
        high: entry.ratio_high?,
    })
}
