//! Looks for bytes in the memory of another process: whether what should be forgotten is.

use std::{fmt::Write as _, fs::File, io, os::unix::fs::FileExt as _};

use memchr::memmem::Finder;

/// Read at once.
const CHUNK: usize = 1 << 20;
/// Bytes that are shown around a find.
const AROUND: usize = 48;
/// More finds of one pattern are not told apart.
const FINDS_MAX: usize = 20;

/// A run of bytes that is unlikely to be anywhere by chance.
#[derive(Debug, Clone)]
pub struct Pattern {
    /// What it stands for.
    pub name: String,
    /// At least 6 bytes.
    pub bytes: Vec<u8>,
}

/// Where each pattern stands in what the process `id` can write to, a line for each place.
///
/// A mapping that goes away meanwhile holds nothing.
///
/// # Errors
/// When the process has ended or may not be read (it must be a child, or this process root's).
pub fn find(id: u32, patterns: &[Pattern]) -> io::Result<Vec<String>> {
    let memory = File::open(format!("/proc/{id}/mem"))?;
    let finders: Vec<_> = patterns.iter().map(|pattern| Finder::new(&pattern.bytes)).collect();
    let overlap = patterns.iter().map(|pattern| pattern.bytes.len()).max().unwrap_or_default();
    let mut found = vec![Vec::new(); patterns.len()];
    let mut chunk = vec![0; CHUNK + overlap];
    for mapping in mappings(id)? {
        let mut at = mapping.start;
        while at < mapping.end {
            let length = usize::try_from(mapping.end - at).unwrap_or(usize::MAX).min(chunk.len());
            let Ok(read) = memory.read_at(&mut chunk[..length], at) else { break };
            for (finder, found) in finders.iter().zip(&mut found) {
                for place in finder.find_iter(&chunk[..read]).take(FINDS_MAX) {
                    if found.len() < FINDS_MAX && (place < CHUNK || length < chunk.len()) {
                        let near = &chunk[place.saturating_sub(AROUND)..(place + AROUND).min(read)];
                        found.push(format!("{:#x} in {}: {}", at + place as u64, mapping.name, shown(near)));
                    }
                }
            }
            if read < length || length < chunk.len() {
                break;
            }
            at += CHUNK as u64;
        }
    }
    let lines = patterns.iter().zip(found);
    Ok(lines
        .flat_map(|(pattern, found)| found.into_iter().map(|place| format!("{} at {place}", pattern.name)))
        .collect())
}

struct Mapping {
    start: u64,
    end: u64,
    name: String,
}

fn mappings(id: u32) -> io::Result<Vec<Mapping>> {
    let maps = std::fs::read_to_string(format!("/proc/{id}/maps"))?;
    let mapping = |line: &str| {
        let mut parts = line.split_whitespace();
        let (start, end) = parts.next()?.split_once('-')?;
        let is_written = parts.next()?.starts_with("rw");
        let number = |text| u64::from_str_radix(text, 16).ok();
        let name = parts.nth(3).unwrap_or("memory of its own").to_owned();
        is_written.then_some(Mapping { start: number(start)?, end: number(end)?, name })
    };
    Ok(maps.lines().filter_map(mapping).collect())
}

fn shown(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        match byte {
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => _ = write!(text, "\\{byte:02x}"),
        }
        text
    })
}
