//! URLs for the log: scheme, host and path. User information and a presigned URL's query are credentials, and are
//! omitted.

use std::fmt;

use url::Url;

/// Displays a URL without its user information, query and fragment.
pub(super) struct RedactedUrl<'a>(pub(super) &'a Url);

impl fmt::Display for RedactedUrl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.0.scheme(), self.0.host_str().unwrap_or_default())?;
        self.0.port().map_or(Ok(()), |port| write!(f, ":{port}"))?;
        f.write_str(self.0.path())
    }
}
