//! What an audit folder says to people: how to check it, with our tool and with tools of others.

/// `README.txt`. The same for every folder; no evidence.
pub(super) const README: &str = "\
This folder is evidence from a Lineal ledger. It can be checked offline, without Lineal.

  log/                the whole log as C2SP tlog-tiles
  checkpoint          its signed size and root; also in log/
  log.vkey            the log's public keys as C2SP verifier keys: the first one, then each later one with the size of
                      the first checkpoint that it signs
  trusted_root.json   for Sigstore tools: the key that signed the checkpoint
  keys/               public keys that the log introduced; keyring.json has holder, role, from and until (positions)
  bundles/            one statement each, as a Sigstore bundle v0.3: statement, signature, log entry, inclusion proof,
                      checkpoint
  statements.tsv      position, kind, statement, predicate type, key, subject, bundle
  SHA256SUMS          `sha256sum --check --strict SHA256SUMS` finds accidents; it proves nothing

Before you check: the folder shows what a log says, not whose log it is. Anybody can make a whole folder. Get the log's
key in another way than this folder, and name it below as KEY. Run the commands in this folder.

Everything, with Lineal:

  lineal verify --bundle . --log-key KEY

Everything, with Python and its package `cryptography` (docs/verify/verify.py of Lineal's source):

  python3 verify.py --log-key KEY .

The log and every inclusion proof, with the code of Go's checksum database (`go build` in docs/verify/go of
Lineal's source):

  lineal-log-check -log-key KEY .

Every statement, with cosign 3. It checks signature, log entry, inclusion and checkpoint. Use a trusted_root.json that
you trust:

  while read -r position kind statement type key subject bundle; do
    cosign verify-blob-attestation --bundle \"$bundle\" --key \"$key\" --trusted-root trusted_root.json \\
      --type \"$type\" --digest \"$subject\" --digestAlg sha256 || echo \"REFUSED: $bundle\"
  done <statements.tsv

cosign does not know which key may sign what, or until when. The first two commands check that: a key counts from the
entry that introduces it up to the one that revokes it, and approvals need an approver's key.

A folder with fewer statements than the log has entries was made for some subjects. It has every key statement, but
cannot prove that none is left out: the log holds the others by their digest only.

This file is help, not evidence.
";
