//! A soak test: processes on one queue are killed, paused, forked and restarted at random; afterwards their journals are
//! checked against every promise.
//!
//! The *supervisor* follows a [`plan`] drawn from a seed. Each *worker* is a process that uses the queue as users do, and
//! says before and after each operation what it is about to do and what came of it: a [`record`], written to a pipe of
//! its own. After some seconds, an *epoch*, the workers leave, what is left in the queue is drained, and [`check`] judges
//! the records, a pure function that knows nothing of the library. Then they are forgotten, so a run may last for hours.
//!
//! The same seed gives the same roles, kills and pauses at the same times. It does not give the same interleaving: that
//! is the kernel's choice.

pub mod check;
pub mod clock;
pub mod fate;
pub mod group;
pub mod payload;
pub mod plan;
pub mod random;
pub mod record;
pub mod supervisor;
pub mod worker;
