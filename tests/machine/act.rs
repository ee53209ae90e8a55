//! What the machine does, in three forms: an [`Op`] as it is drawn, with numbers taken modulo what exists; an [`Act`], which
//! names who does it to what; and what was [`Seen`] of it. All print as one short line.

use std::fmt;

use slipring::Start;

/// An attachment; never used again after its end.
pub type Person = u32;
/// A consumer, or a delivery.
pub type Id = u32;
/// A group by its name; 0 is `default`.
pub type Name = u8;

pub fn name(group: Name) -> String {
    match group {
        0 => slipring::DEFAULT_GROUP.to_owned(),
        _ => format!("g{group}"),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publish {
    Try,
    Wait,
    Timed,
    Commit,
    TryCommit,
    Loan,
    DropReservation,
    LeakLoan,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receive {
    Try,
    Wait,
    Timed,
    Iter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settle {
    Ack,
    Nack,
    Release,
    Drop,
    Panic,
    Reject,
    AckUpTo,
    Defer,
    Extend,
    /// Its lease ends, and nobody has noticed yet.
    Lapse,
    Leak,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Kind {
    pub exclusive: bool,
    pub ephemeral: bool,
    /// 0: none.
    pub limit: u8,
    pub lease: bool,
    pub letters: bool,
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.exclusive {
            "exclusive"
        } else {
            "shared"
        })?;
        if self.ephemeral {
            f.write_str(" ephemeral")?;
        }
        if self.limit > 0 {
            write!(f, " limit {}", self.limit)?;
        }
        if self.lease {
            f.write_str(" leased")?;
        }
        if self.letters {
            f.write_str(" with letters")?;
        }
        Ok(())
    }
}

/// As drawn. All numbers but lengths, counts and names are taken modulo what exists.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum What {
    Publish {
        how: Publish,
        length: usize,
    },
    Batch {
        count: usize,
        length: usize,
    },
    Receive {
        consumer: u8,
        how: Receive,
    },
    Several {
        consumer: u8,
        how: Receive,
        max: usize,
        open: usize,
        leak: bool,
    },
    Settle {
        guard: u8,
        how: Settle,
    },
    Decide {
        group: u8,
        which: u8,
        again: bool,
    },
    Join {
        group: u8,
    },
    Leave {
        consumer: u8,
    },
    Create {
        group: Name,
        kind: Kind,
        start: u8,
        open: bool,
    },
    Delete {
        group: u8,
    },
    Produce {
        sole: bool,
    },
    Stop,
    Sweep,
    Attach,
    Detach,
}

impl fmt::Debug for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Publish { how, length } => write!(f, "publish {length} B ({how:?})"),
            Self::Batch { count, length } => write!(f, "publish batch of {count}, {length} B"),
            Self::Receive { consumer, how } => write!(f, "receive by c{consumer} ({how:?})"),
            Self::Several {
                consumer,
                how,
                max,
                open,
                leak,
            } => {
                let end = if leak { "leak" } else { "drop" };
                write!(
                    f,
                    "receive {max} by c{consumer} ({how:?}), open {open}, {end} the rest"
                )
            }
            Self::Settle { guard, how } => write!(f, "{how:?} d{guard}"),
            Self::Decide {
                group,
                which,
                again,
            } => {
                let how = if again { "retry" } else { "discard" };
                write!(f, "{how} parked #{which} of group #{group}")
            }
            Self::Join { group } => write!(f, "join group #{group}"),
            Self::Leave { consumer } => write!(f, "drop c{consumer}"),
            Self::Create {
                group,
                kind,
                start,
                open,
            } => {
                let how = if open { "open or create" } else { "create" };
                write!(f, "{how} g{group} {kind:?}, start #{start}")
            }
            Self::Delete { group } => write!(f, "delete group #{group}"),
            Self::Produce { sole: true } => f.write_str("become sole producer"),
            Self::Produce { sole: false } => f.write_str("become producer"),
            Self::Stop => f.write_str("drop producer"),
            Self::Sweep => f.write_str("sweep"),
            Self::Attach => f.write_str("attach"),
            Self::Detach => f.write_str("detach"),
        }
    }
}

/// Something an attachment does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Call {
    pub by: u8,
    pub what: What,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a{}: {:?}", self.by, self.what)
    }
}

#[derive(Clone, PartialEq, Eq)]
pub enum Op {
    Do(Call),
    /// Dies at that access, or after the call if it makes fewer.
    Crash(u64, Call),
    /// Is stopped at that access, while others do something.
    Pause(u64, Call, Vec<Call>),
    /// Every handle is dropped, and the file opened again.
    Reopen,
    /// All die at once, and the file is opened again.
    Outage,
}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Do(call) => write!(f, "{call:?}"),
            Self::Crash(at, call) => write!(f, "{call:?} -- dies at access {at}"),
            Self::Pause(at, call, meanwhile) => {
                write!(
                    f,
                    "{call:?} -- paused at access {at}, meanwhile {meanwhile:?}"
                )
            }
            Self::Reopen => f.write_str("all detach, reopen"),
            Self::Outage => f.write_str("all die, reopen"),
        }
    }
}

/// Who does what to what.
#[derive(Clone, Copy, PartialEq)]
pub struct Act {
    pub who: Person,
    pub deed: Deed,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Deed {
    Attach,
    Quit,
    Produce {
        sole: bool,
    },
    Stop,
    Publish {
        how: Publish,
        tag: u32,
        length: usize,
    },
    Batch {
        tag: u32,
        count: usize,
        length: usize,
    },
    Receive {
        consumer: Id,
        how: Receive,
        guard: Id,
    },
    Several {
        consumer: Id,
        how: Receive,
        max: usize,
        open: usize,
        leak: bool,
        guard: Id,
    },
    Settle {
        guard: Id,
        how: Settle,
    },
    Decide {
        group: Name,
        sequence: u64,
        again: bool,
    },
    Join {
        group: Name,
        consumer: Id,
    },
    Leave {
        consumer: Id,
    },
    Create {
        group: Name,
        kind: Kind,
        start: Start,
        open: bool,
    },
    Delete {
        group: Name,
    },
    Sweep,
}

impl fmt::Debug for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a{}: ", self.who)?;
        match self.deed {
            Deed::Attach => f.write_str("attach"),
            Deed::Quit => f.write_str("detach"),
            Deed::Produce { sole: true } => f.write_str("become sole producer"),
            Deed::Produce { sole: false } => f.write_str("become producer"),
            Deed::Stop => f.write_str("drop producer"),
            Deed::Publish { how, tag, length } => {
                write!(f, "publish m{tag}, {length} B ({how:?})")
            }
            Deed::Batch { tag, count, length } => {
                write!(f, "publish batch of {count} from m{tag}, {length} B")
            }
            Deed::Receive {
                consumer,
                how,
                guard,
            } => {
                write!(f, "d{guard} = receive by c{consumer} ({how:?})")
            }
            Deed::Several {
                consumer,
                how,
                max,
                open,
                leak,
                guard,
            } => {
                let end = if leak { "leak" } else { "drop" };
                write!(
                    f,
                    "d{guard}.. = receive {max} by c{consumer} ({how:?}), open {open}, {end} the rest"
                )
            }
            Deed::Settle { guard, how } => write!(f, "{how:?} d{guard}"),
            Deed::Decide {
                group,
                sequence,
                again,
            } => {
                let how = if again { "retry" } else { "discard" };
                write!(f, "{how} {sequence} in {}", name(group))
            }
            Deed::Join { group, consumer } => write!(f, "c{consumer} = join {}", name(group)),
            Deed::Leave { consumer } => write!(f, "drop c{consumer}"),
            Deed::Create {
                group,
                kind,
                start,
                open,
            } => {
                let how = if open { "open or create" } else { "create" };
                write!(f, "{how} {} {kind:?}, {start:?}", name(group))
            }
            Deed::Delete { group } => write!(f, "delete {}", name(group)),
            Deed::Sweep => f.write_str("sweep"),
        }
    }
}

/// A delivery, as its receiver sees it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Got {
    pub sequence: u64,
    pub count: u8,
    pub tag: u32,
    pub length: usize,
}

impl fmt::Debug for Got {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            sequence,
            count,
            tag,
            length,
        } = self;
        write!(f, "{sequence}=m{tag}, {length} B, delivery {count}")
    }
}

/// What came of it.
#[derive(Clone, PartialEq, Eq)]
pub enum Seen {
    Done,
    Sequence(u64),
    Batch {
        published: u64,
        first: Option<u64>,
        last: Option<u64>,
    },
    Got(Vec<Got>),
    /// The error, as it prints itself.
    Error(String),
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Sequence(sequence) => write!(f, "{sequence}"),
            Self::Batch {
                published,
                first: Some(first),
                last: Some(last),
            } => {
                write!(f, "{published}: {first}..={last}")
            }
            Self::Batch { published, .. } => write!(f, "{published}"),
            Self::Got(got) => write!(f, "{got:?}"),
            Self::Error(error) => f.write_str(error),
        }
    }
}
