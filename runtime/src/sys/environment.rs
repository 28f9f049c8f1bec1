//! The environment that the caller gave this process, as it lies in memory.

/// Overwrites it, in a process that has one thread and becomes another program: what may
/// trace it, or read /proc/PID/environ, learns nothing of the caller. What was asked of
/// it before stays as copies.
pub fn wipe() {
    unsafe extern "C" {
        #[link_name = "environ"]
        static mut ENVIRON: *mut *mut libc::c_char;
    }
    // SAFETY: environ(7) is null, or a vector of pointers to C strings that ends in null.
    // They are writable: the kernel's are on the stack, setenv(3)'s are allocated. Nobody
    // else reads them, for there is no other thread.
    unsafe {
        let mut entry = ENVIRON;
        while !entry.is_null() && !(*entry).is_null() {
            std::ptr::write_bytes(*entry, 0, libc::strlen(*entry));
            *entry = std::ptr::null_mut();
            entry = entry.add(1);
        }
    }
}
