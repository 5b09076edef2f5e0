//! How the kiosk is linked.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Half a million addresses are fitted in when the program starts, and the list of them stays resident: 11 MB, or less
    // than 1 MB packed (RELR). The loader of glibc 2.36 (Debian 12) reads both; others may not.
    let target = |key| std::env::var(key).unwrap_or_default();
    if target("CARGO_CFG_TARGET_OS") == "linux" && target("CARGO_CFG_TARGET_ENV") == "gnu" {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
