//! How far a look at many domains has come, on a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

use super::CheckArgs;
use crate::cli::findings_output::Format;

/// A bar on standard error, which goes away when it is dropped. It is not drawn for one domain, nor for
/// scripts, nor where standard error is no terminal.
///
/// It is drawn when a domain is done, and never by a thread of its own: the command holds the lock of
/// standard error.
pub(super) fn bar(args: &CheckArgs, domains: usize) -> ProgressBar {
    if domains < 2 || args.shown.output != Format::Text {
        return ProgressBar::hidden();
    }
    let length = u64::try_from(domains).ok();
    let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr())
        .with_finish(ProgressFinish::AndClear);
    let style = ProgressStyle::with_template("[{bar:40}] {pos} of {len} domains, {eta} left");
    if let Ok(style) = style {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.tick();
    bar
}
