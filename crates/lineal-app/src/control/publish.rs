//! The signed route table.

use lineal_engine::route::RouteTable;
use lineal_proof::{Envelope, Signer};

use crate::failure::{Code, Failure};

/// The DSSE payload type of a route table.
pub(super) const PAYLOAD_TYPE: &str = "application/vnd.lineal.route-table+json";

/// A route table as gateways fetch it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedTable {
    /// Its generation; 0 means that there is none yet.
    pub generation: u64,
    /// The signed DSSE envelope.
    pub envelope: Vec<u8>,
}

impl PublishedTable {
    pub(super) fn none() -> Self {
        Self { generation: 0, envelope: Vec::new() }
    }

    /// Checks and signs `table`.
    pub(super) fn sign(table: &RouteTable, signer: &dyn Signer) -> Result<Self, Failure> {
        table.check().map_err(|e| Failure::caused(Code::Internal, &e))?;
        let payload = serde_json::to_vec(table).map_err(|e| Failure::caused(Code::Internal, &e))?;
        let envelope =
            Envelope::sign(PAYLOAD_TYPE, payload, signer).map_err(|e| Failure::caused(Code::Key, &e))?;
        Ok(Self { generation: table.generation, envelope: envelope.to_bytes() })
    }
}
