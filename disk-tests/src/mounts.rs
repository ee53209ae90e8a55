//! File systems: made, mounted by the system's own commands, unmounted; and which boot it is.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Runs a command to its end.
pub fn run<S: AsRef<OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = S>,
) -> Result<String> {
    let mut command = Command::new(program);
    let output = command.args(arguments).output();
    let output = output.with_context(|| format!("starting {program}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?}: {}: {}", output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether there is such a command.
pub fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// A kind of file system, as it is made here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    pub name: &'static str,
    /// Its blocks, where that is not left to it.
    pub block: Option<u32>,
    pub megabytes: u64,
    /// The disk writes so many bytes as a whole, or not.
    pub piece: usize,
}

pub const EXT4: Kind = Kind {
    name: "ext4",
    block: Some(4096),
    megabytes: 64,
    piece: 512,
};
/// Pages of several blocks.
pub const EXT4_SMALL_BLOCKS: Kind = Kind {
    block: Some(1024),
    ..EXT4
};
/// It refuses to be smaller.
pub const XFS: Kind = Kind {
    name: "xfs",
    block: None,
    megabytes: 300,
    piece: 512,
};
/// Its superblock, of 4 KiB, is written in place.
pub const BTRFS: Kind = Kind {
    name: "btrfs",
    block: None,
    megabytes: 256,
    piece: 4096,
};

impl Kind {
    pub fn program(&self) -> String {
        format!("mkfs.{}", self.name)
    }

    /// Whether it can be made and mounted here; if not, what is missing.
    pub fn missing(&self) -> Option<String> {
        if !has(&self.program()) {
            return Some(self.program());
        }
        let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
        let is_known = known
            .lines()
            .any(|line| line.ends_with(&format!("\t{}", self.name)));
        (!is_known).then(|| format!("{} in this kernel", self.name))
    }

    /// Makes one in this new file.
    pub fn make(&self, image: &Path) -> Result<()> {
        let file = std::fs::File::create(image)?;
        file.set_len(self.megabytes << 20)?;
        let path = image.to_str().context("an odd path")?;
        let mut arguments = vec!["-q".to_owned()];
        if let Some(block) = self.block {
            arguments.extend(["-b".to_owned(), block.to_string()]);
            // Or a thread of the kernel goes on making it, once it is mounted.
            let now = "lazy_itable_init=0,lazy_journal_init=0";
            arguments.extend(["-E".to_owned(), now.to_owned()]);
        }
        arguments.push(path.to_owned());
        run(&self.program(), arguments).map(drop)
    }
}

/// A mounted file system.
#[derive(Debug)]
pub struct Mounted(PathBuf);

impl Mounted {
    /// Mounts a disk, or an image of one, by a loop device that goes with it.
    pub fn new(kind: Kind, image: &Path, directory: &Path, options: &str) -> Result<Self> {
        std::fs::create_dir_all(directory)?;
        let options = format!("loop,{options}");
        let arguments: [&OsStr; 6] = [
            "-t".as_ref(),
            kind.name.as_ref(),
            "-o".as_ref(),
            options.trim_end_matches(',').as_ref(),
            image.as_ref(),
            directory.as_ref(),
        ];
        run("mount", arguments)?;
        Ok(Self(directory.to_owned()))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = run("umount", [&self.0]) {
            eprintln!("slipring-disk: {error:#}");
            let lazily: [&OsStr; 2] = ["-l".as_ref(), self.0.as_ref()];
            let _left_to_the_namespace = run("umount", lazily);
        }
    }
}

/// From now on it is boot `number` of this machine, for all processes that start: in the mounts of this program alone, another
/// file stands where the kernel says which boot it is.
pub fn set_boot(directory: &Path, number: u64) -> Result<()> {
    const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
    let path = directory.join(format!("boot-{number}"));
    std::fs::write(&path, format!("00000000-0000-4000-8000-{number:012x}\n"))?;
    let _first_time = run("umount", [BOOT_ID]);
    let arguments: [&OsStr; 3] = ["--bind".as_ref(), path.as_ref(), BOOT_ID.as_ref()];
    run("mount", arguments).map(drop)
}
