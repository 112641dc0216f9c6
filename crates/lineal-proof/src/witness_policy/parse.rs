//! The lines of a policy.

use std::collections::HashSet;

use super::{
    GROUPS_LIMIT, Group, LOGS_LIMIT, Member, POLICY_LIMIT_BYTES, PolicyError, PolicyLog, PolicyWitness,
    URL_LIMIT_BYTES, WITNESSES_LIMIT, WitnessPolicy,
};
use crate::checkpoint::{NAME_LIMIT_BYTES, VerifierKey};
use crate::cosignature::WitnessKey;

/// The quorum of nobody; no witness or group may have this name.
const NONE: &str = "none";

#[derive(Default)]
struct Reader {
    logs: Vec<PolicyLog>,
    witnesses: Vec<PolicyWitness>,
    groups: Vec<Group>,
    /// Names that are a member of some group: a witness counts in one way only.
    taken: HashSet<String>,
    quorum: Option<Option<Member>>,
}

pub(super) fn policy(text: &[u8]) -> Result<WitnessPolicy, PolicyError> {
    let error = |reason: String| PolicyError::Text(reason);
    if text.len() > POLICY_LIMIT_BYTES {
        return Err(error(format!("{} bytes; the limit is {POLICY_LIMIT_BYTES}", text.len())));
    }
    let text = std::str::from_utf8(text).map_err(|_| error("not UTF-8".to_owned()))?;
    let control = |byte: u8| (byte < 0x20 && byte != b'\n' && byte != b'\t') || byte == 0x7f;
    if text.bytes().any(control) {
        return Err(error("a control character".to_owned()));
    }
    if !text.is_empty() && !text.ends_with('\n') {
        return Err(error("no newline at the end".to_owned()));
    }
    let mut reader = Reader::default();
    for (number, line) in (1..).zip(text.split('\n')) {
        // Other Unicode spaces are part of a word: the format knows octets only.
        let words: Vec<&str> = line.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
        reader.line(&words).map_err(|reason| PolicyError::Line { line: number, reason })?;
    }
    let quorum = reader.quorum.ok_or_else(|| error("no line `quorum NAME` or `quorum none`".to_owned()))?;
    let policy =
        WitnessPolicy { logs: reader.logs, witnesses: reader.witnesses, groups: reader.groups, quorum };
    let same = |log: &PolicyLog, witness: &PolicyWitness| log.key.public_key() == witness.key.public_key();
    match policy.witnesses.iter().find(|witness| policy.logs.iter().any(|log| same(log, witness))) {
        Some(witness) => Err(error(format!("the witness `{}` has the key of the log", witness.name))),
        None => Ok(policy),
    }
}

impl Reader {
    fn line(&mut self, words: &[&str]) -> Result<(), String> {
        match words {
            [] => Ok(()),
            [first, ..] if first.starts_with('#') => Ok(()),
            ["log", key] => self.log(key, None),
            ["log", key, url] => self.log(key, Some(url)),
            ["witness", name, key] => self.witness(name, key, None),
            ["witness", name, key, url] => self.witness(name, key, Some(url)),
            ["group", name, threshold, members @ ..] => self.group(name, threshold, members),
            ["quorum", name] => self.quorum(name),
            [first, ..] => Err(format!(
                "`{first}` with {} words; expected `log VKEY [URL]`, `witness NAME VKEY [URL]`, `group NAME k|any|all \
                 MEMBER...` or `quorum NAME|none`",
                words.len()
            )),
        }
    }

    fn log(&mut self, key: &str, url: Option<&str>) -> Result<(), String> {
        let key: VerifierKey = key.parse().map_err(|e| format!("{e}"))?;
        if self.logs.len() == LOGS_LIMIT {
            return Err(format!("more than {LOGS_LIMIT} logs"));
        }
        if self.logs.iter().any(|log| log.key.public_key() == key.public_key()) {
            return Err(format!("the key of the log `{}` is there already", key.name()));
        }
        self.logs.push(PolicyLog { key, url: checked_url(url)? });
        Ok(())
    }

    fn witness(&mut self, name: &str, key: &str, url: Option<&str>) -> Result<(), String> {
        self.check_new(name)?;
        let key: WitnessKey = key.parse().map_err(|e| format!("{e}"))?;
        if self.witnesses.len() == WITNESSES_LIMIT {
            return Err(format!("more than {WITNESSES_LIMIT} witnesses"));
        }
        let same = |other: &WitnessKey| {
            other.public_key() == key.public_key()
                || (other.name() == key.name() && other.key_id() == key.key_id())
        };
        if let Some(other) = self.witnesses.iter().find(|witness| same(&witness.key)) {
            return Err(format!("`{name}` has the key of `{}`", other.name));
        }
        self.witnesses.push(PolicyWitness { name: name.to_owned(), key, url: checked_url(url)? });
        Ok(())
    }

    fn group(&mut self, name: &str, threshold: &str, members: &[&str]) -> Result<(), String> {
        self.check_new(name)?;
        if self.groups.len() == GROUPS_LIMIT {
            return Err(format!("more than {GROUPS_LIMIT} groups"));
        }
        let mut places = Vec::new();
        for member in members {
            places.push(self.find(member)?);
            if !self.taken.insert((*member).to_owned()) {
                return Err(format!("`{member}` is a member already; it can be one only once"));
            }
        }
        let threshold = match threshold {
            "any" => 1,
            "all" => places.len(),
            number => decimal(number).ok_or_else(|| format!("`{number}` is not a number, `any` or `all`"))?,
        };
        if !(1..=places.len()).contains(&threshold) {
            return Err(format!("{threshold} of {} members", places.len()));
        }
        self.groups.push(Group { name: name.to_owned(), threshold, members: places });
        Ok(())
    }

    fn quorum(&mut self, name: &str) -> Result<(), String> {
        if self.quorum.is_some() {
            return Err("a second quorum".to_owned());
        }
        self.quorum = Some(if name == NONE { None } else { Some(self.find(name)?) });
        Ok(())
    }

    fn check_new(&self, name: &str) -> Result<(), String> {
        if name == NONE {
            return Err(format!("`{NONE}` has a meaning of its own"));
        }
        if name.len() > NAME_LIMIT_BYTES {
            return Err(format!("a name of {} bytes; the limit is {NAME_LIMIT_BYTES}", name.len()));
        }
        if self.find(name).is_ok() { Err(format!("`{name}` is there already")) } else { Ok(()) }
    }

    fn find(&self, name: &str) -> Result<Member, String> {
        let witness = self.witnesses.iter().position(|witness| witness.name == name).map(Member::Witness);
        let group = || self.groups.iter().position(|group| group.name == name).map(Member::Group);
        witness.or_else(group).ok_or_else(|| format!("no witness or group `{name}` stands above"))
    }
}

/// A number as people write it: digits without a sign or leading zeros.
fn decimal(text: &str) -> Option<usize> {
    text.parse().ok().filter(|number: &usize| number.to_string() == text)
}

fn checked_url(url: Option<&str>) -> Result<Option<String>, String> {
    match url {
        Some(url) if url.len() > URL_LIMIT_BYTES => {
            Err(format!("a URL of {} bytes; the limit is {URL_LIMIT_BYTES}", url.len()))
        }
        url => Ok(url.map(str::to_owned)),
    }
}
