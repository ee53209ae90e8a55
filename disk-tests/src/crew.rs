//! The workers, from outside: started, listened to, killed and replaced.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use crate::disk::Disk;
use crate::random::Random;
use crate::told::Told;

/// Another process of this program, to talk to.
pub fn start(arguments: &[&str]) -> Result<(Child, ChildStdin, BufReader<ChildStdout>)> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command
        .spawn()
        .with_context(|| format!("starting {arguments:?}"))?;
    let stdin = child.stdin.take().context("no stdin")?;
    let stdout = child.stdout.take().context("no stdout")?;
    Ok((child, stdin, BufReader::new(stdout)))
}

pub struct Crew {
    disk: Arc<Disk>,
    queue: PathBuf,
    stopping: Arc<AtomicBool>,
    members: Vec<Member>,
    random: Random,
    /// Numbers nobody has twice, in no boot.
    next_number: u32,
    pub killed: u32,
}

#[derive(Clone, Copy)]
enum Role {
    Produce,
    Consume(&'static str),
    Groups,
}

const ROLES: [Role; 5] = [
    Role::Produce,
    Role::Produce,
    Role::Consume("default"),
    Role::Consume("log"),
    Role::Groups,
];

struct Member {
    role: Role,
    child: Child,
    listener: Option<JoinHandle<Result<()>>>,
}

impl Crew {
    pub fn new(disk: &Arc<Disk>, queue: &Path, boot: u64, random: Random) -> Result<Self> {
        let mut crew = Self {
            disk: Arc::clone(disk),
            queue: queue.to_owned(),
            stopping: Arc::default(),
            members: Vec::new(),
            random,
            next_number: u32::try_from(boot)? * 10_000,
            killed: 0,
        };
        for role in ROLES {
            let member = crew.hire(role)?;
            crew.members.push(member);
        }
        Ok(crew)
    }

    fn hire(&mut self, role: Role) -> Result<Member> {
        self.next_number += 1;
        let queue = self.queue.to_str().context("an odd path")?;
        let number = self.next_number.to_string();
        let (child, mut stdin, stdout) = match role {
            Role::Produce => start(&["produce", queue, &number]),
            Role::Consume(group) => start(&["consume", queue, group, &number]),
            Role::Groups => start(&["groups", queue, &number]),
        }?;
        let (disk, stopping) = (Arc::clone(&self.disk), Arc::clone(&self.stopping));
        let listen = move || -> Result<()> {
            for line in stdout.lines() {
                let line = line?;
                if line != "idle" {
                    disk.tell(Told::parse(&line)?);
                }
                let stops = stopping.load(Ordering::Relaxed);
                // It may have been killed meanwhile.
                let _gone = stdin.write_all(if stops { b"stop\n" } else { b"go\n" });
            }
            Ok(())
        };
        Ok(Member {
            role,
            child,
            listener: Some(std::thread::spawn(listen)),
        })
    }

    /// Lets them work so long; now and then one is killed and replaced.
    pub fn work(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20 + self.random.below(200)));
            let at = self.random.below(self.members.len() as u64) as usize;
            self.members[at].child.kill()?;
            let status = self.members[at].end()?;
            ensure!(
                status.code().is_none(),
                "a worker ended by itself: {status}"
            );
            self.killed += 1;
            let role = self.members[at].role;
            self.members[at] = self.hire(role)?;
        }
        Ok(())
    }

    /// Tells all to stop, and waits until they have.
    pub fn stop(mut self) -> Result<()> {
        self.stopping.store(true, Ordering::Relaxed);
        for member in &mut self.members {
            let status = member.end()?;
            ensure!(status.success(), "a worker failed: {status}");
        }
        Ok(())
    }
}

impl Member {
    fn end(&mut self) -> Result<std::process::ExitStatus> {
        let status = self.child.wait()?;
        if let Some(listener) = self.listener.take() {
            listener
                .join()
                .map_err(|_| anyhow!("a listener panicked"))??;
        }
        Ok(status)
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        // What still runs here runs because something failed; the file system below them is to be unmounted.
        for member in &mut self.members {
            let _ended_already = member.child.kill();
            let _status = member.end();
        }
    }
}
