//! Recent messages: by which a repetition is told from something new.
//!
//! Owns: per device, digests of its last [`RECENT_MIN`] telling messages and a few more. They are kept in blocks of
//! [`BLOCK_DIGESTS`], each an entity of its own, so that a message changes a few hundred bytes of the store, not all.
//! Which messages are remembered depends on their number alone, so a restored memory is the old one.
//!
//! Memory: at most 2.3 KiB per device.

use std::collections::BTreeMap;

use super::{Effects, RestoreError, Tree, state};

/// Telling messages of each device that are remembered at least: more than any client has in flight (rumqttc: 100).
pub(super) const RECENT_MIN: usize = 256;
/// Digests per block.
pub(super) const BLOCK_DIGESTS: usize = 32;
/// One more than hold the window, because the oldest block goes as a whole when a new one begins.
const BLOCKS: usize = RECENT_MIN / BLOCK_DIGESTS + 1;
const WORD_BYTES: usize = size_of::<u64>();

/// All devices' recent messages.
#[derive(Debug, Default)]
pub(super) struct Recents(BTreeMap<String, Recent>);

#[derive(Debug, Default)]
struct Recent {
    /// How many messages there were ever; the next one has this number.
    count: u64,
    blocks: [Block; BLOCKS],
}

/// The messages with the numbers from `start` on, which is a multiple of [`BLOCK_DIGESTS`].
#[derive(Debug, Default)]
struct Block {
    start: u64,
    digests: Vec<u64>,
}

impl Recents {
    /// Whether the device is known, or fewer than `devices_max` are.
    pub(super) fn has_room_for(&self, device: &str, devices_max: usize) -> bool {
        self.0.contains_key(device) || self.0.len() < devices_max
    }

    /// Whether the device has recently said the same; remembers it otherwise.
    pub(super) fn note(&mut self, device: &str, digest: u64, effects: &mut Effects) -> bool {
        if !self.0.contains_key(device) {
            self.0.insert(device.to_owned(), Recent::default());
        }
        let recent = self.0.get_mut(device).expect("it was there or has just been inserted");
        if recent.blocks.iter().any(|block| block.digests.contains(&digest)) {
            return true;
        }
        let index = block_index(recent.count);
        let block = &mut recent.blocks[index];
        if block.digests.len() == BLOCK_DIGESTS || block.digests.is_empty() {
            block.start = recent.count;
            block.digests.clear();
        }
        block.digests.push(digest);
        recent.count += 1;
        effects.put(Tree::Recent, block_key(device, index), block.encode());
        false
    }

    pub(super) fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<(), RestoreError> {
        let wrong_key = || state::wrong_key(Tree::Recent, key);
        let (device, index) = match key {
            [device @ .., b'/', digit @ b'0'..=b'9'] => (device, usize::from(digit - b'0')),
            _ => return Err(wrong_key()),
        };
        let device = state::device_key(Tree::Recent, device)?;
        let block = Block::decode(value).filter(|block| block_index(block.start) == index);
        let block = block.ok_or_else(|| RestoreError::Bytes {
            tree: Tree::Recent.as_str(),
            key: String::from_utf8_lossy(key).into_owned(),
            len: value.len(),
        })?;
        let recent = self.0.entry(device).or_default();
        recent.count = recent.count.max(block.start + block.digests.len() as u64);
        *recent.blocks.get_mut(index).ok_or_else(wrong_key)? = block;
        Ok(())
    }

    pub(super) fn entities(&self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        let of_device = |(device, recent): (&String, &Recent)| {
            let blocks = recent.blocks.iter().enumerate().filter(|(_, block)| !block.digests.is_empty());
            blocks.map(|(index, block)| (block_key(device, index), block.encode())).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(of_device)
    }
}

impl Block {
    fn encode(&self) -> Vec<u8> {
        let words = [self.start].into_iter().chain(self.digests.iter().copied());
        let mut bytes = Vec::with_capacity((1 + self.digests.len()) * WORD_BYTES);
        words.for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (words, rest) = bytes.as_chunks::<WORD_BYTES>();
        let mut words = words.iter().map(|word| u64::from_le_bytes(*word));
        let start = words.next()?;
        let digests: Vec<u64> = words.collect();
        let is_whole = rest.is_empty()
            && (1..=BLOCK_DIGESTS).contains(&digests.len())
            && start.is_multiple_of(BLOCK_DIGESTS as u64)
            && start.checked_add(BLOCK_DIGESTS as u64).is_some();
        is_whole.then_some(Self { start, digests })
    }
}

/// The block that a message's number belongs to.
fn block_index(number: u64) -> usize {
    let block = number / BLOCK_DIGESTS as u64 % BLOCKS as u64;
    usize::try_from(block).expect("it is less than the number of blocks")
}

fn block_key(device: &str, index: usize) -> Vec<u8> {
    format!("{device}/{index}").into_bytes()
}
