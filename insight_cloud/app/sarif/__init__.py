"""SARIF 2.1.0 in and out, and the fingerprints that keep a finding's identity.

from insight_cloud.app.sarif import fingerprint, read, write

log = read.log(Path("ruff.sarif").read_bytes())
for warned in log.warnings:
    print(warned.pointer, warned.detail)
runs = [fingerprint.add(run, root=Path()) for run in log.runs]
Path("out.sarif").write_bytes(write.log(runs))
"""

from insight_cloud.app.sarif import catalogue, fingerprint, read, write

__all__ = ["catalogue", "fingerprint", "read", "write"]
