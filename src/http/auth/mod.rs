//! Authentication and authorization of requests, the token service, and the audit log.

pub(super) mod audit;
pub(super) mod authenticate;
pub(super) mod authorize;
pub(super) mod challenge;
pub(super) mod token;
