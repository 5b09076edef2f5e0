//! Opening: which files are segments, where the last one really ends.
//!
//! Owns: the decisions at start. Only headers and the last segment are read, so that opening takes the same time
//! for a megabyte and a gigabyte; damage in older segments is found when they are read.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    path::{Path, PathBuf},
};

use super::{
    Epochs, JournalError, OpenReport, SegmentInfo,
    disk::{Disk, DiskFile},
    frame::{self, FRAMES_START, HEADER_BLOCK_BYTES, HEADER_BYTES, HEADER_COPY_START, Header, HeaderRead},
    scan::{Scan, Scanner},
};

pub(crate) struct Opened {
    pub(crate) epochs: Epochs,
    pub(crate) salt: u64,
    pub(crate) segments: VecDeque<SegmentInfo>,
    pub(crate) head_seq: u64,
    /// `None` when the disk had no room for the segment to write to: the writer begins it with its first commit.
    pub(crate) active: Option<Box<dyn DiskFile>>,
    pub(crate) active_len: u64,
    pub(crate) damage: BTreeMap<(u64, u64), u64>,
    pub(crate) report: OpenReport,
}

const SUFFIX: &str = "seg";

pub(crate) fn segment_path(dir: &Path, first_seq: u64) -> PathBuf {
    dir.join(format!("{first_seq:020}.{SUFFIX}"))
}

fn first_seq_of(path: &Path) -> Option<u64> {
    if path.extension()?.to_str()? != SUFFIX {
        return None;
    }
    path.file_stem()?.to_str()?.parse().ok()
}

/// Creates a segment whose header is durable before anybody relies on it.
pub(crate) fn create_segment(
    disk: &dyn Disk,
    dir: &Path,
    header: Header,
) -> Result<(Box<dyn DiskFile>, SegmentInfo), (&'static str, PathBuf, io::Error)> {
    let path = segment_path(dir, header.first_seq);
    let attempt = || {
        let mut file = disk.create(&path).map_err(|error| ("create", error))?;
        write_header(file.as_mut(), header).map_err(|error| ("write the header of", error))?;
        disk.sync_dir(dir).map_err(|error| ("sync the folder of", error))?;
        Ok(file)
    };
    match attempt() {
        Ok(file) => {
            let info = SegmentInfo {
                first_seq: header.first_seq,
                created_at_ms: header.created_at_ms,
                durable_bytes: FRAMES_START,
                path,
            };
            Ok((file, info))
        }
        Err((operation, error)) => {
            // A half-made file would stand in the way of the next attempt; opening copes with one that stays.
            disk.remove(&path).ok();
            Err((operation, path, error))
        }
    }
}

fn write_header(file: &mut dyn DiskFile, header: Header) -> io::Result<()> {
    let bytes = header.encode();
    let mut block = [0; HEADER_BLOCK_BYTES];
    block[..HEADER_BYTES].copy_from_slice(&bytes);
    block[HEADER_COPY_START..][..HEADER_BYTES].copy_from_slice(&bytes);
    file.write_at(&block, 0)?;
    file.sync_data()
}

fn read_header(file: &dyn DiskFile) -> io::Result<HeaderRead> {
    let mut block = [0; HEADER_BLOCK_BYTES];
    let mut have = 0;
    while have < block.len() {
        match file.read_at(&mut block[have..], have as u64)? {
            0 => break,
            read => have += read,
        }
    }
    Ok(match Header::decode(&block[..HEADER_BYTES]) {
        HeaderRead::Bad => Header::decode(&block[HEADER_COPY_START..]),
        read => read,
    })
}

struct Found {
    path: PathBuf,
    first_seq: u64,
    file: Box<dyn DiskFile>,
    len: u64,
    header: Option<Header>,
}

pub(crate) fn open(
    disk: &dyn Disk,
    dir: &Path,
    now_ms: i64,
    floor: Option<(u64, u64)>,
) -> Result<Opened, JournalError> {
    let dir_error = |source| JournalError::Dir { path: dir.to_owned(), source };
    disk.create_dir(dir).map_err(dir_error)?;
    let mut paths: Vec<(u64, PathBuf)> = disk
        .list(dir)
        .map_err(dir_error)?
        .into_iter()
        .filter_map(|path| first_seq_of(&path).map(|first_seq| (first_seq, path)))
        .collect();
    paths.sort();

    let mut report = OpenReport::default();
    let mut found = Vec::with_capacity(paths.len());
    for (first_seq, path) in paths {
        found.push(inspect(disk, first_seq, path)?);
    }
    // The newest good header says which journal this is; a segment without one is read with that salt.
    let identity = found.iter().rev().find_map(|segment| segment.header);
    let Some(identity) = identity else {
        for segment in found {
            set_aside(disk, segment.path, &mut report)?;
        }
        return create(disk, dir, now_ms, floor, report);
    };
    let mut kept = Vec::with_capacity(found.len());
    for segment in found {
        let foreign = segment.header.is_some_and(|header| header.salt != identity.salt);
        let empty = segment.header.is_none() && segment.len <= FRAMES_START;
        if foreign || empty {
            set_aside(disk, segment.path, &mut report)?;
        } else {
            kept.push(segment);
        }
    }
    let opened = recover(kept, identity, report)?;
    match floor {
        Some((epoch, seq)) if opened.epochs.knows(epoch) && opened.head_seq < seq => {
            raise(disk, dir, opened, seq, now_ms)
        }
        _ => Ok(opened),
    }
}

/// Begins an epoch after `floor_seq`: a number that others have already seen must not name another record, and they
/// may have seen more of the old epoch than is known here.
fn raise(
    disk: &dyn Disk,
    dir: &Path,
    mut opened: Opened,
    floor_seq: u64,
    now_ms: i64,
) -> Result<Opened, JournalError> {
    opened.report.vanished_records = floor_seq - opened.head_seq;
    let after_first_seq = opened.segments.back().map_or(0, |segment| segment.first_seq);
    let epochs = opened.epochs.renewed(floor_seq, floor_seq + 1, now_ms);
    let header = epochs.header(opened.salt, floor_seq + 1, after_first_seq, now_ms);
    opened.epochs = epochs;
    opened.active = match create_segment(disk, dir, header) {
        Ok((active, segment)) => {
            opened.segments.push_back(segment);
            opened.report.segments += 1;
            Some(active)
        }
        // What is there can be read and forwarded; readings are refused until there is room.
        Err((_, _, source)) if source.kind() == io::ErrorKind::StorageFull => None,
        Err((operation, path, source)) => return Err(JournalError::Segment { operation, path, source }),
    };
    (opened.active_len, opened.head_seq) = (FRAMES_START, floor_seq);
    Ok(opened)
}

fn inspect(disk: &dyn Disk, first_seq: u64, path: PathBuf) -> Result<Found, JournalError> {
    let attempt = || {
        let file = disk.open(&path)?;
        let (len, header) = (file.len_bytes()?, read_header(file.as_ref())?);
        Ok((file, len, header))
    };
    let (file, len, header) = attempt().map_err(|source| JournalError::Segment {
        operation: "open",
        path: path.clone(),
        source,
    })?;
    let header = match header {
        HeaderRead::Good(header) => Some(header),
        HeaderRead::Bad => None,
        HeaderRead::OtherVersion(found) => {
            return Err(JournalError::Version { path, found, known: frame::FORMAT_VERSION });
        }
    };
    Ok(Found { path, first_seq, file, len, header })
}

fn set_aside(disk: &dyn Disk, path: PathBuf, report: &mut OpenReport) -> Result<(), JournalError> {
    let mut aside = path.clone();
    // A name of its own, should an earlier file have been set aside under the plain one.
    for attempt in 0..100 {
        aside = path.with_extension(format!("damaged{attempt}"));
        if disk.open(&aside).is_err() {
            break;
        }
    }
    disk.rename(&path, &aside).map_err(|source| JournalError::Segment {
        operation: "set aside",
        path,
        source,
    })?;
    report.set_aside.push(aside);
    Ok(())
}

/// Begins a journal. Where the store knows of one that is gone, it goes on above that one's numbers.
fn create(
    disk: &dyn Disk,
    dir: &Path,
    now_ms: i64,
    floor: Option<(u64, u64)>,
    report: OpenReport,
) -> Result<Opened, JournalError> {
    let mut salt = [0; 8];
    getrandom::fill(&mut salt).map_err(|error| JournalError::Dir {
        path: dir.to_owned(),
        source: io::Error::other(format!("no random numbers: {error}")),
    })?;
    let salt = u64::from_le_bytes(salt);
    let head_seq = floor.map_or(0, |(_, seq)| seq);
    let epochs = match floor {
        Some((epoch, seq)) => Epochs::first(epoch, 1).renewed(seq, seq + 1, now_ms),
        None => Epochs::first(u64::try_from(now_ms).unwrap_or(1).max(1), 1),
    };
    let header = epochs.header(salt, head_seq + 1, 0, now_ms);
    let (active, segment) = create_segment(disk, dir, header)
        .map_err(|(operation, path, source)| JournalError::Segment { operation, path, source })?;
    Ok(Opened {
        epochs,
        salt,
        segments: VecDeque::from([segment]),
        head_seq,
        active: Some(active),
        active_len: FRAMES_START,
        damage: BTreeMap::new(),
        report: OpenReport { created: true, segments: 1, vanished_records: head_seq, ..report },
    })
}

/// What the segments that are missing between two others held: each says which one it followed.
fn holes(kept: &[Found], last: &Found, salt: u64) -> Result<Vec<(u64, u64)>, JournalError> {
    let mut holes = Vec::new();
    for (segment, next) in kept.iter().zip(kept.iter().skip(1).chain([last])) {
        let followed = next.header.map_or(0, |header| header.after_first_seq);
        if followed == 0 || followed == segment.first_seq {
            continue;
        }
        let mut scanner = Scanner::new(salt);
        let mut last_seq = segment.first_seq - 1;
        let error = |source| JournalError::Segment { operation: "read", path: segment.path.clone(), source };
        while let Scan::Frame { seq, .. } = scanner.next(segment.file.as_ref(), segment.len).map_err(error)? {
            last_seq = last_seq.max(seq);
        }
        holes.push((last_seq + 1, next.first_seq - 1));
    }
    Ok(holes)
}

/// Finds the end of the last segment and cuts what is torn behind it.
fn recover(mut kept: Vec<Found>, identity: Header, mut report: OpenReport) -> Result<Opened, JournalError> {
    let mut last = kept.pop().expect("the segment with the good header is among them");
    let mut damage = BTreeMap::new();
    let mut scanner = Scanner::new(identity.salt);
    let mut head_seq = last.first_seq.saturating_sub(1);
    let error = |operation, path: &Path| {
        let path = path.to_owned();
        move |source| JournalError::Segment { operation, path, source }
    };
    while let Scan::Frame { seq, damage: skipped, .. } =
        scanner.next(last.file.as_ref(), last.len).map_err(error("read", &last.path))?
    {
        if let Some(skipped) = skipped {
            damage.insert((last.first_seq, skipped.offset), skipped.bytes);
        }
        head_seq = head_seq.max(seq);
    }
    let active_len = scanner.good_end.max(FRAMES_START);
    report.torn_bytes = last.len.saturating_sub(active_len);
    if last.header.is_none() {
        let header = Header { first_seq: last.first_seq, after_first_seq: 0, ..identity };
        write_header(last.file.as_mut(), header).map_err(error("mend the header of", &last.path))?;
    }
    if active_len < last.len {
        last.file.set_len(active_len).map_err(error("cut the torn tail of", &last.path))?;
    }
    // What a crash left in the page cache becomes durable before readers see it.
    last.file.sync_data().map_err(error("sync", &last.path))?;

    report.holes = holes(&kept, &last, identity.salt)?;
    let info = |segment: &Found, durable_bytes| SegmentInfo {
        first_seq: segment.first_seq,
        created_at_ms: segment.header.unwrap_or(identity).created_at_ms,
        durable_bytes,
        path: segment.path.clone(),
    };
    let mut segments: VecDeque<_> = kept.iter().map(|segment| info(segment, segment.len)).collect();
    segments.push_back(info(&last, active_len));
    report.segments = segments.len();
    let headers = kept.iter().chain([&last]).filter_map(|segment| segment.header);
    let epochs = Epochs::of(headers).unwrap_or_else(|| Epochs::first(identity.epoch, 1));
    Ok(Opened {
        epochs,
        salt: identity.salt,
        segments,
        head_seq,
        active: Some(last.file),
        active_len,
        damage,
        report,
    })
}
