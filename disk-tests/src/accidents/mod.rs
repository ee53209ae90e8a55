//! Accidents of real file systems.

mod failing;
mod full;
mod readonly;
mod resized;
mod unreadable;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::disk::Disk;
use crate::fuse::Plugged;
use crate::mounts::{BTRFS, EXT4, Kind, Mounted, XFS, run, set_boot};
use crate::pages::Pages;

/// In a directory in memory, on this kind of file system.
type Test = fn(&Path, Kind) -> Result<()>;

/// Each with its name, and the file system it is about.
pub const ALL: [(&str, Kind, Test); 15] = [
    (
        "a_full_disk_refuses_a_new_queue_and_leaves_nothing",
        EXT4,
        full::a_full_disk_refuses_a_new_queue_and_leaves_nothing,
    ),
    (
        "a_full_disk_refuses_a_new_queue_and_leaves_nothing",
        XFS,
        full::a_full_disk_refuses_a_new_queue_and_leaves_nothing,
    ),
    (
        "a_full_disk_refuses_a_new_queue_and_leaves_nothing",
        BTRFS,
        full::a_full_disk_refuses_a_new_queue_and_leaves_nothing,
    ),
    (
        "a_queue_on_a_disk_that_fills_goes_on",
        EXT4,
        full::a_queue_on_a_disk_that_fills_goes_on,
    ),
    (
        "a_queue_on_a_disk_that_fills_goes_on",
        XFS,
        full::a_queue_on_a_disk_that_fills_goes_on,
    ),
    (
        "a_copying_file_system_that_fills_loses_nothing_durable",
        BTRFS,
        full::a_copying_file_system_that_fills_loses_nothing_durable,
    ),
    (
        "a_copying_file_system_told_not_to_copy_goes_on_when_full",
        BTRFS,
        full::a_copying_file_system_told_not_to_copy_goes_on_when_full,
    ),
    (
        "a_failed_flush_of_the_disk_stops_every_publisher",
        EXT4,
        failing::a_failed_flush_of_the_disk_stops_every_publisher,
    ),
    (
        "a_failed_write_to_the_disk_stops_every_publisher",
        EXT4,
        failing::a_failed_write_to_the_disk_stops_every_publisher,
    ),
    (
        "a_failed_write_to_the_disk_stops_every_publisher",
        XFS,
        failing::a_failed_write_to_the_disk_stops_every_publisher,
    ),
    (
        "what_cannot_be_read_kills_who_reads_it_and_nobody_else",
        EXT4,
        unreadable::what_cannot_be_read_kills_who_reads_it_and_nobody_else,
    ),
    (
        "a_read_only_file_system_has_no_participants_but_can_be_inspected",
        EXT4,
        readonly::a_read_only_file_system_has_no_participants_but_can_be_inspected,
    ),
    (
        "a_file_system_that_becomes_read_only_stops_publishers",
        EXT4,
        readonly::a_file_system_that_becomes_read_only_stops_publishers,
    ),
    (
        "a_file_that_grows_is_the_same_queue",
        EXT4,
        resized::a_file_that_grows_is_the_same_queue,
    ),
    (
        "a_file_cut_short_kills_who_touches_what_is_lost",
        EXT4,
        resized::a_file_cut_short_kills_who_touches_what_is_lost,
    ),
];

/// A mounted disk that can be made to fail.
#[derive(Debug)]
struct Stage {
    mounted: Option<Mounted>,
    plugged: Plugged,
    disk: Arc<Disk>,
    directory: PathBuf,
    kind: Kind,
    options: &'static str,
}

impl Stage {
    fn new(directory: &Path, kind: Kind, options: &'static str) -> Result<Self> {
        set_boot(directory, 1)?;
        let image = directory.join("new");
        kind.make(&image)?;
        let disk = Arc::new(Disk::new(Pages::from_file(&image)?));
        std::fs::remove_file(&image)?;
        let mut stage = Self {
            mounted: None,
            plugged: Plugged::new(&disk, &directory.join("plugged"))?,
            disk,
            directory: directory.to_owned(),
            kind,
            options,
        };
        stage.mount()?;
        Ok(stage)
    }

    fn mount(&mut self) -> Result<()> {
        let place = self.place();
        let mounted = Mounted::new(self.kind, self.plugged.path(), &place, self.options)?;
        self.mounted = Some(mounted);
        Ok(())
    }

    /// Nothing of it is in memory afterwards.
    fn mount_again(&mut self) -> Result<()> {
        self.mounted = None;
        self.mount()
    }

    fn place(&self) -> PathBuf {
        self.directory.join("mounted")
    }

    fn queue(&self) -> PathBuf {
        self.place().join("queue")
    }

    /// Of the queue's file.
    fn length(&self) -> Result<u64> {
        let queue = self.queue();
        let queue = queue.to_str().context("an odd path")?;
        Ok(run("stat", ["-c", "%s", queue])?.trim().parse()?)
    }

    /// Where on the disk the queue's bytes lie, from this one on.
    fn extents(&self, from: u64) -> Result<Vec<Range<u64>>> {
        let queue = self.queue();
        let queue = queue.to_str().context("an odd path")?;
        let told = run("filefrag", ["-e", "-s", "-b512", queue])?;
        let mut found = Vec::new();
        for line in told.lines() {
            let fields: Vec<_> = line.split(':').map(str::trim).collect();
            let range = |text: &str| -> Option<Range<u64>> {
                let (first, last) = text.split_once("..")?;
                Some(
                    first.trim().parse::<u64>().ok()? * 512
                        ..(last.trim().parse::<u64>().ok()? + 1) * 512,
                )
            };
            let [_, logical, physical, ..] = fields[..] else {
                continue;
            };
            let (Some(logical), Some(physical)) = (range(logical), range(physical)) else {
                continue;
            };
            if logical.end > from {
                let skipped = from.saturating_sub(logical.start);
                found.push(physical.start + skipped..physical.end);
            }
        }
        anyhow::ensure!(!found.is_empty(), "no extents in: {told}");
        Ok(found)
    }
}
