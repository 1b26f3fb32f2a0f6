//! From runs of numbers that share a fate to the instructions of a tree.
//!
//! It is written from its end, so that every jump leads to what is there already and one
//! instruction gives a verdict for all that reach it. The kernel's work when it takes a filter
//! grows with its length, and with the steps to each number's verdict.

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

/// As far as a conditional jump may reach: a byte, less what can come before it.
const NEAR: usize = 253;

/// An upper bound of what `compile` writes for these runs.
pub fn bound(runs: &[Run]) -> usize {
    runs.iter().fold(PROLOGUE, |sum, run| {
        sum + 3
            + match run.leaf {
                Leaf::Give(_) => 1,
                Leaf::Block(start, end) => end - start,
            }
    })
}

/// Writes the whole filter to the end of `out`; gives where it begins. The first run begins at 0.
pub const fn compile(runs: &[Run], blocks: &[Step], out: &mut [Step]) -> usize {
    let mut tree = Tree::before(out);
    tree.branch(runs, 0, runs.len(), blocks);
    tree.add(load_word(NUMBER));
    // The numbers of another architecture mean other calls.
    tree.add(give(KILL_PROCESS));
    tree.add(jump_equal(X86_64, 1, 0));
    tree.add(load_word(ARCHITECTURE));
    tree.start
}

/// A tree that grows towards the beginning of its room.
pub struct Tree<'a> {
    room: &'a mut [Step],
    /// Where the instruction lies that was written last.
    pub start: usize,
}

impl<'a> Tree<'a> {
    /// An empty one at the end of the room.
    pub const fn before(room: &'a mut [Step]) -> Self {
        let start = room.len();
        Self { room, start }
    }

    const fn add(&mut self, step: Step) {
        self.start -= 1;
        self.room[self.start] = step;
    }

    /// Writes the tree of `runs[from..to]`; gives where it begins. The number is loaded.
    pub const fn branch(&mut self, runs: &[Run], from: usize, to: usize, blocks: &[Step]) -> usize {
        if to - from == 1 {
            return self.leaf(runs[from].leaf, blocks);
        }
        let middle = middle(runs, from, to);
        // A single run last: its verdict is looked for where a jump reaches it.
        let (mut low, mut high);
        if to - middle == 1 {
            low = self.branch(runs, from, middle, blocks);
            high = self.branch(runs, middle, to, blocks);
        } else {
            high = self.branch(runs, middle, to, blocks);
            low = self.branch(runs, from, middle, blocks);
        }
        high = self.near(high);
        low = self.near(low);
        let (yes, no) = ((high - self.start) as u8, (low - self.start) as u8);
        self.add(jump_from(runs[middle].first, yes, no));
        self.start
    }

    const fn leaf(&mut self, leaf: Leaf, blocks: &[Step]) -> usize {
        match leaf {
            Leaf::Give(verdict) => {
                let mut at = self.start;
                while at < self.room.len() && at - self.start <= NEAR {
                    if self.room[at] == give(verdict) {
                        return at;
                    }
                    at += 1;
                }
                self.add(give(verdict));
            }
            Leaf::Block(start, end) => {
                let mut index = end;
                while index > start {
                    index -= 1;
                    self.add(blocks[index]);
                }
            }
        }
        self.start
    }

    /// What leads to `target` and is near enough for the next instruction.
    const fn near(&mut self, target: usize) -> usize {
        let distance = target - self.start;
        if distance <= NEAR {
            return target;
        }
        self.add(jump(distance as u32));
        self.start
    }
}

/// Where to divide the runs so that about as many numbers lie on either side.
const fn middle(runs: &[Run], from: usize, to: usize) -> usize {
    let end = if to < runs.len() { runs[to].first } else { runs[to - 1].first + 1 };
    let (mut best, mut least) = (from + 1, u32::MAX);
    let mut at = from + 1;
    while at < to {
        let difference = (runs[at].first - runs[from].first).abs_diff(end - runs[at].first);
        if difference < least {
            (best, least) = (at, difference);
        }
        at += 1;
    }
    best
}
