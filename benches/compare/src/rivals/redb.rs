//! redb as a queue: a table by number; a message is inserted in a transaction that is on disk when it ends, and removed in one
//! that is with the next of those. One process has the file, so it works between threads.

use std::sync::Arc;

use anyhow::Context;
use redb::{Database, Durability, ReadableDatabase, ReadableTableMetadata, TableDefinition};

use crate::contract::{ALL_ROLES, Description, built_with};
use crate::queue::{Pair, Place, Receiver, Sender};

const MESSAGES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("messages");

pub fn describe() -> anyhow::Result<Description> {
    Ok(Description {
        threads: true,
        acked: true,
        durable: true,
        roles: ALL_ROLES,
        notes: "a table, polled; sends are synced, removals are synced with the next send",
        ..Description::new("redb", built_with("redb"))
    })
}

pub struct Redb;

pub struct Inserting {
    database: Arc<Database>,
    next: u64,
}

pub struct Removing {
    database: Arc<Database>,
}

impl Pair for Redb {
    type Sender = Inserting;
    type Receiver = Removing;

    fn pair(place: &Place) -> anyhow::Result<(Inserting, Removing)> {
        let path = place.file().with_extension("redb");
        let database =
            Database::create(&path).with_context(|| format!("making {}", path.display()))?;
        let database = Arc::new(database);
        let made = database.begin_write()?;
        made.open_table(MESSAGES)?;
        made.commit()?;
        let inserting = Inserting {
            database: Arc::clone(&database),
            next: 0,
        };
        Ok((inserting, Removing { database }))
    }
}

impl Sender for Inserting {
    fn try_send(&mut self, message: &[u8]) -> anyhow::Result<bool> {
        Ok(self.try_send_batch(message, message.len())? == 1)
    }

    fn try_send_batch(&mut self, messages: &[u8], size: usize) -> anyhow::Result<usize> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        let mut table = transaction.open_table(MESSAGES)?;
        for message in messages.chunks_exact(size) {
            table.insert(self.next, message)?;
            self.next += 1;
        }
        drop(table);
        transaction.commit()?;
        Ok(messages.len() / size)
    }
}

impl Receiver for Removing {
    fn try_receive(
        &mut self,
        most: usize,
        take: &mut impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<usize> {
        // Reading waits for nobody, and an empty queue is the usual case of a poll.
        if self
            .database
            .begin_read()?
            .open_table(MESSAGES)?
            .is_empty()?
        {
            return Ok(0);
        }
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::None)?;
        let mut table = transaction.open_table(MESSAGES)?;
        let mut taken = 0;
        while taken < most
            && let Some((_, message)) = table.pop_first()?
        {
            take(message.value())?;
            taken += 1;
        }
        drop(table);
        transaction.commit()?;
        Ok(taken)
    }
}
