//! Opening: which files are segments, where the last one really ends.
//!
//! Owns: the decisions at start. Only headers, the mark and the last segment are read, so that opening takes the same
//! time for a megabyte and a gigabyte; damage in older segments is found when they are read. A segment before one that
//! does not say which one it follows (format 1, a damaged header) is read too.
//!
//! A segment below the mark is what a drop has left that was interrupted: it is read and dropped like any other.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    path::{Path, PathBuf},
};

use super::{
    Epochs, JournalError, OpenReport, SegmentInfo,
    disk::{Disk, DiskFile},
    frame::{self, FRAMES_START, HEADER_BLOCK_BYTES, HEADER_BYTES, HEADER_COPY_START, Header, HeaderRead},
    mark::{Mark, MarkFile, MarkRead},
    scan::{Scan, Scanner},
};
use crate::room::is_full;

pub(crate) struct Opened {
    pub(crate) epochs: Epochs,
    pub(crate) salt: u64,
    pub(crate) segments: VecDeque<SegmentInfo>,
    pub(crate) head_seq: u64,
    /// `None` when the disk had no room for the segment to write to: the writer begins it with its first commit.
    pub(crate) active: Option<Box<dyn DiskFile>>,
    pub(crate) active_len: u64,
    pub(crate) damage: BTreeMap<(u64, u64), u64>,
    pub(crate) mark: MarkFile,
    pub(crate) report: OpenReport,
}

const SUFFIX: &str = "seg";
/// The greatest number that a record may have: headquarters' database has no greater ones.
const SEQ_MAX: u64 = i64::MAX.cast_unsigned();

pub(crate) fn segment_path(dir: &Path, first_seq: u64) -> PathBuf {
    dir.join(format!("{first_seq:020}.{SUFFIX}"))
}

/// `None` for a file that cannot be a segment, whoever put it there: it is left alone.
fn first_seq_of(path: &Path) -> Option<u64> {
    if path.extension()?.to_str()? != SUFFIX {
        return None;
    }
    path.file_stem()?.to_str()?.parse().ok().filter(|first_seq| (1..=SEQ_MAX).contains(first_seq))
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
    let mark = MarkFile::read(disk, dir).map_err(|source| JournalError::Segment {
        operation: "read the mark of",
        path: MarkFile::path_in(dir),
        source,
    })?;
    // The newest good header says which journal this is; a segment without one is read with that salt.
    let identity = found.iter().rev().find_map(|segment| segment.header);
    let Some(identity) = identity else {
        for segment in found {
            set_aside(disk, segment.path, &mut report)?;
        }
        return create(disk, dir, now_ms, floor, mark, report);
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
    let mark = known_mark(mark, dir, &kept, identity.salt, &mut report);
    let mut opened = recover(kept, identity, mark, report)?;
    let newest_seq = opened.segments.back().map_or(0, |segment| segment.first_seq);
    let Mark { newest_first_seq, head_seq, .. } = *opened.mark.mark();
    // The newest segment's records are known by nobody here; its first number was given, if only to the segment.
    let vanished_with_it = if newest_seq < newest_first_seq { newest_first_seq } else { 0 };
    let others = floor.filter(|(epoch, _)| opened.epochs.knows(*epoch)).map_or(0, |(_, seq)| seq);
    let seen_seq = others.max(head_seq).max(vanished_with_it);
    if opened.head_seq < seen_seq {
        opened = raise(disk, dir, opened, seen_seq, now_ms)?;
    }
    Ok(marked(disk, opened))
}

/// The mark of this journal. One that is another journal's, damaged or missing says nothing; where it was certainly
/// there once and is needed to know about the first segments, that is reported.
fn known_mark(mark: MarkRead, dir: &Path, kept: &[Found], salt: u64, report: &mut OpenReport) -> MarkFile {
    if let MarkRead::Good(mark) = mark
        && mark.mark().salt == salt
    {
        return mark;
    }
    let has_mark =
        |segment: &Found| segment.header.is_some_and(|header| frame::MARK_VERSION <= header.version);
    let is_first = kept[0].header.is_some_and(|header| header.after_first_seq == 0);
    report.mark_is_lost = !is_first && kept.iter().any(has_mark);
    MarkFile::none(dir)
}

/// Notes what is there now. A disk that refuses leaves the former mark, which is still true.
fn marked(disk: &dyn Disk, mut opened: Opened) -> Opened {
    let segment = |segment: Option<&SegmentInfo>| segment.map_or(0, |segment| segment.first_seq);
    let former = opened.mark.mark();
    let mark = Mark {
        salt: opened.salt,
        epoch: opened.epochs.epoch(),
        first_seq: if former.first_seq == 0 { segment(opened.segments.front()) } else { former.first_seq },
        newest_first_seq: segment(opened.segments.back()).max(former.newest_first_seq),
        head_seq: if opened.active.is_some() { opened.head_seq } else { former.head_seq },
        note: former.note.clone(),
    };
    if let Err(error) = opened.mark.write(disk, mark) {
        tracing::warn!(%error, path = %opened.mark.path().display(), "the journal's mark was not written");
    }
    opened
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
        Err((_, _, source)) if is_full(&source) => None,
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
    mark: MarkRead,
    report: OpenReport,
) -> Result<Opened, JournalError> {
    let mut salt = [0; 8];
    getrandom::fill(&mut salt).map_err(|error| JournalError::Dir {
        path: dir.to_owned(),
        source: io::Error::other(format!("no random numbers: {error}")),
    })?;
    let salt = u64::from_le_bytes(salt);
    // A mark without segments: the numbers of its newest segment may have been seen.
    let (dropped_through, floor) = match &mark {
        MarkRead::Good(mark) => {
            let &Mark { epoch, first_seq, newest_first_seq, head_seq, .. } = mark.mark();
            let (epoch, seq) = floor.unwrap_or((epoch, 0));
            (first_seq.saturating_sub(1), Some((epoch, seq.max(head_seq).max(newest_first_seq))))
        }
        MarkRead::Damaged | MarkRead::Absent => (0, floor),
    };
    let head_seq = floor.map_or(0, |(_, seq)| seq);
    let epochs = match floor {
        Some((epoch, seq)) => Epochs::first(epoch, 1).renewed(seq, seq + 1, now_ms),
        None => Epochs::first(u64::try_from(now_ms).unwrap_or(1).max(1), 1),
    };
    let header = epochs.header(salt, head_seq + 1, 0, now_ms);
    let (active, segment) = create_segment(disk, dir, header)
        .map_err(|(operation, path, source)| JournalError::Segment { operation, path, source })?;
    let vanished_records = head_seq.saturating_sub(dropped_through);
    let opened = Opened {
        epochs,
        salt,
        segments: VecDeque::from([segment]),
        head_seq,
        active: Some(active),
        active_len: FRAMES_START,
        damage: BTreeMap::new(),
        mark: MarkFile::none(dir),
        report: OpenReport { created: true, segments: 1, vanished_records, ..report },
    };
    Ok(marked(disk, opened))
}

/// What the segments that are missing before and between the others held. The mark says with which number the first
/// one begins; each of the others says which one it followed, or else its number must follow what that one holds.
fn holes(kept: &[Found], last: &Found, salt: u64, mark: &Mark) -> Result<Vec<(u64, u64)>, JournalError> {
    let first_seq = kept.first().unwrap_or(last).first_seq;
    let mut holes = Vec::new();
    if (1..first_seq).contains(&mark.first_seq) {
        holes.push((mark.first_seq, first_seq - 1));
    }
    for (segment, next) in kept.iter().zip(kept.iter().skip(1).chain([last])) {
        if next.header.is_some_and(|header| header.after_first_seq == segment.first_seq) {
            continue;
        }
        let mut scanner = Scanner::new(salt);
        let mut last_seq = segment.first_seq - 1;
        let error = |source| JournalError::Segment { operation: "read", path: segment.path.clone(), source };
        while let Scan::Frame { seq, .. } = scanner.next(segment.file.as_ref(), segment.len).map_err(error)? {
            last_seq = last_seq.max(seq);
        }
        // What is below the mark was dropped, whatever of it has come back.
        let first_lost = mark.first_seq.max(last_seq + 1);
        if first_lost < next.first_seq {
            holes.push((first_lost, next.first_seq - 1));
        }
    }
    Ok(holes)
}

/// Finds the end of the last segment and cuts what is torn behind it.
fn recover(
    mut kept: Vec<Found>,
    identity: Header,
    mark: MarkFile,
    mut report: OpenReport,
) -> Result<Opened, JournalError> {
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

    report.holes = holes(&kept, &last, identity.salt, mark.mark())?;
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
        mark,
        report,
    })
}
