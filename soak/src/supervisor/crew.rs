//! Worker processes: started, paused, killed, waited for; and what they said.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::check::{End, Journal};
use crate::clock;
use crate::record::{Event, Record};
use crate::worker::Orders;

/// What one process said so far.
#[derive(Debug, Default)]
struct Book {
    records: Mutex<Vec<Record>>,
    /// When it last said something, or was started or resumed.
    last: AtomicU64,
    /// The longest it has been silent while it was running, and after which words.
    silence: Mutex<(u64, String)>,
}

impl Book {
    fn hear(&self, record: Record) {
        let now = clock::now();
        let silent = now.saturating_sub(self.last.swap(now, Ordering::Relaxed));
        let mut records = locked(&self.records);
        let mut longest = locked(&self.silence);
        if silent > longest.0 {
            let after = records.last().map_or_else(String::new, ToString::to_string);
            *longest = (silent, after);
        }
        records.push(record);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in here is half done when somebody panics.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A process that runs.
#[derive(Debug)]
pub struct Running {
    pub orders: Orders,
    child: Child,
    book: Arc<Book>,
    reader: JoinHandle<()>,
    paused: bool,
}

/// A process that is gone.
#[derive(Debug)]
pub struct Gone {
    pub orders: Orders,
    book: Arc<Book>,
    reader: JoinHandle<()>,
    end: End,
    /// It ended in a way that nobody planned.
    pub fault: Option<String>,
}

impl Running {
    pub fn start(orders: Orders) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(orders.arguments())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting a worker")?;
        let output = child.stdout.take().context("a worker's output")?;
        let book = Arc::new(Book::default());
        book.last.store(clock::now(), Ordering::Relaxed);
        let reader = std::thread::spawn({
            let book = Arc::clone(&book);
            move || listen(output, &book)
        });
        Ok(Self {
            orders,
            child,
            book,
            reader,
            paused: false,
        })
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id())?;
        kill(Pid::from_raw(pid), signal).with_context(|| format!("{signal}"))
    }

    pub fn pause(&mut self) -> Result<()> {
        self.paused = true;
        self.signal(Signal::SIGSTOP)
    }

    pub fn resume(&mut self) -> Result<()> {
        if self.paused {
            self.paused = false;
            self.book.last.store(clock::now(), Ordering::Relaxed);
            self.signal(Signal::SIGCONT)?;
        }
        Ok(())
    }

    /// Asks it to leave.
    pub fn dismiss(&mut self) {
        drop(self.child.stdin.take());
    }

    /// For how long it has said nothing though it runs.
    pub fn silent_for(&self) -> u64 {
        if self.paused {
            return 0;
        }
        clock::now().saturating_sub(self.book.last.load(Ordering::Relaxed))
    }

    pub fn last_words(&self) -> String {
        let records = locked(&self.book.records);
        records.last().map_or_else(String::new, ToString::to_string)
    }

    pub fn kill(mut self) -> Result<Gone> {
        let alive_until = clock::now();
        self.signal(Signal::SIGKILL)?;
        let status = self.child.wait()?;
        Ok(self.into_gone(status, alive_until))
    }

    /// `Err(self)`: it still runs.
    pub fn reap(mut self) -> Result<std::result::Result<Gone, Self>> {
        Ok(match self.child.try_wait()? {
            None => Err(self),
            Some(status) => Ok(self.into_gone(status, 0)),
        })
    }

    fn into_gone(self, status: ExitStatus, alive_until: u64) -> Gone {
        let died = status.signal() == Some(Signal::SIGKILL as i32);
        // A worker that may kill itself may have done so before the signal came.
        let told = died && !cfg!(feature = "crash-points");
        let planned = status.success() || died && (alive_until > 0 || !told);
        Gone {
            orders: self.orders,
            book: self.book,
            reader: self.reader,
            end: End {
                died,
                alive_until: if told { alive_until } else { 0 },
                gone_by: clock::now(),
            },
            fault: (!planned).then(|| format!("ended with {status}")),
        }
    }
}

impl Gone {
    /// False while somebody, a forked child perhaps, may still write to its pipe.
    pub fn is_told(&self) -> bool {
        self.reader.is_finished()
    }

    pub fn died(&self) -> bool {
        self.end.died
    }

    /// How long in ns, who, and after which words.
    pub fn longest_silence(&self) -> (u64, String) {
        let (silent, after) = &*locked(&self.book.silence);
        let Orders { role, id, .. } = &self.orders;
        (*silent, format!("{role} {id}, after {after:?}"))
    }

    /// Its journals: one for each program that ran in the process.
    pub fn journals(self) -> Vec<Journal> {
        let records = std::mem::take(&mut *locked(&self.book.records));
        let mut journals: Vec<Journal> = Vec::new();
        for record in records {
            if let Event::Began { worker } = record.event {
                if let Some(replaced) = journals.last_mut() {
                    replaced.end = End {
                        died: true,
                        alive_until: 0,
                        gone_by: record.at,
                    };
                }
                journals.push(Journal {
                    worker,
                    records: Vec::new(),
                    end: self.end,
                });
            }
            if let Some(journal) = journals.last_mut() {
                journal.records.push(record);
            }
        }
        if let Some(fault) = self.fault {
            let event = Event::Fault(fault.into());
            let at = self.end.gone_by;
            journals.push(Journal {
                worker: self.orders.id,
                records: vec![Record { at, event }],
                end: self.end,
            });
        }
        journals
    }
}

/// Makes this process the parent of orphans: not every machine has somebody else who buries them.
pub fn adopt_orphans() -> Result<()> {
    set_child_subreaper(true).context("adopting orphans")
}

/// Buries the children of dead workers, when there are no workers.
pub fn bury_orphans() {
    let ended = || waitpid(None, Some(WaitPidFlag::WNOHANG));
    while ended().is_ok_and(|status| status != WaitStatus::StillAlive) {}
}

/// Reads a pipe to its end. A last line that is not whole was never said.
fn listen(output: impl Read, book: &Book) {
    let mut output = BufReader::with_capacity(1 << 16, output);
    let mut line = Vec::new();
    while let Ok(length) = output.read_until(b'\n', &mut line) {
        if length == 0 || line.pop() != Some(b'\n') {
            return;
        }
        let text = String::from_utf8_lossy(&line);
        let record = Record::parse(&text).unwrap_or_else(|| Record {
            at: clock::now(),
            event: Event::Fault(format!("no record: {text:?}").into()),
        });
        book.hear(record);
        line.clear();
    }
}
