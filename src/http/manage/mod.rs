//! The management API below `/api/v1/`: what the commands do, as JSON. `routes` is its table, `guard` decides who may
//! ask, and `content` answers by the registry's maintenance functions, which the commands call, too. `openapi.json`
//! describes it; a test holds it to the table.
//!
//! It exists on the main listener only, and only where there are users: behind a proxy on the same machine every client
//! comes from the loopback address, so that an address proves nothing.

pub(super) mod content;
pub(super) mod guard;
pub(super) mod routes;
