//! The machine: what it is, which CPUs may be used, and being pinned to one of them.

use std::path::Path;

use anyhow::Context;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use serde::Serialize;

/// Where and by what a result was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    pub cpu: String,
    pub kernel: String,
    /// CPUs that this process may use.
    pub cpus: usize,
    pub version: &'static str,
    /// Of this program's source.
    pub commit: &'static str,
    /// The CPUs that processes are pinned to, in turn, consumers first; none if they are not pinned.
    pub placement: Vec<usize>,
}

impl Machine {
    /// This one.
    pub fn new(placement: &[usize]) -> Self {
        let kernel = read("/proc/sys/kernel/osrelease");
        Self {
            cpu: model(),
            kernel: format!("Linux {}", kernel.trim()),
            cpus: allowed().len(),
            version: env!("CARGO_PKG_VERSION"),
            commit: option_env!("SLIPRING_COMMIT").unwrap_or("unknown"),
            placement: placement.to_vec(),
        }
    }

    /// In one line.
    pub fn line(&self) -> String {
        let placement = if self.placement.is_empty() {
            "not pinned".to_owned()
        } else {
            let cpus: Vec<_> = self.placement.iter().map(usize::to_string).collect();
            format!("pinned to CPUs {}", cpus.join(", "))
        };
        format!(
            "{}, {} CPUs, {}; slipring {} at commit {}; {placement}",
            self.cpu, self.cpus, self.kernel, self.version, self.commit
        )
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The CPU's name: x86 says `model name`, aarch64 does not.
fn model() -> String {
    let text = read("/proc/cpuinfo");
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let named = lines.find(|(key, _)| key.trim() == "model name");
    named.map_or_else(
        || format!("unknown {} CPU", std::env::consts::ARCH),
        |(_, name)| name.trim().to_owned(),
    )
}

/// The CPUs that this process may use.
pub fn allowed() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(Pid::from_raw(0)) else {
        return vec![0];
    };
    let is_set = |cpu: &usize| set.is_set(*cpu).unwrap_or(false);
    (0..CpuSet::count()).filter(is_set).collect()
}

/// Stays on this CPU from now on.
pub fn pin(cpu: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set))
        .with_context(|| format!("pinning to CPU {cpu}"))
}

/// Memory that can be had without swapping, in bytes.
pub fn memory_available() -> u64 {
    let text = read("/proc/meminfo");
    let line = text.lines().find(|line| line.starts_with("MemAvailable:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) << 10
}

/// Memory that this process has in use, in bytes: its own, and what it has touched of files.
pub fn memory_used() -> u64 {
    let text = read("/proc/self/status");
    let line = text.lines().find(|line| line.starts_with("VmRSS:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) << 10
}

/// What is known of the file system a directory is on: its free bytes, and whether it keeps files in memory.
pub fn space(dir: &Path) -> anyhow::Result<(u64, bool)> {
    use nix::sys::statfs::{TMPFS_MAGIC, statfs};
    let found = statfs(dir).with_context(|| format!("asking about {}", dir.display()))?;
    let block = u64::try_from(found.block_size()).unwrap_or(0);
    let free = found.blocks_available().saturating_mul(block);
    Ok((free, found.filesystem_type() == TMPFS_MAGIC))
}
