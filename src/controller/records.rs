//! The durable records: one ConfigMap a domain. Every write is a compare-and-swap.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ObjectMeta, PostParams, Preconditions};
use kube::{Api, ResourceExt};

use super::error::Error;
use crate::api::FIELD_MANAGER;
use crate::lifecycle::names::object_name;
use crate::lifecycle::record::{
    BODY_KEY, DOMAIN_ANNOTATION, PUBLICATION_KEY, RECORD_ROLE, RETIRING_LABEL, ROLE_LABEL,
};
use crate::lifecycle::{Publication, Record, RecordError};
use crate::protocol::Domain;

/// A record as it was read.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    object: ConfigMap,
    /// What it says.
    pub(super) content: Content,
}

/// What a record's ConfigMap says.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// A record.
    Good(Box<Record>),
    /// A record whose body was edited by hand.
    Edited(Box<Publication>, String),
    /// Nothing that can be read.
    Unreadable,
}

impl Stored {
    pub(super) fn read(object: ConfigMap) -> Self {
        let data = object.data.clone().unwrap_or_default();
        let content = match Record::from_data(&data) {
            Ok(record) => Content::Good(Box::new(record)),
            Err(RecordError::BodyChanged { publication, .. }) => {
                Content::Edited(publication, data.get(BODY_KEY).cloned().unwrap_or_default())
            }
            Err(error) => {
                tracing::warn!(%error, "a record was edited by hand and cannot be read");
                Content::Unreadable
            }
        };
        Self { object, content }
    }

    /// When this operator wrote it last, by the API server's clock, to the second.
    pub(super) fn written_at(&self) -> Option<Timestamp> {
        let fields = self.object.metadata.managed_fields.iter().flatten();
        let ours = fields.filter(|entry| entry.manager.as_deref() == Some(FIELD_MANAGER));
        ours.filter_map(|entry| Some(entry.time.as_ref()?.0)).max()
    }

    /// The record, where it is good.
    pub(super) fn record(&self) -> Option<&Record> {
        match &self.content {
            Content::Good(record) => Some(record),
            _ => None,
        }
    }

    /// The publication, where it can be read.
    pub(super) fn publication(&self) -> Option<&Publication> {
        match &self.content {
            Content::Good(record) => Some(&record.publication),
            Content::Edited(publication, _) => Some(publication),
            Content::Unreadable => None,
        }
    }
}

/// The records of the operator's namespace.
#[derive(Clone)]
pub(super) struct Records {
    api: Api<ConfigMap>,
}

impl Records {
    /// The API of the ConfigMaps themselves.
    pub(super) fn api(&self) -> Api<ConfigMap> {
        self.api.clone()
    }

    pub(super) fn new(api: Api<ConfigMap>) -> Self {
        Self { api }
    }

    /// The record of a domain, as the API server has it now, not as a cache remembers it.
    pub(super) async fn read(&self, domain: &Domain) -> Result<Option<Stored>, Error> {
        Ok(self
            .api
            .get_opt(&object_name(domain))
            .await?
            .map(Stored::read))
    }

    /// Writes a record in place of what was read: nothing, or exactly that version.
    pub(super) async fn write(
        &self,
        before: Option<&Stored>,
        record: &Record,
    ) -> Result<Stored, Error> {
        let domain = &record.publication.domain;
        let name = object_name(domain);
        let object = ConfigMap {
            metadata: metadata(record, &name, before.map(|b| &b.object)),
            data: Some(record.to_data()?),
            ..ConfigMap::default()
        };
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let written = match before {
            None => self.api.create(&params, &object).await?,
            Some(_) => self.api.replace(&name, &params, &object).await?,
        };
        Ok(Stored::read(written))
    }

    /// Deletes exactly the version that was read.
    pub(super) async fn delete(&self, stored: &Stored) -> Result<(), Error> {
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                resource_version: stored.object.resource_version(),
                uid: stored.object.uid(),
            }),
            ..DeleteParams::default()
        };
        match self.api.delete(&stored.object.name_any(), &params).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Labels and annotations of other people stay; ours are set.
fn metadata(record: &Record, name: &str, before: Option<&ConfigMap>) -> ObjectMeta {
    let domain = &record.publication.domain;
    let retiring = record.publication.retiring.is_some();
    let old = before
        .map(|object| object.metadata.clone())
        .unwrap_or_default();
    let mut labels = old.labels.unwrap_or_default();
    labels.extend(object_labels(RECORD_ROLE));
    match retiring {
        true => labels.insert(RETIRING_LABEL.to_owned(), "true".to_owned()),
        false => labels.remove(RETIRING_LABEL),
    };
    let mut annotations = old.annotations.unwrap_or_default();
    annotations.insert(DOMAIN_ANNOTATION.to_owned(), domain.to_string());
    ObjectMeta {
        name: Some(name.to_owned()),
        resource_version: old.resource_version,
        labels: Some(labels),
        annotations: Some(annotations),
        ..ObjectMeta::default()
    }
}

/// Labels of every object that the operator makes.
pub(super) fn object_labels(role: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        (
            "app.kubernetes.io/managed-by".to_owned(),
            FIELD_MANAGER.to_owned(),
        ),
        (ROLE_LABEL.to_owned(), role.to_owned()),
    ])
}

/// The domain and publication of a record as a cache has it: enough to see who holds what.
pub(super) fn cached_publication(object: &ConfigMap) -> Option<Publication> {
    let text = object.data.as_ref()?.get(PUBLICATION_KEY)?;
    serde_json::from_str(text).ok()
}
