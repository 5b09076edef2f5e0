//! What the kernel counts for us: the processor's time of a thread, and the memory of this process.

use std::fs;

use anyhow::{Context as _, Result};

/// Milliseconds that this thread has run: the same on a busy machine as on an idle one.
pub(crate) fn on_processor() -> Result<f64> {
    let file = "/proc/thread-self/schedstat";
    let text = fs::read_to_string(file).with_context(|| format!("failed to read `{file}`"))?;
    let nanos: f64 = text
        .split(' ')
        .next()
        .and_then(|word| word.parse().ok())
        .with_context(|| format!("`{file}` begins with no number: `{text}`"))?;
    Ok(nanos / 1e6)
}

/// MiB that this process has at most had at once since [`forget_peak`], and has now.
pub(crate) fn memory_mib() -> Result<(f64, f64)> {
    let file = "/proc/self/status";
    let text = fs::read_to_string(file).with_context(|| format!("failed to read `{file}`"))?;
    let field = |name: &str| -> Result<f64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let kib: Option<f64> =
            line.and_then(|line| line.trim_start_matches(':').trim().strip_suffix(" kB")?.parse().ok());
        Ok(kib.with_context(|| format!("`{file}` has no number `{name}`"))? / 1024.0)
    };
    Ok((field("VmHWM")?, field("VmRSS")?))
}

/// From now on, the most is counted anew.
pub(crate) fn forget_peak() -> Result<()> {
    let file = "/proc/self/clear_refs";
    fs::write(file, "5").with_context(|| format!("failed to write `{file}`"))
}
