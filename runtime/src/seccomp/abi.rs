//! The ABIs of an x86-64 kernel, and the number of a system call in each.

/// linux/audit.h. x32 has AUDIT_ARCH_X86_64, and a bit in the number.
pub const AUDIT_X86_64: u32 = 0xc000_003e;
pub const AUDIT_I386: u32 = 0x4000_0003;
pub const X32_BIT: u32 = 0x4000_0000;

/// An ABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abi {
    X86_64,
    X32,
    I386,
}

/// The number of a system call in each ABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    x86_64: u16,
    x32: u16,
    i386: u16,
    /// i386: the number of socketcall(2) or ipc(2), by which the call can be made too, and its first
    /// argument.
    through: (u16, u16),
}

impl Call {
    /// The ABI does not have the call.
    pub const NONE: u16 = u16::MAX;

    /// A call by its numbers; x32's without its bit.
    pub const fn new(x86_64: u16, x32: u16, i386: u16) -> Self {
        Call { x86_64, x32, i386, through: (Self::NONE, 0) }
    }

    /// The same, which i386 can make through socketcall(2) or ipc(2) as well.
    pub const fn through(mut self, call: u16, which: u16) -> Self {
        self.through = (call, which);
        self
    }

    /// The number in seccomp_data.
    pub fn number(&self, abi: Abi) -> Option<u32> {
        let (number, bit) = match abi {
            Abi::X86_64 => (self.x86_64, 0),
            Abi::X32 => (self.x32, X32_BIT),
            Abi::I386 => (self.i386, 0),
        };
        (number != Self::NONE).then_some(u32::from(number) | bit)
    }

    /// i386: the number of socketcall(2) or ipc(2), and its first argument.
    pub fn multiplexed(&self) -> Option<(u32, u32)> {
        let (number, which) = self.through;
        (number != Self::NONE).then_some((number.into(), which.into()))
    }
}
