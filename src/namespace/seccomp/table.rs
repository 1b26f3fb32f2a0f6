//! The default filter: docker's list of what a container may call, as the exceptions from it.
//!
//! Known and refused is EPERM. What is newer than the list is ENOSYS, so that a C library falls back
//! to what it did before; and so is clone3, whose flags no filter can see.
//! Arguments are compared by their low word: the kernel takes each of them as 32 bits.

use super::super::capabilities::{
    BPF, DAC_READ_SEARCH, PERFMON, SYS_ADMIN, SYS_BOOT, SYS_CHROOT, SYS_MODULE, SYS_NICE,
    SYS_PACCT, SYS_PTRACE, SYS_RAWIO, SYS_TIME, SYS_TTY_CONFIG, SYSLOG,
};
use super::tree::{Leaf, Run, Tree, compile};
use crate::sys::seccomp::{ALLOW, Step, argument, errno, give, jump_any, jump_equal, load_word};

/// Why a number is not simply allowed.
#[derive(Clone, Copy)]
enum Rule {
    Refused,
    /// No call of this number is known.
    Unknown,
    /// Allowed with any of these capabilities.
    With(u64),
    Ioctl,
    Socket,
    Clone,
    Clone3,
    Personality,
}
use Rule::{Refused, Unknown, With};

/// The newest call that the list knows: removexattrat.
pub const NEWEST: u32 = 466;

/// First and last number, and the rule for them; in order. All others up to `NEWEST` are allowed.
const EXCEPTIONS: [(u16, u16, Rule); 54] = [
    (16, 16, Rule::Ioctl),
    (41, 41, Rule::Socket),
    (56, 56, Rule::Clone),
    // syslog
    (103, 103, With(SYS_ADMIN | SYSLOG)),
    // uselib
    (134, 134, Refused),
    (135, 135, Rule::Personality),
    // ustat, sysfs
    (136, 136, Refused),
    (139, 139, Refused),
    // vhangup
    (153, 153, With(SYS_TTY_CONFIG)),
    // pivot_root, _sysctl
    (155, 156, Refused),
    // chroot, acct, settimeofday
    (161, 161, With(SYS_CHROOT)),
    (163, 163, With(SYS_PACCT)),
    (164, 164, With(SYS_TIME)),
    // mount, umount2
    (165, 166, With(SYS_ADMIN)),
    // swapon, swapoff
    (167, 168, Refused),
    // reboot
    (169, 169, With(SYS_BOOT)),
    // sethostname, setdomainname
    (170, 171, With(SYS_ADMIN)),
    // iopl, ioperm
    (172, 173, With(SYS_RAWIO)),
    // create_module
    (174, 174, Refused),
    // init_module, delete_module
    (175, 176, With(SYS_MODULE)),
    // get_kernel_syms, query_module
    (177, 178, Refused),
    // quotactl
    (179, 179, With(SYS_ADMIN)),
    // nfsservctl, getpmsg, putpmsg, afs_syscall, tuxcall, security
    (180, 185, Refused),
    // lookup_dcookie
    (212, 212, With(SYS_ADMIN)),
    // clock_settime
    (227, 227, With(SYS_TIME)),
    // vserver
    (236, 236, Refused),
    // mbind, set_mempolicy, get_mempolicy
    (237, 239, With(SYS_NICE)),
    // kexec_load
    (246, 246, Refused),
    // add_key, request_key, keyctl
    (248, 250, Refused),
    // migrate_pages
    (256, 256, Refused),
    // unshare
    (272, 272, With(SYS_ADMIN)),
    // move_pages
    (279, 279, Refused),
    // perf_event_open
    (298, 298, With(SYS_ADMIN | PERFMON)),
    // fanotify_init
    (300, 300, With(SYS_ADMIN)),
    // open_by_handle_at
    (304, 304, With(DAC_READ_SEARCH)),
    // setns
    (308, 308, With(SYS_ADMIN)),
    // kcmp
    (312, 312, With(SYS_PTRACE)),
    // finit_module
    (313, 313, With(SYS_MODULE)),
    // kexec_file_load
    (320, 320, Refused),
    // bpf
    (321, 321, With(SYS_ADMIN | BPF)),
    // userfaultfd, uprobe
    (323, 323, Refused),
    (336, 336, Refused),
    (337, 423, Unknown),
    // io_uring_setup, io_uring_enter, io_uring_register
    (425, 427, Refused),
    // open_tree, move_mount, fsopen, fsconfig, fsmount, fspick
    (428, 433, With(SYS_ADMIN)),
    (435, 435, Rule::Clone3),
    // pidfd_getfd, process_madvise
    (438, 438, With(SYS_PTRACE)),
    (440, 440, With(SYS_PTRACE)),
    // mount_setattr, quotactl_fd
    (442, 443, With(SYS_ADMIN)),
    // set_mempolicy_home_node
    (450, 450, With(SYS_NICE)),
    // lsm_get_self_attr, lsm_set_self_attr, lsm_list_modules
    (459, 461, With(SYS_ADMIN)),
    // All that is newer; the numbers of the x32 interface are far above.
    (NEWEST as u16 + 1, u16::MAX, Unknown),
    // Never reached: an end for the loops.
    (u16::MAX, u16::MAX, Unknown),
    (u16::MAX, u16::MAX, Unknown),
];

/// Address families that socket(2) may be called with: docker's, so neither AF_ALG nor AF_VSOCK.
/// Each begins a run; the families of every second run are refused.
const FAMILIES: [u32; 16] = [0, 12, 13, 19, 21, 23, 24, 25, 26, 34, 35, 37, 39, 40, 41, 46];

/// `PER_LINUX`, `PER_LINUX32`, each with `UNAME26` too, and the question for the present one.
const PERSONALITIES: [u32; 5] = [0, 8, 0x2_0000, 0x2_0008, u32::MAX];

/// `CLONE_NEWNS`, `CLONE_NEWCGROUP`, `CLONE_NEWUTS`, `CLONE_NEWIPC`, `CLONE_NEWUSER`,
/// `CLONE_NEWPID` and `CLONE_NEWNET`.
const NEW_NAMESPACES: u32 = 0x7e02_0000;

/// `TIOCSTI` types into a terminal that may be the caller's; `TIOCLINUX` pastes into a console.
const TYPING: [u32; 2] = [0x5412, 0x541c];

const REFUSE: u32 = errno(libc::EPERM as u32);
const MISSING: u32 = errno(libc::ENOSYS as u32);

/// At most that many instructions.
pub const LIMIT: usize = 128;

/// A filter, and where its first instruction is.
pub struct Filter {
    steps: [Step; LIMIT],
    start: usize,
}

impl Filter {
    pub const fn steps(&self) -> &[Step] {
        self.steps.split_at(self.start).1
    }
}

/// All capabilities that the filter depends on.
pub const RELEVANT: u64 = {
    let (mut bits, mut index) = (SYS_ADMIN, 0);
    while index < EXCEPTIONS.len() {
        if let With(capabilities) = EXCEPTIONS[index].2 {
            bits |= capabilities;
        }
        index += 1;
    }
    bits
};

/// Instructions that look at arguments, one block after the other.
struct Blocks {
    steps: [Step; 64],
    length: usize,
}

impl Blocks {
    const fn add(&mut self, step: Step) {
        self.steps[self.length] = step;
        self.length += 1;
    }

    /// Compares the word with each value in turn.
    const fn one_of(&mut self, index: u32, values: &[u32], found: u32, other: u32) -> Leaf {
        let start = self.length;
        self.add(load_word(argument(index)));
        let mut at = 0;
        while at < values.len() {
            // Over the rest of the values and the other verdict.
            self.add(jump_equal(values[at], (values.len() - at) as u8, 0));
            at += 1;
        }
        self.add(give(other));
        self.add(give(found));
        Leaf::Block(start, self.length)
    }

    const fn none_of(&mut self, index: u32, bits: u32) -> Leaf {
        let start = self.length;
        self.add(load_word(argument(index)));
        self.add(jump_any(bits, 1, 0));
        self.add(give(ALLOW));
        self.add(give(REFUSE));
        Leaf::Block(start, self.length)
    }

    const fn family(&mut self) -> Leaf {
        let start = self.length;
        self.add(load_word(argument(0)));
        let mut runs = [Run { first: 0, leaf: Leaf::Give(ALLOW) }; FAMILIES.len()];
        let mut index = 0;
        while index < runs.len() {
            let verdict = if index % 2 == 0 { ALLOW } else { REFUSE };
            runs[index] = Run { first: FAMILIES[index], leaf: Leaf::Give(verdict) };
            index += 1;
        }
        let mut room = [0; 2 * FAMILIES.len()];
        let mut tree = Tree::before(&mut room);
        tree.branch(&runs, 0, runs.len(), &[]);
        let mut at = tree.start;
        while at < room.len() {
            self.add(room[at]);
            at += 1;
        }
        Leaf::Block(start, self.length)
    }
}

/// The default filter for a container with these capabilities.
pub const fn filter(capabilities: u64) -> Filter {
    let mut blocks = Blocks { steps: [0; 64], length: 0 };
    let mut runs = [Run { first: 0, leaf: Leaf::Give(ALLOW) }; 2 * EXCEPTIONS.len()];
    let mut count = 1;
    let (mut at, mut next, mut last_verdict) = (0, 0, ALLOW);
    while at <= NEWEST + 1 {
        while EXCEPTIONS[next].1 < at as u16 {
            next += 1;
        }
        let (first, _, rule) = EXCEPTIONS[next];
        let leaf = match (at >= first as u32, rule) {
            (false, _) => Leaf::Give(ALLOW),
            (true, Refused) => Leaf::Give(REFUSE),
            (true, Unknown) => Leaf::Give(MISSING),
            (true, With(any)) if any & capabilities != 0 => Leaf::Give(ALLOW),
            (true, With(_)) => Leaf::Give(REFUSE),
            (true, Rule::Ioctl) => blocks.one_of(1, &TYPING, REFUSE, ALLOW),
            (true, Rule::Personality) => blocks.one_of(0, &PERSONALITIES, ALLOW, REFUSE),
            (true, Rule::Socket) => blocks.family(),
            (true, Rule::Clone | Rule::Clone3) if capabilities & SYS_ADMIN != 0 => {
                Leaf::Give(ALLOW)
            }
            (true, Rule::Clone) => blocks.none_of(0, NEW_NAMESPACES),
            (true, Rule::Clone3) => Leaf::Give(MISSING),
        };
        // No verdict is 1: a block is a run of its own.
        let verdict = match leaf {
            Leaf::Give(verdict) => verdict,
            Leaf::Block(..) => 1,
        };
        if verdict == 1 || verdict != last_verdict {
            runs[count] = Run { first: at, leaf };
            count += 1;
        }
        last_verdict = verdict;
        at += 1;
    }
    let mut filter = Filter { steps: [0; LIMIT], start: 0 };
    filter.start = compile(runs.split_at(count).0, &blocks.steps, &mut filter.steps);
    filter
}
