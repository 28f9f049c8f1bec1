//! Classic BPF as the kernel runs it, for tests.

use super::bpf::{AND, JUMP, LOAD, RETURN};
use crate::sys::seccomp::Instruction;

/// What a filter is shown of a call.
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

pub fn run(program: &[Instruction], call: &Call) -> u32 {
    let (mut at, mut accumulator) = (0, 0u32);
    loop {
        let Instruction { code, jt, jf, k } = program[at];
        let taken = match code {
            LOAD => {
                assert_eq!(k % 4, 0);
                accumulator = call.word(k);
                None
            }
            AND => {
                accumulator &= k;
                None
            }
            RETURN => return k,
            JUMP => {
                at += k as usize;
                None
            }
            0x15 => Some(accumulator == k),
            0x25 => Some(accumulator > k),
            0x35 => Some(accumulator >= k),
            0x45 => Some(accumulator & k != 0),
            _ => panic!("instruction {code:#x}"),
        };
        at += 1 + taken.map_or(0, |taken| usize::from(if taken { jt } else { jf }));
    }
}
