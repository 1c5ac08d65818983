//! Prints the progress of warming: bars on a terminal, elsewhere a line at the begin and the end of each image, or
//! JSON.

use std::io::{IsTerminal, stderr, stdout};

use super::bars::Bars;
use crate::{
    admin::{AdminResponse, ImageResult},
    cli::print_line,
    units::size,
};

/// The report of one request.
pub(super) struct WarmReport {
    form: WarmForm,
    failed: Vec<ImageResult>,
}

enum WarmForm {
    Json,
    Lines,
    Bars(Box<Bars>),
}

impl WarmReport {
    pub(super) fn new(json: bool) -> Self {
        let form = match json {
            true => WarmForm::Json,
            false if stderr().is_terminal() => WarmForm::Bars(Box::default()),
            false => WarmForm::Lines,
        };
        Self { form, failed: Vec::new() }
    }

    /// Prints a response.
    pub(super) fn show(&mut self, answer: &AdminResponse) {
        if let AdminResponse::Image(result) = answer
            && result.error.is_some()
        {
            self.failed.push(result.clone());
        }
        match &mut self.form {
            WarmForm::Json => {
                let line = Some(answer).filter(|answer| matches!(answer, AdminResponse::Image(_)));
                let line = line.and_then(|answer| serde_json::to_string(answer).ok());
                line.iter().for_each(|line| print_line(&mut stdout(), line));
            }
            WarmForm::Lines => line(answer, true).iter().for_each(|line| print_line(&mut stdout(), line)),
            WarmForm::Bars(bars) => {
                bars.update(answer);
                line(answer, false).iter().for_each(|line| bars.print(line));
            }
        }
    }

    /// Removes the bars, and lists the images that failed.
    pub(super) fn close(mut self) {
        if let WarmForm::Bars(bars) = &mut self.form {
            bars.clear();
        }
        for ImageResult { image, error, .. } in &self.failed {
            print_line(&mut stderr(), &format!("entrepot: {image}: {}", error.as_deref().unwrap_or_default()));
        }
    }
}

fn line(answer: &AdminResponse, tells_begins: bool) -> Option<String> {
    match answer {
        AdminResponse::ImageBegun { image } if tells_begins => Some(format!("fetching {image}")),
        AdminResponse::Image(ImageResult { image, error: Some(_), .. }) => Some(format!("failed {image}")),
        AdminResponse::Image(ImageResult { image, fetched, present, result, .. }) => {
            let stale = if result == "stale" { "; the upstream cannot be asked whether it has moved" } else { "" };
            Some(format!("warmed {image}: {} fetched, {} here already{stale}", size(*fetched), size(*present)))
        }
        AdminResponse::Warmed { images, failed, fetched, present } => Some(format!(
            "{} of {images} images are here: {} fetched, {} here already",
            images - failed,
            size(*fetched),
            size(*present)
        )),
        _ => None,
    }
}
