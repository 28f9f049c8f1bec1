//! The ABIs that an x86-64 kernel serves, and a system call's number in each.

/// linux/audit.h; x32 has x86-64's value and a bit in the number.
pub const AUDIT_X86_64: u32 = 0xc000_003e;
pub const AUDIT_I386: u32 = 0x4000_0003;
pub const X32_BIT: u32 = 0x4000_0000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abi {
    X86_64,
    X32,
    I386,
}

/// A system call's number in each ABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    x86_64: u16,
    x32: u16,
    i386: u16,
    /// i386's socketcall(2) or ipc(2), by which programs make the call as
    /// well, and its first argument then.
    through: (u16, u16),
}

impl Call {
    /// The ABI has no such call.
    pub const NONE: u16 = u16::MAX;

    pub const fn new(x86_64: u16, x32: u16, i386: u16) -> Self {
        Call { x86_64, x32, i386, through: (Self::NONE, 0) }
    }

    pub const fn through(mut self, call: u16, which: u16) -> Self {
        self.through = (call, which);
        self
    }

    /// The number as the kernel shows it to a filter.
    pub fn number(&self, abi: Abi) -> Option<u32> {
        let (number, bit) = match abi {
            Abi::X86_64 => (self.x86_64, 0),
            Abi::X32 => (self.x32, X32_BIT),
            Abi::I386 => (self.i386, 0),
        };
        (number != Self::NONE).then_some(u32::from(number) | bit)
    }

    /// The other number on i386, and the first argument that goes with it.
    pub fn multiplexed(&self) -> Option<(u32, u32)> {
        let (number, which) = self.through;
        (number != Self::NONE).then_some((number.into(), which.into()))
    }
}
