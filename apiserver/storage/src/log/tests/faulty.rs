//! A disk that refuses, and that loses what was not synced when the power goes.

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::log::segment::Medium;

/// What is written and lost together.
const BLOCK: usize = 512;

#[derive(Clone, Default)]
pub(super) struct Disk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Bytes that may still be written.
    room: Option<u64>,
    /// How many of the next syncs fail.
    failing_syncs: u32,
    files: Vec<Shadow>,
}

struct Shadow {
    file: File,
    /// What is on the platter.
    durable: Vec<u8>,
    /// Blocks that the next successful sync writes. A failed one forgets them, as kernels do.
    dirty: Vec<usize>,
}

struct Faulty {
    disk: Disk,
    file: File,
    index: usize,
}

impl Disk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(super) fn room(&self, bytes: Option<u64>) {
        self.lock().room = bytes;
    }

    pub(super) fn fail_syncs(&self, times: u32) {
        self.lock().failing_syncs = times;
    }

    pub(super) fn medium(&self, mut file: File) -> Box<dyn Medium> {
        let mut state = self.lock();
        let durable = content(&mut file);
        state.files.push(Shadow { file: file.try_clone().unwrap(), durable, dirty: Vec::new() });
        Box::new(Faulty { disk: self.clone(), file, index: state.files.len() - 1 })
    }

    /// The process ends: what it wrote stays, and nothing refuses any more.
    pub(super) fn restart(&self) {
        *self.lock() = State::default();
    }

    /// The power goes: of each block that was written but not synced, `survives` says whether it is there.
    pub(super) fn lose_power(&self, mut survives: impl FnMut() -> bool) {
        let mut state = self.lock();
        for shadow in &mut state.files {
            let current = content(&mut shadow.file);
            let len = if survives() { current.len() } else { shadow.durable.len() };
            let mut left = vec![0; len];
            for (i, block) in left.chunks_mut(BLOCK).enumerate() {
                let dirty = i * BLOCK >= shadow.durable.len() || shadow.dirty.contains(&i);
                let from = if dirty && survives() { &current } else { &shadow.durable };
                let from = from.get(i * BLOCK..).unwrap_or_default();
                let len = block.len().min(from.len());
                block[..len].copy_from_slice(&from[..len]);
            }
            Medium::set_len(&mut shadow.file, 0).unwrap();
            shadow.file.write_at(0, &left).unwrap();
        }
        *state = State::default();
    }
}

fn content(file: &mut File) -> Vec<u8> {
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

impl Medium for Faulty {
    fn read_at(&mut self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.file.read_at(at, into)
    }

    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.lock();
        // What is written over takes no room.
        let end = at + bytes.len() as u64;
        let there = self.file.metadata()?.len().clamp(at, end);
        let room = state.room.unwrap_or(u64::MAX).min(end - there);
        let fits = (there + room - at) as usize;
        self.file.write_at(at, &bytes[..fits])?;
        let blocks = at as usize / BLOCK..(at as usize + fits).div_ceil(BLOCK);
        state.files[self.index].dirty.extend(blocks);
        state.room = state.room.map(|left| left - room);
        if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        Medium::set_len(&mut self.file, len)
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.lock();
        let fails = state.failing_syncs > 0;
        state.failing_syncs = state.failing_syncs.saturating_sub(1);
        let shadow = &mut state.files[self.index];
        let dirty = std::mem::take(&mut shadow.dirty);
        if fails {
            return Err(io::Error::other("the disk failed to sync"));
        }
        let current = content(&mut self.file);
        shadow.durable.resize(current.len(), 0);
        for block in dirty {
            let end = ((block + 1) * BLOCK).min(current.len());
            if let (Some(to), Some(from)) =
                (shadow.durable.get_mut(block * BLOCK..end), current.get(block * BLOCK..end))
            {
                to.copy_from_slice(from);
            }
        }
        Ok(())
    }
}
