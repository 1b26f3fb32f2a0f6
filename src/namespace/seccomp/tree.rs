//! From runs of numbers that share a fate to the instructions of a balanced tree.

use crate::sys::seccomp::{
    ARCHITECTURE, KILL_PROCESS, NUMBER, Step, X86_64, give, jump, jump_equal, jump_from, load_word,
};

/// What happens at the end of a path through the tree.
#[derive(Debug, Clone, Copy)]
pub enum Leaf {
    Give(u32),
    /// Instructions that look at arguments and end with a verdict whatever they find: a range of
    /// the blocks that go with the runs.
    Block(usize, usize),
}

/// Numbers from `first` up to the next run.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    pub first: u32,
    pub leaf: Leaf,
}

/// Longest prologue.
const PROLOGUE: usize = 4;

/// An upper bound of what `compile` writes for these runs.
pub fn bound(runs: &[Run]) -> usize {
    runs.iter().fold(PROLOGUE, |sum, run| {
        sum + 2
            + match run.leaf {
                Leaf::Give(_) => 1,
                Leaf::Block(start, end) => end - start,
            }
    })
}

/// Writes the whole filter into `out` and gives its length. The first run begins at 0.
pub const fn compile(runs: &[Run], blocks: &[Step], out: &mut [Step]) -> usize {
    out[0] = load_word(ARCHITECTURE);
    out[1] = jump_equal(X86_64, 1, 0);
    // The numbers of another architecture mean other calls.
    out[2] = give(KILL_PROCESS);
    out[3] = load_word(NUMBER);
    branch(runs, 0, runs.len(), blocks, out, PROLOGUE)
}

/// Writes the tree of `runs[from..to]` at `at`; gives where it ends. The word is loaded.
pub const fn branch(
    runs: &[Run],
    from: usize,
    to: usize,
    blocks: &[Step],
    out: &mut [Step],
    at: usize,
) -> usize {
    if to - from == 1 {
        return leaf(runs[from].leaf, blocks, out, at);
    }
    let middle = from + (to - from) / 2;
    let first = runs[middle].first;
    let end = branch(runs, from, middle, blocks, out, at + 1);
    let distance = end - (at + 1);
    if distance <= u8::MAX as usize {
        out[at] = jump_from(first, distance as u8, 0);
        return branch(runs, middle, to, blocks, out, end);
    }
    // Farther than a conditional jump reaches.
    let end = branch(runs, from, middle, blocks, out, at + 2);
    out[at] = jump_from(first, 0, 1);
    out[at + 1] = jump((end - (at + 2)) as u32);
    branch(runs, middle, to, blocks, out, end)
}

const fn leaf(leaf: Leaf, blocks: &[Step], out: &mut [Step], at: usize) -> usize {
    match leaf {
        Leaf::Give(verdict) => {
            out[at] = give(verdict);
            at + 1
        }
        Leaf::Block(start, end) => {
            let mut index = start;
            while index < end {
                out[at + index - start] = blocks[index];
                index += 1;
            }
            at + end - start
        }
    }
}
