//! Looks whether this machine can run the tests, runs them in mounts and processes of their own, and looks whether anything
//! is left behind.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::mounts::{self, EXT4, has};
use crate::power::Settings;

pub const INSIDE: &str = "inside";

/// Beyond what the arguments ask for.
const PATIENCE: Duration = Duration::from_secs(300);

/// Whoever is killed here takes all processes with it, and they all mounts.
const APART: [&str; 5] = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];

fn missing() -> Vec<String> {
    let mut missing = Vec::new();
    if !nix::unistd::geteuid().is_root() {
        missing.push("root".to_owned());
    }
    for device in ["/dev/fuse", "/dev/loop-control"] {
        let opened = fs::File::options().read(true).write(true).open(device);
        if opened.is_err() {
            missing.push(device.to_owned());
        }
    }
    for program in ["mount", "umount", "unshare", "filefrag", "chattr"] {
        if !has(program) {
            missing.push(program.to_owned());
        }
    }
    missing.extend(EXT4.missing());
    if missing.is_empty() && mounts::run("unshare", APART.iter().chain(&["true"])).is_err() {
        missing.push("leave to have mounts and processes of its own".to_owned());
    }
    missing
}

/// Runs all tests, or says why not, which is no failure.
pub fn run(settings: &Settings, only: &str) -> Result<()> {
    let missing = missing();
    if !missing.is_empty() {
        println!("slipring-disk: not run: it needs {}", missing.join(", "));
        return Ok(());
    }
    let directory = std::env::temp_dir().join(format!("slipring-disk-{}", std::process::id()));
    fs::create_dir(&directory).with_context(|| format!("creating {}", directory.display()))?;
    let loops = used_loops();
    let ran = run_inside(settings, only, &directory);
    let left = left_behind(&directory, &loops);
    fs::remove_dir(&directory).with_context(|| format!("removing {}", directory.display()))?;
    ran.and(left)
}

fn run_inside(settings: &Settings, only: &str, directory: &Path) -> Result<()> {
    let mut command = Command::new("unshare");
    command
        .args(APART)
        .arg(std::env::current_exe()?)
        .arg(INSIDE)
        .arg(directory);
    for (name, value) in [
        ("--seconds", settings.time.as_secs()),
        ("--images", settings.images as u64),
        ("--boots", settings.boots),
        ("--seed", settings.seed),
    ] {
        command.args([name, &value.to_string()]);
    }
    if !only.is_empty() {
        command.args(["--only", only]);
    }
    let mut child = command.current_dir("/").spawn()?;
    let boots = u32::try_from(settings.boots)?;
    let asked = (settings.time + Duration::from_secs(settings.images as u64)) * boots * 4;
    let end = Instant::now() + PATIENCE + asked;
    loop {
        if let Some(status) = child.try_wait()? {
            ensure!(status.success(), "failed: {status}");
            return Ok(());
        }
        if Instant::now() > end {
            child.kill()?;
            child.wait()?;
            bail!(
                "seed {}: not done after {:?}: killed",
                settings.seed,
                PATIENCE + asked
            );
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What lies below each loop device in use.
fn used_loops() -> BTreeSet<(PathBuf, String)> {
    let devices = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let files = devices.map(|device| device.path().join("loop/backing_file"));
    files
        .filter_map(|file| fs::read_to_string(&file).ok().map(|below| (file, below)))
        .collect()
}

fn left_behind(directory: &Path, before: &BTreeSet<(PathBuf, String)>) -> Result<()> {
    let name = directory.to_string_lossy().into_owned();
    let mut left = String::new();
    // The kernel lets go of them a little later.
    for _ in 0..100 {
        let loops: Vec<_> = used_loops().difference(before).cloned().collect();
        let mounts = fs::read_to_string("/proc/mounts")?;
        let mounts: Vec<_> = mounts.lines().filter(|line| line.contains(&name)).collect();
        if loops.is_empty() && mounts.is_empty() {
            return Ok(());
        }
        left = format!("{loops:?} {mounts:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
    bail!("left behind: {left}")
}
