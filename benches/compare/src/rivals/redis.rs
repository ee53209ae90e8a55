//! Redis streams: XADD, XREADGROUP, and XACK with XDEL, on a Unix socket, with the append-only file.

use std::process::Command;

use anyhow::Context;
use redis::streams::StreamReadReply;
use redis::{Client as Address, Connection, Value, cmd, pipe};

use super::server::{Client, needs, version};
use crate::contract::{ALL_ROLES, Description};
use crate::queue::{Place, Receiver, Rival, Sender};

const SERVER: &str = "redis-server";
const GROUP: &str = "workers";
/// After this long in vain a receiver asks again.
const BLOCK_MS: u64 = 1000;

pub fn describe_everysec() -> anyhow::Result<Description> {
    needs(SERVER, "redis-server")?;
    Ok(Description {
        acked: true,
        survives_kill: true,
        mpmc: true,
        blocking: true,
        roles: ALL_ROLES,
        notes: "streams; a server of its own on a Unix socket, append-only file synced each second; claims of the dead wait for XAUTOCLAIM",
        ..Description::new("redis-stream", version(SERVER, "--version"))
    })
}

pub fn describe_always() -> anyhow::Result<Description> {
    Ok(Description {
        durable: true,
        name: "redis-stream-always",
        notes: "as redis-stream, a server of its own, with the append-only file synced before each answer",
        ..describe_everysec()?
    })
}

/// With `ALWAYS` the append-only file is synced before every answer.
pub struct Stream<const ALWAYS: bool>;

fn server(place: &Place, always: bool) -> Command {
    let mut command = Command::new(SERVER);
    command
        .args(["--port", "0", "--unixsocket"])
        .arg(place.dir.join("redis.socket"));
    command.args(["--save", "", "--appendonly", "yes", "--daemonize", "no"]);
    command.args(["--appendfsync", if always { "always" } else { "everysec" }]);
    command.arg("--dir").arg(&place.dir);
    command
}

pub struct End {
    redis: Connection,
    stream: &'static str,
    consumer: String,
    _client: Client,
}

fn open(place: &Place, always: bool) -> anyhow::Result<End> {
    let socket = format!("redis+unix://{}", place.dir.join("redis.socket").display());
    let connect = || {
        let mut connection = Address::open(&*socket)?.get_connection()?;
        cmd("PING").exec(&mut connection)?;
        Ok(connection)
    };
    let (client, mut redis) = Client::connect(place, || Ok(server(place, always)), connect)?;
    if place.creates() {
        let mut create = cmd("XGROUP");
        create
            .arg("CREATE")
            .arg(place.queue)
            .arg(GROUP)
            .arg("0")
            .arg("MKSTREAM");
        create.exec(&mut redis).context("making the group")?;
    }
    Ok(End {
        redis,
        stream: place.queue,
        consumer: std::process::id().to_string(),
        _client: client,
    })
}

impl<const ALWAYS: bool> Rival for Stream<ALWAYS> {
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
        let mut pipeline = pipe();
        for message in messages.chunks_exact(size) {
            pipeline
                .cmd("XADD")
                .arg(self.stream)
                .arg("*")
                .arg("m")
                .arg(message)
                .ignore();
        }
        pipeline
            .exec(&mut self.redis)
            .context("adding to the stream")?;
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
        let mut read = cmd("XREADGROUP");
        read.arg("GROUP")
            .arg(GROUP)
            .arg(&self.consumer)
            .arg("COUNT")
            .arg(most);
        read.arg("BLOCK")
            .arg(BLOCK_MS)
            .arg("STREAMS")
            .arg(self.stream)
            .arg(">");
        let reply: Option<StreamReadReply> =
            read.query(&mut self.redis).context("reading the stream")?;
        let Some(entries) = reply
            .and_then(|mut reply| reply.keys.pop())
            .map(|key| key.ids)
        else {
            return Ok(0);
        };
        for entry in &entries {
            let Some(Value::BulkString(message)) = entry.map.get("m") else {
                anyhow::bail!("an entry without its field: {entry:?}");
            };
            take(message)?;
        }
        let ids: Vec<&str> = entries.iter().map(|entry| &*entry.id).collect();
        let mut settle = pipe();
        settle
            .cmd("XACK")
            .arg(self.stream)
            .arg(GROUP)
            .arg(&ids)
            .ignore();
        settle.cmd("XDEL").arg(self.stream).arg(&ids).ignore();
        settle.exec(&mut self.redis).context("acknowledging")?;
        Ok(entries.len())
    }
}
