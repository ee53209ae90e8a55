//! How many CPUs there are.

/// CPUs of the machine at work, whoever may use them; at least 1.
pub fn cpus_online() -> u64 {
    // SAFETY: asks for a number.
    let online = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    u64::try_from(online).map_or(1, |online| online.max(1))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::cpus_online;

    #[test]
    fn it_does_not_depend_on_those_one_may_use() {
        let before = cpus_online();
        // SAFETY: a set of no CPUs.
        let mut one: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        // SAFETY: asks for a number.
        let here = usize::try_from(unsafe { libc::sched_getcpu() }).unwrap();
        // SAFETY: a CPU that is there.
        unsafe { libc::CPU_SET(here, &mut one) };
        let size = size_of::<libc::cpu_set_t>();
        // SAFETY: of this thread only; the set is as large as is said.
        let bound = unsafe { libc::sched_setaffinity(0, size, &raw const one) };
        assert_eq!(bound, 0);
        assert_eq!(std::thread::available_parallelism().unwrap().get(), 1);
        assert_eq!(cpus_online(), before);
    }
}
