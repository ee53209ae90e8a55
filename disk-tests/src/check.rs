//! What a queue has after a reboot, and whether that is what was promised.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use slipring::{ClaimError, Queue};

use crate::payload::{Origin, origin};
use crate::told::Told;

/// The groups that are always there.
const GROUPS: [&str; 2] = ["default", "log"];

/// `look QUEUE`: in a process of its own opens a queue, takes all there is, and says it, a line each.
pub fn look(path: &str) -> Result<()> {
    let queue = Queue::open(path)?;
    let recovered = queue
        .recovery()
        .context("recovered nothing: no other boot?")?;
    println!(
        "recovered {} {} {}",
        recovered.records, recovered.torn, recovered.missing
    );
    for finding in slipring::verify(path)?.damage() {
        println!("damaged {finding:?}");
    }
    for group in queue.groups() {
        println!("group {}", group.name());
        if group.name().starts_with("made-") {
            group.delete()?;
        }
    }
    for group in GROUPS {
        let consumer = queue.group(group)?.consumer()?;
        loop {
            let delivery = match consumer.try_recv() {
                Ok(delivery) => delivery,
                Err(ClaimError::Empty) => break,
                Err(error) => bail!("{group}: {error}"),
            };
            let sequence = delivery.sequence();
            match origin(&delivery) {
                Some(by) => println!("got {group} {sequence} {} {}", by.producer, by.counter),
                None => println!("forged {group} {sequence}"),
            }
            delivery.ack()?;
        }
    }
    println!("next {}", queue.producer()?.publish_durable("next")?);
    ensure!(Queue::open(path)?.recovery().is_none(), "recovered twice");
    println!("end");
    Ok(())
}

/// What was told until some moment.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    published: BTreeMap<u64, Origin>,
    durable: BTreeSet<u64>,
    acking: BTreeSet<(String, u64)>,
    acked: BTreeSet<(String, u64)>,
    made: BTreeSet<String>,
    deleting: BTreeSet<String>,
    deleted: BTreeSet<String>,
}

/// A promise that was not kept.
#[derive(Clone, Debug)]
#[expect(dead_code, reason = "the texts are read in the failure's report")]
pub enum Broken {
    Lost(String),
    Other(String),
}

impl Ledger {
    pub fn durable(&self) -> usize {
        self.durable.len()
    }

    /// Messages that have to come, counted in each group.
    pub fn owed(&self) -> usize {
        let groups = GROUPS.iter();
        groups.map(|group| self.owed_to(group).count()).sum()
    }

    fn owed_to<'a>(&'a self, group: &'a str) -> impl Iterator<Item = (String, u64)> + 'a {
        let keys = self
            .durable
            .iter()
            .map(move |sequence| (group.to_owned(), *sequence));
        keys.filter(|key| !self.acking.contains(key))
    }

    pub fn acked(&self) -> usize {
        self.acked.len()
    }

    pub fn note(&mut self, told: &Told) -> Result<()> {
        match told.clone() {
            Told::Published(sequence, by) => self.publish(sequence, by)?,
            Told::Durable(sequence, by) => {
                self.publish(sequence, by)?;
                self.durable.insert(sequence);
            }
            Told::Acking(group, sequence) => drop(self.acking.insert((group, sequence))),
            Told::Acked(group, sequence) => drop(self.acked.insert((group, sequence))),
            Told::Made(group) => drop(self.made.insert(group)),
            Told::Deleting(group) => drop(self.deleting.insert(group)),
            Told::Deleted(group) => drop(self.deleted.insert(group)),
        }
        Ok(())
    }

    fn publish(&mut self, sequence: u64, by: Origin) -> Result<()> {
        let before = *self.published.entry(sequence).or_insert(by);
        ensure!(
            before == by,
            "sequence {sequence} was given to {before:?} and to {by:?}"
        );
        Ok(())
    }

    /// Opens the queue in another process, and says what is wrong.
    pub fn compare(&self, queue: &Path) -> Result<Vec<Broken>> {
        let mut command = Command::new(std::env::current_exe()?);
        let output = command.arg("look").arg(queue).output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        let complaint = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() || said.lines().last() != Some("end") {
            let text = format!("opening and draining: {}: {complaint}{said}", output.status);
            return Ok(vec![Broken::Other(text)]);
        }
        let mut found = Found::default();
        for line in said.lines() {
            self.judge(line, &mut found)
                .with_context(|| line.to_owned())?;
        }
        self.judge_absent(&mut found);
        Ok(found.broken)
    }

    fn judge(&self, line: &str, found: &mut Found) -> Result<()> {
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["forged" | "damaged", ..] => found.wrong(line.to_owned()),
            ["group", name] => drop(found.groups.insert(name.to_owned())),
            ["got", group, sequence, producer, counter] => {
                let by = Origin {
                    producer: producer.parse()?,
                    counter: counter.parse()?,
                };
                self.judge_delivery(group, sequence.parse()?, by, found);
            }
            ["next", sequence] => {
                let next: u64 = sequence.parse()?;
                let used = self.published.keys().next_back();
                if used.is_some_and(|used| next <= *used) {
                    found.wrong(format!(
                        "{next} comes after {used:?}: a sequence used twice"
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn judge_delivery(&self, group: &str, sequence: u64, by: Origin, found: &mut Found) {
        let key = (group.to_owned(), sequence);
        let text = format!("{sequence} in {group}, {by:?}");
        let published = self.published.get(&sequence);
        if published.is_some_and(|published| *published != by) {
            found.wrong(format!("{text} was published as {published:?}"));
        }
        if self.acked.contains(&key) {
            found.wrong(format!("{text} was durably acked"));
        }
        if *found.places.entry(by).or_insert(sequence) != sequence {
            found.wrong(format!("{text} has two sequences"));
        }
        if !found.got.insert(key) {
            found.wrong(format!("{text} was delivered twice"));
        }
    }

    fn judge_absent(&self, found: &mut Found) {
        for key in GROUPS.iter().flat_map(|group| self.owed_to(group)) {
            if !found.got.contains(&key) {
                let by = self.published.get(&key.1);
                let text = format!("{key:?}, {by:?}, was durable");
                found.broken.push(Broken::Lost(text));
            }
        }
        for group in self.made.difference(&self.deleting) {
            if !found.groups.contains(group) {
                found
                    .broken
                    .push(Broken::Lost(format!("the group {group}")));
            }
        }
        let back: Vec<_> = self.deleted.intersection(&found.groups).cloned().collect();
        for group in back {
            found.wrong(format!("the deleted group {group} is back"));
        }
    }
}

#[derive(Debug, Default)]
struct Found {
    got: BTreeSet<(String, u64)>,
    places: BTreeMap<Origin, u64>,
    groups: BTreeSet<String>,
    broken: Vec<Broken>,
}

impl Found {
    fn wrong(&mut self, text: String) {
        self.broken.push(Broken::Other(text));
    }
}
