//! The environment block of this process, environ(7).

/// Overwrites the environment block with zeros. A process that may ptrace this one, or
/// read its /proc/PID/environ, would find the caller's environment (secrets of an
/// engine) there after the fork. For a single-threaded process that execs next;
/// variables that were read before are copies.
pub fn overwrite() {
    unsafe extern "C" {
        #[link_name = "environ"]
        static mut ENVIRON: *mut *mut libc::c_char;
    }
    // SAFETY: no other thread could change it.
    let mut entry = unsafe { ENVIRON };
    if entry.is_null() {
        return;
    }
    loop {
        // SAFETY: environ(7): a vector of pointers to C strings, with a null at its end.
        let text = unsafe { entry.read() };
        if text.is_null() {
            return;
        }
        // SAFETY: a C string.
        let length = unsafe { libc::strlen(text) };
        // SAFETY: the kernel's strings are on the stack, those of setenv(3) on the heap:
        // both are writable, and no reference to them is held.
        unsafe { text.write_bytes(0, length) };
        // SAFETY: as for reading it. The vector ends here for later getenv(3).
        unsafe { entry.write(std::ptr::null_mut()) };
        // SAFETY: the null at the end has not been passed.
        entry = unsafe { entry.add(1) };
    }
}
