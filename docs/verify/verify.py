#!/usr/bin/env python3
"""Checks an audit folder of Lineal: the standard library and `cryptography`, no code of Lineal.

    python3 verify.py [--log-key VKEY] FOLDER

docs/formats/audit.md describes every file. The log is derived again from its entries, every statement is checked and
everything else in the folder is made again and compared. Exit code: 0 it holds; 1 signed by a key that does not count,
or something is missing; 2 wrong use; 5 something was changed. Without --log-key, nothing is said about whose log it is.
"""

import argparse
import base64
import hashlib
import json
import pathlib
import re
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

INCOMPLETE, TAMPERED = 1, 5
PAYLOAD_TYPE = "application/vnd.in-toto+json"
OWN = "https://lineal.dev/attestation/"
OWN_NOUNS = "key dataset run-sealed model-version approval rollout-step incident"
NOUNS = {f"{OWN}{noun}/v1": noun for noun in OWN_NOUNS.split()}
NOUNS |= {
    "https://slsa.dev/provenance/v1": "provenance",
    "https://slsa.dev/verification_summary/v1": "promotion",
    "https://in-toto.io/attestation/test-result/v0.1": "test-result",
    "https://model_signing/signature/v1.0": "model-signature",
}
KEYS_DOMAIN = b"lineal/key-statements/v1\n"
FILE_LIMIT_BYTES, ENTRIES_LIMIT = 1 << 30, 10_000_000


class Refused(Exception):
    """Exit code and reason."""


def need(condition, reason, code=TAMPERED):
    if not condition:
        raise Refused(code, reason)


def sha256(data):
    return hashlib.sha256(data).digest()


def b64(data):
    return base64.b64encode(data).decode()


def unb64(text):
    data = base64.b64decode(text, validate=True)
    need(b64(data) == text, "base64 in another spelling")
    return data


def canonical(value):
    # The names of all keys are ASCII, so that this is the order of RFC 8785; there are no numbers.
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def strict_json(data):
    def unique(pairs):
        need(len({name for name, _ in pairs}) == len(pairs), "a JSON key twice")
        return dict(pairs)

    return json.loads(data.decode(), object_pairs_hook=unique)


def position(text):
    need(re.fullmatch(r"0|[1-9][0-9]{0,18}", text), f"`{text}` is not a position")
    return int(text)


class Folder:
    """The files; each is taken once, and in the end nothing may be left."""

    def __init__(self, root):
        self.root, self.names = root, set()
        for path in root.rglob("*"):
            need(not path.is_symlink() and (path.is_file() or path.is_dir()), f"{path} is no plain file")
            if path.is_file():
                self.names.add(path.relative_to(root).as_posix())
        listed = self.take("SHA256SUMS").decode()
        self.sums = {line[66:]: line[:64] for line in listed.splitlines()}
        again = "".join(f"{digest}  {name}\n" for name, digest in sorted(self.sums.items()))
        need(again == listed, "SHA256SUMS has another form")

    def take(self, name):
        self.last = name
        need(name in self.names, f"{name} is missing", INCOMPLETE)
        self.names.remove(name)
        with open(self.root / name, "rb") as file:
            data = file.read(FILE_LIMIT_BYTES + 1)
        need(len(data) <= FILE_LIMIT_BYTES, f"{name} is too large")
        if name != "SHA256SUMS":
            need(self.sums.pop(name, None) == sha256(data).hex(), f"{name} is not what SHA256SUMS lists")
        return data

    def same(self, name, expected):
        need(self.take(name) == expected, f"{name} does not follow from the log and its statements")


class LogKey:
    """A C2SP verifier key: `name+id+base64(type, key)`."""

    def __init__(self, text):
        self.text = text
        self.name, identity, key = text.split("+", 2)
        key = unb64(key)
        need(len(key) == 33 and key[0] == 1, "a log key that is not Ed25519")
        self.raw = key[1:]
        self.id = sha256(self.name.encode() + b"\n" + key)
        need(re.fullmatch(r"[^\s+]+", self.name) and self.id[:4].hex() == identity, "a log key with another id")


class Log:
    """Keys, checkpoint and entries, of which every hash is derived again."""

    def __init__(self, folder):
        self.history = []
        for number, line in enumerate(folder.take("log.vkey").decode().removesuffix("\n").split("\n")):
            key, _, start = line.partition(" ")
            self.history.append((position(start) if number else 0, LogKey(key)))
        need(all(a[0] < b[0] for a, b in zip(self.history, self.history[1:])), "log keys out of order")
        need(len({(key.name) for _, key in self.history}) == 1, "log keys of several logs")
        self.note = folder.take("checkpoint")
        folder.same("log/checkpoint", self.note)
        self.read_note()
        self.read_entries(folder)

    def read_note(self):
        text, lines = self.note.decode().removesuffix("\n").rsplit("\n\n", 1)
        self.origin, size, root, *more = text.split("\n")
        text += "\n"
        self.keys = [line for line in more if line.startswith("lineal-keys ")]
        need(len(self.keys) < 2, "two lines about keys")
        self.size, self.root = position(size), unb64(root)
        need(0 < self.size <= ENTRIES_LIMIT, "the log is empty, or too large for this check", INCOMPLETE)
        self.key = [key for start, key in self.history if start <= self.size][-1]
        signers = set()
        for line in lines.split("\n"):
            dash, name, signature = line.split(" ")
            need(dash == "\u2014", "a signature line of another form")
            signature = unb64(signature)
            for _, key in self.history:
                # Signatures of others are not judged; one of a known key must fit.
                if (key.name, key.id[:4]) == (name, signature[:4]):
                    ed25519.Ed25519PublicKey.from_public_bytes(key.raw).verify(signature[4:], text.encode())
                    signers.add(key.text)
        need(self.key.text in signers, "the checkpoint is not signed by the log key of its size", INCOMPLETE)
        need(self.origin == self.key.name, "the checkpoint is of another log")

    def read_entries(self, folder):
        self.entries = []
        for name, width in tiles("entries", self.size):
            data, before = folder.take(name), len(self.entries)
            while data:
                length = int.from_bytes(data[:2], "big")
                need(len(data) >= 2 + length, f"{name} ends within an entry")
                self.entries.append(data[2 : 2 + length])
                data = data[2 + length :]
            need(len(self.entries) - before == width, f"{name} has another number of entries")
        self.hashes = [sha256(b"\0" + entry) for entry in self.entries]
        level, row = 0, self.hashes
        while row:
            # A full tile is one hash of the level above; a partial one is none.
            for number, (name, width) in enumerate(tiles(level, len(row))):
                folder.same(name, b"".join(row[256 * number : 256 * number + width]))
            row = [tree(row[256 * n : 256 * n + 256]) for n in range(len(row) // 256)]
            level += 1
        need(tree(self.hashes) == self.root, "the entries do not have the checkpoint's root")


def tiles(level, count):
    """Names and widths of the tiles of a level with `count` hashes or entries."""
    for number in range((count + 255) // 256):
        width, groups = min(256, count - 256 * number), f"{number:,}".split(",")
        path = "/".join(["x" + group.zfill(3) for group in groups[:-1]] + [groups[-1].zfill(3)])
        yield f"log/tile/{level}/{path}" + ("" if width == 256 else f".p/{width}"), width


def tree(row):
    """The root of RFC 6962 over hashes of leaves."""
    if len(row) == 1:
        return row[0]
    left = 1 << (len(row) - 1).bit_length() - 1
    return sha256(b"\1" + tree(row[:left]) + tree(row[left:]))


def included(index, size, leaf, path, root):
    """RFC 9162, section 2.1.3.2."""
    node, last, result = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return False
        if node & 1 or node == last:
            result = sha256(b"\1" + sibling + result)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            result = sha256(b"\1" + result + sibling)
        node, last = node >> 1, last >> 1
    return index < size and last == 0 and result == root


def p256(der):
    key = serialization.load_der_public_key(der)
    need(isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1), "a key that is not P-256")
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    need(key.public_bytes(serialization.Encoding.DER, spki) == der, "a key in another spelling")
    return key, key.public_bytes(serialization.Encoding.PEM, spki)


class Statement:
    """A statement with its entry, bound to each other and to the log."""

    def __init__(self, folder, log, name, at):
        entry = log.entries[at]
        record = strict_json(entry)["spec"]["hashedRekordV002"]
        self.key_der = unb64(record["signature"]["verifier"]["publicKey"]["rawBytes"])
        signature, self.digest = unb64(record["signature"]["content"]), unb64(record["data"]["digest"])
        need(entry == canonical(hashed_rekord(self.digest, signature, self.key_der)), f"entry {at} has another form")
        key, pem = p256(self.key_der)
        self.key_id = sha256(self.key_der).hex()
        bundle = folder.take(name)
        value = strict_json(bundle)
        payload = unb64(value["dsseEnvelope"]["payload"])
        pae = b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)
        need(sha256(pae) == self.digest, f"{name}: the log entry is about another statement")
        key.verify(signature, pae, ec.ECDSA(hashes.SHA256()))
        proof = value["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]
        path = [unb64(node) for node in proof["hashes"]]
        need(included(at, log.size, log.hashes[at], path, log.root), f"{name}: not included in the log")
        # With its parts checked, the bundle has one form.
        need(bundle == canonical(bundle_of(log, at, path, pem, payload, signature)), f"{name} has another form")
        value = strict_json(payload)
        need(value["_type"] == "https://in-toto.io/Statement/v1" and value["subject"], f"{name}: no statement")
        self.at, self.name, self.kind, self.predicate = at, name, value["predicateType"], value["predicate"]
        self.subjects = [subject["digest"]["sha256"] for subject in value["subject"]]
        self.noun = NOUNS.get(self.kind, "unknown")
        expected = f"bundles/{at:09}-{self.noun}-{self.digest.hex()[:12]}.sigstore.json"
        need(name == expected, f"{name} should be called {expected}")

    def place(self):
        """Series, place and whether it is the last one, of a statement of a run or a rollout."""
        if self.noun == "provenance":
            internal = self.predicate["buildDefinition"]["internalParameters"]
            return self.predicate["runDetails"]["metadata"]["invocationId"], internal["sequence"], False
        if self.noun == "run-sealed":
            return self.predicate["run"], self.predicate["sequence"], True
        if self.noun == "rollout-step":
            under_way = ("started", "advanced") if "stable" in self.predicate else ("advanced",)
            closes = self.predicate["transition"] not in under_way
            return self.predicate["rollout"], self.predicate["sequence"], closes
        return None

    def rests_on(self):
        place = self.place()
        previous = place[1].get("previous") if place else None
        return ([previous[7:]] if previous else []) + self.names()

    def names(self):
        if self.noun == "promotion":
            return [item["digest"]["sha256"] for item in self.predicate["inputAttestations"]]
        parts = {"run-sealed": lambda: self.predicate["steps"], "model-version": lambda: [self.predicate]}
        return [part["provenance"][7:] for part in parts.get(self.noun, list)()]


def hashed_rekord(digest, signature, key):
    verifier = {"keyDetails": "PKIX_ECDSA_P256_SHA_256", "publicKey": {"rawBytes": b64(key)}}
    spec = {"data": {"algorithm": "SHA2_256", "digest": b64(digest)}}
    spec["signature"] = {"content": b64(signature), "verifier": verifier}
    return {"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": {"hashedRekordV002": spec}}


def bundle_of(log, at, path, pem, payload, signature):
    proof = {"logIndex": str(at), "rootHash": b64(log.root), "treeSize": str(log.size)}
    proof |= {"hashes": [b64(node) for node in path], "checkpoint": {"envelope": log.note.decode()}}
    entry = {"logIndex": str(at), "logId": {"keyId": b64(log.key.id)}, "integratedTime": "0", "inclusionProof": proof}
    entry["kindVersion"] = {"kind": "hashedrekord", "version": "0.0.2"}
    entry["canonicalizedBody"] = b64(log.entries[at])
    material = {"publicKey": {"hint": sha256(pem).hex()}, "tlogEntries": [entry]}
    envelope = {"payload": b64(payload), "payloadType": PAYLOAD_TYPE, "signatures": [{"sig": b64(signature)}]}
    media = "application/vnd.dev.sigstore.bundle.v0.3+json"
    return {"mediaType": media, "verificationMaterial": material, "dsseEnvelope": envelope}


class Keyring:
    """Which key counted at which position, replayed from the key statements in order."""

    def __init__(self):
        self.keys, self.log_keys = {}, []

    def accepts(self, key_id, role, at):
        key = self.keys.get(key_id)
        need(key, f"entry {at}: signed by key {key_id}, which the log never introduced", INCOMPLETE)
        need("until" not in key or at < key["until"], f"entry {at}: the key was revoked before", INCOMPLETE)
        need(role in (None, key["role"]), f"entry {at}: signed by the {key['role']} `{key['holder']}`", INCOMPLETE)
        return key

    def apply(self, statement):
        record, at = statement.predicate, statement.at
        holder, role, state = record["holder"], record["role"], record["state"]
        if at == 0:
            begins = statement.subjects == [statement.key_id] and (role, state) == ("builder", "active")
            need(begins, "the log does not begin with a builder key that signed itself")
        else:
            self.accepts(statement.key_id, "builder", at)
        broken = f"entry {at}: a key record that breaks the rules"
        if role == "log":
            key = LogKey(record["publicKey"])
            old = self.log_keys[-1][1].id.hex() if self.log_keys else None
            replaces = record["replaces"][7:]
            need(state == "active" and key.id.hex() in statement.subjects and old in (None, replaces), broken)
            self.log_keys.append((at, key, replaces))
            return
        der = unb64("".join(record["publicKey"].strip().split("\n")[1:-1]))
        _, pem = p256(der)
        key_id = sha256(der).hex()
        need(key_id in statement.subjects and pem.decode().strip() == record["publicKey"].strip(), broken)
        known = self.keys.get(key_id)
        if state == "active":
            need(known is None and role in ("builder", "approver", "router"), broken)
            if "replaces" in record:
                old = self.keys.get(record["replaces"][7:])
                need(old and "until" not in old and (old["role"], old["holder"]) == (role, holder), broken)
            file = f"keys/{role}-{key_id[:12]}.pem"
            self.keys[key_id] = {"role": role, "holder": holder, "from": at, "file": file, "pem": pem}
            return
        active = [key for key in self.keys.values() if key["role"] == "builder" and "until" not in key]
        need(state == "revoked" and known and "until" not in known, broken)
        need((known["role"], known["holder"]) == (role, holder) and (role != "builder" or len(active) > 1), broken)
        known["until"] = at


def check(folder, pinned):
    log = Log(folder)
    need(not pinned or log.key.text in pinned, f"the checkpoint is by {log.key.text}, not by yours", INCOMPLETE)
    print(f"log: {log.size} entries of {log.origin} re-hashed, root {log.root.hex()[:12]}")
    keyring, statements, series = Keyring(), [], {}
    names = sorted(name for name in folder.names if re.fullmatch(r"bundles/\d{9}-[^/]*\.sigstore\.json", name))
    need(names and names[0].startswith("bundles/000000000-"), "the first entry's statement is missing", INCOMPLETE)
    for name in names:
        at = int(name[8:17])
        need(at < log.size, f"{name} is beyond the log")
        statement = Statement(folder, log, name, at)
        if statement.noun == "key":
            keyring.apply(statement)
            key = keyring.keys[statement.key_id]
        else:
            role = {"unknown": None, "approval": "approver"}.get(statement.noun, "builder")
            key = keyring.accepts(statement.key_id, role, at)
        statements.append(statement)
        follow(series, statement)
        print(f"entry {at}: {statement.noun}, signed by {key['holder']} ({key['role']})")
    derived(folder, log, keyring, statements)
    whole = len(statements) == log.size
    counted = key_statements(log, statements, whole)
    held = {statement.digest.hex() for statement in statements}
    for statement in statements:
        need(held.issuperset(statement.rests_on()), f"entry {statement.at} rests on a statement not here", INCOMPLETE)
    if "README.txt" in folder.names:
        folder.take("README.txt")
    need(not folder.names, f"no part of this evidence: {sorted(folder.names)}")
    need(not folder.sums, f"missing: {sorted(folder.sums)}", INCOMPLETE)
    part = "every key statement is here" if counted else "a revocation among the others would not be seen"
    print("whole: " + ("yes" if whole else f"no; {part}"))
    print("pinned: " + ("yes" if pinned else "no; anybody can make a whole folder, so name the log's key"))


def follow(series, statement):
    """A run's or a rollout's statements are numbered from 1, and each names the one before."""
    if not statement.place():
        return
    name, sequence, closes = statement.place()
    number, last, closed = series.get(name, (0, None, False))
    need(not closed, f"entry {statement.at}: {name} had ended before", INCOMPLETE)
    in_place = (sequence["number"], sequence.get("previous")) == (str(number + 1), last)
    need(in_place, f"entry {statement.at}: not number {number + 1} of {name}", INCOMPLETE)
    series[name] = number + 1, f"sha256:{statement.digest.hex()}", closes


def key_statements(log, statements, whole):
    """Whether the checkpoint says which key statements there are; they must be those that are here."""
    count, chained = 0, bytes(32)
    for item in statements:
        if item.noun == "key":
            count += 1
            chained = sha256(KEYS_DOMAIN + chained + item.at.to_bytes(8, "big") + log.hashes[item.at])
    found = f"lineal-keys {count} {b64(chained)}"
    code = TAMPERED if whole else INCOMPLETE
    need(log.keys in ([], [found]), f"key statements here: {found}; the checkpoint counts others", code)
    return bool(log.keys)


def derived(folder, log, keyring, statements):
    """Everything else in the folder follows from log and statements."""
    lines, keys = [], []
    for item in statements:
        kind = "-" if re.search(r"[\x00-\x1f\x7f-\x9f]", item.kind) else item.kind
        file = keyring.keys[item.key_id]["file"]
        line = [str(item.at), item.noun, f"sha256:{item.digest.hex()}", kind, file, item.subjects[0], item.name]
        lines.append("\t".join(line) + "\n")
    folder.same("statements.tsv", "".join(lines).encode())
    for key_id, key in keyring.keys.items():
        folder.same(key["file"], key["pem"])
        entry = {"id": f"sha256:{key_id}", "file": key["file"], "holder": key["holder"], "role": key["role"]}
        entry |= {name: str(key[name]) for name in ("from", "until") if name in key}
        keys.append(entry)
    folder.same("keys/keyring.json", canonical({"version": "1", "keys": keys}))
    der = bytes.fromhex("302a300506032b6570032100") + log.key.raw
    public = {"rawBytes": b64(der), "keyDetails": "PKIX_ED25519"}
    public["validFor"] = {"start": statements[0].predicate["statedAt"]}
    tlog = {"baseUrl": f"https://{log.key.name}", "hashAlgorithm": "SHA2_256", "publicKey": public}
    tlog["logId"] = {"keyId": b64(log.key.id)}
    root = {"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1", "tlogs": [tlog]}
    root |= {"certificateAuthorities": [], "ctlogs": [], "timestampAuthorities": []}
    folder.same("trusted_root.json", canonical(root))
    later = [(start - 1, key.text) for start, key in log.history[1:]]
    recorded = [(at, key.text) for at, key, _ in keyring.log_keys]
    begins = not recorded or keyring.log_keys[0][2] == log.history[0][1].id.hex()
    need(later == recorded and begins, "log.vkey names other keys than the log introduced", INCOMPLETE)


def main():
    parser = argparse.ArgumentParser(description="Checks an audit folder of Lineal.")
    parser.add_argument("--log-key", action="append", default=[], help="the log's key, from elsewhere")
    parser.add_argument("folder", type=pathlib.Path)
    arguments = parser.parse_args()
    folder = None
    try:
        folder = Folder(arguments.folder)
        check(folder, arguments.log_key)
    except Refused as refused:
        print(f"NOT VERIFIED: {refused.args[1]}")
        sys.exit(refused.args[0])
    except (InvalidSignature, LookupError, ValueError, TypeError, AttributeError, RecursionError) as error:
        # Whatever has another form ends in one of these.
        print(f"NOT VERIFIED: {folder.last if folder else arguments.folder}: {error!r}")
        sys.exit(TAMPERED)
    print(f"VERIFIED: {arguments.folder}")


if __name__ == "__main__":
    main()
