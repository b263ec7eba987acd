//! `mta-sts crds`: the CustomResourceDefinitions as YAML.

use std::io::{self, Write};

use crate::api;

/// Writes all CustomResourceDefinitions as a stream of YAML documents.
pub fn run(out: &mut dyn Write) -> io::Result<()> {
    for crd in api::crds() {
        let yaml = serde_yaml::to_string(&crd).map_err(io::Error::other)?;
        write!(out, "---\n{yaml}")?;
    }
    Ok(())
}
