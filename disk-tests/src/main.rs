//! `slipring-disk`: power losses, full and failing disks, through the kernel's own file systems. See README.md beside this.

#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test program may fail loudly; its numbers are small"
)]

#[cfg(target_os = "linux")]
mod accidents;
#[cfg(target_os = "linux")]
mod check;
#[cfg(target_os = "linux")]
mod crew;
#[cfg(target_os = "linux")]
mod disk;
#[cfg(target_os = "linux")]
mod fuse;
#[cfg(target_os = "linux")]
mod hand;
#[cfg(target_os = "linux")]
mod mounts;
#[cfg(target_os = "linux")]
mod outside;
#[cfg(target_os = "linux")]
mod pages;
#[cfg(target_os = "linux")]
mod payload;
#[cfg(target_os = "linux")]
mod power;
#[cfg(target_os = "linux")]
mod program;
#[cfg(target_os = "linux")]
mod random;
#[cfg(target_os = "linux")]
mod told;
#[cfg(target_os = "linux")]
mod worker;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    program::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("slipring-disk: not run: it needs Linux");
}
