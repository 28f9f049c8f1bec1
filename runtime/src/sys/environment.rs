//! The environment that the caller gave this process, as it lies in memory.

/// Overwrites it, in a process that has one thread and becomes another program: what may
/// trace it, or read /proc/PID/environ, learns nothing of the caller. What was asked of
/// it before stays as copies.
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
        // SAFETY: the kernel's strings are on the stack, those of setenv(3) allocated: all
        // can be written, and nobody else reads them.
        unsafe { text.write_bytes(0, length) };
        // SAFETY: as for reading it. The vector ends here for who looks later.
        unsafe { entry.write(std::ptr::null_mut()) };
        // SAFETY: the null at the end has not been passed.
        entry = unsafe { entry.add(1) };
    }
}
