//! Whose connection a request came by.

use std::net::{IpAddr, Ipv4Addr};

use actix_web::HttpRequest;

/// The client's address; unspecified on a socket of the filesystem, where clients have none.
pub(super) fn address(request: &HttpRequest) -> IpAddr {
    request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip())
}
