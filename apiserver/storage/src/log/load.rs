//! Reads the segments of a directory.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};

use super::frame::{self, Payload};
use super::index::Index;
use crate::Revision;
use crate::engine::{EngineError, Record};

/// What the name of a segment ends with.
const END: &str = ".log";

/// A segment that is not written to any more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Extent {
    pub id: u64,
    pub len: u64,
}

/// Everything a directory holds.
#[derive(Default)]
pub(super) struct Found {
    /// In the order in which they were written.
    pub segments: VecDeque<Extent>,
    pub index: Index,
    pub records: BTreeMap<Revision, Record>,
}

pub(super) fn path(dir: &Path, id: u64) -> PathBuf {
    // Wide enough that names sort as numbers do.
    dir.join(format!("{id:010}{END}"))
}

pub(super) fn scan(dir: &Path) -> Result<Found, EngineError> {
    let ids = ids(dir)?;
    let mut found = Found::default();
    for (i, id) in ids.iter().enumerate() {
        let file = path(dir, *id);
        if i > 0 && ids[i - 1] + 1 != *id {
            return Err(EngineError::Missing { file: path(dir, id - 1) });
        }
        let bytes = std::fs::read(&file)?;
        let len = found.read(*id, &bytes);
        let rest = &bytes[len as usize..];
        // A crash tears off what was not synced yet, which is in the last segment: one is synced before the next.
        let torn_off = i + 1 == ids.len() && !frame::was_synced((*id, len), rest);
        // What was filled with zeros was never a frame; a power loss may have undone that they were taken away.
        let filled = rest.iter().all(|byte| *byte == 0);
        if !filled && !torn_off {
            return Err(EngineError::DamagedFile { file, at: len });
        }
        found.segments.push_back(Extent { id: *id, len });
    }
    Ok(found)
}

fn ids(dir: &Path) -> Result<Vec<u64>, EngineError> {
    let mut ids = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(END));
        ids.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    ids.sort_unstable();
    Ok(ids)
}

impl Found {
    /// Takes the frames of a segment in; gives how many bytes of it they are.
    fn read(&mut self, segment: u64, bytes: &[u8]) -> u64 {
        let mut at = 0;
        while let Ok(Some((payload, len))) = frame::read((segment, at), &bytes[at as usize..]) {
            at += len;
            match payload {
                Payload::Records(records) => {
                    for record in records {
                        self.index.put(&record, segment);
                        self.records.insert(record.revision, record);
                    }
                }
                Payload::Mark(mark) => {
                    self.index.apply(&mark);
                    for revision in &mark.forgotten {
                        self.records.remove(revision);
                    }
                }
            }
        }
        at
    }
}

/// The records of one segment.
pub(super) fn records_of(dir: &Path, extent: Extent) -> Result<Vec<Record>, EngineError> {
    let file = path(dir, extent.id);
    let bytes = std::fs::read(&file)?;
    let mut records = Vec::new();
    let mut at = 0;
    while at < extent.len {
        match frame::read((extent.id, at), bytes.get(at as usize..).unwrap_or_default()) {
            Ok(Some((payload, len))) => {
                at += len;
                if let Payload::Records(more) = payload {
                    records.extend(more);
                }
            }
            Ok(None) | Err(frame::Torn) => return Err(EngineError::DamagedFile { file, at }),
        }
    }
    Ok(records)
}
