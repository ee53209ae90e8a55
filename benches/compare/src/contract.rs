//! The external command contract: what the arguments say, what is printed, how the process ends.

use std::fmt;
use std::io::{BufRead, Write};
use std::path::PathBuf;

use anyhow::{Context, bail};
use serde_json::{Value, json};

/// Exit codes of sysexits.h, which the harness tells apart.
pub const USAGE: u8 = 64;
pub const DATA_ERROR: u8 = 65;
pub const UNAVAILABLE: u8 = 69;

/// A message was not what its sender put in.
#[derive(Debug)]
pub struct Corrupt(pub String);

/// The rival cannot run here; the text says what is missing and how to get it.
#[derive(Debug)]
pub struct Missing(pub String);

/// The arguments make no sense.
#[derive(Debug)]
pub struct Misused(pub String);

macro_rules! plain_error {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl std::error::Error for $name {}
    )*};
}
plain_error!(Corrupt, Missing, Misused);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Consume,
    Produce,
    Pong,
    Ping,
    ThreadsThroughput,
    ThreadsRoundTrip,
}

/// One run of one process.
#[derive(Clone, Debug)]
pub struct Job {
    pub role: Role,
    pub dir: PathBuf,
    pub size: usize,
    pub count: u64,
    /// CPUs to pin to; two for a pair of threads, none if the harness says `-`.
    pub cores: Vec<usize>,
    pub batch: usize,
    /// Of several producers, which one this is.
    pub producer: u64,
    /// End messages this producer sends after its last.
    pub ends: u64,
    /// A test's: the number of the message that this sender damages.
    pub damaged: Option<u64>,
}

fn number<T: std::str::FromStr>(what: &str, text: &str) -> Result<T, Misused> {
    text.parse()
        .map_err(|_| Misused(format!("{what} is {text:?}, not a number")))
}

fn setting(name: &str) -> Result<Option<u64>, Misused> {
    let value = std::env::var(name).ok();
    value.map(|text| number(name, &text)).transpose()
}

impl Job {
    pub fn parse(arguments: &[String]) -> anyhow::Result<Self> {
        let (role, dir, size, count, core, batch) = match arguments {
            [role, dir, size, count, core] => (role, dir, size, count, core, "1"),
            [role, dir, size, count, core, batch] => (role, dir, size, count, core, &**batch),
            _ => bail!(Misused("expected ROLE PATH SIZE COUNT CORE [BATCH]".into())),
        };
        let role = match &**role {
            "consume" => Role::Consume,
            "produce" => Role::Produce,
            "pong" => Role::Pong,
            "ping" => Role::Ping,
            "threads-throughput" => Role::ThreadsThroughput,
            "threads-round-trip" => Role::ThreadsRoundTrip,
            _ => bail!(Misused(format!("{role:?} is not a role"))),
        };
        let cores = core.split(',').filter(|core| *core != "-");
        let cores = cores.map(|core| number("CORE", core));
        let job = Self {
            role,
            dir: dir.into(),
            size: number("SIZE", size)?,
            count: number("COUNT", count)?,
            cores: cores.collect::<Result<_, _>>()?,
            batch: number("BATCH", batch)?,
            producer: setting("SLIPRING_BENCH_PRODUCER")?.unwrap_or(0),
            ends: setting("SLIPRING_BENCH_ENDS")?.unwrap_or(0),
            damaged: setting("SLIPRING_COMPARE_DAMAGE")?,
        };
        if job.size < 16 || job.batch == 0 {
            bail!(Misused("SIZE is at least 16, BATCH at least 1".into()));
        }
        Ok(job)
    }

    /// A message longer than 64 KiB would make 1024 of them a workload of its own.
    pub fn depth(&self) -> usize {
        if self.size < 1 << 16 { 1024 } else { 64 }
    }
}

/// What a rival says of itself.
#[derive(Clone, Debug)]
pub struct Description {
    pub name: &'static str,
    pub version: String,
    pub threads: bool,
    /// A consumer acknowledges; what it did not acknowledge is handed out again.
    pub acked: bool,
    /// Any process may be killed at any instruction, and the others go on.
    pub survives_kill: bool,
    /// Several processes may send, and several receive, each message once.
    pub mpmc: bool,
    /// Messages survive a power cut once the send has returned.
    pub durable: bool,
    /// A receiver with nothing to receive sleeps in the queue instead of polling.
    pub blocking: bool,
    pub roles: &'static [&'static str],
    pub max_size: Option<usize>,
    pub notes: &'static str,
}

pub const ALL_ROLES: &[&str] = &["throughput", "round-trip", "throughput-batch"];
pub const UNBATCHED: &[&str] = &["throughput", "round-trip"];

/// The version of a library that this program is built with.
pub fn built_with(library: &str) -> &'static str {
    let lock = include_str!("../Cargo.lock");
    let entry = format!("name = \"{library}\"\nversion = \"");
    let rest = lock.split_once(&*entry).map_or("unknown", |(_, rest)| rest);
    rest.split('"').next().unwrap_or_default()
}

impl Description {
    /// A rival between processes that promises nothing, to be completed by struct update.
    pub fn new(name: &'static str, version: impl Into<String>) -> Self {
        Self {
            name,
            version: version.into(),
            threads: false,
            acked: false,
            survives_kill: false,
            mpmc: false,
            durable: false,
            blocking: false,
            roles: ALL_ROLES,
            max_size: None,
            notes: "",
        }
    }

    pub fn json(&self) -> Value {
        json!({
            "name": self.name,
            "version": self.version,
            "kind": if self.threads { "threads" } else { "processes" },
            "acked": self.acked,
            "survives_kill": self.survives_kill,
            "mpmc": self.mpmc,
            "durable": self.durable,
            "blocking": self.blocking,
            "roles": self.roles,
            "max_size": self.max_size,
            "notes": self.notes,
        })
    }
}

/// A line for the harness, at once.
pub fn say(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .context("writing to the harness")
}

/// Everything is attached; the harness says when to begin.
pub fn ready_then_go() -> anyhow::Result<()> {
    say("ready")?;
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .context("waiting for the harness")?;
    if line.trim() != "go" {
        bail!("expected \"go\" from the harness, found {line:?}");
    }
    Ok(())
}
