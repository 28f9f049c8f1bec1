//! Interprets classic BPF as the kernel does: the verdict of a filter for a call, also for tests.

use crate::sys::seccomp::Instruction;

/// struct seccomp_data.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    pub arch: u32,
    pub number: u32,
    pub args: [u64; 6],
}

impl Call {
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.number,
            4 => self.arch,
            16..64 => (self.args[(offset as usize - 16) / 8] >> (offset % 8 * 8)) as u32,
            _ => panic!("load from {offset}"),
        }
    }
}

/// The result of a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    pub action: u32,
    /// The filter loaded an argument.
    pub by_arguments: bool,
}

/// Runs a filter. Panics for instructions that the compiler does not emit.
pub fn run(program: &[Instruction], call: &Call) -> Verdict {
    let (mut at, mut accumulator, mut by_arguments) = (0, 0u32, false);
    loop {
        let Instruction { code, jt, jf, k } = program[at];
        let taken = match code {
            0x20 => {
                assert_eq!(k % 4, 0, "the kernel refuses such a load");
                by_arguments |= k >= 16;
                accumulator = call.word(k);
                None
            }
            0x54 => {
                accumulator &= k;
                None
            }
            0x05 => {
                at += k as usize;
                None
            }
            0x06 => return Verdict { action: k, by_arguments },
            0x15 => Some(accumulator == k),
            0x25 => Some(accumulator > k),
            0x35 => Some(accumulator >= k),
            0x45 => Some(accumulator & k != 0),
            _ => panic!("instruction {code:#x}"),
        };
        at += 1 + taken.map_or(0, |taken| usize::from(if taken { jt } else { jf }));
    }
}
