//! More images than fit into a quota, big and small. And the byte figures in a server's messages.

use std::time::Duration;

use crate::support::{
    images::{Blob, Format, Image},
    server::Server,
    uploads::OCTETS,
    upstream::Upstream,
    volume_check::VolumeCheck,
    wait_for,
};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// A working set. Its bytes are windows of one noise, so that it costs the time to hash it and no memory.
pub(crate) struct ImageSet {
    pub(crate) images: Vec<(String, Image)>,
}

impl ImageSet {
    /// About so many MiB: half in layers of 4 to 12 MiB, a third in layers around one, the rest small.
    pub(crate) fn of(mebibytes: usize) -> Self {
        let (mut images, mut total, mut number) = (Vec::new(), 0, 0);
        while total < mebibytes * MIB {
            let sizes = match number % 4 {
                0 => vec![(4 + number % 9) * MIB, 300 * KIB],
                1 => vec![MIB, MIB + 77 * KIB + number, 2 * MIB],
                2 => (1..12).map(|part| part * 9 * KIB + number).collect(),
                _ => vec![600 * KIB, 40 * KIB, 1 + number, 5 * MIB],
            };
            let start = |part: usize| (number * 104_729 + part * 7919) % (32 * MIB);
            let layers: Vec<_> =
                sizes.iter().enumerate().map(|(part, size)| Blob::window(start(part), *size)).collect();
            total += sizes.iter().sum::<usize>();
            images.push((format!("library/stock{number}"), Image::of_layers(Format::Oci, &layers)));
            number += 1;
        }
        Self { images }
    }

    pub(crate) fn bytes(&self) -> u64 {
        let blobs = self.images.iter().flat_map(|(_, image)| &image.blobs);
        blobs.map(|blob| blob.len() as u64).sum()
    }

    /// The upstream has all images, under `latest`.
    pub(crate) fn at(&self, upstream: &Upstream) {
        self.images.iter().for_each(|(name, image)| upstream.add(name, "latest", image));
    }

    /// Pulls all images in turn.
    pub(crate) fn pull(&self, server: &Server) {
        self.images.iter().for_each(|(name, image)| server.pull(name, "latest", image));
    }
}

/// The stored bytes by the server's own figure, from the error for a push that can never fit.
pub(crate) fn stored_bytes(server: &Server) -> u64 {
    let session = server.target().begin("figures/asked");
    let whole = session.request("PATCH").header("Content-Type", OCTETS).begin(Some(1 << 50));
    let refused = whole.finish().unwrap();
    assert_eq!(refused.status, 403);
    let message = refused.json()["errors"][0]["message"].as_str().unwrap().to_owned();
    assert_eq!(session.request("DELETE").send().status, 204);
    figures(&message).0
}

/// The used, the allowed and the needed bytes of an error, which must name the quota too.
pub(crate) fn figures(message: &str) -> (u64, u64, u64) {
    assert!(message.contains("storage.quota"), "{message}");
    let numbers = message.split(|symbol: char| !symbol.is_ascii_digit()).filter_map(|word| word.parse().ok());
    match numbers.collect::<Vec<u64>>()[..] {
        // Bytes that stay for now may follow.
        [used, aside, allowed, needed, ..] => {
            assert!(used + aside + needed > allowed, "there would be room: {message}");
            (used, allowed, needed)
        }
        _ => panic!("not four figures: {message}"),
    }
}

/// The server's figure agrees with `du`, within a block for each blob, once nothing changes.
pub(crate) fn figures_equal_du(server: &Server, when: &str) {
    let checker = VolumeCheck::new(server.data());
    let (mut last, mut since) = ((0, 0), 0);
    wait_for("a quiet moment", Duration::from_secs(30), || {
        std::thread::sleep(Duration::from_millis(100));
        let now = checker.du();
        since = if now == last { since + 1 } else { 0 };
        last = now;
        (since == 8).then_some(())
    });
    let said = stored_bytes(server);
    let (found, blobs) = checker.du();
    let apart = said.abs_diff(found);
    // A block for each blob: with one for every link and folder, a missing count would go unnoticed.
    assert!(apart <= blobs * 4096, "{when}: it says {said}, du says {found} with {blobs} blobs: {apart} bytes apart");
}
