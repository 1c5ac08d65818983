//! The callback by which long work says how far it is.

use std::ops::ControlFlow;
/// Hears what is found; says whether to go on.
pub type ProgressCallback<'a, T> = &'a mut dyn FnMut(T) -> ControlFlow<()>;
