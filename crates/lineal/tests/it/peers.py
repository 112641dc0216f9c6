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

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
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
    task = {f.__name__: f for f in (installed, sign_bytes, sign_model, accepted, check_bundles)}
    print(json.dumps(task[sys.argv[1]](*sys.argv[2:])))
