//! A process that does with a queue what it is told, one line at a time; it may die of it.

use std::io::{BufRead, BufReader, Write, stdin, stdout};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use slipring::{ClaimError, Durability, GroupOptions, Inspector, Queue};

/// Longer than a slot of the queues made here.
const LONG: usize = 3000;
/// Bytes of their arena.
pub const ARENA: u64 = 1 << 20;
/// What is said of one that was killed by SIGBUS, which has this number on all of Linux' common platforms.
pub const DIED: &str = "died of signal 7";

/// `hand`: obeys.
pub fn obey() -> Result<()> {
    let mut queue = None;
    for line in stdin().lock().lines() {
        let line = line?;
        let words: Vec<_> = line.split(' ').collect();
        let reply = match act(&mut queue, &words) {
            Ok(text) => format!("ok {text}"),
            Err(error) => format!("error {error}"),
        };
        writeln!(stdout(), "{}", reply.replace('\n', " "))?;
        stdout().flush()?;
    }
    Ok(())
}

fn act(held: &mut Option<Queue>, words: &[&str]) -> Result<String> {
    let queue = || held.as_ref().context("no queue is open");
    Ok(match *words {
        ["create", path, mode, capacity] => {
            let durability = match mode {
                "none" => Durability::None,
                "sync" => Durability::Sync,
                _ => Durability::Interval(Duration::from_secs(60)),
            };
            let options = Queue::options().capacity(capacity.parse()?).slot_size(1024);
            let options = options.max_message(4096).arena_size(ARENA);
            *held = Some(options.durability(durability).create(path)?);
            String::new()
        }
        ["open", path] => {
            *held = Some(Queue::open(path)?);
            String::new()
        }
        ["close"] => {
            *held = None;
            String::new()
        }
        ["publish", text] => queue()?.producer()?.publish(text)?.to_string(),
        ["publish_durable", text] => queue()?.producer()?.publish_durable(text)?.to_string(),
        ["publish_long", text] => {
            let message = text.repeat(LONG / text.len());
            queue()?.producer()?.publish(&message)?.to_string()
        }
        ["flush"] => queue()?.producer()?.flush().map(|()| String::new())?,
        ["group", name] => {
            queue()?.create_group(name, GroupOptions::shared())?;
            String::new()
        }
        ["ungroup", name] => queue()?.delete_group(name).map(|()| String::new())?,
        ["sweep"] => {
            queue()?.sweep();
            String::new()
        }
        ["consume"] => {
            let consumer = queue()?.consumer()?;
            let delivery = match consumer.try_recv() {
                Ok(delivery) => delivery,
                Err(ClaimError::Empty) => return Ok("nothing".to_owned()),
                Err(error) => return Err(error.into()),
            };
            let text = String::from_utf8_lossy(&delivery).into_owned();
            delivery.ack()?;
            text
        }
        ["inspect", path] => Inspector::open(path)?.stats().published.to_string(),
        ["verify", path] => slipring::verify(path)?.damage().count().to_string(),
        _ => bail!("{words:?}?"),
    })
}

/// One, from outside.
#[derive(Debug)]
pub struct Hand {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Hand {
    pub fn new() -> Result<Self> {
        let (child, stdin, stdout) = crate::crew::start(&["hand"])?;
        Ok(Self {
            child,
            stdin,
            stdout,
        })
    }

    /// Lets it do something; what it says, or what it died of.
    pub fn ask(&mut self, order: &str) -> Result<String> {
        writeln!(self.stdin, "{order}")?;
        let mut reply = String::new();
        if self.stdout.read_line(&mut reply)? == 0 {
            let status = self.child.wait()?;
            return Ok(match status.signal() {
                Some(signal) => format!("died of signal {signal}"),
                None => format!("ended: {status}"),
            });
        }
        Ok(reply.trim_end().to_owned())
    }

    /// Lets it do what has to succeed.
    pub fn does(&mut self, order: &str) -> Result<String> {
        let reply = self.ask(order)?;
        let text = reply
            .strip_prefix("ok ")
            .or_else(|| reply.strip_prefix("ok"));
        text.map(str::to_owned)
            .with_context(|| format!("{order}: {reply}"))
    }

    /// Lets it do what has to fail, and say so with all of these words.
    pub fn fails(&mut self, order: &str, words: &[&str]) -> Result<()> {
        let reply = self.ask(order)?;
        let told = reply.starts_with("error ") && words.iter().all(|word| reply.contains(word));
        ensure!(told, "{order}: {reply}, expected an error with {words:?}");
        Ok(())
    }

    /// Lets it do what it dies of.
    pub fn dies(&mut self, order: &str) -> Result<()> {
        let reply = self.ask(order)?;
        ensure!(reply == DIED, "{order}: {reply}, expected: {DIED}");
        Ok(())
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _status = self.child.wait();
    }
}

/// A path, as a word of an order.
pub fn word(path: &Path) -> Result<&str> {
    path.to_str().context("an odd path")
}
