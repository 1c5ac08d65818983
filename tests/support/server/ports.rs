//! A reserved port of the loopback interface, also while no server listens on it.
//!
//! A bound socket that never listens refuses connections, keeps the kernel from giving the port to another process,
//! and, as both sides set `SO_REUSEADDR`, lets the real listener bind beside it. So a server can be stopped and started
//! again on the same port while other tests pick theirs.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use socket2::{Domain, Socket, Type};

pub(crate) struct Port {
    guard: Socket,
}

impl Port {
    pub(crate) fn reserve() -> Self {
        Self { guard: bound(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))) }
    }

    /// As [`Port::reserve`], on all addresses: other tests use several of the loopback's addresses.
    pub(crate) fn reserve_everywhere() -> Self {
        Self { guard: bound(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))) }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.guard.local_addr().unwrap().as_socket().unwrap()
    }

    /// `http://127.0.0.1:PORT`
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr())
    }

    pub(crate) fn listen(&self) -> TcpListener {
        let socket = bound(self.addr());
        socket.listen(1024).unwrap();
        socket.into()
    }
}

fn bound(addr: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&addr.into()).unwrap();
    socket
}
