//! SQLite as a work queue: a table in WAL mode; a message is inserted, claimed by an update, and deleted as its ack.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use rusqlite::{Connection, TransactionBehavior, params};

use crate::contract::{ALL_ROLES, Description};
use crate::queue::{Place, Receiver, Rival, Sender};

const NOTES: &str = "a table in WAL mode, polled; a claim ends after 60 s, or with its ack";

pub fn describe_normal() -> anyhow::Result<Description> {
    Ok(Description {
        acked: true,
        survives_kill: true,
        mpmc: true,
        notes: NOTES,
        roles: ALL_ROLES,
        ..Description::new("sqlite", rusqlite::version())
    })
}

pub fn describe_full() -> anyhow::Result<Description> {
    Ok(Description {
        durable: true,
        name: "sqlite-full",
        ..describe_normal()?
    })
}

const CREATE: &str = "CREATE TABLE message (id INTEGER PRIMARY KEY, claimed_until INTEGER NOT NULL, body BLOB NOT NULL)";
const INSERT: &str = "INSERT INTO message (claimed_until, body) VALUES (0, ?)";
const ANY: &str = "SELECT 1 FROM message WHERE claimed_until < ? LIMIT 1";
const CLAIM: &str = "UPDATE message SET claimed_until = ?1 WHERE id IN \
     (SELECT id FROM message WHERE claimed_until < ?2 ORDER BY id LIMIT ?3) RETURNING id, body";
const ACK: &str = "DELETE FROM message WHERE id = ? AND claimed_until = ?";
/// Milliseconds a consumer may keep what it claimed.
const CLAIM_MS: i64 = 60_000;

/// With `FULL` every commit is forced to disk, without it only checkpoints.
pub struct Sqlite<const FULL: bool>;

fn open(place: &Place, full: bool) -> anyhow::Result<Connection> {
    let path = place.file().with_extension("sqlite");
    let connection =
        Connection::open(&path).with_context(|| format!("opening {}", path.display()))?;
    connection.busy_timeout(Duration::from_secs(30))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", if full { "FULL" } else { "NORMAL" })?;
    if place.creates() {
        connection.execute(CREATE, [])?;
    }
    Ok(connection)
}

pub struct End {
    database: Connection,
}

impl<const FULL: bool> Rival for Sqlite<FULL> {
    type Sender = End;
    type Receiver = End;

    fn sender(place: &Place) -> anyhow::Result<End> {
        let database = open(place, FULL)?;
        Ok(End { database })
    }

    fn receiver(place: &Place) -> anyhow::Result<End> {
        let database = open(place, FULL)?;
        Ok(End { database })
    }
}

impl Sender for End {
    fn try_send(&mut self, message: &[u8]) -> anyhow::Result<bool> {
        self.database.prepare_cached(INSERT)?.execute([message])?;
        Ok(true)
    }

    fn try_send_batch(&mut self, messages: &[u8], size: usize) -> anyhow::Result<usize> {
        let transaction = self
            .database
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut insert = transaction.prepare_cached(INSERT)?;
        for message in messages.chunks_exact(size) {
            insert.execute([message])?;
        }
        drop(insert);
        transaction.commit()?;
        Ok(messages.len() / size)
    }
}

fn now_ms() -> anyhow::Result<i64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(i64::try_from(now.as_millis())?)
}

impl Receiver for End {
    fn try_receive(
        &mut self,
        most: usize,
        take: &mut impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<usize> {
        let now = now_ms()?;
        // Reading waits for nobody, and an empty queue is the usual case of a poll.
        if !self.database.prepare_cached(ANY)?.exists([now])? {
            return Ok(0);
        }
        let until = now + CLAIM_MS;
        let mut claimed: Vec<(i64, Vec<u8>)> = self
            .database
            .prepare_cached(CLAIM)?
            .query_map(params![until, now, i64::try_from(most)?], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?
            .collect::<Result<_, _>>()?;
        // RETURNING promises no order.
        claimed.sort_unstable_by_key(|(id, _)| *id);
        for (_, message) in &claimed {
            take(message)?;
        }
        let transaction = self
            .database
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut ack = transaction.prepare_cached(ACK)?;
        for (id, _) in &claimed {
            ack.execute([*id, until])?;
        }
        drop(ack);
        transaction.commit()?;
        Ok(claimed.len())
    }
}
