//! What durability costs a publish, beside what the disk takes by itself; and what a disk does to publishes that ask
//! nothing of it.

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::Context;
use hdrhistogram::Histogram;

use super::catalog::Wishes;
use super::clock::{now_ns, whole};
use super::crew::Crew;
use super::job::{Job, Outcome, Pace, READY, Role, new_histogram};
use super::limits::{Limit, PATIENCE};
use super::machine;
use super::measure::{Sample, by_rate, by_time, one_way};
use super::message::Check;
use super::site::Site;
use super::spec::{Durably, Place, Spec, Workload};
use super::worker::{hear, say};

/// Half a lap is more than producers have under way between two syncs.
const CAPACITY: u64 = 4096;
/// Or than they publish at a rate between two syncs at an interval.
const STALL_CAPACITY: u64 = 1 << 16;
const BATCH: u64 = 32;
const PRODUCERS: u64 = 8;
/// Long enough to meet what comes once in a while.
const STALL_SECONDS: f64 = 2.0;
/// Of a workload's time, how much the disk is measured alone before it.
const SHARE_ALONE: f64 = 0.5;
/// What a durable publish is held against.
const ALONE: &str = "write and fdatasync";
/// What a disturber writes: pieces, one after the other, a sync after some of them, and again from the beginning.
const PIECE: usize = 1 << 20;
const PIECES_PER_SYNC: u64 = 16;
const PIECES: u64 = 256;

/// One producer in each mode, several where they share syncs, one by one and by 32.
pub fn modes(wishes: &Wishes, base: &Spec) -> Vec<Spec> {
    let several = wishes.producers.unwrap_or(PRODUCERS);
    let modes = [
        (Durably::None, 1),
        (Durably::Interval, 1),
        (Durably::Sync, 1),
        (Durably::Sync, several),
    ];
    let spec = |(durably, producers)| Spec {
        durably,
        producers,
        place: Place::Disk,
        timed: true,
        capacity: wishes.capacity.unwrap_or(CAPACITY),
        ..base.clone()
    };
    let swept = |mode| wishes.swept(&spec(mode), &[base.size], &[1, BATCH]);
    modes.into_iter().flat_map(swept).collect()
}

/// What durable queues are compared in: publishing by one and by several, one by one and by 32.
pub fn cells(wishes: &Wishes, base: &Spec) -> Vec<Spec> {
    let several = wishes.producers.unwrap_or(PRODUCERS);
    let spec = |producers| Spec {
        producers,
        durably: Durably::Sync,
        place: Place::Disk,
        timed: true,
        check: Check::Ends,
        capacity: wishes.capacity.unwrap_or(CAPACITY),
        ..base.clone()
    };
    let swept = |producers| wishes.swept(&spec(producers), &[base.size], &[1, BATCH]);
    [1, several].into_iter().flat_map(swept).collect()
}

/// In memory and on disk, alone and beside somebody who writes; and with syncs of its own.
pub fn stalls(wishes: &Wishes, base: &Spec) -> Vec<Spec> {
    let cases = [
        (Place::Memory, Durably::None, false),
        (Place::Disk, Durably::None, false),
        (Place::Disk, Durably::Interval, false),
        (Place::Memory, Durably::None, true),
        (Place::Disk, Durably::None, true),
        (Place::Disk, Durably::Interval, true),
    ];
    let spec = |(place, durably, disturbed)| Spec {
        place,
        durably,
        disturbed,
        timed: true,
        pace: Pace::Rate(wishes.rate),
        capacity: wishes.capacity.unwrap_or(STALL_CAPACITY),
        seconds: base.seconds.max(STALL_SECONDS),
        ..base.clone()
    };
    let swept = |case| wishes.swept(&spec(case), &[base.size], &[1]);
    cases.into_iter().flat_map(swept).collect()
}

/// Why it cannot be measured here, if it cannot.
pub fn obstacle(spec: &Spec, site: &Site) -> anyhow::Result<Option<String>> {
    let needs_disk = spec.disturbed || (spec.timed && spec.place == Place::Disk);
    if !needs_disk || !machine::space(&site.disk)?.1 {
        return Ok(None);
    }
    let place = site.disk.display();
    Ok(Some(format!(
        "{place} is in memory; name a directory on a disk with --disk"
    )))
}

/// Measures the limit, then the workload.
pub fn measure(site: &Site, spec: &Spec) -> anyhow::Result<Sample> {
    if spec.workload == Workload::Stall {
        return stall(site, spec);
    }
    if spec.workload == Workload::Throughput {
        let alone = rate_alone(site, spec)?;
        return Ok(by_rate(one_way(site, spec)?, alone));
    }
    let alone = Limit {
        name: ALONE,
        value: alone(site, spec)?.value_at_quantile(0.5) as f64,
        unit: "ns",
    };
    Ok(by_time(one_way(site, spec)?, alone))
}

/// The messages a second of one who writes and syncs, and nothing else.
pub fn rate_alone(site: &Site, spec: &Spec) -> anyhow::Result<Limit> {
    let ns = alone(site, spec)?.value_at_quantile(0.5) as f64;
    Ok(Limit {
        name: ALONE,
        value: spec.batch as f64 * 1e9 / ns,
        unit: "messages/s",
    })
}

/// The disk by itself: the bytes of one publish, written and synced, again and again.
fn alone(site: &Site, spec: &Spec) -> anyhow::Result<Histogram<u64>> {
    let directory = site.directory(Place::Disk)?;
    let path = directory.path().join("alone");
    let in_it = || format!("writing and syncing {}", path.display());
    let file = File::create(&path).with_context(in_it)?;
    let bytes = vec![7; usize::try_from(spec.size * spec.batch)?];
    // What is synced later is there already, as a queue's file is.
    file.write_all_at(&bytes, 0)
        .and_then(|()| file.sync_all())
        .with_context(in_it)?;
    let mut took = new_histogram()?;
    let mut now = now_ns();
    let end = now + whole(spec.seconds * SHARE_ALONE * 1e9);
    let most = spec.messages.unwrap_or(u64::MAX);
    while took.is_empty() || (now < end && took.len() < most) {
        let start = now;
        file.write_all_at(&bytes, 0)
            .and_then(|()| file.sync_data())
            .with_context(in_it)?;
        now = now_ns();
        took.saturating_record(now - start);
    }
    Ok(took)
}

/// The 99.9th percentile beside that in memory, where nobody disturbs.
fn stall(site: &Site, spec: &Spec) -> anyhow::Result<Sample> {
    let quiet = Spec {
        place: Place::Memory,
        durably: Durably::None,
        disturbed: false,
        ..spec.clone()
    };
    let late = |sample: &Sample| {
        let latencies = sample.latencies.as_ref();
        latencies.map_or(0.0, |found| found.value_at_quantile(0.999) as f64)
    };
    let value = late(&one_way(site, &quiet)?);
    let mut sample = if spec.disturbed {
        disturbed(site, spec)?
    } else {
        one_way(site, spec)?
    };
    sample.limit = Some(Limit {
        name: "p99.9 in memory",
        value,
        unit: "ns",
    });
    sample.ratio = Some(late(&sample) / value.max(1.0));
    Ok(sample)
}

fn disturbed(site: &Site, spec: &Spec) -> anyhow::Result<Sample> {
    let directory = site.directory(Place::Disk)?;
    let job = Job {
        dir: directory.path().to_owned(),
        cpu: None,
        role: Role::Disturber,
        load: spec.load()?,
    };
    let mut crew = Crew::default();
    let disturber = crew.start_worker("a disturber", &job)?;
    crew.await_ready(disturber, PATIENCE)?;
    let sample = one_way(site, spec)?;
    // What starts others off ends this one.
    crew.go(disturber)?;
    crew.outcome(disturber, PATIENCE)?;
    Ok(sample)
}

/// Writes and syncs until it hears of its end, as a copy of a large file would, or a log.
pub fn disturb(job: &Job) -> anyhow::Result<Outcome> {
    let path = job.dir.join("disturbance");
    let file = File::create(&path).with_context(|| format!("making {}", path.display()))?;
    let listening = std::thread::spawn(hear);
    say(READY)?;
    let piece = vec![7; PIECE];
    let mut written = 0;
    while !listening.is_finished() {
        file.write_all_at(&piece, written % PIECES * PIECE as u64)?;
        written += 1;
        if written % PIECES_PER_SYNC == 0 {
            file.sync_data()?;
        }
    }
    Ok(Outcome {
        messages: written,
        ..Outcome::default()
    })
}
