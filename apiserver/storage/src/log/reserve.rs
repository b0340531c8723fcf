//! Room that is kept for what makes room: on a full disk a deletion, a mark, or the moving of what still counts could
//! not be written otherwise.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub(super) struct Reserve {
    path: PathBuf,
    bytes: u64,
    /// The file is there in full.
    full: bool,
}

impl Reserve {
    /// Takes the room where there is some.
    pub(super) fn take(dir: &Path, bytes: u64) -> Self {
        let mut reserve = Self { path: dir.join("reserve"), bytes, full: false };
        reserve.refill();
        reserve
    }

    /// Takes the room back once there is some again. An engine without is one that cannot help itself on a full disk,
    /// no more.
    pub(super) fn refill(&mut self) {
        if !self.full {
            self.full = self.fill().is_ok();
            if !self.full {
                drop(std::fs::remove_file(&self.path));
            }
        }
    }

    fn fill(&self) -> io::Result<()> {
        let mut file = File::options().create(true).truncate(false).write(true).open(&self.path)?;
        if file.metadata()?.len() != self.bytes {
            file.set_len(0)?;
            // Written, not only sized: a file with holes takes no room.
            io::copy(&mut io::Read::take(io::repeat(0x5A), self.bytes), &mut file)?;
            file.flush()?;
        }
        Ok(())
    }

    /// Gives the room away; whether there was some.
    pub(super) fn release(&mut self) -> bool {
        std::mem::take(&mut self.full) && std::fs::remove_file(&self.path).is_ok()
    }
}
