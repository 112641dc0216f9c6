//! The fields of the file as they are written, before anything is checked against anything else.

use std::collections::BTreeMap;
use std::fmt;

use lineal_facts::{GateName, PipelineName, SnapshotRef, StepName};
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde::{Deserialize, de};

use super::duration;
use super::name::{DataName, EnvName, InputName, OutputName, ParamName};
use super::param::ParamValue;
use super::resources::{LabelName, LabelValue, Quantity, ResourceName};
use super::{Determinism, OutputKind, Probe};
use crate::gate::Expectations;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PipelineFile {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    pub(super) metadata: Metadata,
    #[serde(default)]
    pub(super) seed: u64,
    #[serde(default)]
    pub(super) params: BTreeMap<ParamName, ParamValue>,
    #[serde(default)]
    pub(super) data: BTreeMap<DataName, DatasetUri>,
    #[serde(default)]
    pub(super) envs: BTreeMap<EnvName, EnvFile>,
    #[serde(default)]
    pub(super) code: Vec<String>,
    pub(super) determinism: Option<Determinism>,
    pub(super) steps: Ordered<StepFile>,
    #[serde(default)]
    pub(super) gates: BTreeMap<GateName, GateFile>,
    pub(super) serve: Option<ServeFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Metadata {
    pub(super) name: PipelineName,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EnvFile {
    pub(super) python: Option<String>,
    pub(super) image: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StepFile {
    pub(super) run: Vec<String>,
    pub(super) env: Option<String>,
    #[serde(default, rename = "in")]
    pub(super) inputs: BTreeMap<InputName, String>,
    #[serde(default)]
    pub(super) params: Vec<String>,
    #[serde(default)]
    pub(super) out: BTreeMap<OutputName, OutputFile>,
    #[serde(default, deserialize_with = "duration::deserialize")]
    pub(super) timeout: Option<u64>,
    #[serde(default)]
    pub(super) resources: BTreeMap<ResourceName, Quantity>,
    #[serde(default)]
    pub(super) node_selector: BTreeMap<LabelName, LabelValue>,
    pub(super) determinism: Option<Determinism>,
    #[serde(default)]
    pub(super) probe: Vec<Probe>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GateFile {
    pub(super) contract: Option<String>,
    pub(super) on: Option<String>,
    pub(super) metrics: Option<String>,
    pub(super) model: Option<String>,
    pub(super) requests: Option<String>,
    pub(super) expect: Option<Expectations>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServeFile {
    pub(super) model: String,
    pub(super) run: Vec<String>,
    pub(super) env: Option<String>,
    pub(super) output: String,
    #[serde(default, deserialize_with = "duration::deserialize")]
    pub(super) ready_timeout: Option<u64>,
}

/// `train.csv` or `{path: train.csv, as: metrics}`.
pub(super) struct OutputFile {
    pub(super) path: String,
    pub(super) kind: OutputKind,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LongOutput {
    path: String,
    #[serde(rename = "as")]
    kind: Option<OutputKind>,
}

impl<'de> Deserialize<'de> for OutputFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = OutputFile;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path, or a map of `path` and `as`")
            }

            fn visit_str<E>(self, path: &str) -> Result<OutputFile, E> {
                Ok(OutputFile { path: path.to_owned(), kind: OutputKind::Artifact })
            }

            fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<OutputFile, A::Error> {
                let long = LongOutput::deserialize(de::value::MapAccessDeserializer::new(fields))?;
                Ok(OutputFile { path: long.path, kind: long.kind.unwrap_or(OutputKind::Artifact) })
            }
        }

        deserializer.deserialize_any(Either)
    }
}

/// `dataset://NAME@TAG`.
pub(super) struct DatasetUri(pub(super) SnapshotRef);

impl<'de> Deserialize<'de> for DatasetUri {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let Some(reference) = text.strip_prefix("dataset://") else {
            return Err(D::Error::custom("expected `dataset://NAME@TAG` or `dataset://NAME@sha256:HEX`"));
        };
        reference.parse().map(Self).map_err(D::Error::custom)
    }
}

/// Steps in the order of the file.
pub(super) struct Ordered<T>(pub(super) Vec<(StepName, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Ordered<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = Ordered<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map from step names to steps")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Ordered<T>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = fields.next_entry()? {
                    entries.push(entry);
                }
                Ok(Ordered(entries))
            }
        }

        deserializer.deserialize_map(Entries(std::marker::PhantomData))
    }
}
