//! The load: threads that pull, push, delete, leave in the middle, and let the upstream fail, until they are stopped.

use std::{
    sync::{
        Mutex, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, Scope},
    time::Duration,
};

use crate::support::{
    http::Response,
    images::{Blob, Format, Image},
    rng::Rng,
    server::Server,
    uploads::{OCTETS, Target},
    upstream::{Cut, Fault, Kind, Rule, Upstream},
    wait_until,
};

/// The length of a layer in bytes.
const LAYER: usize = 800_000;
/// The images that may be pulled again.
const RECENT: usize = 100;
const MOVING: u64 = 8;
const HOSTED: u64 = 12;
/// The tags of a hosted repository that stay.
const KEPT: u64 = 3;

/// The content that each sample requests.
pub(super) struct Fixed {
    pub(super) image: Image,
    pub(super) pushes: AtomicU64,
}

/// The server's clients and its upstream.
pub(super) struct Load<'a> {
    server: &'a Server,
    upstream: &'a Upstream,
    fixed: Fixed,
    next: AtomicU64,
    recent: Mutex<Vec<(String, Image)>>,
    over: AtomicBool,
    /// Locked for reading by each step, for writing while the load is paused.
    paused: RwLock<()>,
}

/// Stops the load when it is dropped.
pub(super) struct Running<'a>(&'a AtomicBool);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

type Step<'a> = fn(&Load<'a>, &mut Rng);

impl<'a> Load<'a> {
    pub(super) fn new(server: &'a Server, upstream: &'a Upstream) -> Self {
        let fixed = Fixed { image: Image::of_size(Format::Oci, 1, 20_000), pushes: AtomicU64::new(0) };
        server.target().image("fixed/warm", "1", &fixed.image);
        Self {
            server,
            upstream,
            fixed,
            next: AtomicU64::new(1000),
            recent: Mutex::default(),
            over: AtomicBool::new(false),
            paused: RwLock::new(()),
        }
    }

    pub(super) fn fixed(&self) -> &Fixed {
        &self.fixed
    }

    /// Starts every client.
    pub(super) fn run<'s>(&'s self, scope: &'s Scope<'s, '_>) -> Running<'s> {
        let clients: [(Step<'a>, u64); 6] = [
            (Load::pull, 5),
            (Load::pull, 5),
            (Load::follow_moving_tag, 100),
            (Load::push, 300),
            (Load::leave, 100),
            (Load::fail, 3000),
        ];
        for (seed, (step, pause)) in clients.into_iter().enumerate() {
            scope.spawn(move || self.repeat(step, Duration::from_millis(pause), seed as u64));
        }
        Running(&self.over)
    }

    fn repeat(&self, step: Step<'a>, pause: Duration, seed: u64) {
        let mut rng = Rng::new(seed + 1);
        while !self.over.load(Relaxed) {
            {
                let _goes_on = self.paused.read().unwrap();
                step(self, &mut rng);
            }
            thread::sleep(pause);
        }
    }

    /// Runs `work` while no client does anything and the upstream is healthy.
    pub(super) fn while_paused<T>(&self, work: impl FnOnce() -> T) -> T {
        let _paused = self.paused.write().unwrap();
        self.upstream.heal();
        thread::sleep(Duration::from_secs(1));
        work()
    }

    fn image(&self) -> (u64, Image) {
        let number = self.next.fetch_add(1, Relaxed);
        (number, Image::of_size(Format::Oci, number, LAYER))
    }

    fn target(&self) -> Target {
        self.server.target()
    }

    /// Pulls an image from a repository of its own, or one of the last again.
    fn pull(&self, rng: &mut Rng) {
        let again = {
            let recent = self.recent.lock().unwrap();
            (rng.throw(3) == 0 && !recent.is_empty()).then(|| recent[rng.throw(recent.len())].clone())
        };
        let (repository, image) = again.unwrap_or_else(|| self.add_image());
        if !arrives(self.server.manifest(&repository, "1").send(), image.digest()) {
            return;
        }
        for blob in &image.blobs {
            arrives(self.server.blob(&repository, &blob.digest).send(), &blob.digest);
        }
    }

    fn add_image(&self) -> (String, Image) {
        let (number, image) = self.image();
        let repository = format!("library/app{number}");
        self.upstream.add(&repository, "1", &image);
        let mut recent = self.recent.lock().unwrap();
        recent.push((repository.clone(), image.clone()));
        // The upstream has it in memory, and in an hour there are thousands.
        if recent.len() > RECENT {
            self.upstream.remove(&recent.remove(0).0);
        }
        (repository, image)
    }

    /// HEAD and GET of a tag that moves now and then.
    fn follow_moving_tag(&self, rng: &mut Rng) {
        let repository = format!("library/moving{}", rng.throw(MOVING as usize));
        if rng.throw(4) == 0 {
            let (_, image) = self.image();
            self.upstream.replace(&repository, "latest", &image);
        }
        let path = self.server.v2(&format!("{repository}/manifests/latest"));
        let _ = crate::support::http::head(&path).send().status;
        self.server.manifest(&repository, "latest").send().body();
    }

    /// Pushes an image, and deletes the oldest of its repository.
    fn push(&self, rng: &mut Rng) {
        let number = self.next.fetch_add(1, Relaxed);
        let repository = format!("team/app{}", rng.throw(HOSTED as usize));
        let image = Image::of_size(Format::Oci, number, LAYER / 10);
        self.target().image(&repository, &format!("{number}"), &image);
        let tags = self.target().json(&format!("{repository}/tags/list"));
        let mut tags: Vec<u64> =
            tags["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap().parse().unwrap()).collect();
        tags.sort_unstable();
        for old in &tags[..tags.len().saturating_sub(KEPT as usize)] {
            assert_eq!(self.target().delete(&format!("{repository}/manifests/{old}")), 202);
        }
    }

    /// Leaves in the middle of a pull and of an upload.
    fn leave(&self, _: &mut Rng) {
        let (repository, image) = self.add_image();
        let mut pulled = self.server.blob(&repository, &image.layer().digest).send();
        pulled.up_to(1000);
        drop(pulled);
        let session = self.target().begin("team/left");
        let mut patch = session.request("PATCH").header("Content-Type", OCTETS).begin(Some(LAYER as u64));
        let _ = patch.write(&image.layer().bytes[..1000]);
        drop(patch);
        // The server may still be reading what came before the end.
        let is_gone = || [204, 404].contains(&session.request("DELETE").send().status);
        wait_until("the upload to be deleted", Duration::from_secs(20), is_gone);
    }

    /// Lets the upstream fail in one way for a moment.
    fn fail(&self, rng: &mut Rng) {
        let fault = match rng.throw(5) {
            0 => Fault::Status(500),
            1 => Fault::CutAfter(10_000, Cut::Rst),
            2 => Fault::Corrupt(100),
            3 => Fault::Delay(Duration::from_millis(300)),
            _ => Fault::Chunked,
        };
        self.upstream.fault(Rule::on([Kind::Blob, Kind::Manifest][rng.throw(2)], fault));
        thread::sleep(Duration::from_millis(300));
        self.upstream.heal();
    }
}

/// Returns whether a response is 200 and whole. What is whole is right.
fn arrives(response: Response, digest: &str) -> bool {
    if response.status != 200 {
        response.body();
        return false;
    }
    let summary = response.summary();
    let is_whole = summary.end == crate::support::http::BodyEnd::Complete;
    assert!(!is_whole || summary.digest == digest, "{digest} is {}", summary.digest);
    is_whole
}

/// A blob of a length that no other sample has.
pub(super) fn small_image(number: u64) -> Image {
    Image::of_layers(Format::Oci, &[Blob::noise(0x5a5a_0000 + number, 2000)])
}
