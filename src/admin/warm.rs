//! Warms images for a client of the admin socket: a few at once, with their progress.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use futures_util::{StreamExt, stream};

use super::{
    AdminResponse,
    answers::Answers,
    image_messages::{BlobSize, ImageResult},
    images::{Address, ImagesRequest, MAX_CONCURRENT_IMAGES},
};
use crate::{
    oci::PlatformSelection,
    registry::{ImageError, Registry, WarmEvent, WarmImage},
};

/// A request to warm images.
pub(super) struct Warming<'a> {
    registry: &'a Arc<Registry>,
    answers: &'a Answers,
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
    let request = match ImagesRequest::parse(images, platforms) {
        Ok(request) => request,
        Err(message) => return answers.queue(AdminResponse::Failed { message }).await,
    };
    let warming = Warming { registry, answers: &answers, totals: Totals::default() };
    tokio::select! {
        () = warming.run(&request) => answers.queue(warming.totals.response()).await,
        () = answers.beat(|| warming.totals.progress()) => {}
        () = answers.abandoned() => tracing::info!("admin client left; its images are no longer fetched"),
    }
}

impl Warming<'_> {
    async fn run(&self, request: &ImagesRequest) {
        let wanted = request.addressed(self.registry).await;
        self.totals.images.store(wanted.len() as u64, Ordering::Relaxed);
        let platforms = &request.platforms;
        let warmed = wanted.into_iter().map(|(name, address)| self.image(name, address, platforms));
        stream::iter(warmed.collect::<Vec<_>>()).buffer_unordered(MAX_CONCURRENT_IMAGES).for_each(|()| async {}).await;
    }

    async fn image(&self, name: String, address: Result<Address, ImageError>, platforms: &PlatformSelection) {
        self.answers.queue(AdminResponse::ImageBegun { image: name.clone() }).await;
        let on_event = |event| self.answers.offer(response(&name, event));
        let warmed = match address {
            Ok((repository, reference)) => self.registry.warm(&repository, &reference, platforms, &on_event).await,
            Err(error) => Err(error),
        };
        self.totals.add(&warmed);
        self.answers.queue(AdminResponse::Image(ImageResult::new(name, warmed))).await;
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
