//! A plan for people.

use std::io::{self, Write};

use jiff::Timestamp;

use super::{Change, Plan, PolicyShown};
use crate::cli::words::{duration, time_and_distance};
use crate::diagnosis::printable;

/// Writes the plans, one after the other.
pub(super) fn write(out: &mut dyn Write, plans: &[Plan], now: Timestamp) -> io::Result<()> {
    for (at, plan) in plans.iter().enumerate() {
        if at > 0 {
            writeln!(out)?;
        }
        one(out, plan, now)?;
    }
    out.flush()
}

fn one(out: &mut dyn Write, plan: &Plan, now: Timestamp) -> io::Result<()> {
    writeln!(out, "{}  {}", plan.domain, printable(&plan.name))?;
    let before = plan.before.as_ref().map_or("nothing".to_owned(), policy);
    writeln!(out, "  now      {before}")?;
    writeln!(out, "           by {}", printable(&plan.known_from))?;
    if plan.change == Change::Nothing {
        writeln!(out, "  then     the same: senders see no change")?;
    } else {
        writeln!(out, "  then     {}", policy(&plan.after))?;
        for line in &plan.body {
            writeln!(out, "           {}", printable(line))?;
        }
    }
    if let Some(end) = &plan.id_ends {
        writeln!(
            out,
            "  id       the time of the decision (YYYYMMDDHHMMSS), then {end}"
        )?;
    }
    if let Some(held) = &plan.held {
        writeln!(out, "  held     what is written waits: {}", printable(held))?;
    }
    for (at, step) in plan.steps.iter().enumerate() {
        let head = if at == 0 { "steps" } else { "" };
        writeln!(out, "  {head:<8} {}. {step}", at + 1)?;
    }
    if plan.change != Change::Nothing {
        let after = duration(plan.conforming_senders_after_seconds.into());
        writeln!(
            out,
            "  senders  those that follow RFC 8461: {after} after the last step"
        )?;
        match plan.all_senders_by {
            Some(by) => {
                let by = time_and_distance(by, now);
                writeln!(out, "           all of them: by {by}, were it replaced now")?;
            }
            None => writeln!(
                out,
                "           nobody holds another policy of this operator"
            )?,
        }
    }
    if let Some(at) = plan.enforce_not_before {
        let at = match at > now {
            true => format!("not before {}", time_and_distance(at, now)),
            false => "at once, unless it is held".to_owned(),
        };
        writeln!(out, "  enforce  {at}")?;
    }
    Ok(())
}

fn policy(policy: &PolicyShown) -> String {
    let age = duration(policy.max_age_seconds.into());
    format!(
        "{}, kept for {age}, MX {}",
        policy.mode,
        policy.mx.join(", ")
    )
}
