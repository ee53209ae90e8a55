//! beanstalkd: put, reserve, delete, on a Unix socket, with its log; the protocol is a few lines of text.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;

use anyhow::{Context, bail};

use super::server::{Client, needs, version};
use crate::contract::{ALL_ROLES, Description};
use crate::queue::{Place, Receiver, Rival, Sender};

const SERVER: &str = "beanstalkd";

pub fn describe_log() -> anyhow::Result<Description> {
    needs(SERVER, "beanstalkd")?;
    Ok(Description {
        acked: true,
        survives_kill: true,
        mpmc: true,
        blocking: true,
        roles: ALL_ROLES,
        notes: "a server of its own on a Unix socket, log synced every 50 ms",
        ..Description::new("beanstalkd", version(SERVER, "-v"))
    })
}

pub fn describe_synced() -> anyhow::Result<Description> {
    Ok(Description {
        durable: true,
        name: "beanstalkd-fsync",
        notes: "as beanstalkd, a server of its own, with the log synced before each answer",
        ..describe_log()?
    })
}

/// With `SYNCED` the log is synced before every answer.
pub struct Tube<const SYNCED: bool>;

fn server(place: &Place, synced: bool) -> anyhow::Result<Command> {
    let log = place.dir.join("log");
    std::fs::create_dir_all(&log).context("making the log's directory")?;
    let mut command = Command::new(SERVER);
    command
        .arg("-l")
        .arg(format!("unix:{}", place.dir.join("socket").display()));
    command
        .arg("-b")
        .arg(log)
        .args(["-f", if synced { "0" } else { "50" }]);
    command.args(["-z", "1048576"]);
    Ok(command)
}

pub struct End {
    socket: BufReader<UnixStream>,
    /// What is to be sent, and what was received last.
    out: Vec<u8>,
    line: String,
    body: Vec<u8>,
    _client: Client,
}

fn open(place: &Place, synced: bool) -> anyhow::Result<End> {
    let path = place.dir.join("socket");
    let connect = || UnixStream::connect(&path).context("connecting to beanstalkd");
    let (client, socket) = Client::connect(place, || server(place, synced), connect)?;
    let mut end = End {
        socket: BufReader::new(socket),
        out: Vec::new(),
        line: String::new(),
        body: Vec::new(),
        _client: client,
    };
    let tube = place.queue;
    write!(end.out, "use {tube}\r\nwatch {tube}\r\nignore default\r\n")?;
    end.flush()?;
    for answer in ["USING", "WATCHING", "WATCHING"] {
        end.answer(answer)?;
    }
    Ok(end)
}

impl End {
    fn flush(&mut self) -> anyhow::Result<()> {
        self.socket
            .get_mut()
            .write_all(&self.out)
            .context("writing to beanstalkd")?;
        self.out.clear();
        Ok(())
    }

    fn read_line(&mut self) -> anyhow::Result<()> {
        self.line.clear();
        self.socket
            .read_line(&mut self.line)
            .context("reading from beanstalkd")?;
        Ok(())
    }

    fn answer(&mut self, expected: &str) -> anyhow::Result<()> {
        self.read_line()?;
        if !self.line.starts_with(expected) {
            bail!("expected {expected} from beanstalkd, found {:?}", self.line);
        }
        Ok(())
    }

    /// The job that a `reserve` brought, whose body is then in `body`.
    fn reserved(&mut self) -> anyhow::Result<Option<u64>> {
        self.read_line()?;
        let mut words = self.line.split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some("RESERVED"), Some(id), Some(length)) => {
                let (id, length) = (id.parse()?, length.parse::<usize>()?);
                self.body.resize(length + 2, 0);
                self.socket
                    .read_exact(&mut self.body)
                    .context("reading a job")?;
                self.body.truncate(length);
                Ok(Some(id))
            }
            (Some("TIMED_OUT"), ..) => Ok(None),
            _ => bail!("expected a job from beanstalkd, found {:?}", self.line),
        }
    }
}

impl<const SYNCED: bool> Rival for Tube<SYNCED> {
    type Sender = End;
    type Receiver = End;

    fn sender(place: &Place) -> anyhow::Result<End> {
        open(place, SYNCED)
    }

    fn receiver(place: &Place) -> anyhow::Result<End> {
        open(place, SYNCED)
    }
}

impl Sender for End {
    fn try_send(&mut self, message: &[u8]) -> anyhow::Result<bool> {
        Ok(self.try_send_batch(message, message.len())? == 1)
    }

    fn try_send_batch(&mut self, messages: &[u8], size: usize) -> anyhow::Result<usize> {
        for message in messages.chunks_exact(size) {
            write!(self.out, "put 0 0 60 {size}\r\n")?;
            self.out.extend_from_slice(message);
            self.out.extend_from_slice(b"\r\n");
        }
        self.flush()?;
        for _ in 0..messages.len() / size {
            self.answer("INSERTED")?;
        }
        Ok(messages.len() / size)
    }
}

impl Receiver for End {
    const BLOCKING: bool = true;

    fn try_receive(
        &mut self,
        most: usize,
        take: &mut impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<usize> {
        // The first is waited for; of the others, those that are there.
        self.out.extend_from_slice(b"reserve-with-timeout 1\r\n");
        for _ in 1..most {
            self.out.extend_from_slice(b"reserve-with-timeout 0\r\n");
        }
        self.flush()?;
        let mut jobs = 0;
        for _ in 0..most {
            if let Some(id) = self.reserved()? {
                take(&self.body)?;
                write!(self.out, "delete {id}\r\n")?;
                jobs += 1;
            }
        }
        if jobs > 0 {
            self.flush()?;
        }
        for _ in 0..jobs {
            self.answer("DELETED")?;
        }
        Ok(jobs)
    }
}
