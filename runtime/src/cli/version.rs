//! `firn --version`, in the lines that go-runc and podman read.

/// Version, then `key: value` lines.
pub fn text() -> &'static str {
    concat!(env!("CARGO_PKG_VERSION"), "\nspec: 1.3.0")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_spec_line_is_that_of_the_implementation() {
        assert!(super::text().ends_with(&format!("spec: {}", crate::spec::VERSION)));
    }
}
