//! Opens a signed route table: the only place that knows its envelope.

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderValue;
use lineal_engine::route::{Route, RouteError, RouteTable, Share};
use lineal_facts::json;
use lineal_proof::envelope::{ENVELOPE_LIMIT_BYTES, Envelope};
use lineal_proof::key::PublicKey;

/// The DSSE payload type of a route table.
pub(crate) const PAYLOAD_TYPE: &str = "application/vnd.lineal.route-table+json";
/// Largest envelope that is read.
pub(crate) const TABLE_LIMIT_BYTES: usize = ENVELOPE_LIMIT_BYTES;

/// Why a table is not served; the one before stays.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TableError {
    #[error("not a route table in a DSSE envelope: {0}")]
    Envelope(String),
    #[error("the envelope holds `{0}`; expected `{PAYLOAD_TYPE}`")]
    Type(String),
    #[error("the signature of the route table is not by the router key")]
    Signature,
    #[error("the signed route table cannot be read: {0}")]
    Payload(String),
    #[error(transparent)]
    Routes(#[from] RouteError),
    #[error(
        "route table generation {offered} is not above {served}, which is served; if the control plane started \
         anew, stop the gateway and remove its state file"
    )]
    Generation { offered: u64, served: u64 },
}

/// A table that was checked, indexed by model.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) generation: u64,
    routes: HashMap<String, Arc<ServedRoute>>,
}

/// One route with what the hot path would otherwise format for every request.
#[derive(Debug)]
pub(crate) struct ServedRoute {
    pub(crate) route: Route,
    /// Generation of its table.
    pub(crate) generation: u64,
    /// `<model>/<version>` of each share.
    labels: Vec<HeaderValue>,
    /// Position of the stable share.
    pub(crate) stable: usize,
}

/// Checks signature, format and routes. The generation is the caller's business.
pub(crate) fn open(bytes: &[u8], key: &PublicKey) -> Result<Snapshot, TableError> {
    let envelope = Envelope::from_bytes(bytes).map_err(|e| TableError::Envelope(e.to_string()))?;
    if envelope.payload_type != PAYLOAD_TYPE {
        return Err(TableError::Type(envelope.payload_type.chars().take(100).collect()));
    }
    key.verify(&envelope.pae(), &envelope.signature).map_err(|_| TableError::Signature)?;
    let table: RouteTable = json::parse(&envelope.payload).map_err(|e| TableError::Payload(e.to_string()))?;
    table.check()?;
    Ok(Snapshot::new(table))
}

impl Snapshot {
    fn new(table: RouteTable) -> Self {
        let generation = table.generation;
        let routes = table.routes.into_iter().map(|route| {
            let labels = route.shares.iter().map(|share| label(&route, share)).collect();
            // `check` saw to it that the stable share exists and is the last.
            let stable = route.shares.len().saturating_sub(1);
            let model = route.model.as_str().to_owned();
            (model, Arc::new(ServedRoute { route, generation, labels, stable }))
        });
        Self { generation, routes: routes.collect() }
    }

    pub(crate) fn route(&self, model: &str) -> Option<&Arc<ServedRoute>> {
        self.routes.get(model)
    }

    pub(crate) fn len(&self) -> usize {
        self.routes.len()
    }
}

impl ServedRoute {
    /// Position of the share that serves `key`.
    pub(crate) fn choose(&self, key: &str) -> usize {
        let chosen = self.route.share(key);
        let position = self.route.shares.iter().position(|s| chosen.is_some_and(|c| std::ptr::eq(c, s)));
        position.unwrap_or(self.stable)
    }

    /// The share at `position`, or the stable one: positions come from [`ServedRoute::choose`].
    pub(crate) fn share(&self, position: usize) -> Option<&Share> {
        self.route.shares.get(position).or_else(|| self.route.stable())
    }

    /// `<model>/<version>` for the answer's header.
    pub(crate) fn label(&self, position: usize) -> Option<&HeaderValue> {
        self.labels.get(position)
    }
}

fn label(route: &Route, share: &Share) -> HeaderValue {
    // Names are letters, digits and `-`: always a header value.
    HeaderValue::try_from(format!("{}/{}", route.model, share.version))
        .unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
pub(crate) mod tests;
