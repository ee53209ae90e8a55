//! Results as a table for people.

use std::time::Duration;

use super::clock::whole;
use super::entry::Entry;
use crate::table::Table;
use crate::units;

/// Nanoseconds in the unit that suits them.
pub fn time(ns: f64) -> String {
    if ns < 1000.0 {
        return format!("{ns:.0} ns");
    }
    units::duration(Duration::from_nanos(whole(ns)))
}

/// `12.3 M/s`.
pub fn rate(per_second: f64) -> String {
    let (unit, name) = rate_unit(per_second);
    format!("{:.2} {name}", per_second / unit)
}

fn rate_unit(per_second: f64) -> (f64, &'static str) {
    match per_second {
        rate if rate >= 1e6 => (1e6, "M/s"),
        rate if rate >= 1e3 => (1e3, "k/s"),
        _ => (1.0, "/s"),
    }
}

fn time_unit(ns: f64) -> (f64, &'static str) {
    match ns {
        ns if ns >= 1e6 => (1e6, "ms"),
        ns if ns >= 1e3 => (1e3, "us"),
        _ => (1.0, "ns"),
    }
}

/// All three in the unit that suits the first.
fn spread(unit: (f64, &str), median: f64, low: Option<f64>, high: Option<f64>) -> String {
    let (unit, name) = unit;
    let digits = if name == "ns" { 0 } else { 2 };
    let [low, high] = [low, high].map(|value| value.unwrap_or(median) / unit);
    let median = median / unit;
    format!("{median:.digits$} ({low:.digits$} to {high:.digits$}) {name}")
}

fn shown(value: Option<f64>, show: impl Fn(f64) -> String) -> String {
    value.map_or_else(String::new, show)
}

/// The result in short: what it is measured by, with the spread of the rounds.
fn result(entry: &Entry) -> String {
    if let Some(reason) = &entry.failed {
        return format!("FAILED: {reason}");
    }
    if let Some(reason) = &entry.skipped {
        return format!("skipped: {reason}");
    }
    if let (Some(publish), Some(receive)) = (entry.publish_ns, entry.receive_ns) {
        return format!("publish {publish:.1} ns, receive and ack {receive:.1} ns");
    }
    match (entry.msgs_per_s, entry.bytes_per_s, entry.p50_ns) {
        (_, Some(bytes), _) if entry.measured.starts_with("copy") => {
            let [low, high] = [entry.msgs_per_s_low, entry.msgs_per_s_high]
                .map(|value| value.map(|value| value * entry.size as f64));
            spread((1e9, "GB/s"), bytes, low, high)
        }
        // Of these it is the time that counts; the rate is among the notes.
        (Some(_), _, Some(p50)) if is_timed(entry) => {
            spread(time_unit(p50), p50, entry.p50_ns_low, entry.p50_ns_high)
        }
        (Some(rate), _, _) => {
            let (low, high) = (entry.msgs_per_s_low, entry.msgs_per_s_high);
            spread(rate_unit(rate), rate, low, high)
        }
        (None, _, Some(p50)) => spread(time_unit(p50), p50, entry.p50_ns_low, entry.p50_ns_high),
        _ => String::new(),
    }
}

fn is_timed(entry: &Entry) -> bool {
    matches!(&*entry.workload, "durable" | "stall")
}

fn notes(entry: &Entry) -> String {
    let mut notes = Vec::new();
    if let Some(published) = entry.msgs_per_s.filter(|_| is_timed(entry)) {
        notes.push(rate(published));
    }
    let is_limit = entry.workload == "limit";
    if let Some(bytes) = entry
        .bytes_per_s
        .filter(|_| entry.size >= 1024 && !is_limit)
    {
        notes.push(format!("{:.2} GB/s", bytes / 1e9));
    }
    if let Some(fairness) = entry.fairness {
        notes.push(format!("fairness {fairness:.2}"));
    }
    if let Some(idle) = entry.idle_cpu {
        notes.push(format!("idle CPU {:.2} %", idle * 100.0));
    }
    if let Some(memory) = entry.memory_bytes {
        notes.push(format!("uses {}", units::size(memory)));
    }
    notes.join(", ")
}

fn limit(entry: &Entry) -> String {
    let (Some(name), Some(value), Some(unit)) = (entry.limit, entry.limit_value, entry.limit_unit)
    else {
        return String::new();
    };
    let value = if unit == "ns" {
        time(value)
    } else {
        rate(value)
    };
    format!("{name} {value}")
}

fn ratio(entry: &Entry) -> String {
    match (entry.ratio, entry.ratio_low, entry.ratio_high) {
        (Some(ratio), Some(low), Some(high)) => format!("{ratio:.2} ({low:.2} to {high:.2})"),
        _ => String::new(),
    }
}

/// The whole table.
pub fn table(entries: &[Entry]) -> String {
    let one_is = |has: fn(&Entry) -> bool| entries.iter().any(has);
    let mut table = Table::of(entries)
        .left("workload", |entry| entry.workload.clone())
        .left("who", Entry::label)
        .right("size", |entry| {
            units::size(entry.size).replace("bytes", "B")
        });
    if one_is(|entry| entry.workload == "scale") {
        table = table
            .right("attached", |entry| units::count(entry.participants))
            .right("capacity", |entry| units::count(entry.capacity));
    }
    if one_is(|entry| entry.place == "disk") {
        table = table.left("on", |entry| entry.place.to_owned());
    }
    table = table.left("median (lowest to highest)", result);
    if one_is(|entry| entry.p99_ns.is_some()) {
        table = table
            .right("p90", |entry| shown(entry.p90_ns, time))
            .right("p99", |entry| shown(entry.p99_ns, time))
            .right("p99.9", |entry| shown(entry.p999_ns, time))
            .right("max", |entry| shown(entry.max_ns, time));
    }
    if one_is(|entry| entry.limit.is_some()) {
        table = table.left("limit beside it", limit).left("ratio", ratio);
    }
    table.left("", notes).text()
}
