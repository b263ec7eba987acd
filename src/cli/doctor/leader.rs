//! The controller's Lease, and the clocks. (io)

use http::header::DATE;
use jiff::fmt::rfc2822;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::client::Body;

use super::Site;
use super::answer::Answer;
use crate::cli::lease::{Seen, holder, watch};
use crate::cli::words::duration;
use crate::{clock, limits};

const LEASE: &str = "leader";
const CLOCK: &str = "clock";

pub(super) async fn look(site: &Site<'_>) -> Vec<Answer> {
    let api = Api::<Lease>::namespaced(site.cluster.client.clone(), &site.namespace);
    let subject = format!("Lease {}/{}", site.namespace, site.args.lease_name);
    let seen = watch(&api, &site.args.lease_name).await;
    let server = server_time(site).await;
    let mut answers = vec![clock_of("this machine", server.ok(), Some(clock::now()))];
    match seen {
        Ok(seen) => {
            if let Seen::Fresh(lease) = &seen {
                // It was renewed a moment ago, by the clock of whoever holds it.
                let renewed = lease.spec.as_ref().and_then(|s| s.renew_time.as_ref());
                let controller = renewed.map(|time| time.0);
                answers.push(clock_of("the controller", server.ok(), controller));
            }
            answers.insert(0, held(subject, &seen));
        }
        Err(error) => answers.insert(0, Answer::unknown(LEASE, subject, &error)),
    }
    answers
}

fn held(subject: String, seen: &Seen) -> Answer {
    const START: &str =
        "look at its pods: kubectl get pods and kubectl logs in the operator's namespace";
    match seen {
        Seen::Fresh(lease) => {
            let holder = holder(lease).unwrap_or_default();
            Answer::ok(LEASE, subject, format!("{holder} leads, and renews it"))
        }
        Seen::Missing => Answer::error(
            LEASE,
            subject,
            "there is none: no controller has ever led here",
        )
        .remedy(format!(
            "install the controller, or say where it is with -n; {START}"
        )),
        Seen::Free => {
            Answer::error(LEASE, subject, "nobody holds it: no controller runs").remedy(START)
        }
        Seen::Stale(lease) => {
            let holder = holder(lease).unwrap_or_default();
            let seconds = limits::LEASE_TIME.as_secs();
            let message = format!(
                "{holder} holds it, and has not renewed it for {seconds} seconds: no controller runs"
            );
            Answer::error(LEASE, subject, message).remedy(START)
        }
    }
}

/// What time it is at the API server, to the second.
async fn server_time(site: &Site<'_>) -> Result<Timestamp, ()> {
    let request = http::Request::get("/version").body(Body::empty());
    let answer = site.cluster.client.send(request.map_err(|_| ())?).await;
    let answer = answer.map_err(|_| ())?;
    let date = answer.headers().get(DATE).ok_or(())?;
    let date = date.to_str().map_err(|_| ())?;
    rfc2822::DateTimeParser::new()
        .parse_timestamp(date)
        .map_err(|_| ())
}

/// Above this nothing is retired, and TSIG keys are refused.
const TOO_FAR: SignedDuration = SignedDuration::from_secs(300);
/// Above this somebody should look at it.
const FAR: SignedDuration = SignedDuration::from_secs(30);

fn clock_of(whose: &str, server: Option<Timestamp>, own: Option<Timestamp>) -> Answer {
    let (Some(server), Some(own)) = (server, own) else {
        return Answer::warning(CLOCK, whose, "the API server gives no time to compare with");
    };
    let off = own.duration_since(server).abs();
    let words = duration(off.as_secs().unsigned_abs());
    let message = format!("it is {words} off the API server's");
    let remedy = "set the clock of the machine (NTP): dates in records and TSIG depend on it";
    if off > TOO_FAR {
        Answer::error(CLOCK, whose, message).remedy(remedy)
    } else if off > FAR {
        Answer::warning(CLOCK, whose, message).remedy(remedy)
    } else {
        Answer::ok(CLOCK, whose, "it agrees with the API server's")
    }
}
