//! NATS JetStream: a work-queue stream on disk, publishes and acks confirmed; the protocol is lines of text.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::server::{Client, needs, version};
use crate::contract::{ALL_ROLES, Description, Missing};
use crate::queue::{Place, Receiver, Rival, Sender};

const SERVER: &str = "nats-server";
const CONSUMER: &str = "workers";
/// How long the server keeps a request for messages.
const EXPIRES_NS: u64 = 1_000_000_000;

pub fn describe() -> anyhow::Result<Description> {
    needs(SERVER, "nats-server")?;
    Ok(Description {
        acked: true,
        survives_kill: true,
        mpmc: true,
        blocking: true,
        roles: ALL_ROLES,
        max_size: Some(1 << 20),
        notes: "a server of its own on loopback TCP; file store, synced every 2 min; publish and ack confirmed",
        ..Description::new("nats-jetstream", version(SERVER, "--version"))
    })
}

pub fn describe_always() -> anyhow::Result<Description> {
    let found = version(SERVER, "--version");
    let mut numbers = found
        .split('.')
        .map_while(|number| number.parse::<u32>().ok());
    if numbers.next().zip(numbers.next()) < Some((2, 10)) {
        let missing = format!(
            "nats-server {found} cannot sync at every publish; 2.10 can, go install github.com/nats-io/nats-server/v2@latest gets it, \
             with Go"
        );
        return Err(Missing(missing).into());
    }
    Ok(Description {
        name: "nats-jetstream-always",
        durable: true,
        notes: "a server of its own on loopback TCP; file store, synced at every publish; publish and ack confirmed",
        ..describe()?
    })
}

/// With `ALWAYS` what is stored is synced before it is confirmed.
pub struct JetStream<const ALWAYS: bool>;

fn server(place: &Place, always: bool) -> anyhow::Result<Command> {
    let mut command = Command::new(SERVER);
    command.args(["--addr", "127.0.0.1", "--port", "-1", "--jetstream"]);
    command
        .arg("--store_dir")
        .arg(&place.dir)
        .arg("--ports_file_dir")
        .arg(&place.dir);
    if always {
        // No argument says so.
        let config = place.dir.join("nats.conf");
        std::fs::write(&config, "jetstream { sync_interval: always }\n")
            .context("writing the server's configuration")?;
        command.arg("--config").arg(config);
    }
    Ok(command)
}

/// The address that the server chose, once it has written it down.
fn address(dir: &Path) -> anyhow::Result<String> {
    for entry in dir.read_dir().context("reading the run's directory")? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "ports")
        {
            let ports: Value = serde_json::from_slice(&std::fs::read(path)?)?;
            let url = ports["nats"][0]
                .as_str()
                .context("no port in the server's list")?;
            return Ok(url.trim_start_matches("nats://").to_owned());
        }
    }
    bail!("the server has not written its port down yet")
}

/// What the server sends to our inbox.
enum Answer {
    /// A message, or a confirmation, with the subject for the reply.
    Message { reply: String },
    /// No message, or no more: a status in a header.
    Status,
}

pub struct End {
    socket: BufReader<TcpStream>,
    out: Vec<u8>,
    line: String,
    body: Vec<u8>,
    inbox: String,
    subject: &'static str,
    replies: Vec<String>,
    _client: Client,
}

fn open(place: &Place, always: bool) -> anyhow::Result<End> {
    let connect = || {
        let socket =
            TcpStream::connect(address(&place.dir)?).context("connecting to nats-server")?;
        socket.set_nodelay(true)?;
        Ok(socket)
    };
    let (client, socket) = Client::connect(place, || server(place, always), connect)?;
    let mut end = End {
        socket: BufReader::new(socket),
        out: Vec::new(),
        line: String::new(),
        body: Vec::new(),
        inbox: format!("_INBOX.{}.{}", std::process::id(), place.queue),
        subject: place.queue,
        replies: Vec::new(),
        _client: client,
    };
    let options =
        json!({"verbose": false, "pedantic": false, "headers": true, "no_responders": true});
    write!(end.out, "CONNECT {options}\r\nSUB {} 1\r\n", end.inbox)?;
    if place.creates() {
        end.create(place.queue)?;
    }
    end.flush()?;
    Ok(end)
}

impl End {
    fn create(&mut self, queue: &str) -> anyhow::Result<()> {
        let stream = json!({
            "name": queue, "subjects": [queue], "retention": "workqueue", "storage": "file", "num_replicas": 1,
        });
        let consumer = json!({
            "stream_name": queue,
            "config": {"durable_name": CONSUMER, "ack_policy": "explicit", "deliver_policy": "all"},
        });
        self.request(
            &format!("$JS.API.STREAM.CREATE.{queue}"),
            stream.to_string().as_bytes(),
        )?;
        self.confirmed()?;
        let subject = format!("$JS.API.CONSUMER.DURABLE.CREATE.{queue}.{CONSUMER}");
        self.request(&subject, consumer.to_string().as_bytes())?;
        self.confirmed()
    }

    fn request(&mut self, subject: &str, body: &[u8]) -> anyhow::Result<()> {
        write!(self.out, "PUB {subject} {} {}\r\n", self.inbox, body.len())?;
        self.out.extend_from_slice(body);
        self.out.extend_from_slice(b"\r\n");
        Ok(())
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        self.socket
            .get_mut()
            .write_all(&self.out)
            .context("writing to nats-server")?;
        self.out.clear();
        Ok(())
    }

    /// The next message to our inbox, its body in `body`.
    fn answer(&mut self) -> anyhow::Result<Answer> {
        if !self.out.is_empty() {
            self.flush()?;
        }
        loop {
            self.line.clear();
            self.socket
                .read_line(&mut self.line)
                .context("reading from nats-server")?;
            let words: Vec<&str> = self.line.split_whitespace().collect();
            let (header, length, reply) = match words[..] {
                ["MSG", _, _, reply, length] => (0, length.parse()?, reply),
                ["MSG", _, _, length] => (0, length.parse()?, ""),
                ["HMSG", _, _, reply, header, length] => {
                    (header.parse()?, length.parse::<usize>()?, reply)
                }
                ["HMSG", _, _, header, length] => (header.parse()?, length.parse()?, ""),
                ["PING"] => {
                    self.socket.get_mut().write_all(b"PONG\r\n")?;
                    continue;
                }
                ["INFO" | "+OK" | "PONG", ..] => continue,
                _ => bail!("unexpected from nats-server: {:?}", self.line),
            };
            let reply = reply.to_owned();
            self.body.resize(length + 2, 0);
            self.socket
                .read_exact(&mut self.body)
                .context("reading a message")?;
            self.body.truncate(length);
            self.body.drain(..header);
            // A message of ours has no header.
            return Ok(if header == 0 {
                Answer::Message { reply }
            } else {
                Answer::Status
            });
        }
    }

    /// The server did what it was asked.
    fn confirmed(&mut self) -> anyhow::Result<()> {
        let said = self.answer()?;
        let refused = || String::from_utf8_lossy(&self.body).into_owned();
        if matches!(said, Answer::Status) || self.body.windows(8).any(|part| part == b"\"error\":")
        {
            bail!("nats-server refused: {}", refused());
        }
        Ok(())
    }

    /// Asks for messages: those that are there, or the first to come.
    fn fetch(
        &mut self,
        most: usize,
        waits: bool,
        take: &mut impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let ask = json!({"batch": most, "no_wait": !waits, "expires": EXPIRES_NS});
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{CONSUMER}", self.subject);
        self.request(&subject, ask.to_string().as_bytes())?;
        while self.replies.len() < most
            && let Answer::Message { reply } = self.answer()?
        {
            take(&self.body)?;
            self.replies.push(reply);
        }
        Ok(())
    }
}

impl<const ALWAYS: bool> Rival for JetStream<ALWAYS> {
    type Sender = End;
    type Receiver = End;

    fn sender(place: &Place) -> anyhow::Result<End> {
        open(place, ALWAYS)
    }

    fn receiver(place: &Place) -> anyhow::Result<End> {
        open(place, ALWAYS)
    }
}

impl Sender for End {
    fn try_send(&mut self, message: &[u8]) -> anyhow::Result<bool> {
        Ok(self.try_send_batch(message, message.len())? == 1)
    }

    fn try_send_batch(&mut self, messages: &[u8], size: usize) -> anyhow::Result<usize> {
        for message in messages.chunks_exact(size) {
            self.request(self.subject, message)?;
        }
        let count = messages.len() / size;
        (0..count).try_for_each(|_| self.confirmed())?;
        Ok(count)
    }
}

impl Receiver for End {
    const BLOCKING: bool = true;

    fn try_receive(
        &mut self,
        most: usize,
        take: &mut impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<usize> {
        if most > 1 {
            self.fetch(most, false, take)?;
        }
        if self.replies.is_empty() {
            self.fetch(1, true, take)?;
        }
        let replies = std::mem::take(&mut self.replies);
        for reply in &replies {
            self.request(reply, b"+ACK")?;
        }
        replies.iter().try_for_each(|_| self.confirmed())?;
        Ok(replies.len())
    }
}
