//! A private server of a broker: in the run's directory, for as long as the run.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sched::sched_setaffinity;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getppid};

use crate::contract::Missing;
use crate::machine::anywhere;
use crate::queue::Place;

/// Servers take this long to start, and to stop, at most.
const PATIENCE: Duration = Duration::from_secs(30);

/// Says how to get the server if it is not there.
pub fn needs(program: &str, package: &str) -> anyhow::Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|directory| directory.join(program).is_file()) {
        return Ok(());
    }
    Err(Missing(format!(
        "no {program} on PATH; install it with apt-get install {package}"
    ))
    .into())
}

/// What the server calls itself: the first number with dots in what it prints.
pub fn version(program: &str, flag: &str) -> String {
    let output = Command::new(program).arg(flag).output();
    let said = output.map(|output| output.stdout).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let is_number = |c: char| c.is_ascii_digit() || c == '.';
    let mut words = said.split(|c| !is_number(c));
    let number = words.find(|word| word.len() > 2 && word.contains('.'));
    number.unwrap_or("of unknown number").to_owned()
}

/// Held as long as a client uses the server; its first client also has the server itself.
pub struct Client {
    server: Option<Child>,
    /// Locked shared by every client.
    users: File,
}

impl Client {
    /// Starts the server if this client is the run's first, and waits until `connect` succeeds.
    pub fn connect<T>(
        place: &Place,
        command: impl Fn() -> anyhow::Result<Command>,
        connect: impl Fn() -> anyhow::Result<T>,
    ) -> anyhow::Result<(Self, T)> {
        let users = place.dir.join("users");
        let first = place.creates() && !users.exists();
        let users = File::options()
            .create(true)
            .append(true)
            .open(&users)
            .context("opening the lock")?;
        users.lock_shared().context("locking")?;
        let server = first
            .then(|| start(&mut command()?, &place.dir))
            .transpose()?;
        let mut client = Self { server, users };
        let connection = client.wait(connect)?;
        Ok((client, connection))
    }

    fn wait<T>(&mut self, connect: impl Fn() -> anyhow::Result<T>) -> anyhow::Result<T> {
        let start = Instant::now();
        loop {
            match connect() {
                Ok(connection) => return Ok(connection),
                Err(error) if start.elapsed() > PATIENCE => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
            if let Some(server) = &mut self.server
                && let Some(status) = server.try_wait()?
            {
                bail!(
                    "the server ended at once, with {status}; see server.log in the run's directory"
                );
            }
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let Some(mut server) = self.server.take() else {
            return;
        };
        // Other clients may be about to be answered.
        let _ = self.users.unlock();
        let start = Instant::now();
        while self.users.try_lock().is_err() && start.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
        if let Ok(id) = i32::try_from(server.id()) {
            let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
        }
        let start = Instant::now();
        while matches!(server.try_wait(), Ok(None)) && start.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = server.kill();
        let _ = server.wait();
    }
}

/// Starts a server that does not outlive us, however we end.
fn start(command: &mut Command, dir: &Path) -> anyhow::Result<Child> {
    let log = File::create(dir.join("server.log")).context("making server.log")?;
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .current_dir(dir);
    let parent = Pid::this();
    let anywhere = anywhere()?;
    // SAFETY: between fork and exec it makes three system calls, and no allocation.
    unsafe {
        command.pre_exec(move || {
            // Our own CPU is ours.
            sched_setaffinity(Pid::from_raw(0), &anywhere)?;
            set_pdeathsig(Signal::SIGKILL)?;
            if getppid() != parent {
                // We died before the kernel knew.
                return Err(std::io::ErrorKind::Interrupted.into());
            }
            Ok(())
        });
    }
    let program = command.get_program().to_owned();
    command
        .spawn()
        .with_context(|| format!("starting {}", program.display()))
}
