//! Warms images for a client of the admin socket: a few at once, with their progress.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, stream};
use tokio::time::{MissedTickBehavior, interval};

use super::{
    AdminResponse,
    answers::Answers,
    image_messages::{BlobSize, ImageResult},
};
use crate::{
    oci::{ImageName, PlatformSelection, Reference, Repository},
    registry::{ImageError, Registry, WarmEvent, WarmImage},
};

/// The most images that are warmed at once.
const MAX_CONCURRENT_IMAGES: usize = 3;
/// The interval of messages while nothing else is sent. A write is how the server notices that its client left.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);

/// A request to warm images.
pub(super) struct Warming<'a> {
    registry: &'a Arc<Registry>,
    answers: &'a Answers,
    platforms: PlatformSelection,
    totals: Totals,
}

/// The totals of a request.
#[derive(Default)]
struct Totals {
    images: AtomicU64,
    done: AtomicU64,
    failed: AtomicU64,
    fetched: AtomicU64,
    present: AtomicU64,
}

/// Executes a request to warm images until it is done or its client has left.
pub(super) async fn serve(registry: &Arc<Registry>, images: &[String], platforms: &[String], answers: Answers) {
    let parsed = images.iter().map(|image| image.parse().map_err(|error| format!("{image:?}: {error}")));
    let parsed: Result<Vec<ImageName>, String> = parsed.collect();
    let platforms = PlatformSelection::parse(platforms).map_err(|error| error.to_string());
    let (images, platforms) = match (parsed, platforms) {
        (Ok(images), Ok(platforms)) => (images, platforms),
        (Err(message), _) | (_, Err(message)) => return answers.queue(AdminResponse::Failed { message }).await,
    };
    let warming = Warming { registry, answers: &answers, platforms, totals: Totals::default() };
    tokio::select! {
        () = warming.run(&images) => answers.queue(warming.totals.response()).await,
        () = warming.beat() => {}
        () = answers.abandoned() => tracing::info!("admin client left; its images are no longer fetched"),
    }
}

impl Warming<'_> {
    async fn run(&self, images: &[ImageName]) {
        let mut seen = HashSet::new();
        let mut wanted = Vec::new();
        for image in images {
            let addressed = self.registry.addressed(image).await;
            // Several names may address one image.
            if addressed.as_ref().map_or(true, |addressed| seen.insert(addressed.clone())) {
                wanted.push((image, addressed));
            }
        }
        self.totals.images.store(wanted.len() as u64, Ordering::Relaxed);
        let warmed = wanted.into_iter().map(|(image, addressed)| self.image(image, addressed));
        stream::iter(warmed.collect::<Vec<_>>()).buffer_unordered(MAX_CONCURRENT_IMAGES).for_each(|()| async {}).await;
    }

    async fn image(&self, image: &ImageName, addressed: Result<(Repository, Reference), ImageError>) {
        let name = addressed
            .as_ref()
            .map_or_else(|_| image.to_string(), |(repository, reference)| repository.image(reference));
        self.answers.queue(AdminResponse::ImageBegun { image: name.clone() }).await;
        let on_event = |event| self.answers.offer(response(&name, event));
        let warmed = match addressed {
            Ok((repository, reference)) => {
                self.registry.warm(&repository, &reference, &self.platforms, &on_event).await
            }
            Err(error) => Err(error),
        };
        self.totals.add(&warmed);
        self.answers.queue(AdminResponse::Image(ImageResult::new(name, warmed))).await;
    }

    /// Sends the totals from time to time; never returns.
    async fn beat(&self) {
        let mut beats = interval(HEARTBEAT_INTERVAL);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beats.tick().await;
            self.answers.offer(self.totals.progress());
        }
    }
}

impl Totals {
    fn add(&self, warmed: &Result<WarmImage, ImageError>) {
        self.done.fetch_add(1, Ordering::Relaxed);
        match warmed {
            Ok(warm) => {
                self.fetched.fetch_add(warm.fetched, Ordering::Relaxed);
                self.present.fetch_add(warm.present, Ordering::Relaxed);
            }
            Err(_) => drop(self.failed.fetch_add(1, Ordering::Relaxed)),
        }
    }

    fn progress(&self) -> AdminResponse {
        let figure = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        AdminResponse::Progress {
            done: figure(&self.done),
            of: Some(figure(&self.images)),
            bytes: figure(&self.fetched),
        }
    }

    fn response(&self) -> AdminResponse {
        let figure = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        AdminResponse::Warmed {
            images: figure(&self.images),
            failed: figure(&self.failed),
            fetched: figure(&self.fetched),
            present: figure(&self.present),
        }
    }
}

fn response(image: &str, event: WarmEvent) -> AdminResponse {
    let image = image.to_owned();
    match event {
        WarmEvent::Planned(blobs) => {
            let size = |blob: &crate::oci::Descriptor| BlobSize { digest: blob.digest.to_string(), bytes: blob.size };
            AdminResponse::ImagePlanned { image, blobs: blobs.iter().map(size).collect() }
        }
        WarmEvent::Progress { digest, bytes, of } => {
            AdminResponse::BlobProgress { image, digest: digest.to_string(), bytes, of }
        }
    }
}
