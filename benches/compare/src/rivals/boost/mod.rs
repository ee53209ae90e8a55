//! Boost.Interprocess: its message_queue, through a few lines of C++, where the headers were found.

use crate::contract::Description;

#[cfg(has_boost)]
mod queue;

#[cfg(has_boost)]
pub use queue::Boost;

#[cfg(has_boost)]
pub fn describe() -> anyhow::Result<Description> {
    Ok(Description {
        mpmc: true,
        roles: crate::contract::UNBATCHED,
        notes: "try_send and try_receive; one mutex: a process killed while it holds it stops all others",
        ..Description::new("boost", queue::version())
    })
}

#[cfg(not(has_boost))]
const MISSING: &str = "built without Boost's headers; get them with apt-get install libboost-dev, or set BOOST_INCLUDE, and build again";

#[cfg(not(has_boost))]
pub fn describe() -> anyhow::Result<Description> {
    Err(crate::contract::Missing(MISSING.into()).into())
}

/// Stands in for what was not built; `describe` has said so before it is asked for.
#[cfg(not(has_boost))]
pub use super::bare_ring::BareRing as Boost;
