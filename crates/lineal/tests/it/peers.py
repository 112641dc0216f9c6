"""What tests need of the Python tools that check Lineal's files; see tools/peers/requirements.in.

Loading these libraries takes longer than their work, so that one call does many checks. Answers are JSON.
"""

import base64
import hashlib
import json
import os
import pathlib
import re
import sys
from importlib import metadata

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.predicates.test_result.v0 import test_result_pb2
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey

from model_signing import hashing, signing, verifying

TYPE = "application/vnd.in-toto+json"
# Predicates that the library has a message for; it is strict about unknown fields. Its message for verification
# summaries is not that of SLSA: one `verifiedLevels` instead of a list, input attestations without a name.
MESSAGES = {
    "https://slsa.dev/provenance/v1": provenance_pb2.Provenance,
    "https://in-toto.io/attestation/test-result/v0.1": test_result_pb2.TestResult,
}


def tlog_proof(vkey, body, proof):
    """Whether a c2sp.org/tlog-proof shows that the entry is in the log of the key; written from the formats' texts."""
    head, note = pathlib.Path(proof).read_text().split("\n\n", 1)
    header, index, *path = head.split("\n")
    index = int(index.removeprefix("index "))
    text, signatures = note.split("\n\n")
    origin, size, root = text.split("\n")[:3]
    name, _, key = vkey.split("+", 2)
    key = base64.b64decode(key)
    line = next(line for line in signatures.split("\n") if line.startswith(f"\u2014 {name} "))
    signature = base64.b64decode(line.split(" ")[2])
    identity = hashlib.sha256(name.encode() + b"\n" + key).digest()[:4]
    try:
        ed25519.Ed25519PublicKey.from_public_bytes(key[1:]).verify(signature[4:], (text + "\n").encode())
    except InvalidSignature:
        return False
    node, last = index, int(size) - 1
    result = hashlib.sha256(b"\0" + base64.b64decode(body)).digest()
    for sibling in map(base64.b64decode, path):
        if last == 0:
            return False
        if node & 1 or node == last:
            result = hashlib.sha256(b"\1" + sibling + result).digest()
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            result = hashlib.sha256(b"\1" + result + sibling).digest()
        node, last = node >> 1, last >> 1
    is_ours = (header, origin, signature[:4]) == ("c2sp.org/tlog-proof@v1", name, identity)
    return is_ours and last == 0 and result == base64.b64decode(root)


def installed(lock):
    """Packages of the lock that are missing or of another version."""
    wrong = []
    for name, version in re.findall(r"^([\w.-]+)==(\S+)", pathlib.Path(lock).read_text(), re.M):
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            found = None
        if found != version:
            wrong.append(f"{name}: {found} instead of {version}")
    return wrong


def sign_bytes(key_file, folder):
    """Signs every FOLDER/NAME.json as it stands into FOLDER/NAME.sig, whatever it says."""
    key = serialization.load_pem_private_key(pathlib.Path(key_file).read_bytes(), None)
    pem = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    for path in sorted(pathlib.Path(folder).glob("*.json")):
        payload = path.read_bytes()
        pae = b"DSSEv1 %d %s %d %s" % (len(TYPE), TYPE.encode(), len(payload), payload)
        signature = key.sign(pae, ec.ECDSA(hashes.SHA256()))
        bundle = {
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {
                "publicKey": {"hint": hashlib.sha256(pem).hexdigest()},
                "tlogEntries": [],
            },
            "dsseEnvelope": {
                "payload": base64.b64encode(payload).decode(),
                "payloadType": TYPE,
                "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
            },
        }
        path.with_suffix(".sig").write_text(json.dumps(bundle))


def sign_model(key_file, model, signature, options):
    """Signs a model with the library: OPTIONS are `shard_size`, `hashing_algorithm`, `allow_symlinks`, `ignore`."""
    options = json.loads(options)
    links, ignore = options.pop("allow_symlinks", False), options.pop("ignore", [])
    config = hashing.Config()
    if "shard_size" in options:
        config.use_shard_serialization(**options)
    else:
        config.use_file_serialization(**options)
    config.set_allow_symlinks(links)
    config.set_ignored_paths(paths=ignore)
    signer = signing.Config().use_elliptic_key_signer(private_key=key_file)
    signer.set_hashing_config(config).sign(model, signature)


def accepted(public_key, pairs):
    """Whether model_signing accepts each (model, signature)."""
    answers = {}
    for model, signature in json.loads(pairs):
        try:
            verifier = verifying.Config().use_elliptic_key_verifier(public_key=public_key)
            verifier.verify(pathlib.Path(model), pathlib.Path(signature))
            answers[signature] = True
        except Exception:  # Whatever it raises is a refusal.
            answers[signature] = False
    return answers


def check_bundles(keys, folder):
    """Checks every bundle in FOLDER with securesystemslib and in-toto-attestation; KEYS is a list of PEM texts.

    Yields the predicate type of each and raises if one is not accepted.
    """
    trusted = {}
    for pem in json.loads(keys):
        public = serialization.load_pem_public_key(pem.encode())
        hint = hashlib.sha256(pem.encode()).hexdigest()
        trusted[hint] = SSlibKey.from_crypto(public, keyid=hint, scheme="ecdsa-sha2-nistp256")
    found = {}
    for path in sorted(pathlib.Path(folder).iterdir()):
        bundle = json.loads(path.read_bytes())
        hint = bundle["verificationMaterial"]["publicKey"]["hint"]
        envelope = bundle["dsseEnvelope"]
        # The library wants the key's id in the signature; ours has none.
        for signature in envelope["signatures"]:
            signature["keyid"] = hint
        Envelope.from_dict(json.loads(json.dumps(envelope))).verify([trusted[hint]], 1)
        statement = json.loads(base64.b64decode(envelope["payload"]))
        message = json_format.ParseDict(statement, statement_pb2.Statement())
        Statement.copy_from_pb(message).validate()
        kind = statement["predicateType"]
        if kind in MESSAGES:
            json_format.ParseDict(statement["predicate"], MESSAGES[kind]())
        # It must be able to say no.
        broken = json.loads(json.dumps(envelope))
        broken["payload"] = base64.b64encode(json.dumps(statement).encode() + b" ").decode()
        try:
            Envelope.from_dict(broken).verify([trusted[hint]], 1)
        except Exception:
            found[path.name] = kind
        else:
            sys.exit(f"{path.name}: accepted with another payload")
    return found


if __name__ == "__main__":
    os.umask(0o077)
    task = {f.__name__: f for f in (installed, tlog_proof, sign_bytes, sign_model, accepted, check_bundles)}
    print(json.dumps(task[sys.argv[1]](*sys.argv[2:])))
