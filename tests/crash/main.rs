//! A policy's whole life with harm at every single write: the controller is killed just before it or just
//! after it, its answer is lost, or somebody has written in between, so that what was read is stale. The
//! outside never sees an announced id without its body, and there is one id for each decision.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::disallowed_methods
)]

mod ladder;
mod lane;
mod life;
#[path = "../support/mod.rs"]
mod support;

use std::time::Instant;

use lane::{Harm, Lane};
use support::world::timed;

#[tokio::test(flavor = "multi_thread")]
async fn killed_just_before_each_write() {
    live_with_a_kill_at_each_write(Harm::KilledBefore).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_just_after_each_write_and_before_its_answer_arrives() {
    live_with_a_kill_at_each_write(Harm::KilledAfter).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_to_each_write_is_lost() {
    live_with_harm_to_each_write(Harm::AnswerLost).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_has_written_just_before_each_write() {
    live_with_harm_to_each_write(Harm::Stale).await;
}

async fn live_with_a_kill_at_each_write(harm: Harm) {
    let begun = Instant::now();
    let lane = Lane::start(harm).await;
    lane.start_the_operator().await;
    eprintln!("{harm:?}: started after {}", timed(begun));
    let publication = lane.publish().await;
    eprintln!("{harm:?}: published after {}", timed(begun));
    let change = lane.change().await;
    eprintln!("{harm:?}: changed after {}", timed(begun));
    let retirement = lane.retire().await;
    eprintln!("{harm:?}: retired after {}", timed(begun));
    let climb = lane.climb().await;
    eprintln!("{harm:?}: climbed after {}", timed(begun));
    let graceful = lane.retire_gracefully().await;
    eprintln!("{harm:?}: retired gracefully after {}", timed(begun));
    // A matrix that went by without kills proves nothing.
    assert!(
        publication >= 10 && change >= 6 && retirement >= 8 && climb >= 5 && graceful >= 9,
        "too few kills: {publication} in publications, {change} in changes, {retirement} in retirements, {climb} in climbs, {graceful} in graceful retirements"
    );
}

/// The controller lives on, so that all domains can come to harm at once, each at another write.
async fn live_with_harm_to_each_write(harm: Harm) {
    let begun = Instant::now();
    let lane = Lane::start(harm).await;
    let harms = lane.live_at_once().await;
    eprintln!("{harm:?}: {harms:?} after {}", timed(begun));
    let least = [10, 5, 5, 4];
    assert!(
        harms
            .iter()
            .zip(least)
            .all(|(harms, least)| *harms >= least),
        "too little harm in publication, climb, retirement and its end: {harms:?}"
    );
}
