//! An assembler of classic BPF that works from the end of the program: jumps are forward only, so
//! their targets have been emitted. For a target out of reach, an unconditional jump is emitted.

use crate::bail;
use crate::error::Result;
use crate::sys::seccomp::Instruction;

/// linux/bpf_common.h, in the combinations that seccomp(2) accepts.
pub const LOAD: u16 = 0x20;
pub const AND: u16 = 0x54;
pub const JUMP: u16 = 0x05;
pub const RETURN: u16 = 0x06;

/// A comparison of the accumulator with a constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Test {
    Equal = 0x15,
    Greater = 0x25,
    GreaterOrEqual = 0x35,
}

/// Offsets in struct seccomp_data (linux/seccomp.h): nr, arch, instruction_pointer, args.
pub const NUMBER: u32 = 0;
pub const ARCH: u32 = 4;
pub const ARGUMENTS: u32 = 16;

/// BPF_MAXINSNS.
pub const LONGEST: usize = 4096;

/// Conditional jumps have 8 bits; one less, for an unconditional jump in between.
const REACH: usize = u8::MAX as usize - 1;

/// Where execution continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    Return(u32),
    /// An instruction, counted from the end of the program.
    At(usize),
}

/// The program, in reverse.
#[derive(Debug, Default)]
pub struct Assembler {
    backwards: Vec<Instruction>,
    /// For each return value its latest instruction.
    returns: Vec<(u32, usize)>,
}

impl Assembler {
    /// An empty program.
    pub fn new() -> Self {
        Assembler { backwards: Vec::with_capacity(512), returns: Vec::new() }
    }

    fn emit(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> Target {
        self.backwards.push(Instruction { code, jt, jf, k });
        Target::At(self.backwards.len() - 1)
    }

    /// Loads a 32-bit word of seccomp_data, then continues at `next`.
    pub fn load(&mut self, offset: u32, next: Target) -> Target {
        self.fall(next);
        self.emit(LOAD, 0, 0, offset)
    }

    /// ANDs the accumulator with `mask`, then continues at `next`.
    pub fn and(&mut self, mask: u32, next: Target) -> Target {
        self.fall(next);
        self.emit(AND, 0, 0, mask)
    }

    /// Compares the accumulator with `k`, then continues at `yes` or `no`.
    pub fn branch(&mut self, test: Test, k: u32, yes: Target, no: Target) -> Target {
        let (yes, no) = (self.reach(yes), self.reach(no));
        let (jt, jf) = (self.distance(yes), self.distance(no));
        debug_assert!(jt <= u8::MAX.into() && jf <= u8::MAX.into());
        self.emit(test as u16, jt as u8, jf as u8, k)
    }

    /// The program, starting at `start`. Errors: more than 4096 instructions.
    pub fn finish(mut self, start: Target) -> Result<Vec<Instruction>> {
        self.fall(start);
        if self.backwards.len() > LONGEST {
            bail!("the filter has {} instructions, the kernel takes {LONGEST}", self.backwards.len());
        }
        self.backwards.reverse();
        Ok(self.backwards)
    }

    /// Number of instructions between the next one that is emitted and `at`.
    fn distance(&self, at: usize) -> usize {
        self.backwards.len() - 1 - at
    }

    /// Makes `target` the instruction after the next one that is emitted.
    fn fall(&mut self, target: Target) {
        match target {
            Target::At(at) if self.distance(at) == 0 => {}
            Target::At(at) => {
                let skip = self.distance(at) as u32;
                self.emit(JUMP, 0, 0, skip);
            }
            Target::Return(value) => {
                self.give_back(value);
            }
        }
    }

    /// An instruction within reach of a conditional jump that is equivalent to `target`.
    fn reach(&mut self, target: Target) -> usize {
        match target {
            Target::At(at) if self.distance(at) < REACH => at,
            Target::At(_) => {
                self.fall(target);
                self.backwards.len() - 1
            }
            Target::Return(value) => match self.returns.iter().find(|(known, _)| *known == value) {
                Some((_, at)) if self.distance(*at) < REACH => *at,
                _ => self.give_back(value),
            },
        }
    }

    fn give_back(&mut self, value: u32) -> usize {
        self.emit(RETURN, 0, 0, value);
        let at = self.backwards.len() - 1;
        match self.returns.iter_mut().find(|(known, _)| *known == value) {
            Some((_, latest)) => *latest = at,
            None => self.returns.push((value, at)),
        }
        at
    }
}
