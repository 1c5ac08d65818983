//! The progress callback of long operations.

use std::ops::ControlFlow;
/// Receives the events of a long operation; `Break` cancels it.
pub type ProgressCallback<'a, T> = &'a mut dyn FnMut(T) -> ControlFlow<()>;
