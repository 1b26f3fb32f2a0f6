//! Limits, and what has to be written where for them: decisions only, no file is touched.

use super::host::{Controller, Version};
use miniserde::{Deserialize, Serialize};

/// Limits, as asked; nothing is limited that is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes.
    pub memory: Option<u64>,
    /// Bytes of memory and swap together; -1 is unlimited.
    pub memory_swap: Option<i64>,
    /// Weight against others, 2 to 262144; 1024 is the usual one.
    pub cpu_shares: Option<u64>,
    /// Processors as the kernel lists them: `0-1,3`.
    pub cpuset: Option<String>,
    /// Thousandths of a processor.
    pub milli_cpus: Option<u64>,
    /// Processes and threads; -1 is unlimited; `DEFAULT_PIDS` where nothing was asked.
    pub pids: Option<i64>,
}

/// Processes and threads of a container for which nothing was asked.
pub const DEFAULT_PIDS: i64 = 2048;

/// One value for one file of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    pub file: &'static str,
    pub value: String,
    /// Whether it may be left out where the kernel does not have the file.
    pub optional: bool,
}

fn setting(file: &'static str, value: impl ToString) -> Setting {
    Setting { file, value: value.to_string(), optional: false }
}

impl Limits {
    /// Whether a limit of this controller was asked for.
    pub fn asks(&self, controller: Controller) -> bool {
        match controller {
            Controller::Cpu => self.cpu_shares.is_some() || self.milli_cpus.is_some(),
            Controller::Cpuset => self.cpuset.is_some(),
            Controller::Memory => self.memory.is_some() || self.memory_swap.is_some(),
            Controller::Pids => self.pids.is_some_and(|pids| pids >= 0),
            Controller::Devices => false,
        }
    }

    /// Whether a group of this controller is wanted: asked for, or by default.
    pub fn wants(&self, controller: Controller) -> bool {
        self.asks(controller) || controller == Controller::Pids && self.pids.is_none()
    }

    /// What to write for a controller, in this order.
    pub fn settings(&self, controller: Controller, version: Version) -> Vec<Setting> {
        match controller {
            Controller::Cpu => self.cpu(version),
            Controller::Cpuset => {
                self.cpuset.iter().map(|list| setting("cpuset.cpus", list)).collect()
            }
            Controller::Memory => self.memory(version),
            Controller::Devices => Vec::new(),
            Controller::Pids => match self.pids.unwrap_or(DEFAULT_PIDS) {
                0.. => vec![setting("pids.max", self.pids.unwrap_or(DEFAULT_PIDS))],
                _ => Vec::new(),
            },
        }
    }

    fn cpu(&self, version: Version) -> Vec<Setting> {
        const PERIOD: u64 = 100_000;
        let mut list = Vec::new();
        if let Some(shares) = self.cpu_shares {
            list.push(match version {
                Version::V1 => setting("cpu.shares", shares),
                Version::V2 => setting("cpu.weight", weight(shares)),
            });
        }
        if let Some(milli) = self.milli_cpus {
            let quota = milli.saturating_mul(PERIOD) / 1000;
            match version {
                Version::V1 => {
                    list.push(setting("cpu.cfs_period_us", PERIOD));
                    list.push(setting("cpu.cfs_quota_us", quota));
                }
                Version::V2 => list.push(setting("cpu.max", format_args!("{quota} {PERIOD}"))),
            }
        }
        list
    }

    fn memory(&self, version: Version) -> Vec<Setting> {
        let mut list = Vec::new();
        if let Some(bytes) = self.memory {
            list.push(match version {
                Version::V1 => setting("memory.limit_in_bytes", bytes),
                Version::V2 => setting("memory.max", bytes),
            });
        }
        // Unasked, as much swap again as memory, as with docker.
        let asked = self.memory_swap.is_some();
        let both = match (self.memory_swap, self.memory) {
            (Some(both), _) => both,
            (None, Some(memory)) => i64::try_from(memory.saturating_mul(2)).unwrap_or(-1),
            (None, None) => return list,
        };
        let swap = match (version, both) {
            (Version::V1, _) => setting("memory.memsw.limit_in_bytes", both),
            (Version::V2, ..0) => setting("memory.swap.max", "max"),
            (Version::V2, 0..) => {
                let memory = self.memory.unwrap_or(0);
                setting("memory.swap.max", (both as u64).saturating_sub(memory))
            }
        };
        list.push(Setting { optional: !asked, ..swap });
        list
    }
}

/// The cpu.weight of v2 for the shares of v1, so that 2, 1024 and 262144 become 1, 100 and 10000:
/// the quadratic of runc since 1.3.2, 10^((log2(shares)^2 + 125 log2(shares)) / 612 - 7 / 34),
/// rounded up. In whole numbers, since powers of others would bring ten kilobytes of a library.
pub fn weight(shares: u64) -> u64 {
    let (log, ten) = (log2(shares.clamp(2, 262_144)), log2(10));
    let curve = ((log * log) >> FRACTION) + 125 * log;
    // The logarithm of what is looked for; `log2` rounds down, and so does all of this.
    let least = ((curve * ten / 612) >> FRACTION).saturating_sub(7 * ten / 34);
    let (mut weight, mut above) = (1_u64, 10_000);
    while weight < above {
        let middle = weight.midpoint(above);
        match log2(middle) < least {
            true => weight = middle + 1,
            false => above = middle,
        }
    }
    weight
}

/// Bits behind the point of `log2`.
const FRACTION: u32 = 32;

/// The logarithm to base 2 of a number that is not 0: squaring doubles it, which brings out one bit
/// after the other.
fn log2(number: u64) -> u128 {
    let whole = number.ilog2();
    let (mut log, mut rest) = (u128::from(whole), u128::from(number) << (63 - whole));
    for _ in 0..FRACTION {
        rest = (rest * rest) >> 63;
        let bit = rest >> 64;
        rest >>= bit;
        log = (log << 1) | bit;
    }
    log
}

/// The processors in a list such as `0-1,3`; `None` if it is none.
pub fn cpu_list(text: &str) -> Option<Vec<u32>> {
    let mut cpus = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(first) || !digits(last) {
            return None;
        }
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        // The kernel knows 8192 processors at most.
        if first > last || last >= 8192 {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_weights_by_the_curve_of_runc() {
        let weights: Vec<_> = [0, 2, 512, 1024, 2048, 262_144].into_iter().map(weight).collect();
        assert_eq!(weights, [1, 1, 59, 100, 174, 10_000]);
        for shares in 3..262_144 {
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            assert_eq!(weight(shares), 10_f64.powf(exponent).ceil() as u64, "{shares}");
        }
    }

    #[test]
    fn a_memory_limit_alone_allows_as_much_swap_again() {
        let limits = Limits { memory: Some(100), ..Default::default() };
        let swap = |version| limits.settings(Controller::Memory, version).pop().unwrap();
        assert_eq!((swap(Version::V1).value.as_str(), swap(Version::V1).optional), ("200", true));
        assert_eq!(swap(Version::V2).value, "100");
    }

    #[test]
    fn processes_are_limited_unless_the_limit_is_taken_away() {
        let limits: Limits = Default::default();
        assert!(limits.wants(Controller::Pids) && !limits.asks(Controller::Pids));
        let limits = Limits { pids: Some(-1), ..limits };
        assert!(!limits.wants(Controller::Pids));
        assert_eq!(limits.settings(Controller::Pids, Version::V2), []);
    }

    #[test]
    fn processor_lists_are_read_as_the_kernel_writes_them() {
        assert_eq!(cpu_list("0-2,5\n"), Some(vec![0, 1, 2, 5]));
        for bad in ["", "a", "1-", "2-1", "0,,1", "-1", "9999"] {
            assert_eq!(cpu_list(bad), None, "{bad}");
        }
    }
}
