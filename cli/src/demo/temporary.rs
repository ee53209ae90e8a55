//! The demo's own queue.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use slipring::{Options, Queue};

/// A queue of our own, removed at the end.
pub struct TemporaryQueue {
    pub queue: Queue,
    pub path: PathBuf,
}

impl TemporaryQueue {
    /// One with these options, under a name that nobody else has.
    pub fn create(options: Options) -> anyhow::Result<Self> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let unique = since.unwrap_or_default().subsec_nanos();
        let name = format!("demo-{}-{unique}", std::process::id());
        let path = slipring::directory()?.join(name);
        let queue = options.name("demo supervisor").create(&path)?;
        Ok(Self { queue, path })
    }
}

impl Drop for TemporaryQueue {
    fn drop(&mut self) {
        let _gone_already = Queue::unlink(&self.path);
    }
}
