//! The rivals: a module each, and the table by which they are found.

#[cfg(feature = "aeron")]
mod aeron;
mod bare_ring;
#[cfg(feature = "beanstalkd")]
mod beanstalkd;
#[cfg(feature = "boost")]
mod boost;
mod crossbeam;
#[cfg(feature = "disruptor")]
mod disruptor;
#[cfg(feature = "iceoryx2")]
mod iceoryx2;
#[cfg(feature = "ipc-channel")]
mod ipc_channel;
#[cfg(feature = "nats")]
mod nats;
mod pipe;
mod posix_mq;
#[cfg(feature = "redb")]
mod redb;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "ringfire")]
mod ringfire;
mod rtrb;
#[cfg(any(feature = "redis", feature = "beanstalkd", feature = "nats"))]
mod server;
#[cfg(feature = "shaq")]
mod shaq;
#[cfg(feature = "sqlite")]
mod sqlite;
mod unix_socket;
#[cfg(feature = "zeromq")]
mod zeromq;

use crate::contract::{Description, Job, Missing};
use crate::roles::{processes, threads};

pub struct Entry {
    pub name: &'static str,
    pub describe: fn() -> anyhow::Result<Description>,
    pub run: fn(&Job) -> anyhow::Result<()>,
}

/// Queues of a fixed type carry a message in the smallest array that holds it; those of the usual sizes fit exactly.
macro_rules! by_size {
    ($run:ident, $rival:path, $job:expr) => {{
        use $rival as Sized;
        match $job.size {
            ..=64 => $run::<Sized<64>>($job),
            ..=256 => $run::<Sized<256>>($job),
            ..=1024 => $run::<Sized<1024>>($job),
            ..=4096 => $run::<Sized<4096>>($job),
            _ => $run::<Sized<LARGEST>>($job),
        }
    }};
}

/// Of the arrays that carry messages.
pub const LARGEST: usize = 1 << 16;

/// The array that carries a message.
#[inline]
fn array<const N: usize>(message: &[u8]) -> [u8; N] {
    message.try_into().unwrap_or_else(|_| {
        let mut larger = [0; N];
        larger[..message.len()].copy_from_slice(message);
        larger
    })
}

/// The version of what the kernel offers is the kernel's.
fn kernel() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("Linux {}", release.trim())
}

#[allow(dead_code, reason = "unless a feature is off")]
fn not_built(feature: &str) -> anyhow::Error {
    Missing(format!("built without it; build with --features {feature}")).into()
}

/// One rival: its name, its feature if it has one, its module's description, and how it runs.
macro_rules! rival {
    ($name:literal, $describe:path, $run:expr) => {
        Entry {
            name: $name,
            describe: $describe,
            run: $run,
        }
    };
    ($name:literal, feature $feature:literal, $describe:path, $run:expr) => {{
        #[cfg(feature = $feature)]
        let entry = rival!($name, $describe, $run);
        #[cfg(not(feature = $feature))]
        let entry = Entry {
            name: $name,
            describe: || Err(not_built($feature)),
            run: |_| Err(not_built($feature)),
        };
        entry
    }};
}

pub static ALL: &[Entry] = &[
    rival!(
        "bare-ring",
        bare_ring::describe,
        processes::<bare_ring::BareRing>
    ),
    rival!(
        "crossbeam-queue",
        crossbeam::describe_queue,
        |job| by_size!(threads, crossbeam::Queue, job)
    ),
    rival!(
        "crossbeam-channel",
        crossbeam::describe_channel,
        |job| by_size!(threads, crossbeam::Channel, job)
    ),
    rival!("rtrb", rtrb::describe, |job| by_size!(
        threads,
        rtrb::Ring,
        job
    )),
    rival!("disruptor", feature "disruptor", disruptor::describe, |job| by_size!(
        threads, disruptor::Disruptor, job
    )),
    rival!("shaq-spsc", feature "shaq", shaq::describe_spsc, |job| by_size!(
        processes, shaq::Spsc, job
    )),
    rival!("shaq-mpmc", feature "shaq", shaq::describe_mpmc, |job| by_size!(
        processes, shaq::Mpmc, job
    )),
    rival!("iceoryx2", feature "iceoryx2", iceoryx2::describe, processes::<iceoryx2::Iceoryx2>),
    rival!(
        "unix-socket",
        unix_socket::describe,
        processes::<unix_socket::UnixSocket>
    ),
    rival!("pipe", pipe::describe, processes::<pipe::Pipe>),
    rival!(
        "posix-mq",
        posix_mq::describe,
        processes::<posix_mq::PosixMq>
    ),
    rival!("ipc-channel", feature "ipc-channel", ipc_channel::describe, processes::<ipc_channel::IpcChannel>),
    rival!("ringfire", feature "ringfire", ringfire::describe_ring, |job| by_size!(
        processes, ringfire::Ring, job
    )),
    rival!("ringfire-mpmc", feature "ringfire", ringfire::describe_mpmc, |job| by_size!(
        processes, ringfire::Mpmc, job
    )),
    rival!("boost", feature "boost", boost::describe, processes::<boost::Boost>),
    rival!("zeromq", feature "zeromq", zeromq::describe, processes::<zeromq::ZeroMq>),
    rival!("aeron-ipc", feature "aeron", aeron::describe, processes::<aeron::AeronIpc>),
    rival!("sqlite", feature "sqlite", sqlite::describe_normal, processes::<sqlite::Sqlite<false>>),
    rival!("sqlite-full", feature "sqlite", sqlite::describe_full, processes::<sqlite::Sqlite<true>>),
    rival!("redb", feature "redb", redb::describe, threads::<redb::Redb>),
    rival!("redis-stream", feature "redis", redis::describe_everysec, processes::<redis::Stream<false>>),
    rival!("redis-stream-always", feature "redis", redis::describe_always, processes::<redis::Stream<true>>),
    rival!("beanstalkd", feature "beanstalkd", beanstalkd::describe_log, processes::<beanstalkd::Tube<false>>),
    rival!("beanstalkd-fsync", feature "beanstalkd", beanstalkd::describe_synced, processes::<beanstalkd::Tube<true>>),
    rival!("nats-jetstream", feature "nats", nats::describe, processes::<nats::JetStream<false>>),
    rival!("nats-jetstream-always", feature "nats", nats::describe_always, processes::<nats::JetStream<true>>),
];
