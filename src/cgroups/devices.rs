//! Which devices a group may use: the list of v1's controller, or a BPF program on cgroup2.

use super::group::Group;
use super::host::{Controller, Host, Version};
use crate::error::{Context, Error, Result};
use crate::sys::{bpf, control};
use std::os::fd::AsFd;

/// Devices that may be used, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Block devices, else character devices.
    pub block: bool,
    /// None stands for all.
    pub major: Option<u32>,
    pub minor: Option<u32>,
    /// Of `r`, `w` and `m`.
    pub access: String,
}

impl Rule {
    /// A character device.
    pub fn char(major: u32, minor: Option<u32>, access: &str) -> Self {
        Self { block: false, major: Some(major), minor, access: access.to_owned() }
    }

    /// As v1 wants it: `c 1:3 rw`.
    fn line(&self) -> String {
        let number = |number: Option<u32>| number.map_or("*".to_owned(), |n| n.to_string());
        let kind = if self.block { 'b' } else { 'c' };
        format!("{kind} {}:{} {}", number(self.major), number(self.minor), self.access)
    }
}

/// Lets the processes of a group use no device but these.
pub fn restrict(group: &mut Group, id: &str, rules: &[Rule]) -> Result<()> {
    let mut host = Host::read()?;
    if host.find(Controller::Devices).is_none() {
        host.add_unmounted();
    }
    if let Some(hierarchy) = host.find(Controller::Devices) {
        let (path, dir) = group.place(hierarchy, id)?;
        let deny = std::iter::once(("devices.deny", "a".to_owned()));
        let allow = rules.iter().map(|rule| ("devices.allow", rule.line()));
        return deny.chain(allow).try_for_each(|(file, text)| {
            control::write(dir, file, &text).context(format_args!("write {text} to {path}/{file}"))
        });
    }
    let Some(hierarchy) = host.hierarchies.iter().find(|found| found.version == Version::V2) else {
        return Err(hinted(Error::new("this host has no cgroups that could restrict devices")));
    };
    let (path, dir) = group.place(hierarchy, id)?;
    bpf::attach_device_program(dir.as_fd(), &program(rules))
        .context(format_args!("restrict the devices of {path}"))
        .map_err(hinted)
}

fn hinted(error: Error) -> Error {
    error.hint("without --cap-add MKNOD, and with rw for each --device, they need not")
}

/// Bits of an access in a program: `BPF_DEVCG_ACC_MKNOD`, `_READ` and `_WRITE`.
fn bits(access: &str) -> i32 {
    let bit = |letter, bit| if access.contains(letter) { bit } else { 0 };
    bit('m', 1) | bit('r', 2) | bit('w', 4)
}

/// The program for these rules. It is given access and type in one word, major, minor.
fn program(rules: &[Rule]) -> Vec<bpf::Step> {
    // `BPF_DEVCG_DEV_BLOCK` and `_CHAR`.
    const BLOCK: i32 = 1;
    const CHAR: i32 = 2;
    const ALL: i32 = 7;
    let mut steps = vec![
        bpf::load(2, 1, 0),
        bpf::copy(3, 2),
        bpf::and(2, 0xffff),
        bpf::shift_right(3, 16),
        bpf::load(4, 1, 4),
        bpf::load(5, 1, 8),
    ];
    for rule in rules {
        let mut tests = vec![(2, if rule.block { BLOCK } else { CHAR })];
        tests.extend(rule.major.map(|major| (4, major as i32)));
        tests.extend(rule.minor.map(|minor| (5, minor as i32)));
        let access = bits(&rule.access);
        // The verdict is two instructions, the look at the access three.
        let mut left = tests.len() as i16 + 2 + if access == ALL { 0 } else { 3 };
        for (register, value) in tests {
            left -= 1;
            steps.push(bpf::jump_unless(register, value, left));
        }
        if access != ALL {
            // What is asked for beyond what is allowed.
            steps.extend([bpf::copy(1, 3), bpf::and(1, !access), bpf::jump_unless(1, 0, 2)]);
        }
        steps.extend([bpf::set(0, 1), bpf::exit()]);
    }
    steps.extend([bpf::set(0, 0), bpf::exit()]);
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program as the kernel would; gives whether it allows the access.
    fn allows(program: &[bpf::Step], block: bool, major: u32, minor: u32, access: &str) -> bool {
        let asked = (bits(access) << 16 | if block { 1 } else { 2 }) as u32;
        let context = [asked, major, minor];
        let mut registers = [0_u64; 10];
        let mut at = 0;
        loop {
            let step = program[at];
            let (to, from) = ((step >> 8 & 15) as usize, (step >> 12 & 15) as usize);
            let (offset, value) = ((step >> 16) as i16, (step >> 32) as i32);
            at += 1;
            match step as u8 {
                0x61 => registers[to] = context[offset as usize / 4].into(),
                0xbf => registers[to] = registers[from],
                0xb7 => registers[to] = value as u64,
                0x57 => registers[to] &= value as u64,
                0x77 => registers[to] >>= value,
                0x55 if registers[to] != value as u64 => at += offset as usize,
                0x55 => {}
                0x95 => return registers[0] != 0,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    #[test]
    fn a_device_may_be_used_only_as_its_rule_says() {
        let any = |block| Rule { block, major: None, minor: None, access: "m".to_owned() };
        let program = program(&[
            Rule::char(1, Some(3), "rw"),
            Rule::char(136, None, "rw"),
            Rule::char(10, Some(229), "rwm"),
            Rule::char(1, Some(11), "r"),
            any(false),
            any(true),
        ]);
        for (block, major, minor, access, expected) in [
            (false, 1, 3, "rw", true),
            (false, 1, 3, "r", true),
            (false, 1, 3, "rwm", false),
            (false, 1, 3, "m", true),
            (true, 1, 3, "r", false),
            (false, 1, 4, "r", false),
            (false, 136, 77, "w", true),
            (false, 10, 229, "rwm", true),
            (false, 1, 11, "r", true),
            (false, 1, 11, "w", false),
            (true, 8, 0, "m", true),
            (true, 8, 0, "r", false),
        ] {
            let got = allows(&program, block, major, minor, access);
            assert_eq!(got, expected, "{block} {major}:{minor} {access}");
        }
    }

    #[test]
    fn a_rule_is_written_as_v1_wants_it() {
        assert_eq!(Rule::char(136, None, "rw").line(), "c 136:* rw");
        let all = Rule { block: true, major: None, minor: None, access: "m".to_owned() };
        assert_eq!(all.line(), "b *:* m");
    }
}
