//! An engine that keeps nothing: for tests and `--store memory`.

use crate::engine::{Engine, EngineError, Loaded, Record};
use crate::{Durability, Revision};

/// Keeps nothing beyond the process.
#[derive(Debug, Default)]
pub struct MemoryEngine;

impl Engine for MemoryEngine {
    fn load(&mut self) -> Result<Loaded, EngineError> {
        Ok(Loaded::default())
    }

    fn append(&mut self, _: &[Record], _: Durability) -> Result<(), EngineError> {
        Ok(())
    }

    fn forget(&mut self, _: &[Revision], _: Revision) -> Result<(), EngineError> {
        Ok(())
    }

    fn sync(&mut self) -> Result<(), EngineError> {
        Ok(())
    }
}
