//! firn-floor has an entry point of its own and no C library.

fn main() {
    for argument in ["-nostartfiles", "-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none"] {
        println!("cargo:rustc-link-arg-bin=firn-floor={argument}");
    }
    println!("cargo:rerun-if-changed=build.rs");
}
