//! What a process and all its descendants cost, from `/proc`.

use std::{collections::HashMap, fs, time::Duration};

/// The kernel counts processor time in hundredths of a second on every Linux that Debian ships (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// Processor time of the tree below `root` so far.
pub(super) fn cpu(root: u32) -> Duration {
    let ticks: u32 = tree(root)
        .iter()
        .filter_map(|process| stat(*process))
        .map(|fields| {
            // utime and stime are the 14th and 15th field; the first two are cut off.
            [11, 12].iter().filter_map(|place| fields.get(*place)?.parse::<u32>().ok()).sum::<u32>()
        })
        .sum();
    TICK * ticks
}

/// Proportional set size of the tree below `root`: memory that several processes share counts once.
pub(super) fn memory_bytes(root: u32) -> u64 {
    let of = |process: &u32| {
        let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    };
    tree(root).iter().filter_map(of).sum::<u64>() * 1024
}

/// `root` and everything that descends from it.
fn tree(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(process) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let parent = stat(process).and_then(|fields| fields.get(1)?.parse().ok());
        if let Some(parent) = parent {
            children.entry(parent).or_default().push(process);
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(process) = found.get(next) {
        found.extend(children.remove(process).unwrap_or_default());
        next += 1;
    }
    found
}

/// The fields after the name, which may have spaces and brackets of its own.
fn stat(process: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory_and_its_children_belong_to_it() {
        let own = std::process::id();
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("every machine has cat");
        let tree = tree(own);
        child.kill().expect("it still waits for input");
        child.wait().expect("it was started here");
        assert!(tree.contains(&own) && tree.contains(&child.id()), "{tree:?}");
        assert!(0 < memory_bytes(own));
    }
}
