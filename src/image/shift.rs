//! Owners of files as another user namespace has them.

use crate::sys::fs::Stat;

/// Owners that a copy has others of: as many from `from` on as there are, user and group, become
/// those from `to` on. Whoever is none of them becomes nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shift {
    pub from: (u32, u32),
    pub to: (u32, u32),
    pub size: u32,
}

const NOBODY: u32 = 65534;

impl Shift {
    fn one(self, id: u32, from: u32, to: u32) -> u32 {
        let within = id.checked_sub(from).filter(|offset| *offset < self.size);
        within.and_then(|offset| to.checked_add(offset)).unwrap_or(NOBODY)
    }

    pub(super) fn apply(self, stat: Stat) -> Stat {
        let uid = self.one(stat.uid, self.from.0, self.to.0);
        let gid = self.one(stat.gid, self.from.1, self.to.1);
        Stat { uid, gid, ..stat }
    }

    /// Capabilities of a file that hold for one user namespace alone, where that is the one whose
    /// owners become the usual ones: they hold everywhere then.
    /// Layout: `struct vfs_ns_cap_data`, include/uapi/linux/capability.h.
    pub(super) fn capabilities(self, value: Vec<u8>) -> Vec<u8> {
        const REVISION_2: u8 = 2;
        const REVISION_3: u8 = 3;
        match value[..] {
            [_, _, _, REVISION_3, .., a, b, c, d]
                if value.len() == 24
                    && u32::from_le_bytes([a, b, c, d]) == self.from.0
                    && self.to.0 == 0 =>
            {
                let mut value = value;
                value.truncate(20);
                value[3] = REVISION_2;
                value
            }
            _ => value,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIFT: Shift = Shift { from: (1000, 2000), to: (0, 0), size: 10 };

    #[test]
    fn who_is_out_of_the_range_becomes_nobody() {
        let one = |id| SHIFT.one(id, 1000, 0);
        assert_eq!(
            [one(1000), one(1009), one(1010), one(999), one(0)],
            [0, 9, 65534, 65534, 65534]
        );
    }

    #[test]
    fn capabilities_of_a_file_hold_everywhere_when_its_namespace_is_left() {
        let own = [&[1, 0, 0, 3][..], &[7; 16], &1000_u32.to_le_bytes()].concat();
        let general = [&[1, 0, 0, 2][..], &[7; 16]].concat();
        assert_eq!(SHIFT.capabilities(own.clone()), general);
        assert_eq!(SHIFT.capabilities(general.clone()), general);
        let others = [&own[..20], &1001_u32.to_le_bytes()].concat();
        assert_eq!(SHIFT.capabilities(others.clone()), others);
        assert_eq!(SHIFT.capabilities(vec![3]), [3]);
    }
}
