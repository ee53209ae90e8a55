//! What a worker says it did, a line each. It goes on only when the line stands in the disk's log.

use anyhow::{Context, Result, bail};

use crate::payload::Origin;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Publishing returned.
    Published(u64, Origin),
    /// It is promised to be on the disk.
    Durable(u64, Origin),
    /// About to be acked.
    Acking(String, u64),
    /// The ack is promised to be on the disk.
    Acked(String, u64),
    /// The group's making has returned.
    Made(String),
    /// It is about to be deleted.
    Deleting(String),
    /// Its deletion has returned.
    Deleted(String),
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Published(sequence, by) => {
                write!(f, "published {sequence} {} {}", by.producer, by.counter)
            }
            Self::Durable(sequence, by) => {
                write!(f, "durable {sequence} {} {}", by.producer, by.counter)
            }
            Self::Acking(group, sequence) => write!(f, "acking {group} {sequence}"),
            Self::Acked(group, sequence) => write!(f, "acked {group} {sequence}"),
            Self::Made(group) => write!(f, "made {group}"),
            Self::Deleting(group) => write!(f, "deleting {group}"),
            Self::Deleted(group) => write!(f, "deleted {group}"),
        }
    }
}

impl Told {
    pub fn parse(line: &str) -> Result<Self> {
        let mut words = line.split(' ');
        let mut word = || words.next().with_context(|| format!("half a line: {line}"));
        Ok(match word()? {
            verb @ ("published" | "durable") => {
                let sequence = word()?.parse()?;
                let by = Origin {
                    producer: word()?.parse()?,
                    counter: word()?.parse()?,
                };
                if verb == "durable" {
                    Self::Durable(sequence, by)
                } else {
                    Self::Published(sequence, by)
                }
            }
            "acking" => Self::Acking(word()?.to_owned(), word()?.parse()?),
            "acked" => Self::Acked(word()?.to_owned(), word()?.parse()?),
            "made" => Self::Made(word()?.to_owned()),
            "deleting" => Self::Deleting(word()?.to_owned()),
            "deleted" => Self::Deleted(word()?.to_owned()),
            _ => bail!("a worker said: {line}"),
        })
    }
}
