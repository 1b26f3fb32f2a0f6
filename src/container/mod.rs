//! The engine: records, the order of steps, logs, teardown.

pub mod options;
pub mod record;
