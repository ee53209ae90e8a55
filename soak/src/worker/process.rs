//! Forking and executing with handles open.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use slipring::{AttachError, ClaimError, Consumer, Producer, PublishError, Queue};

use super::Worker;
use super::consume::{Came, Member};
use crate::group::{Group, PERMANENT};
use crate::record::Event;

/// Programs that take one worker's place, one after the other: fits the low bits of its number.
const MOST_PROGRAMS: u64 = 255;

impl Worker {
    /// Forks while it holds messages; the child finds out what it is, and lingers with whatever it inherited.
    pub(super) fn fork_on(&mut self) -> Result<()> {
        let queue = self.open()?;
        let mut producer = self.producer(&queue)?;
        let shared = PERMANENT.map(|(group, _)| group);
        let shared: Vec<Group> = shared.into_iter().filter(|g| !g.is_exclusive()).collect();
        let group = self.random.pick(&shared).copied().unwrap_or(Group(0));
        let Some(mut member) = self.join(&queue, group)? else {
            bail!("{} is gone", group.name());
        };
        while !self.is_over()? {
            if let Some(producer) = &mut producer {
                self.publish_in_time(producer)?;
            }
            let Member { consumer, .. } = &member;
            self.say(Event::Receiving {
                group: group.0,
                batch: false,
            })?;
            match consumer.recv_timeout(Duration::from_millis(5)) {
                Err(ClaimError::TimedOut) => self.say(Event::Nothing { group: group.0 })?,
                Err(error) => return Err(error).context("receiving before a fork"),
                Ok(delivery) => {
                    let held = self.received(group, delivery)?;
                    self.fork(&queue, producer.as_mut(), consumer)?;
                    self.settle_all(group, &mut false, vec![held])?;
                }
            }
            if self.receive(&mut member)? == Came::Closed {
                bail!("{} was closed", group.name());
            }
            reap()?;
            self.rest();
        }
        self.leave(member)
    }

    fn fork(
        &mut self,
        queue: &Queue,
        producer: Option<&mut Producer>,
        consumer: &Consumer,
    ) -> Result<()> {
        let linger = Duration::from_millis(self.random.below(150));
        // SAFETY: this process has one thread, so the child may go on as if nothing had happened.
        if let ForkResult::Parent { .. } = unsafe { fork() }? {
            return Ok(());
        }
        let told = producer.is_none_or(|p| p.publish("child") == Err(PublishError::Forked))
            && matches!(consumer.try_recv(), Err(ClaimError::Forked))
            && matches!(queue.producer(), Err(AttachError::Forked))
            && queue.groups().is_empty()
            && queue.stats().participants.is_empty();
        let event = if told {
            Event::Forked
        } else {
            Event::Fault("a forked child was not told".into())
        };
        // Without a supervisor there is nobody to tell.
        let _said = self.say(event);
        std::thread::sleep(linger);
        // SAFETY: ends the process at once; none of the parent's guards is dropped in the child.
        unsafe { nix::libc::_exit(0) }
    }

    /// Executes itself while it holds messages: nothing of the queue may be left in the new program.
    pub(super) fn execute(&mut self) -> Result<()> {
        self.nothing_leaked()?;
        let queue = self.open()?;
        let mut producer = self.producer(&queue)?;
        let group = self.random.pick(&PERMANENT).map_or(Group(0), |row| row.0);
        let Some(mut member) = self.join(&queue, group)? else {
            bail!("{} is gone", group.name());
        };
        for _ in 0..self.random.between(1, 20) {
            if let Some(producer) = &mut producer {
                self.publish_in_time(producer)?;
            }
            self.receive(&mut member)?;
            self.rest();
        }
        let programs = self.orders.id & MOST_PROGRAMS;
        if self.is_over()? || programs == MOST_PROGRAMS {
            return self.leave(member);
        }
        let mut held = Vec::new();
        for _ in 0..self.random.below(4) {
            self.receive_one(&member.consumer, group, &mut held)?;
        }
        self.say(Event::Executing)?;
        let mut next = self.orders.clone();
        next.id += 1;
        let program = std::env::current_exe()?;
        let failed = Command::new(program).args(next.arguments()).exec();
        Err(failed).context("executing")
    }

    fn nothing_leaked(&self) -> Result<()> {
        let directory = self.orders.path.parent().context("the queue's place")?;
        for entry in fs::read_dir("/proc/self/fd")? {
            // The directory's own descriptor is gone by now.
            let Ok(target) = fs::read_link(entry?.path()) else {
                continue;
            };
            if target.starts_with(directory) {
                bail!("a descriptor of a queue is still open after exec");
            }
        }
        let maps = fs::read_to_string("/proc/self/maps")?;
        if maps.contains(&*directory.to_string_lossy()) {
            bail!("a queue is still mapped after exec");
        }
        Ok(())
    }
}

/// Collects children that have ended. A child may inherit its parent's appointed death, but has no other way to fail.
fn reap() -> Result<()> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(()),
            Ok(WaitStatus::Exited(_, 0) | WaitStatus::Signaled(_, Signal::SIGKILL, _)) => {}
            Ok(other) => bail!("a forked child ended: {other:?}"),
            Err(error) => return Err(error.into()),
        }
    }
}
