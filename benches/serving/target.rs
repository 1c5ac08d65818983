//! A server to be measured.

/// A server to be measured.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) name: &'static str,
    /// `127.0.0.1:PORT`
    pub(crate) address: String,
    pub(crate) pid: u32,
}
