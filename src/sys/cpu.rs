//! Processors, and which of them this process runs on.
//!
//! In a virtual machine (KVM, Linux 6.18) the kernel was seen to leave a process that was just cloned by
//! one that had slept on its parent's processor, where it waits until the parent sleeps again, though
//! the next one has nothing to do. Why was not found.

use super::{Result, proc};
use syscalls::{Sysno, syscall};

/// A set of processors; the kernel takes and gives no more than it has itself.
type Set = [u64; 128];

/// Leaves the processor of this process to its `child` where that waits for it and nothing else runs
/// on this machine: this process goes on at another one, and may run where it might before.
///
/// Errors: `ENOENT` for a child that is gone, `EPERM` and `ENOSYS` under a filter of system calls.
/// Source: kernel/sched/syscalls.c.
pub fn leave_to(child: u32) -> Result<()> {
    let stat = proc::read(&format!("{child}/stat"))?;
    let here = current()?;
    // Another processor that has something to do would be worse than a child that waits.
    if processor(&stat) == Some(here) && two_run(&proc::read("loadavg")?) {
        step_aside(here)?;
    }
    Ok(())
}

/// Where a process runs or ran last: field 39; the second, the name, is in brackets and may hold
/// anything: proc_pid_stat(5).
fn processor(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(36)?.parse().ok()
}

/// `0.20 0.18 0.12 2/80 11206`: those that run or wait for a processor, of all threads.
fn two_run(loadavg: &str) -> bool {
    loadavg.split(' ').nth(3).is_some_and(|threads| threads.starts_with("2/"))
}

fn current() -> Result<u32> {
    let mut cpu = 0_u32;
    // SAFETY: the kernel writes one number; null stands for what is not asked.
    unsafe { syscall!(Sysno::getcpu, &raw mut cpu, 0, 0) }?;
    Ok(cpu)
}

/// Moves this process away from the processor `here`, unless it may run on no other.
fn step_aside(here: u32) -> Result<()> {
    let mut allowed: Set = [0; 128];
    // SAFETY: the kernel writes no more than the length that it is told.
    unsafe { syscall!(Sysno::sched_getaffinity, 0, size_of::<Set>(), allowed.as_mut_ptr()) }?;
    let mut others = allowed;
    if let Some(word) = others.get_mut(here as usize / 64) {
        *word &= !(1 << (here % 64));
    }
    if others == [0; 128] {
        return Ok(());
    }
    allow(&others)?;
    allow(&allowed)
}

/// Lets this process run on those processors only; it is on one of them when this returns.
fn allow(processors: &Set) -> Result<()> {
    // SAFETY: the kernel only reads the set.
    unsafe { syscall!(Sysno::sched_setaffinity, 0, size_of::<Set>(), processors.as_ptr()) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(key: &str) -> String {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        status.lines().find(|line| line.starts_with(key)).unwrap().to_owned()
    }

    #[test]
    fn the_child_and_its_parent_are_two() {
        assert!(two_run("0.20 0.18 0.12 2/80 11206\n"));
        for other in ["0.20 0.18 0.12 3/80 11206\n", "0.20 0.18 0.12 22/80 11206\n", "", "2/1"] {
            assert!(!two_run(other), "{other}");
        }
    }

    #[test]
    fn the_processor_is_found_behind_any_name() {
        let fields: Vec<_> = (4..45).map(|number| number.to_string()).collect();
        assert_eq!(processor(&format!("7 (a) b (c) R {}", fields.join(" "))), Some(39));
        assert_eq!(processor("7 (short) R 1"), None);
    }

    #[test]
    fn a_process_that_steps_aside_goes_elsewhere_and_may_come_back() {
        let before = status("Cpus_allowed:");
        let moves = || {
            let here = current().unwrap();
            step_aside(here).unwrap();
            current().unwrap() != here
        };
        // It may be moved again at any time.
        let moved = (0..20).filter(|_| moves()).count();
        assert_eq!(status("Cpus_allowed:"), before);
        let alone = std::thread::available_parallelism().is_ok_and(|count| count.get() == 1);
        assert!(alone || moved > 0);
    }
}
