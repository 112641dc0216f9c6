//! Licences of everything that we build from.

use super::Material;

/// What an Apache-2.0 program may link, as SPDX identifiers.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Packages without a licence that is allowed.
pub(super) fn licences(material: &Material) -> Vec<String> {
    let mut findings = Vec::new();
    for package in &material.metadata.packages {
        let fits = package.license.as_deref().is_some_and(allows);
        if !fits {
            let licence = package.license.as_deref().unwrap_or("no licence");
            findings.push(format!("{} {}: {licence}", package.name, package.version));
        }
    }
    findings
}

/// Whether an SPDX expression can be met by allowed licences. An exception only adds permissions, so it is left out.
pub(super) fn allows(expression: &str) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Parser { tokens: &tokens, malformed: false };
    let fits = parser.any();
    fits && !parser.malformed && parser.tokens.is_empty()
}

struct Parser<'a> {
    tokens: &'a [&'a str],
    malformed: bool,
}

impl Parser<'_> {
    fn any(&mut self) -> bool {
        let mut fits = self.all();
        while self.take("OR") {
            fits |= self.all();
        }
        fits
    }

    fn all(&mut self) -> bool {
        let mut fits = self.one();
        while self.take("AND") {
            fits &= self.one();
        }
        fits
    }

    fn one(&mut self) -> bool {
        if self.take("(") {
            let fits = self.any();
            self.malformed |= !self.take(")");
            return fits;
        }
        let Some((licence, rest)) = self.tokens.split_first() else {
            self.malformed = true;
            return false;
        };
        self.tokens = rest;
        if self.take("WITH") {
            self.tokens = self.tokens.get(1..).unwrap_or_default();
        }
        ALLOWED.contains(licence)
    }

    fn take(&mut self, token: &str) -> bool {
        match self.tokens.split_first() {
            Some((first, rest)) if *first == token => {
                self.tokens = rest;
                true
            }
            _ => false,
        }
    }
}
