//! What there is to measure: from what the user asked for to a list of measurements.

use std::cell::Cell;
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};

use super::compare::Rivals;
use super::entry::Entry;
use super::foreign::{Foreign, Rival};
use super::job::{Pace, Wait};
use super::limits::Own;
use super::message::{Check, MIN_SIZE, MIN_STAMPED};
use super::scale::Scale;
use super::site::Site;
use super::spec::{Durably, GroupKind, Place, ProducerKind, Spec, Victim, Workload};
use super::{Task, Work, durable, machine};

/// What the user asked for; what is open is for each workload to choose.
#[derive(Clone, Debug)]
pub struct Wishes {
    pub workloads: Vec<Workload>,
    /// Measure more than the quick set, for a report.
    pub full: bool,
    pub rounds: usize,
    pub seconds: f64,
    pub messages: Option<u64>,
    pub sizes: Vec<u64>,
    pub batches: Vec<u64>,
    pub producers: Option<u64>,
    pub consumers: Option<u64>,
    pub groups: Option<u64>,
    pub group_kind: Option<GroupKind>,
    pub producer_kind: Option<ProducerKind>,
    pub wait: Option<Wait>,
    /// None: not pinned.
    pub cpus: Option<Vec<usize>>,
    pub capacity: Option<u64>,
    pub slot_size: Option<u64>,
    pub rate: f64,
    pub burst: u64,
    pub check: Check,
    pub disk: Option<PathBuf>,
    pub command: Option<String>,
    pub rivals: Option<PathBuf>,
    /// Compare publishing to disk.
    pub durable: bool,
}

/// The quick set, and what a report has besides.
const QUICK: [Workload; 12] = [
    Workload::RoundTrip,
    Workload::OneWay,
    Workload::Throughput,
    Workload::FanIn,
    Workload::WorkQueue,
    Workload::NToM,
    Workload::Broadcast,
    Workload::Burst,
    Workload::WakeUp,
    Workload::Large,
    Workload::Recovery,
    Workload::Disk,
];
const BESIDES: [Workload; 3] = [Workload::Contention, Workload::Durable, Workload::Scale];

const SIZE: u64 = 64;
const SWEEP: [u64; 5] = [64, 256, 1 << 10, 4 << 10, 64 << 10];
const LARGE: [u64; 3] = [1 << 10, 64 << 10, 1 << 20];
const LARGEST: u64 = 64 << 20;
const BATCH: u64 = 32;
const CAPACITY: u64 = 1024;
/// Of messages in the arena, which bounds them anyway.
const LARGE_CAPACITY: u64 = 64;
const BURST_PAUSE_NS: u64 = 1_000_000;
const IDLE_NS: u64 = 300_000_000;
const NAP_NS: u64 = 1_000_000;
const CROWDS: [u64; 5] = [1, 2, 4, 8, 16];
const GROUPS: [u64; 4] = [1, 4, 16, 64];
const PARTICIPANTS: [u64; 4] = [2, 10, 100, 1000];
const CAPACITIES: [u64; 4] = [2, 1 << 10, 1 << 16, 1 << 22];
/// A queue of 16 GiB, hardly used.
const SPARSE: (u64, u64) = (1 << 20, 16 << 10);
const SPARSE_ROUNDS: u64 = 100;
/// What other queues are measured with.
const COMPARED: [u64; 3] = [64, 1 << 10, 64 << 10];
const COMPARED_CROWD: u64 = 2;

impl Wishes {
    /// Where to measure.
    pub fn site(&self) -> anyhow::Result<Site> {
        let allowed = machine::allowed();
        let cpus = match &self.cpus {
            None => Vec::new(),
            Some(chosen) if chosen.is_empty() => allowed,
            Some(chosen) => {
                if let Some(cpu) = chosen.iter().find(|cpu| !allowed.contains(cpu)) {
                    bail!("--cpus: this process may not use CPU {cpu}, only {allowed:?}");
                }
                chosen.clone()
            }
        };
        let disk = self.disk.clone().unwrap_or_else(std::env::temp_dir);
        ensure!(
            disk.is_dir(),
            "--disk: {} is not a directory",
            disk.display()
        );
        let memory = slipring::directory()?;
        Ok(Site { cpus, memory, disk })
    }

    fn cores(&self) -> u64 {
        let all = machine::allowed().len() as u64;
        match &self.cpus {
            Some(chosen) if !chosen.is_empty() => chosen.len() as u64,
            _ => all,
        }
    }

    fn sizes_or(&self, own: &[u64]) -> Vec<u64> {
        if self.sizes.is_empty() {
            own.to_vec()
        } else {
            self.sizes.clone()
        }
    }

    fn batches_or(&self, own: &[u64]) -> Vec<u64> {
        if self.batches.is_empty() {
            own.to_vec()
        } else {
            self.batches.clone()
        }
    }

    /// One to one, in both forms if the user has not chosen.
    fn forms(&self) -> Vec<(GroupKind, ProducerKind)> {
        let forms = [
            (GroupKind::Exclusive, ProducerKind::Sole),
            (GroupKind::Shared, ProducerKind::Many),
        ];
        let chosen = |(kind, _): &&(GroupKind, ProducerKind)| {
            self.group_kind.is_none_or(|wished| wished == *kind)
        };
        let chosen = forms.iter().filter(chosen);
        chosen
            .map(|(kind, producer)| (*kind, self.producer_kind.unwrap_or(*producer)))
            .collect()
    }

    fn one_form(&self, own: GroupKind, producer: ProducerKind) -> (GroupKind, ProducerKind) {
        (
            self.group_kind.unwrap_or(own),
            self.producer_kind.unwrap_or(producer),
        )
    }

    fn spec(&self, workload: Workload, form: (GroupKind, ProducerKind)) -> Spec {
        Spec {
            workload,
            group_kind: form.0,
            producer_kind: form.1,
            producers: 1,
            consumers: 1,
            groups: 1,
            size: SIZE,
            batch: 1,
            wait: Wait::Busy,
            place: Place::Memory,
            capacity: self.capacity.unwrap_or(CAPACITY),
            slot_size: self.slot_size,
            pace: Pace::Flat,
            durably: Durably::None,
            disturbed: false,
            timed: false,
            loan: false,
            check: self.check,
            messages: self.messages,
            seconds: self.seconds,
            victim: None,
        }
    }

    /// Several producers or consumers, of one form, in all sizes and batches.
    fn crowd(&self, base: Spec, own: (u64, u64)) -> Vec<Spec> {
        let producers = self.producers.unwrap_or(own.0);
        let consumers = self.consumers.unwrap_or(own.1);
        let crowd = Spec {
            producers,
            consumers,
            ..base
        };
        self.swept(&crowd, &[SIZE], &[1])
    }

    pub(super) fn swept(&self, base: &Spec, sizes: &[u64], batches: &[u64]) -> Vec<Spec> {
        let (sizes, batches) = (self.sizes_or(sizes), self.batches_or(batches));
        let pairs = sizes
            .iter()
            .flat_map(|size| batches.iter().map(move |batch| (*size, *batch)));
        let spec = |(size, batch)| Spec {
            size,
            batch,
            ..base.clone()
        };
        pairs.map(spec).collect()
    }

    fn specs(&self, workload: Workload) -> Vec<Spec> {
        let shared = self.one_form(GroupKind::Shared, ProducerKind::Many);
        let base = self.spec(workload, shared);
        match workload {
            Workload::RoundTrip => self.both(workload, Pace::Flat),
            Workload::OneWay => self.both(workload, Pace::Rate(self.rate)),
            Workload::Throughput => {
                let sizes = if self.full { &SWEEP[..] } else { &[SIZE] };
                let forms = self.forms().into_iter();
                let swept = |form| self.swept(&self.spec(workload, form), sizes, &[1, BATCH]);
                forms.flat_map(swept).collect()
            }
            Workload::FanIn => self.crowd(base, (2, 1)),
            Workload::WorkQueue => self.crowd(base, (1, 2)),
            Workload::NToM => self.crowd(base, (2, 2)),
            Workload::Contention => {
                let crowds = self.producers.map_or(CROWDS.to_vec(), |one| vec![one]);
                let crowd = |many| self.crowd(base.clone(), (many, many));
                crowds.into_iter().flat_map(crowd).collect()
            }
            Workload::Broadcast => {
                let form = self.one_form(GroupKind::Exclusive, ProducerKind::Sole);
                let mut base = self.spec(workload, form);
                base.groups = self.groups.unwrap_or(2);
                self.crowd(base, (1, 1))
            }
            Workload::Burst => {
                let pace = Pace::Burst {
                    messages: self.burst,
                    pause_ns: BURST_PAUSE_NS,
                };
                self.swept(&Spec { pace, ..base }, &[SIZE], &[1])
            }
            Workload::WakeUp => {
                let pace = Pace::Rare {
                    idle_ns: IDLE_NS,
                    pause_ns: NAP_NS,
                };
                self.swept(&Spec { pace, ..base }, &[SIZE], &[1])
            }
            Workload::Large => self.large(base),
            Workload::Recovery => [Victim::Producer, Victim::Consumer]
                .map(|victim| recovery(&base, victim))
                .to_vec(),
            Workload::Disk => {
                let place = Place::Disk;
                self.swept(&Spec { place, ..base }, &[SIZE], &[1])
            }
            Workload::Durable => durable::modes(self, &base),
            Workload::Stall => durable::stalls(self, &base),
            Workload::Scale | Workload::Foreign | Workload::Compare => Vec::new(),
        }
    }

    fn both(&self, workload: Workload, pace: Pace) -> Vec<Spec> {
        let forms = self.forms().into_iter();
        let swept = |form| {
            let base = self.spec(workload, form);
            self.swept(&Spec { pace, ..base }, &[SIZE], &[1])
        };
        forms.flat_map(swept).collect()
    }

    fn large(&self, base: Spec) -> Vec<Spec> {
        let mut sizes = LARGE.to_vec();
        if self.full {
            sizes.push(LARGEST);
        }
        let base = Spec {
            loan: true,
            capacity: self.capacity.unwrap_or(LARGE_CAPACITY),
            ..base
        };
        self.swept(&base, &sizes, &[1])
    }

    fn scales(&self) -> Vec<Scale> {
        let shared = self.one_form(GroupKind::Shared, ProducerKind::Many);
        let base = self.spec(Workload::Scale, shared);
        let mut scales = Vec::new();
        let mut add = |spec: Spec, participants| {
            let spec = Spec {
                size: self.sizes.first().copied().unwrap_or(SIZE),
                ..spec
            };
            scales.push(Scale { spec, participants });
        };
        for groups in self.groups.map_or(GROUPS.to_vec(), |one| vec![one]) {
            let base = base.clone();
            add(Spec { groups, ..base }, 2);
        }
        for participants in PARTICIPANTS {
            add(base.clone(), participants);
        }
        for capacity in self.capacity.map_or(CAPACITIES.to_vec(), |one| vec![one]) {
            let base = base.clone();
            add(Spec { capacity, ..base }, 2);
        }
        if self.capacity.is_some() {
            return scales;
        }
        let sparse = Spec {
            // Every page is touched for the first time, which takes long.
            messages: Some(self.messages.unwrap_or(SPARSE_ROUNDS)),
            capacity: SPARSE.0,
            slot_size: Some(SPARSE.1),
            place: Place::Disk,
            ..base.clone()
        };
        add(sparse, 2);
        scales
    }

    /// What other queues are compared in: round trips, throughput, and many to many.
    fn cells(&self) -> Vec<Spec> {
        if self.durable {
            let form = (GroupKind::Shared, ProducerKind::Many);
            return durable::cells(self, &self.spec(Workload::Throughput, form));
        }
        let sizes = self.sizes_or(&COMPARED);
        let form = (GroupKind::Shared, ProducerKind::Many);
        let mut cells = Vec::new();
        for size in sizes {
            for (workload, batch) in [
                (Workload::RoundTrip, 1),
                (Workload::Throughput, 1),
                (Workload::Throughput, BATCH),
            ] {
                let check = Check::Ends;
                cells.push(Spec {
                    size,
                    batch,
                    check,
                    ..self.spec(workload, form)
                });
            }
        }
        let smallest = cells.iter().map(|cell| cell.size).min();
        cells.push(Spec {
            size: smallest.unwrap_or(SIZE),
            producers: self.producers.unwrap_or(COMPARED_CROWD),
            consumers: self.consumers.unwrap_or(COMPARED_CROWD),
            check: Check::Ends,
            ..self.spec(Workload::NToM, form)
        });
        cells
    }

    /// Spins where every process has a CPU of its own; a wish is a wish.
    fn settle_wait(&self, spec: &mut Spec) {
        // Whoever waits for a disk leaves it its CPU.
        if spec.timed {
            spec.wait = self.wait.unwrap_or(Wait::Spin);
            return;
        }
        let asleep = spec.workload == Workload::WakeUp;
        let room = self.cores() >= spec.processes();
        spec.wait = self.wait.unwrap_or(match (asleep, room) {
            (true, _) => Wait::Park,
            (false, true) => Wait::Busy,
            (false, false) => Wait::Spin,
        });
    }
}

fn recovery(base: &Spec, victim: Victim) -> Spec {
    let (producers, consumers) = match victim {
        Victim::Producer => (2, 1),
        Victim::Consumer => (1, 2),
    };
    Spec {
        group_kind: GroupKind::Shared,
        producer_kind: ProducerKind::Many,
        producers,
        consumers,
        victim: Some(victim),
        // A survivor needs time to be stalled, and to go on.
        seconds: base.seconds.max(0.3),
        messages: None,
        ..base.clone()
    }
}

fn check(spec: &Spec) -> anyhow::Result<()> {
    let name = spec.workload.name();
    let size = spec.size;
    let stamped = spec.pace != Pace::Flat;
    let least = if stamped { MIN_STAMPED } else { MIN_SIZE };
    ensure!(
        size >= least,
        "{name} needs messages of at least {least} bytes, not {size}"
    );
    let exclusive = spec.group_kind == GroupKind::Exclusive;
    if exclusive && spec.consumers > 1 {
        bail!(
            "{name}: an exclusive group has one consumer at work, not {}",
            spec.consumers
        );
    }
    let sole = spec.producer_kind == ProducerKind::Sole;
    if sole && spec.producers > 1 {
        bail!("{name}: a sole producer is one, not {}", spec.producers);
    }
    if stamped && spec.batch > 1 {
        bail!("{name} sends messages one by one: --batch says nothing to it");
    }
    Ok(())
}

/// The measurements, in the order of a round.
pub fn tasks(wishes: &Wishes, rivals: &Rivals) -> anyhow::Result<Vec<Task>> {
    let mut workloads = wishes.workloads.clone();
    if workloads.is_empty() {
        workloads.extend(QUICK);
        workloads.extend(BESIDES.iter().filter(|_| wishes.full));
    }
    workloads.dedup();
    let mut tasks = limits(wishes);
    for workload in workloads {
        for mut spec in wishes.specs(workload) {
            wishes.settle_wait(&mut spec);
            check(&spec)?;
            let entry = entry(&workload.name(), &spec);
            tasks.push(task(Work::Slipring(spec), entry));
        }
        match workload {
            Workload::Scale => {
                for mut scale in wishes.scales() {
                    wishes.settle_wait(&mut scale.spec);
                    let mut entry = entry("scale", &scale.spec);
                    entry.participants = scale.participants;
                    tasks.push(task(Work::Scale(scale), entry));
                }
            }
            Workload::Foreign => {
                let rival = rivals.found.first();
                let reason = rivals.missing.first().map(|missing| missing.reason.clone());
                let rival = rival.with_context(|| reason.unwrap_or_default())?;
                for spec in wishes.cells() {
                    tasks.push(foreign(rival, &spec, "foreign"));
                }
            }
            Workload::Compare => compared(wishes, rivals, &mut tasks),
            _ => {}
        }
    }
    Ok(tasks)
}

/// The machine's limits, first in every round.
fn limits(wishes: &Wishes) -> Vec<Task> {
    let form = (GroupKind::Shared, ProducerKind::Many);
    let base = wishes.spec(Workload::Throughput, form);
    let all = [
        (Own::Hop, SIZE, 1),
        (Own::Ring, SIZE, 1),
        (Own::Ring, SIZE, BATCH),
        (Own::Copy, 64 << 10, 1),
        (Own::CopyAcross, 64 << 10, 1),
        (Own::Wake, SIZE, 1),
        (Own::Clock, SIZE, 1),
    ];
    let limit = |(own, size, batch): (Own, u64, u64)| {
        let spec = Spec {
            size,
            batch,
            ..base.clone()
        };
        let name = own.name(batch > 1);
        let mut entry = entry("limit", &spec);
        name.clone_into(&mut entry.measured);
        entry.queue = "none".to_owned();
        (entry.group_kind, entry.producer_kind) = ("", "");
        (entry.wait, entry.capacity) = ("", 0);
        task(Work::Limit(own, spec), entry)
    };
    all.map(limit).into()
}

/// Cell by cell, so that all are measured close to each other.
fn compared(wishes: &Wishes, rivals: &Rivals, tasks: &mut Vec<Task>) {
    for cell in wishes.cells() {
        for (group_kind, producer_kind) in wishes.forms() {
            let mut spec = Spec {
                group_kind,
                producer_kind,
                ..cell.clone()
            };
            let many = spec.producers > 1 || wishes.durable;
            if many && group_kind == GroupKind::Exclusive {
                continue;
            }
            wishes.settle_wait(&mut spec);
            let mut entry = entry("compare", &spec);
            entry.measured = spec.workload.name();
            entry.queue = format!("slipring {}", group_kind.name());
            tasks.push(task(Work::Slipring(spec), entry));
        }
        for rival in &rivals.found {
            tasks.push(foreign(rival, &cell, "compare"));
        }
    }
}

fn task(work: Work, entry: Entry) -> Task {
    Task {
        work,
        entry,
        samples: Vec::new(),
    }
}

fn foreign(rival: &Rival, spec: &Spec, workload: &str) -> Task {
    let mut entry = entry(workload, spec);
    entry.measured = spec.workload.name();
    entry.queue.clone_from(&rival.facts.name);
    entry.group_kind = "";
    entry.producer_kind = "";
    entry.wait = if rival.facts.blocking { "blocking" } else { "" };
    entry.capacity = 0;
    let foreign = Foreign {
        rival: rival.clone(),
        spec: spec.clone(),
        count: Cell::new(None),
    };
    task(Work::Foreign(foreign), entry)
}

fn entry(workload: &str, spec: &Spec) -> Entry {
    Entry {
        workload: workload.to_owned(),
        measured: workload.to_owned(),
        queue: "slipring".to_owned(),
        size: spec.size,
        producers: spec.producers,
        consumers: spec.consumers,
        groups: spec.groups,
        participants: spec.processes() + 1,
        group_kind: spec.group_kind.name(),
        producer_kind: spec.producer_kind.name(),
        batch: spec.batch,
        wait: spec.wait.name(),
        place: match spec.place {
            Place::Memory => "memory",
            Place::Disk => "disk",
        },
        durability: spec.durably.name(),
        disturbed: spec.disturbed,
        capacity: spec.capacity,
        killed: spec.victim.map(|victim| match victim {
            Victim::Producer => "producer",
            Victim::Consumer => "consumer",
        }),
        ..Entry::default()
    }
}
