//! Where measurements take place: fresh directories in memory or on disk, removed at the end, and the CPUs.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;

use super::spec::Place;

/// The surroundings of all measurements of a run.
#[derive(Clone, Debug)]
pub struct Site {
    /// CPUs to pin to, in turn; none: not pinned.
    pub cpus: Vec<usize>,
    pub memory: PathBuf,
    pub disk: PathBuf,
}

impl Site {
    /// The CPU of a measurement's process, numbered from 0.
    pub fn cpu(&self, process: usize) -> Option<usize> {
        let turn = process.checked_rem(self.cpus.len())?;
        self.cpus.get(turn).copied()
    }

    /// A fresh directory.
    pub fn directory(&self, place: Place) -> anyhow::Result<Directory> {
        Directory::new(match place {
            Place::Memory => &self.memory,
            Place::Disk => &self.disk,
        })
    }
}

/// A directory of a measurement's own, removed with everything in it.
#[derive(Debug)]
pub struct Directory(PathBuf);

impl Directory {
    fn new(base: &Path) -> anyhow::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = base.join(format!("bench-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(Self(path))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _left_behind = std::fs::remove_dir_all(&self.0);
    }
}
