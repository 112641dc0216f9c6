//! The OpenAPI description of API v1.

use utoipa::OpenApi;

use crate::api;

#[derive(OpenApi)]
#[openapi(
    info(title = "Lineal", description = "API v1 of the control plane. It listens on loopback only."),
    paths(
        api::status,
        api::audit,
        api::route_table,
        api::observations,
        api::outcomes,
        api::start_rollout,
        api::act,
    ),
    components(schemas(api::ErrorBody, api::StartRollout, api::Outcomes, api::OutcomesTaken))
)]
struct Description;

/// The description as pretty JSON with a final newline.
pub fn document() -> String {
    let mut text = Description::openapi().to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}
