//! POSIX extended regular expressions of the C library, regcomp(3).

use std::ffi::CString;
use std::mem::MaybeUninit;

/// A compiled expression.
pub struct Regex(Box<libc::regex_t>);

impl Regex {
    /// Compiles `text` (REG_EXTENDED). None where it is not a regular expression.
    pub fn new(text: &str) -> Option<Self> {
        let text = CString::new(text).ok()?;
        let mut regex = Box::new(MaybeUninit::<libc::regex_t>::uninit());
        // SAFETY: `text` is a C string, and regcomp(3) fills the buffer, which
        // stays at its place in the box, unless it returns an error.
        let failed = unsafe { libc::regcomp(regex.as_mut_ptr(), text.as_ptr(), libc::REG_EXTENDED | libc::REG_NOSUB) };
        // SAFETY: filled above.
        (failed == 0).then(|| Regex(unsafe { regex.assume_init() }))
    }

    /// Whether the expression matches anywhere in `text`.
    pub fn matches(&self, text: &str) -> bool {
        let Ok(text) = CString::new(text) else { return false };
        // SAFETY: both are valid, and no match offsets are requested.
        unsafe { libc::regexec(&raw const *self.0, text.as_ptr(), 0, std::ptr::null_mut(), 0) == 0 }
    }
}

impl Drop for Regex {
    fn drop(&mut self) {
        // SAFETY: compiled by regcomp(3), and freed once.
        unsafe { libc::regfree(&raw mut *self.0) };
    }
}

#[cfg(test)]
mod tests {
    use super::Regex;

    #[test]
    fn a_part_of_the_text_is_enough() {
        let regex = Regex::new("web-[0-9]+$").unwrap();
        assert!(regex.matches("my-web-12") && !regex.matches("web-") && !regex.matches("web-1x"));
        assert!(Regex::new("(").is_none());
    }
}
