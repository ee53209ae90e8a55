//! The power goes while processes use a queue on a real file system; what its disk may have then is booted from, and what
//! was promised until that moment has to be there.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use slipring::{Durability, FullPolicy, GroupOptions, Queue};

use crate::check::{Broken, Ledger};
use crate::disk::{Disk, Event, Faults, Kept, after_power_loss};
use crate::fuse::Plugged;
use crate::mounts::{Kind, Mounted, run, set_boot};
use crate::pages::Pages;
use crate::random::Random;

#[derive(Clone, Debug)]
pub struct Settings {
    /// A directory in memory.
    pub directory: PathBuf,
    pub seed: u64,
    /// How long workers work in each boot.
    pub time: Duration,
    /// Images booted from after each.
    pub images: usize,
    pub boots: u64,
}

const QUEUE: &str = "queue";

/// `make QUEUE MODE`: makes the queue, in a process of its own.
pub fn make(path: &str, mode: &str) -> Result<()> {
    let durability = match mode {
        "sync" => Durability::Sync,
        _ => Durability::Interval(Duration::from_millis(30)),
    };
    let queue = Queue::options()
        .capacity(64)
        .max_message(8192)
        .arena_size(1 << 18)
        .max_groups(4)
        .when_full(FullPolicy::Reject)
        .durability(durability)
        .create(path)?;
    queue.create_group("log", GroupOptions::exclusive())?;
    Ok(())
}

/// Several boots, each of which ends with a power loss.
struct Life<'a> {
    settings: &'a Settings,
    kind: Kind,
    random: Random,
    start: Pages,
    ledger: Ledger,
    boot: u64,
}

#[derive(Clone, Debug, Default)]
struct Counts {
    images: usize,
    durable: usize,
    acked: usize,
    flushes: usize,
    pending: usize,
    killed: u32,
    /// Messages that had to be there, in all images.
    owed: usize,
}

impl<'a> Life<'a> {
    fn new(settings: &'a Settings, kind: Kind, seed: u64) -> Result<Self> {
        let image = settings.directory.join("new");
        kind.make(&image)?;
        let start = Pages::from_file(&image)?;
        std::fs::remove_file(&image)?;
        Ok(Self {
            settings,
            kind,
            random: Random::new(seed),
            start,
            ledger: Ledger::default(),
            boot: 1,
        })
    }

    /// Workers work on the disk; what was done to it is the log. The disk tells the truth, or not.
    fn work(&mut self, mode: &str, faults: &Faults, counts: &mut Counts) -> Result<Vec<Event>> {
        set_boot(&self.settings.directory, self.boot)?;
        let disk = Arc::new(Disk::new(self.start.clone()));
        let plugged = Plugged::new(&disk, &self.settings.directory.join("plugged"))?;
        let place = self.settings.directory.join("mounted");
        let mounted = Mounted::new(self.kind, plugged.path(), &place, "")?;
        let queue = mounted.path().join(QUEUE);
        if self.boot == 1 {
            let queue = queue.to_str().context("an odd path")?;
            let program = std::env::current_exe()?;
            run(
                program.to_str().context("an odd path")?,
                ["make", queue, mode],
            )?;
        }
        // Before this the disk is mounted, which is not ours to test.
        run("sync", ["-f", place.to_str().context("an odd path")?])?;
        self.start = after_power_loss(&self.start, &disk.take_log(), Kept::All, &mut self.random);
        disk.fail(faults.clone());
        let random = Random::new(self.random.draw());
        let mut crew = crate::crew::Crew::new(&disk, &queue, self.boot, random)?;
        crew.work(self.settings.time)?;
        counts.killed += crew.killed;
        crew.stop()?;
        drop(mounted);
        drop(plugged);
        Ok(disk.take_log())
    }

    /// What the disk has if the power goes at this event, and what was told until then.
    fn loses_power(&mut self, events: &[Event], kept: Kept) -> Result<(Pages, Ledger)> {
        let left = after_power_loss(&self.start, events, kept, &mut self.random);
        let mut ledger = self.ledger.clone();
        for event in events {
            if let Event::Told(told) = event {
                ledger.note(told)?;
            }
        }
        Ok((left, ledger))
    }

    /// Boots from it.
    fn boots(&self, left: &Pages, ledger: &Ledger) -> Result<Vec<Broken>> {
        let image = self.settings.directory.join("image");
        left.to_file(&image)?;
        let place = self.settings.directory.join("after");
        let mounted = Mounted::new(self.kind, &image, &place, "")?;
        let broken = ledger.compare(&mounted.path().join(QUEUE));
        drop(mounted);
        std::fs::remove_file(&image)?;
        broken
    }

    fn kept(&mut self) -> Kept {
        match self.random.below(6) {
            0 => Kept::Nothing,
            1 => Kept::All,
            percent => Kept::Some {
                piece: self.kind.piece,
                percent: [10, 50, 50, 90][percent as usize - 2],
            },
        }
    }

    /// A moment: anywhere, when something was promised just now, or when the disk was about to flush what it had been sent.
    fn moment(&mut self, log: &[Event]) -> usize {
        let at = 1 + self.random.below(log.len() as u64) as usize;
        let ahead = log.iter().skip(at);
        let next = match self.random.below(3) {
            0 => None,
            1 => ahead
                .take_while(|event| !matches!(event, Event::Told(_)))
                .count()
                .checked_add(1),
            _ => Some(
                ahead
                    .take_while(|event| !matches!(event, Event::Flush))
                    .count(),
            ),
        };
        log.len().min(at + next.unwrap_or(0))
    }
}

fn pending(events: &[Event]) -> usize {
    let is_flush = |event: &Event| matches!(event, Event::Flush);
    let is_write = |event: &&Event| matches!(event, Event::Write { .. });
    let stable = events.iter().rposition(is_flush).unwrap_or(0);
    events[stable..].iter().filter(is_write).count()
}

fn keep(settings: &Settings, left: &Pages) -> String {
    let path = std::env::temp_dir().join(format!("slipring-disk-failed-{}", settings.seed));
    match left.to_file(&path) {
        Ok(()) => format!("the image is {}", path.display()),
        Err(error) => format!(
            "the image is lost with {}: {error}",
            settings.directory.display()
        ),
    }
}

pub fn what_is_confirmed_survives_power_losses(
    settings: &Settings,
    kind: Kind,
    mode: &str,
) -> Result<()> {
    let mut life = Life::new(settings, kind, settings.seed)?;
    let mut counts = Counts::default();
    for _ in 0..settings.boots {
        let log = life.work(mode, &Faults::default(), &mut counts)?;
        let is_flush = |event: &&Event| matches!(event, Event::Flush);
        counts.flushes += log.iter().filter(is_flush).count();
        life.boot += 1;
        set_boot(&settings.directory, life.boot)?;
        let mut last = None;
        for _ in 0..settings.images {
            let (at, kept) = (life.moment(&log), life.kept());
            let (left, ledger) = life.loses_power(&log[..at], kept)?;
            counts.pending += pending(&log[..at]);
            let broken = life.boots(&left, &ledger);
            let broken = broken.with_context(|| format!("event {at} of {}, {kept:?}", log.len()));
            if !matches!(&broken, Ok(broken) if broken.is_empty()) {
                let place = keep(settings, &left);
                let events = log.len();
                bail!(
                    "boot {}, power lost at event {at} of {events}, kept {kept:?}: {broken:#?}; {place}",
                    life.boot
                );
            }
            counts.images += 1;
            counts.owed += ledger.owed();
            last = Some((left, ledger));
        }
        // The next boot goes on from there; it recovers the queue itself.
        (life.start, life.ledger) = last.context("no image")?;
    }
    counts.durable = life.ledger.durable();
    counts.acked = life.ledger.acked();
    println!("   {counts:?}");
    ensure!(
        counts.durable > 50 && counts.flushes > 50,
        "too little happened to show anything"
    );
    Ok(())
}

/// The test can fail: on a disk that says it has flushed, and has not, it finds messages lost.
pub fn a_disk_that_lies_is_caught(settings: &Settings, kind: Kind) -> Result<()> {
    let mut life = Life::new(settings, kind, settings.seed)?;
    let lies = Faults {
        lies: true,
        ..Faults::default()
    };
    let log = life.work("sync", &lies, &mut Counts::default())?;
    life.boot += 1;
    set_boot(&settings.directory, life.boot)?;
    let mut lost = 0;
    const IMAGES: usize = 3;
    for turn in 1..=IMAGES {
        let (left, ledger) = life.loses_power(&log[..log.len() * turn / IMAGES], Kept::Nothing)?;
        let broken = life.boots(&left, &ledger)?;
        let is_lost = |broken: &Broken| matches!(broken, Broken::Lost(_));
        lost += usize::from(broken.iter().any(is_lost));
    }
    println!("   {lost} of {IMAGES} images have lost messages");
    ensure!(lost == IMAGES, "only {lost} of {IMAGES} losses were found");
    Ok(())
}
