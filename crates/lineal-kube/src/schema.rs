//! What texts of the resources look like, for the definitions: a pattern, a bound and a description each.
//!
//! The types here are never made; fields name them by `#[schemars(with = "...")]`. Patterns are those of the parsers
//! in lineal-facts and lineal-engine, which have the last word; a test feeds both the same texts.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

macro_rules! texts {
    ($($(#[doc = $doc:literal])* $type:ident, $limit:literal, $pattern:expr;)*) => {$(
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy)]
        pub enum $type {}

        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "description": concat!($($doc),*).trim(),
                    "type": "string",
                    "minLength": 1,
                    "maxLength": $limit,
                    "pattern": $pattern,
                })
            }
        }
    )*};
}

/// A part of a path: not empty, not `.` or `..`, without `\` and control characters.
macro_rules! part {
    () => {
        r"([^./\\\x00-\x1f\x7f-\x9f][^/\\\x00-\x1f\x7f-\x9f]*|\.[^./\\\x00-\x1f\x7f-\x9f][^/\\\x00-\x1f\x7f-\x9f]*|\.\.[^/\\\x00-\x1f\x7f-\x9f]+)"
    };
}

macro_rules! label {
    () => {
        "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
    };
}

macro_rules! host_label {
    () => {
        "([a-zA-Z0-9]|[a-zA-Z0-9][-a-zA-Z0-9]*[a-zA-Z0-9])"
    };
}

macro_rules! image_component {
    () => {
        r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
    };
}

texts! {
    /// A name: lower-case letters, digits and `-`, starting and ending with a letter or digit.
    Name, 63, concat!("^", label!(), "$");
    /// The name of another object: lower-case letters, digits, `-` and `.`.
    ObjectName, 253, r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$";
    /// A name within a pipeline: lower-case letters, digits, `-` and `_`, starting with a letter.
    LocalName, 63, "^[a-z][-_a-z0-9]*$";
    /// The name of a parameter: letters, digits, `-` and `_`, starting with a letter.
    ParamName, 63, "^[A-Za-z][-_A-Za-z0-9]*$";
    /// A parameter and its value, as `lineal run --set` takes them: `trees=200`.
    Override, 4096, r"^[A-Za-z][-_A-Za-z0-9]{0,62}=[^\x00]*$";
    /// A name that never moves once it is given: letters, digits, `.`, `_` and `-`.
    Tag, 63, "^[A-Za-z0-9][-._A-Za-z0-9]*$";
    /// A SHA-256 digest: `sha256:` and 64 hex digits in lower case.
    Digest, 71, "^sha256:[0-9a-f]{64}$";
    /// A snapshot: `dataset://NAME@TAG` or `dataset://NAME@sha256:HEX`.
    DatasetUri, 147, "^dataset://[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?@([A-Za-z0-9][-._A-Za-z0-9]{0,62}|sha256:[0-9a-f]{64})$";
    /// An image: `NAME@sha256:HEX`, with the digest of its manifest; NAME may have a host, a port and a tag.
    ImageReference, 327, concat!(
        "^((", host_label!(), r"(\.", host_label!(), r")*|\[[a-fA-F0-9:]+\])(:[0-9]+)?/)?",
        image_component!(), "(/", image_component!(), ")*(:[A-Za-z0-9_][-.A-Za-z0-9_]{0,127})?@sha256:[0-9a-f]{64}$"
    );
    /// What is read: `data.NAME`, a snapshot, or `STEP.OUTPUT`, an output of a step.
    Source, 127, r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\.[a-z][-_a-z0-9]{0,62}$";
    /// An output of a step: `STEP.OUTPUT`.
    OutputReference, 127, r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\.[a-z][-_a-z0-9]{0,62}$";
    /// A path relative to the file, without `.`, `..` and `\`.
    RelativePath, 1024, concat!("^", part!(), "(/", part!(), ")*$");
    /// A path relative to the file, without `.`, `..` and `\`; a `/` at the end is dropped.
    Folder, 1025, concat!("^", part!(), "(/", part!(), ")*/?$");
    /// A whole number and a unit: `500ms`, `30s`, `10m`, `1h`; at most 168h.
    Duration, 16, "^[0-9]{1,12}(ms|s|m|h)$";
    /// An amount of a resource, as Kubernetes writes it: `500m`, `2`, `4Gi`.
    Quantity, 20, r"^[0-9]{1,12}(\.[0-9]{1,3})?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$";
    /// The id of a run: `run-` and 12 hex digits.
    RunId, 16, "^run-[0-9a-f]{12}$";
    /// The id of a rollout: `rollout-` and 12 hex digits.
    RolloutId, 20, "^rollout-[0-9a-f]{12}$";
    /// Where bytes come from: `s3://bucket/prefix`, `https://host/path`.
    StorageUri, 2048, r"^[a-z][-+.a-z0-9]*://[^\s\x00-\x1f\x7f]+$";
    /// One line.
    Line, 256, r"^[^\x00-\x1f\x7f-\x9f]+$";
    /// A sentence or some.
    Text, 4096, r"^[^\x00]+$";
    /// A CEL expression that must yield `true`.
    Expression, 4096, r"^[^\x00]+$";
    /// What is required and what to do; `{{subject}}` and `{{environment}}` are filled in.
    RuleMessage, 1024, r"^[^\x00]+$";
    /// A Sigstore bundle (version 0.3) as JSON text: the signed statement itself.
    Bundle, 65536, r"^\{[^\x00]*\}$";
    /// `passed/all`, for people.
    Progress, 16, "^[0-9]+/[0-9]+$";
    /// The value of a label.
    LabelValue, 63, "^[A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?$";
    /// A decimal number, as a text because it was signed.
    Decimal, 32, r"^[-+.0-9eE]+$";
}

/// A point in time (RFC 3339).
#[derive(Debug, Clone, Copy)]
pub enum Time {}

impl JsonSchema for Time {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A point in time (RFC 3339).",
            "type": "string",
            "format": "date-time",
            "maxLength": 64,
        })
    }
}

/// A share in percent, from 1 to 100.
#[derive(Debug, Clone, Copy)]
pub enum Percent {}

impl JsonSchema for Percent {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Percent".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A share in percent.",
            "type": "integer",
            "format": "int64",
            "minimum": 1,
            "maximum": 100,
        })
    }
}

/// One element of a command; only the first may not be empty.
#[derive(Debug, Clone, Copy)]
pub enum Argument {}

impl JsonSchema for Argument {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Argument".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "One element of a command; it may be empty.",
            "type": "string",
            "maxLength": 32768,
            "pattern": r"^[^\x00]*$",
        })
    }
}

/// A text, a number, a boolean, or a list of these. Schemas know no such type, so only maps are refused: at most no
/// property, and at least one.
#[derive(Debug, Clone, Copy)]
pub enum ParamValue {}

impl JsonSchema for ParamValue {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ParamValue".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A string, a finite number, true, false, or a list of these.",
            "x-kubernetes-preserve-unknown-fields": true,
            "maxLength": 65536,
            "maxItems": 10000,
            "minProperties": 1,
            "maxProperties": 0,
        })
    }
}

/// A path, or a map of `path` and `as`. Schemas know no such type, so the map's properties are given and the text's
/// pattern.
#[derive(Debug, Clone, Copy)]
pub enum Output {}

impl JsonSchema for Output {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Output".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let path = RelativePath::json_schema(generator);
        json_schema!({
            "description": "A path below the step's output directory, or a map of `path` and `as`.",
            "x-kubernetes-preserve-unknown-fields": true,
            "maxLength": path.get("maxLength"),
            "pattern": path.get("pattern"),
            "minLength": 1,
            "maxItems": 0,
            "minItems": 1,
            "maxProperties": 2,
            "required": ["path"],
            "properties": {
                "path": path,
                "as": {
                    "description": "How it is read: `artifact` (bytes) or `metrics` (a JSON report that gates test).",
                    "type": "string",
                    "enum": ["artifact", "metrics"],
                    "maxLength": 8,
                },
            },
        })
    }
}

/// The conditions of an object, as every Kubernetes tool reads them.
#[derive(Debug, Clone, Copy)]
pub enum Conditions {}

impl JsonSchema for Conditions {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Conditions".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "array",
            "maxItems": 16,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
            "items": {
                "description": "What is so, since when and why.",
                "type": "object",
                "required": ["type", "status", "lastTransitionTime", "reason", "message"],
                "properties": {
                    "type": {
                        "description": "What the condition is about, such as `Ready`.",
                        "type": "string",
                        "maxLength": 316,
                        "pattern": "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
                    },
                    "status": {
                        "description": "Whether it is so.",
                        "type": "string",
                        "enum": ["True", "False", "Unknown"],
                        "maxLength": 7,
                    },
                    "observedGeneration": {
                        "description": "The generation of the object that this was said about.",
                        "type": "integer",
                        "format": "int64",
                        "minimum": 0,
                    },
                    "lastTransitionTime": {
                        "description": "When the status changed last.",
                        "type": "string",
                        "format": "date-time",
                        "maxLength": 64,
                    },
                    "reason": {
                        "description": "One word for programs, such as `InvalidSpec`.",
                        "type": "string",
                        "minLength": 1,
                        "maxLength": 1024,
                        "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
                    },
                    "message": {
                        "description": "Why, for people, and what to do.",
                        "type": "string",
                        "maxLength": 32768,
                    },
                },
            },
        })
    }
}
