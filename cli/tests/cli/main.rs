//! The `slipring` command, as users run it: the real program, a directory of its own for each test, and a watchdog on
//! every wait. No test asserts that something is quick.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails is to panic"
)]

mod support;

mod bench;
mod check;
mod consume;
mod dead;
mod demo;
mod durable;
mod exit_codes;
mod generated;
mod holds;
mod info;
mod lease;
mod publish;
mod signals;
mod tail;
