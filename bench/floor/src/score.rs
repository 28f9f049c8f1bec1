//! A score: the system calls of a container, with every argument worked out
//! beforehand. It is a file that the player maps at a fixed address, so that the
//! pointers in it are pointers already. Shared by those who write and who play it.

/// Where a score lies in memory.
pub const BASE: u64 = 0x4000_0000;
/// Its size, and that of the file.
pub const SIZE: u64 = 0x1_0000;
/// The calls come first, what they point to from here on.
pub const DATA: u64 = 0x8000;

/// A call that must succeed.
pub const CALL: u16 = 0;
/// clone3 with CLONE_VM and CLONE_VFORK: the child goes on with the next call,
/// the parent, once the child has executed, with the one whose number is `args[2]`.
pub const CLONE: u16 = 1;
/// A call that is repeated while it fails with EBUSY.
pub const RETRY: u16 = 2;
/// The end: exits as the wait status at `args[0]` says.
pub const END: u16 = 3;

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Call {
    pub kind: u16,
    /// A bit for each argument that is the address of a 32-bit number.
    pub indirect: u16,
    pub number: u32,
    /// The address that gets the result as a 32-bit number, or 0.
    pub result: u64,
    pub args: [u64; 6],
}
