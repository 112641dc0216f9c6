//! API v1 over HTTP and its OpenAPI description.
