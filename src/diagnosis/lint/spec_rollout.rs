//! `spec.rollout` of an MtaStsPolicy.

use std::collections::BTreeSet;

use crate::diagnosis::spec::{SpecFields, SpecRollout, SpecStage};
use crate::diagnosis::text::quote;
use crate::diagnosis::{Code, Finding};
use crate::limits::{SPEC_STAGE_COUNT, STAGE_SECONDS};
use crate::protocol::MaxAge;

const FIELD: &str = "spec.rollout";

fn finding(subject: &str, message: &str, remedy: &str) -> Finding {
    Finding::new(Code::SpecRolloutInvalid, subject, message).with_remedy(remedy)
}

/// What is wrong with the rollout of a spec.
pub(super) fn rollout(rollout: &SpecRollout<'_>, spec: &SpecFields<'_>) -> Vec<Finding> {
    let SpecRollout {
        strategy,
        approval,
        on_failure,
        stages,
    } = rollout;
    let mut findings = Vec::new();
    findings.extend(one_of("strategy", *strategy, ["Direct", "Progressive"]));
    findings.extend(one_of("approval", *approval, ["Automatic", "Manual"]));
    findings.extend(one_of("onFailure", *on_failure, ["Freeze", "Rollback"]));
    let rolls_back = *on_failure == Some("Rollback");
    if *strategy != Some("Progressive") {
        findings.extend(rolls_back.then(|| {
            finding(
                &format!("{FIELD}.onFailure"),
                "Rollback is for strategy Progressive: without stages there is none to go back to",
                "write: strategy: Progressive, or leave onFailure out",
            )
        }));
        findings.extend((!stages.is_empty()).then(|| {
            finding(
                FIELD,
                "there are stages, and the strategy is not Progressive",
                "write: strategy: Progressive",
            )
        }));
        return findings;
    }
    if spec.mode != Some("enforce") {
        findings.push(finding(
            FIELD,
            "strategy Progressive leads to mode enforce",
            "write: mode: enforce (the stages begin with testing)",
        ));
    }
    if spec.max_age_seconds.is_some() {
        findings.push(finding(
            FIELD,
            "with strategy Progressive each stage has its own maxAgeSeconds",
            "leave spec.maxAgeSeconds out",
        ));
    }
    findings.extend(ladder(stages));
    let tested = |stage: &SpecStage<'_>| stage.mode == Some("testing");
    if rolls_back && !stages.is_empty() && !stages.iter().any(tested) {
        findings.push(finding(
            &format!("{FIELD}.onFailure"),
            "Rollback goes back to a stage in mode testing, and there is none",
            "write one in mode testing first, or leave onFailure out",
        ));
    }
    findings
}

fn one_of(field: &str, written: Option<&str>, words: [&str; 2]) -> Option<Finding> {
    let written = written.filter(|written| !words.contains(written))?;
    let [first, second] = words;
    let found = finding(
        &format!("{FIELD}.{field}"),
        &format!("{field} is {first} or {second}"),
        &format!("write {first} or {second}, or leave it out ({first})"),
    );
    Some(found.with_evidence(&quote(written.as_bytes())))
}

fn ladder(stages: &[SpecStage<'_>]) -> Vec<Finding> {
    let field = format!("{FIELD}.stages");
    if stages.len() > SPEC_STAGE_COUNT {
        let message = format!(
            "there are {} stages, at most {SPEC_STAGE_COUNT} are allowed",
            stages.len()
        );
        return vec![finding(&field, &message, "three or four are enough")];
    }
    let mut findings = Vec::new();
    let mut names = BTreeSet::new();
    for (index, stage) in stages.iter().enumerate() {
        let subject = format!("{field}[{index}]");
        findings.extend(one(&subject, stage));
        if !names.insert(stage.name) {
            let message = format!("{} stands twice", quote(stage.name.as_bytes()));
            findings.push(finding(
                &subject,
                &message,
                "give each stage a name of its own",
            ));
        }
    }
    let enforced = |stage: &SpecStage<'_>| stage.mode == Some("enforce");
    let softened = stages.iter().skip_while(|stage| !enforced(stage));
    let ends_in_enforce = stages.last().is_none_or(enforced);
    if softened.clone().any(|stage| !enforced(stage)) || !ends_in_enforce {
        findings.push(finding(
            &field,
            "the stages do not lead from testing to enforce",
            "write those in mode testing first, then one or more in mode enforce",
        ));
    }
    findings
}

fn one(subject: &str, stage: &SpecStage<'_>) -> Vec<Finding> {
    let SpecStage {
        name,
        mode,
        max_age_seconds,
        min_duration_seconds,
    } = stage;
    let mut findings = Vec::new();
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_name = name.starts_with(plain)
        && name.ends_with(plain)
        && name.len() <= 63
        && name.chars().all(|c| plain(c) || c == '-');
    if !is_name {
        let found = finding(
            &format!("{subject}.name"),
            "the name is not of lower-case letters, digits and hyphens",
            "write a name such as observe",
        );
        findings.push(found.with_evidence(&quote(name.as_bytes())));
    }
    if !matches!(mode, Some("testing" | "enforce")) {
        let found = finding(
            &format!("{subject}.mode"),
            "the mode of a stage is testing or enforce",
            "write testing or enforce",
        );
        findings.push(found.with_evidence(&quote(mode.unwrap_or_default().as_bytes())));
    }
    let max_age = max_age_seconds.and_then(|seconds| u32::try_from(seconds).ok());
    let max_age = max_age.filter(|seconds| *seconds > 0);
    if max_age.is_none_or(|seconds| MaxAge::from_seconds(seconds).is_err()) {
        let message = format!("maxAgeSeconds is 1 to {}", MaxAge::MAX);
        let subject = format!("{subject}.maxAgeSeconds");
        findings.push(finding(&subject, &message, "write 86400 or more"));
    }
    if min_duration_seconds.is_some_and(|seconds| !(0..=STAGE_SECONDS).contains(&seconds)) {
        let message = format!("minDurationSeconds is 0 to {STAGE_SECONDS}");
        let subject = format!("{subject}.minDurationSeconds");
        findings.push(finding(&subject, &message, "write 1209600 for two weeks"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage<'a>(name: &'a str, mode: &'a str) -> SpecStage<'a> {
        SpecStage {
            name,
            mode: Some(mode),
            max_age_seconds: Some(86_400),
            min_duration_seconds: None,
        }
    }

    #[test]
    fn a_ladder_leads_from_testing_to_enforce() {
        let (a, b, c) = (
            stage("a", "testing"),
            stage("b", "enforce"),
            stage("c", "testing"),
        );
        let odd = SpecStage {
            max_age_seconds: None,
            min_duration_seconds: Some(-1),
            ..stage("Odd", "none")
        };
        let eleven: Vec<_> = (0..11).map(|_| stage("x", "enforce")).collect();
        for (case, stages, expected) in [
            ("none: the default ones", vec![], 0),
            ("up", vec![a.clone(), b.clone()], 0),
            ("enforce alone", vec![b.clone()], 0),
            ("down", vec![b.clone(), c.clone()], 1),
            (
                "down and up",
                vec![a.clone(), b.clone(), c, stage("d", "enforce")],
                1,
            ),
            ("never enforced", vec![a.clone()], 1),
            ("a name twice", vec![a.clone(), a, b.clone()], 1),
            ("all wrong", vec![odd, b], 4),
            ("too many", eleven, 1),
        ] {
            let found = ladder(&stages);
            assert_eq!(found.len(), expected, "{case}: {found:?}");
        }
    }

    #[test]
    fn a_progressive_rollout_ends_in_enforce_and_has_its_own_max_age() {
        let written = |strategy| SpecRollout {
            strategy: Some(strategy),
            ..SpecRollout::default()
        };
        let spec = |mode, max_age_seconds| SpecFields {
            mode,
            max_age_seconds,
            ..SpecFields::default()
        };
        for (case, strategy, spec, expected) in [
            ("good", "Progressive", spec(Some("enforce"), None), 0),
            ("no mode", "Progressive", spec(None, None), 1),
            (
                "two max_ages",
                "Progressive",
                spec(Some("enforce"), Some(86_400)),
                1,
            ),
            ("direct", "Direct", spec(None, Some(86_400)), 0),
            ("misspelt", "progressive", spec(Some("enforce"), None), 1),
        ] {
            let found = rollout(&written(strategy), &spec);
            assert_eq!(found.len(), expected, "{case}: {found:?}");
        }
    }
}
