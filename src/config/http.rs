//! The `http` section.

use super::{
    Error, ListenAddress, Setting,
    dump::Line,
    node::Node,
    table::{HTTP_ADDR, HTTP_NET},
};

/// How the server is reached.
#[derive(Clone, Debug)]
pub struct Http {
    /// `http.addr`.
    pub addr: Setting<ListenAddress>,
    /// `http.net`: what `http.addr` is an address of.
    pub net: Setting<Net>,
}

/// What can be listened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Net {
    /// TCP.
    Tcp,
}

impl Http {
    pub(super) fn read(root: &Node) -> Result<Self, Error> {
        // First `net`: a socket's path is no TCP address, and the reason is not in the address.
        let net = Setting::read(root, &HTTP_NET, |text| (text == "tcp").then_some(Net::Tcp))?;
        Ok(Self { addr: Setting::read(root, &HTTP_ADDR, ListenAddress::parse)?, net })
    }

    pub(super) fn lines(&self) -> [Line; 2] {
        [Line::new(&self.addr, self.addr.to_string()), Line::new(&self.net, "tcp")]
    }
}
